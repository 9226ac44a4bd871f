//! What the real Envoy reports about a request, and what guardrails count: which version failed, and which did not.

#![expect(clippy::expect_used, reason = "a test may stop with the reason")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use testbed::client::Request;
use testbed::envoy::{Builder, Outcome, connection_manager, refuse_on_request, routes};
use testbed::{Behaviour, Cluster, Envoy, PATIENCE, Upstream};

/// Requests of each kind.
const COUNT: u64 = 10;

/// Every request goes to v2, which no outcome rolls back.
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

/// Changes every route's action.
fn change_routes(bootstrap: &mut Value, change: &Value) {
    for route in routes(bootstrap).as_array_mut().expect("routes") {
        let action = route["route"].as_object_mut().expect("an action");
        action.extend(change.as_object().expect("an object").clone());
    }
}

fn call() -> Request {
    Request::post("/", "x").header("x-user-id", "alice")
}

fn grpc_call() -> Request {
    call().header("content-type", "application/grpc")
}

/// A version that answers with headers only.
fn says(grpc_status: &str) -> Behaviour {
    Behaviour::ok().header("content-type", "application/grpc").header("grpc-status", grpc_status).body("")
}

/// Sends what a client of HTTP/1.1 would, and returns what comes back until the connection ends.
fn exchange(envoy: &Envoy, head: &str) -> String {
    let mut stream = TcpStream::connect(envoy.address()).expect("Envoy listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit can be set");
    stream.write_all(head.as_bytes()).expect("Envoy reads");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Waits until the requests of v2, its failures and its answers are counted, and for some ticks more: no others come.
fn assert_counted(envoy: &Envoy, expected: (u64, u64, u64), what: &str) {
    envoy.wait_for(&format!("{expected:?}, {what}"), |envoy| (counted(envoy) == expected).then_some(()));
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(counted(envoy), expected, "{what}");
}

fn counted(envoy: &Envoy) -> (u64, u64, u64) {
    let seen = |signal: &str, result: &str| {
        envoy.stat(&format!("wasmcustom.rollout=.=fraud;.;version=.=v2;.;signal=.={signal};.;side=.=version;.;result=.={result};.;rollout_guardrail_observations_total"))
    };
    (seen("error_rate", "all"), seen("error_rate", "bad"), seen("latency", "all"))
}

fn abandoned(envoy: &Envoy) -> u64 {
    envoy.stat("wasmcustom.rollout=.=fraud;.;version=.=v2;.;rollout_abandoned_total")
}

#[test]
fn a_grpc_call_that_another_filter_answers_counts_for_no_version() {
    let versions = ["fraud-v1", "fraud-v2"].map(Upstream::start);
    let clusters = versions.each_ref().map(|version| Cluster::from(version).http2());
    let envoy = serve(Envoy::builder().clusters(clusters).tweak(refuse_on_request));
    let client = envoy.client().http2();
    // Envoy makes UNAVAILABLE, INTERNAL and PERMISSION_DENIED of these.
    for status in ["429", "503", "400", "403"] {
        for _ in 0..COUNT {
            let refused = client.send(grpc_call().header("x-refuse", status)).expect("an answer");
            assert!(refused.header("grpc-status").is_some_and(|code| code != "0"), "{status}");
        }
        assert_counted(&envoy, (0, 0, 0), status);
    }
    versions[1].set(says("8"));
    for _ in 0..COUNT {
        client.send(grpc_call()).expect("an answer");
    }
    versions[1].set(says("14"));
    for _ in 0..COUNT {
        client.send(grpc_call()).expect("an answer");
    }
    assert_counted(&envoy, (2 * COUNT, COUNT, 2 * COUNT), "what the version itself says counts");
    versions[1].stop();
    for _ in 0..COUNT {
        client.send(grpc_call()).expect("an answer");
    }
    assert_counted(
        &envoy,
        (3 * COUNT, 2 * COUNT, 2 * COUNT),
        "a refused connection is a failure and no answer",
    );
}

/// A server that accepts any upgrade, sends one message and closes the connection.
fn websocket() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello");
                std::thread::sleep(Duration::from_millis(50));
            });
        }
    });
    port
}

#[test]
fn a_server_that_closes_its_websocket_has_not_failed() {
    let stable = Upstream::start("fraud-v1");
    let envoy =
        serve(Envoy::builder().cluster(&stable).cluster(("fraud-v2", websocket())).tweak(|bootstrap| {
            connection_manager(bootstrap)["upgrade_configs"] = json!([{"upgrade_type": "websocket"}]);
        }));
    for _ in 0..COUNT {
        let answer = exchange(
            &envoy,
            "GET / HTTP/1.1\r\nhost: a\r\nx-user-id: alice\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        );
        assert!(answer.starts_with("HTTP/1.1 101") && answer.ends_with("hello"), "{answer}");
    }
    assert_counted(&envoy, (COUNT, 0, 0), "an upgrade is a request");
}

#[test]
fn an_upgrade_is_never_copied_and_a_request_beside_it_is() {
    let [plain, shadow] = ["fraud-v1", "fraud-v3"].map(Upstream::start);
    let envoy = Envoy::builder()
        .clusters([Cluster::from(&plain), ("fraud-v2", websocket()).into(), Cluster::from(&shadow)])
        .tweak(|bootstrap| {
            connection_manager(bootstrap)["upgrade_configs"] = json!([{"upgrade_type": "websocket"}]);
        })
        .start();
    let rollout = |name: &str, path: &str, cluster: &str| {
        json!({"name": name, "match": [{"path": {"exact": path}}], "unit": [{"header": "x-user-id"}], "stable": "live",
            "versions": [{"name": "live", "cluster": cluster}, {"name": "copies", "cluster": "fraud-v3"}],
            "shadow": [{"version": "copies", "percent": 100}], "idempotent": true})
    };
    let rollouts = [rollout("plain", "/plain", "fraud-v1"), rollout("socket", "/socket", "fraud-v2")];
    let document = json!({"revision": 1, "rollouts": rollouts});
    assert_eq!(envoy.push(&document.to_string()), Outcome::Accepted);
    envoy.wait_revision(1);
    for _ in 0..COUNT {
        let upgrade = "GET /socket HTTP/1.1\r\nhost: a\r\nx-user-id: alice\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        assert!(exchange(&envoy, upgrade).starts_with("HTTP/1.1 101"));
        let answer = envoy.client().send(Request::get("/plain").header("x-user-id", "alice"));
        assert_eq!(answer.expect("an answer").status, 200);
    }
    shadow.wait_count(COUNT);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(shadow.count(), COUNT, "the plain requests alone");
    assert!(shadow.requests().iter().all(|copy| copy.path == "/plain"));
}

#[test]
fn an_answer_below_500_that_was_repeated_without_success_has_not_failed() {
    let versions = ["fraud-v1", "fraud-v2"].map(Upstream::start);
    versions[1].set(Behaviour::status(429));
    let retry = json!({"retry_policy": {"retry_on": "retriable-status-codes", "retriable_status_codes": [429], "num_retries": 1}});
    let envoy =
        serve(Envoy::builder().clusters(&versions).tweak(move |bootstrap| change_routes(bootstrap, &retry)));
    for _ in 0..COUNT {
        assert_eq!(envoy.client().send(call()).expect("an answer").status, 429);
    }
    assert_eq!(versions[1].count(), 2 * COUNT);
    assert_counted(&envoy, (COUNT, 0, COUNT), "429");
}

#[test]
fn a_version_that_does_not_answer_fails_whichever_limit_ends_the_wait() {
    let unfinished = "POST / HTTP/1.1\r\nhost: a\r\nx-user-id: alice\r\ncontent-length: 10\r\n\r\nx";
    for limit in [
        json!({"timeout": "0.3s"}),
        json!({"idle_timeout": "0.3s"}),
        json!({"max_stream_duration": {"max_stream_duration": "0.3s"}}),
    ] {
        let versions = ["fraud-v1", "fraud-v2"].map(Upstream::start);
        versions[1].set(Behaviour::delayed(Duration::from_secs(60)));
        let limit_name = limit.as_object().and_then(|limit| limit.keys().next().cloned()).unwrap_or_default();
        let what = limit.to_string();
        let envoy = serve(
            Envoy::builder().clusters(&versions).tweak(move |bootstrap| change_routes(bootstrap, &limit)),
        );
        assert_eq!(envoy.client().send(call()).expect("an answer").status, 504);
        assert_counted(&envoy, (1, 1, 0), &what);
        let answer = envoy.client().send(grpc_call()).expect("an answer");
        assert!(answer.header("grpc-status").is_some_and(|code| code == "4" || code == "14"), "{what}");
        // Envoy writes the longest duration of a gRPC stream into `grpc-timeout`, like a deadline of the client.
        let is_deadline = limit_name == "max_stream_duration";
        let failures = if is_deadline { 1 } else { 2 };
        assert_counted(&envoy, (failures, failures, 0), &format!("gRPC, {what}"));
        assert_eq!(abandoned(&envoy), u64::from(is_deadline), "gRPC, {what}");
        // The route's timeout begins with the end of the request.
        if limit_name != "timeout" {
            assert!(exchange(&envoy, unfinished).starts_with("HTTP/1.1 408"), "{what}");
            assert_counted(&envoy, (failures, failures, 0), &format!("a client that does not go on, {what}"));
            assert_eq!(abandoned(&envoy), 1 + u64::from(is_deadline), "{what}");
        }
    }
}

#[test]
fn a_client_that_goes_away_before_or_after_the_headers_has_seen_no_failure() {
    let versions = ["fraud-v1", "fraud-v2"].map(Upstream::start);
    let envoy = serve(Envoy::builder().clusters(&versions));
    for (client, answers) in [(envoy.client(), COUNT), (envoy.client().http2(), 2 * COUNT)] {
        versions[1].set(Behaviour::delayed(Duration::from_secs(60)));
        for _ in 0..COUNT {
            // A new client each time, because giving up closes its connection.
            let hasty = client.clone().connections(1).timeout(Duration::from_millis(50));
            assert!(hasty.send(call()).is_err());
        }
        versions[1].set(Behaviour::events(Duration::from_millis(50), Duration::from_secs(60)));
        for _ in 0..COUNT {
            drop(client.open(call()).expect("response headers"));
        }
        assert_counted(&envoy, (answers, 0, answers), "what was answered counts as an answer");
        assert_eq!(abandoned(&envoy), answers, "and the others were abandoned");
    }
}
