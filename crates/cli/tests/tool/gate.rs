//! `gate`: when a pipeline may go on, when not, and when nobody can tell.

#![expect(clippy::arithmetic_side_effects, reason = "small numbers that the tests choose")]

use serde_json::{Value, json};

use crate::fake_envoy::{Metrics, anonymous, nobody, serve, serve_metrics};
use crate::run::{Place, Run, document};

/// A place with `guarded.json`, and the document's hash.
fn place(guardrails: &Value) -> (Place, u64) {
    let place = Place::with_documents();
    let mut document = document(50.0);
    document["rollouts"][0]["guardrails"] = guardrails.clone();
    place.write("guarded.json", &document.to_string());
    let hash = place.run(&["check", "guarded.json", "--format", "json"]).json()["hash"].as_u64().unwrap();
    (place, hash)
}

fn guardrails() -> Value {
    json!({"window": "10s", "min_requests": 50, "signals": [
        {"error_rate": {"max_percent": 20}},
        {"error_rate": {"max_increase_percent": 2, "confidence": 0.99}},
        {"consecutive_failures": 20},
        {"sample_ratio": {"confidence": 0.999}}]})
}

/// Only the signal that `v2` feeds.
fn absolute() -> Value {
    json!({"window": "10s", "min_requests": 50, "signals": [{"error_rate": {"max_percent": 20}}]})
}

fn gate(place: &Place, envoys: &[&String], rest: &[&str]) -> Run {
    let mut args = vec!["gate", "guarded.json", "--format", "json"];
    args.extend(envoys.iter().flat_map(|url| ["--envoy", url.as_str()]));
    place.run(&[&args[..], rest].concat())
}

const SHORT: [&str; 4] = ["--for", "1s", "--min-requests", "50"];
/// Longer than any of these tests waits: it has to end early.
const LONG: [&str; 4] = ["--for", "1h", "--min-requests", "50"];

/// What v2 had after so many seconds of this many requests and failures each.
fn v2(metrics: Metrics, second: u64, [requests, failures]: [u64; 2]) -> Metrics {
    let (all, bad) = (1_000 + second * requests, 7 + second * failures);
    metrics
        .requests("v2", "assigned", all)
        .of("v2", "rollout_failures_total", bad)
        .of("v2", "rollout_rolled_back", 0)
        .seen("error_rate", "version", [all, bad])
}

/// What v2 and stable had of every signal after so many seconds, enough for each to be judged.
fn healthy(hash: u64, second: u64) -> Metrics {
    let compared = [second * 100, second];
    let metrics = v2(Metrics::serving(hash), second, [100, 1]).seen("error_rate", "stable", compared);
    metrics.seen("error_rate_increase", "version", compared).seen("error_rate_increase", "stable", compared)
}

/// Long enough for signals that compare: the first second only teaches how stable is doing.
const COMPARED: [&str; 4] = ["--for", "3s", "--min-requests", "50"];

#[test]
fn a_pipeline_continues_without_objections_and_learns_the_sums_of_all_proxies() {
    let (place, hash) = place(&guardrails());
    let metrics = move |number: u64| {
        let second = number.min(2); // a busy machine asks less often
        v2(Metrics::serving(hash), second, [40, 2])
            .requests("v2", "forced", second)
            .of("v2", "rollout_abandoned_total", second * 3)
            .seen("error_rate", "stable", [second * 400, second])
            .seen("error_rate_increase", "version", [second * 30, second])
            .seen("error_rate_increase", "stable", [second * 25, second])
    };
    let urls = [serve_metrics(metrics), serve_metrics(metrics)];
    let run = gate(&place, &[&urls[0], &urls[1]], &COMPARED);
    assert_eq!((run.code, run.err.as_str()), (0, ""), "{run:?}");
    let mut answer = run.json();
    assert!(answer["seconds"].take().as_f64().unwrap() >= 3.0);
    let increase = &mut answer["rollouts"][0]["versions"][0]["signals"][1];
    assert!(increase["e_value"].take().as_f64().unwrap() < 100.0);
    let signal = |name: &str, state: &str, version: Value| {
        json!({"name": name, "state": state, "version": version, "stable": null, "trips": 0, "withheld_on": [],
               "warming_up_on": [], "needs": null, "window": null, "limit_percent": null, "e_value": null, "bound": null})
    };
    let none = json!({"observed": 0, "bad": 0});
    let mut rate = signal("error_rate", "fine", json!({"observed": 160, "bad": 8}));
    rate["stable"] = json!({"observed": 1_600, "bad": 4});
    rate["window"] = json!({"observed": 160, "bad": 8});
    rate["limit_percent"] = json!(20.0);
    rate["needs"] = json!(50);
    let mut increase = signal("error_rate_increase", "fine", json!({"observed": 120, "bad": 4}));
    increase["bound"] = json!(100.0);
    increase["stable"] = json!({"observed": 100, "bad": 4});
    increase["needs"] = json!(50);
    assert_eq!(
        answer,
        json!({"ok": true, "reason": "no objections", "seconds": null, "warnings": [], "rollouts": [
            {"name": "fraud-score", "versions": [
                {"name": "v2", "requests": 160, "outcomes": 168, "failures": 8, "abandoned": 12, "latched_on": [], "signals": [
                    rate, increase, signal("consecutive_failures", "judged by proxies", none.clone()),
                    signal("sample_ratio", "judged by proxies", none)]}]}]})
    );
}

#[test]
fn the_sum_condemns_a_version_of_which_each_proxy_has_seen_too_little() {
    let (place, hash) = place(&guardrails());
    let urls = [(); 2].map(|()| serve_metrics(move |second| v2(Metrics::serving(hash), second, [30, 15])));
    let run = gate(&place, &[&urls[0], &urls[1]], &LONG);
    assert_eq!(run.code, 2, "{run:?}");
    let reason = "signal error_rate condemns fraud-score v2: 30 of 60 (50.0000 %), limit 20.0000 %";
    assert_eq!((&run.json()["ok"], &run.json()["reason"]), (&json!(false), &json!(reason)));
}

#[test]
fn a_version_that_a_signal_could_not_judge_at_the_end_does_not_pass() {
    let (place, hash) = place(&guardrails());
    let url = serve_metrics(move |second| v2(Metrics::serving(hash), second.min(1), [49, 49]));
    let run = gate(&place, &[&url], &["--for", "1s", "--min-requests", "1"]);
    assert_eq!(run.code, 2, "half of them failed, which nobody has judged: {run:?}");
    let answer = run.json();
    assert_eq!(
        answer["reason"],
        "signal error_rate of fraud-score v2 saw 49, needs 50; \
         signal error_rate_increase of fraud-score v2 compared 0 with 0 of stable, needs 50 of each"
    );
    let signals = &answer["rollouts"][0]["versions"][0]["signals"];
    let states = [0, 1, 2, 3].map(|position: usize| signals[position]["state"].as_str().unwrap());
    assert_eq!(states, ["too few", "nothing seen", "judged by proxies", "judged by proxies"]);
    assert_eq!(answer["warnings"], json!([]));
}

#[test]
fn an_absolute_signal_is_judged_at_the_end_by_its_last_window() {
    let mut guardrails = absolute();
    guardrails["window"] = json!("1s");
    let (place, hash) = place(&guardrails);
    let url = serve_metrics(move |second| v2(Metrics::serving(hash), second.min(1), [1_000, 0]));
    let run = gate(&place, &[&url], &["--for", "4s", "--min-requests", "500"]);
    assert_eq!(
        (run.code, &run.json()["reason"]),
        (2, &json!("signal error_rate of fraud-score v2 saw 0, needs 50"))
    );
    assert_eq!(run.json()["rollouts"][0]["versions"][0]["signals"][0]["state"], "nothing seen");
}

#[test]
fn signals_that_only_warn_pass_unjudged_but_are_named() {
    for (field, value) in [("action", json!("warn")), ("dry_run", json!(true))] {
        let mut guardrails = guardrails();
        guardrails[field] = value;
        let (place, hash) = place(&guardrails);
        let url = serve_metrics(move |second| v2(Metrics::serving(hash), second.min(1), [40, 0]));
        let run = gate(&place, &[&url], &["--for", "1s", "--min-requests", "1"]);
        assert_eq!(run.code, 0, "{run:?}");
        assert_eq!(run.json()["warnings"][0], "signal error_rate of fraud-score v2 saw 40, needs 50");
    }
}

#[test]
fn comparisons_are_named_and_do_not_block_if_the_document_leaves_stable_nobody() {
    let place = Place::with_documents();
    let mut document = document(100.0);
    document["rollouts"][0]["guardrails"] = guardrails();
    place.write("guarded.json", &document.to_string());
    let hash = place.run(&["check", "guarded.json", "--format", "json"]).json()["hash"].as_u64().unwrap();
    let url = serve_metrics(move |second| v2(Metrics::serving(hash), second, [100, 0]));
    let run = gate(&place, &[&url], &SHORT);
    assert_eq!(run.code, 0, "{run:?}");
    let says = "signal error_rate_increase of fraud-score v2 has nothing to compare with: the document leaves stable nobody";
    assert_eq!(run.json()["warnings"], json!([says]));
    let url = serve_metrics(move |second| v2(Metrics::serving(hash), second, [40, 0]));
    let run = gate(&place, &[&url], &["--for", "1s", "--min-requests", "0"]);
    assert_eq!(run.code, 2, "an absolute signal has to be judged all the same: {run:?}");
}

#[test]
fn comparisons_block_if_stable_is_itself_an_arm_of_a_test_that_has_all_units() {
    let place = Place::with_documents();
    let mut document = document(100.0);
    let arms = ["v1", "v2"].map(|version| json!({"version": version, "weight": 1}));
    document["rollouts"][0]["strategy"] = json!({"ab_test": {"arms": arms}});
    document["rollouts"][0]["guardrails"] = guardrails();
    place.write("guarded.json", &document.to_string());
    let hash = place.run(&["check", "guarded.json", "--format", "json"]).json()["hash"].as_u64().unwrap();
    let url = serve_metrics(move |second| v2(Metrics::serving(hash), second, [100, 0]));
    let run = gate(&place, &[&url], &SHORT);
    let reason = "signal error_rate_increase of fraud-score v2 compared 0 with 0 of stable, needs 50 of each";
    assert_eq!((run.code, &run.json()["reason"]), (2, &json!(reason)), "{run:?}");
}

#[test]
fn a_pipeline_waits_while_a_proxy_withholds_a_verdict_or_warms_up() {
    let (place, hash) = place(&guardrails());
    let with = |metric: &'static str, value: u64| {
        let metrics = move |second| healthy(hash, second).signal("error_rate", metric, value);
        [serve_metrics(move |second| healthy(hash, second)), serve_metrics(metrics)]
    };
    for (metric, state, says) in [
        ("rollout_guardrail_withheld", "withheld", "is withheld on B, because stable is as bad"),
        ("rollout_guardrail_warming_up", "warming up", "is warming up on B"),
    ] {
        let urls = with(metric, 1);
        let run = gate(&place, &[&urls[0], &urls[1]], &COMPARED);
        assert_eq!(run.code, 2, "{run:?}");
        let answer: Value = serde_json::from_str(&anonymous(&run.out, &[&urls[0], &urls[1]])).unwrap();
        assert_eq!(answer["reason"], format!("signal error_rate of fraud-score v2 {says}"));
        let signal = &answer["rollouts"][0]["versions"][0]["signals"][0];
        let on = &signal[format!("{}_on", state.replace(' ', "_"))];
        assert_eq!((&signal["state"], on), (&json!(state), &json!(["B"])));

        let urls = with(metric, 0);
        assert_eq!(gate(&place, &[&urls[0], &urls[1]], &COMPARED).code, 0, "{metric} has passed");
    }
    let withheld = move |second: u64| {
        healthy(hash, second).signal("error_rate", "rollout_guardrail_withheld_total", 5 + second.min(1))
    };
    let run = gate(&place, &[&serve_metrics(withheld)], &COMPARED);
    assert_eq!(run.code, 0, "{run:?}");
    let says = "signal error_rate of fraud-score v2 was withheld once in the proxies";
    assert_eq!(run.json()["warnings"], json!([says]), "before the start, it does not count");
}

#[test]
fn a_verdict_over_the_sum_is_withheld_if_stable_is_as_bad() {
    let (place, hash) = place(&guardrails());
    let both_fail = move |second: u64| {
        healthy(hash, 0)
            .requests("v2", "assigned", second * 40)
            .seen("error_rate", "version", [second * 40, second * 20])
            .seen("error_rate", "stable", [second * 400, second * 190])
    };
    let urls = [serve_metrics(both_fail), serve_metrics(both_fail)];
    let run = gate(&place, &[&urls[0], &urls[1]], &["--for", "1s", "--min-requests", "0"]);
    assert_eq!(run.code, 2, "{run:?}");
    let says = "signal error_rate of fraud-score v2 is withheld, because stable is as bad: \
        40 of 80 (50.0000 %), stable 380 of 800 (47.5000 %), limit 20.0000 %";
    assert!(run.json()["reason"].as_str().unwrap().starts_with(says), "{run:?}");
    assert_eq!(run.json()["rollouts"][0]["versions"][0]["signals"][0]["state"], "withheld");
}

#[test]
fn requests_that_merely_began_are_no_outcomes() {
    let (place, hash) = place(&guardrails());
    let url =
        serve_metrics(move |second| healthy(hash, second.min(2)).requests("v2", "session", second * 1_000));
    let run = gate(&place, &[&url], &["--for", "3s", "--min-requests", "1000"]);
    assert_eq!(
        (run.code, &run.json()["reason"]),
        (2, &json!("too few outcomes: fraud-score v2 has 200, needs 1000"))
    );

    // Only failures in a row are judged, so nothing is observed: the answers in the histogram are what is known.
    let mut guardrails = guardrails();
    guardrails["signals"] = json!([{"consecutive_failures": 20}]);
    let (place, hash) = self::place(&guardrails);
    let metrics = move |second: u64| {
        Metrics::serving(hash)
            .requests("v2", "assigned", second * 1_000)
            .requests("v2", "forced", second * 10)
            .of("v2", "rollout_failures_total", second)
            .of("v2", "rollout_abandoned_total", second * 5)
            .latency("v2", &[(10, second * 80), (20, second * 20)])
    };
    let url = serve_metrics(move |second| metrics(second.min(1)));
    let run = gate(&place, &[&url], &["--for", "1s", "--min-requests", "96"]);
    assert_eq!(
        (run.code, &run.json()["reason"]),
        (2, &json!("too few outcomes: fraud-score v2 has 95, needs 96"))
    );
    assert_eq!(gate(&place, &[&serve_metrics(metrics)], &["--for", "1s", "--min-requests", "95"]).code, 0);
    let hangs = serve_metrics(move |second| {
        let began = Metrics::serving(hash).requests("v2", "assigned", second * 1_000);
        began.of("v2", "rollout_abandoned_total", second * 900)
    });
    let run = gate(&place, &[&hangs], &["--for", "1s", "--min-requests", "100"]);
    let says = "signal consecutive_failures of fraud-score v2 saw nothing";
    assert_eq!((run.code, &run.json()["reason"]), (2, &json!(says)));
}

#[test]
fn proxies_with_rates_of_their_own_are_not_compared_with_each_other() {
    let (place, hash) = place(&guardrails());
    // One proxy fails 15 % of all requests, the other none, and v2 has most of its traffic on the first.
    let serving = |sizes: [u64; 2], percent: u64| {
        serve_metrics(move |second| {
            let [version, stable] = sizes.map(|size| [second * size, second * size * percent / 100]);
            v2(Metrics::serving(hash), second, [sizes[0], sizes[0] * percent / 100])
                .seen("error_rate", "stable", stable)
                .seen("error_rate_increase", "version", version)
                .seen("error_rate_increase", "stable", stable)
        })
    };
    let urls = [serving([4_000, 1_000], 15), serving([1_000, 4_000], 0)];
    let run = gate(&place, &[&urls[0], &urls[1]], &["--for", "5s", "--min-requests", "50"]);
    assert_eq!(run.code, 0, "{run:?}");
    let signal = &run.json()["rollouts"][0]["versions"][0]["signals"][1];
    let rate =
        |side: &str| signal[side]["bad"].as_f64().unwrap() / signal[side]["observed"].as_f64().unwrap();
    assert!(rate("version") > rate("stable") + 0.05, "the sums look bad: {signal}");
    assert!(signal["e_value"].as_f64().unwrap() < 1.0, "{signal}");
}

#[test]
fn a_version_that_is_worse_than_stable_beyond_doubt_is_condemned() {
    let (place, hash) = place(&guardrails());
    let metrics = move |second| {
        v2(Metrics::serving(hash), second, [1_000, 150])
            .seen("error_rate_increase", "version", [second * 1_000, second * 150])
            .seen("error_rate_increase", "stable", [second * 1_000, second * 10])
    };
    let run = gate(&place, &[&serve_metrics(metrics)], &LONG);
    assert_eq!(run.code, 2, "{run:?}");
    let signal = &run.json()["rollouts"][0]["versions"][0]["signals"][1];
    assert_eq!(signal["state"], "condemns");
    assert!(signal["e_value"].as_f64() >= signal["bound"].as_f64());
}

#[test]
fn a_latch_that_one_of_two_proxies_holds_is_a_no_at_once() {
    let (place, hash) = place(&guardrails());
    let good = serve_metrics(move |second| v2(Metrics::serving(hash), second, [100, 0]));
    let latched = serve_metrics(move |_| {
        Metrics::serving(hash).requests("v2", "assigned", 10).of("v2", "rollout_rolled_back", 1)
    });
    let run = gate(&place, &[&good, &latched], &LONG);
    assert_eq!(run.code, 2, "{run:?}");
    let answer: Value = serde_json::from_str(&anonymous(&run.out, &[&good, &latched])).unwrap();
    assert_eq!(answer["reason"], "fraud-score v2 is rolled back on B");
    assert_eq!(answer["rollouts"][0]["versions"][0]["latched_on"], json!(["B"]));
}

#[test]
fn a_version_that_a_proxy_holds_below_the_documents_exposure_is_frozen_there() {
    let (place, hash) = place(&guardrails());
    let exposing = |ppm: [u64; 2]| {
        serve_metrics(move |second| {
            let ppm = ppm[usize::from(second > 0)];
            healthy(hash, second).of("v2", "rollout_exposure_ppm", ppm)
        })
    };
    let (good, frozen) = (exposing([500_000, 500_000]), exposing([100_000, 100_000]));
    let run = gate(&place, &[&good, &frozen], &LONG);
    assert_eq!(run.code, 2, "{run:?}");
    let answer: Value = serde_json::from_str(&anonymous(&run.out, &[&good, &frozen])).unwrap();
    assert_eq!(answer["reason"], "fraud-score v2 is kept below the document's exposure on B");
    assert_eq!(answer["rollouts"][0]["versions"][0]["latched_on"], json!(["B"]));

    let late = exposing([100_000, 500_000]);
    assert_eq!(gate(&place, &[&late], &COMPARED).code, 0, "it had just taken the document");
}

#[test]
fn what_trips_in_a_proxy_is_a_no_unless_it_only_warns() {
    let trips = |signal: &str| format!("signal=.={signal};.;rollout_guardrail_trips_total");
    let with = |field: &str, value: Value| {
        let mut guardrails = guardrails();
        guardrails[field] = value;
        guardrails
    };
    for (guardrails, signal, code) in [
        (guardrails(), "consecutive_failures", 2),
        (with("action", json!("freeze")), "consecutive_failures", 2),
        (with("action", json!("warn")), "consecutive_failures", 0),
        (with("dry_run", json!(true)), "consecutive_failures", 0),
        (guardrails(), "sample_ratio", 0),
    ] {
        let (place, hash) = place(&guardrails);
        let name = trips(signal);
        let url = serve_metrics(move |second| healthy(hash, second).of("v2", &name, 3 + second.min(1)));
        let run = gate(&place, &[&url], &COMPARED);
        assert_eq!(run.code, code, "{guardrails} {run:?}");
        let says = format!("signal {signal} of fraud-score v2 tripped once in the proxies");
        let answer = run.json();
        let said = if code == 0 { &answer["warnings"][0] } else { &answer["reason"] };
        assert_eq!(said, &json!(says), "what tripped before does not count");
    }
}

#[test]
fn what_condemned_a_version_for_a_while_is_reported_with_its_numbers() {
    let mut guardrails = absolute();
    guardrails["window"] = json!("1s");
    guardrails["action"] = json!("warn");
    let (place, hash) = place(&guardrails);
    let url = serve_metrics(move |second| {
        let (all, bad) = (second * 60, second.min(1) * 30);
        v2(Metrics::serving(hash), 0, [0, 0]).seen("error_rate", "version", [all, bad])
    });
    let run = gate(&place, &[&url], &["--for", "3s", "--min-requests", "0"]);
    assert_eq!(run.code, 0, "{run:?}");
    let answer = run.json();
    let says = "signal error_rate condemns fraud-score v2: 30 of 60 (50.0000 %), limit 20.0000 %";
    assert_eq!(answer["warnings"], json!([says]));
    let signal = &answer["rollouts"][0]["versions"][0]["signals"][0];
    assert_eq!(
        (&signal["state"], &signal["window"]),
        (&json!("condemns"), &json!({"observed": 60, "bad": 30}))
    );
}

#[test]
fn too_few_outcomes_are_a_no_and_forced_ones_do_not_count() {
    let (place, hash) = place(&json!({"min_requests": 1, "signals": [{"error_rate": {"max_percent": 20}}]}));
    let url = serve_metrics(move |second| {
        v2(Metrics::serving(hash), second, [20, 0]).requests("v2", "forced", second * 500)
    });
    let run = gate(&place, &[&url], &SHORT);
    assert_eq!(run.code, 2, "{run:?}");
    assert_eq!(run.json()["reason"], "too few outcomes: fraud-score v2 has 20, needs 50");
}

#[test]
fn an_envoy_that_serves_another_document_can_not_be_judged() {
    let (place, hash) = place(&guardrails());
    let good = serve_metrics(move |second| v2(Metrics::serving(hash), second, [100, 0]));
    let other = serve_metrics(|_| Metrics::serving(7));
    let run = gate(&place, &[&good, &other], &LONG);
    assert_eq!(run.code, 1, "{run:?}");
    let reason = format!("Envoy at B serves hash 7, but the document has hash {hash}");
    let answer: Value = serde_json::from_str(&anonymous(&run.out, &[&good, &other])).unwrap();
    assert_eq!((&answer["ok"], &answer["reason"]), (&json!(false), &json!(reason)));
}

#[test]
fn a_restarted_proxy_counts_from_zero() {
    let (place, hash) = place(&absolute());
    let url = serve_metrics(move |second| match second {
        0 => v2(Metrics::serving(hash), 0, [0, 0]),
        _ => Metrics::serving(hash)
            .requests("v2", "assigned", 60)
            .of("v2", "rollout_failures_total", 8)
            .seen("error_rate", "version", [60, 8]),
    });
    let run = gate(&place, &[&url], &SHORT);
    assert_eq!(run.code, 0, "{run:?}");
    let version = &run.json()["rollouts"][0]["versions"][0];
    assert_eq!(
        (&version["requests"], &version["failures"]),
        (&json!(60), &json!(8)),
        "8 is more than the 7 before"
    );
    assert_eq!(version["signals"][0]["version"], json!({"observed": 60, "bad": 8}));
}

#[test]
fn an_envoy_that_is_silent_at_the_end_can_not_be_judged_but_one_that_was_silent_can() {
    let (place, hash) = place(&absolute());
    let silent_at = |when: u64| {
        let mut number = 0;
        serve(move |_| {
            number += 1;
            if number - 1 == when {
                (503, String::new())
            } else {
                v2(Metrics::serving(hash), number, [100, 0]).text()
            }
        })
    };
    let good = serve_metrics(move |second| v2(Metrics::serving(hash), second, [100, 0]));
    let nobody = nobody();
    let run = gate(&place, &[&good, &nobody], &SHORT);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.json()["reason"].as_str().unwrap().contains(nobody.as_str()), "{run:?}");
    assert!(run.err.contains("warning:") && run.err.contains(nobody.as_str()), "{run:?}");

    assert_eq!(gate(&place, &[&silent_at(1)], &SHORT).code, 1);
    let run = gate(&place, &[&silent_at(1)], &["--for", "2s", "--min-requests", "50"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.json()["warnings"][0].as_str().unwrap().ends_with("did not answer 1 time"), "{run:?}");
    assert_eq!(run.json()["rollouts"][0]["versions"][0]["requests"], 200, "nothing is lost in between");

    let empty = serve_metrics(|_| Metrics::none());
    let run = gate(&place, &[&empty], &SHORT);
    assert_eq!(run.code, 1);
    assert!(run.json()["reason"].as_str().unwrap().starts_with("no filter `rollout` serves a document"));
}

#[test]
fn a_document_without_guardrails_gives_nothing_to_judge_by() {
    let (place, _) = place(&guardrails());
    let url = nobody();
    for (file, rollout, says) in [
        ("good.json", "fraud-score", "no version has guardrails"),
        ("guarded.json", "other", "no rollout `other`; the document has `fraud-score`"),
    ] {
        let run = place.run(&[&["gate", file, "--envoy", &url, "--rollout", rollout], &LONG[..]].concat());
        assert_eq!((run.code, run.out.as_str()), (1, ""), "{run:?}");
        assert!(run.err.contains(says), "{run:?}");
    }
}

#[test]
fn the_text_shows_the_answer_first_and_then_what_each_signal_found() {
    let (place, hash) = place(&guardrails());
    let url = serve_metrics(move |second| v2(Metrics::serving(hash), second, [60, 30]));
    let run = place.run(&[&["gate", "guarded.json", "--envoy", &url], &LONG[..]].concat());
    assert_eq!((run.code, run.err.as_str()), (2, ""));
    let out = run.out.replacen(", after 2 s", ", after 1 s", 1); // on a busy machine
    insta::assert_snapshot!(out, @r"
    do not continue: signal error_rate condemns fraud-score v2: 30 of 60 (50.0000 %), limit 20.0000 %, after 1 s

    fraud-score
      version  requests  outcomes  failures  abandoned
      v2             60        60        30          0

      version  signal                state              finding
      v2       error_rate            condemns           30 of 60 (50.0000 %), limit 20.0000 %
      v2       error_rate_increase   nothing seen       0 of 0 (0.0000 %), stable 0 of 0 (0.0000 %), margin 2.0000 points, evidence 1, limit 100
      v2       consecutive_failures  judged by proxies  -
      v2       sample_ratio          judged by proxies  -
    ");
}
