//! Usage, help and completions.

use crate::run::Place;

#[test]
fn wrong_usage_is_could_not_and_never_the_answer_no() {
    let place = Place::with_documents();
    let wrong: [&[&str]; 8] = [
        &[],
        &["frobnicate"],
        &["check"],
        &["explain", "good.json", "--at", "yesterday"],
        &["explain", "good.json", "--source-ip", "somewhere"],
        &["simulate", "good.json", "--units", "0"],
        &["shadow", "good.json", "--envoy", "127.0.0.1:9", "--confidence", "1"],
        &["simulate", "good.json", "--units", "100000001"],
    ];
    for args in wrong {
        let run = place.run(args);
        assert_eq!((run.code, run.out.as_str()), (1, ""), "{args:?}");
        assert!(!run.err.is_empty(), "{args:?}");
    }
}

#[test]
fn every_verb_has_help_with_examples() {
    let place = Place::new();
    let verbs: [&[&str]; 12] = [
        &["check"],
        &["explain"],
        &["simulate"],
        &["plan"],
        &["diff"],
        &["render", "ecds"],
        &["render", "clusters"],
        &["push"],
        &["status"],
        &["shadow"],
        &["gate"],
        &["completions"],
    ];
    for verb in verbs {
        let run = place.run(&[verb, &["--help"]].concat());
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{verb:?}");
        assert!(run.out.contains("Examples:"), "{verb:?}");
    }
    assert_eq!(place.run(&["--version"]).code, 0);
}

#[test]
fn completions_name_the_verbs() {
    for shell in ["bash", "zsh", "fish"] {
        let run = Place::new().run(&["completions", shell]);
        assert_eq!(run.code, 0);
        assert!(run.out.contains("simulate"), "{shell}");
    }
}
