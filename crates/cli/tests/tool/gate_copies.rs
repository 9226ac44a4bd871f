//! `gate` with the signal `shadow_mismatch`: what copies answered, and whether enough of them were compared.

#![expect(clippy::arithmetic_side_effects, reason = "small numbers that the tests choose")]

use serde_json::{Value, json};

use crate::fake_envoy::{Metrics, serve_metrics};
use crate::run::{Place, Run, document};

/// A place with `guarded.json`, in which a shadow of this version is compared, and the document's hash.
fn place(version: &str, guardrails: &Value) -> (Place, u64) {
    let place = Place::with_documents();
    let mut document = document(50.0);
    let rollout = &mut document["rollouts"][0];
    rollout["shadow"] =
        json!([{"version": version, "cluster": "fraud-copies", "percent": 100, "compare": {}}]);
    rollout["guardrails"] = guardrails.clone();
    place.write("guarded.json", &document.to_string());
    let hash = place.run(&["check", "guarded.json", "--format", "json"]).json()["hash"].as_u64().unwrap();
    (place, hash)
}

fn limit() -> Value {
    json!({"window": "10s", "min_requests": 50, "signals": [{"shadow_mismatch": {"max_percent": 20}}]})
}

fn test() -> Value {
    json!({"window": "10s", "min_requests": 50, "signals": [{"shadow_mismatch": {"max_percent": 1, "confidence": 0.99}}]})
}

fn gate(place: &Place, url: &str, rest: &[&str]) -> Run {
    place.run(&[&["gate", "guarded.json", "--envoy", url, "--min-requests", "0"][..], rest].concat())
}

const SHORT: [&str; 4] = ["--for", "1s", "--format", "json"];
/// Longer than any of these tests waits: it has to end early.
const LONG: [&str; 4] = ["--for", "1h", "--format", "json"];

/// Adds this many results of pairs of a version.
fn ended(metrics: Metrics, version: &str, results: &[(&str, u64)]) -> Metrics {
    results.iter().fold(metrics, |metrics, (result, count)| {
        metrics.of(version, &format!("result=.={result};.;rollout_shadow_total"), *count)
    })
}

/// Adds what the signal has observed of a version.
fn observed(metrics: Metrics, version: &str, [all, bad]: [u64; 2]) -> Metrics {
    let name = |result: &str| {
        format!(
            "signal=.=shadow_mismatch;.;side=.=version;.;result=.={result};.;rollout_guardrail_observations_total"
        )
    };
    metrics.of(version, &name("all"), all).of(version, &name("bad"), bad)
}

/// A proxy with 1,000 pairs that match and 1,000 without an answer before the start, and then these for one second.
fn proxy(
    hash: u64,
    version: &'static str,
    seen: [u64; 2],
    results: &'static [(&'static str, u64)],
) -> String {
    serve_metrics(move |second| {
        let second = second.min(1);
        let metrics = Metrics::serving(hash).requests("v2", "assigned", second);
        let before = |result: &str| if ["match", "shadow_error"].contains(&result) { 1_000 } else { 0 };
        let all: Vec<(&str, u64)> =
            results.iter().map(|(result, count)| (*result, before(result) + count * second)).collect();
        observed(ended(metrics, version, &all), version, seen.map(|count| count * second))
    })
}

#[test]
fn a_pipeline_continues_if_enough_copies_were_compared_and_few_enough_differ() {
    for (version, guardrails) in [("v2", limit()), ("v2", test()), ("v3", limit()), ("v3", test())] {
        let (place, hash) = place(version, &guardrails);
        let results =
            &[("sent", 150), ("match", 90), ("mismatch", 0), ("shadow_error", 10), ("skipped_sample", 50)];
        let run = gate(&place, &proxy(hash, version, [90, 0], results), &SHORT);
        assert_eq!(run.code, 0, "{run:?}");
        let versions = &run.json()["rollouts"][0]["versions"];
        let own = versions.as_array().unwrap().iter().find(|of| of["name"] == version).unwrap();
        assert_eq!(own["copies"], json!({"compared": 90, "meant": 100}), "{own}");
        let signal = &own["signals"][0];
        assert_eq!((&signal["state"], &signal["stable"]), (&json!("fine"), &Value::Null), "{signal}");
        assert_eq!(signal["version"], json!({"observed": 90, "bad": 0}));
    }
}

#[test]
fn fewer_than_nine_in_ten_compared_are_a_no_that_says_what_was_seen() {
    let (place, hash) = place("v3", &limit());
    let results = &[("match", 80), ("mismatch", 9), ("skipped_size", 7), ("live_error", 4)];
    let run = gate(&place, &proxy(hash, "v3", [89, 9], results), &SHORT);
    assert_eq!(run.code, 2, "{run:?}");
    let says = "copies to fraud-score v3: compared 89 of 100 (live_error 4, skipped_size 7), needs 90 %";
    assert_eq!(run.json()["reason"], says);
    let run = gate(&place, &proxy(hash, "v3", [89, 9], results), &["--for", "1s"]);
    assert!(run.out.contains("copies to v3: compared 89 of 100 (live_error 4, skipped_size 7)\n"), "{run:?}");
}

#[test]
fn copies_outside_the_sample_and_answers_of_other_versions_are_not_meant_to_be_compared() {
    let (place, hash) = place("v3", &limit());
    let results = &[("match", 100), ("skipped_sample", 900), ("skipped_other", 500), ("skipped_rate", 50)];
    let run = gate(&place, &proxy(hash, "v3", [100, 0], results), &SHORT);
    assert_eq!(run.code, 0, "{run:?}");
}

#[test]
fn a_gate_that_saw_no_pairs_does_not_pass() {
    for (guardrails, says) in [
        (limit(), "signal shadow_mismatch of fraud-score v3 saw 0, needs 50"),
        (test(), "signal shadow_mismatch of fraud-score v3 counted 0, needs 50"),
    ] {
        let (place, hash) = place("v3", &guardrails);
        let run = gate(&place, &proxy(hash, "v3", [0, 0], &[("sent", 100)]), &SHORT);
        assert_eq!((run.code, &run.json()["reason"]), (2, &json!(says)), "{run:?}");
    }
}

#[test]
fn too_many_mismatches_are_a_no_at_once_also_of_a_version_that_only_gets_copies() {
    for version in ["v2", "v3"] {
        for (guardrails, says) in [
            (limit(), "30 of 100 (30.0000 %), limit 20.0000 %"),
            (test(), "30 of 100 (30.0000 %), allowed 1.0000 %, evidence "),
        ] {
            let (place, hash) = place(version, &guardrails);
            let results = &[("match", 70), ("mismatch", 30)];
            let run = gate(&place, &proxy(hash, version, [100, 30], results), &LONG);
            assert_eq!(run.code, 2, "{run:?}");
            let reason = run.json()["reason"].as_str().unwrap().to_owned();
            let says = format!("signal shadow_mismatch condemns fraud-score {version}: {says}");
            assert!(reason.starts_with(&says), "{reason}");
        }
    }
}

#[test]
fn what_only_warns_is_named_and_passes() {
    let mut guardrails = limit();
    guardrails["action"] = json!("warn");
    let (place, hash) = place("v3", &guardrails);
    let results = &[("match", 20), ("mismatch", 30), ("shadow_error", 50)];
    let run = gate(&place, &proxy(hash, "v3", [50, 30], results), &SHORT);
    assert_eq!(run.code, 0, "{run:?}");
    let says = [
        "signal shadow_mismatch condemns fraud-score v3: 30 of 50 (60.0000 %), limit 20.0000 %",
        "copies to fraud-score v3: compared 50 of 100 (shadow_error 50), needs 90 %",
    ];
    assert_eq!(run.json()["warnings"], json!(says));
}

#[test]
fn other_signals_are_not_asked_about_a_version_that_only_gets_copies() {
    let guardrails = json!({"window": "10s", "min_requests": 50, "signals": [{"consecutive_failures": 20},
        {"error_rate": {"max_percent": 20}}, {"shadow_mismatch": {"max_percent": 20}}]});
    let (place, hash) = place("v3", &guardrails);
    let url = serve_metrics(move |second| {
        let requests = second * 100;
        let metrics = Metrics::serving(hash).requests("v2", "assigned", requests);
        let metrics = metrics.seen("error_rate", "version", [requests, 0]);
        let metrics = ended(metrics, "v3", &[("match", requests)]);
        observed(metrics, "v3", [requests, 0]).latency("v2", &[(10, requests)])
    });
    let run = gate(&place, &url, &SHORT);
    assert_eq!(run.code, 0, "{run:?}");
    let answer = run.json();
    let names = |version: usize| -> Vec<&str> {
        let signals = answer["rollouts"][0]["versions"][version]["signals"].as_array().unwrap();
        signals.iter().map(|signal| signal["name"].as_str().unwrap()).collect()
    };
    assert_eq!(names(0), ["consecutive_failures", "error_rate"]);
    assert_eq!(names(1), ["shadow_mismatch"]);
}
