//! `rolloutctl status` and `gate` over real Envoys: two, only one of which finds that a version fails, and one that sees too little.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may stop with the reason"
)]

use std::process::Command;

use serde_json::{Value, json};
use testbed::client::Request;
use testbed::envoy::{Envoy, Outcome};
use testbed::load::{Load, Running};
use testbed::module;
use testbed::upstream::{Behaviour, Upstream};

/// Two Envoys in front of the same versions, with the same document, and the tool, built before any load that would end meanwhile.
struct Site {
    tool: std::path::PathBuf,
    envoys: [Envoy; 2],
    folder: tempfile::TempDir,
}

impl Site {
    fn start(versions: &[Upstream; 2]) -> Self {
        let signals = json!([{"consecutive_failures": 20}, {"error_rate": {"max_percent": 20}}]);
        Self::with(versions, &json!({"window": "10s", "signals": signals}))
    }

    fn with(versions: &[Upstream; 2], guardrails: &Value) -> Self {
        let tool = module::rolloutctl();
        let envoys = [(); 2].map(|()| Envoy::builder().clusters(versions).concurrency(2).start());
        let document = json!({"revision": 1, "rollouts": [{
            "name": "fraud", "unit": [{"header": "x-user-id"}], "stable": "v1",
            "versions": [{"name": "v1", "cluster": "fraud-v1"}, {"name": "v2", "cluster": "fraud-v2"}],
            "strategy": {"canary": {"version": "v2", "percent": 50}},
            "guardrails": guardrails
        }]});
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("fraud.json"), document.to_string()).expect("written");
        for envoy in &envoys {
            assert_eq!(envoy.push(&document.to_string()), Outcome::Accepted);
            envoy.wait_revision(1);
        }
        Self { tool, envoys, folder }
    }

    fn load(&self, envoy: usize) -> Running {
        let load = Load::new(self.envoys[envoy].address()).connections(4).rate(200.0);
        let request = |number: u64| Request::get("/x").header("x-user-id", format!("user-{}", number % 500));
        load.start(request)
    }

    /// The output of the tool for both Envoys, and its exit code.
    fn tool(&self, verb: &[&str], rest: &[&str]) -> (Option<i32>, Value) {
        let mut command = Command::new(&self.tool);
        command.current_dir(self.folder.path()).args(verb).args(rest).args(["--format", "json"]);
        for envoy in &self.envoys {
            command.arg("--envoy").arg(envoy.admin_url());
        }
        let output = command.output().expect("rolloutctl runs");
        let answer = serde_json::from_slice(&output.stdout);
        (
            output.status.code(),
            answer.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr))),
        )
    }
}

#[test]
fn a_pipeline_continues_until_one_of_two_proxies_rolls_back() {
    let versions = ["fraud-v1", "fraud-v2"].map(Upstream::start);
    let site = Site::start(&versions);
    let gate = ["gate", "fraud.json", "--min-requests", "50"];
    let loads = [0, 1].map(|envoy| site.load(envoy));
    let (code, answer) = site.tool(&gate, &["--for", "3s"]);
    assert_eq!(code, Some(0), "{answer}");
    assert_eq!(answer["rollouts"][0]["versions"][0]["failures"], 0);

    let [first, second] = loads;
    first.stop();
    versions[1].set(Behaviour::status(503));
    let rolled_back = "wasmcustom.rollout=.=fraud;.;version=.=v2;.;rollout_rolled_back";
    site.envoys[1].wait_stat(rolled_back, 1);
    second.stop();
    let alone = site.envoys[1].admin_address().to_string();

    // Workers write their counts on their ticks, and Envoy merges its histograms every five seconds.
    let answer = site.envoys[1].wait_for("all that the proxies count", |_| {
        let (code, answer) = site.tool(&["status"], &[]);
        assert_eq!(code, Some(0), "{answer}");
        let version = &answer["rollouts"][0]["versions"][1];
        let is_counted = version["failures"].as_u64() >= Some(20) && version["latency_ms"]["p99"].is_number();
        let differences = answer["differences"].as_array().map_or(0, Vec::len);
        (is_counted && differences == 2).then_some(answer)
    });
    let version = &answer["rollouts"][0]["versions"][1];
    assert_eq!((&version["name"], &version["rolled_back_on"]), (&json!("v2"), &json!([alone])), "{answer}");
    assert!(answer["rollouts"][0]["versions"][0]["requests"].as_u64() > Some(100), "{answer}");
    let differs: Vec<_> =
        answer["differences"].as_array().expect("a list").iter().map(|of| &of["what"]).collect();
    assert_eq!(differs, ["exposure", "state"], "{answer}");

    let (code, answer) = site.tool(&gate, &["--for", "1h"]);
    assert_eq!(code, Some(2), "{answer}");
    assert_eq!(answer["reason"], format!("fraud v2 is rolled back on {alone}"));
    assert_eq!(answer["rollouts"][0]["versions"][0]["latched_on"], json!([alone]));
}

/// A version fails every request, but too few come for a verdict: that is not "no objections".
#[test]
fn a_pipeline_stops_if_no_signal_saw_enough_of_a_version_that_always_fails() {
    let versions = ["fraud-v1", "fraud-v2"].map(Upstream::start);
    versions[1].set(Behaviour::status(503));
    let site = Site::with(
        &versions,
        &json!({"min_requests": 200,
                "signals": [{"error_rate": {"max_percent": 20}}, {"error_rate": {"max_increase_percent": 2, "confidence": 0.99}}]}),
    );
    let load = || Load::new(site.envoys[0].address()).connections(2).rate(12.0);
    let request = |number: u64| Request::get("/x").header("x-user-id", format!("user-{number}"));
    let loads = [
        load().start(move |number| request(number * 2)),
        load().http2().start(move |number| request(number * 2 + 1)),
    ];
    let (code, answer) = site.tool(&["gate", "fraud.json", "--min-requests", "50"], &["--for", "10s"]);
    loads.into_iter().for_each(|load| drop(load.stop()));
    assert_eq!(code, Some(2), "{answer}");
    let version = &answer["rollouts"][0]["versions"][0];
    let [rate, increase] = [0, 1].map(|position: usize| &version["signals"][position]);
    assert!(version["failures"].as_u64() > Some(0), "{answer}");
    assert_eq!((&rate["state"], &rate["needs"]), (&json!("too few"), &json!(200)), "{answer}");
    assert!(["too few", "nothing seen"].map(Some).contains(&increase["state"].as_str()), "{answer}");
    let says = format!("signal error_rate of fraud v2 saw {}, needs 200", rate["window"]["observed"]);
    assert!(answer["reason"].as_str().is_some_and(|reason| reason.contains(&says)), "{answer}");
}

#[test]
fn a_push_that_raises_a_latched_version_says_that_the_latch_holds() {
    let tool = module::rolloutctl();
    let versions = ["fraud-v1", "fraud-v2"].map(Upstream::start);
    let envoy = Envoy::builder().clusters(&versions).concurrency(2).start();
    let document = |revision: u64, percent: u64, rearm: u64| {
        json!({"revision": revision, "rollouts": [{
            "name": "fraud", "unit": [{"header": "x-user-id"}], "stable": "v1", "salt": "fraud",
            "versions": [{"name": "v1", "cluster": "fraud-v1"}, {"name": "v2", "cluster": "fraud-v2"}],
            "strategy": {"canary": {"version": "v2", "percent": percent}},
            "guardrails": {"rearm": rearm, "signals": [{"consecutive_failures": 10}]}}]})
    };
    assert_eq!(envoy.push(&document(1, 25, 0).to_string()), Outcome::Accepted);
    envoy.wait_revision(1);
    versions[1].set(Behaviour::status(503));
    let load = Load::new(envoy.address()).connections(4).rate(200.0);
    let running =
        load.start(|number| Request::get("/x").header("x-user-id", format!("user-{}", number % 500)));
    envoy.wait_stat("wasmcustom.rollout=.=fraud;.;version=.=v2;.;rollout_rolled_back", 1);
    running.stop();

    let folder = tempfile::tempdir().expect("a temporary folder");
    let push = |document: &Value, format: &str| {
        let file = folder.path().join("fraud.json");
        std::fs::write(&file, document.to_string()).expect("written");
        let mut command = Command::new(&tool);
        command.args(["push", "--format", format, "--envoy", &envoy.admin_url()]).arg(&file);
        let output = command.arg("--to").arg(envoy.ecds_path()).output().expect("rolloutctl runs");
        (output.status.code(), String::from_utf8(output.stdout).expect("text"))
    };
    let (code, text) = push(&document(2, 50, 0), "text");
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("latched: fraud: raised v2 from 25.0000 % to 50.0000 %, but a guardrail"),
        "{text}"
    );
    let (code, text) = push(&document(3, 75, 0), "json");
    assert_eq!(code, Some(0), "{text}");
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(answer["latched"], json!([{"rollout": "fraud", "version": "v2"}]), "{answer}");
    for (same, document) in [
        ("lowered", document(4, 50, 0)),
        ("as it was", document(5, 50, 0)),
        ("re-armed", document(6, 100, 1)),
    ] {
        let (code, text) = push(&document, "json");
        assert_eq!((code, text.contains("latched")), (Some(0), false), "{same}: {text}");
    }
}

#[test]
fn copies_of_a_real_proxy_are_reported_with_how_long_it_has_counted() {
    const REQUESTS: u64 = 40;
    let tool = module::rolloutctl();
    let clusters = ["fraud-v1", "fraud-v2-copies"].map(Upstream::start);
    let envoy = Envoy::builder().clusters(&clusters).concurrency(2).start();
    let document = json!({"revision": 1, "rollouts": [{
        "name": "fraud", "unit": [{"header": "x-user-id"}], "stable": "v1",
        "versions": [{"name": "v1", "cluster": "fraud-v1"}, {"name": "v2", "cluster": "fraud-v2"}],
        "shadow": [{"version": "v2", "percent": 100, "cluster": "fraud-v2-copies"}]
    }]});
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("fraud.json"), document.to_string()).expect("written");
    assert_eq!(envoy.push(&document.to_string()), Outcome::Accepted);
    envoy.wait_revision(1);
    let report = Load::new(envoy.address())
        .connections(2)
        .requests(REQUESTS)
        .run(|number| Request::get("/x").header("x-user-id", format!("user-{number}")));
    assert_eq!((report.sent, report.failed()), (REQUESTS, 0));
    let answer = envoy.wait_for("all that the proxy counts", |envoy| {
        let mut command = Command::new(&tool);
        command.current_dir(folder.path()).args(["shadow", "fraud.json", "--format", "json", "--envoy"]);
        let output = command.arg(envoy.admin_url()).output().expect("rolloutctl runs");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let shadow = &answer["rollouts"][0]["shadows"][0];
        let is_counted = shadow["sent"] == REQUESTS && !shadow["latency_ms"]["stable"].is_null();
        (is_counted && answer["envoys"][0]["counted_seconds"].as_u64() > Some(0)).then_some(answer)
    });
    assert_eq!(answer["warnings"], json!([]), "{answer}");
    let shadow = &answer["rollouts"][0]["shadows"][0];
    let of = ["version", "cluster", "compares", "open", "latency_ms"].map(|field| &shadow[field]);
    let [version, cluster, compares, open, latency] = of;
    assert_eq!((version, cluster), (&json!("v2"), &json!("fraud-v2-copies")), "{answer}");
    assert_eq!((compares, open), (&json!(false), &json!(0)), "{answer}");
    assert_eq!(latency["stable"]["answers"], REQUESTS, "{answer}");
}
