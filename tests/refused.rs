//! The real Envoy too rejects every kind of invalid document, and the current plan keeps serving.

mod golden;

use serde_json::json;
use testbed::client::Request;
use testbed::envoy::{Envoy, Outcome};
use testbed::upstream::Upstream;

#[test]
fn envoy_rejects_every_invalid_document_and_keeps_serving_the_old_plan() {
    let upstreams = ["fraud-v1", "fraud-v2"].map(Upstream::start);
    let envoy = Envoy::builder().clusters(&upstreams).concurrency(2).start();
    let good = |revision: u64| {
        let document = json!({"revision": revision, "rollouts": [{
            "name": "fraud-score", "unit": [{"header": "x-user-id"}], "stable": "v1", "expose": "debug",
            "versions": [{"name": "v1", "cluster": "fraud-v1"}, {"name": "v2", "cluster": "fraud-v2"}],
            "strategy": {"blue_green": {"active": "v2"}}}]});
        assert_eq!(envoy.push(&document.to_string()), Outcome::Accepted);
        envoy.wait_revision(revision);
    };
    good(1);
    let documents = golden::refused();
    assert!(documents.len() >= 40);
    let client = envoy.client();
    for document in &documents {
        assert_eq!(envoy.push(&document.text), Outcome::Rejected, "{}", document.name);
        let response = client.send(Request::get("/").header("x-user-id", "alice")).expect("Envoy answers");
        let seen = (response.status, response.upstream(), response.header("x-rollout-revision"));
        assert_eq!(seen, (200, "fraud-v2".into(), Some("1".into())), "after {}", document.name);
    }
    assert_eq!(envoy.revision(), 1);
    good(2);
    assert_eq!(envoy.vm_reloads(), 0);
    let log = envoy.log();
    for word in [
        "rollouts[0].strategy.canary.percent: expected a percentage",
        "rollouts[0].stable: no version is named `v9`; ",
    ] {
        assert!(log.contains(word), "the log names the place and the problem: {word}");
    }
}

#[test]
fn a_struct_is_rejected_or_accepted_like_the_text_that_it_stands_for() {
    let upstreams = ["fraud-v1", "fraud-v2"].map(Upstream::start);
    let envoy = Envoy::builder().clusters(&upstreams).concurrency(1).json_ecds().start();
    accepts_every_golden_document(&envoy);
    let mut bad = json!({"revision": 1.5, "rollouts": []});
    assert_eq!(envoy.push_struct(&bad), Outcome::Rejected);
    bad = json!({});
    assert_eq!(envoy.push_struct(&bad), Outcome::Rejected);
    assert_eq!(envoy.vm_reloads(), 0);
}

#[test]
fn a_struct_from_a_yaml_file_whose_fractions_are_texts_is_the_same_document() {
    let upstreams = ["fraud-v1", "fraud-v2"].map(Upstream::start);
    let envoy = Envoy::builder().clusters(&upstreams).concurrency(1).start();
    accepts_every_golden_document(&envoy);
    let rollout = |percent: f64| {
        json!({"name": "fraud-score", "unit": [{"header": "x-user-id"}], "stable": "v1", "salt": "fraud-2026-11", "expose": "debug",
            "versions": [{"name": "v1", "cluster": "fraud-v1"}, {"name": "v2", "cluster": "fraud-v2"}],
            "strategy": {"canary": {"version": "v2", "percent": percent}}})
    };
    // The bucket of alice is 330,920.
    for (revision, percent, version) in [(1, 33.0920, "fraud-v1"), (2, 33.0921, "fraud-v2")] {
        assert_eq!(
            envoy.push_struct(&json!({"revision": revision, "rollouts": [rollout(percent)]})),
            Outcome::Accepted
        );
        envoy.wait_revision(revision);
        let response = envoy.client().get("/", &[("x-user-id", "alice")]).expect("an answer");
        assert_eq!(response.upstream(), version, "{percent} percent");
    }
    assert_eq!(
        envoy.push_struct(&json!({"revision": 3, "rollouts": [rollout(33.09205)]})),
        Outcome::Rejected
    );
    assert_eq!(envoy.vm_reloads(), 0);
}

/// Pushes each as a `Struct`, and compares its hash with that of the text.
fn accepts_every_golden_document(envoy: &Envoy) {
    for (revision, suite) in (1_000..).zip(golden::suites()) {
        let mut document = suite.document;
        if let Some(document) = document.as_object_mut() {
            document.insert("revision".to_owned(), revision.into());
        }
        assert_eq!(envoy.push_struct(&document), Outcome::Accepted, "{}", suite.file);
        envoy.wait_revision(revision);
        assert_eq!(envoy.config_hash(), u64::from(golden::plan(&document).hash()), "{}", suite.file);
    }
}
