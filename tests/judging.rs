//! Promises about judging, in the real Envoy: what the filter does not see never counts as good, and what is not the version's
//! fault never condemns it. The names in messages, like J2, are those of the reports from the field.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test may stop with the reason"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::client::Request;
use testbed::envoy::{Builder, Outcome, connection_manager, routes};
use testbed::load::{Report, Running};
use testbed::upstream::{Fault, Faulty, Received};
use testbed::{Behaviour, Cluster, Envoy, Load, PATIENCE, Upstream};

/// How clients call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Protocol {
    Http1,
    Http2,
    /// Over HTTP/2, with this deadline in `grpc-timeout`.
    Grpc(&'static str),
}

const PLAIN: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];

/// Requests that failed, of both.
fn failed(reports: &[Report]) -> u64 {
    reports.iter().map(Report::failed).sum()
}

/// A rollout with v1 and v2, half of the units each. `rest` are more fields.
fn rollout(guardrails: &Value, rest: Value) -> Value {
    let mut rollout = json!({
        "name": "m", "unit": [{"header": "x-user-id"}], "salt": "field", "stable": "v1", "idempotent": true,
        "versions": [{"name": "v1", "cluster": "fraud-v1"}, {"name": "v2", "cluster": "fraud-v2"}],
        "strategy": {"canary": {"version": "v2", "percent": 50}}, "guardrails": guardrails
    });
    rollout.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
    rollout
}

/// Two versions behind an Envoy of the shipped configuration.
struct Site {
    versions: [Upstream; 2],
    envoy: Envoy,
}

impl Site {
    fn start(rollout: &Value) -> Self {
        Self::with(rollout, |builder| builder)
    }

    fn with(rollout: &Value, change: impl FnOnce(Builder) -> Builder) -> Self {
        let versions = ["fraud-v1", "fraud-v2"].map(Upstream::start);
        let clusters = versions.each_ref().map(|upstream| Cluster::from(upstream).backstop());
        let envoy = change(Envoy::builder().clusters(clusters).concurrency(2)).start();
        let document = json!({"revision": 1, "rollouts": [rollout]}).to_string();
        assert_eq!(envoy.push(&document), Outcome::Accepted, "{document}");
        envoy.wait_revision(1);
        Self { versions, envoy }
    }

    fn load(&self, protocol: Protocol, rate: f64) -> Load {
        let load = Load::new(self.envoy.address()).connections(64).rate(rate);
        if protocol == Protocol::Http1 { load } else { load.http2() }
    }

    /// Calls of clients of HTTP/1.1 and of HTTP/2, this many per second together.
    fn drive(&self, rate: f64, users: u64) -> [Running; 2] {
        PLAIN.map(|protocol| self.load(protocol, rate / 2.0).start(call(protocol, users)))
    }

    fn series(&self, name: &str) -> u64 {
        self.envoy.stat(&format!("wasmcustom.rollout=.=m;.;version=.=v2;.;{name}"))
    }

    fn of_signal(&self, signal: &str, name: &str) -> u64 {
        self.series(&format!("signal=.={signal};.;{name}"))
    }

    fn abandoned(&self) -> u64 {
        self.series("rollout_abandoned_total")
    }

    fn failures(&self) -> u64 {
        self.series("rollout_failures_total")
    }

    fn is_rolled_back(&self) -> bool {
        self.series("rollout_rolled_back") == 1
    }

    fn wait_for_rollback(&self, what: &str) {
        self.envoy.wait_for(&format!("a rollback: {what}"), |_| self.is_rolled_back().then_some(()));
    }

    /// Signals that have tripped.
    fn trips(&self) -> BTreeMap<String, u64> {
        let trips = self.envoy.stats("rollout_guardrail_trips_total");
        trips.into_iter().filter(|(_, count)| *count > 0).collect()
    }
}

/// A call of one of this many users.
fn call(protocol: Protocol, users: u64) -> impl Fn(u64) -> Request + Send + Sync + 'static {
    move |number| call_of(protocol, number % users)
}

fn call_of(protocol: Protocol, user: u64) -> Request {
    let request = Request::post("/v2/models/fraud/infer", "{}").header("x-user-id", format!("user-{user}"));
    match protocol {
        Protocol::Grpc(deadline) => {
            request.header("content-type", "application/grpc").header("grpc-timeout", deadline)
        }
        Protocol::Http1 | Protocol::Http2 => request,
    }
}

/// Lets routes honor the deadline of gRPC clients.
fn honor_grpc_timeout(builder: Builder) -> Builder {
    builder.tweak(|bootstrap| {
        for route in routes(bootstrap).as_array_mut().expect("routes") {
            route["route"]["max_stream_duration"] = json!({"grpc_timeout_header_max": "60s"});
        }
    })
}

/// Lets clients set Envoy's own headers, as internal callers may.
fn trust_loopback(builder: Builder) -> Builder {
    builder.tweak(|bootstrap| {
        connection_manager(bootstrap)["internal_address_config"] =
            json!({"cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]});
    })
}

const WINDOW: u64 = 10;

fn hangs() -> Behaviour {
    Behaviour::delayed(Duration::from_secs(600))
}

/// J2: v2 reads and never answers. Clients leave after a while, or their deadline passes.
fn a_hung_version_is_condemned_by_abandoned_requests(protocol: Protocol) {
    let guardrails = json!({"window": format!("{WINDOW}s"), "min_requests": 20, "signals": [
        {"consecutive_failures": 20}, {"error_rate": {"max_percent": 20}},
        {"abandon_rate": {"max_increase_percent": 2, "confidence": 0.99}}]});
    let site = Site::with(&rollout(&guardrails, json!({})), honor_grpc_timeout);
    site.versions[1].set(hangs());
    let patience = if let Protocol::Grpc(_) = protocol { PATIENCE } else { Duration::from_millis(500) };
    let running = site.load(protocol, 80.0).timeout(patience).start(call(protocol, 500));
    site.wait_for_rollback("J2");
    running.stop();
    assert!(site.abandoned() > 20, "J2: {} abandoned", site.abandoned());
    assert_eq!(site.failures(), 0, "J2: the clients left, v2 did not fail");
    assert!(site.trips().keys().all(|name| name.contains("abandon_rate_increase")), "{:?}", site.trips());
}

#[test]
fn a_version_that_hangs_until_clients_of_http1_leave_is_rolled_back() {
    a_hung_version_is_condemned_by_abandoned_requests(Protocol::Http1);
}

#[test]
fn a_version_that_hangs_until_clients_of_http2_leave_is_rolled_back() {
    a_hung_version_is_condemned_by_abandoned_requests(Protocol::Http2);
}

#[test]
fn a_version_that_hangs_until_the_deadline_of_grpc_clients_is_rolled_back() {
    a_hung_version_is_condemned_by_abandoned_requests(Protocol::Grpc("500m"));
}

#[test]
fn a_version_that_hangs_fails_after_its_timeout_and_clients_wait_no_longer() {
    let sample = include_str!("../envoy/samples/guardrails.json");
    let sample: Value = serde_json::from_str(sample).expect("a sample");
    for protocol in [Protocol::Http1, Protocol::Http2, Protocol::Grpc("5S")] {
        let mut rollout = rollout(&sample["rollouts"][0]["guardrails"], json!({"timeout": "300ms"}));
        rollout["failover"] = sample["rollouts"][0]["failover"].clone();
        let site = Site::with(&rollout, honor_grpc_timeout);
        site.versions[1].set(hangs());
        let running = site.load(protocol, 80.0).timeout(Duration::from_secs(5)).start(call(protocol, 500));
        site.wait_for_rollback("J2 with a timeout");
        let report = running.stop();
        assert_eq!(report.failed(), 0, "J2, {protocol:?}: failover answers: {:?}", report.examples);
        assert_eq!(site.abandoned(), 0, "J2, {protocol:?}");
    }
}

/// J3: v2 takes longer than its limit, and clients do not wait so long.
fn impatient_clients_have_seen_slow_answers(protocol: Protocol) {
    let guardrails = json!({"window": format!("{WINDOW}s"), "min_requests": 50,
        "signals": [{"latency": {"quantile": 0.95, "max_ms": 80}}]});
    let site = Site::with(&rollout(&guardrails, json!({})), honor_grpc_timeout);
    site.versions[1].set(Behaviour::delayed(Duration::from_secs(5)));
    let patience = if let Protocol::Grpc(_) = protocol { PATIENCE } else { Duration::from_millis(400) };
    let running = site.load(protocol, 80.0).timeout(patience).start(call(protocol, 500));
    site.wait_for_rollback("J3");
    running.stop();
    let of_version = |result: &str| {
        site.of_signal(
            "latency",
            &format!("side=.=version;.;result=.={result};.;rollout_guardrail_observations_total"),
        )
    };
    let [all, bad] = ["all", "bad"].map(of_version);
    assert!(all >= 50 && bad == all, "J3, {protocol:?}: {bad} of {all}");
}

#[test]
fn clients_that_leave_after_the_limit_have_seen_slow_answers() {
    for protocol in [Protocol::Http1, Protocol::Http2, Protocol::Grpc("400m")] {
        impatient_clients_have_seen_slow_answers(protocol);
    }
}

#[test]
fn a_version_without_its_model_is_rolled_back_by_its_status() {
    let guardrails = json!({"window": format!("{WINDOW}s"), "min_requests": 50, "signals": [
        {"consecutive_failures": 20}, {"error_rate": {"max_percent": 20}},
        {"status": {"in": [400, 404], "max_increase_percent": 2, "confidence": 0.99}}]});
    for (protocol, status) in [(Protocol::Http1, 404), (Protocol::Http2, 400)] {
        let site = Site::start(&rollout(&guardrails, json!({})));
        site.versions[1].set(Behaviour::status(status));
        let running = site.load(protocol, 100.0).start(call(protocol, 500));
        site.wait_for_rollback("J4");
        running.stop();
        assert!(site.trips().keys().all(|name| name.contains("status_increase")), "J4: {:?}", site.trips());
    }
}

/// Fails for a share of the users in percent.
fn fails_for(percent: u64) -> impl Fn(&Received) -> Behaviour + Send + Sync + 'static {
    move |request| {
        let user = request.header("x-user-id").unwrap_or_default();
        let number: u64 = user.trim_start_matches("user-").parse().unwrap_or(0);
        Behaviour::status(if number % 100 < percent { 503 } else { 200 })
    }
}

#[test]
fn a_version_is_not_rolled_back_into_a_dead_stable() {
    let guardrails = json!({"window": format!("{WINDOW}s"), "min_requests": 50, "signals": [{"error_rate": {"max_percent": 20}}]});
    let failover = json!({"to": ["v2"]});
    let versions = json!([{"name": "v1", "cluster": "fraud-v1", "failover": failover}, {"name": "v2", "cluster": "fraud-v2"}]);
    for (rest, what) in [(json!({}), "no failover"), (json!({"versions": versions}), "failover to v2")] {
        let site = Site::start(&rollout(&guardrails, rest));
        site.versions[0].set(Behaviour::status(503));
        site.versions[1].set_with(fails_for(25));
        let running = site.drive(100.0, 1_000);
        let withheld = |name: &str| site.of_signal("error_rate", name);
        site.envoy
            .wait_for("a withheld verdict", |_| (withheld("rollout_guardrail_withheld") == 1).then_some(()));
        std::thread::sleep(Duration::from_secs(2));
        let before = running.each_ref().map(Running::report);
        assert!(!site.is_rolled_back(), "J5, {what}");
        assert_eq!(withheld("rollout_guardrail_withheld_total"), 1, "J5, {what}: one episode");
        let line = "version v2: not rolled back, stable fails too, signal error_rate";
        assert_eq!(site.envoy.log().matches(line).count(), 1, "J5, {what}: one line a minute");
        let least = if what == "no failover" { 3 } else { 6 };
        for report in before {
            let served = report.statuses.get(&200).copied().unwrap_or(0);
            assert!(served * 10 > report.sent * least, "J5, {what}: {served} of {} are served", report.sent);
        }
        site.versions[0].set(Behaviour::ok());
        site.wait_for_rollback("J5: stable is well again");
        drop(running.map(Running::stop));
        let ended =
            |site: &Site| (site.of_signal("error_rate", "rollout_guardrail_withheld") == 0).then_some(());
        site.envoy.wait_for("the end of the episode", |_| ended(&site));
    }
}

/// The signals that the README starts with.
fn recommended() -> Value {
    json!({"window": "30s", "min_requests": 200, "signals": [{"consecutive_failures": 20},
        {"error_rate": {"max_percent": 20}}, {"error_rate": {"max_increase_percent": 2, "confidence": 0.99}}]})
}

#[test]
fn an_outage_of_half_a_second_that_both_share_trips_nothing() {
    let guardrails = recommended();
    let site = Site::start(&rollout(&guardrails, json!({})));
    let running = site.drive(400.0, 2_000);
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(2_500));
        site.versions.iter().for_each(|version| version.set(Behaviour::status(503)));
        std::thread::sleep(Duration::from_millis(500));
        site.versions.iter().for_each(|version| version.set(Behaviour::ok()));
    }
    std::thread::sleep(Duration::from_secs(1));
    let failed = failed(&running.map(Running::stop));
    assert!(failed > 200, "J6: {failed} failed");
    assert_eq!(site.trips(), BTreeMap::new(), "J6");
}

#[test]
fn an_outage_while_health_checks_of_stable_go_on_trips_nothing() {
    let site = Site::start(&rollout(&recommended(), json!({})));
    let running = site.load(Protocol::Http1, 300.0).start(call(Protocol::Http1, 2_000));
    // Health checks have no unit, so they go to stable.
    let checks = site.load(Protocol::Http2, 100.0).start(|_| Request::get("/v2/health/ready"));
    std::thread::sleep(Duration::from_secs(2));
    for version in &site.versions {
        version.set_with(|request| {
            Behaviour::status(if request.header("x-user-id").is_some() { 503 } else { 200 })
        });
    }
    std::thread::sleep(Duration::from_secs(3));
    site.versions.iter().for_each(|version| version.set(Behaviour::ok()));
    std::thread::sleep(Duration::from_secs(1));
    running.stop();
    assert_eq!(checks.stop().failed(), 0, "J16: the health checks saw nothing");
    assert_eq!(site.trips(), BTreeMap::new(), "J16");
}

/// A user whom v2 serves.
fn user_of_v2(site: &Site) -> u64 {
    let client = site.envoy.client();
    let is_of_v2 = |user: &u64| {
        client.send(call_of(Protocol::Http1, *user)).expect("an answer").upstream() == "fraud-v2"
    };
    (10_000..10_100).find(is_of_v2).expect("half of them are")
}

#[test]
fn one_client_that_sends_poison_condemns_no_version() {
    let mut guardrails = recommended();
    guardrails["window"] = json!("10s");
    let site = Site::start(&rollout(&guardrails, json!({})));
    let poison = user_of_v2(&site);
    let name = format!("user-{poison}");
    site.versions[1].set_with(move |request| {
        Behaviour::status(if request.header("x-user-id") == Some(name.clone()) { 503 } else { 200 })
    });
    let others = site.drive(40.0, 200);
    let poison = PLAIN.map(|protocol| {
        let load = site.load(protocol, 60.0).requests(360);
        load.start(move |_| call_of(protocol, poison))
    });
    let failed = failed(&poison.map(Running::finish));
    drop(others.map(Running::stop));
    assert!(failed >= 700, "J7: {failed} failed");
    assert_eq!(site.trips(), BTreeMap::new(), "J7");
}

#[test]
fn a_version_that_is_slow_while_it_warms_up_is_not_condemned_for_it() {
    let guardrails = json!({"window": "5s", "min_requests": 20, "warm_up": "10s", "signals": [
        {"latency": {"quantile": 0.9, "max_ms": 250}}, {"latency": {"quantile": 0.9, "max_ratio": 2, "confidence": 0.99}}]});
    let site = Site::start(&rollout(&guardrails, json!({})));
    site.versions.iter().for_each(|version| version.set(Behaviour::delayed(Duration::from_millis(2))));
    site.versions[1].set(Behaviour::delayed(Duration::from_millis(500)));
    let running = site.drive(80.0, 500);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(site.of_signal("latency", "rollout_guardrail_warming_up"), 1, "J8");
    std::thread::sleep(Duration::from_secs(2));
    site.versions[1].set(Behaviour::delayed(Duration::from_millis(2)));
    let is_warm = || site.of_signal("latency", "rollout_guardrail_warming_up") == 0;
    site.envoy.wait_for("the end of the warm-up", |_| is_warm().then_some(()));
    std::thread::sleep(Duration::from_secs(3));
    drop(running.map(Running::stop));
    assert_eq!(site.trips(), BTreeMap::new(), "J8");
}

#[test]
fn a_dead_version_with_few_users_or_no_unit_is_rolled_back_when_the_first_window_has_ended() {
    for (protocol, users) in
        [(Protocol::Http1, 1), (Protocol::Http2, 2), (Protocol::Http1, 3), (Protocol::Http2, 0)]
    {
        let guardrails =
            json!({"window": "3s", "min_requests": 10, "signals": [{"consecutive_failures": 20}]});
        let site = Site::start(&rollout(
            &guardrails,
            json!({"strategy": {"canary": {"version": "v2", "percent": 100}}}),
        ));
        site.versions[1].set(Behaviour::status(503));
        let begun = Instant::now();
        let running = site.load(protocol, 60.0).start(move |number| match users {
            0 => Request::post("/v2/models/fraud/infer", "{}"),
            _ => call_of(protocol, number % users),
        });
        site.wait_for_rollback("J12");
        running.stop();
        let took = begun.elapsed();
        assert!(
            took > Duration::from_millis(2_500),
            "J12, {users} users: not before the window has ended: {took:?}"
        );
    }
}

#[test]
fn a_client_with_a_short_deadline_condemns_no_healthy_version() {
    for protocol in [Protocol::Grpc("5m"), Protocol::Http1, Protocol::Http2] {
        let guardrails = json!({"window": format!("{WINDOW}s"), "min_requests": 20, "signals": [
            {"consecutive_failures": 20}, {"error_rate": {"max_percent": 20}},
            {"error_rate": {"max_increase_percent": 2, "confidence": 0.99}}]});
        let change = |builder| trust_loopback(honor_grpc_timeout(builder));
        let site = Site::with(
            &rollout(&guardrails, json!({"strategy": {"canary": {"version": "v2", "percent": 100}}})),
            change,
        );
        site.versions[1].set(Behaviour::delayed(Duration::from_millis(500)));
        let report = site.load(protocol, 60.0).requests(120).run(move |number| {
            let request = call_of(protocol, number % 10);
            if matches!(protocol, Protocol::Grpc(_)) {
                request
            } else {
                request.header("x-envoy-upstream-rq-timeout-ms", "5")
            }
        });
        assert_eq!(report.sent, 120);
        site.envoy.wait_for("the counts", |_| (site.abandoned() == 120).then_some(()));
        assert_eq!((site.failures(), site.trips()), (0, BTreeMap::new()), "J14, {protocol:?}");
    }
}

#[test]
fn an_upload_that_the_version_does_not_read_is_abandoned() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let stalled = Faulty::start(Fault::NeverReads);
        let stable = Upstream::start("fraud-v1");
        let clusters =
            [Cluster::from(&stable).backstop(), Cluster::new("fraud-v2", &[stalled.port()]).backstop()];
        let envoy = Envoy::builder().clusters(clusters).tweak(|bootstrap| {
            connection_manager(bootstrap)["stream_idle_timeout"] = json!("2s");
            for route in routes(bootstrap).as_array_mut().expect("routes") {
                route["route"].as_object_mut().expect("an action").remove("idle_timeout");
            }
        });
        let envoy = envoy.start();
        let guardrails = json!({"window": format!("{WINDOW}s"), "min_requests": 4, "signals": [{"abandon_rate": {"max_percent": 50}}]});
        let failover = json!({"to": ["v1"], "per_try_timeout": "500ms"});
        let rollout = rollout(
            &guardrails,
            json!({"failover": failover, "strategy": {"canary": {"version": "v2", "percent": 100}}}),
        );
        assert_eq!(envoy.push(&json!({"revision": 1, "rollouts": [rollout]}).to_string()), Outcome::Accepted);
        envoy.wait_revision(1);
        let load = Load::new(envoy.address()).connections(8).requests(8);
        let load = if protocol == Protocol::Http1 { load } else { load.http2() };
        let report = load.run(|number| {
            Request::post("/v2/models/fraud/infer", vec![b'x'; 12_000_000])
                .header("x-user-id", format!("user-{number}"))
        });
        assert_eq!(report.answered_by("fraud-v1"), 0, "J15: nothing can be repeated");
        let stat = |name: &str| envoy.stat(&format!("wasmcustom.rollout=.=m;.;version=.=v2;.;{name}"));
        envoy.wait_for("abandoned uploads", |_| (stat("rollout_abandoned_total") >= 8).then_some(()));
        envoy.wait_for("a rollback", |_| (stat("rollout_rolled_back") == 1).then_some(()));
        assert_eq!(stat("rollout_failures_total"), 0, "J15, {protocol:?}");
    }
}
