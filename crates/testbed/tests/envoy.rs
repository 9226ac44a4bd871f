//! The shipped configuration in the real Envoy, without the filter: what holds while it is absent or switched off.

use serde_json::json;
use testbed::envoy::{Filter, Outcome};
use testbed::upstream::DeadPort;
use testbed::{Behaviour, Client, Cluster, Envoy, Load, Request, Upstream, client, grpc};

fn upstreams() -> [Upstream; 3] {
    ["fraud-v1", "fraud-v2", "fraud-v3"].map(Upstream::start)
}

/// A filter that sets headers, and the route with them, as the rollout filter would.
fn setting(headers: &[(&str, &str)]) -> Filter {
    let lines = headers.iter().map(|(name, value)| format!("handle:headers():replace('{name}', '{value}') "));
    Filter::Lua(format!("function envoy_on_request(handle) {}end", lines.collect::<String>()))
}

/// What the rollout filter sets for version 2 with version 1 as failover target.
const FAILOVER: [(&str, &str); 5] = [
    ("x-rollout-cluster", "fraud-v2"),
    ("x-rollout-fallback", "fraud-v1"),
    ("x-rollout-pick", "0"),
    ("x-envoy-retry-on", "5xx,reset,connect-failure"),
    ("x-envoy-max-retries", "1"),
];

#[test]
fn an_envoy_of_the_shipped_configuration_serves_the_stable_cluster_without_a_filter() {
    let upstreams = upstreams();
    let envoy = Envoy::builder().clusters(&upstreams).concurrency(2).start();

    let response = envoy.client().connections(4).get("/v2/models/fraud/infer", &[]).expect("an answer");

    assert_eq!((response.status, response.upstream().as_str()), (200, "fraud-v1"));
    assert_eq!(envoy.revision(), 0);
    assert_eq!(envoy.vm_reloads(), 0);
    assert!(envoy.rss_kib() > 1000 && envoy.cpu_nanos() > 100_000, "a running process has memory and time");
}

#[test]
fn routing_headers_of_clients_are_removed_before_routing() {
    let upstreams = upstreams();
    let envoy = Envoy::builder().clusters(&upstreams).start();
    let mut request = Request::get("/");
    for name in ["cluster", "fallback", "shadow-1", "shadow-2", "shadow-3", "host"] {
        request = request.header(&format!("x-rollout-{name}"), "fraud-v2");
    }
    request = request.header("x-rollout-pick", "0").header("x-envoy-retry-on", "5xx");

    let response = envoy.client().send(request).expect("an answer");

    assert_eq!(response.upstream(), "fraud-v1");
    let received = upstreams[0].requests().remove(0);
    assert_eq!(received.names("x-rollout-"), Vec::<String>::new());
    assert_eq!(upstreams[1].count(), 0);
}

#[test]
fn a_pushed_filter_runs_and_a_pushed_no_op_ends_that() {
    let upstreams = upstreams();
    let envoy = Envoy::builder().clusters(&upstreams).concurrency(2).start();
    let client = envoy.client();
    let marked = || client.get("/", &[]).ok().and_then(|response| response.echoed("x-mark"));
    let mut marking = testbed::envoy::header_mutation();
    marking["mutations"] =
        json!({"request_mutations": [{"append": {"header": {"key": "x-mark", "value": "1"}}}]});

    assert_eq!(envoy.push_filter(marking), Outcome::Accepted);
    envoy.wait_for("the pushed filter", |_| marked());
    assert_eq!(envoy.push_off(), Outcome::Accepted);
    envoy.wait_for("the no-op", |_| marked().is_none().then_some(()));
    assert_eq!(envoy.update_rejected(), 0);
}

#[test]
fn a_broken_push_is_rejected_and_changes_nothing() {
    let upstreams = upstreams();
    let envoy = Envoy::builder().clusters(&upstreams).start();

    assert_eq!(envoy.push_raw_yaml("{ this is no YAML"), Outcome::Rejected);
    assert_eq!(
        envoy.push_filter(json!({"@type": "type.googleapis.com/google.protobuf.Duration"})),
        Outcome::Rejected
    );
    assert_eq!(envoy.update_rejected(), 2);
    assert_eq!(envoy.client().get("/", &[]).expect("an answer").upstream(), "fraud-v1");
}

#[test]
fn a_failed_attempt_is_retried_on_the_fallback_cluster_under_load() {
    let upstreams = upstreams();
    upstreams[1].set(Behaviour::reset());
    let envoy = Envoy::builder().clusters(&upstreams).filter(setting(&FAILOVER)).start();

    let load = || Load::new(envoy.address()).connections(20).requests(500);
    let reset = load().run(|_| Request::post("/", vec![b'x'; 60_000]));
    upstreams[1].stop();
    let refused = load().run(|_| Request::post("/", vec![b'x'; 60_000]));

    assert_eq!((reset.failed(), reset.answered_by("fraud-v1")), (0, 500), "{:?}", reset.examples);
    assert_eq!((refused.failed(), refused.answered_by("fraud-v1")), (0, 500), "{:?}", refused.examples);

    upstreams[1].set(Behaviour::ok());
    upstreams[1].restart();
    let back = load().run(|_| Request::get("/"));
    assert_eq!((back.failed(), back.answered_by("fraud-v2")), (0, 500), "{:?}", back.examples);
}

#[test]
fn a_shadowed_request_is_copied_with_its_mark_and_without_the_assignment() {
    let upstreams = upstreams();
    let shadowed = [("x-rollout-shadow-1", "fraud-v3"), ("x-rollout-assignment", "fraud=v2")];
    let envoy = Envoy::builder()
        .clusters(&upstreams)
        .filter(setting(&[&FAILOVER[..], &shadowed[..]].concat()))
        .start();

    assert_eq!(envoy.client().get("/", &[]).expect("an answer").upstream(), "fraud-v2");

    upstreams[2].wait_count(1);
    let copy = upstreams[2].requests().remove(0);
    assert_eq!(copy.header("x-rollout-shadow").as_deref(), Some("fraud-v3"));
    assert_eq!(copy.header("x-rollout-assignment"), None);
    assert_eq!(copy.host, "localhost", "the host has no suffix");
    assert_eq!(upstreams[1].requests()[0].header("x-rollout-assignment").as_deref(), Some("fraud=v2"));
}

#[test]
fn grpc_is_served_through_an_http2_cluster() {
    let upstream = Upstream::start("fraud-v1");
    let envoy = Envoy::builder().cluster(Cluster::new("fraud-v1", &[upstream.port()]).http2()).start();
    let health = grpc::Health::new(envoy.address());

    let checked = health.check(&[("x-user-id", "alice")]).expect("an answer");
    assert!(checked.serving);
    assert_eq!(checked.header("x-upstream").as_deref(), Some("fraud-v1"));
    assert_eq!(upstream.requests()[0].header("x-user-id").as_deref(), Some("alice"));

    upstream.set(Behaviour::grpc(14));
    let status = health.check(&[]).expect_err("it was told to fail");
    assert_eq!(i32::from(status.code()), 14);
}

#[test]
fn every_variant_of_the_configuration_starts() {
    let upstreams = upstreams();
    let builder = || Envoy::builder().clusters(&upstreams);
    let lua = "function envoy_on_request(handle) handle:headers():add('x-rollout-cluster', 'fraud-v3') end";
    let weighted = json!([{"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": [
        {"name": "fraud-v1", "weight": 0}, {"name": "fraud-v2", "weight": 100}]},
        "hash_policy": [{"header": {"header_name": "x-user-id"}}]}}]);

    for (envoy, expected) in [
        (builder().filter(Filter::Absent).start(), "fraud-v1"),
        (builder().filter(Filter::Absent).routes(weighted).start(), "fraud-v2"),
        (builder().filter(Filter::Lua(lua.into())).plain_route().start(), "fraud-v3"),
    ] {
        let response = Client::new(envoy.address()).http2().get("/", &[]).expect("an answer");
        assert_eq!(response.upstream(), expected);
    }
}

#[test]
fn a_cluster_of_a_dead_port_refuses_connections() {
    let dead = DeadPort::take();
    let envoy = Envoy::builder().cluster(("fraud-v1", dead.port())).start();

    assert_eq!(envoy.client().get("/", &[]).expect("an answer").status, 503);
    assert_eq!(envoy.stat("cluster.fraud-v1.upstream_cx_connect_fail"), 1);
}

#[test]
fn a_refused_bootstrap_is_reported_with_the_log() {
    let refused = Envoy::builder().tweak(|bootstrap| bootstrap["nonsense"] = json!(1)).try_start();

    assert!(refused.err().expect("Envoy refuses unknown fields").contains("nonsense"));
}

#[test]
fn malformed_requests_can_be_sent() {
    let envoy = Envoy::builder().start();

    let answer =
        client::raw(envoy.address(), b"GET / HTTP/1.1\r\nhost: a\r\nx bad: 1\r\n\r\n").expect("a connection");

    assert!(answer.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&answer));
}
