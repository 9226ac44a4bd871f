//! `diff --enforce`: what a freeze lets pass, and what it does not.

mod list;
mod surroundings;
mod traffic;

use serde_json::{Value, json};

use crate::run::{Place, Run, document};

/// Inside the freeze of [`frozen`].
const NOW: &str = "2026-12-25T00:00:00Z";

/// The document of the contract's vectors, with half of the units on v2, frozen over the turn of the year.
fn frozen() -> Value {
    let mut document = document(50.0);
    let rollout = &mut document["rollouts"][0];
    rollout["freeze"] = json!({
        "from": "2026-12-23T18:00:00Z", "until": "2027-01-02T06:00:00Z", "reason": "no change until the new year"
    });
    rollout["shadow"][0]["percent"] = json!(50);
    document
}

/// The frozen document with these fields of its rollout; null is none.
fn with(fields: &Value) -> Value {
    let mut document = frozen();
    set(&mut document["rollouts"][0], fields);
    document
}

fn set(object: &mut Value, fields: &Value) {
    let object = object.as_object_mut().unwrap();
    for (name, value) in fields.as_object().unwrap() {
        object.insert(name.clone(), value.clone());
    }
    object.retain(|_, value| !value.is_null());
}

fn enforce(old: &Value, new: &Value, args: &[&str]) -> Run {
    let place = Place::new();
    place.write("old.json", &old.to_string());
    place.write("new.json", &new.to_string());
    place.run(&[&["diff", "old.json", "new.json", "--enforce", "--units", "2000"], args].concat())
}

type Cases<'c> = &'c [(Value, Value, &'c [&'c str])];

/// Each case: the old document, the new one, and the places of what is refused.
fn judge_documents(cases: Cases<'_>) {
    for (old, new, wanted) in cases {
        let run = enforce(old, new, &["--at", NOW, "--format", "json"]);
        assert!(run.code == 0 || run.code == 2, "{old}\n{new}\n{run:?}");
        let answer = run.json();
        let frozen = &answer["frozen"][0];
        let changes = frozen["changes"].as_array().unwrap().iter();
        let paths: Vec<&str> = changes.map(|change| change["path"].as_str().unwrap()).collect();
        assert_eq!(paths, *wanted, "{old}\n{new}\n{frozen:#}");
        assert_eq!(frozen["refused"], json!(!wanted.is_empty()), "{frozen:#}");
        assert_eq!(run.code, if wanted.is_empty() { 0 } else { 2 });
    }
}

/// Likewise, given the fields of the rollout that differ from [`frozen`].
fn judge(cases: Cases<'_>) {
    let documents: Vec<_> = cases.iter().map(|(old, new, wanted)| (with(old), with(new), *wanted)).collect();
    judge_documents(&documents);
}

/// No other fields than those of [`frozen`].
fn as_it_is() -> Value {
    json!({})
}

fn canary(version: &str, percent: f64) -> Value {
    json!({"strategy": {"canary": {"version": version, "percent": percent}}})
}

fn line(start: &str, to: u32, over: &str) -> Value {
    json!({"strategy": {"progressive":
        {"version": "v2", "start": start, "linear": {"from": 0, "to": to, "over": over}}}})
}

/// Both.
fn and(mut fields: Value, more: &Value) -> Value {
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fields
}

#[test]
fn what_is_written_elsewhere_stays() {
    let version = |more: &Value| {
        let mut versions = frozen()["rollouts"][0]["versions"].clone();
        set(&mut versions[1], more);
        json!({"versions": versions})
    };
    let freeze = |more: &Value| {
        let mut freeze = frozen()["rollouts"][0]["freeze"].clone();
        set(&mut freeze, more);
        json!({"freeze": freeze})
    };
    judge(&[
        (as_it_is(), json!({"unit": [{"source_ip": true}, {"header": "x-user-id"}]}), &["unit"]),
        (as_it_is(), json!({"match": null}), &["match"]),
        (as_it_is(), json!({"match": [{"path": {"prefix": "/v2/"}}]}), &["match[0].hosts"]),
        (as_it_is(), json!({"expose": "debug"}), &["expose"]),
        (as_it_is(), json!({"idempotent": true}), &["idempotent"]),
        (as_it_is(), json!({"failover": null}), &["failover"]),
        (
            as_it_is(),
            json!({"failover": {"to": ["v1"], "per_try_timeout": "3s"}}),
            &["failover.per_try_timeout"],
        ),
        (as_it_is(), json!({"timeout": "3s"}), &["timeout"]),
        (
            as_it_is(),
            json!({"sessions": {"cookie": "rs", "max_age": "1h", "secret": "0123456789abcdef"}}),
            &["sessions"],
        ),
        (as_it_is(), json!({"api": {"path_segment": 1}}), &["api"]),
        (as_it_is(), version(&json!({"cluster": "other"})), &["versions[1].cluster"]),
        (as_it_is(), version(&json!({"features": "customer-8"})), &["versions[1].features"]),
        (as_it_is(), version(&json!({"timeout": "3s"})), &["versions[1].timeout"]),
        (as_it_is(), json!({"freeze": null}), &["freeze"]),
        (as_it_is(), freeze(&json!({"until": NOW})), &["freeze.until"]),
        (as_it_is(), freeze(&json!({"until": "2027-02-01T00:00:00Z"})), &["freeze.until"]),
        (as_it_is(), freeze(&json!({"reason": "because"})), &["freeze.reason"]),
        (
            as_it_is(),
            json!({"freeze": null, "expose": "debug", "strategy": {"canary": {"version": "v2", "percent": 60}}}),
            &["expose", "freeze", "strategy.canary.percent"],
        ),
    ]);
}

#[test]
fn numbers_count_by_value_and_the_order_of_keys_and_the_revision_do_not_count() {
    let mut new = frozen();
    new["revision"] = json!(43);
    new["trust_hop"] = json!(false);
    let rollout = new["rollouts"][0].as_object_mut().unwrap();
    let reversed: serde_json::Map<_, _> =
        rollout.iter().rev().map(|(name, value)| (name.clone(), value.clone())).collect();
    new["rollouts"][0] = Value::Object(reversed);
    new["rollouts"][0]["shadow"][0]["percent"] = json!(50.0);
    new["rollouts"][0]["strategy"]["canary"]["percent"] = json!(50);
    judge_documents(&[(frozen(), new, &[])]);
}

/// A rollout of this name that takes what has this prefix.
fn plain(name: &str, prefix: &str) -> Value {
    json!({"name": name, "match": [{"path": {"prefix": prefix}}], "unit": [{"header": "x-user-id"}], "stable": "v1",
           "versions": [{"name": "v1", "cluster": "v1"}, {"name": "v2", "cluster": "v2"}]})
}

#[test]
fn the_window_of_the_old_document_counts_at_the_given_time() {
    let raised = with(&canary("v2", 60.0));
    for (at, code, text) in [
        ("2026-12-23T17:59:59Z", 0, "\nnothing is frozen at 2026-12-23T17:59:59Z\n"),
        ("2026-12-23T18:00:00Z", 2, ": refused\n"),
        ("2027-01-02T05:59:59Z", 2, ": refused\n"),
        ("2027-01-02T06:00:00Z", 0, "\nnothing is frozen at 2027-01-02T06:00:00Z\n"),
    ] {
        let run = enforce(&frozen(), &raised, &["--at", at]);
        assert_eq!((run.code, run.err.as_str()), (code, ""), "{at}");
        assert!(run.out.ends_with(text) || run.out.contains(text), "{at}: {}", run.out);
    }
    let thawed = with(&json!({"freeze": null}));
    assert_eq!(
        enforce(&thawed, &and_raised(&frozen()), &["--at", NOW]).code,
        0,
        "a freeze may begin at once"
    );
    let run = enforce(&thawed, &raised, &["--at", NOW, "--format", "json"]);
    assert_eq!((run.code, &run.json()["frozen"]), (0, &json!([])));
}

fn and_raised(document: &Value) -> Value {
    let mut document = document.clone();
    document["rollouts"][0]["strategy"]["canary"]["percent"] = json!(60);
    document
}

#[test]
fn the_text_shows_until_when_and_why_and_what_is_wrong() {
    let mut old = frozen();
    let mut second = plain("ranker", "/rank/");
    second["freeze"] = json!({"from": "2026-12-24T00:00:00Z", "until": "2026-12-26T00:00:00Z"});
    old["rollouts"].as_array_mut().unwrap().push(second);
    let mut new = old.clone();
    new["rollouts"][0]["strategy"]["canary"]["percent"] = json!(60);
    new["rollouts"][0]["expose"] = json!("debug");
    let run = enforce(&old, &new, &["--at", NOW]);
    assert_eq!((run.code, run.err.as_str()), (2, ""));
    insta::assert_snapshot!(run.out, @"
    fraud-score: 9.0500 % of the units move
      from  to     units
      v1    v2  9.0500 %

    ranker: no unit moves

    fraud-score: frozen until 2027-01-02T06:00:00Z (no change until the new year): refused
      expose: may not change
      strategy.canary.percent: `v2` would get 60.0000 % of the units instead of 50.0000 %

    ranker: frozen until 2026-12-26T00:00:00Z: allowed
    ");
}

#[test]
fn the_answer_for_programs_has_exactly_the_fields_of_the_contract() {
    let new = with(&line("2027-01-05T00:00:00Z", 60, "1d"));
    let answer = enforce(&frozen(), &new, &["--at", NOW, "--format", "json"]).json();
    assert_eq!(
        answer["frozen"],
        json!([{
            "rollout": "fraud-score", "until": "2027-01-02T06:00:00Z", "reason": "no change until the new year",
            "changes": [{"path": "strategy", "message":
                "at 2027-01-05T23:59:59Z `v2` would get 59.9993 % of the units instead of 50.0000 %"}],
            "refused": true,
        }])
    );
    assert_eq!(answer["rollouts"][0]["name"], "fraud-score");
    let place = Place::new();
    place.write("old.json", &frozen().to_string());
    let plain =
        place.run(&["diff", "old.json", "old.json", "--at", NOW, "--units", "10", "--format", "json"]);
    assert_eq!(
        plain.json(),
        json!({"rollouts": [{"name": "fraud-score", "moved_percent": 0.0, "moves": []}]})
    );
}

#[test]
fn each_freeze_of_a_list_counts_and_a_weekly_one_every_week_since_its_beginning() {
    let freezes = json!({"freeze": [
        {"from": "2026-12-23T18:00:00Z", "until": "2027-01-02T06:00:00Z"},
        {"weekly": {"from": "fri 16:00", "until": "mon 08:00"}, "since": "2026-12-05T12:00:00Z", "reason": "weekend"}]});
    let (old, new) = (with(&freezes), with(&and(canary("v2", 60.0), &freezes)));
    for (at, until) in [
        ("2026-11-28T12:00:00Z", None), // a Saturday before `since`
        ("2026-12-05T11:59:59Z", None),
        ("2026-12-05T12:00:00Z", Some("2026-12-07T08:00:00Z")),
        ("2026-12-07T07:59:59Z", Some("2026-12-07T08:00:00Z")),
        ("2026-12-07T08:00:00Z", None),
        ("2026-12-11T15:59:59Z", None),
        ("2026-12-11T16:00:00Z", Some("2026-12-14T08:00:00Z")),
        // The turn of the year ends on a Saturday, so the weekend takes over.
        ("2026-12-23T18:00:00Z", Some("2027-01-04T08:00:00Z")),
    ] {
        let run = enforce(&old, &new, &["--at", at, "--format", "json"]);
        assert_eq!(run.code, if until.is_some() { 2 } else { 0 }, "{at}: {run:?}");
        assert_eq!(run.json()["frozen"][0]["until"].as_str(), until, "{at}");
    }
    let run = enforce(&old, &new, &["--at", "2026-12-13T00:00:00Z"]);
    assert!(run.out.contains("frozen until 2026-12-14T08:00:00Z (weekend): refused"), "{}", run.out);
}

#[test]
fn an_override_lets_a_refused_change_pass_and_prints_its_reason() {
    let raised = with(&canary("v2", 60.0));
    let reason = ["--override", "INC-4711: v2 holds the fix", "--at", NOW];
    let run = enforce(&frozen(), &raised, &reason);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    assert!(run.out.contains("(no change until the new year): refused\n"), "{}", run.out);
    assert!(run.out.ends_with("\noverridden: INC-4711: v2 holds the fix\n"), "{}", run.out);
    let answer = enforce(&frozen(), &raised, &[&reason[..], &["--format", "json"]].concat()).json();
    assert_eq!((&answer["frozen"][0]["refused"], &answer["overridden"]), (&json!(true), &json!(reason[1])));

    let allowed = enforce(&frozen(), &with(&canary("v2", 40.0)), &reason);
    assert_eq!(allowed.code, 0);
    assert!(!allowed.out.contains("overridden"), "nothing was overridden: {}", allowed.out);
    for reason in ["", " ", "a\nb", &"x".repeat(257)] {
        let run = enforce(&frozen(), &raised, &["--override", reason]);
        assert_eq!((run.code, run.out.as_str()), (1, ""), "{reason:?}");
    }
    let place = Place::with_documents();
    let run = place.run(&["diff", "good.json", "good.json", "--override", "why"]);
    assert_eq!(run.code, 1, "only `--enforce` can be overridden: {run:?}");
}

#[test]
fn an_arm_may_be_stopped_in_a_freeze_and_not_started() {
    let arms = |stopped: bool| {
        json!({"strategy": {"ab_test": {"arms": [
            {"version": "v1", "weight": 1}, {"version": "v2", "weight": 1, "stopped": stopped}, {"version": "v3", "weight": 1},
            {"version": "v1", "weight": 1}]}}})
    };
    judge(&[
        (arms(false), arms(true), &[]),
        (arms(true), arms(false), &["strategy.ab_test.arms[1].stopped"]),
        (arms(true), arms(true), &[]),
    ]);
}

#[test]
fn no_message_shows_a_unit_or_a_secret() {
    let old = with(&json!({"overrides": [{"units": ["alice"], "version": "v3"}]}));
    let new = with(&json!({"overrides": [{"header":
        {"name": "x-qa-version", "secret_header": "x-qa-key", "secret": "hush"}}]}));
    for format in ["text", "json"] {
        let run = enforce(&old, &new, &["--at", NOW, "--format", format]);
        assert_eq!(run.code, 2);
        assert!(!["alice", "hush"].iter().any(|word| run.out.contains(word)), "{}", run.out);
    }
}
