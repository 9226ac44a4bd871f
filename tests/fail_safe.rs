//! Fail-safe: without the filter, or if it decides nothing, requests reach the stable cluster, and clients still can't choose a
//! cluster. Nothing that a client sends stops the filter or reaches a model that must not see it.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test may stop with the reason")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use testbed::client::{raw, raw_http2};
use testbed::envoy::{Builder, Filter, Outcome, connection_manager, routes};
use testbed::upstream::Received;
use testbed::{Client, Envoy, Request, Upstream};

/// Headers of a client that tries to get another version: clusters that exist, and a position in the chain.
const ATTACK: [(&str, &str); 10] = [
    ("x-rollout-cluster", "fraud-v2"),
    ("x-rollout-fallback", "fraud-v2"),
    ("x-rollout-fallback-2", "fraud-v3"),
    ("x-rollout-fallback-3", "fraud-v2"),
    ("x-rollout-pick", "1"),
    ("x-rollout-shadow-1", "fraud-v3"),
    ("x-rollout-shadow-2", "fraud-v2"),
    ("x-rollout-shadow-3", "fraud-v3"),
    ("x-rollout-host", "evil.example.com"),
    ("x-rollout-path", "/evil"),
];

/// Three versions behind an Envoy of the shipped configuration; the first is the stable one.
struct Site {
    upstreams: [Upstream; 3],
    envoy: Envoy,
}

impl Site {
    fn start(change: impl FnOnce(Builder) -> Builder) -> Self {
        let upstreams = ["fraud-v1", "fraud-v2", "fraud-v3"].map(Upstream::start);
        let envoy = change(Envoy::builder().clusters(&upstreams)).start();
        Self { upstreams, envoy }
    }

    fn serving(document: &Value) -> Self {
        let site = Self::start(|builder| builder);
        site.push(document);
        site
    }

    /// Serves the document that reads everything, and closes rejected connections at once, because there are many.
    fn curious(limits: Value) -> Self {
        let site = Self::start(|builder| {
            builder.tweak(move |bootstrap| {
                let manager = connection_manager(bootstrap);
                manager["delayed_close_timeout"] = json!("0.010s");
                for (name, limit) in limits.as_object().into_iter().flatten() {
                    manager[name] = limit.clone();
                }
            })
        });
        site.push(&curious());
        site
    }

    fn push(&self, document: &Value) {
        assert_eq!(self.envoy.push(&document.to_string()), Outcome::Accepted, "{document}");
        self.envoy.wait_revision(document["revision"].as_u64().expect("a document has a revision"));
    }

    /// A client for each protocol.
    fn clients(&self) -> [Client; 2] {
        [self.envoy.client(), self.envoy.client().http2()]
    }

    /// The last request that reached the version of this number.
    fn last(&self, version: usize) -> Received {
        let upstream = self.upstreams.get(version).expect("there are three versions");
        upstream.requests().pop().expect("a request has arrived")
    }

    /// Requests that Envoy has started to this cluster, with copies. They start before the client has its answer.
    fn begun(&self, cluster: &str) -> u64 {
        self.envoy
            .stat(&format!("cluster.{cluster}.upstream_cx_total"))
            .max(self.envoy.stat(&format!("cluster.{cluster}.upstream_rq_total")))
    }

    /// Clients get the stable version, whatever they ask for. Returns what the stable version saw of the last attack.
    fn assert_only_stable_serves(&self) -> Received {
        for client in self.clients() {
            for request in [Request::get("/v2/models/fraud"), Request::post("/v2/models/fraud/infer", "{}")] {
                let request = request.header("host", "ml.example.com").header("x-user-id", "alice");
                let calm = client.send(request.clone()).expect("an answer");
                assert_eq!((calm.status, calm.upstream().as_str()), (200, "fraud-v1"));
                let attack = |request: Request, (name, value): &(&str, &str)| request.header(name, value);
                let twice = ATTACK.iter().fold(ATTACK.iter().fold(request, attack), attack);
                let answer = client.send(twice).expect("an answer");
                assert_eq!((answer.status, answer.upstream().as_str()), (200, "fraud-v1"));
                self.assert_attack_arrives_bare();
            }
        }
        // Names in another case, which no client library would send.
        let lines: String =
            ATTACK.iter().map(|(name, value)| format!("{}: {value}\r\n", name.to_uppercase())).collect();
        let head = format!("GET / HTTP/1.1\r\nhost: ml.example.com\r\nconnection: close\r\n{lines}\r\n");
        let answer = raw(self.envoy.address(), head.as_bytes()).expect("a connection");
        assert_eq!(status(&answer), Some(200));
        let received = self.assert_attack_arrives_bare();

        let [stable, ..] = &self.upstreams;
        assert_eq!(stable.count(), 9);
        assert_eq!(self.begun("fraud-v1"), 9, "and none was sent twice");
        assert_eq!(
            (self.begun("fraud-v2"), self.begun("fraud-v3")),
            (0, 0),
            "neither chosen nor mirrored to"
        );
        received
    }

    fn assert_attack_arrives_bare(&self) -> Received {
        let received = self.last(0);
        assert_eq!(received.host, "ml.example.com");
        for (name, _) in ATTACK {
            assert_eq!(received.header(name), None, "{name}");
        }
        received
    }

    /// Checks that the VMs are alive and the filter serves: its own mark is on the answer.
    fn assert_filter_is_well(&self) {
        assert_eq!(self.envoy.vm_reloads(), 0);
        let answer =
            self.envoy.client().get("/v2/models/fraud", &[("x-user-id", "alice")]).expect("an answer");
        assert_eq!((answer.status, answer.header("x-rollout-revision").is_some()), (200, true));
    }
}

/// A rollout whose every request goes to `active`.
fn rollout(active: &str) -> Value {
    json!({
        "name": "fraud", "unit": [{"header": "x-user-id"}], "salt": "fraud-2026-11", "stable": "v1",
        "versions": [{"name": "v1", "cluster": "fraud-v1"}, {"name": "v2", "cluster": "fraud-v2"}],
        "strategy": {"blue_green": {"active": active}}, "expose": "debug"
    })
}

/// Adds a version that gets copies alone.
fn shadowed(rollout: &mut Value, shadow: Value) {
    let versions = rollout["versions"].as_array_mut().expect("a rollout has versions");
    versions.push(json!({"name": "v3", "cluster": "fraud-v3"}));
    rollout["shadow"] = json!([shadow]);
}

fn document(revision: u64, rollouts: Value) -> Value {
    json!({"revision": revision, "rollouts": rollouts})
}

/// The status of a raw HTTP/1 answer. `None` if the connection ended without one.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.strip_prefix(b"HTTP/1.1 ").or_else(|| answer.strip_prefix(b"HTTP/1.0 "))?;
    str::from_utf8(line.get(..3)?).ok()?.parse().ok()
}

#[test]
fn an_envoy_without_the_filter_serves_the_stable_version() {
    Site::start(|builder| builder.filter(Filter::Absent)).assert_only_stable_serves();
}

#[test]
fn before_the_first_push_the_stable_version_serves() {
    let site = Site::start(|builder| builder);
    site.assert_only_stable_serves();
    assert_eq!(site.envoy.revision(), 0);
}

#[test]
fn with_the_resource_missing_the_stable_version_serves() {
    for file in [
        json!({"resources": []}),
        json!({"resources": [{
            "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
            "name": "another", "typed_config": testbed::envoy::header_mutation()
        }]}),
    ] {
        let text = file.to_string();
        let replace = move |bootstrap: &mut Value| {
            let path = "/http_filters/0/config_discovery/config_source/path_config_source/path";
            let path = connection_manager(bootstrap).pointer(path).and_then(Value::as_str);
            std::fs::write(path.expect("the filter comes from a file"), text).expect("it can be written");
        };
        Site::start(|builder| builder.tweak(replace)).assert_only_stable_serves();
    }
}

#[test]
fn while_the_first_document_is_rejected_the_stable_version_serves() {
    let site = Site::start(|builder| builder);
    assert_eq!(site.envoy.push(r#"{"revision": 1, "rollouts": [], "typo": 1}"#), Outcome::Rejected);
    site.assert_only_stable_serves();
    assert_eq!((site.envoy.revision(), site.envoy.vm_reloads()), (0, 0));
}

#[test]
fn switched_off_by_a_push_the_stable_version_serves() {
    let site = Site::serving(&document(1, json!([rollout("v2")])));
    let served = || site.envoy.client().get("/", &[]).expect("an answer").upstream();
    assert_eq!(served(), "fraud-v2", "the filter did run");

    assert_eq!(site.envoy.push_off(), Outcome::Accepted);
    site.envoy.wait_for("the no-op", |_| (served() == "fraud-v1").then_some(()));
    let [stable, other, _] = &site.upstreams;
    stable.clear();
    other.clear();
    site.envoy.admin_post("/reset_counters");
    site.assert_only_stable_serves();
    assert_eq!(other.count(), 0);
}

#[test]
fn if_no_rollout_matches_the_stable_version_serves_and_no_rollout_header_is_left() {
    let mut elsewhere = rollout("v2");
    elsewhere["match"] = json!([{"hosts": ["other.example.com"]}, {"path": {"exact": "/v2/models/fraud/"}}]);
    for rollouts in [json!([elsewhere]), json!([])] {
        let site = Site::serving(&document(1, rollouts));
        let received = site.assert_only_stable_serves();
        assert_eq!(received.names("x-rollout-"), Vec::<String>::new());
        let counted = "wasmcustom.rollout=.=-;.;version=.=-;.;reason=.=no_match;.;rollout_requests_total";
        assert_eq!(site.envoy.wait_stat(counted, 9), 9);
    }
}

#[test]
fn a_tunnel_matches_no_rollout_and_its_client_cannot_choose_a_cluster_either() {
    let tunnel = json!([{"upgrade_type": "CONNECT", "connect_config": {}}]);
    let site = Site::start(|builder| {
        builder.tweak(move |bootstrap| {
            let list = routes(bootstrap).as_array_mut().expect("the routes are a list");
            let decided = json!([{"name": "x-rollout-cluster", "present_match": true}]);
            list.insert(
                0,
                json!({
                    "match": {"connect_matcher": {}, "headers": decided},
                    "route": {"cluster_header": "x-rollout-cluster", "upgrade_configs": tunnel}
                }),
            );
            list.insert(1, json!({
                "match": {"connect_matcher": {}}, "route": {"cluster": "fraud-v1", "upgrade_configs": tunnel}
            }));
        })
    });
    site.push(&document(1, json!([rollout("v2")])));
    let attack: String = ATTACK.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let tunnelled = "GET /inside HTTP/1.1\r\nhost: inside\r\nconnection: close\r\n\r\n";
    let whole =
        format!("CONNECT ml.example.com:443 HTTP/1.1\r\nhost: ml.example.com:443\r\n{attack}\r\n{tunnelled}");

    let answer = raw(site.envoy.address(), whole.as_bytes()).expect("a connection");

    let text = String::from_utf8_lossy(&answer);
    assert_eq!(status(&answer), Some(200), "{text}");
    assert!(text.contains("x-upstream: fraud-v1"), "{text}");
    assert_eq!(site.last(0).path, "/inside");
    assert_eq!((site.begun("fraud-v2"), site.begun("fraud-v3")), (0, 0));
    let counted = "wasmcustom.rollout=.=-;.;version=.=-;.;reason=.=no_match;.;rollout_requests_total";
    assert_eq!(site.envoy.wait_stat(counted, 1), 1);
}

#[test]
fn the_plain_route_follows_the_filter_and_not_the_client() {
    let site = Site::start(Builder::plain_route);
    site.assert_only_stable_serves();

    site.push(&document(1, json!([rollout("v2")])));
    for client in site.clients() {
        let request = Request::get("/").header("x-rollout-cluster", "fraud-v3");
        let answer = client.send(request).expect("an answer");
        assert_eq!((answer.status, answer.upstream().as_str()), (200, "fraud-v2"));
    }
    site.push(&document(2, json!([rollout("v1")])));
    assert_eq!(site.envoy.client().get("/", &[]).expect("an answer").upstream(), "fraud-v1");
    assert_eq!(site.begun("fraud-v3"), 0);
}

/// Headers of clients that no model may see. The filter uses only some of them.
const FOREIGN: [&str; 10] = [
    "x-rollout-foo",
    "x-rollout-",
    "x-rollout-shadow-4",
    "x-rollout-clusters",
    "x-rollout-reason",
    "x-rollout-fallback-4",
    "x-rollout-pair",
    "x-rollout-assignment",
    "x-rollout-shadow",
    "x-rollout-feature-set",
];

fn with_foreign(request: Request) -> Request {
    let all = FOREIGN.into_iter().chain(ATTACK.map(|(name, _)| name));
    all.fold(request, |request, name| request.header(name, "client").header(name, "again"))
}

#[test]
fn no_rollout_header_of_a_client_reaches_the_model() {
    let mut by_user = rollout("v2");
    by_user["name"] = json!("by-user");
    by_user["match"] = json!([{"path": {"prefix": "/by-user"}}]);
    by_user["strategy"] = json!({"canary": {"version": "v2", "percent": 50}});
    by_user["overrides"] = json!([{"units": ["tester"], "version": "v2"}]);
    let mut all = rollout("v2");
    all["match"] = json!([{"path": {"prefix": "/all"}}]);
    let site = Site::serving(&document(1, json!([all, by_user])));
    let own = [
        "x-rollout-assignment",
        "x-rollout-cluster",
        "x-rollout-fallback",
        "x-rollout-fallback-2", // these two from the route
        "x-rollout-fallback-3",
        "x-rollout-pick",
    ];

    for client in site.clients() {
        for (path, user, version, assignment) in [
            ("/all", "alice", 1, Some("fraud=v2")),
            ("/by-user", "tester", 1, Some("by-user=v2")), // forced
            ("/by-user", "alice", 1, Some("by-user=v2")),  // bucket 330920
            ("/by-user", "bob", 0, Some("by-user=v1")),    // bucket 931485, not exposed
            ("/by-user", "", 0, Some("by-user=v1")),       // missing unit
            ("/elsewhere", "alice", 0, None),              // no match
        ] {
            let request =
                with_foreign(Request::get(path).header("host", "ml.example.com").header("x-user-id", user));
            assert_eq!(client.send(request).expect("an answer").status, 200);

            let received = site.last(version);
            let mut names = received.names("x-rollout-");
            names.sort();
            assert_eq!(names, if assignment.is_some() { own.to_vec() } else { Vec::new() }, "{path} {user}");
            assert_eq!(received.header("x-rollout-assignment").as_deref(), assignment, "{path} {user}");
            let cluster = assignment.and_then(|_| ["fraud-v1", "fraud-v2"].get(version).copied());
            assert_eq!(received.header("x-rollout-cluster").as_deref(), cluster, "{path} {user}");
            assert_eq!((received.path.as_str(), received.host.as_str()), (path, "ml.example.com"));
        }
    }
}

#[test]
fn from_a_trusted_hop_three_headers_are_kept_and_the_assignment_grows() {
    let mut trusting = document(1, json!([rollout("v2")]));
    trusting["trust_hop"] = json!(true);
    trusting["rollouts"][0]["match"] = json!([{"path": {"prefix": "/match"}}]);
    let site = Site::serving(&trusting);
    let send = |client: &Client, path: &str, version| {
        let request = with_foreign(Request::get(path).header("host", "ml.example.com"));
        assert_eq!(client.send(request).expect("an answer").status, 200);
        site.last(version)
    };

    for client in site.clients() {
        let decided = send(&client, "/match", 1);
        assert_eq!(decided.values("x-rollout-assignment"), ["client,again,fraud=v2"]);
        let undecided = send(&client, "/elsewhere", 0);
        assert_eq!(undecided.values("x-rollout-assignment").join(","), "client,again");
        for received in [decided, undecided] {
            assert_eq!(received.values("x-rollout-shadow").join(","), "client,again");
            assert_eq!(received.values("x-rollout-feature-set").join(","), "client,again");
            for name in FOREIGN.iter().take(7).chain(&["x-rollout-shadow-1", "x-rollout-host"]) {
                assert_eq!(received.header(name), None, "{name}");
            }
        }
        let request = Request::get("/match").header("x-rollout-assignment", "a=v1");
        assert_eq!(client.send(request).expect("an answer").upstream(), "fraud-v2", "it never decides");
        assert_eq!(site.last(1).values("x-rollout-assignment"), ["a=v1,fraud=v2"]);
    }
}

#[test]
fn no_model_sees_the_secret_of_an_override() {
    let mut secretive = rollout("v1");
    secretive["match"] = json!([{"path": {"prefix": "/match"}}]);
    secretive["overrides"] =
        json!([{"header": {"name": "x-qa-version", "secret_header": "x-qa-key", "secret": "s3cret"}}]);
    shadowed(&mut secretive, json!({"version": "v3", "percent": 100}));
    let site = Site::serving(&document(1, json!([secretive])));

    for client in site.clients() {
        for (path, key, version) in [
            ("/match", &["s3cret"][..], 1),
            ("/match", &["guessed"], 0),
            ("/match", &["s3cret", "s3cret"], 0), // two lines are one value with a comma
            ("/elsewhere", &["s3cret"], 0),
        ] {
            let request = Request::get(path).header("x-user-id", "alice").header("x-qa-version", "v2");
            let request = key.iter().fold(request, |request, key| request.header("X-Qa-Key", key));
            assert_eq!(client.send(request).expect("an answer").status, 200);
            let received = site.last(version);
            assert_eq!(received.path, path);
            assert_eq!(received.header("x-qa-key"), None, "{path} {key:?}");
            assert_eq!(received.header("x-qa-version").as_deref(), Some("v2"), "{path} {key:?}");
        }
    }
    let [.., shadow] = &site.upstreams;
    shadow.wait_count(4); // forced ones are not shadowed
    for copy in shadow.requests() {
        assert_eq!(copy.header("x-qa-key"), None);
    }
    assert!(!site.envoy.log().contains("s3cret"));
}

/// A document that reads everything a client can send.
fn curious() -> Value {
    let mut rollout = rollout("v2");
    rollout["match"] = json!([
        {"hosts": ["nobody.example.com", "*.nobody.example.com"], "path": {"suffix": "/never"}},
        {"headers": [{"name": "x-odd", "contains": "never"}], "query": [{"name": "q", "exact": "never"}]},
        {"path": {"prefix": "/"}, "headers": [{"name": "x-never", "present": false}],
         "query": [{"name": "never", "present": false}]}
    ]);
    rollout["unit"] =
        json!([{"header": "x-user-id"}, {"cookie": "uid"}, {"query": "user"}, {"source_ip": true}]);
    rollout["strategy"] = json!({"canary": {"version": "v2", "percent": 50}});
    rollout["overrides"] = json!([
        {"units": ["tester"], "version": "v2"},
        {"header": {"name": "x-odd", "secret_header": "x-odd-key", "secret": "s3cret"}}
    ]);
    rollout["failover"] = json!({"to": ["v1"]});
    let odd = json!([{"name": "x-odd", "present": true}]);
    shadowed(&mut rollout, json!({"version": "v3", "percent": 10, "headers": odd}));
    rollout["idempotent"] = json!(true);
    let mut document = document(1, json!([rollout]));
    document["trust_hop"] = json!(true);
    document
}

/// Sends all requests, several at a time. Each may close its connection.
fn send_all(address: SocketAddr, requests: Vec<Vec<u8>>) -> Vec<Option<u16>> {
    let requests = Arc::new(requests);
    let threads = (0..8).map(|worker| {
        let requests = Arc::clone(&requests);
        std::thread::spawn(move || {
            let own = requests.iter().enumerate().filter(|(place, _)| place % 8 == worker);
            let send = |(place, bytes): (usize, &Vec<u8>)| {
                (place, status(&raw(address, bytes).expect("a connection")))
            };
            own.map(send).collect::<Vec<_>>()
        })
    });
    let threads: Vec<_> = threads.collect();
    let answers = threads.into_iter().map(|thread| thread.join().expect("its panic is printed above"));
    let mut answers: Vec<_> = answers.flatten().collect();
    answers.sort();
    answers.into_iter().map(|(_, status)| status).collect()
}

/// The bytes that a value may contain (RFC 9110, 5.5).
fn is_legal(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// The headers whose values the filter reads, and one that it does not.
const READ: [&str; 9] = [
    "x-user-id",
    "x-odd",
    "x-odd-key",
    "x-other",
    "x-rollout-foo",
    "x-rollout-assignment",
    "x-rollout-shadow",
    "x-rollout-feature-set",
    "user-agent",
];

#[test]
fn any_byte_in_a_header_value_is_served_or_rejected_and_does_no_harm() {
    let site = Site::curious(json!({}));
    let value = |byte: u8| [b"a", &[byte][..], b"z", &[byte], b"b"].concat();

    let request = |byte: u8| {
        let mut head = b"GET / HTTP/1.1\r\nhost: ml.example.com\r\nconnection: close\r\n".to_vec();
        for name in READ {
            head.extend([name.as_bytes(), b": ", &value(byte), b"\r\n"].concat());
        }
        head.extend([b"cookie: uid=", &value(byte)[..], b"; x=1\r\n\r\n"].concat());
        head
    };
    let answers = send_all(site.envoy.address(), (0..=255).map(request).collect());
    for (byte, answer) in (0_u8..=255).zip(answers) {
        let served = is_legal(byte) || byte == b'\r'; // Envoy leaves out a CR that no LF follows
        assert_eq!(answer, Some(if served { 200 } else { 400 }), "{byte:#04x} by HTTP/1.1");
    }
    let received = site.upstreams.iter().flat_map(Upstream::requests).flat_map(|request| request.headers);
    let passed: BTreeSet<u8> = received.flat_map(|(_, value)| value).collect();
    assert_eq!(passed, (0..=255).filter(|byte| is_legal(*byte)).collect(), "what models get to see");

    for byte in 0..=255 {
        let value = value(byte);
        let cookie = [b"uid=", &value[..]].concat();
        let mut lines: Vec<(&[u8], &[u8])> = vec![
            (b":method", b"GET"),
            (b":scheme", b"http"),
            (b":path", b"/"),
            (b":authority", b"ml.example.com"),
        ];
        lines.extend(READ.iter().map(|name| (name.as_bytes(), value.as_slice())));
        lines.extend([(b"cookie".as_slice(), cookie.as_slice()), (b"cookie", &value)]);
        let answer = raw_http2(site.envoy.address(), &lines).expect("an answer or an end");
        assert_eq!(answer, is_legal(byte).then_some(200), "{byte:#04x} by HTTP/2");
    }
    site.assert_filter_is_well();
}

#[test]
fn any_byte_in_a_header_name_is_served_or_rejected_and_does_no_harm() {
    let site = Site::curious(json!({}));
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let names: Vec<Vec<u8>> = (0..=255)
        .flat_map(|byte: u8| [vec![b'x', byte, b'y'], [b"x-rollout-", &[byte][..]].concat(), vec![byte]])
        .collect();

    let request = |name: &Vec<u8>| {
        let head = b"GET / HTTP/1.1\r\nhost: ml.example.com\r\nconnection: close\r\n";
        [head, &name[..], b": odd\r\n\r\n"].concat()
    };
    let answers = send_all(site.envoy.address(), names.iter().map(request).collect());
    for (name, answer) in names.iter().zip(&answers) {
        let shown = String::from_utf8_lossy(name).into_owned();
        assert!(matches!(answer, Some(200 | 400)), "{shown:?}: {answer:?} by HTTP/1.1");
        if name.iter().all(|byte| is_token(*byte)) {
            assert_eq!(*answer, Some(200), "{shown:?} by HTTP/1.1");
        }
    }
    for name in &names {
        let lines: [(&[u8], &[u8]); 5] = [
            (b":method", b"GET"),
            (b":scheme", b"http"),
            (b":path", b"/"),
            (b":authority", b"ml.example.com"),
            (name, b"odd"),
        ];
        let answer = raw_http2(site.envoy.address(), &lines).expect("an answer or an end");
        let lower = name.iter().all(|byte| is_token(*byte) && !byte.is_ascii_uppercase());
        let shown = String::from_utf8_lossy(name);
        assert!(matches!(answer, None | Some(200 | 400)), "{shown:?}: {answer:?} by HTTP/2");
        if lower {
            assert_eq!(answer, Some(200), "{shown:?} by HTTP/2");
        }
    }
    site.assert_filter_is_well();
}

#[test]
fn many_cookies_and_large_headers_are_served() {
    let site = Site::curious(json!({}));
    let cookies = |last: &str| (0..99).map(|n| format!("c{n}={n}; ")).collect::<String>() + last;
    let base = || Request::get("/").header("host", "ml.example.com").header("x-odd", "1");
    let many = |count: usize, size: usize| {
        (0..count).fold(base(), |request, n| request.header(&format!("x-many-{n}"), "v".repeat(size)))
    };
    // 60 KiB is Envoy's limit for all headers together, so these stay just below it; 100 is its limit for their number.
    let requests = [
        ("100 cookies in one line", base().header("cookie", cookies("uid=alice"))),
        (
            "80 cookies in lines of their own",
            (0..79)
                .fold(base(), |request, n| request.header("cookie", format!("c{n}={n}")))
                .header("cookie", "uid=alice"),
        ),
        ("59 KiB in one header", base().header("x-odd", "v".repeat(59 * 1024))),
        ("59 KiB in the unit", base().header("x-user-id", "u".repeat(59 * 1024))),
        ("59 KiB in one cookie", base().header("cookie", "u".repeat(59 * 1024))),
        ("59 KiB in one trusted header", base().header("x-rollout-assignment", "u".repeat(59 * 1024))),
        ("59 KiB in 80 headers", many(80, 740)),
        (
            "59 KiB in 80 rollout headers",
            (0..80).fold(base(), |request, n| request.header(&format!("x-rollout-{n}"), "v".repeat(740))),
        ),
        (
            "59 KiB in 80 lines of the unit",
            (0..80).fold(base(), |request, _| request.header("x-user-id", "v".repeat(740))),
        ),
    ];
    for client in site.clients() {
        for (what, request) in &requests {
            let answer = client.send(request.clone()).expect(what);
            assert_eq!(
                (answer.status, answer.header("x-rollout-revision").as_deref()),
                (200, Some("1")),
                "{what}"
            );
        }
        for count in [61, 200, 1000] {
            // Beyond the limits Envoy rejects the request, with 431 or, in HTTP/2, a reset of the stream.
            if let Ok(answer) = client.send(many(count, 61 * 1024 / count)) {
                assert!(
                    answer.status == 431 || count == 61 && answer.status == 200,
                    "{count}: {}",
                    answer.status
                );
            }
        }
    }
    site.assert_filter_is_well();
}

#[test]
fn with_higher_limits_the_filter_itself_takes_a_thousand_headers() {
    let site = Site::curious(json!({
        "max_request_headers_kb": 1024, "common_http_protocol_options": {"max_headers_count": 5000}
    }));
    let base = || Request::get("/").header("host", "ml.example.com");
    let lines = |name: fn(usize) -> String| {
        (0..1000).fold(base(), move |request, n| request.header(&name(n), "v".repeat(60)))
    };
    // As much of one header as Envoy takes: its HTTP/2 codec stops at 64 KiB. The header is one that the filter removes,
    // because the model takes at most 100 headers.
    for (client, kib) in site.clients().iter().zip([900, 60]) {
        let requests = [
            ("1,000 rollout headers", lines(|n| format!("x-rollout-{n}"))),
            ("1,000 lines of a secret", lines(|_| "x-odd-key".into())),
            ("one huge rollout header", base().header("x-rollout-foo", "v".repeat(kib * 1024))),
            ("1,000 cookies", base().header("cookie", "c=1; ".repeat(1000) + "uid=alice")),
        ];
        for (what, request) in requests {
            let answer = client.send(request).expect(what);
            let revision = answer.header("x-rollout-revision");
            assert_eq!((answer.status, revision.as_deref()), (200, Some("1")), "{what}");
        }
    }
    site.assert_filter_is_well();
}

#[test]
fn odd_paths_queries_cookies_and_hosts_are_served_or_rejected_and_do_no_harm() {
    let site = Site::curious(json!({}));
    let parameters: String = (0..1000).map(|n| format!("p{n}=%{n}&")).collect();
    let targets: Vec<Vec<u8>> = [
        b"/".to_vec(),
        format!("/?{parameters}user=alice").into_bytes(),
        b"/%".to_vec(),
        b"/%zz%4%%41%00%ff?user=%zz%4%%41%00%ff%".to_vec(),
        b"/?user=%ff%fe%00&%75%73%65%72=+%2B&=&&==&user".to_vec(),
        b"/a%2Fb//c/../d/./%2e%2e/e?never".to_vec(),
        b"/?".to_vec(),
        b"/??user=a?b#c".to_vec(),
        b"/\xff\xfe\xc3\x28?user=\xff\xfe\xc3\x28".to_vec(),
        "/modèle/żółw?user=żółw".as_bytes().to_vec(),
        b"/?user=\xf0\x9f\x92\xa9\xed\xa0\x80".to_vec(),
        b"*".to_vec(),
        b"".to_vec(),
        b"x".to_vec(),
        b"//".to_vec(),
        b"http://other.example.com/absolute?user=alice".to_vec(),
        [b"/", "%41".repeat(3000).as_bytes(), b"?user=", "%".repeat(5000).as_bytes()].concat(),
    ]
    .into();
    let hosts: [&[u8]; 14] = [
        b"ml.example.com",
        b"",
        b":",
        b":80",
        b"ML.Example.COM:",
        b"[",
        b"[]",
        b"[::1]",
        b"[::1]:80",
        b"a:b:c",
        b"..",
        b"\xff\xfe",
        b"a\xc3\x28.b",
        "żółw.example.com".as_bytes(),
    ];
    let cookies: [&[u8]; 6] = [
        b"uid=\xff\xfe\xc3\x28",
        b"uid=\"alice",
        b"=;;;=uid;uid",
        b"uid",
        b"uid==\xf0\x9f\x92\xa9;;",
        b" ; \t; uid = ",
    ];

    let mut heads: Vec<(&[u8], &[u8], &[u8])> = Vec::new();
    heads.extend(targets.iter().map(|target| (target.as_slice(), b"a".as_slice(), b"uid=a".as_slice())));
    heads.extend(hosts.iter().map(|host| (b"/".as_slice(), *host, b"uid=a".as_slice())));
    heads.extend(cookies.iter().map(|cookie| (b"/".as_slice(), b"a".as_slice(), *cookie)));

    let requests = heads.iter().flat_map(|(target, host, cookie)| {
        ["HTTP/1.1", "HTTP/1.0", "HTTP/0.9"].map(|version| {
            let line = [b"GET ", *target, b" ", version.as_bytes()].concat();
            let host = [b"\r\nhost: ", *host].concat();
            [line, host, b"\r\nconnection: close\r\ncookie: ".to_vec(), cookie.to_vec(), b"\r\n\r\n".to_vec()]
                .concat()
        })
    });
    let requests: Vec<Vec<u8>> = requests.collect();
    let answers = send_all(site.envoy.address(), requests.clone());
    for (request, answer) in requests.iter().zip(answers) {
        let shown = String::from_utf8_lossy(request);
        assert!(answer.is_some_and(|status| status < 500), "{answer:?} to {shown}");
    }
    for (target, host, cookie) in &heads {
        let lines: [(&[u8], &[u8]); 5] = [
            (b":method", b"GET"),
            (b":scheme", b"http"),
            (b":path", target),
            (b":authority", host),
            (b"cookie", cookie),
        ];
        let answer = raw_http2(site.envoy.address(), &lines).expect("an answer or an end");
        assert!(answer.is_none_or(|status| status < 500), "{answer:?} to {lines:?}");
    }
    site.assert_filter_is_well();
}

#[test]
fn an_offer_of_tls_in_an_upgrade_and_a_host_with_a_trailing_dot_are_served_as_any_other_request() {
    let mut document = rollout("v2");
    document["match"] = json!([{"hosts": ["ml.example.com"]}]);
    let site = Site::serving(&self::document(1, json!([document])));
    for extra in ["connection: close\r\n", "connection: Upgrade, close\r\nupgrade: TLS/1.2\r\n"] {
        for host in ["ml.example.com", "ml.example.com.", "ML.example.com.:8443"] {
            let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nx-user-id: alice\r\n{extra}\r\n");
            let answer = raw(site.envoy.address(), request.as_bytes()).expect("Envoy answers");
            assert_eq!(status(&answer), Some(200), "{request}");
        }
    }
    assert_eq!(site.upstreams[1].count(), 6, "all of them reach the active version");
}
