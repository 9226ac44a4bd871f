//! Shadows in the real Envoy: the mirrored users are exactly those of the core, copies have the right headers and bodies, and a shadow
//! never affects a client.

#![expect(clippy::expect_used, clippy::arithmetic_side_effects, reason = "a test may stop with the reason")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rollout_core::{compile, decide};
use serde_json::{Value, json};
use testbed::envoy::Outcome;
use testbed::upstream::{DeadPort, Received};
use testbed::{Behaviour, Cluster, Envoy, Load, Request, Response, Upstream};

const USERS: u64 = 2_000;

fn user(number: u64) -> String {
    format!("user-{number}")
}

/// v1 is stable and v2 a canary of one half. s1 to s3 serve no requests.
fn rollout(shadows: Value) -> Value {
    let versions =
        ["v1", "v2", "s1", "s2", "s3"].map(|name| json!({"name": name, "cluster": format!("fraud-{name}")}));
    json!({
        "name": "fraud", "unit": [{"header": "x-user-id"}], "salt": "fraud-2026-11", "stable": "v1",
        "versions": versions,
        "strategy": {"canary": {"version": "v2", "percent": 50}}, "shadow": shadows
    })
}

/// The clusters that get a copy of a user's `GET /`, by the core that `explain` uses too.
fn expected(document: &Value, user: &str) -> Vec<String> {
    let plan = compile(document.to_string().as_bytes()).expect("the document has no problems").plan;
    let lines: [(&str, &[u8]); 4] = [
        (":authority", b"ml.example.com"),
        (":method", b"GET"),
        (":path", b"/"),
        ("x-user-id", user.as_bytes()),
    ];
    let request = plan.request(lines, None);
    let decision =
        decide(&plan, &request, rollout_core::Time::default()).expect("the rollout matches every request");
    decision.shadow_clusters().map(str::to_owned).collect()
}

/// The users of whom this cluster gets a copy.
fn cohort(document: &Value, cluster: &str) -> BTreeSet<String> {
    let samples = |user: &String| expected(document, user).iter().any(|copied| copied == cluster);
    (0..USERS).map(user).filter(samples).collect()
}

fn users(received: &[Received]) -> BTreeSet<String> {
    received.iter().filter_map(|request| request.header("x-user-id")).collect()
}

/// Two versions and three shadows behind an Envoy of two workers.
struct Site {
    versions: [Upstream; 2],
    shadows: [Upstream; 3],
    envoy: Envoy,
    revision: AtomicU64,
}

impl Site {
    fn start() -> Self {
        Self::with(|shadow| Some(Cluster::from(shadow)))
    }

    /// `cluster` may put something else, or nothing, in the place of a shadow.
    fn with(cluster: impl Fn(&Upstream) -> Option<Cluster>) -> Self {
        let versions = ["fraud-v1", "fraud-v2"].map(Upstream::start);
        let shadows = ["fraud-s1", "fraud-s2", "fraud-s3"].map(Upstream::start);
        let clusters = shadows.iter().filter_map(cluster);
        let envoy = Envoy::builder().clusters(&versions).clusters(clusters).concurrency(2).start();
        Self { versions, shadows, envoy, revision: AtomicU64::new(0) }
    }

    fn serving(rollout: Value) -> Self {
        let site = Self::start();
        site.push(rollout);
        site
    }

    fn push(&self, rollout: Value) -> Value {
        self.push_document(json!({"rollouts": [rollout]}))
    }

    fn push_document(&self, mut document: Value) -> Value {
        let revision = self.revision.fetch_add(1, Ordering::Relaxed) + 1;
        document.as_object_mut().expect("a document is an object").insert("revision".into(), json!(revision));
        assert_eq!(self.envoy.push(&document.to_string()), Outcome::Accepted, "{document}");
        self.envoy.wait_revision(revision);
        document
    }

    fn send(&self, request: Request) -> Response {
        self.envoy.client().send(request.header("host", "ml.example.com:8443")).expect("an answer")
    }

    /// Each user asks once.
    fn ask_all(&self) {
        let load = Load::new(self.envoy.address()).connections(16).requests(USERS);
        let report = load.run(|number| Request::get("/").header("x-user-id", user(number)));
        assert_eq!((report.statuses.get(&200), report.failed()), (Some(&USERS), 0), "{report:?}");
    }

    /// Copies so far, by shadow. Envoy begins a copy before the client has its answer, so once none is on the way all are
    /// there.
    fn copies(&self) -> [u64; 3] {
        self.envoy.wait_for("the end of all copies", |envoy| {
            let busy = envoy.stats(r"^cluster\.fraud-s\d\.upstream_rq_(active|pending_active)$");
            (busy.values().sum::<u64>() == 0).then_some(())
        });
        self.shadows.each_ref().map(Upstream::count)
    }

    fn clear(&self) {
        self.versions.iter().chain(&self.shadows).for_each(Upstream::clear);
    }

    /// The metric of a shadow, once it is at least `least`.
    fn sent(&self, version: &str, least: u64) -> u64 {
        let labels = format!("rollout=.=fraud;.;version=.={version};.;result=.=sent;.;");
        self.envoy.wait_stat(&format!("wasmcustom.{labels}rollout_shadow_total"), least)
    }
}

#[test]
fn the_mirrored_users_are_exactly_those_of_the_core_and_a_raise_only_adds() {
    let site = Site::start();
    let [shadow, ..] = &site.shadows;
    let (mut before, mut total) = (BTreeSet::new(), 0);
    for percent in [0.0, 5.0, 20.0, 50.5, 100.0] {
        let document = site.push(rollout(json!([{"version": "s1", "percent": percent}])));
        site.clear();
        site.ask_all();

        let copies = site.copies();
        let mirrored = users(&shadow.requests());
        assert_eq!(mirrored, cohort(&document, "fraud-s1"), "{percent} %");
        assert_eq!(copies, [mirrored.len() as u64, 0, 0], "one copy each, {percent} %");
        let share = mirrored.len() as f64 / USERS as f64 * 100.0;
        assert!((share - percent).abs() < 4.5, "{share} % for {percent} %"); // 4 sigma of 2,000 at one half
        assert!(mirrored.is_superset(&before), "{percent} %");
        total += copies.iter().sum::<u64>();
        assert_eq!(site.sent("s1", total), total);
        before = mirrored;
    }
    assert_eq!(before.len() as u64, USERS);
    assert_eq!(site.envoy.vm_reloads(), 0);
}

#[test]
fn three_shadows_get_their_own_copies() {
    let site = Site::start();
    let document = site.push(rollout(json!([
        {"version": "s1", "percent": 20}, {"version": "s2", "percent": 50}, {"version": "s3", "percent": 35}
    ])));
    site.ask_all();

    let copies = site.copies();
    let mirrored = site.shadows.each_ref().map(|shadow| users(&shadow.requests()));
    assert_eq!(mirrored, ["fraud-s1", "fraud-s2", "fraud-s3"].map(|cluster| cohort(&document, cluster)));
    assert_eq!(copies, mirrored.each_ref().map(|users| users.len() as u64));
    for (version, copies) in ["s1", "s2", "s3"].iter().zip(copies) {
        assert_eq!(site.sent(version, copies), copies, "{version}");
    }
    let everywhere = (0..USERS).map(user).filter(|user| mirrored.iter().all(|users| users.contains(user)));
    let everywhere = everywhere.count() as f64 / USERS as f64;
    assert!((0.017..0.053).contains(&everywhere), "independent draws: 3.5 %, not {everywhere}");

    // The version that serves sees them in document order without gaps.
    for served in site.versions.iter().flat_map(Upstream::requests) {
        let names = ["x-rollout-shadow-1", "x-rollout-shadow-2", "x-rollout-shadow-3"];
        let named: Vec<String> = names.iter().filter_map(|name| served.header(name)).collect();
        assert_eq!(named, expected(&document, &served.header("x-user-id").expect("its user")));
        assert_eq!(served.header("x-rollout-shadow"), None);
    }
}

#[test]
fn a_copy_is_the_request_with_a_mark_and_without_the_assignment() {
    let mut idempotent =
        rollout(json!([{"version": "s1", "percent": 100}, {"version": "s2", "percent": 100}]));
    idempotent.as_object_mut().expect("an object").insert("idempotent".into(), json!(true));
    let site = Site::serving(idempotent);
    for upstream in site.versions.iter().chain(&site.shadows) {
        upstream.keep_bodies();
    }
    let body: Vec<u8> = (0..=255).cycle().take(200_000).collect();

    for (path, body) in [("/v2/models/fraud/infer?a=b%20c", body), ("/empty", Vec::new())] {
        site.clear();
        let request =
            Request::post(path, body.clone()).header("x-user-id", "alice").header("x-tenant", b"\xff\xfe");
        assert_eq!(site.send(request).upstream(), "fraud-v2");

        assert_eq!(site.copies(), [1, 1, 0]);
        let [_, primary] = &site.versions;
        let original = primary.requests().pop().expect("the original");
        assert_eq!(original.header("x-rollout-assignment").as_deref(), Some("fraud=v2"));
        assert_eq!(original.header("x-rollout-shadow"), None);
        for shadow in site.shadows.iter().take(2) {
            let copy = shadow.requests().pop().expect("the copy");
            assert_eq!(
                (&copy.method, &copy.path, &copy.body),
                (&original.method, &original.path, &original.body)
            );
            assert!(copy.body == body);
            assert_eq!(
                (copy.host.as_str(), original.host.as_str()),
                ("ml.example.com:8443", "ml.example.com:8443")
            );
            assert_eq!(copy.values("x-rollout-shadow"), [shadow.name()]);
            let rest = |request: &Received| -> BTreeSet<(String, Vec<u8>)> {
                let own = ["x-rollout-shadow", "x-rollout-assignment"];
                // A body may travel chunked, and Envoy adds its own address: it sends copies as internal requests.
                let framing = ["content-length", "transfer-encoding", "x-envoy-internal", "x-forwarded-for"];
                let kept = |(name, _): &&(String, Vec<u8>)| {
                    !own.contains(&name.as_str()) && !framing.contains(&name.as_str())
                };
                request.headers.iter().filter(kept).cloned().collect()
            };
            assert_eq!(rest(&copy), rest(&original), "every other header");
            assert_eq!(copy.header("x-rollout-assignment"), None);
        }
    }
}

#[test]
fn a_shadow_that_is_dead_unknown_or_without_hosts_changes_nothing_for_the_client() {
    let dead = DeadPort::take();
    let site = Site::with(|shadow| match shadow.name() {
        "fraud-s1" => Some(Cluster::new("fraud-s1", &[dead.port()])),
        "fraud-s2" => Some(Cluster::new("fraud-s2", &[])),
        _ => None, // Envoy has no cluster of the third
    });
    let answer = Behaviour::status(201).body("the answer").header("x-model", "1");
    site.versions.iter().for_each(|version| version.set(answer.clone()));
    let plain = |response: &Response| {
        let mut headers = response.headers.clone();
        headers.retain(|(name, _)| !["date", "x-envoy-upstream-service-time"].contains(&name.as_str()));
        (response.status, headers, response.body.clone())
    };
    site.push(rollout(json!([])));
    let unshadowed = [Request::get("/"), Request::post("/", "body")]
        .map(|request| plain(&site.send(request.header("x-user-id", "alice"))));

    let methods = json!(["GET", "POST"]);
    for shadows in [
        json!([{"version": "s1", "percent": 100, "methods": methods}]),
        json!([{"version": "s2", "percent": 100, "methods": methods}]),
        json!([{"version": "s3", "percent": 100, "methods": methods}]),
        json!([{"version": "s3", "percent": 100, "methods": methods}, {"version": "s2", "percent": 100, "methods": methods},
               {"version": "s1", "percent": 100, "methods": methods}]),
    ] {
        site.push(rollout(shadows.clone()));
        for _ in 0..20 {
            let shadowed = [Request::get("/"), Request::post("/", "body")]
                .map(|request| plain(&site.send(request.header("x-user-id", "alice"))));
            assert_eq!(shadowed, unshadowed, "{shadows}");
        }
    }
    assert_eq!(site.sent("s1", 80), 80, "the filter sent them off, Envoy dropped them");
    assert!(site.envoy.stat("cluster.fraud-s1.upstream_cx_connect_fail") > 0);
    assert_eq!(site.versions.each_ref().map(Upstream::count), [0, 2 + 4 * 40]);
}

#[test]
fn a_slow_or_resetting_shadow_does_not_delay_the_client() {
    let site = Site::serving(rollout(json!([
        {"version": "s1", "percent": 100, "methods": ["POST"]},
        {"version": "s2", "percent": 100, "methods": ["POST"]},
        {"version": "s3", "percent": 100, "methods": ["POST"]}
    ])));
    let [slow, resetting, failing] = &site.shadows;
    const SLOW: Duration = Duration::from_secs(60);
    slow.set(Behaviour::delayed(SLOW));
    resetting.set(Behaviour::reset());
    failing.set(Behaviour::status(503));

    let load = Load::new(site.envoy.address()).connections(10).requests(200);
    let report = load.run(|number| Request::post("/", vec![b'x'; 10_000]).header("x-user-id", user(number)));

    assert_eq!((report.statuses.get(&200), report.failed()), (Some(&200), 0), "{report:?}");
    assert!(report.latency(1.0) < SLOW / 2, "nobody waited for the shadow: {:?}", report.latency(1.0));
    for shadow in &site.shadows {
        shadow.wait_count(200);
        assert_eq!(shadow.count(), 200, "{}: once, also where it fails", shadow.name());
    }
    println!("beside a shadow of 60 s: median {:?}, worst {:?}", report.latency(0.5), report.latency(1.0));
}

#[test]
fn one_copy_is_made_however_often_the_request_is_repeated() {
    let mut covered = rollout(json!([{"version": "s1", "percent": 100}]));
    covered.as_object_mut().expect("an object").insert("failover".into(), json!({"to": ["v1"]}));
    let site = Site::serving(covered);
    let [_, primary] = &site.versions;
    let [shadow, ..] = &site.shadows;
    primary.set(Behaviour::status(503));
    for shadow_status in [200, 503] {
        site.clear();
        shadow.set(Behaviour::status(shadow_status));
        for _ in 0..20 {
            let response = site.send(Request::get("/").header("x-user-id", "alice"));
            assert_eq!(response.header("x-rollout-failover").as_deref(), Some("v2>v1"));
        }
        assert_eq!(site.copies(), [20, 0, 0], "the shadow answers {shadow_status}");
    }
    assert_eq!(site.versions.each_ref().map(Upstream::count), [20, 20]);
}

#[test]
fn what_is_forced_unassigned_or_already_there_is_not_shadowed() {
    let mut forcing = rollout(json!([{"version": "v2", "percent": 100}, {"version": "s1", "percent": 100}]));
    forcing.as_object_mut().expect("an object").insert(
        "overrides".into(),
        json!([{"units": ["tester"], "version": "v1"},
               {"header": {"name": "x-qa-version", "secret_header": "x-qa-key", "secret": "s3cret"}}]),
    );
    let site = Site::serving(forcing);
    let [stable, canary] = &site.versions;
    for (what, headers, served, copies) in [
        ("assigned to v1", &[("x-user-id", "bob")][..], [1, 1], 1),
        ("assigned to v2, itself a shadow", &[("x-user-id", "alice")], [0, 1], 1),
        ("forced by unit", &[("x-user-id", "tester")], [1, 0], 0),
        (
            "forced by header",
            &[("x-user-id", "bob"), ("x-qa-version", "v2"), ("x-qa-key", "s3cret")],
            [0, 1],
            0,
        ),
        (
            "not forced: a wrong secret",
            &[("x-user-id", "bob"), ("x-qa-version", "v2"), ("x-qa-key", "x")],
            [1, 1],
            1,
        ),
        ("without a unit", &[], [1, 0], 0),
        ("with an empty unit", &[("x-user-id", "")], [1, 0], 0),
    ] {
        site.clear();
        let request =
            headers.iter().fold(Request::get("/"), |request, (name, value)| request.header(name, value));
        assert_eq!(site.send(request).status, 200, "{what}");
        assert_eq!(site.copies(), [copies, 0, 0], "{what}");
        // The copy to v2 is on its way before the answer, but may arrive after it.
        if served == [1, 1] {
            canary.wait_count(1);
        }
        site.envoy.wait_for("the end of all requests", |envoy| {
            (envoy.stat("cluster.fraud-v2.upstream_rq_active") == 0).then_some(())
        });
        assert_eq!([stable.count(), canary.count()], served, "{what}");
    }
}

#[test]
fn methods_and_headers_choose_what_is_shadowed() {
    let tenant = json!([{"name": "x-tenant", "exact": "acme"}, {"name": "x-debug", "present": false}]);
    let shadow = |extra: Value| {
        let mut shadow = json!({"version": "s1", "percent": 100});
        let fields = shadow.as_object_mut().expect("an object");
        fields.extend(extra.as_object().cloned().unwrap_or_default());
        shadow
    };
    let site = Site::start();
    for (what, idempotent, extra, copied) in [
        ("safe methods unless told", false, json!({}), &["GET", "HEAD", "OPTIONS"][..]),
        (
            "all of them where idempotent",
            true,
            json!({}),
            &["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH"],
        ),
        ("named ones alone", false, json!({"methods": ["POST"]}), &["POST"]),
        (
            "named ones alone, also where idempotent",
            true,
            json!({"methods": ["POST", "GET"]}),
            &["GET", "POST"],
        ),
        ("none if a header is missing", true, json!({"headers": tenant}), &[]),
    ] {
        let mut document = rollout(json!([shadow(extra)]));
        document.as_object_mut().expect("an object").insert("idempotent".into(), json!(idempotent));
        site.push(document);
        site.clear();
        for method in ["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH"] {
            let request = Request::new(method, "/").header("x-user-id", "alice");
            assert_eq!(site.send(request).status, 200, "{what} {method}");
        }
        assert_eq!(site.copies(), [copied.len() as u64, 0, 0], "{what}");
        let [shadow, ..] = &site.shadows;
        let methods: BTreeSet<String> = shadow.requests().into_iter().map(|copy| copy.method).collect();
        assert_eq!(methods, copied.iter().map(|method| (*method).to_owned()).collect(), "{what}");
    }

    // The last document again, with its headers there, wrong, and one too many.
    for (headers, copies) in [
        (&[("x-tenant", "acme")][..], 1),
        (&[("x-tenant", "other")], 0),
        (&[("x-tenant", "acme"), ("x-debug", "1")], 0),
    ] {
        site.clear();
        let request = Request::get("/").header("x-user-id", "alice");
        site.send(headers.iter().fold(request, |request, (name, value)| request.header(name, value)));
        assert_eq!(site.copies(), [copies, 0, 0], "{headers:?}");
    }
}

#[test]
fn a_copy_of_a_trusted_hop_is_not_copied_again_and_a_client_cannot_fake_one() {
    let site = Site::start();
    let rollouts = || json!([rollout(json!([{"version": "s1", "percent": 100}]))]);
    let request = || Request::get("/").header("x-user-id", "alice").header("x-rollout-shadow", "elsewhere");
    let [_, canary] = &site.versions;
    let [shadow, ..] = &site.shadows;

    site.push_document(json!({"trust_hop": true, "rollouts": rollouts()}));
    assert_eq!(site.send(request()).status, 200);
    assert_eq!(site.copies(), [0, 0, 0]);
    let kept = canary.requests().pop().expect("the request");
    assert_eq!(kept.values("x-rollout-shadow"), ["elsewhere"]);
    assert_eq!(site.send(Request::get("/").header("x-user-id", "alice")).status, 200);
    assert_eq!(site.copies(), [1, 0, 0], "one that is not marked is copied");

    site.push_document(json!({"rollouts": rollouts()}));
    site.clear();
    assert_eq!(site.send(request()).status, 200);
    assert_eq!(site.copies(), [1, 0, 0]);
    let bare = canary.requests().pop().expect("the request");
    assert_eq!(bare.header("x-rollout-shadow"), None);
    let copy = shadow.requests().pop().expect("the copy");
    assert_eq!(copy.values("x-rollout-shadow"), ["fraud-s1"]);
}

#[test]
fn no_second_gets_more_copies_than_its_rate_over_all_workers() {
    const RATE: u64 = 40;
    let site = Site::serving(rollout(json!([
        {"version": "s1", "percent": 100, "max_per_second": RATE}, {"version": "s2", "percent": 100}
    ])));
    // Enough connections for both workers. The rates below are of whole seconds of the proxy's clock.
    let asked = 1_500;
    let load = Load::new(site.envoy.address()).connections(16).requests(asked).rate(600.0);
    let report = load.run(|number| Request::get("/").header("x-user-id", user(number)));
    assert_eq!((report.statuses.get(&200), report.failed()), (Some(&asked), 0), "{report:?}");

    let result = |version: &str, result: &str| {
        let labels = format!("rollout=.=fraud;.;version=.={version};.;result=.={result};.;");
        site.envoy.stat(&format!("wasmcustom.{labels}rollout_shadow_total"))
    };
    assert_eq!(site.sent("s2", asked), asked, "a shadow without a rate gets all");
    let [limited, ..] = site.copies();
    assert_eq!(result("s1", "sent"), limited, "what is counted as sent arrives");
    assert_eq!(limited + result("s1", "skipped_rate"), asked, "each request has one result");
    // A load of whole and parts of seconds touches one second more than it lasts, and one more for a late request.
    let seconds = report.elapsed.as_secs() + 2;
    assert!(limited <= RATE * seconds, "{limited} copies in {:?}", report.elapsed);
    assert!(limited >= RATE, "{limited} copies in {:?}", report.elapsed);
    assert_eq!(site.envoy.vm_reloads(), 0);
}
