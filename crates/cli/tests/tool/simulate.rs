//! `simulate`: the division of a population.

use serde_json::json;

use crate::run::Place;

#[test]
fn a_population_is_divided_in_document_order() {
    let run = Place::with_documents().run(&["simulate", "good.json", "--units", "10000"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    insta::assert_snapshot!(run.out, @r#"
    fraud-score: 10000 units
      version  units      share   expected
      v1        4990  49.9000 %  50.0000 %
      v2        5010  50.1000 %  50.0000 %
      v3           0   0.0000 %   0.0000 %
    "#);
}

#[test]
fn the_answer_for_programs_has_exactly_the_fields_of_the_contract() {
    let run = Place::with_documents().run(&[
        "simulate",
        "good.json",
        "--units",
        "3",
        "--prefix",
        "",
        "--format",
        "json",
    ]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    let answer = run.json();
    let rollout = &answer["rollouts"][0];
    assert_eq!((&rollout["name"], &rollout["units"]), (&json!("fraud-score"), &json!(3)));
    let names: Vec<_> =
        rollout["versions"].as_array().unwrap().iter().map(|version| &version["name"]).collect();
    assert_eq!(names, ["v1", "v2", "v3"]);
    let expected: Vec<_> =
        rollout["versions"].as_array().unwrap().iter().map(|of| of["expected_percent"].as_f64()).collect();
    assert_eq!(expected, [Some(50.0), Some(50.0), Some(0.0)]);
    let units: u64 =
        rollout["versions"].as_array().unwrap().iter().filter_map(|of| of["units"].as_u64()).sum();
    assert_eq!(units, 3);
    assert_eq!(rollout["versions"][0].as_object().unwrap().len(), 4);
}

#[test]
fn a_hundred_thousand_units_are_the_default_and_come_close() {
    let run = Place::with_documents().run(&[
        "simulate",
        "good.json",
        "--rollout",
        "fraud-score",
        "--format",
        "json",
    ]);
    let version = &run.json()["rollouts"][0]["versions"][1];
    assert!((version["percent"].as_f64().unwrap() - 50.0).abs() < 0.5, "{version}");
}

#[test]
fn a_rollout_that_the_document_does_not_have_is_could_not() {
    let run = Place::with_documents().run(&["simulate", "good.json", "--rollout", "fraud"]);
    assert_eq!((run.code, run.out.as_str()), (1, ""));
    assert_eq!(run.err, "error: no rollout `fraud`; the document has `fraud-score`\n");
}
