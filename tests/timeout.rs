//! The time limit of an attempt, with and without failover: a version that hangs fails, and the filter counts it.

#![expect(clippy::expect_used, reason = "a test may stop with the reason")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::client::Client;
use testbed::envoy::Outcome;
use testbed::{Behaviour, Cluster, Envoy, Request, Upstream};

/// What an attempt would take if nothing limited it.
const FOREVER: Duration = Duration::from_secs(60);

/// Two versions behind an Envoy of the shipped configuration.
struct Site {
    versions: [Upstream; 2],
    envoy: Envoy,
}

impl Site {
    /// Every request goes to v2. `rest` are more fields of the rollout.
    fn serving(cluster: impl Fn(&Upstream) -> Cluster, rest: &Value) -> Self {
        let versions = ["fraud-v1", "fraud-v2"].map(Upstream::start);
        let envoy = Envoy::builder().clusters(versions.each_ref().map(cluster)).start();
        let mut rollout = json!({
            "name": "fraud", "unit": [{"header": "x-user-id"}], "stable": "v1", "idempotent": true,
            "versions": [{"name": "v1", "cluster": "fraud-v1"}, {"name": "v2", "cluster": "fraud-v2"}],
            "strategy": {"canary": {"version": "v2", "percent": 100}},
            "guardrails": {"signals": [{"error_rate": {"max_percent": 100}}]}
        });
        let fields = rollout.as_object_mut().expect("an object");
        fields.extend(rest.as_object().expect("an object").clone());
        let document = json!({"revision": 1, "rollouts": [rollout]});
        assert_eq!(envoy.push(&document.to_string()), Outcome::Accepted, "{document}");
        envoy.wait_revision(1);
        Self { versions, envoy }
    }

    fn clients(&self) -> [Client; 2] {
        [self.envoy.client(), self.envoy.client().http2()]
    }

    /// Waits for this number of failures of v2.
    fn assert_failures(&self, expected: u64) {
        let name = "wasmcustom.rollout=.=fraud;.;version=.=v2;.;rollout_failures_total";
        assert_eq!(self.envoy.wait_stat(name, expected), expected);
    }
}

fn call() -> Request {
    Request::post("/", "x").header("x-user-id", "alice")
}

#[test]
fn without_failover_a_hung_version_is_a_504_and_a_failure() {
    for limit in [json!({"timeout": "300ms"}), json!({"timeout": "300ms", "failover": {"to": ["v2"]}})] {
        let site = Site::serving(|upstream| Cluster::from(upstream).backstop(), &limit);
        site.versions[1].set(Behaviour::delayed(FOREVER));
        for client in site.clients() {
            let begun = Instant::now();
            let response = client.send(call()).expect("an answer");
            assert_eq!((response.status, response.text().as_str()), (504, "upstream request timeout"));
            assert!(begun.elapsed() < FOREVER / 2, "{:?}", begun.elapsed());
        }
        site.assert_failures(2);
        assert_eq!((site.versions[0].count(), site.versions[1].count()), (0, 2));
    }
}

#[test]
fn with_failover_the_target_answers_in_place_of_a_hung_version() {
    for limit in [
        json!({"timeout": "300ms", "failover": {"to": ["v1"]}}),
        json!({"timeout": "1h", "failover": {"to": ["v1"], "per_try_timeout": "300ms"}}),
    ] {
        let site = Site::serving(|upstream| Cluster::from(upstream).backstop(), &limit);
        site.versions[1].set(Behaviour::delayed(FOREVER));
        for client in site.clients() {
            let response = client.send(call()).expect("an answer");
            assert_eq!((response.status, response.upstream().as_str()), (200, "fraud-v1"), "{limit}");
            assert_eq!(response.header("x-rollout-failover").as_deref(), Some("v2>v1"));
        }
        site.assert_failures(2);
    }
}

#[test]
fn a_hung_version_of_a_grpc_service_fails_too() {
    let site =
        Site::serving(|upstream| Cluster::from(upstream).http2().backstop(), &json!({"timeout": "300ms"}));
    site.versions[1].set(Behaviour::grpc(0).after(FOREVER));
    let response = site.envoy.client().http2().send(call().header("content-type", "application/grpc"));
    let response = response.expect("an answer");
    assert_eq!(response.header("grpc-status").as_deref(), Some("14"), "UNAVAILABLE");
    site.assert_failures(1);
}

#[test]
fn an_answer_that_has_begun_may_take_longer_and_clients_set_no_limit() {
    let site = Site::serving(|upstream| Cluster::from(upstream).backstop(), &json!({"timeout": "400ms"}));
    site.versions[1].set(Behaviour::events(Duration::from_millis(200), Duration::from_millis(1_600)));
    for client in site.clients() {
        let limits = ["x-envoy-upstream-rq-per-try-timeout-ms", "x-envoy-upstream-rq-timeout-ms"];
        let hasty = limits.iter().fold(call(), |request, name| request.header(name, "1"));
        let response = client.send(hasty).expect("the whole answer");
        assert_eq!((response.status, response.text().matches("data: ").count()), (200, 8));
    }
    for received in site.versions[1].requests() {
        assert_eq!(received.names("x-envoy-upstream-rq"), Vec::<String>::new());
        assert_eq!(received.header("x-envoy-expected-rq-timeout-ms").as_deref(), Some("400"));
    }
    site.assert_failures(0);
}
