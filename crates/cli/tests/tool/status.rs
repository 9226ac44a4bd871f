//! `status`: one Envoy, several that differ, and those that say nothing.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fake_envoy::{Metrics, anonymous, nobody, serve_metrics};
use crate::run::{Place, Run};

fn metrics(hash: u64) -> Metrics {
    Metrics::serving(hash)
        .and("rollout=.=-;.;version=.=-;.;reason=.=no_match;.;rollout_requests_total", 3)
        .and("other_module_total", 99)
        .requests("v1", "not_exposed", 800)
        .requests("v1", "missing_unit", 100)
        .requests("v2", "assigned", 90)
        .requests("v2", "forced", 10)
        .of("v2", "rollout_failures_total", 5)
        .of("v2", "rollout_abandoned_total", 7)
        .of("v2", "rollout_retries_total", 6)
        .of("v2", "to=.=v1;.;rollout_failovers_total", 4)
        .of("v2", "rollout_exposure_ppm", 100_000)
        .of("v2", "rollout_rolled_back", 0)
        .of("v2", "signal=.=error_rate;.;rollout_guardrail_trips_total", 0)
        .seen("error_rate", "version", [90, 5])
        .seen("error_rate_increase", "version", [70, 4])
        .seen("error_rate_increase", "stable", [300, 2])
        .latency("v1", &[(10, 890), (200, 10)])
        .latency("v2", &[(12, 50), (20, 50)])
}

fn status(urls: &[&String], rest: &[&str]) -> Run {
    let mut args = vec!["status"];
    args.extend(urls.iter().flat_map(|url| ["--envoy", url.as_str()]));
    Place::new().run(&[&args[..], rest].concat())
}

#[test]
fn versions_are_shown_with_what_they_served_and_how_their_signals_stand() {
    let url = serve_metrics(|_| metrics(1));
    let run = status(&[&url], &[]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    insta::assert_snapshot!(anonymous(&run.out, &[&url]), @r"
    A: `rollout` serves revision 42, hash 1

    fraud-score
      version   exposure  requests  failures    failed  abandoned  retries  failovers      p50       p99
      v1               -       900         0  0.0000 %          0        0          0  10.5 ms  200.1 ms
      v2       10.0000 %       100         5  5.0000 %          7        6          4  13.0 ms   21.0 ms

      version  signal               observed  bad     share  stable  bad     share  trips
      v2       error_rate                 90    5  5.5556 %       -    -         -      0
      v2       error_rate_increase        70    4  5.7143 %     300    2  0.6667 %      0

    3 requests matched no rollout
    ");
}

#[test]
fn counts_of_several_envoys_add_up() {
    let urls = [serve_metrics(|_| metrics(1)), serve_metrics(|_| metrics(1))];
    let run = status(&[&urls[0], &urls[1]], &["--format", "json"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    let answer: Value = serde_json::from_str(&anonymous(&run.out, &[&urls[0], &urls[1]])).unwrap();
    let plugins = json!([{"name": "rollout", "hash": 1, "revision": 42}]);
    assert_eq!(
        answer,
        json!({
            "envoys": [{"url": "A", "error": null, "plugins": plugins}, {"url": "B", "error": null, "plugins": plugins}],
            "rollouts": [{"name": "fraud-score", "versions": [
                {"name": "v1", "exposure_percent": null, "requests": 1_800, "requests_per_second": null, "failures": 0,
                 "failure_percent": 0.0, "abandoned": 0, "retries": 0, "failovers": 0, "latency_ms": {"p50": 10.5, "p99": 200.1}, "guarded": false,
                 "rolled_back_on": [], "signals": []},
                {"name": "v2", "exposure_percent": 10.0, "requests": 200, "requests_per_second": null, "failures": 10,
                 "failure_percent": 5.0, "abandoned": 14, "retries": 12, "failovers": 8, "latency_ms": {"p50": 13.0, "p99": 21.0}, "guarded": true,
                 "rolled_back_on": [], "signals": [
                    {"name": "error_rate", "version": {"observed": 180, "bad": 10}, "stable": null, "trips": 0,
                     "withheld": 0, "withheld_on": [], "warming_up_on": []},
                    {"name": "error_rate_increase", "version": {"observed": 140, "bad": 8},
                     "stable": {"observed": 600, "bad": 4}, "trips": 0,
                     "withheld": 0, "withheld_on": [], "warming_up_on": []}]}]}],
            "unmatched_requests": 6,
            "differences": [],
        })
    );
}

#[test]
fn values_on_which_envoys_disagree_are_reported() {
    let rolled_back = |_| {
        Metrics::serving(2)
            .requests("v2", "assigned", 10)
            .of("v2", "rollout_exposure_ppm", 0)
            .of("v2", "rollout_rolled_back", 1)
            .of("v2", "signal=.=consecutive_failures;.;rollout_guardrail_trips_total", 1)
    };
    let urls = [serve_metrics(|_| metrics(1)), serve_metrics(rolled_back)];
    let run = status(&[&urls[0], &urls[1]], &[]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    insta::assert_snapshot!(anonymous(&run.out, &[&urls[0], &urls[1]]), @r"
    A: `rollout` serves revision 42, hash 1
    B: `rollout` serves revision 42, hash 2
    differs: document hash of rollout: 1 on A; 2 on B
    differs: exposure of fraud-score v2: 10.0000 % on A; 0.0000 % on B
    differs: state of fraud-score v2: in service on A; rolled back on B

    fraud-score
      version  exposure  requests  failures    failed  abandoned  retries  failovers      p50       p99
      v1              -       900         0  0.0000 %          0        0          0  10.5 ms  200.1 ms
      v2              -       110         5  4.5455 %          7        6          4  13.0 ms   21.0 ms
      v2: rolled back on 1 of 2: B

      version  signal                observed  bad     share  stable  bad     share  trips
      v2       consecutive_failures         -    -         -       -    -         -      1
      v2       error_rate                  90    5  5.5556 %       -    -         -      0
      v2       error_rate_increase         70    4  5.7143 %     300    2  0.6667 %      0

    3 requests matched no rollout
    ");

    let run = status(&[&urls[0], &urls[1]], &["--format", "json"]);
    let answer: Value = serde_json::from_str(&anonymous(&run.out, &[&urls[0], &urls[1]])).unwrap();
    assert_eq!(answer["rollouts"][0]["versions"][1]["rolled_back_on"], json!(["B"]));
    assert_eq!(answer["rollouts"][0]["versions"][1]["exposure_percent"], json!(null));
    assert_eq!(
        answer["differences"][0],
        json!({"what": "document hash", "of": "rollout",
               "values": [{"value": "1", "envoys": ["A"]}, {"value": "2", "envoys": ["B"]}]})
    );
}

#[test]
fn signals_that_are_withheld_or_warming_up_somewhere_are_reported() {
    let with = |withheld: u64, warming_up: u64| {
        serve_metrics(move |_| {
            metrics(1)
                .seen("error_rate", "stable", [900, 450])
                .signal("error_rate", "rollout_guardrail_withheld", withheld)
                .signal("error_rate", "rollout_guardrail_withheld_total", 2)
                .signal("error_rate_increase", "rollout_guardrail_warming_up", warming_up)
                .signal("abandon_rate", "rollout_guardrail_warming_up", warming_up)
        })
    };
    let urls = [with(1, 0), with(0, 1)];
    let run = status(&[&urls[0], &urls[1]], &[]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    insta::assert_snapshot!(anonymous(&run.out, &[&urls[0], &urls[1]]), @r"
    A: `rollout` serves revision 42, hash 1
    B: `rollout` serves revision 42, hash 1

    fraud-score
      version   exposure  requests  failures    failed  abandoned  retries  failovers      p50       p99
      v1               -      1800         0  0.0000 %          0        0          0  10.5 ms  200.1 ms
      v2       10.0000 %       200        10  5.0000 %         14       12          8  13.0 ms   21.0 ms
      v2: signal abandon_rate warming up on 1 of 2: B
      v2: signal error_rate withheld on 1 of 2: A (stable is as bad)
      v2: signal error_rate_increase warming up on 1 of 2: B

      version  signal               observed  bad     share  stable  bad      share  trips
      v2       abandon_rate                -    -         -       -    -          -      0
      v2       error_rate                180   10  5.5556 %    1800  900  50.0000 %      0
      v2       error_rate_increase       140    8  5.7143 %     600    4   0.6667 %      0

    6 requests matched no rollout
    ");
    let run = status(&[&urls[0], &urls[1]], &["--format", "json"]);
    let answer: Value = serde_json::from_str(&anonymous(&run.out, &[&urls[0], &urls[1]])).unwrap();
    let signals = &answer["rollouts"][0]["versions"][1]["signals"];
    let of = |position: usize| {
        let signal = &signals[position];
        ["name", "withheld", "withheld_on", "warming_up_on"].map(|field| signal[field].clone())
    };
    assert_eq!(of(0), [json!("abandon_rate"), json!(0), json!([]), json!(["B"])]);
    assert_eq!(of(1), [json!("error_rate"), json!(4), json!(["A"]), json!([])]);
    assert_eq!(of(2), [json!("error_rate_increase"), json!(0), json!([]), json!(["B"])]);
    assert_eq!(signals[1]["stable"], json!({"observed": 1_800, "bad": 900}));
}

#[test]
fn an_envoy_that_can_not_be_asked_is_named_and_the_others_are_shown() {
    let urls = [nobody(), serve_metrics(|_| metrics(1))];
    let run = status(&[&urls[0], &urls[1]], &["--format", "json"]);
    assert_eq!((run.code, run.err.as_str()), (1, ""));
    let answer = run.json();
    assert!(answer["envoys"][0]["error"].as_str().unwrap().contains(urls[0].as_str()), "{answer}");
    assert_eq!(answer["rollouts"][0]["versions"][1]["requests"], 100);
    assert_eq!(answer["differences"], json!([]), "nothing is known of the other");
    let text = status(&[&urls[0], &urls[1]], &[]);
    assert_eq!(text.code, 1);
    assert!(text.out.contains("can't ask Envoy") && text.out.contains("fraud-score"), "{text:?}");
}

#[test]
fn an_envoy_that_never_answers_is_named_in_plain_words() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let run = status(&[&url], &[]);
    assert_eq!(run.code, 1);
    assert_eq!(anonymous(&run.out, &[&url]), "A: can't ask Envoy at A: it does not answer in time\n");
}

#[test]
fn an_envoy_without_the_filter_is_reported() {
    let url = serve_metrics(|_| Metrics::none());
    let run = status(&[&url], &[]);
    assert_eq!(run.code, 0);
    assert_eq!(anonymous(&run.out, &[&url]), "A: no filter serves a document\n");
}

#[test]
fn an_envoy_that_is_named_twice_is_refused() {
    let run = status(&[&"127.0.0.1:9".to_owned(), &"http://127.0.0.1:9/".to_owned()], &[]);
    assert_eq!((run.code, run.out.as_str()), (1, ""));
    assert!(run.err.contains("named twice"), "{run:?}");
}

#[test]
fn a_url_that_names_no_envoy_is_refused_before_anybody_is_asked() {
    for url in ["", "http://", ":9901", "http://a b"] {
        let run = status(&[&url.to_owned()], &[]);
        assert_eq!((run.code, run.out.as_str()), (1, ""), "{url}");
        assert!(run.err.contains(&format!("found `{url}`")), "{run:?}");
    }
}

#[test]
fn watching_prints_a_line_per_round_with_requests_per_second() {
    let url = serve_metrics(|number| match number {
        0..2 => metrics(1).requests("v9", "assigned", number * 1_000),
        _ => metrics(1).requests("v9", "assigned", 500),
    });
    let rates = watched_rates(&[&url], 2);
    assert_eq!(rates[0], None, "nothing is known of the time before");
    assert!(rates[1] > Some(0.0) && rates[1] <= Some(10_000.0), "{rates:?}");
    assert!(rates[2] > Some(0.0), "a proxy that starts again counts from zero: {rates:?}");
}

#[test]
fn a_late_answer_distorts_no_rate_neither_its_own_nor_that_of_another_envoy() {
    let started = Instant::now();
    let one_a_millisecond = move || {
        Metrics::serving(1).requests("v1", "assigned", started.elapsed().as_millis().try_into().unwrap())
    };
    let urls = [
        serve_metrics(move |_| one_a_millisecond()),
        serve_metrics(move |number| {
            thread::sleep(Duration::from_secs(if number == 1 { 3 } else { 0 }));
            one_a_millisecond()
        }),
    ];
    // The late answer would distort the rates to about 1,100 and 8,000.
    for rate in &watched_rates(&[&urls[0], &urls[1]], 0)[1..] {
        assert!(rate > &Some(1_300.0) && rate < &Some(4_000.0), "two a millisecond, not {rate:?} a second");
    }
}

/// The first three rates that are shown of the version at this position.
fn watched_rates(urls: &[&String], version: usize) -> Vec<Option<f64>> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_rolloutctl"))
        .args(["status", "--format", "json", "--watch", "500ms"])
        .args(urls.iter().flat_map(|url| ["--envoy", url.as_str()]))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let lines: Vec<Value> = lines.take(3).map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    let rate = |line: &Value| line["rollouts"][0]["versions"][version]["requests_per_second"].as_f64();
    lines.iter().map(rate).collect()
}

#[test]
fn copies_are_shown_by_what_became_of_them_and_add_up_over_envoys() {
    let shadowed = |_| {
        metrics(1).copies("v3", "sent", 40).copies("v3", "skipped_body", 2).copies("v3", "skipped_rate", 3)
    };
    let urls = [serve_metrics(shadowed), serve_metrics(shadowed)];
    let run = status(&[&urls[0], &urls[1]], &[]);
    assert!(run.out.contains("\n  copies to v3: 80 sent, 4 skipped_body, 6 skipped_rate\n"), "{}", run.out);
    let answer = status(&[&urls[0], &urls[1]], &["--format", "json"]).json();
    let versions = &answer["rollouts"][0]["versions"];
    assert_eq!(versions[2]["copies"], json!({"sent": 80, "skipped_body": 4, "skipped_rate": 6}));
    assert_eq!(versions[0].get("copies"), None);
}

#[test]
fn results_of_pairs_are_shown_after_the_copies_that_were_sent() {
    let url = serve_metrics(|_| {
        ["skipped_size", "shadow_error", "mismatch", "match", "live_error", "sent"]
            .iter()
            .zip(1..)
            .fold(metrics(1), |metrics, (result, count)| metrics.copies("v3", result, count))
    });
    let run = status(&[&url], &[]);
    let line =
        "\n  copies to v3: 6 sent, 4 match, 3 mismatch, 5 live_error, 2 shadow_error, 1 skipped_size\n";
    assert!(run.out.contains(line), "{}", run.out);
}
