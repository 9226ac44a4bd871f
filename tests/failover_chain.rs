//! Chains of failover targets, and versions without hosts: a call goes from version to version until one answers, as often as the
//! document allows. A version without hosts counts as one that fails.

#![expect(clippy::expect_used, clippy::arithmetic_side_effects, reason = "a test may stop with the reason")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use testbed::envoy::Outcome;
use testbed::load::Report;
use testbed::{Behaviour, Cluster, Envoy, Load, Request, Response, Upstream};

/// Versions v0 to v3, v0 stable; every request goes to the version of this number.
fn rollout(active: usize, failover: Value) -> Value {
    let versions: Vec<Value> = (0..4)
        .map(|number| json!({"name": format!("v{number}"), "cluster": format!("fraud-v{number}")}))
        .collect();
    json!({
        "name": "fraud", "unit": [{"header": "x-user-id"}], "stable": "v0", "versions": versions, "idempotent": true,
        "strategy": {"canary": {"version": format!("v{active}"), "percent": 100}}, "failover": failover
    })
}

/// The same without failover.
fn alone(active: usize) -> Value {
    let mut rollout = rollout(active, json!(null));
    rollout.as_object_mut().expect("a rollout is an object").remove("failover");
    rollout
}

fn failovers(from: &str, to: &str) -> String {
    format!("wasmcustom.rollout=.=fraud;.;version=.={from};.;to=.={to};.;rollout_failovers_total")
}

/// Four versions, by their numbers, behind an Envoy.
struct Site {
    versions: [Upstream; 4],
    envoy: Envoy,
    revision: AtomicU64,
}

impl Site {
    fn start() -> Self {
        Self::with(|_, upstream| Cluster::from(upstream).backstop())
    }

    /// With a cluster of each version's number and model server.
    fn with(cluster: impl Fn(usize, &Upstream) -> Cluster) -> Self {
        let versions = ["fraud-v0", "fraud-v1", "fraud-v2", "fraud-v3"].map(Upstream::start);
        let clusters: Vec<Cluster> =
            versions.iter().enumerate().map(|(number, upstream)| cluster(number, upstream)).collect();
        let envoy = Envoy::builder().clusters(clusters).concurrency(2).tweak(be_patient).start();
        Self { versions, envoy, revision: AtomicU64::new(0) }
    }

    /// With versions of these numbers that have no hosts.
    fn without_hosts(empty: &'static [usize]) -> Self {
        Self::with(move |number, upstream| {
            let is_empty = empty.contains(&number);
            if is_empty { Cluster::new(upstream.name(), &[]) } else { Cluster::from(upstream) }.backstop()
        })
    }

    fn push(&self, rollout: Value) {
        let revision = self.revision.fetch_add(1, Ordering::Relaxed) + 1;
        let document = json!({"revision": revision, "rollouts": [rollout]}).to_string();
        assert_eq!(self.envoy.push(&document), Outcome::Accepted, "{document}");
        self.envoy.wait_revision(revision);
    }

    fn send(&self) -> Response {
        self.envoy.client().send(Request::post("/", "{}")).expect("an answer")
    }

    /// Attempts since the last call, by the version's number.
    fn attempts(&self) -> [u64; 4] {
        let counts = self.versions.each_ref().map(Upstream::count);
        self.versions.iter().for_each(Upstream::clear);
        counts
    }
}

/// Hundreds of connections at once may take a busy machine longer than the shipped limit of one second, which is not tested here.
fn be_patient(bootstrap: &mut Value) {
    let clusters = bootstrap.pointer_mut("/static_resources/clusters").and_then(Value::as_array_mut);
    for cluster in clusters.expect("clusters") {
        cluster.as_object_mut().expect("a cluster").insert("connect_timeout".into(), json!("5s"));
    }
}

/// Status, who answered, and the mark.
fn seen(response: &Response) -> (u16, String, Option<String>) {
    (response.status, response.upstream(), response.header("x-rollout-failover"))
}

fn marked(by: &str, mark: &str) -> (u16, String, Option<String>) {
    (200, by.into(), Some(mark.into()))
}

/// Sends `requests` with and without HTTP/2, one by one and `at_once`; the reports, and the marks of all answers with their number.
fn drive(envoy: &Envoy, requests: u64, at_once: usize) -> (Vec<Report>, BTreeMap<String, u64>) {
    let marks = Arc::new(Mutex::new(BTreeMap::new()));
    let mut reports = Vec::new();
    for (connections, http2) in [(1, false), (at_once, false), (1, true), (at_once, true)] {
        let marks = Arc::clone(&marks);
        let load = Load::new(envoy.address()).connections(connections).requests(requests);
        let load = if http2 { load.http2() } else { load };
        let load = load.observe(move |_, outcome| {
            let mark = outcome.as_ref().ok().and_then(|response| response.header("x-rollout-failover"));
            let mut marks = marks.lock().unwrap_or_else(PoisonError::into_inner);
            *marks.entry(mark.unwrap_or_default()).or_default() += 1;
        });
        reports.push(
            load.run(|number| Request::post("/", vec![b'x'; 1024]).header("x-user-id", number.to_string())),
        );
    }
    let marks = marks.lock().unwrap_or_else(PoisonError::into_inner).clone();
    (reports, marks)
}

/// Checks that this version answered all requests of the reports with a 200.
fn assert_answered_by(upstream: &str, reports: &[Report], requests: u64) {
    for report in reports {
        assert_eq!((report.failed(), report.statuses.get(&200)), (0, Some(&requests)), "{report:?}");
        assert_eq!(report.answered_by(upstream), requests, "{report:?}");
    }
}

#[test]
fn a_call_goes_down_the_chain_until_a_version_answers() {
    const REQUESTS: u64 = 60;
    const ALL: u64 = 4 * REQUESTS;
    let site = Site::start();
    site.push(rollout(2, json!({"to": ["v1", "v0"], "retries": 2})));
    let [_, second, first, _] = &site.versions;

    // Only the version itself fails.
    first.set(Behaviour::status(503));
    let (reports, marks) = drive(&site.envoy, REQUESTS, 30);
    assert_answered_by("fraud-v1", &reports, REQUESTS);
    assert_eq!((site.attempts(), marks), ([0, ALL, ALL, 0], BTreeMap::from([("v2>v1".into(), ALL)])));

    // So does its first target.
    second.set(Behaviour::status(500));
    let (reports, marks) = drive(&site.envoy, REQUESTS, 30);
    assert_answered_by("fraud-v0", &reports, REQUESTS);
    assert_eq!((site.attempts(), marks), ([ALL, ALL, ALL, 0], BTreeMap::from([("v2>v0".into(), ALL)])));

    // Both refuse connections.
    first.stop();
    second.stop();
    let (reports, marks) = drive(&site.envoy, REQUESTS, 30);
    assert_answered_by("fraud-v0", &reports, REQUESTS);
    assert_eq!((site.attempts(), marks), ([ALL, 0, 0, 0], BTreeMap::from([("v2>v0".into(), ALL)])));

    // One of each.
    second.restart();
    let (reports, marks) = drive(&site.envoy, REQUESTS, 30);
    assert_answered_by("fraud-v0", &reports, REQUESTS);
    assert_eq!((site.attempts(), marks), ([ALL, ALL, 0, 0], BTreeMap::from([("v2>v0".into(), ALL)])));

    assert_eq!(site.envoy.wait_stat(&failovers("v2", "v1"), ALL), ALL);
    assert_eq!(site.envoy.wait_stat(&failovers("v2", "v0"), 3 * ALL), 3 * ALL);
    assert_eq!(site.envoy.vm_reloads(), 0);
}

#[test]
fn a_call_is_repeated_no_more_often_than_the_document_allows() {
    let site = Site::start();
    for version in &site.versions {
        version.set(Behaviour::status(503).body(version.name().to_owned()));
    }
    for (active, failover, last, attempts) in [
        (2, json!({"to": ["v1", "v0"]}), "fraud-v1", [0, 1, 1, 0]),
        (2, json!({"to": ["v1", "v0"], "retries": 1}), "fraud-v1", [0, 1, 1, 0]),
        (2, json!({"to": ["v1", "v0"], "retries": 2}), "fraud-v0", [1, 1, 1, 0]),
        (3, json!({"to": ["v1", "v2", "v0"], "retries": 2}), "fraud-v2", [0, 1, 1, 1]),
        (3, json!({"to": ["v1", "v2", "v0"], "retries": 3}), "fraud-v0", [1, 1, 1, 1]),
        // The rollout's chain without the version itself.
        (1, json!({"to": ["v2", "v1"], "retries": 2}), "fraud-v2", [0, 1, 1, 0]),
    ] {
        site.push(rollout(active, failover.clone()));
        let response = site.send();
        assert_eq!((response.status, response.text().as_str()), (503, last), "{failover}");
        assert_eq!(site.attempts(), attempts, "{failover}");
    }
}

#[test]
fn a_target_that_does_not_accept_the_request_is_skipped() {
    let site = Site::start();
    let mut rollout = rollout(2, json!({"to": ["v1", "v0"], "retries": 2}));
    rollout["api"] = json!({"header": "x-api"});
    rollout["versions"][1]["accepts"] = json!({"api": ["1"]});
    site.push(rollout);
    site.versions[2].set(Behaviour::status(503));

    for (api, by, mark) in [("1", "fraud-v1", "v2>v1"), ("2", "fraud-v0", "v2>v0")] {
        let response = site.envoy.client().send(Request::get("/").header("x-api", api)).expect("an answer");
        assert_eq!(seen(&response), marked(by, mark));
    }
}

#[test]
fn a_push_alone_changes_the_chain() {
    let site = Site::start();
    site.versions[3].set(Behaviour::status(503));
    site.versions[2].set(Behaviour::status(503));
    for (to, by) in [(["v1", "v0"], "v1"), (["v0", "v1"], "v0"), (["v2", "v0"], "v0"), (["v2", "v1"], "v1")] {
        site.push(rollout(3, json!({"to": to, "retries": 2})));
        assert_eq!(seen(&site.send()), marked(&format!("fraud-{by}"), &format!("v3>{by}")), "{to:?}");
    }
}

#[test]
fn a_version_without_hosts_fails_no_request() {
    const REQUESTS: u64 = 100;
    const ALL: u64 = 4 * REQUESTS;
    type Shape = fn(&Upstream) -> Cluster;
    let shapes: [(&str, Shape); 4] = [
        ("no host", |upstream| Cluster::new(upstream.name(), &[])),
        ("no host, HTTP/2", |upstream| Cluster::new(upstream.name(), &[]).http2()),
        ("no healthy host", |upstream| Cluster::new(upstream.name(), &[]).unhealthy(&[upstream.port()])),
        ("no healthy host, HTTP/2", |upstream| {
            Cluster::new(upstream.name(), &[]).unhealthy(&[upstream.port()]).http2()
        }),
    ];
    for (what, shape) in shapes {
        let site = Site::with(|number, upstream| match number {
            2 => shape(upstream).backstop(),
            _ => Cluster::from(upstream).backstop(),
        });
        site.push(rollout(2, json!({"to": ["v1"]})));
        let (reports, marks) = drive(&site.envoy, REQUESTS, 50);
        assert_answered_by("fraud-v1", &reports, REQUESTS);
        let expected = ([0, ALL, 0, 0], BTreeMap::from([("v2>v1".to_owned(), ALL)]));
        assert_eq!((site.attempts(), marks), expected, "{what}");
        assert_eq!(site.envoy.wait_stat(&failovers("v2", "v1"), ALL), ALL, "{what}");

        // Without failover the client gets the failure.
        site.push(alone(2));
        assert_eq!(seen(&site.send()), (503, String::new(), None), "{what}");
        // The same holds for conditions that do not name it.
        site.push(rollout(2, json!({"to": ["v1"], "retry_on": "unavailable"})));
        assert_eq!(seen(&site.send()), (503, String::new(), None), "{what}");
        assert_eq!(site.attempts(), [0; 4], "{what}");
    }
}

#[test]
fn a_chain_continues_past_versions_without_hosts() {
    let site = Site::without_hosts(&[1, 2]);
    for (to, by) in [(["v2", "v1", "v0"], "v0"), (["v1", "v0", "v2"], "v0"), (["v0", "v1", "v2"], "v0")] {
        site.push(rollout(3, json!({"to": to, "retries": 3})));
        site.versions[3].set(Behaviour::status(503));
        assert_eq!(seen(&site.send()), marked(&format!("fraud-{by}"), &format!("v3>{by}")), "{to:?}");
        site.versions[3].set(Behaviour::ok());
        assert_eq!(seen(&site.send()), (200, "fraud-v3".into(), None), "{to:?}");
    }
    // The last attempt finds the hosts of a target too.
    site.push(rollout(2, json!({"to": ["v1", "v3", "v0"], "retries": 3})));
    site.versions[3].set(Behaviour::status(503));
    assert_eq!(seen(&site.send()), marked("fraud-v0", "v2>v0"));
}

#[test]
fn a_partly_healthy_version_keeps_its_requests() {
    const REQUESTS: u64 = 100;
    let site = Site::with(|number, upstream| match number {
        // One of five, and the others would not answer.
        2 => Cluster::from(upstream).unhealthy(&[1, 2, 3, 4]).backstop(),
        _ => Cluster::from(upstream).backstop(),
    });
    site.push(rollout(2, json!({"to": ["v1"]})));
    let (reports, marks) = drive(&site.envoy, REQUESTS, 30);
    assert_answered_by("fraud-v2", &reports, REQUESTS);
    let all = 4 * REQUESTS;
    assert_eq!((site.attempts(), marks), ([0, 0, all, 0], BTreeMap::from([(String::new(), all)])));
    assert_eq!(site.envoy.stat("cluster.rollout-no-hosts.upstream_cx_connect_fail"), 0);
    assert_eq!(site.envoy.stat("cluster.fraud-v2.upstream_rq_retry"), 0);
}

#[test]
fn three_hundred_failovers_at_once_are_not_starved() {
    const AT_ONCE: u64 = 300;
    let site = Site::without_hosts(&[1]);
    // All are on their second attempt while the last one fails.
    site.versions[0].set(Behaviour::delayed(Duration::from_secs(2)));
    site.versions[2].set(Behaviour::status(503));
    for (active, mark) in [(2, "v2>v0"), (1, "v1>v0")] {
        site.push(rollout(active, json!({"to": ["v0"]})));
        let load = Load::new(site.envoy.address()).connections(300).requests(AT_ONCE);
        let report = load.run(|_| Request::get("/"));
        assert_answered_by("fraud-v0", &[report], AT_ONCE);
        assert_eq!(site.envoy.stats("upstream_rq_retry_overflow").values().sum::<u64>(), 0, "{mark}");
    }
}

#[test]
fn copies_arrive_at_a_version_with_a_backstop_and_do_no_harm_without_hosts() {
    let site = Site::without_hosts(&[3]);
    let mut shadowed = rollout(2, json!({"to": ["v0"]}));
    shadowed["shadow"] = json!([{"version": "v1", "percent": 100}, {"version": "v3", "percent": 100}]);
    site.push(shadowed);
    let request = Request::get("/").header("x-user-id", "alice");
    let response = site.envoy.client().send(request).expect("an answer");
    assert_eq!(seen(&response), (200, "fraud-v2".into(), None));
    site.versions[1].wait_count(1);
    site.envoy.wait_stat("cluster.rollout-no-hosts.upstream_cx_connect_fail", 1);
    assert_eq!(site.attempts(), [0, 1, 1, 0]);
}

/// Endpoints as Envoy's file subscription reads them.
fn write_endpoints(file: &Path, ports: &[u16]) {
    let hosts: Vec<Value> = ports
        .iter()
        .map(|port| json!({"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}))
        .collect();
    let endpoints = json!({"resources": [{
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": "fraud-v2-hosts", "endpoints": [{"lb_endpoints": hosts}]
    }]});
    let written = file.with_extension("new");
    std::fs::write(&written, endpoints.to_string()).expect("the folder is writable");
    std::fs::rename(&written, file).expect("the folder is writable"); // Envoy looks for moved files
}

#[test]
fn while_the_hosts_of_a_version_go_and_come_back_no_request_fails() {
    const REQUESTS: u64 = 1_600;
    let versions = ["fraud-v0", "fraud-v2"].map(Upstream::start);
    let folder = tempfile::TempDir::new().expect("the system's temporary folder is writable");
    let file = folder.path().join("endpoints.json");
    let ports = [versions[1].port()];
    write_endpoints(&file, &ports);
    let discovery =
        json!({"eds_config": {"path_config_source": {"path": file}, "resource_api_version": "V3"}});
    let clusters = versions.each_ref().map(|upstream| Cluster::from(upstream).backstop());
    let discovered = Envoy::builder().clusters(clusters).concurrency(2).tweak(move |bootstrap| {
        let all = bootstrap["static_resources"]["clusters"].as_array_mut().expect("clusters");
        let hosts = all.iter_mut().find(|cluster| cluster["name"] == "fraud-v2-hosts").expect("it is there");
        hosts["type"] = json!("EDS");
        hosts["eds_cluster_config"] = discovery;
        hosts.as_object_mut().expect("a cluster is an object").remove("load_assignment");
    });
    let envoy = discovered.start();
    let mut rollout = rollout(2, json!({"to": ["v0"]}));
    rollout["versions"] =
        json!([{"name": "v0", "cluster": "fraud-v0"}, {"name": "v2", "cluster": "fraud-v2"}]);
    let document = json!({"revision": 1, "rollouts": [rollout]}).to_string();
    assert_eq!(envoy.push(&document), Outcome::Accepted);
    envoy.wait_revision(1);

    versions[1].set(Behaviour::delayed(Duration::from_millis(5)));
    let load = Load::new(envoy.address()).connections(20).requests(REQUESTS).rate(400.0);
    let running = load.start(|_| Request::post("/", "{}"));
    for round in 1..=3 {
        envoy.wait_for("load on the version", |_| (running.report().sent >= round * 400 - 200).then_some(()));
        write_endpoints(&file, &[]);
        envoy.wait_for("load on the target", |_| (running.report().sent >= round * 400).then_some(()));
        write_endpoints(&file, &ports);
    }
    let report = running.finish();

    assert_eq!((report.sent, report.failed()), (REQUESTS, 0), "{report:?}");
    let (covered, own) = (report.answered_by("fraud-v0"), report.answered_by("fraud-v2"));
    assert!(covered >= 300 && own >= 300, "both served: {report:?}");
    assert_eq!((covered + own, envoy.wait_stat(&failovers("v2", "v0"), covered)), (REQUESTS, covered));
}
