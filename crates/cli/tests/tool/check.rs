//! `check`, and how every subcommand reports an invalid document.

use serde_json::json;

use crate::run::Place;

#[test]
fn a_good_document_is_summed_up_in_one_line() {
    let place = Place::with_documents();
    let run = place.run(&["check", "good.json"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    insta::assert_snapshot!(run.out, @r#"
    warning: rollouts[0]: failover repeats methods that may write, and the first attempt may have run: set `"idempotent": true` if that is harmless
    `good.json`: ok, 1 rollout, revision 42, hash 4263719717, 1 warning
    "#);
}

#[test]
fn an_invalid_document_is_reported_with_all_its_problems_one_per_line() {
    let place = Place::with_documents();
    let run = place.run(&["check", "bad.json"]);
    assert_eq!((run.code, run.err.as_str()), (3, ""));
    insta::assert_snapshot!(run.out, @r#"
    revision: expected an integer from 0 to 9007199254740991
    rollouts[0].unit: missing
    rollouts[0].stable: missing
    rollouts[0].versions: missing
    `bad.json`: 4 problems
    "#);
}

#[test]
fn the_answer_for_programs_has_exactly_the_fields_of_the_contract() {
    let place = Place::with_documents();
    let good = place.run(&["check", "good.json", "--format", "json"]);
    assert_eq!(good.code, 0);
    let answer = good.json();
    assert_eq!(answer["ok"], true);
    assert!(answer["hash"].is_u64() && answer["problems"] == json!([]));
    assert_eq!(answer["warnings"][0]["path"], "rollouts[0]");
    assert_eq!(answer.as_object().unwrap().len(), 4);

    let bad = place.run(&["--format", "json", "check", "bad.json"]);
    assert_eq!((bad.code, bad.err.as_str()), (3, ""));
    assert_eq!(bad.json()["ok"], false);
    assert!(bad.json()["hash"].is_u64());
    assert!(bad.json()["problems"].as_array().unwrap().len() > 1);
    assert!(bad.json()["problems"][0]["message"].is_string());
}

#[test]
fn denied_warnings_are_problems_for_the_exit_code() {
    let place = Place::with_documents();
    let run = place.run(&["check", "good.json", "--deny-warnings"]);
    assert_eq!((run.code, run.err.as_str()), (3, ""));
    assert!(run.out.ends_with("`good.json`: 1 warning, denied\n"), "{run:?}");
    let answer = place.run(&["check", "good.json", "--deny-warnings", "--format", "json"]);
    assert_eq!((answer.code, &answer.json()["ok"]), (3, &json!(false)));
    assert_eq!(answer.json()["warnings"].as_array().map(Vec::len), Some(1));
    let bad = place.run(&["check", "bad.json", "--deny-warnings"]);
    assert_eq!((bad.code, bad.out), (3, place.run(&["check", "bad.json"]).out));
    let fine = r#"{"revision": 1, "rollouts": []}"#;
    let run = place.run_with(&["check", "-", "--deny-warnings"], fine);
    assert_eq!(run.code, 0, "{run:?}");
}

#[test]
fn a_document_comes_from_standard_input_too() {
    let place = Place::with_documents();
    let run = place.run_with(&["check", "-"], &place.read("good.json"));
    assert_eq!(run.code, 0);
    assert!(run.out.contains("standard input: ok"), "{run:?}");
}

#[test]
fn what_is_not_json_has_no_hash() {
    let run = Place::new().run_with(&["check", "-", "--format", "json"], "{");
    assert_eq!((run.code, &run.json()["hash"]), (3, &json!(null)));
}

#[test]
fn a_file_that_is_not_there_could_not_be_checked() {
    let run = Place::new().run(&["check", "none.json", "--format", "json"]);
    assert_eq!((run.code, run.out.as_str()), (1, ""));
    assert!(run.err.starts_with("error: can't read `none.json`"), "{run:?}");
}

#[test]
fn a_document_without_end_is_a_problem_and_not_a_hang() {
    let run = Place::new().run(&["check", "/dev/zero"]);
    assert_eq!(run.code, 3);
    assert!(run.out.contains("larger than"), "{run:?}");
}

#[test]
fn every_subcommand_reports_the_problems_of_an_invalid_document() {
    let place = Place::with_documents();
    let verbs: [&[&str]; 6] = [
        &["explain", "bad.json"],
        &["simulate", "bad.json"],
        &["diff", "bad.json", "good.json"],
        &["diff", "good.json", "bad.json"],
        &["render", "ecds", "bad.json", "--wasm", "x.wasm"],
        &["push", "bad.json", "--to", "ecds.yaml", "--wasm", "x.wasm"],
    ];
    let check = place.run(&["check", "bad.json", "--format", "json"]).json();
    for verb in verbs {
        let text = place.run(verb);
        assert_eq!((text.code, text.out.as_str()), (3, ""), "{verb:?}");
        assert!(text.err.contains("rollouts[0].versions"), "{verb:?}: {text:?}");
        let json = place.run(&[verb, &["--format", "json"]].concat());
        assert_eq!((json.code, json.json()), (3, check.clone()), "{verb:?}");
    }
    assert_eq!(place.names(), ["bad.json", "good.json"]);
}
