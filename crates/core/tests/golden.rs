//! The core alone gives the golden results: cases, vectors, rejected documents and warnings.

#[path = "../../../tests/golden/mod.rs"]
mod golden;

use rollout_core::{Salt, compile};

#[test]
fn the_core_decides_every_golden_case() {
    let mut count = 0;
    for suite in golden::suites() {
        let plan = golden::plan(&suite.document);
        for case in suite.cases {
            let place = format!("{}, {}", suite.file, case.name);
            golden::assert_expected(&place, &case.expect, &golden::explain(&plan, &case.request));
            count += 1;
        }
    }
    assert!(count > 200, "only {count} cases were found");
}

#[test]
fn the_core_gives_every_golden_vector_its_bucket() {
    let vectors = golden::vectors();
    assert!(vectors.len() >= 75);
    for (salt, unit, bucket) in vectors {
        assert_eq!(u64::from(Salt::new(&salt).bucket(&unit).get()), bucket, "salt {salt}, unit {unit:x?}");
    }
}

#[test]
fn every_rejected_document_gets_all_its_problems_and_no_others() {
    let documents = golden::refused();
    assert!(documents.len() >= 40, "only {} kinds", documents.len());
    for document in documents {
        let Err(refused) = compile(document.text.as_bytes()) else {
            panic!("{} was accepted", document.name)
        };
        let found: Vec<String> = refused.problems.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), document.problems.len(), "{}: {found:#?}", document.name);
        for (problem, (path, words)) in refused.problems.iter().zip(&document.problems) {
            assert_eq!(&problem.path, path, "{}: {found:#?}", document.name);
            assert!(problem.message.contains(words), "{}: {problem}", document.name);
        }
    }
}

#[test]
fn every_document_with_warnings_is_served_and_gets_no_other_warnings() {
    let documents = golden::warned();
    assert!(documents.len() >= 10, "only {} kinds", documents.len());
    for golden::WarnedDocument { name, document, warnings } in documents {
        let compiled =
            compile(document.to_string().as_bytes()).unwrap_or_else(|refused| panic!("{name}: {refused}"));
        let found: Vec<String> = compiled.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), warnings.len(), "{name}: {found:#?}");
        for (warning, (path, words)) in compiled.warnings.iter().zip(&warnings) {
            assert!(warning.path == *path && warning.message.contains(words), "{name}: {warning}");
        }
    }
}

#[test]
fn a_connect_request_matches_nothing() {
    let suites = golden::suites();
    let canary = suites.iter().find(|suite| suite.file == "canary.json").unwrap();
    let mut request = canary.cases[0].request.clone();
    request["method"] = "CONNECT".into();
    assert_eq!(golden::explain(&golden::plan(&canary.document), &request)["reason"], "no_match");
}
