//! Cookies that the filter sets, in a real Envoy: sessions that end where they started, and ids of anonymous clients.

#![expect(clippy::expect_used, clippy::arithmetic_side_effects, reason = "a test may stop with the reason")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use rollout_core::Salt;
use serde_json::{Value, json};
use testbed::envoy::Outcome;
use testbed::{Behaviour, Client, Envoy, Load, Request, Response, Upstream};

const SECRET: &str = "a secret of sixteen bytes or more";

struct Site {
    envoy: Envoy,
    upstreams: [Upstream; 2],
    revision: u64,
}

impl Site {
    fn start(workers: u32) -> Self {
        let upstreams = ["fraud-v1", "fraud-v2"].map(Upstream::start);
        Self {
            envoy: Envoy::builder().clusters(&upstreams).concurrency(workers).start(),
            upstreams,
            revision: 0,
        }
    }

    /// Serves one rollout of v1 (stable) and v2 with these fields.
    fn push(&mut self, rest: &Value) {
        let mut rollout = json!({"name": "fraud", "unit": [{"header": "x-user-id"}], "stable": "v1", "expose": "debug",
            "versions": [{"name": "v1", "cluster": "fraud-v1"}, {"name": "v2", "cluster": "fraud-v2"}]});
        rollout.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
        self.revision += 1;
        let document = json!({"revision": self.revision, "rollouts": [rollout]});
        assert_eq!(self.envoy.push(&document.to_string()), Outcome::Accepted, "{document}");
        self.envoy.wait_revision(self.revision);
    }

    /// One client of each protocol.
    fn clients(&self) -> [Client; 2] {
        let client = || Client::new(self.envoy.address()).connections(8);
        [client(), client().http2()]
    }
}

fn set_cookies(response: &Response) -> Vec<String> {
    let lines = response.headers.iter().filter(|(name, _)| name == "set-cookie");
    lines.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
}

/// The name and value of the one cookie that a response sets.
fn cookie(response: &Response) -> Option<String> {
    let lines = set_cookies(response);
    assert!(lines.len() <= 1, "{lines:?}");
    lines.first().and_then(|line| line.split(';').next()).map(str::to_owned)
}

fn ask(client: &Client, user: &str, cookie: Option<&str>) -> Response {
    let request = Request::get("/").header("x-user-id", user);
    let request = match cookie {
        Some(cookie) => request.header("cookie", cookie),
        None => request,
    };
    let response = client.send(request).expect("Envoy answers");
    assert_eq!(response.status, 200);
    response
}

fn reason(response: &Response) -> String {
    response.header("x-rollout-reason").unwrap_or_default()
}

fn seconds_from_now(seconds: u64) -> (SystemTime, String) {
    let time = SystemTime::now() + Duration::from_secs(seconds);
    (time, humantime::format_rfc3339_seconds(time).to_string())
}

#[test]
fn a_switch_lets_old_sessions_finish_on_blue_and_gives_new_ones_green_until_all_are_drained() {
    let mut site = Site::start(2);
    let sessions = json!({"cookie": "rs-fraud", "max_age": "1h", "secret": SECRET});
    let document = |active: &str, sessions: &Value| json!({"sessions": sessions, "strategy": {"blue_green": {"active": active}}});
    site.push(&document("v1", &sessions));
    let clients = site.clients();
    let old: Vec<(String, String)> = (0..200)
        .map(|i| {
            let user = format!("old-{i}");
            let response = ask(&clients[i % 2], &user, None);
            assert_eq!(
                (response.upstream().as_str(), reason(&response).as_str()),
                ("fraud-v1", "not_exposed")
            );
            let line = set_cookies(&response).remove(0);
            assert!(line.ends_with("; Max-Age=3600; Path=/; HttpOnly; Secure; SameSite=Lax"), "{line}");
            (user, cookie(&response).expect("a session begins"))
        })
        .collect();

    site.push(&document("v2", &sessions));
    let mut new: Vec<(String, String)> = Vec::new();
    for i in 0..200 {
        let (user, session) = &old[i];
        let response = ask(&clients[i % 2], user, Some(session));
        assert_eq!(
            (response.upstream().as_str(), reason(&response).as_str()),
            ("fraud-v1", "session"),
            "{user}"
        );
        assert_eq!(cookie(&response), None, "a session that continues is not started again");
        let user = format!("new-{i}");
        let response = ask(&clients[i % 2], &user, None);
        assert_eq!(
            (response.upstream().as_str(), reason(&response).as_str()),
            ("fraud-v2", "assigned"),
            "{user}"
        );
        new.push((user, cookie(&response).expect("a session begins")));
        // Lent to another user, or claimed without a session, it is ignored.
        let response = ask(&clients[i % 2], "somebody-else", Some(session));
        assert_eq!(response.upstream(), "fraud-v2");
    }
    for (user, session) in &new {
        let response = ask(&clients[0], user, Some(session));
        assert_eq!(
            (response.upstream().as_str(), reason(&response).as_str()),
            ("fraud-v2", "session"),
            "{user}"
        );
    }

    let (drained, text) = seconds_from_now(10);
    let mut draining = sessions.clone();
    draining["drain_until"] = text.into();
    site.push(&document("v2", &draining));
    let response = ask(&clients[0], &old[0].0, Some(&old[0].1));
    assert_eq!(response.upstream(), "fraud-v1", "a session continues until the drain ends");
    let late = cookie(&ask(&clients[0], "late", None)).expect("a session begins");
    let expiry: u64 = late.split('.').nth(1).and_then(|expiry| expiry.parse().ok()).expect("an expiry");
    let end = drained.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    assert_eq!(expiry, end, "a session that begins while draining ends with the drain");
    std::thread::sleep(
        drained.duration_since(SystemTime::now()).unwrap_or_default() + Duration::from_millis(1_100),
    );
    for (i, (user, session)) in old.iter().chain(&new).enumerate() {
        let response = ask(&clients[i % 2], user, Some(session));
        assert_eq!(
            (response.upstream().as_str(), reason(&response).as_str()),
            ("fraud-v2", "assigned"),
            "{user}"
        );
        assert_eq!(cookie(&response), None, "no session begins after the drain");
    }
    assert_eq!(site.envoy.vm_reloads(), 0);
}

#[test]
fn sessions_hold_under_load_while_weights_change() {
    let mut site = Site::start(2);
    let canary = |percent: u32| {
        json!({"sessions": {"cookie": "rs", "max_age": "1h", "secret": SECRET},
        "strategy": {"canary": {"version": "v2", "percent": percent}}})
    };
    site.push(&canary(50));
    let clients = site.clients();
    let held: Vec<(String, String)> = (0..100)
        .map(|i| {
            let response = ask(&clients[i % 2], &format!("user-{i}"), None);
            (response.upstream(), cookie(&response).expect("a session begins"))
        })
        .collect();
    let expected: BTreeMap<usize, String> =
        held.iter().map(|(upstream, _)| upstream.clone()).enumerate().collect();
    let load = Load::new(site.envoy.address()).connections(8).rate(400.0);
    let strayed = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = std::sync::Arc::clone(&strayed);
    let user = |number: u64| usize::try_from(number % 100).expect("an index");
    let load = load.observe(move |number, outcome| {
        let upstream = outcome.as_ref().map(Response::upstream).unwrap_or_default();
        count.fetch_add(u64::from(expected[&user(number)] != upstream), std::sync::atomic::Ordering::Relaxed);
    });
    let load = load.start(move |number| {
        let user = user(number);
        Request::get("/").header("x-user-id", format!("user-{user}")).header("cookie", &held[user].1)
    });
    for percent in [0, 100, 10, 90, 0, 50, 100] {
        site.push(&canary(percent));
        // Each user asks under each document.
        let sent = load.report().sent;
        site.envoy.wait_for("a round of all users", |_| (load.report().sent >= sent + 100).then_some(()));
    }
    let report = load.stop();
    assert_eq!(report.failed(), 0, "{:?}", report.examples);
    assert_eq!(strayed.load(std::sync::atomic::Ordering::Relaxed), 0, "of {} requests", report.sent);
}

#[test]
fn an_anonymous_client_gets_an_id_once_and_its_very_first_request_is_decided_by_it() {
    let mut site = Site::start(4);
    for upstream in &site.upstreams {
        let own =
            ["theme=dark; Path=/", "lang=pl"].map(|line| ("set-cookie".to_owned(), line.as_bytes().to_vec()));
        upstream.set(Behaviour { headers: own.into(), ..Behaviour::ok() });
    }
    site.push(&json!({"salt": "anonymous", "unit": [{"header": "x-user-id"}, {"issued_cookie": {"name": "rid", "max_age": "30d", "secret": SECRET}}],
        "strategy": {"canary": {"version": "v2", "percent": 50}}}));
    let salt = Salt::new("anonymous");
    let mut ids = BTreeSet::new();
    let mut greens = 0;
    for (position, client) in site.clients().iter().enumerate() {
        for _ in 0..500 {
            // The same request id each time: a client may choose it, and two ids must differ all the same.
            let response =
                client.send(Request::get("/").header("x-request-id", "mine")).expect("Envoy answers");
            let lines = set_cookies(&response);
            assert_eq!(lines.len(), 3, "{lines:?}");
            assert_eq!(lines[..2], ["theme=dark; Path=/", "lang=pl"], "those of the upstream stay");
            let (id, attributes) =
                lines[2].strip_prefix("rid=").and_then(|line| line.split_once("; ")).expect("an id");
            assert_eq!(attributes, "Max-Age=2592000; Path=/; HttpOnly; Secure; SameSite=Lax");
            assert!(id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_hexdigit()), "{id}");
            assert!(ids.insert(id.to_owned()), "{id} was given out twice");

            let bucket = salt.bucket(id.as_bytes()).get();
            let expected = if bucket < 500_000 { "fraud-v2" } else { "fraud-v1" };
            assert_eq!(response.header("x-rollout-bucket"), Some(bucket.to_string()));
            assert_eq!(response.upstream(), expected, "decided by the id that it gets");
            greens += u32::from(bucket < 500_000);

            let again = client
                .send(Request::get("/").header("cookie", format!("a=b; rid={id}")))
                .expect("Envoy answers");
            assert_eq!(set_cookies(&again).len(), 2, "no second id, client {position}");
            assert_eq!(
                (again.upstream().as_str(), again.header("x-rollout-bucket")),
                (expected, Some(bucket.to_string()))
            );
        }
    }
    assert!((400..600).contains(&greens), "{greens} of 1,000 ids are exposed to 50 %");
    let known = ask(&site.clients()[0], "alice", None);
    assert_eq!(set_cookies(&known).len(), 2, "a client with another unit gets no id");
    assert_eq!(site.envoy.vm_reloads(), 0);
}
