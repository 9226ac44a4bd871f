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
    let load = Load::new(site.envoys[0].address()).connections(4).rate(24.0);
    let load = load.start(|number| Request::get("/x").header("x-user-id", format!("user-{number}")));
    let (code, answer) = site.tool(&["gate", "fraud.json", "--min-requests", "50"], &["--for", "10s"]);
    load.stop();
    assert_eq!(code, Some(2), "{answer}");
    let version = &answer["rollouts"][0]["versions"][0];
    let [rate, increase] = [0, 1].map(|position: usize| &version["signals"][position]);
    assert_eq!(version["failures"], version["outcomes"], "all of them failed: {answer}");
    for signal in [rate, increase] {
        assert_eq!((&signal["state"], &signal["needs"]), (&json!("too few"), &json!(200)), "{answer}");
    }
    let says = format!("signal error_rate of fraud v2 saw {}, needs 200", rate["window"]["observed"]);
    assert!(answer["reason"].as_str().is_some_and(|reason| reason.contains(&says)), "{answer}");
}
