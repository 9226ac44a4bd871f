//! A split that changes while slow requests are under way, in the real Envoy: what both versions share condemns nobody, and a version
//! that fails on a rising line is still rolled back.

#![expect(clippy::expect_used, clippy::arithmetic_side_effects, reason = "a test may stop with the reason")]

use std::time::{Duration, SystemTime};

use rollout_core::Time;
use serde_json::{Value, json};
use testbed::client::Request;
use testbed::envoy::Outcome;
use testbed::upstream::Received;
use testbed::{Behaviour, Envoy, Load, Upstream};

const RATE: f64 = 350.0;

/// How long a failing request takes, and how many of a hundred fail on either version.
const SLOW: Duration = Duration::from_secs(5);
const FAILING: u64 = 3;

fn document(revision: u64, strategy: &Value, rest: Value) -> String {
    let mut rollout = json!({
        "name": "fraud", "unit": [{"header": "x-user-id"}], "salt": "split", "stable": "v1", "idempotent": true,
        "versions": [{"name": "v1", "cluster": "fraud-v1"}, {"name": "v2", "cluster": "fraud-v2"}],
        "strategy": strategy,
        "guardrails": {"window": "10s", "signals": [{"error_rate": {"max_increase_percent": 2, "confidence": 0.99}}]}
    });
    rollout.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
    json!({"revision": revision, "rollouts": [rollout]}).to_string()
}

fn canary(percent: u64) -> Value {
    json!({"canary": {"version": "v2", "percent": percent}})
}

fn start() -> ([Upstream; 2], Envoy) {
    let versions = ["fraud-v1", "fraud-v2"].map(Upstream::start);
    for version in &versions {
        version.remember(0);
    }
    let envoy = Envoy::builder().clusters(&versions).concurrency(2).start();
    (versions, envoy)
}

fn push(envoy: &Envoy, revision: u64, strategy: &Value, rest: Value) {
    let document = document(revision, strategy, rest);
    assert_eq!(envoy.push(&document), Outcome::Accepted, "{document}");
    envoy.wait_revision(revision);
}

fn request(number: u64) -> Request {
    let request =
        Request::post("/v2/models/fraud/infer", "{}").header("x-user-id", format!("user-{}", number % 2_000));
    // Every version fails the same users' requests as often: no multiple of the number of users.
    if number * 7 % 101 < FAILING { request.header("x-slow", "1") } else { request }
}

fn slow_failures(request: &Received) -> Behaviour {
    match request.header("x-slow") {
        Some(_) => Behaviour::status(503).after(SLOW),
        None => Behaviour::ok(),
    }
}

fn stat(envoy: &Envoy, labels: &str, name: &str) -> u64 {
    envoy.stat(&format!("wasmcustom.rollout=.=fraud;.;version=.=v2;.;{labels}{name}"))
}

/// What the comparison has counted on a side.
fn compared(envoy: &Envoy, side: &str) -> u64 {
    let labels = format!("signal=.=error_rate_increase;.;side=.={side};.;result=.=all;.;");
    stat(envoy, &labels, "rollout_guardrail_observations_total")
}

#[test]
fn a_push_from_half_to_two_percent_condemns_nobody_for_timeouts_that_both_versions_share() {
    let (versions, envoy) = start();
    for version in &versions {
        version.set_with(slow_failures);
    }
    push(&envoy, 1, &canary(50), json!({}));
    // Half of the requests come by HTTP/2.
    let half = || Load::new(envoy.address()).connections(128).rate(RATE / 2.0);
    let loads =
        [half().start(|number| request(number * 2)), half().http2().start(|number| request(number * 2 + 1))];
    std::thread::sleep(SLOW * 3);
    let before = ["version", "stable"].map(|side| compared(&envoy, side));
    assert!(before.iter().all(|counted| *counted > 300), "the comparison is at work: {before:?}");
    push(&envoy, 2, &canary(2), json!({}));
    std::thread::sleep(SLOW * 3);
    let failed = loads.map(|load| load.stop().failed());
    assert!(failed.iter().all(|failed| *failed > 50), "requests failed: {failed:?}");
    let after = ["version", "stable"].map(|side| compared(&envoy, side));
    assert!(after[0] > before[0] && after[1] > before[1] + 300, "it still is: {before:?}, {after:?}");
    assert_eq!(stat(&envoy, "", "rollout_rolled_back"), 0, "a healthy version was rolled back");
    assert_eq!(stat(&envoy, "signal=.=error_rate_increase;.;", "rollout_guardrail_trips_total"), 0);
}

#[test]
fn a_version_that_times_out_is_rolled_back_while_a_line_exposes_it() {
    let (versions, envoy) = start();
    versions[1].set(Behaviour::delayed(Duration::from_secs(60)));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let line = json!({"progressive": {"version": "v2", "start": Time::from_seconds(now).to_string(),
        "linear": {"from": 5, "to": 100, "over": "10m"}}});
    let failover = json!({"failover": {"to": ["v1"], "per_try_timeout": "2s"}});
    push(&envoy, 1, &line, failover);
    let load = Load::new(envoy.address()).connections(256).rate(RATE).start(request);
    envoy.wait_for("a rollback", |envoy| (stat(envoy, "", "rollout_rolled_back") == 1).then_some(()));
    let report = load.stop();
    assert_eq!(report.failed(), 0, "failover answers meanwhile");
}
