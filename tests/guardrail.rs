//! Guardrails in the real Envoy: a model that fails takes itself out within a second, whatever way it fails, and what is no failure of
//! its own never counts.

#![expect(clippy::expect_used, clippy::arithmetic_side_effects, reason = "a test may stop with the reason")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::client::{Failure, Request, Response};
use testbed::envoy::{Outcome, connection_manager, routes};
use testbed::{Behaviour, Cluster, Envoy, Load, Upstream};

/// Requests a second, of which v2 gets a tenth.
const RATE: f64 = 500.0;

fn rollout(cluster: &str, rest: Value) -> Value {
    let mut rollout = json!({
        "name": "fraud", "unit": [{"header": "x-user-id"}], "salt": "guardrail", "stable": "v1", "idempotent": true, "expose": "debug",
        "versions": [{"name": "v1", "cluster": "fraud-v1"}, {"name": "v2", "cluster": cluster}],
        "strategy": {"canary": {"version": "v2", "percent": 10}},
        "guardrails": {"window": "10s", "signals": [{"consecutive_failures": 20}, {"error_rate": {"max_percent": 20}},
            {"error_rate": {"max_increase_percent": 2, "confidence": 0.99}}]}
    });
    rollout.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
    rollout
}

/// Two versions behind an Envoy with two workers.
struct Site {
    versions: [Upstream; 2],
    envoy: Envoy,
    revision: AtomicU64,
}

impl Site {
    fn start() -> Self {
        Self::with(|builder| builder)
    }

    fn with(change: impl FnOnce(testbed::envoy::Builder) -> testbed::envoy::Builder) -> Self {
        let versions = ["fraud-v1", "fraud-v2"].map(Upstream::start);
        let envoy = change(Envoy::builder().clusters(&versions).concurrency(2)).start();
        Self { versions, envoy, revision: AtomicU64::new(0) }
    }

    fn push(&self, rollout: &Value) {
        let revision = self.revision.fetch_add(1, Ordering::Relaxed) + 1;
        let document = json!({"revision": revision, "rollouts": [rollout]}).to_string();
        assert_eq!(self.envoy.push(&document), Outcome::Accepted, "{document}");
        self.envoy.wait_revision(revision);
    }

    fn load(&self) -> Load {
        Load::new(self.envoy.address()).connections(64).rate(RATE)
    }

    fn is_rolled_back(&self) -> bool {
        self.envoy.stat("wasmcustom.rollout=.=fraud;.;version=.=v2;.;rollout_rolled_back") == 1
    }

    fn failures(&self, version: &str) -> u64 {
        self.envoy.stat(&format!("wasmcustom.rollout=.=fraud;.;version=.={version};.;rollout_failures_total"))
    }
}

fn request(number: u64) -> Request {
    Request::post("/v2/models/fraud/infer", format!("{{\"n\":{number}}}"))
        .header("x-user-id", format!("user-{}", number % 2_000))
}

/// What clients saw of v2.
#[derive(Default)]
struct Seen {
    /// When requests of v2 that failed, or that failover saved, were answered.
    troubles: Vec<Instant>,
    /// When a client last got an answer of v2, or one that failover gave for it.
    last: Option<Instant>,
    /// Failures that reached a client.
    failed: u64,
}

impl Seen {
    fn note(&mut self, outcome: &Result<Response, Failure>) {
        let now = Instant::now();
        let header = |name: &str| outcome.as_ref().ok().and_then(|response| response.header(name));
        let failed = outcome.as_ref().map_or(true, |response| response.status >= 500);
        let is_v2 = header("x-rollout-assignment").as_deref() == Some("fraud=v2");
        self.failed += u64::from(failed);
        if failed || header("x-rollout-failover").is_some() {
            self.troubles.push(now);
        }
        if is_v2 || failed {
            self.last = Some(now);
        }
    }
}

/// Lets v2 fail in the middle of traffic, and returns what clients saw from then on.
fn trouble(site: &Site, fail: impl FnOnce(), make: fn(u64) -> Request) -> Seen {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let noted = Arc::clone(&seen);
    let running = site
        .load()
        .duration(Duration::from_secs(8))
        .observe(move |_, outcome| noted.lock().expect("no test thread panics").note(outcome))
        .start(make);
    std::thread::sleep(Duration::from_secs(2));
    {
        let mut seen = seen.lock().expect("no test thread panics");
        assert_eq!(seen.failed, 0, "all is well before");
        *seen = Seen::default();
    }
    fail();
    std::thread::sleep(Duration::from_secs(3));
    running.stop();
    let seen = std::mem::take(&mut *seen.lock().expect("no test thread panics"));
    assert!(site.is_rolled_back(), "log: {}", site.envoy.log());
    seen
}

/// From the first trouble to the last answer of v2.
fn reaction(what: &str, seen: &Seen) -> Duration {
    let first = *seen.troubles.first().expect("v2 was in trouble");
    let last = seen.last.expect("v2 was in trouble");
    let reaction = last.duration_since(first);
    println!(
        "{what}: {} troubles, {} of them reached clients, rolled back within {reaction:?}",
        seen.troubles.len(),
        seen.failed
    );
    reaction
}

fn failover() -> Value {
    json!({"failover": {"to": ["v1"]}})
}

/// Ways of failing that failover can hide, and how v2 is made to.
fn maskable() -> Vec<(&'static str, fn(&Upstream))> {
    vec![
        ("503", |v2| v2.set(Behaviour::status(503))),
        ("refused connections", Upstream::stop),
        ("resets before headers", |v2| v2.set(Behaviour::reset())),
    ]
}

#[test]
fn with_failover_no_client_sees_a_failing_version_and_all_workers_roll_it_back_within_a_second() {
    for (what, fail) in maskable() {
        let site = Site::start();
        site.push(&rollout("fraud-v2", failover()));
        let seen = trouble(&site, || fail(&site.versions[1]), request);
        assert!(reaction(what, &seen) <= Duration::from_secs(1), "{what}");
        assert_eq!(seen.failed, 0, "{what}");
        assert_eq!(site.envoy.vm_reloads(), 0);
    }
}

#[test]
fn without_failover_at_most_sixty_answers_of_a_failing_version_reach_clients() {
    for (what, fail) in maskable() {
        let site = Site::start();
        site.push(&rollout("fraud-v2", json!({})));
        let seen = trouble(&site, || fail(&site.versions[1]), request);
        assert!(reaction(what, &seen) <= Duration::from_secs(1), "{what}");
        assert!((1..=60).contains(&seen.failed), "{what}: {}", seen.failed);
    }
}
