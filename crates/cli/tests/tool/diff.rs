//! `diff`: whom a change moves.

use serde_json::json;

use crate::run::{Place, document};

fn place() -> Place {
    let place = Place::new();
    place.write("old.json", &document(5.0).to_string());
    place.write("new.json", &document(25.0).to_string());
    place
}

#[test]
fn moves_are_shown_with_their_shares() {
    let run = place().run(&["diff", "old.json", "new.json", "--units", "10000"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    insta::assert_snapshot!(run.out, @r#"
    fraud-score: 20.1000 % of the units move
      from  to      units
      v1    v2  20.1000 %
    "#);
}

#[test]
fn a_document_moves_nobody_against_itself() {
    let place = place();
    let text = place.run(&["diff", "old.json", "old.json", "--units", "100"]);
    assert_eq!((text.code, text.out.as_str()), (0, "fraud-score: no unit moves\n"));
    let json = place.run(&["diff", "old.json", "-", "--units", "100", "--format", "json"]);
    assert_eq!(json.code, 3, "nothing came over standard input");
    let json = place.run_with(&["diff", "old.json", "-", "--format", "json"], &place.read("old.json"));
    assert_eq!(
        json.json(),
        json!({"rollouts": [{"name": "fraud-score", "moved_percent": 0.0, "moves": []}]})
    );
}

#[test]
fn raising_a_share_moves_units_into_the_canary_and_nowhere_else() {
    let answer = place().run(&["diff", "old.json", "new.json", "--format", "json"]).json();
    let moves = answer["rollouts"][0]["moves"].as_array().unwrap();
    assert_eq!(moves.len(), 1);
    assert_eq!((&moves[0]["from"], &moves[0]["to"]), (&json!("v1"), &json!("v2")));
    assert!((moves[0]["percent"].as_f64().unwrap() - 20.0).abs() < 0.5);
}

#[test]
fn a_freeze_that_counts_for_the_past_says_what_it_takes_back() {
    let place = Place::new();
    let mut old = document(5.0);
    // From a Monday on, a thousand hours.
    old["rollouts"][0]["strategy"] = json!({"progressive": {"version": "v2", "start": "2026-11-23T00:00:00Z",
        "linear": {"from": 0, "to": 100, "over": "1000h"}}});
    place.write("old.json", &old.to_string());
    let mut diff = |freeze: serde_json::Value| {
        old["rollouts"][0]["freeze"] = freeze;
        place.write("new.json", &old.to_string());
        place.run(&["diff", "old.json", "new.json", "--at", "2026-12-09T00:00:00Z", "--units", "10000"])
    };
    let weekend = json!({"from": "fri 16:00", "until": "mon 08:00"});
    let run = diff(json!({"weekly": weekend}));
    assert!(
        run.out.contains("the ramp of v2 falls from 38.4000 % to 24.8000 %, because pauses and freezes"),
        "{}",
        run.out
    );
    let run = diff(json!({"weekly": weekend, "since": "2026-12-09T00:00:00Z"}));
    assert_eq!((run.code, run.out.as_str()), (0, "fraud-score: no unit moves\n"));
}

#[test]
fn larger_moves_come_first() {
    let place = place();
    let mut arms = document(5.0);
    arms["rollouts"][0]["strategy"] = json!({"ab_test": {"arms": [
        {"version": "v1", "weight": 1}, {"version": "v2", "weight": 2}, {"version": "v3", "weight": 7}]}});
    place.write("arms.json", &arms.to_string());
    let answer = place.run(&["diff", "old.json", "arms.json", "--format", "json"]).json();
    let shares: Vec<f64> = answer["rollouts"][0]["moves"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|of| of["percent"].as_f64())
        .collect();
    assert!(shares.len() > 2 && shares.is_sorted_by(|a, b| a >= b), "{shares:?}");
}

#[test]
fn a_rollout_of_one_document_only_comes_from_or_goes_to_nothing() {
    let place = place();
    let mut renamed = document(0.0);
    renamed["rollouts"][0]["name"] = json!("risk");
    place.write("renamed.json", &renamed.to_string());
    let answer =
        place.run(&["diff", "old.json", "renamed.json", "--units", "1000", "--format", "json"]).json();
    assert_eq!(answer["rollouts"][0]["name"], "risk");
    assert_eq!(answer["rollouts"][0]["moves"], json!([{"from": null, "to": "v1", "percent": 100.0}]));
    assert_eq!(answer["rollouts"][1]["name"], "fraud-score");
    assert_eq!(answer["rollouts"][1]["moved_percent"], 100.0);
    assert!(answer["rollouts"][1]["moves"].as_array().unwrap().iter().all(|of| of["to"] == json!(null)));
    let text = place.run(&["diff", "old.json", "renamed.json", "--units", "1000"]).out;
    assert!(text.contains("risk: new, ") && text.contains("fraud-score: removed, "), "{text}");
}

#[test]
fn two_bad_documents_are_told_apart() {
    let place = Place::with_documents();
    let run = place.run(&["diff", "bad.json", "bad.json", "--format", "json"]);
    assert_eq!(run.code, 3);
    assert!(run.json()["problems"][0]["path"].as_str().unwrap().starts_with("`bad.json`: "));
}

#[test]
fn comparing_answers_of_shadows_by_other_rules_moves_nobody_and_is_said() {
    let place = Place::new();
    let mut document = document(5.0);
    document["rollouts"][0]["shadow"][0]["cluster"] = json!("fraud-v3-copies");
    place.write("old.json", &document.to_string());
    let mut diff = |compare: serde_json::Value, rest: &[&str]| {
        document["rollouts"][0]["shadow"][0]["compare"] = compare;
        place.write("new.json", &document.to_string());
        place.run(&[&["diff", "old.json", "new.json", "--units", "100"], rest].concat())
    };
    let run = diff(json!({"status": false}), &[]);
    let says = "how answers of v3 are compared changes, which moves nobody";
    assert_eq!((run.code, run.out), (0, format!("fraud-score: no unit moves\n  {says}\n")));
    let run = diff(json!({"status": false}), &["--format", "json"]);
    assert_eq!(run.json()["rollouts"][0]["note"], says);
    place.write("old.json", &place.read("new.json"));
    let run = diff(json!({"headers": [], "status": false}), &[]);
    assert_eq!(run.out, "fraud-score: no unit moves\n", "the same rules in other words");
}
