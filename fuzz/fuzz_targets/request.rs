//! Any bytes as the values of a request, against a plan that reads every kind of input: always a decision, never a panic, and
//! what is set on the request is legal in a header.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use rollout_core::compile::compile;
use rollout_core::decide::decide;
use rollout_core::request::Request;
use rollout_core::time::Time;

const DOCUMENT: &[u8] = br#"{"revision": 1, "trust_hop": true, "rollouts": [
  {"name": "one", "stable": "v1", "match": [
     {"hosts": ["a.b", "*.b"], "path": {"prefix": "/a/"}, "methods": ["GET"]}, {"path": {"suffix": ":x"}},
     {"query": [{"name": "k", "contains": "v"}], "headers": [{"name": "x-t", "in": ["a", "b,c"]}]}],
   "unit": [{"cookie": "uid"}, {"query": "user"}, {"header": "x-user-id"}, {"source_ip": true}],
   "versions": [{"name": "v1", "cluster": "c1"}, {"name": "v2", "cluster": "c2"}, {"name": "v3", "cluster": "c3"}],
   "strategy": {"ab_test": {"arms": [{"version": "v1", "weight": 1}, {"version": "v2", "weight": 2}], "percent": 50}},
   "overrides": [{"units": ["alice"], "version": "v2"}, {"header": {"name": "x-v", "secret_header": "x-k", "secret": "s"}}],
   "failover": {"to": ["v1"]}, "shadow": [{"version": "v3", "percent": 50, "methods": ["GET", "POST"]}], "expose": "debug"},
  {"name": "two", "stable": "v1", "unit": [{"query": "user"}], "versions": [{"name": "v1", "cluster": "c1"}]}]}"#;

const NAMES: [&str; 12] = [
    ":authority", ":path", ":method", "cookie", "cookie", "x-user-id", "x-t", "x-v", "x-k", "x-rollout-assignment",
    "x-rollout-shadow", "x-rollout-cluster",
];

thread_local! {
    static PLAN: OnceLock<rollout_core::plan::Plan> = const { OnceLock::new() };
}

fuzz_target!(|bytes: &[u8]| PLAN.with(|plan| {
    let plan = plan.get_or_init(|| compile(DOCUMENT).expect("the document is valid").plan);
    let mut values = bytes.split(|byte| *byte == b'\n');
    let source = values.next();
    let lines = NAMES.into_iter().zip(values);
    let request = Request::new(plan, lines, source);
    let Some(decision) = decide(plan, &request) else { return };
    for (name, value) in decision.request_headers(&request).filter(|(name, _)| *name != "x-rollout-assignment") {
        assert!(value.iter().all(u8::is_ascii_graphic), "{name} carries {value:?}");
    }
    assert_eq!(decision.response_headers(plan).count() == 4, decision.rollout.name() == "one");
}));
