//! A version that names itself first in its failover: a failed call is repeated on the same version, and then elsewhere. What the
//! second attempt answers is the version's own answer.

#![expect(clippy::expect_used, reason = "a test may stop with the reason")]

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use testbed::client::Client;
use testbed::envoy::Outcome;
use testbed::{Behaviour, Cluster, Envoy, Request, Upstream};

/// v1 and v2 behind an Envoy of the shipped configuration. Every request goes to v2, which fails over to itself and then to v1.
struct Site {
    versions: [Upstream; 2],
    envoy: Envoy,
}

impl Site {
    fn start(cluster: fn(Cluster) -> Cluster) -> Self {
        let versions = ["fraud-v1", "fraud-v2"].map(Upstream::start);
        let clusters = versions.each_ref().map(|upstream| cluster(Cluster::from(upstream)).backstop());
        let envoy = Envoy::builder().clusters(clusters).start();
        let document = json!({"revision": 1, "rollouts": [{
            "name": "fraud", "unit": [{"header": "x-user-id"}], "stable": "v1", "idempotent": true,
            "versions": [
                {"name": "v1", "cluster": "fraud-v1"},
                {"name": "v2", "cluster": "fraud-v2", "failover": {"to": ["v2", "v1"]}}
            ],
            "strategy": {"canary": {"version": "v2", "percent": 100}},
            "guardrails": {"signals": [{"error_rate": {"max_percent": 100}}]}
        }]});
        assert_eq!(envoy.push(&document.to_string()), Outcome::Accepted, "{document}");
        envoy.wait_revision(1);
        Self { versions, envoy }
    }

    fn clients(&self) -> [Client; 2] {
        [self.envoy.client(), self.envoy.client().http2()]
    }

    /// Makes the next attempts of v2 fail in these ways.
    fn fail(&self, ways: &[Behaviour]) {
        let (next, ways) = (AtomicU64::new(0), ways.to_vec());
        self.versions[1].set_with(move |_| {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let way = usize::try_from(number).ok().and_then(|number| ways.get(number));
            way.cloned().unwrap_or_else(Behaviour::ok)
        });
    }

    /// A counter of v2.
    fn wait_count(&self, name: &str, expected: u64) {
        let name = format!("wasmcustom.rollout=.=fraud;.;version=.=v2;.;{name}");
        assert_eq!(self.envoy.wait_stat(&name, expected), expected, "{name}");
    }

    /// Attempts of v1 and v2 since the last call.
    fn attempts(&self) -> [u64; 2] {
        let counts = self.versions.each_ref().map(Upstream::count);
        self.versions.iter().for_each(Upstream::clear);
        counts
    }
}

/// Sends a request; status, who answered, and the mark.
fn send(client: &Client) -> (u16, String, Option<String>) {
    let response = client.send(Request::post("/", "x").header("x-user-id", "alice")).expect("an answer");
    (response.status, response.upstream(), response.header("x-rollout-failover"))
}

#[test]
fn once_more_the_same_and_then_elsewhere() {
    type Change = fn(Cluster) -> Cluster;
    let shapes: [(&str, Change); 2] = [("HTTP/1.1", |cluster| cluster), ("HTTP/2", Cluster::http2)];
    for (shape, cluster) in shapes {
        let site = Site::start(cluster);
        let (mut failures, mut retries) = (0, 0);
        for client in site.clients() {
            for way in [Behaviour::reset(), Behaviour::status(503)] {
                let case = format!("{shape} to the version, {way:?}");
                // The version answers, and Envoy keeps the connection for the next request.
                site.fail(&[]);
                assert_eq!(send(&client), (200, "fraud-v2".into(), None), "{case}");
                assert_eq!(site.attempts(), [0, 1], "{case}");

                site.fail(std::slice::from_ref(&way));
                assert_eq!(send(&client), (200, "fraud-v2".into(), None), "{case}");
                assert_eq!(site.attempts(), [0, 2], "{case}");

                site.fail(&[way.clone(), way]);
                assert_eq!(send(&client), (200, "fraud-v1".into(), Some("v2>v1".into())), "{case}");
                assert_eq!(site.attempts(), [1, 2], "{case}");
                (failures, retries) = (failures + 1, retries + 3);
            }
        }
        site.wait_count("rollout_retries_total", retries);
        site.wait_count("to=.=v1;.;rollout_failovers_total", failures);
        site.wait_count("rollout_failures_total", failures);
        let bad =
            "signal=.=error_rate;.;side=.=version;.;result=.=bad;.;rollout_guardrail_observations_total";
        site.wait_count(bad, failures);
    }
}

#[test]
fn a_version_that_fails_whatever_is_tried_fails_once() {
    let site = Site::start(|cluster| cluster);
    site.versions.iter().for_each(|version| version.set(Behaviour::status(503)));
    assert_eq!(send(&site.envoy.client()), (503, "fraud-v1".into(), Some("v2>v1".into())));
    site.wait_count("rollout_retries_total", 2);
    site.wait_count("rollout_failures_total", 1);
}
