//! Answers of shadows compared with the live ones, in the real Envoy with the shipped clusters for copies: each shape of answer has
//! the right result, every copy that is sent has exactly one, and the client never notices.

#![expect(clippy::indexing_slicing, reason = "a test may stop with the reason")]

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use testbed::envoy::Outcome;
use testbed::{Behaviour, Cluster, Envoy, Load, Request, Upstream};

const MIB: usize = 1 << 20;

fn document(revision: u64, compare: &Value) -> String {
    json!({"revision": revision, "rollouts": [{
        "name": "m", "unit": [{"header": "x-user-id"}], "stable": "v1", "idempotent": true,
        "versions": [{"name": "v1", "cluster": "live"}, {"name": "v2", "cluster": "model"}],
        "shadow": [{"version": "v2", "percent": 100, "cluster": "model-copies", "compare": compare}]
    }]})
    .to_string()
}

/// A live model and its shadow behind an Envoy with two workers.
struct Site {
    live: Upstream,
    shadow: Upstream,
    envoy: Envoy,
}

impl Site {
    fn start(is_http2: bool, compare: &Value) -> Self {
        let [live, shadow] = ["live", "shadow"].map(Upstream::start);
        let clusters = [Cluster::from(&live), Cluster::new("model-copies", &[shadow.port()]).copies()];
        let clusters = clusters.map(|cluster| if is_http2 { cluster.http2() } else { cluster });
        let envoy = Envoy::builder().clusters(clusters).concurrency(2).start();
        let site = Self { live, shadow, envoy };
        site.push(1, compare);
        site
    }

    fn push(&self, revision: u64, compare: &Value) {
        assert_eq!(self.envoy.push(&document(revision, compare)), Outcome::Accepted);
        self.envoy.wait_revision(revision);
    }

    /// Copies by result.
    fn results(&self) -> BTreeMap<String, u64> {
        let stats = self.envoy.stats(r"^wasmcustom\..*;\.;rollout_shadow_total$");
        let result = |name: &str| name.split("result=.=").nth(1)?.split(";.;").next().map(str::to_owned);
        let counted = stats.iter().filter(|(_, count)| **count > 0);
        counted.filter_map(|(name, count)| Some((result(name)?, *count))).collect()
    }

    /// The same, once no pair is open.
    fn all_results(&self) -> BTreeMap<String, u64> {
        self.envoy.wait_for("the end of all pairs", |_| {
            let mut results = self.results();
            let sent = results.remove("sent")?;
            let ended: u64 = results.values().sum();
            (ended == sent).then_some(results)
        })
    }
}

fn json_of(value: &Value) -> Behaviour {
    Behaviour::ok().body(value.to_string()).header("content-type", "application/json")
}

/// A shape of answers, and what becomes of the pair.
struct Shape {
    what: &'static str,
    request: fn() -> Request,
    answers: [Behaviour; 2],
    result: &'static str,
}

fn shape(what: &'static str, answers: [Behaviour; 2], result: &'static str) -> Shape {
    Shape { what, request: || Request::post("/infer", "{}"), answers, result }
}

fn same(what: &'static str, answer: &Behaviour, result: &'static str) -> Shape {
    shape(what, [answer.clone(), answer.clone()], result)
}

fn bytes(length: usize) -> Behaviour {
    Behaviour::ok().body(vec![b'x'; length])
}

fn shapes() -> Vec<Shape> {
    let score = |score: f64| json_of(&json!({"id": "a", "score": score}));
    let events = Behaviour::events(Duration::from_millis(10), Duration::from_millis(50));
    let packed = |coding: &str| bytes(100).header("content-encoding", coding);
    let mut other = vec![b'x'; 64 << 10];
    other[60_000] = b'y';
    vec![
        same("0 B", &bytes(0), "match"),
        same("1 B", &bytes(1), "match"),
        shape("1 B, another", [bytes(1), Behaviour::ok().body("y")], "mismatch"),
        same("64 KiB", &bytes(64 << 10), "match"),
        shape("64 KiB, one byte differs", [bytes(64 << 10), Behaviour::ok().body(other)], "mismatch"),
        shape("shorter", [bytes(2_000), bytes(1_999)], "mismatch"),
        same("64 KiB and a byte", &bytes((64 << 10) + 1), "skipped_size"),
        shape("10 MB against 1 B", [bytes(10 * MIB), bytes(1)], "skipped_size"),
        shape("1 B against 10 MB", [bytes(1), bytes(10 * MIB)], "skipped_size"),
        shape("within the tolerance", [score(0.5), score(0.5004)], "match"),
        shape("beyond the tolerance", [score(0.5), score(0.502)], "mismatch"),
        shape(
            "another order",
            [
                Behaviour::ok().body(r#"{"a": 1, "b": [1, 2]}"#).header("content-type", "application/json"),
                Behaviour::ok().body(r#"{"b":[1,2],"a":1.0}"#).header("content-type", "application/json"),
            ],
            "match",
        ),
        shape("another status", [bytes(1), Behaviour::status(404).body("x")], "mismatch"),
        shape("the shadow fails", [bytes(1), Behaviour::status(500).body("x")], "mismatch"),
        shape("stable fails", [Behaviour::status(500).body("x"), bytes(1)], "live_error"),
        shape(
            "stable refuses",
            [Behaviour::status(404).body("x"), Behaviour::status(404).body("x")],
            "match",
        ),
        shape("the shadow resets", [bytes(1), Behaviour::reset()], "shadow_error"),
        shape("the shadow resets in its body", [bytes(1), Behaviour::reset_in_body()], "shadow_error"),
        shape("stable resets", [Behaviour::reset(), bytes(1)], "live_error"),
        same("gzip", &packed("gzip"), "skipped_encoding"),
        same("br", &packed("br"), "skipped_encoding"),
        same("events", &events, "skipped_stream"),
        shape("the shadow is slower", [bytes(1), bytes(1).after(Duration::from_millis(300))], "match"),
        shape("stable is slower", [bytes(1).after(Duration::from_millis(300)), bytes(1)], "match"),
        Shape { request: || Request::get("/ready"), ..same("no body in the request", &bytes(9), "match") },
        Shape {
            request: || Request::post("/infer", vec![b'q'; 300_000]).streamed(),
            ..same("a streamed request", &score(0.5), "match")
        },
        Shape { request: || Request::new("HEAD", "/ready"), ..same("HEAD", &bytes(9), "match") },
    ]
}

#[test]
fn each_shape_of_answers_has_its_result() {
    for is_http2 in [false, true] {
        let site = Site::start(is_http2, &json!({"json": {"rel_tolerance": 1e-3}}));
        let client = if is_http2 { site.envoy.client().http2() } else { site.envoy.client() };
        for Shape { what, request, answers, result } in shapes() {
            let [live, shadow] = answers;
            site.live.set(live);
            site.shadow.set(shadow);
            let before = site.results();
            let _ = client.send(request().header("x-user-id", "alice"));
            let found = site.envoy.wait_for(&format!("the result of {what}"), |_| {
                let now = site.results();
                let changed = |name: &&String| now.get(*name) != before.get(*name) && *name != "sent";
                now.keys().find(changed).cloned()
            });
            assert_eq!(found, result, "HTTP/2: {is_http2}: {what}");
        }
        assert_eq!(site.envoy.vm_reloads(), 0);
        assert_eq!(site.envoy.stat("wasmcustom.rollout_shadow_pairs"), 0);
        assert_eq!(site.envoy.stat("wasmcustom.rollout_shadow_bytes"), 0);
        assert_eq!(site.envoy.stat("wasmcustom.rollout_shadow_unpaired"), 0);
    }
}

/// gRPC answers: their messages, and the status in the trailers.
#[test]
fn answers_of_grpc_are_compared_with_their_status() {
    let site = Site::start(true, &json!({}));
    let client = site.envoy.client().http2();
    let message =
        |text: &str| Behaviour::ok().body(text.to_owned()).header("content-type", "application/grpc");
    let only = |status: &str| message("").header("grpc-status", status);
    let mut total = 0;
    for (what, live, shadow, result) in [
        ("the same status", Behaviour::grpc_trailers(0), Behaviour::grpc_trailers(0), "match"),
        ("another status", Behaviour::grpc_trailers(0), Behaviour::grpc_trailers(5), "mismatch"),
        ("stable's own failure", Behaviour::grpc_trailers(13), Behaviour::grpc_trailers(0), "live_error"),
        ("a status without a message", only("5"), only("5"), "match"),
        ("another one", only("0"), only("5"), "mismatch"),
        ("another message", message("one"), message("two"), "mismatch"),
    ] {
        site.live.set(live);
        site.shadow.set(shadow);
        let before = site.results();
        for is_streamed in [false, true] {
            let call = Request::post("/pkg.Model/Infer", vec![0; 500]);
            let call = if is_streamed { call.streamed() } else { call };
            let call = call.header("content-type", "application/grpc").header("te", "trailers");
            let _ = client.send(call.header("x-user-id", "alice"));
        }
        total += 2;
        let found = site.envoy.wait_for(&format!("the results of {what}"), |_| {
            let now = site.all_results();
            (now.values().sum::<u64>() == total).then_some(now)
        });
        let new = found.get(result).copied().unwrap_or(0) - before.get(result).copied().unwrap_or(0);
        assert_eq!(new, 2, "{what}: {before:?}, {found:?}");
    }
    assert_eq!(site.envoy.vm_reloads(), 0);
}

#[test]
fn every_copy_that_is_sent_has_one_result_whatever_is_pushed_killed_or_left() {
    let site = Site::start(false, &json!({}));
    let answer = |request: &testbed::upstream::Received| {
        let number: u64 = request.header("x-number").and_then(|number| number.parse().ok()).unwrap_or(0);
        Behaviour::ok().body(vec![b'x'; 500]).after(Duration::from_millis(number % 40))
    };
    site.live.set_with(answer);
    site.shadow.set_with(answer);
    let request = |number: u64| {
        Request::post("/infer", "{}")
            .header("x-user-id", format!("user-{number}"))
            .header("x-number", number.to_string())
    };
    let load = Load::new(site.envoy.address()).connections(32).rate(400.0).start(request);
    // Clients that leave before most answers.
    let hasty =
        Load::new(site.envoy.address()).connections(16).rate(100.0).timeout(Duration::from_millis(15));
    let hasty = hasty.start(request);
    for revision in 2..22 {
        std::thread::sleep(Duration::from_millis(150));
        site.push(revision, &json!({"headers": [format!("x-{revision}")]}));
        match revision {
            8 => site.shadow.stop(),
            12 => site.shadow.restart(),
            14 => site.live.stop(),
            17 => site.live.restart(),
            _ => {}
        }
    }
    let sent = load.stop().sent + hasty.stop().sent;
    let results = site.all_results();
    println!("{sent} requests: {results:?}");
    let counted: u64 = results.values().sum();
    assert!(counted <= sent && counted > sent / 2, "{counted} of {sent}");
    for result in ["match", "shadow_error", "live_error", "skipped_abandoned"] {
        assert!(results.get(result).copied() > Some(10), "{result}: {results:?}");
    }
    assert_eq!(results.get("mismatch"), None, "{results:?}");
    assert_eq!(site.envoy.vm_reloads(), 0);
    site.envoy.wait_for("an empty table", |envoy| {
        let held = ["pairs", "bytes"].map(|what| envoy.stat(&format!("wasmcustom.rollout_shadow_{what}")));
        (held == [0, 0]).then_some(())
    });
}

/// The fields in which answers differed, by label and kind.
fn fields(envoy: &Envoy) -> BTreeMap<String, u64> {
    let stats = envoy.stats("rollout_shadow_differences_total$");
    let part = |name: &str, label: &str| {
        name.split(&format!("{label}=.=")).nth(1)?.split(";.;").next().map(str::to_owned)
    };
    let field = |name: &str| Some(format!("{} {}", part(name, "pointer")?, part(name, "kind")?));
    stats.iter().filter_map(|(name, count)| Some((field(name)?, *count))).collect()
}

#[test]
fn differences_are_counted_by_field_and_logged_with_values_only_on_demand() {
    let rules = json!({"json": {"ignore": ["/id"]}});
    let site = Site::start(false, &rules);
    let answer = |id: &str, scores: [f64; 3], name: &str| {
        json_of(&json!({"id": id, "outputs": [{"data": scores, "name": name}], "secret": {"account": name}}))
    };
    site.live.set(answer("a", [0.25, 0.5, 0.75], "alice"));
    site.shadow.set(answer("b", [0.25, 0.4, 0.6], "bob"));
    let ask = || {
        site.envoy
            .client()
            .send(Request::post("/infer", "{}").header("x-user-id", "user-77"))
            .expect("an answer")
    };
    for _ in 0..20 {
        ask();
    }
    site.envoy.wait_for("all results", |_| (site.results().get("mismatch") == Some(&20)).then_some(()));
    assert_eq!(site.all_results(), BTreeMap::from([("mismatch".to_owned(), 20)]));
    let expected =
        [("/outputs/*/data/* number", 20), ("/outputs/*/name text", 20), ("/secret/account text", 20)];
    assert_eq!(fields(&site.envoy), BTreeMap::from(expected.map(|(field, count)| (field.to_owned(), count))));

    let lines = || -> Vec<Value> {
        let log = site.envoy.log();
        let json = log
            .lines()
            .filter_map(|line| line.find("{\"event\":\"shadow_mismatch\"").and_then(|at| line.get(at..)));
        json.map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let before = lines();
    assert!((1..10).contains(&before.len()), "a line a second: {}", before.len());
    let first = &before[0];
    assert_eq!(
        (&first["rollout"], &first["version"], &first["stable"]),
        (&json!("m"), &json!("v2"), &json!("v1"))
    );
    let [one, other] = [&first["differences"][0], &first["differences"][1]];
    assert_eq!((&one["pointer"], &one["kind"]), (&json!("/outputs/0/data/1"), &json!("number")), "{first}");
    assert!((one["relative"].as_f64().expect("a number") - 0.2).abs() < 1e-9, "{first}");
    assert_eq!(&other["pointer"], &json!("/outputs/0/data/2"));
    let text = site.envoy.log();
    for secret in ["alice", "bob", "user-77", "0.75"] {
        assert!(!text.contains(secret), "{secret}");
    }

    site.push(2, &json!({"json": {"ignore": ["/id"]}, "log": "values", "redact": ["/secret"]}));
    let after = site.envoy.wait_for("a line with values", |_| {
        ask();
        lines().into_iter().nth(before.len())
    });
    assert_eq!(after["differences"][0]["stable"], json!("0.5"), "{after}");
    assert_eq!(after["differences"][0]["shadow"], json!("0.4"), "{after}");
    let redacted =
        after["differences"].as_array().expect("a list").iter().find(|of| of["pointer"] == "/secret/account");
    assert_eq!(redacted.expect("it differs")["stable"], json!("***"), "{after}");
    assert!(!site.envoy.log().contains("user-77"));
}

#[test]
fn an_upgrade_of_the_module_under_load_keeps_comparing() {
    let site = Site::start(false, &json!({}));
    for server in [&site.live, &site.shadow] {
        server.set(bytes(500).after(Duration::from_millis(20)));
    }
    let load = Load::new(site.envoy.address()).connections(16).rate(300.0);
    let load =
        load.start(|number| Request::post("/infer", "{}").header("x-user-id", format!("user-{number}")));
    site.envoy.wait_for("matches", |_| (site.results().get("match") > Some(&300)).then_some(()));

    let folder = tempfile::tempdir().expect("a temporary folder");
    let next = testbed::module::upgraded(folder.path());
    let text =
        json!({"@type": "type.googleapis.com/google.protobuf.StringValue", "value": document(2, &json!({}))});
    assert_eq!(site.envoy.push_filter(testbed::envoy::wasm_filter(&next, text)), Outcome::Accepted);
    // Until the clusters for copies have it too, new copies find no pair.
    site.envoy.wait_for("copies without a pair", |envoy| {
        (envoy.stat("wasmcustom.rollout_shadow_unpaired") > 0).then_some(())
    });
    let shadow = json!({"resources": [{"@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": "rollout-shadow", "typed_config": testbed::envoy::shadow_filter(&next)}]});
    assert_eq!(site.envoy.push_shadow(&shadow.to_string()), Outcome::Accepted);
    site.envoy.wait_for("pairs again", |envoy| {
        (envoy.stat("wasmcustom.rollout_shadow_unpaired") == 0).then_some(())
    });
    let before = site.results()["match"];
    assert!(before > 300, "the counters of the last module go on: {before}");
    site.envoy.wait_for("matches", |_| (site.results()["match"] > before + 600).then_some(()));
    let report = load.stop();
    assert_eq!(report.failed(), 0, "{report:?}");
    // The copies in between never find their pairs.
    let results = site.all_results();
    println!("{} requests: {results:?}", report.sent);
    assert_eq!(results.keys().map(String::as_str).collect::<Vec<_>>(), ["match", "shadow_error"]);
    assert_eq!(site.envoy.vm_reloads(), 0);
}
