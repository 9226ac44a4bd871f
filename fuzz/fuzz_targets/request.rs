//! Any bytes as the values of a request, at any time, against a plan that reads every kind of input, whatever guardrails have
//! decided. There is always a decision and never a panic. Header values are legal, a client that sends its session back stays on its
//! version, and only an override leads to a version that is rolled back.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use rollout_core::{Decision, Health, Nonce, Now, Plan, Ppm, Reason, State, Time, compile, decide, request_edits};

const DOCUMENT: &[u8] = br#"{"revision": 1, "trust_hop": true, "holdouts": [{"name": "h", "percent": 5}], "rollouts": [
  {"name": "one", "stable": "v1", "match": [
     {"hosts": ["a.b", "*.b"], "path": {"prefix": "/a/"}, "methods": ["GET"]}, {"path": {"suffix": ":x"}},
     {"query": [{"name": "k", "contains": "v"}], "headers": [{"name": "x-t", "in": ["a", "b,c"]}]}],
   "unit": [{"cookie": "uid"}, {"query": "user"}, {"header": "x-user-id"}, {"source_ip": true}],
   "versions": [{"name": "v1", "cluster": "c1"}, {"name": "v2", "cluster": "c2"}, {"name": "v3", "cluster": "c3"}],
   "strategy": {"ab_test": {"arms": [{"version": "v1", "weight": 1}, {"version": "v2", "weight": 2}], "percent": 50}},
   "overrides": [{"units": ["alice"], "version": "v2"}, {"header": {"name": "x-v", "secret_header": "x-k", "secret": "s"}}],
   "failover": {"to": ["v1"]}, "shadow": [{"version": "v3", "percent": 50, "methods": ["GET", "POST"], "cluster": "c3-copies", "max_body_bytes": 9}], "expose": "debug",
   "guardrails": {"signals": [{"error_rate": {"max_increase_percent": 1, "confidence": 0.99}}]}},
  {"name": "two", "stable": "v1", "match": [{"path": {"prefix": "/v2/models/"}}], "api": {"path_segment": 1},
   "unit": [{"query": "user"}, {"issued_cookie": {"name": "rid", "max_age": "1h", "secret": "sixteen bytes and more"}}],
   "versions": [{"name": "v1", "cluster": "c1", "accepts": {"api": ["v1"]}},
     {"name": "v2", "cluster": "c2", "accepts": {"api": ["v2"]}, "features": "f", "requires": [{"rollout": "three", "version": "v2"}],
      "request": {"set_headers": {"x-model": "2"}, "replace_path_prefix": {"from": "/v2/models/", "to": "/v2/"}, "host": "triton"}}],
   "layer": {"name": "l", "from": 10, "to": 90}, "sessions": {"cookie": "rs", "max_age": "1h", "secret": "sixteen bytes and more"},
   "strategy": {"progressive": {"version": "v2", "start": "1970-01-01T01:00:00Z", "linear": {"from": 1, "to": 99, "over": "9d"},
     "pauses": [{"from": "1970-01-02T00:00:00Z", "until": "1970-01-03T00:00:00Z"}]}}},
  {"name": "three", "stable": "v1", "unit": [{"header": "x-user-id"}], "api": {"header": "x-api"},
   "versions": [{"name": "v1", "cluster": "c1"}, {"name": "v2", "cluster": "c2", "accepts": {"api": ["1"]}}],
   "sessions": {"cookie": "rs3", "max_age": "7d", "secret": ["sixteen bytes and more", "another of sixteen"], "drain_until": "1970-02-01T00:00:00Z"},
   "bucketing": {"scheme": "growthbook-v2", "seed": "s"}, "failover": {"to": ["v1"]},
   "strategy": {"ab_test": {"arms": [{"version": "v1", "weight": 1}, {"version": "v2", "weight": 3}], "percent": 90}}}]}"#;

const NAMES: [&str; 17] = [
    ":authority", ":path", ":method", "cookie", "cookie", "x-user-id", "x-t", "x-v", "x-k", "x-api", "x-request-id",
    "x-rollout-feature-set", "x-rollout-assignment", "x-rollout-shadow", "x-rollout-cluster", "upgrade",
    "content-length",
];

/// The first second that RFC 3339 can't write.
const END_OF_9999: u64 = 253_402_300_800;

thread_local! {
    static PLAN: OnceLock<Plan> = const { OnceLock::new() };
}

/// What guardrails may have decided: any version except stable in any state, mostly healthy.
fn health(plan: &Plan, clock: u64) -> Health {
    let mut health = Health::default();
    for rollout in plan.rollouts() {
        for version in rollout.versions().iter().filter(|version| version.ordinal() != rollout.stable().ordinal()) {
            match clock.rotate_right(u32::try_from(version.ordinal()).unwrap_or(0)) % 8 {
                0 => health.set(version, State::RolledBack),
                1 => health.set(version, State::Frozen(Ppm::new(100_000).unwrap_or(Ppm::ZERO))),
                _ => {}
            }
        }
    }
    health
}

/// The request with these cookies before its own.
fn answer(plan: &Plan, bytes: &[u8], cookies: &[String]) -> Option<Decision> {
    let mut values = bytes.split(|byte| *byte == b'\n');
    let clock = values.next().unwrap_or_default().iter().fold(0_u64, |clock, byte| clock << 8 | u64::from(*byte));
    let clock = clock % END_OF_9999; // at the end of time itself no session has any time left
    let source = values.next();
    let brought = cookies.iter().filter_map(|line| Some(("cookie", line.split(';').next()?.as_bytes())));
    let lines = brought.chain(NAMES.into_iter().zip(values));
    let request = plan.request(lines, source).with_nonce(Nonce { connection: 1, clock, counter: 2 });
    let health = health(plan, clock);
    let decision = decide(plan, &request, Now { time: Time::from_seconds(clock), health: &health })?;
    let is_rolled_back = health.of(&decision.version) == State::RolledBack;
    assert!(!is_rolled_back || decision.reason == Reason::Forced, "{}", decision.reason.name());
    for edit in request_edits(Some(&decision), &request) {
        let Some((name, value)) = edit.header() else { continue };
        let is_client_text = name == "x-rollout-assignment" || name == ":path";
        assert!(is_client_text || value.iter().all(u8::is_ascii_graphic), "{name} carries {value:?}");
    }
    Some(decision)
}

fuzz_target!(|bytes: &[u8]| PLAN.with(|plan| {
    let plan = plan.get_or_init(|| compile(DOCUMENT).expect("the document is valid").plan);
    let Some(first) = answer(plan, bytes, &[]) else { return };
    let cookies = first.cookies.len();
    assert_eq!(first.response_edits(plan, None).count() == cookies + 4, first.rollout.name() == "one");
    assert!(first.cookies.iter().all(|line| line.bytes().all(|byte| (b' '..=b'~').contains(&byte))));
    let second = answer(plan, bytes, &first.cookies).expect("cookies change no match");
    assert_eq!(first.version, second.version);
    let began = first.cookies.iter().any(|line| line.starts_with("rs"));
    let moved = matches!(second.reason, Reason::Dependency | Reason::Incompatible);
    assert!(!began || moved || second.reason == Reason::Session, "{} after {}", second.reason.name(), first.reason.name());
}));
