//! The core, the tool and the real Envoy make the same decision, for every golden case and for two thousand random requests.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may stop with the reason"
)]

#[path = "golden/dice.rs"]
mod dice;
mod golden;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use dice::Dice;
use rollout_core::{Reason, Time, decide_unit};
use serde_json::{Value, json};
use testbed::client::{Client, Request, Response};
use testbed::envoy::{Envoy, Outcome};
use testbed::module;
use testbed::upstream::Upstream;

/// The answers of `rolloutctl explain` to a list of requests.
fn explain_all(document: &Value, requests: &[Value]) -> Vec<Value> {
    let folder = tempfile();
    let (file, list) = (folder.join("document.json"), folder.join("requests.jsonl"));
    std::fs::write(&file, document.to_string()).expect("the document is written");
    let lines: Vec<String> = requests.iter().map(Value::to_string).collect();
    std::fs::write(&list, lines.join("\n")).expect("the requests are written");
    let output = Command::new(module::rolloutctl())
        .args(["--format", "json", "explain"])
        .args([&file, std::path::Path::new("--requests"), &list])
        .output()
        .expect("rolloutctl runs");
    let _ = std::fs::remove_dir_all(&folder);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("the answers are text");
    text.lines().map(|line| serde_json::from_str(line).expect("an answer is JSON")).collect()
}

fn tempfile() -> std::path::PathBuf {
    let name = format!("rollout-agreement-{}-{:?}", std::process::id(), std::thread::current().id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    folder
}

/// The document with its reasons and buckets shown to clients.
fn exposed(document: &Value) -> Value {
    let mut document = document.clone();
    for rollout in document["rollouts"].as_array_mut().expect("rollouts") {
        rollout["expose"] = "debug".into();
    }
    document
}

fn send(client: &Client, request: &Value) -> Response {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let mut call = Request::new(&text(&request["method"]), &text(&request["path"]))
        .header("host", text(&request["host"]));
    for pair in request["headers"].as_array().expect("headers") {
        let (name, value) = (text(&pair[0]), text(&pair[1]));
        if name == "content-length" {
            call.body = vec![b'x'; value.parse().expect("a length")].into();
        } else {
            call = call.header(&name, value);
        }
    }
    client.send(call).expect("Envoy answers")
}

/// What Envoy did with a request, in the form of `explain`, as far as it is visible.
fn observed(response: &Response, upstreams: &[Upstream]) -> Value {
    let own = |name: &str| response.echoed(name).filter(|value| !value.is_empty());
    let assignment = response.header("x-rollout-assignment");
    let parts = assignment.as_deref().and_then(|assignment| assignment.split_once('='));
    let shadows = (1..=3).filter_map(|i| own(&format!("x-rollout-shadow-{i}")));
    let cluster = own("x-rollout-cluster");
    if let Some(cluster) = &cluster {
        assert_eq!(*cluster, response.upstream(), "the cluster of the header is the one that answers");
    }
    assert!(upstreams.iter().any(|upstream| upstream.name() == response.upstream()));
    json!({
        "rollout": parts.map(|(rollout, _)| rollout),
        "version": parts.map(|(_, version)| version),
        "cluster": cluster,
        "fallback": own("x-rollout-fallback"),
        "reason": response.header("x-rollout-reason").unwrap_or_else(|| "no_match".into()),
        "bucket": response.header("x-rollout-bucket").and_then(|bucket| bucket.parse::<u64>().ok()),
        "shadows": shadows.collect::<Vec<_>>(),
    })
}

fn push_and_wait(envoy: &Envoy, document: &Value) {
    let hash = u64::from(golden::plan(document).hash());
    assert_eq!(envoy.push(&document.to_string()), Outcome::Accepted, "{document}");
    envoy.wait_for("the pushed document", |envoy| (envoy.config_hash() == hash).then_some(()));
}

/// True for a case whose address a client on loopback can't have.
fn is_loopback(request: &Value) -> bool {
    request["source_ip"].as_str().is_none_or(|address| address == "127.0.0.1")
}

/// True for a case with earlier verdicts of guardrails, which would have to happen in the real Envoy first.
fn is_judged(request: &Value) -> bool {
    !request["rolled_back"].is_null() || is_frozen(request)
}

/// True for a case with a kept exposure, which `explain` has no option for.
fn is_frozen(request: &Value) -> bool {
    !request["frozen"].is_null()
}

#[test]
fn core_tool_and_envoy_agree_on_every_golden_case() {
    let suites = golden::suites();
    let mut clusters = BTreeSet::from(["fraud-v1".to_owned()]);
    for suite in &suites {
        for rollout in golden::plan(&suite.document).rollouts() {
            clusters.extend(rollout.versions().iter().map(|version| version.cluster().to_owned()));
            clusters.extend(rollout.shadows().map(|shadow| shadow.cluster().to_owned()));
        }
    }
    let upstreams: Vec<Upstream> = clusters.iter().map(|name| Upstream::start(name)).collect();
    let envoy = Envoy::builder().clusters(&upstreams).concurrency(1).start();
    let client = envoy.client();
    let mut served = 0;
    for suite in &suites {
        let document = exposed(&suite.document);
        let cases: Vec<_> = suite.cases.iter().filter(|case| !is_frozen(&case.request)).collect();
        let requests: Vec<Value> = cases.iter().map(|case| case.request.clone()).collect();
        let explained = explain_all(&document, &requests);
        assert_eq!(explained.len(), cases.len());
        push_and_wait(&envoy, &document);
        for (case, explained) in cases.into_iter().zip(explained) {
            let place = format!("{}, {}", suite.file, case.name);
            golden::assert_expected(&format!("{place}, rolloutctl"), &case.expect, &explained);
            // The clock of the real one shows what it shows, and its address is loopback.
            let is_here = is_loopback(&case.request) && case.request["at"].is_null();
            if !is_here || is_judged(&case.request) {
                continue;
            }
            let response = send(&client, &case.request);
            let seen = observed(&response, &upstreams);
            let hidden = ["set_headers", "revision", "skipped"];
            let expect = case.expect.iter().filter(|(key, _)| !hidden.contains(&key.as_str()));
            let expect = expect.map(|(key, value)| (key.clone(), value.clone())).collect();
            golden::assert_expected(&format!("{place}, Envoy"), &expect, &seen);
            for (name, value) in explained["set_headers"].as_object().expect("set_headers") {
                let seen = match name.as_str() {
                    ":path" => response.json()["path"].as_str().map(str::to_owned),
                    retry if retry.starts_with("x-envoy-") => continue, // for the router, which takes them off
                    name => response.echoed(name),
                };
                assert_eq!(seen.as_deref(), value.as_str(), "{place}, {name}");
            }
            if let Some(host) = explained["set_headers"]["x-rollout-host"].as_str() {
                assert_eq!(response.json()["host"], host, "{place}");
            }
            served += 1;
        }
    }
    assert!(served > 300, "only {served} cases reached Envoy");
    assert_eq!(envoy.vm_reloads(), 0);
}

/// Rollouts of every strategy and every rule, told apart by host, path, method, header and query.
fn wide_document(active: &str) -> Value {
    let version = |name: &str| json!({"name": name, "cluster": format!("fraud-{name}")});
    let versions = json!([version("v1"), version("v2"), version("v3")]);
    let rollout = |name: &str, alternatives: Value, rest: Value| {
        let mut rollout = json!({"name": name, "match": alternatives, "unit": [{"header": "x-user-id"}, {"cookie": "uid"}, {"query": "user"}],
            "stable": "v1", "versions": versions, "expose": "debug"});
        rollout.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
        rollout
    };
    let accepting = |accepted: [&[&str]; 3]| {
        let mut versions = versions.clone();
        for (version, accepted) in versions.as_array_mut().expect("versions").iter_mut().zip(accepted) {
            version["accepts"] = json!({"api": accepted});
        }
        versions
    };
    let mut dependent = versions.clone();
    dependent[2]["requires"] = json!([{"rollout": "canary", "version": "v2"}]);
    json!({"revision": 9_007_199_254_740_991_u64, "holdouts": [{"name": "global", "percent": 5}], "rollouts": [
        rollout("session", json!([{"path": {"exact": "/session"}}]), json!({"sessions": {"cookie": "rs", "max_age": "1h", "secret": "sixteen bytes and more"},
            "strategy": {"ab_test": {"arms": [{"version": active, "weight": 1}]}}})),
        rollout("canary", json!([{"hosts": ["a.example.com"], "path": {"prefix": "/m/"}}]), json!({"strategy": {"canary": {"version": "v2", "percent": 33.3333}}})),
        rollout("ab", json!([{"hosts": ["*.example.com"], "methods": ["POST", "PUT"]}]), json!({"strategy": {"ab_test": {"arms": [
            {"version": "v1", "weight": 3}, {"version": "v2", "weight": 5}, {"version": "v3", "weight": 11}], "percent": 80}}})),
        rollout("green", json!([{"path": {"suffix": ":infer"}}]), json!({"strategy": {"canary": {"version": "v3", "percent": 100}}})),
        rollout("tenant", json!([{"headers": [{"name": "x-tenant", "in": ["acme", "umbrella"]}]}]), json!({"strategy": {"canary": {"version": "v3", "percent": 50}},
            "overrides": [{"units": ["u1", "u2"], "version": "v2"}, {"header": {"name": "x-want", "secret_header": "x-key", "secret": "k"}}]})),
        rollout("debug", json!([{"query": [{"name": "debug", "present": true}]}]), json!({})),
        rollout("shadowed", json!([{"path": {"prefix": "/s"}}]), json!({"idempotent": true, "strategy": {"canary": {"version": "v2", "percent": 10}},
            "shadow": [{"version": "v2", "percent": 50}, {"version": "v3", "percent": 25}]})),
        rollout("fails-over", json!([{"path": {"prefix": "/f"}}]), json!({"idempotent": true, "strategy": {"canary": {"version": "v2", "percent": 50}}, "failover": {"to": ["v1"]}})),
        rollout("address", json!([{"path": {"exact": "/ip"}}]), json!({"unit": [{"source_ip": true}], "strategy": {"canary": {"version": "v2", "percent": 50}}})),
        rollout("layer", json!([{"path": {"exact": "/layer"}}]), json!({"layer": {"name": "checkout", "from": 20, "to": 60},
            "strategy": {"canary": {"version": "v2", "percent": 50}}})),
        rollout("api", json!([{"path": {"prefix": "/api/"}}]), json!({"api": {"path_segment": 2}, "versions": accepting([&["v1"], &["v2"], &["v1", "v2", "v3"]]),
            "failover": {"to": ["v1"]}, "idempotent": true, "strategy": {"canary": {"version": "v2", "percent": 50}}})),
        rollout("dependent", json!([{"path": {"exact": "/dependent"}}]), json!({"versions": dependent, "strategy": {"canary": {"version": "v3", "percent": 60}}})),
        rollout("ramp", json!([{"path": {"exact": "/ramp"}}]), json!({"strategy": {"progressive": {"version": "v2", "start": "2020-01-01T00:00:00Z",
            "linear": {"from": 0, "to": 100, "over": "10h"}, "pauses": [{"from": "2020-01-01T03:30:00Z"}]}}})),
        rollout("scheme", json!([{"path": {"exact": "/scheme"}}]), json!({"bucketing": {"scheme": "unleash", "group_id": "g"},
            "strategy": {"ab_test": {"arms": [{"version": "v2", "weight": 300}, {"version": "v3", "weight": 700}], "percent": 70}}})),
    ]})
}

/// The cookie of a session that a user started while another version was active.
fn session_cookie(user: &str) -> String {
    let earlier = golden::plan(&wide_document("v3"));
    let rollout = earlier.rollouts().iter().find(|rollout| rollout.name() == "session").expect("it is there");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let decision = decide_unit(&earlier, rollout, user.as_bytes(), Time::from_seconds(now.as_secs()));
    let line = decision.cookies.first().map_or("", String::as_str);
    line.split(';').next().unwrap_or_default().to_owned()
}

fn random_request(dice: &mut Dice) -> Value {
    let user = format!("u{}", dice.roll(200));
    let mut headers = Vec::new();
    if dice.roll(3) == 0 {
        headers.push(json!(["cookie", session_cookie(&user)]));
    }
    match dice.roll(4) {
        0 => headers.push(json!(["x-user-id", user])),
        1 => headers.push(json!(["cookie", format!("a=b; uid={user}")])),
        _ => {}
    }
    if dice.roll(3) == 0 {
        headers.push(json!(["x-tenant", dice.pick(&["acme", "umbrella", "other", ""])]));
    }
    if dice.roll(3) == 0 {
        headers.push(json!(["x-want", dice.pick(&["v1", "v2", "v3", "v4"])]));
        headers.push(json!(["X-Key", dice.pick(&["k", "K"])]));
    }
    if dice.roll(8) == 0 {
        headers.push(json!(["x-rollout-cluster", "fraud-v3"]));
    }
    let path = dice.pick(&[
        "/",
        "/m/",
        "/m",
        "/m/x:infer",
        "/s/1",
        "/s",
        "/f",
        "/ip",
        "/ip/",
        "/x:infer",
        "/%20a",
        "/layer",
        "/session",
        "/session",
        "/api/v1/x",
        "/api/v2/x",
        "/api/v3/x",
        "/api/v9/x",
        "/api/",
        "/dependent",
        "/dependent",
        "/ramp",
        "/scheme",
    ]);
    let query =
        dice.pick(&["", "?", "?debug", "?debug=1&user=u7", "?user=u%31", "?user=", "?x=1&us%65r=a+b%"]);
    let host = dice.pick(&[
        "a.example.com",
        "A.Example.com:80",
        "b.example.com",
        "x.y.example.com",
        "example.com",
        "other",
    ]);
    json!({"host": host, "path": format!("{path}{query}"), "method": dice.pick(&["GET", "POST", "PUT", "DELETE"]),
           "headers": headers, "source_ip": "127.0.0.1"})
}

#[test]
fn explain_and_envoy_agree_on_two_thousand_random_requests() {
    let document = wide_document("v2");
    let mut dice = Dice(2_026);
    let requests: Vec<Value> = (0..2_000).map(|_| random_request(&mut dice)).collect();
    let explained = explain_all(&document, &requests);
    let upstreams = ["fraud-v1", "fraud-v2", "fraud-v3"].map(Upstream::start);
    let envoy = Envoy::builder().clusters(&upstreams).concurrency(2).start();
    push_and_wait(&envoy, &document);
    let clients = [Client::new(envoy.address()), Client::new(envoy.address()).http2()];
    let mut reasons = BTreeSet::new();
    for (position, (request, explained)) in requests.iter().zip(&explained).enumerate() {
        let seen = observed(&send(&clients[position % 2], request), &upstreams);
        for key in ["rollout", "version", "cluster", "fallback", "reason", "bucket", "shadows"] {
            assert_eq!(seen[key], explained[key], "`{key}` of request {position}: {request}");
        }
        reasons.insert(explained["reason"].to_string());
    }
    // All but `rolled_back`, which takes a version that fails.
    assert_eq!(reasons.len(), Reason::COUNT - 1, "every other reason occurs: {reasons:?}");
    assert_eq!(envoy.vm_reloads(), 0);
}

/// The independent murmur3: one bucket for each line `hex(salt):hex(unit)`.
const MMH3: &str = r"
import mmh3, sys
for line in sys.stdin:
    salt, unit = (bytes.fromhex(part) for part in line.strip().split(':'))
    print((mmh3.hash(salt + b':' + unit, 0, signed=False) * 1_000_000) >> 32)
";

fn independent_buckets(salt: &str, units: &[Vec<u8>]) -> Vec<u64> {
    let python = module::workspace().join(".envoy/independent/bin/python");
    let mut child = Command::new(&python)
        .args(["-c", MMH3])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}; `make test` installs it", python.display()));
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let lines: String =
        units.iter().map(|unit| format!("{}:{}\n", hex(salt.as_bytes()), hex(unit))).collect();
    let mut stdin = child.stdin.take().expect("a pipe");
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = child.wait_with_output().expect("python ends");
    writer.join().expect("the writer ends").expect("python reads");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("numbers");
    text.lines().map(|line| line.parse().expect("a bucket")).collect()
}

#[test]
fn ten_thousand_random_units_get_the_same_bucket_from_core_envoy_and_an_independent_murmur3() {
    const SALT: &str = "hash-2026-zażółć";
    let mut dice = Dice(42);
    let mut unit = |legal: fn(usize) -> u8, sides: usize, most: usize| -> Vec<u8> {
        let length = if dice.roll(10) == 0 { dice.roll(most + 1) } else { dice.roll(65) };
        (0..length).map(|_| legal(dice.roll(sides))).collect()
    };
    // Any byte as a query value; what HTTP allows inside a header, obs-text included; what RFC 6265 allows in a cookie.
    let any = |roll: usize| u8::try_from(roll).expect("a byte");
    let header =
        |roll: usize| u8::try_from(if roll < 94 { 0x21 + roll } else { 0x80 + roll - 94 }).expect("a byte");
    let cookie = |roll: usize| {
        b"!#$%&'()*+-./0123456789:<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_`abcdefghijklmnopqrstuvwxyz{|}~"[roll]
    };
    let units: Vec<Vec<u8>> = (0..10_000)
        .map(|i| match i % 3 {
            0 => unit(any, 256, 4_096),
            1 => unit(header, 222, 4_096),
            _ => unit(cookie, 90, 4_096),
        })
        .collect();
    let independent = independent_buckets(SALT, &units);
    let salt = rollout_core::Salt::new(SALT);

    let document = json!({"revision": 1, "rollouts": [{
        "name": "hash", "unit": [{"header": "x-unit"}, {"cookie": "unit"}, {"query": "unit"}], "salt": SALT, "stable": "v1",
        "versions": [{"name": "v1", "cluster": "fraud-v1"}, {"name": "v2", "cluster": "fraud-v2"}],
        "strategy": {"canary": {"version": "v2", "percent": 50}}, "expose": "debug"}]});
    let upstreams = ["fraud-v1", "fraud-v2"].map(Upstream::start);
    for upstream in &upstreams {
        upstream.set(testbed::upstream::Behaviour::status(200));
        upstream.remember(0);
    }
    let envoy = Envoy::builder().clusters(&upstreams).concurrency(2).start();
    push_and_wait(&envoy, &document);
    let client = Client::new(envoy.address()).connections(4);
    let mut without = 0;
    for (position, unit) in units.iter().enumerate() {
        let request = match position % 3 {
            0 => {
                let encoded: String = unit.iter().map(|byte| format!("%{byte:02X}")).collect();
                Request::get(&format!("/?unit={encoded}"))
            }
            1 => Request::get("/").header("x-unit", unit),
            _ => Request::get("/").header("cookie", [b"a=b; unit=", unit.as_slice(), b"; c=d"].concat()),
        };
        let response = client.send(request).expect("Envoy answers");
        assert_eq!(response.status, 200);
        let seen = response.header("x-rollout-bucket").map(|bucket| bucket.parse::<u64>().expect("a bucket"));
        if unit.is_empty() {
            without += 1;
            assert_eq!((seen, response.header("x-rollout-reason").as_deref()), (None, Some("missing_unit")));
            continue;
        }
        assert_eq!(u64::from(salt.bucket(unit).get()), independent[position], "core, unit {unit:x?}");
        assert_eq!(seen, Some(independent[position]), "Envoy, unit {unit:x?}");
    }
    assert!(without < 400, "{without} units were empty");
    assert_eq!(envoy.vm_reloads(), 0);
}
