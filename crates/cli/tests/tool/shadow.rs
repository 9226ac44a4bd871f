//! `shadow`: what compared shadows have shown, by one Envoy and by several.

use serde_json::{Value, json};

use crate::fake_envoy::{Metrics, anonymous, nobody, serve_metrics};
use crate::run::{Place, Run, document};

/// A place with `shadowed.json`, whose v3 gets copies that are compared, and the document's hash.
fn place() -> (Place, u64) {
    let mut document = document(0.0);
    document["rollouts"][0]["shadow"][0]["cluster"] = json!("fraud-v3-copies");
    document["rollouts"][0]["shadow"][0]["compare"] = json!({});
    place_with(&document)
}

fn place_with(document: &Value) -> (Place, u64) {
    let place = Place::with_documents();
    place.write("shadowed.json", &document.to_string());
    let hash = place.run(&["check", "shadowed.json", "--format", "json"]).json()["hash"].as_u64().unwrap();
    (place, hash)
}

fn shadow(place: &Place, envoys: &[&String], rest: &[&str]) -> Run {
    let mut args = vec!["shadow", "shadowed.json"];
    args.extend(envoys.iter().flat_map(|url| ["--envoy", url.as_str()]));
    place.run(&[&args[..], rest].concat())
}

/// A shadow that agrees with stable on 940 of 950 pairs, out of 1,000 copies.
fn compared(hash: u64) -> Metrics {
    Metrics::serving(hash)
        .uptime(7_985)
        .requests("v1", "not_exposed", 1_002)
        .copies("v3", "sent", 1_000)
        .copies("v3", "skipped_body", 2)
        .copies("v3", "match", 940)
        .copies("v3", "mismatch", 10)
        .copies("v3", "shadow_error", 20)
        .copies("v3", "skipped_size", 4)
        .copies("v3", "skipped_abandoned", 1)
        .copies("v3", "skipped_sample", 22)
        .differs("/outputs/*/data/*", "number", 9)
        .differs("/model_version", "missing", 2)
        .differs("status", "status", 1)
        .latency("v1", &[(10, 990), (200, 12)])
        .copy_latency("v3", &[(14, 500), (30, 497)])
}

#[test]
fn a_shadow_is_reported_with_what_matched_what_differed_and_what_was_not_compared() {
    let (place, hash) = place();
    let url = serve_metrics(move |_| compared(hash));
    let run = shadow(&place, &[&url], &[]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    insta::assert_snapshot!(anonymous(&run.out, &[&url]), @r"
    A: counts since it started, 2h 13m 5s ago

    fraud-score: v3 against v1
      sent      1000 copies to fraud-v3-copies
      compared  950 of 975 pairs (97.4359 %)
      matched   940 (98.9474 %); at confidence 0.95: 97.2512 % to 99.7458 %
      open      3 copies: without a result yet, or lost with a VM, or sent when nothing was compared
      2 were not sent: the request was longer than `max_body_bytes` (1048576)
      20 were not compared: the shadow gave no whole answer before the pair ended
      4 were not compared: an answer was longer than `compare.max_body_bytes` (65536)
      1 was not compared: the client left before its answer was whole
      22 were left out: `compare.sample` did not choose the pair

      version      answers      p50      p90       p99
      v3 (copies)      997  15.0 ms  30.8 ms   31.0 ms
      v1 (live)       1002  10.5 ms  10.9 ms  200.2 ms

      differs at         kind     times  of mismatches
      /outputs/*/data/*  number       9      90.0000 %
      /model_version     missing      2      20.0000 %
      status             status       1      10.0000 %
    ");
}

#[test]
fn counts_of_several_envoys_add_up_in_the_answer_for_programs() {
    let (place, hash) = place();
    let urls = [serve_metrics(move |_| compared(hash)), serve_metrics(move |_| compared(hash))];
    let run = shadow(&place, &[&urls[0], &urls[1]], &["--confidence", "0.99", "--format", "json"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    let answer: Value = serde_json::from_str(&anonymous(&run.out, &[&urls[0], &urls[1]])).unwrap();
    let envoy = |url: &str| json!({"url": url, "error": null, "counted_seconds": 7_985});
    let cause = |result: &str, count: u64, why: &str| json!({"result": result, "count": count, "why": why});
    let differs = |pointer: &str, kind: &str, count: u64, percent: f64| json!({"pointer": pointer, "kind": kind, "count": count, "mismatch_percent": percent});
    assert_eq!(
        answer,
        json!({"confidence": 0.99, "envoys": [envoy("A"), envoy("B")], "warnings": [], "rollouts": [
            {"name": "fraud-score", "stable": "v1", "shadows": [
                {"version": "v3", "cluster": "fraud-v3-copies", "compares": true, "sent": 2_000, "open": 6,
                 "not_sent": [cause("skipped_body", 4, "the request was longer than `max_body_bytes` (1048576)")],
                 "to_compare": 1_950, "compared": 1_900, "compared_percent": 97.4359,
                 "matched": 1_880, "matched_percent": 98.9474, "matched_interval_percent": [97.6633, 99.6471],
                 "not_compared": [
                    cause("shadow_error", 40, "the shadow gave no whole answer before the pair ended"),
                    cause("skipped_size", 8, "an answer was longer than `compare.max_body_bytes` (65536)"),
                    cause("skipped_abandoned", 2, "the client left before its answer was whole")],
                 "left_out": [cause("skipped_sample", 44, "`compare.sample` did not choose the pair")],
                 "latency_ms": {"shadow": {"answers": 1_994, "p50": 15.0, "p90": 30.8, "p99": 31.0},
                                "stable": {"answers": 2_004, "p50": 10.5, "p90": 10.9, "p99": 200.2}},
                 "differences": [differs("/outputs/*/data/*", "number", 18, 90.0), differs("/model_version", "missing", 4, 20.0),
                                 differs("status", "status", 2, 10.0)]}]}]})
    );
}

#[test]
fn only_what_is_counted_from_now_on_is_reported_on_request() {
    let (place, hash) = place();
    let grows = serve_metrics(move |round| {
        Metrics::serving(hash)
            .uptime(100 + round)
            .copies("v3", "sent", 1_000 + round * 50)
            .copies("v3", "match", 900 + round * 40)
            .copies("v3", "mismatch", 100 + round * 10)
            .differs("/a", "number", 100)
            .differs("/b", "text", round * 10)
            .copy_latency("v3", &[(500, 1_000), (10, 50 * round)])
    });
    let restarts = serve_metrics(move |round| match round {
        0 => Metrics::serving(hash).uptime(100).copies("v3", "sent", 1_000).copies("v3", "match", 1_000),
        _ => Metrics::serving(hash).uptime(7).copies("v3", "sent", 5).copies("v3", "match", 5),
    });
    let run = shadow(&place, &[&grows, &restarts], &["--for", "10ms", "--format", "json"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    let answer = run.json();
    let spans: Vec<_> =
        (0..2).map(|at: usize| answer["envoys"][at]["counted_seconds"].as_u64().unwrap()).collect();
    assert!(spans[0] < 100 && spans[1] == 7, "{spans:?}");
    let text = shadow(&place, &[&restarts], &["--for", "10ms"]);
    assert!(text.out.contains(": counts of the last 0s\n"), "{text:?}");
    let shadow = &answer["rollouts"][0]["shadows"][0];
    let counts = ["sent", "matched", "compared", "open"].map(|name| shadow[name].as_u64().unwrap());
    assert_eq!(counts, [55, 45, 55, 0]);
    assert_eq!(shadow["latency_ms"]["shadow"], json!({"answers": 50, "p50": 10.5, "p90": 10.9, "p99": 11.0}));
    assert_eq!(
        shadow["differences"],
        json!([{"pointer": "/b", "kind": "text", "count": 10, "mismatch_percent": 100.0}])
    );
}

#[test]
fn an_envoy_that_can_not_be_asked_at_the_start_is_named_at_once() {
    let (place, _) = place();
    let url = nobody();
    let run = shadow(&place, &[&url], &["--for", "1ms"]);
    assert_eq!(run.code, 1);
    assert!(run.err.contains("can't ask Envoy") && run.out.contains("can't ask Envoy"), "{run:?}");
    let run = shadow(&place, &[&url], &["--for", "1ms", "--watch"]);
    assert_eq!((run.code, run.out.as_str()), (1, ""), "{run:?}");
}

#[test]
fn copies_that_are_not_compared_are_counted_all_the_same() {
    let (place, hash) = place_with(&document(0.0));
    let sent = move |_| Metrics::serving(hash).copies("v3", "sent", 1).copies("v3", "skipped_rate", 3);
    let url = serve_metrics(sent);
    let run = shadow(&place, &[&url], &[]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    insta::assert_snapshot!(anonymous(&run.out, &[&url]), @r"
    A: counts since it started

    fraud-score: v3 against v1
      sent      1 copy to fraud-v3
      compared  nothing: the shadow has no `compare`
      3 were not sent: the second had had `max_per_second` copies
    ");
    let answer = shadow(&place, &[&url], &["--format", "json"]).json();
    let shadow = &answer["rollouts"][0]["shadows"][0];
    assert_eq!((&shadow["compares"], &shadow["open"]), (&json!(false), &json!(0)));
    assert_eq!(shadow["matched_interval_percent"], json!(null));
}

#[test]
fn a_comparison_that_has_just_begun_has_open_pairs_only() {
    let (place, hash) = place();
    let url = serve_metrics(move |_| Metrics::serving(hash).copies("v3", "sent", 7));
    let run = shadow(&place, &[&url], &[]);
    assert!(run.out.contains("\n  compared  nothing yet\n  open      7 copies: "), "{}", run.out);
    let answer = shadow(&place, &[&url], &["--format", "json"]).json();
    let shadow = &answer["rollouts"][0]["shadows"][0];
    assert_eq!((&shadow["compares"], &shadow["open"]), (&json!(true), &json!(7)));
    assert_eq!((&shadow["compared_percent"], &shadow["matched_percent"]), (&json!(null), &json!(null)));
}

#[test]
fn too_few_comparisons_are_warned_of() {
    let (place, hash) = place();
    let with = |matches: u64, misses: u64| {
        let metrics = move |_| {
            Metrics::serving(hash)
                .copies("v3", "sent", 1_000)
                .copies("v3", "match", matches)
                .copies("v3", "skipped_memory", misses)
                .copies("v3", "skipped_sample", 900)
        };
        let run = shadow(&place, &[&serve_metrics(metrics)], &["--format", "json"]);
        assert_eq!(run.code, 0);
        run.json()["warnings"].clone()
    };
    assert_eq!(with(90, 10), json!([]), "what `sample` leaves out was not to be compared");
    let says = "fraud-score v3: only 89 of 100 pairs that were to be compared were compared (89.0000 %)";
    assert_eq!(with(89, 11), json!([says]));
    assert_eq!(with(0, 0), json!([]), "nothing was to be compared");
}

#[test]
fn an_envoy_with_another_document_without_the_filter_or_with_two_vms_is_warned_of() {
    let (place, hash) = place();
    let urls = [
        serve_metrics(|_| Metrics::serving(1)),
        serve_metrics(|_| Metrics::none()),
        serve_metrics(move |_| Metrics::serving(hash).and("rollout_shadow_unpaired", 7)),
    ];
    let run = shadow(&place, &[&urls[0], &urls[1], &urls[2]], &["--format", "json"]);
    assert_eq!(run.code, 0);
    let answer: Value = serde_json::from_str(&anonymous(&run.out, &[&urls[0], &urls[1], &urls[2]])).unwrap();
    assert_eq!(
        answer["warnings"],
        json!([
            format!("Envoy at A serves hash 1, but the document has hash {hash}"),
            "no filter `rollout` serves a document in Envoy at B",
            "Envoy at C has 7 workers in which copies passed without a pair: \
             the filters of the listener and of the cluster for copies do not share a VM",
        ])
    );
}

#[test]
fn an_envoy_that_can_not_be_asked_is_named_and_the_others_are_reported() {
    let (place, hash) = place();
    let urls = [nobody(), serve_metrics(move |_| compared(hash))];
    let run = shadow(&place, &[&urls[0], &urls[1]], &["--format", "json"]);
    assert_eq!((run.code, run.err.as_str()), (1, ""));
    let answer = run.json();
    assert!(answer["envoys"][0]["error"].as_str().unwrap().contains(urls[0].as_str()), "{answer}");
    assert_eq!(answer["rollouts"][0]["shadows"][0]["compared"], 950);
    assert_eq!(shadow(&place, &[&urls[0], &urls[1]], &[]).code, 1);
}

#[test]
fn what_a_model_names_its_fields_can_not_drive_the_terminal() {
    let (place, hash) = place();
    let url = serve_metrics(move |_| {
        compared(hash)
            .differs("/\u{1b}]0;owned\u{7}/\u{202e}x", "missing\u{1b}[2J", 10)
            .differs("/größe", "text", 10)
    });
    let run = shadow(&place, &[&url], &[]);
    assert!(run.out.contains("/\\u{1b}]0;owned\\u{7}/\\u{202e}x  missing\\u{1b}[2J"), "{}", run.out);
    assert!(run.out.contains("/größe"), "{}", run.out);
    assert!(!run.out.chars().any(|character| character.is_control() && character != '\n'), "{:?}", run.out);
}

#[test]
fn the_most_frequent_places_come_first_and_the_rest_is_for_programs() {
    let (place, hash) = place();
    let url = serve_metrics(move |_| {
        (1..=12).fold(compared(hash), |metrics, number| {
            metrics.differs(&format!("/field-{number}"), "text", 10 + number)
        })
    });
    let run = shadow(&place, &[&url], &[]);
    let shown: Vec<_> = run.out.lines().filter(|line| line.trim_start().starts_with('/')).collect();
    assert_eq!(shown.len(), 10);
    assert!(
        shown[0].contains("/field-12") && shown[0].ends_with('-'),
        "more often than there are mismatches: {shown:?}"
    );
    assert!(run.out.contains("and 5 more, which `--format json` lists"), "{}", run.out);
    let answer = shadow(&place, &[&url], &["--format", "json"]).json();
    assert_eq!(answer["rollouts"][0]["shadows"][0]["differences"].as_array().unwrap().len(), 15);
}

#[test]
fn a_document_without_shadows_has_nothing_to_report() {
    let (place, hash) = place();
    let mut document = document(0.0);
    document["rollouts"][0].as_object_mut().unwrap().remove("shadow");
    place.write("shadowed.json", &document.to_string());
    let url = serve_metrics(move |_| compared(hash));
    let run = shadow(&place, &[&url], &[]);
    assert_eq!((run.code, run.out.as_str()), (1, ""));
    assert!(run.err.contains("no rollout has a shadow, so there is nothing to report"), "{run:?}");
    let run = shadow(&place, &[&url], &["--rollout", "other"]);
    assert_eq!(run.code, 1);
    assert!(run.err.contains("no rollout `other`; the document has `fraud-score`"), "{run:?}");
}
