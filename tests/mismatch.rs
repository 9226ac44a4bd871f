//! The signal `shadow_mismatch` in the real Envoy: what a shadow's answers do to a canary, to a ramp, and to a pipeline.

#![expect(clippy::indexing_slicing, reason = "a test may stop with the reason")]

use std::process::Command;

use serde_json::{Value, json};
use testbed::envoy::Outcome;
use testbed::load::Running;
use testbed::{Behaviour, Cluster, Envoy, Load, Request, Upstream, module};

/// Two versions behind an Envoy with two workers, with a cluster for copies to v2. v2 answers something else than v1 once it
/// `differs`.
struct Site {
    envoy: Envoy,
    v2: Upstream,
    _v1: Upstream,
}

fn answer(score: f64) -> Behaviour {
    Behaviour::ok().body(json!({"score": score}).to_string()).header("content-type", "application/json")
}

fn document(revision: u64, strategy: &Value, guardrails: &Value) -> Value {
    let mut rollout = json!({
        "name": "fraud", "unit": [{"header": "x-user-id"}], "salt": "s", "stable": "v1", "idempotent": true,
        "versions": [{"name": "v1", "cluster": "fraud-v1"}, {"name": "v2", "cluster": "fraud-v2"}],
        "shadow": [{"version": "v2", "percent": 100, "cluster": "fraud-v2-copies", "compare": {}}],
        "guardrails": guardrails
    });
    if !strategy.is_null() {
        rollout["strategy"] = strategy.clone();
    }
    json!({"revision": revision, "rollouts": [rollout]})
}

/// Both forms of the signal.
fn signals() -> [Value; 2] {
    [
        json!([{"shadow_mismatch": {"max_percent": 1, "confidence": 0.99}}]),
        json!([{"shadow_mismatch": {"max_percent": 20}}]),
    ]
}

fn metric(rest: &str) -> String {
    format!("wasmcustom.rollout=.=fraud;.;version=.=v2;.;{rest}")
}

fn trips() -> String {
    metric("signal=.=shadow_mismatch;.;rollout_guardrail_trips_total")
}

impl Site {
    fn start(document: &Value) -> Self {
        let [v1, v2] = ["fraud-v1", "fraud-v2"].map(Upstream::start);
        v1.set(answer(0.5));
        v2.set(answer(0.5));
        let copies = Cluster::new("fraud-v2-copies", &[v2.port()]).copies();
        let clusters = [Cluster::from(&v1), Cluster::from(&v2), copies];
        let envoy = Envoy::builder().clusters(clusters).concurrency(2).start();
        let site = Self { envoy, v2, _v1: v1 };
        site.push(document);
        site
    }

    fn push(&self, document: &Value) {
        assert_eq!(self.envoy.push(&document.to_string()), Outcome::Accepted);
        self.envoy.wait_revision(document["revision"].as_u64().unwrap_or_default());
    }

    fn load(&self) -> Running {
        let load = Load::new(self.envoy.address()).connections(4).rate(150.0);
        load.start(|number| {
            Request::post("/infer", "{}").header("x-user-id", format!("user-{}", number % 1_000))
        })
    }

    /// Waits until this many pairs have been observed.
    fn observed(&self, least: u64) {
        let name = metric(
            "signal=.=shadow_mismatch;.;side=.=version;.;result=.=all;.;rollout_guardrail_observations_total",
        );
        self.envoy.wait_for("observed pairs", |envoy| {
            let seen = envoy.stats(r"rollout_guardrail_observations_total$").get(&name).copied();
            (seen >= Some(least)).then_some(())
        });
    }

    fn stat(&self, name: &str) -> Option<u64> {
        self.envoy.stats(r"^wasmcustom\.rollout").get(name).copied()
    }
}

#[test]
fn a_canary_whose_copies_answer_something_else_is_rolled_back_and_one_that_answers_the_same_is_not() {
    for signals in signals() {
        let guardrails = json!({"window": "10s", "min_requests": 50, "signals": signals});
        let site =
            Site::start(&document(1, &json!({"canary": {"version": "v2", "percent": 10}}), &guardrails));
        let load = site.load();
        site.observed(200);
        assert_eq!(site.stat(&metric("rollout_rolled_back")), Some(0), "{guardrails}");
        site.v2.set(answer(0.7));
        site.envoy.wait_stat(&metric("rollout_rolled_back"), 1);
        site.envoy.wait_stat(&trips(), 1);
        load.stop();
    }
}

#[test]
fn a_ramp_is_kept_where_it_was_if_the_action_is_freeze() {
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    let ramp = |started: u64| {
        let start = rollout_core::Time::from_seconds(now.saturating_sub(started)).to_string();
        json!({"progressive": {"version": "v2", "start": start, "steps": [{"percent": 10, "hold": "1h"}, {"percent": 50}]}})
    };
    let guardrails =
        json!({"window": "10s", "min_requests": 50, "action": "freeze", "signals": signals()[0].clone()});
    let site = Site::start(&document(1, &ramp(60), &guardrails));
    site.v2.set(answer(0.7));
    let load = site.load();
    site.envoy.wait_stat(&trips(), 1);
    site.push(&document(2, &ramp(7_200), &guardrails));
    site.observed(400);
    assert_eq!(site.stat(&metric("rollout_exposure_ppm")), Some(100_000));
    assert_eq!(site.stat(&metric("rollout_rolled_back")), Some(0));
    let rearmed = json!({"rearm": 1, "window": "10s", "min_requests": 1_000_000, "action": "freeze", "signals": signals()[0].clone()});
    site.push(&document(3, &ramp(7_200), &rearmed));
    site.envoy.wait_stat(&metric("rollout_exposure_ppm"), 500_000);
    load.stop();
}

#[test]
fn a_version_that_only_gets_copies_is_warned_about_and_stops_a_pipeline() {
    let tool = module::rolloutctl();
    let guardrails = json!({"window": "10s", "min_requests": 50, "signals": signals()[0].clone()});
    let site = Site::start(&document(1, &Value::Null, &guardrails));
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    let file = folder.path().join("fraud.json");
    std::fs::write(&file, document(1, &Value::Null, &guardrails).to_string()).unwrap_or_default();
    let gate = |time: &str| -> (Option<i32>, Value) {
        let mut command = Command::new(&tool);
        command.arg("gate").arg(&file).args(["--envoy", &site.envoy.admin_url(), "--for", time]);
        let output = command.args(["--min-requests", "0", "--format", "json"]).output();
        let output = output.unwrap_or_else(|error| panic!("{error}"));
        (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default())
    };
    let load = site.load();
    site.observed(50);
    let (code, same) = gate("10s");
    assert_eq!(code, Some(0), "{same}");
    let copies = &same["rollouts"][0]["versions"][0]["copies"];
    assert!(copies["compared"].as_u64() >= Some(50) && copies["meant"] == copies["compared"], "{same}");
    site.v2.set(answer(0.7));
    let (code, other) = gate("1h");
    assert_eq!(code, Some(2), "{other}");
    assert!(other["reason"].as_str().is_some_and(|reason| reason.contains("shadow_mismatch")), "{other}");
    site.envoy.wait_stat(&trips(), 1);
    load.stop();
    assert_eq!(site.stat(&metric("rollout_rolled_back")), Some(0));
    let line = "version v2: warning only, signal shadow_mismatch: ";
    assert!(site.envoy.log().contains(line), "{}", site.envoy.log());
}
