//! Failover: if a call fails on its version, the failover target answers it within the same request, with the whole body, a mark and
//! an exact count. Failures that are not listed, not configured or after the response headers are not repeated.

#![expect(clippy::expect_used, clippy::arithmetic_side_effects, reason = "a test may stop with the reason")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::envoy::{Outcome, routes};
use testbed::load::Report;
use testbed::upstream::DeadPort;
use testbed::{Behaviour, CLOCK, Cluster, Envoy, Load, PATIENCE, Request, Response, Upstream, grpc};

const FAILOVERS: &str = "wasmcustom.rollout=.=fraud;.;version=.=v2;.;to=.=v1;.;rollout_failovers_total";

/// Every request goes to v2, with this `failover` on the rollout.
fn rollout(failover: Value) -> Value {
    json!({
        "name": "fraud", "unit": [{"header": "x-user-id"}], "stable": "v1",
        "versions": [{"name": "v1", "cluster": "fraud-v1"}, {"name": "v2", "cluster": "fraud-v2"}],
        "strategy": {"blue_green": {"active": "v2"}}, "idempotent": true, "failover": failover
    })
}

/// Two versions behind an Envoy with the shipped cluster settings and the backstop. `stable` is v1 and the target, `primary` is v2.
struct Site {
    stable: Upstream,
    primary: Upstream,
    envoy: Envoy,
    revision: AtomicU64,
}

impl Site {
    fn start() -> Self {
        Self::with(|upstream| Cluster::from(upstream).backstop())
    }

    fn with(cluster: impl Fn(&Upstream) -> Cluster) -> Self {
        let [stable, primary] = ["fraud-v1", "fraud-v2"].map(Upstream::start);
        stable.keep_bodies();
        primary.keep_bodies();
        let envoy = Envoy::builder().clusters([&stable, &primary].map(cluster)).concurrency(2).start();
        Self { stable, primary, envoy, revision: AtomicU64::new(0) }
    }

    fn serving(rollout: Value) -> Self {
        let site = Self::start();
        site.push(rollout);
        site
    }

    fn push(&self, rollout: Value) {
        let revision = self.revision.fetch_add(1, Ordering::Relaxed) + 1;
        let document = json!({"revision": revision, "rollouts": [rollout]}).to_string();
        assert_eq!(self.envoy.push(&document), Outcome::Accepted, "{document}");
        self.envoy.wait_revision(revision);
    }

    fn send(&self, request: Request) -> Response {
        self.envoy.client().send(request).expect("an answer")
    }

    /// Attempts so far: of the primary, of the stable version.
    fn attempts(&self) -> (u64, u64) {
        (self.primary.count(), self.stable.count())
    }
}

/// Status, who answered, and the mark.
fn seen(response: &Response) -> (u16, String, Option<String>) {
    (response.status, response.upstream(), response.header("x-rollout-failover"))
}

fn failed_over() -> (u16, String, Option<String>) {
    (200, "fraud-v1".into(), Some("v2>v1".into()))
}

/// Methods and sizes of bodies.
const SHAPES: [(&str, usize); 4] = [("GET", 0), ("POST", 0), ("POST", 1024), ("POST", 64 * 1024)];

/// The body of the request of this number: no two are the same.
fn body(number: u64, size: usize) -> Vec<u8> {
    let bytes = number.to_be_bytes().into_iter().chain(1..=251).cycle();
    bytes.take(size).collect()
}

fn request(method: &str, number: u64, size: usize) -> Request {
    let request =
        Request { body: body(number, size).into(), ..Request::new(method, "/v2/models/fraud/infer") };
    request.header("x-number", number.to_string()).header("x-user-id", format!("user-{number}"))
}

/// Drives `load` and returns its totals with the number of answers that carry the mark.
fn drive(load: Load, make: impl Fn(u64) -> Request + Send + Sync + 'static) -> (Report, u64) {
    let marked = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&marked);
    let load = load.observe(move |_, outcome| {
        let mark = outcome.as_ref().ok().and_then(|response| response.header("x-rollout-failover"));
        if mark.as_deref() == Some("v2>v1") {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    let report = load.run(make);
    (report, marked.load(Ordering::Relaxed))
}

/// Checks that each request arrived here once and complete.
fn assert_all_arrived(upstream: &Upstream, count: u64, size: usize) {
    assert_eq!(upstream.count(), count);
    let mut numbers = BTreeSet::new();
    for received in upstream.requests() {
        let number = received.header("x-number").and_then(|text| text.parse().ok()).expect("its number");
        assert!(received.body == body(number, size), "the body of {number}: {} bytes", received.body.len());
        assert!(numbers.insert(number), "{number} came twice");
        for prefix in ["x-envoy-retr", "x-envoy-max-retries", "x-envoy-hedge", "x-envoy-upstream-rq"] {
            assert_eq!(received.names(prefix), Vec::<String>::new());
        }
    }
    assert_eq!(numbers, (0..count).collect());
}

/// How the primary fails, and the `failover` that covers it.
struct Failing {
    what: &'static str,
    behaviour: Option<Behaviour>, // none: it refuses connections
    failover: Value,
    one_by_one: u64,
    at_once: u64,
}

impl Failing {
    fn all() -> [Self; 5] {
        let failing =
            |what, behaviour, failover| Self { what, behaviour, failover, one_by_one: 5, at_once: 200 };
        [
            failing("answers 503", Some(Behaviour::status(503)), json!({"to": ["v1"]})),
            failing(
                "answers 429",
                Some(Behaviour::status(429)),
                json!({"to": ["v1"], "status_codes": [429]}),
            ),
            failing("resets", Some(Behaviour::reset()), json!({"to": ["v1"]})),
            Self {
                one_by_one: 1,
                at_once: 50,
                ..failing(
                    "takes too long",
                    Some(Behaviour::delayed(Duration::from_secs(60))),
                    // The target has the same time to answer, with fifty requests at once, on a busy machine.
                    json!({"to": ["v1"], "per_try_timeout": "2s"}),
                )
            },
            failing("refuses connections", None, json!({"to": ["v1"]})),
        ]
    }
}

#[test]
fn whatever_the_failure_the_client_gets_the_answer_of_the_target() {
    let site = Site::start();
    let mut counted = 0;
    for Failing { what, behaviour, failover, one_by_one, at_once } in Failing::all() {
        site.push(rollout(failover));
        let refuses = behaviour.is_none();
        match behaviour {
            Some(behaviour) => site.primary.set(behaviour),
            None => site.primary.stop(),
        }
        for (method, size) in SHAPES {
            for (connections, requests, http2) in
                [(1, one_by_one, false), (50, at_once, false), (1, one_by_one, true), (50, at_once, true)]
            {
                let load = Load::new(site.envoy.address()).connections(connections).requests(requests);
                let load = if http2 { load.http2() } else { load };

                let (report, marked) = drive(load, move |number| request(method, number, size));

                let case =
                    format!("{what}: {method} {size}, {connections} at once, HTTP/2: {http2}; {report:?}");
                assert_eq!((report.failed(), report.statuses.get(&200)), (0, Some(&requests)), "{case}");
                assert_eq!((report.answered_by("fraud-v1"), marked), (requests, requests), "{case}");
                assert_all_arrived(&site.stable, requests, size);
                assert_all_arrived(&site.primary, if refuses { 0 } else { requests }, size);
                site.stable.clear();
                site.primary.clear();
                counted += requests;
            }
        }
        assert_eq!(site.envoy.wait_stat(FAILOVERS, counted), counted, "{what}");
    }
    assert_eq!(site.envoy.vm_reloads(), 0);
}

#[test]
fn a_port_without_a_listener_is_covered_from_the_first_request_on() {
    let (stable, dead) = (Upstream::start("fraud-v1"), DeadPort::take());
    let envoy = Envoy::builder().cluster(&stable).cluster(("fraud-v2", dead.port())).start();
    let document = json!({"revision": 1, "rollouts": [rollout(json!({"to": ["v1"]}))]});
    assert_eq!(envoy.push(&document.to_string()), Outcome::Accepted);
    envoy.wait_revision(1);

    let response = envoy.client().send(request("POST", 0, 1024)).expect("an answer");

    assert_eq!(seen(&response), failed_over());
    assert_eq!(envoy.stat("cluster.fraud-v2.upstream_cx_connect_fail"), 1);
    assert_eq!(envoy.wait_stat(FAILOVERS, 1), 1);
}

#[test]
fn a_grpc_status_in_the_headers_is_covered_if_it_is_listed() {
    const CALLS: u64 = 100;
    let site = Site::with(|upstream| Cluster::from(upstream).http2().backstop());
    // Real gRPC by tonic.
    site.primary.set(Behaviour::grpc(14));
    let health = grpc::Health::new(site.envoy.address());
    site.push(rollout(json!({"to": ["v1"]})));
    let unlisted = health.check(&[]).expect_err("the default lists no status of gRPC");
    assert_eq!((unlisted.code() as i32, site.attempts()), (14, (1, 0)));
    site.primary.clear();
    site.push(rollout(json!({"to": ["v1"], "retry_on": "connect-failure,unavailable"})));
    for _ in 0..5 {
        let checked = health.check(&[("x-user-id", "alice")]).expect("the target serves");
        assert!(checked.serving);
        assert_eq!(checked.header("x-upstream").as_deref(), Some("fraud-v1"));
        assert_eq!(checked.header("x-rollout-failover").as_deref(), Some("v2>v1"));
    }
    assert_eq!(site.attempts(), (5, 5));
    site.primary.set(Behaviour::grpc(13));
    let unlisted = health.check(&[]).expect_err("INTERNAL is not listed");
    assert_eq!((unlisted.code() as i32, site.attempts()), (13, (6, 5)));

    // The same on the wire with bodies of every size.
    let answer = |code: &str| {
        Behaviour::ok().body("").header("content-type", "application/grpc").header("grpc-status", code)
    };
    site.primary.set(answer("14"));
    site.stable.set(answer("0"));
    for (_, size) in SHAPES.into_iter().skip(1) {
        for connections in [1, 50] {
            site.stable.clear();
            site.primary.clear();
            let load = Load::new(site.envoy.address()).connections(connections).requests(CALLS).http2();
            let (report, marked) = drive(load, move |number| {
                request("POST", number, size)
                    .header("content-type", "application/grpc")
                    .header("te", "trailers")
            });
            assert_eq!(
                (report.failed(), report.answered_by("fraud-v1"), marked),
                (0, CALLS, CALLS),
                "{report:?}"
            );
            assert_all_arrived(&site.stable, CALLS, size);
            assert_all_arrived(&site.primary, CALLS, size);
        }
    }
    assert_eq!(site.envoy.wait_stat(FAILOVERS, 5 + 6 * CALLS), 5 + 6 * CALLS);
}

#[test]
fn the_mark_can_be_hidden_and_the_count_continues() {
    let mut hiding = rollout(json!({"to": ["v1"]}));
    hiding["expose_failover"] = json!(false);
    let site = Site::serving(hiding);
    site.primary.set(Behaviour::status(503));

    assert_eq!(seen(&site.send(Request::get("/"))), (200, "fraud-v1".into(), None));
    assert_eq!(site.envoy.wait_stat(FAILOVERS, 1), 1);
}

#[test]
fn no_retry_header_reaches_a_version_and_clients_set_none() {
    let everything = json!({"to": ["v1"], "retry_on": "5xx,retriable-4xx,unavailable,cancelled", "status_codes": [429],
                            "retries": 1, "per_try_timeout": "5s"});
    let site = Site::serving(rollout(everything));
    site.primary.set(Behaviour::status(503));

    assert_eq!(seen(&site.send(Request::get("/"))), failed_over());
    let own = ["x-envoy-external-address", "x-envoy-expected-rq-timeout-ms"]; // Envoy's word to every upstream
    for received in [site.primary.requests(), site.stable.requests()].concat() {
        let retry: Vec<String> =
            received.names("x-envoy-").into_iter().filter(|name| !own.contains(&name.as_str())).collect();
        assert_eq!(retry, Vec::<String>::new());
    }

    // A client's own retry headers have no effect: neither more attempts nor other conditions.
    site.push(rollout(json!({"to": ["v1"], "retry_on": "connect-failure"})));
    site.primary.clear();
    site.stable.clear();
    let wishes = [
        ("x-envoy-retry-on", "5xx"),
        ("x-envoy-max-retries", "9"),
        ("x-envoy-retry-grpc-on", "unavailable"),
        ("x-envoy-retriable-status-codes", "503"),
        ("x-envoy-upstream-rq-timeout-ms", "1"),
        ("x-envoy-upstream-rq-per-try-timeout-ms", "1"),
        ("x-envoy-hedge-on-per-try-timeout", "true"),
    ];
    site.primary.set(Behaviour::status(503).after(Duration::from_millis(50)));
    let request = wishes.iter().fold(Request::get("/"), |request, (name, value)| request.header(name, value));
    assert_eq!(seen(&site.send(request)), (503, "fraud-v2".into(), None));
    assert_eq!(site.attempts(), (1, 0));
}

#[test]
fn only_listed_failures_are_repeated() {
    let default = json!({"to": ["v1"]});
    for (failover, status, repeated) in [
        (default.clone(), 429, false),
        (default.clone(), 404, false),
        (default.clone(), 400, false),
        (default.clone(), 500, true),
        (json!({"to": ["v1"], "status_codes": [429]}), 429, true),
        (json!({"to": ["v1"], "status_codes": [429]}), 503, true),
        (json!({"to": ["v1"], "status_codes": [429]}), 404, false),
        (json!({"to": ["v1"], "retry_on": "connect-failure", "status_codes": [429]}), 503, false),
        (json!({"to": ["v1"], "retry_on": "gateway-error"}), 500, false),
        (json!({"to": ["v1"], "retry_on": "gateway-error"}), 502, true),
    ] {
        let site = Site::serving(rollout(failover.clone()));
        site.primary.set(Behaviour::status(status));
        let response = site.send(Request::post("/", "{}"));
        let expected = if repeated { failed_over() } else { (status, "fraud-v2".into(), None) };
        assert_eq!(
            (seen(&response), site.attempts()),
            (expected, (1, u64::from(repeated))),
            "{failover} {status}"
        );
    }
}

#[test]
fn a_listed_429_is_repeated_also_if_it_says_that_it_was_rate_limited() {
    let limited = Behaviour::status(429).header("x-envoy-ratelimited", "true");
    for (failover, repeated) in [
        (json!({"to": ["v1"], "status_codes": [429]}), true),
        (json!({"to": ["v1"], "status_codes": [503]}), false),
        (json!({"to": ["v1"]}), false),
    ] {
        let site = Site::serving(rollout(failover.clone()));
        site.primary.set(limited.clone());
        let response = site.send(Request::post("/", "{}"));
        let expected = if repeated { failed_over() } else { (429, "fraud-v2".into(), None) };
        assert_eq!(seen(&response), expected, "{failover}");
    }
}

/// What the page about failover says, so that its advice is tried.
#[test]
fn a_call_that_a_circuit_breaker_refuses_is_not_repeated_and_one_that_the_server_refuses_is() {
    let [stable, primary] = ["fraud-v1", "fraud-v2"].map(Upstream::start);
    let clusters = [&stable, &primary].map(|upstream| Cluster::from(upstream).http2().backstop());
    let envoy = Envoy::builder().clusters(clusters).tweak(|bootstrap| {
        let clusters = bootstrap["static_resources"]["clusters"].as_array_mut().expect("clusters");
        let hosts = clusters.iter_mut().find(|cluster| cluster["name"] == "fraud-v2-hosts");
        hosts.expect("hosts")["circuit_breakers"] = json!({"thresholds": [{"max_requests": 1}]});
    });
    let site = Site { envoy: envoy.start(), stable, primary, revision: AtomicU64::new(0) };
    site.push(rollout(json!({"to": ["v1"], "status_codes": [429]})));
    for busy in [Behaviour::status(503), Behaviour::status(429)] {
        site.primary.set(busy);
        assert_eq!(seen(&site.send(Request::get("/"))), failed_over());
    }
    site.primary.set(Behaviour::events(Duration::from_millis(100), Duration::from_secs(60)));
    let open = site.envoy.client().open(Request::get("/")).expect("response headers");
    let refused = site.send(Request::get("/"));
    assert_eq!(seen(&refused), (503, String::new(), None));
    assert_eq!(refused.header("x-envoy-overloaded").as_deref(), Some("true"));
    drop(open);
}

#[test]
fn a_request_that_another_route_sends_to_the_targets_cluster_is_not_a_failover() {
    let [stable, primary] = ["fraud-v1", "fraud-v2"].map(Upstream::start);
    let envoy = Envoy::builder().clusters([&stable, &primary]).tweak(|bootstrap| {
        let routes = routes(bootstrap).as_array_mut().expect("routes");
        routes.insert(0, json!({"match": {"prefix": "/health"}, "route": {"cluster": "fraud-v1"}}));
    });
    let site = Site { envoy: envoy.start(), stable, primary, revision: AtomicU64::new(0) };
    site.push(rollout(json!({"to": ["v1"]})));
    assert_eq!(seen(&site.send(Request::get("/health"))), (200, "fraud-v1".into(), None));
    assert_eq!(seen(&site.send(Request::get("/"))), (200, "fraud-v2".into(), None));
    site.primary.set(Behaviour::status(503));
    assert_eq!(seen(&site.send(Request::get("/"))), failed_over());
    site.envoy.wait_stat(FAILOVERS, 1);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(site.envoy.stat(FAILOVERS), 1);
}

#[test]
fn without_a_failover_there_is_one_attempt() {
    let mut without = rollout(json!(null));
    without.as_object_mut().expect("a rollout is an object").remove("failover");
    let site = Site::serving(without);
    site.primary.set(Behaviour::status(503));
    assert_eq!(seen(&site.send(Request::get("/"))), (503, "fraud-v2".into(), None));
    site.primary.set(Behaviour::reset());
    assert_eq!(seen(&site.send(Request::get("/"))), (503, String::new(), None));
    assert_eq!(site.attempts(), (2, 0));
}

#[test]
fn when_both_fail_the_client_gets_the_last_answer_after_one_attempt_each() {
    let site = Site::serving(rollout(json!({"to": ["v1"]})));
    site.primary.set(Behaviour::status(503).body("of the primary"));
    site.stable.set(Behaviour::status(500).body("of the target"));
    let response = site.send(Request::post("/", "{}"));
    assert_eq!((response.status, response.text().as_str()), (500, "of the target"));
    assert_eq!(site.attempts(), (1, 1));

    site.stable.set(Behaviour::reset());
    assert_eq!(site.send(Request::post("/", "{}")).status, 503, "Envoy's own word for a reset");
    assert_eq!(site.attempts(), (2, 2));
    assert_eq!(site.envoy.wait_stat(FAILOVERS, 2), 2, "the second attempt counts, whatever came of it");
}

#[test]
fn the_target_itself_is_not_failed_over() {
    let site = Site::start();
    site.stable.set(Behaviour::status(503));
    site.primary.set(Behaviour::status(502));

    // A rollout's failover does not apply to the target, which here serves all.
    let mut to_stable = rollout(json!({"to": ["v1"]}));
    to_stable["strategy"] = json!({"blue_green": {"active": "v1"}});
    site.push(to_stable);
    assert_eq!(seen(&site.send(Request::get("/"))), (503, "fraud-v1".into(), None));
    assert_eq!(site.attempts(), (0, 1));

    // A target with a failover of its own does not use it for a request of another version.
    let mut both_ways = rollout(json!({"to": ["v1"]}));
    both_ways["versions"][0]["failover"] = json!({"to": ["v2"]});
    site.push(both_ways);
    let response = site.send(Request::get("/"));
    assert_eq!((response.status, response.upstream().as_str()), (503, "fraud-v1"));
    assert_eq!(site.attempts(), (1, 2));
}

#[test]
fn the_failover_of_a_version_replaces_that_of_its_rollout() {
    let mut own = rollout(json!({"to": ["v1"]}));
    own["versions"][1]["failover"] = json!({"to": ["v1"], "retry_on": "connect-failure"});
    let site = Site::serving(own);
    site.primary.set(Behaviour::status(503));
    assert_eq!(seen(&site.send(Request::get("/"))), (503, "fraud-v2".into(), None));
    site.primary.stop();
    assert_eq!(seen(&site.send(Request::get("/"))), failed_over());
}

#[test]
fn a_body_beyond_the_buffer_is_served_and_not_repeated() {
    let site = Site::serving(rollout(json!({"to": ["v1"]})));
    site.primary.set(Behaviour::status(503));
    let within = site.send(Request::post("/", body(0, 1_000_000)));
    assert_eq!(seen(&within), failed_over());
    assert_eq!(site.stable.requests()[0].body_length, 1_000_000);
    let beyond = site.send(Request::post("/", body(0, 4_000_000)));
    assert_eq!(seen(&beyond), (503, "fraud-v2".into(), None));
    site.primary.set(Behaviour::ok());
    let served = site.send(Request::post("/", body(0, 4_000_000)));
    assert_eq!(seen(&served), (200, "fraud-v2".into(), None));
    assert_eq!(site.primary.requests()[2].body_length, 4_000_000);
}

#[test]
fn the_time_of_an_attempt_is_bounded_although_the_route_has_no_timeout() {
    const LIMIT: Duration = Duration::from_millis(400);
    /// What an attempt would take if nothing bounded it.
    const SLOW: Duration = Duration::from_secs(60);
    let site = Site::serving(rollout(json!({"to": ["v1"], "per_try_timeout": "400ms"})));
    let timed = |request| {
        let begun = Instant::now();
        (site.send(request), begun.elapsed())
    };
    site.primary.set(Behaviour::delayed(SLOW));
    let (response, took) = timed(Request::get("/"));
    assert_eq!(seen(&response), failed_over());
    assert!((LIMIT - CLOCK..SLOW / 2).contains(&took), "one limit, then the target: {took:?}");

    site.stable.set(Behaviour::delayed(SLOW));
    let (response, took) = timed(Request::get("/"));
    assert_eq!(response.status, 504);
    assert!((2 * (LIMIT - CLOCK)..SLOW / 2).contains(&took), "one limit for each attempt: {took:?}");

    // Without it nothing bounds an attempt.
    site.push(rollout(json!({"to": ["v1"]})));
    site.primary.set(Behaviour::delayed(LIMIT * 5));
    let (response, took) = timed(Request::get("/"));
    assert_eq!(seen(&response), (200, "fraud-v2".into(), None));
    assert!(took >= LIMIT * 5, "{took:?}");
}

#[test]
fn a_failure_after_the_response_headers_reaches_the_client() {
    let site = Site::serving(rollout(json!({"to": ["v1"]})));
    site.primary.set(Behaviour::reset_in_body());
    let failure = site.envoy.client().get("/", &[]).expect_err("the answer is cut");
    assert_eq!(failure.kind(), "body", "{failure}");
    assert_eq!(site.attempts(), (1, 0));
    assert_eq!(site.envoy.stat(FAILOVERS), 0);
}

#[test]
fn while_the_primary_dies_and_comes_back_no_request_fails() {
    const REQUESTS: u64 = 2_000;
    let site = Site::serving(rollout(json!({"to": ["v1"]})));
    let marked = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&marked);
    let load = Load::new(site.envoy.address()).connections(20).requests(REQUESTS).rate(400.0);
    let load = load.observe(move |_, outcome| {
        let mark = outcome.as_ref().ok().and_then(|response| response.header("x-rollout-failover"));
        counter.fetch_add(u64::from(mark.is_some()), Ordering::Relaxed);
    });
    // Answers take a while, so that some are always on the way when it dies.
    site.primary.set(Behaviour::delayed(Duration::from_millis(10)));

    let running = load.start(|number| request(["GET", "POST"][usize::from(number % 2 == 0)], number, 1024));
    for death in 1..=4 {
        site.envoy
            .wait_for("load on the primary", |_| (running.report().sent >= death * 400 - 200).then_some(()));
        site.primary.stop();
        site.envoy.wait_for("load on the target", |_| (running.report().sent >= death * 400).then_some(()));
        site.primary.restart();
    }
    let report = running.finish();

    assert_eq!((report.sent, report.failed()), (REQUESTS, 0), "{report:?}");
    let (stable, primary) = (report.answered_by("fraud-v1"), report.answered_by("fraud-v2"));
    assert!(stable >= 400 && primary >= 400, "both served: {report:?}");
    assert_eq!((stable + primary, marked.load(Ordering::Relaxed)), (REQUESTS, stable));
    assert_eq!(site.envoy.wait_stat(FAILOVERS, stable), stable);
    let cut = site.envoy.stat("cluster.fraud-v2-hosts.upstream_cx_destroy_with_active_rq");
    assert!(cut > 0, "it died with requests on the way");
    println!(
        "{stable} of {REQUESTS} failed over, {cut} cut on the way, p99 {:?}, worst {:?}",
        report.latency(0.99),
        report.latency(1.0)
    );
}

/// THE LONG ONE: two minutes on a thread of its own, next to the other tests of this file. Its name makes it start first.
#[test]
fn a_120_second_stream_is_not_cut() {
    const LENGTH: Duration = Duration::from_secs(120);
    let site = Site::start();
    let mut bounded = rollout(json!({"to": ["v1"], "per_try_timeout": "1s"}));
    bounded["unit"] = json!([{"header": "x-user-id"}]);
    site.push(bounded);
    let every = |interval| Behaviour::events(Duration::from_millis(interval), LENGTH);
    site.stable.set(every(1_000));
    site.primary.set_with(move |request| match request.path.as_str() {
        "/fails" => Behaviour::status(503),
        "/slow" => every(40_000),
        _ => every(1_000),
    });
    let client = site.envoy.client();
    let begun = Instant::now();

    let streams = [
        ("/", client.clone(), "fraud-v2", 115..=120),
        ("/", client.clone().http2(), "fraud-v2", 115..=120),
        ("/slow", client.clone(), "fraud-v2", 3..=3),
        ("/fails", client, "fraud-v1", 115..=120),
    ];
    let opened = streams.map(|(path, client, by, expected)| {
        let stream = client.open(Request::get(path)).expect("the headers come at once");
        assert_eq!((stream.head.status, stream.head.upstream().as_str()), (200, by), "{path}");
        (path, stream, expected)
    });
    for (path, mut stream, expected) in opened {
        let mut received = String::new();
        // The end is a clean one: a cut stream would be an error here.
        while let Some(piece) = stream.next(PATIENCE).expect("the stream continues") {
            received.push_str(&String::from_utf8_lossy(&piece));
        }
        let events: Vec<&str> = received.split_terminator("\n\n").collect();
        let numbered: Vec<String> = (0..events.len()).map(|number| format!("data: {number}")).collect();
        assert_eq!(events, numbered, "{path}: every event, in order");
        assert!(expected.contains(&events.len()), "{path}: {} events", events.len());
        assert!(begun.elapsed() >= LENGTH, "{path}: {:?}", begun.elapsed());
    }
    assert_eq!(site.attempts(), (4, 1));
}
