//! Retries that others ask for: internal callers in Envoy's retry headers, or the route in its own `retry_policy`. Every attempt
//! meets a cluster.

#![expect(clippy::expect_used, reason = "a test may stop with the reason")]

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use testbed::client::Client;
use testbed::envoy::{Builder, Outcome, connection_manager, routes};
use testbed::{Behaviour, Cluster, Envoy, Request, Response, Upstream};

/// Attempts that a cluster with a backstop has hosts for.
const MOST: u64 = 16;

const RETRIES: &str = "wasmcustom.rollout=.=fraud;.;version=.=v2;.;rollout_retries_total";

/// Two versions and a shadow behind an Envoy of the shipped configuration.
struct Site {
    versions: [Upstream; 3],
    envoy: Envoy,
}

impl Site {
    /// Every request goes to v2, except those on `/elsewhere`, which match no rollout. `rest` are more fields of the rollout.
    fn start(change: impl FnOnce(Builder) -> Builder, rest: &Value) -> Self {
        let versions = ["fraud-v1", "fraud-v2", "fraud-v3"].map(Upstream::start);
        let clusters = versions.each_ref().map(|upstream| Cluster::from(upstream).backstop());
        let envoy = change(Envoy::builder().clusters(clusters)).start();
        let mut rollout = json!({
            "name": "fraud", "unit": [{"header": "x-user-id"}], "stable": "v1", "idempotent": true,
            "match": [{"path": {"prefix": "/fraud"}}],
            "versions": [
                {"name": "v1", "cluster": "fraud-v1"}, {"name": "v2", "cluster": "fraud-v2"},
                {"name": "v3", "cluster": "fraud-v3"}
            ],
            "strategy": {"canary": {"version": "v2", "percent": 100}}
        });
        rollout.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
        let document = json!({"revision": 1, "rollouts": [rollout]});
        assert_eq!(envoy.push(&document.to_string()), Outcome::Accepted, "{document}");
        envoy.wait_revision(1);
        Self { versions, envoy }
    }

    /// Without failover, and with every client internal.
    fn internal(rest: &Value) -> Self {
        Self::start(|builder| builder.tweak(trust_loopback), rest)
    }

    /// Without failover, and with routes that repeat a failed call this often.
    fn repeating(retries: u64, rest: &Value) -> Self {
        let repeat = move |bootstrap: &mut Value| {
            for route in routes(bootstrap).as_array_mut().expect("routes") {
                let action = route["route"].as_object_mut().expect("an action");
                let policy = action.entry("retry_policy").or_insert_with(|| json!({}));
                policy["retry_on"] = json!("5xx");
                policy["num_retries"] = json!(retries);
            }
        };
        Self::start(|builder| builder.tweak(repeat), rest)
    }

    fn clients(&self) -> [Client; 2] {
        [self.envoy.client(), self.envoy.client().http2()]
    }

    /// Attempts of v1 and v2 since the last call.
    fn attempts(&self) -> [u64; 2] {
        let [first, second, _] = &self.versions;
        let counts = [first.count(), second.count()];
        self.versions.iter().for_each(Upstream::clear);
        counts
    }
}

/// Makes the clients of the tests internal, so that Envoy keeps their retry headers.
fn trust_loopback(bootstrap: &mut Value) {
    let ranges = json!({"cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]});
    connection_manager(bootstrap)["internal_address_config"] = ranges;
}

fn call() -> Request {
    Request::post("/fraud", "x").header("x-user-id", "alice")
}

/// With the retry headers of an internal caller.
fn insist(request: Request, retries: &str) -> Request {
    request.header("x-envoy-retry-on", "5xx").header("x-envoy-max-retries", retries)
}

/// Makes a version fail this often, and then answer.
fn fail(version: &Upstream, times: u64) {
    let begun = AtomicU64::new(0);
    version.set_with(move |_| {
        let is_early = begun.fetch_add(1, Ordering::Relaxed) < times;
        if is_early { Behaviour::status(503) } else { Behaviour::ok() }
    });
}

fn send(client: &Client, request: Request) -> (u16, String) {
    let response: Response = client.send(request).expect("an answer");
    (response.status, response.upstream())
}

/// Without shadows, and with one, which has a route of its own.
fn routes_of_the_filter() -> [Value; 2] {
    [json!({}), json!({"shadow": [{"version": "v3", "percent": 100}]})]
}

#[test]
fn an_internal_caller_gets_every_retry_that_it_asks_for() {
    for rest in routes_of_the_filter() {
        let site = Site::internal(&rest);
        let mut repeated = 0;
        for (failures, retries) in [(1, "1"), (2, "3"), (3, "3"), (4, "9"), (MOST - 1, "15")] {
            for client in site.clients() {
                fail(&site.versions[1], failures);
                let case = format!("{failures} failures, {retries} retries, {rest}");
                let answered = send(&client, insist(call(), retries));
                assert_eq!(answered, (200, "fraud-v2".into()), "{case}");
                assert_eq!(site.attempts(), [0, failures + 1], "{case}");
                repeated += failures;
            }
        }
        assert_eq!(site.envoy.wait_stat(RETRIES, repeated), repeated);
    }
}

#[test]
fn an_internal_caller_that_asks_for_too_many_retries_gets_the_last_answer_of_the_version() {
    let site = Site::internal(&json!({}));
    for client in site.clients() {
        for retries in ["16", "100", "4294967295"] {
            site.versions[1].set(Behaviour::status(503));
            assert_eq!(send(&client, insist(call(), retries)), (503, "fraud-v2".into()), "{retries}");
            assert_eq!(site.attempts(), [0, MOST], "{retries}");
            // The same without a rollout, on the route to stable.
            site.versions[0].set(Behaviour::status(503));
            let elsewhere = Request::post("/elsewhere", "x");
            assert_eq!(send(&client, insist(elsewhere, retries)), (503, "fraud-v1".into()), "{retries}");
            assert_eq!(site.attempts(), [MOST, 0], "{retries}");
        }
        // What is no number is Envoy's to judge.
        assert_eq!(send(&client, insist(call(), "many")), (503, "fraud-v2".into()));
        site.attempts();
    }
}

#[test]
fn a_route_with_a_retry_policy_of_its_own_gets_every_retry() {
    for rest in routes_of_the_filter() {
        let site = Site::repeating(MOST - 1, &rest);
        for failures in [2, 3, 4, MOST - 1] {
            for client in site.clients() {
                fail(&site.versions[1], failures);
                let case = format!("{failures} failures, {rest}");
                assert_eq!(send(&client, call()), (200, "fraud-v2".into()), "{case}");
                assert_eq!(site.attempts(), [0, failures + 1], "{case}");
            }
        }
    }
}

#[test]
fn failover_decides_about_its_own_retries_whatever_caller_and_route_ask_for() {
    let rest = json!({"failover": {"to": ["v1"]}});
    for site in [Site::internal(&rest), Site::repeating(9, &rest)] {
        site.versions[0].set(Behaviour::status(500));
        site.versions[1].set(Behaviour::status(503));
        for client in site.clients() {
            assert_eq!(send(&client, insist(call(), "9")), (500, "fraud-v1".into()));
            assert_eq!(site.attempts(), [1, 1]);
        }
    }
}
