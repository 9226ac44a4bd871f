//! What the real Envoy tells of a request, and what guardrails make of it: whose failure it is, and whose it is not.

use std::time::Duration;

use serde_json::json;
use testbed::client::Request;
use testbed::envoy::{Builder, Outcome, connection_manager};
use testbed::{Behaviour, Cluster, Envoy, Upstream};

/// Requests of each kind.
const COUNT: u64 = 10;

/// Every request goes to v2, which no outcome takes out of service.
fn serve(builder: Builder) -> Envoy {
    let envoy = builder.start();
    let document = json!({"revision": 1, "rollouts": [{
        "name": "fraud", "unit": [{"header": "x-user-id"}], "stable": "v1",
        "versions": [{"name": "v1", "cluster": "fraud-v1"}, {"name": "v2", "cluster": "fraud-v2"}],
        "strategy": {"canary": {"version": "v2", "percent": 100}},
        "guardrails": {"signals": [{"error_rate": {"max_percent": 100}}, {"latency": {"quantile": 0.5, "max_ms": 60_000}}]}
    }]});
    assert_eq!(envoy.push(&document.to_string()), Outcome::Accepted);
    envoy.wait_revision(1);
    envoy
}

fn call() -> Request {
    Request::post("/", "x").header("x-user-id", "alice")
}

fn grpc_call() -> Request {
    call().header("content-type", "application/grpc")
}

/// A version that says all in its headers.
fn says(grpc_status: &str) -> Behaviour {
    Behaviour::ok().header("content-type", "application/grpc").header("grpc-status", grpc_status).body("")
}

/// Requests and failures of v2, and its answers.
fn counted(envoy: &Envoy) -> (u64, u64, u64) {
    std::thread::sleep(Duration::from_millis(500));
    let seen = |signal: &str, result: &str| {
        envoy.stat(&format!("wasmcustom.rollout=.=fraud;.;version=.=v2;.;signal=.={signal};.;side=.=version;.;result=.={result};.;rollout_guardrail_observations_total"))
    };
    (seen("error_rate", "all"), seen("error_rate", "bad"), seen("latency", "all"))
}

#[test]
fn a_grpc_call_that_another_filter_answers_counts_for_nobody() {
    let lua = r#"function envoy_on_request(handle)
        local status = handle:headers():get("x-refuse")
        if status then handle:respond({[":status"] = status}, "refused") end
    end"#;
    let versions = ["fraud-v1", "fraud-v2"].map(Upstream::start);
    let clusters = versions.each_ref().map(|version| Cluster::from(version).http2());
    let envoy = serve(Envoy::builder().clusters(clusters).tweak(move |bootstrap| {
        let filters = connection_manager(bootstrap)["http_filters"].as_array_mut().expect("filters");
        let code = json!({"@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
            "default_source_code": {"inline_string": lua}});
        filters.insert(1, json!({"name": "lua", "typed_config": code}));
    }));
    let client = envoy.client().http2();
    // Envoy makes UNAVAILABLE, INTERNAL and PERMISSION_DENIED of these.
    for status in ["429", "503", "400", "403"] {
        for _ in 0..COUNT {
            let refused = client.send(grpc_call().header("x-refuse", status)).expect("an answer");
            assert!(refused.header("grpc-status").is_some_and(|code| code != "0"), "{status}");
        }
        assert_eq!(counted(&envoy), (0, 0, 0), "{status}");
    }
    versions[1].set(says("8"));
    for _ in 0..COUNT {
        client.send(grpc_call()).expect("an answer");
    }
    versions[1].set(says("14"));
    for _ in 0..COUNT {
        client.send(grpc_call()).expect("an answer");
    }
    assert_eq!(counted(&envoy), (2 * COUNT, COUNT, 2 * COUNT), "what the version itself says counts");
    versions[1].stop();
    for _ in 0..COUNT {
        client.send(grpc_call()).expect("an answer");
    }
    assert_eq!(
        counted(&envoy),
        (3 * COUNT, 2 * COUNT, 2 * COUNT),
        "a refused connection is a failure and no answer"
    );
}
