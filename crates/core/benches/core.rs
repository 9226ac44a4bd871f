//! What the core costs: a decision with one rollout and with a thousand, and the compilation of both.
//!
//! Aims: `decide` below 300 ns with one rollout, 450 ns with 1,000 and 900 ns if one rollout uses every rule; `compile`
//! of 1,000 below 20 ms.

#![expect(clippy::expect_used, reason = "a benchmark may stop with the reason")]

use std::fmt::Write;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use rollout_core::{Edit, Plan, Time, compile, decide, request_edits};

const NOW: Time = Time::from_seconds(1_795_599_000);

/// What a client behind an edge sends, for the rollout in the middle of the thousand.
const LINES: [(&str, &[u8]); 15] = [
    (":authority", b"ml.example.com"),
    (":path", b"/v2/models/model-500/infer?trace=1"),
    (":method", b"POST"),
    (":scheme", b"https"),
    ("user-agent", b"python-requests/2.32.3"),
    ("accept", b"application/json"),
    ("accept-encoding", b"gzip, deflate, br"),
    ("content-type", b"application/json"),
    ("content-length", b"312"),
    ("x-forwarded-proto", b"https"),
    ("x-request-id", b"3f9c1c0e-5d0b-4f0e-9a55-6a1f3e0a7c42"),
    ("authorization", b"Bearer eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ1c2VyLTEyMyJ9.c2lnbmF0dXJl"),
    ("x-user-id", b"user-123"),
    ("cookie", b"session=8d1f6a0c2b; theme=dark"),
    ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
];

/// A document of canaries at 10 %, each with a path prefix of its own.
fn document(models: impl IntoIterator<Item = u32>) -> Vec<u8> {
    let mut rollouts = String::new();
    for model in models {
        let separator = if rollouts.is_empty() { "" } else { "," };
        write!(
            rollouts,
            r#"{separator}{{"name": "model-{model}", "match": [{{"path": {{"prefix": "/v2/models/model-{model}/"}}}}],
                "unit": [{{"header": "x-user-id"}}], "stable": "v1",
                "versions": [{{"name": "v1", "cluster": "model-{model}-v1"}}, {{"name": "v2", "cluster": "model-{model}-v2"}}],
                "strategy": {{"canary": {{"version": "v2", "percent": 10}}}}}}"#
        )
        .expect("a string takes what is written to it");
    }
    format!(r#"{{"revision": 1, "rollouts": [{rollouts}]}}"#).into_bytes()
}

/// The rollout in the middle of the thousand with every rule at once, and the one that it depends on.
const EVERYTHING: &[u8] = br#"{"revision": 1, "trust_hop": true, "holdouts": [{"name": "global", "percent": 1}], "rollouts": [
  {"name": "model-500", "match": [{"path": {"prefix": "/v2/models/model-500/"}}],
   "unit": [{"header": "x-account"}, {"issued_cookie": {"name": "rid", "max_age": "30d", "secret": "a secret of sixteen bytes or more"}}],
   "salt": "s", "stable": "v1", "api": {"path_segment": 1}, "layer": {"name": "checkout", "from": 0, "to": 100},
   "sessions": {"cookie": "rs", "max_age": "1h", "secret": "a secret of sixteen bytes or more"},
   "versions": [
     {"name": "v1", "cluster": "model-500-v1", "accepts": {"api": ["v1", "v2"]}, "features": "fs-7"},
     {"name": "v2", "cluster": "model-500-v2", "accepts": {"api": ["v2"]}, "features": "fs-7",
      "requires": [{"rollout": "embedder", "version": "e2"}]},
     {"name": "v3", "cluster": "model-500-v3", "accepts": {"api": ["v2"]}, "features": "fs-7"}],
   "strategy": {"progressive": {"version": "v2", "start": "2026-11-25T00:00:00Z", "linear": {"from": 0, "to": 100, "over": "10h"},
     "pauses": [{"from": "2026-11-25T01:00:00Z", "until": "2026-11-25T01:30:00Z"}]}},
   "freeze": {"from": "2026-11-25T09:00:00Z", "until": "2026-11-26T00:00:00Z", "reason": "audit"},
   "overrides": [{"units": ["tester-1", "tester-2"], "version": "v2"}],
   "failover": {"to": ["v1"]}, "shadow": [{"version": "v3", "percent": 50}], "idempotent": true, "expose": "debug"},
  {"name": "embedder", "match": [{"path": {"prefix": "/embed/"}}], "unit": [{"header": "x-account"}, {"header": "x-user-id"}], "stable": "e1",
   "versions": [{"name": "e1", "cluster": "e1"}, {"name": "e2", "cluster": "e2"}], "strategy": {"canary": {"version": "e2", "percent": 100}}}]}"#;

fn plan(document: &[u8]) -> Plan {
    compile(document).expect("the document has no problems").plan
}

fn core(criterion: &mut Criterion) {
    for (size, document) in [("1 rollout", document([500])), ("1,000 rollouts", document(0..1_000))] {
        let plan = plan(&document);
        let request = plan.request(LINES, None);
        assert!(decide(&plan, &request, NOW).is_some_and(|decision| decision.bucket.is_some()));

        criterion.bench_function(&format!("decide/{size}"), |bencher| {
            bencher.iter(|| decide(black_box(&plan), black_box(&request), NOW));
        });
        criterion.bench_function(&format!("pick/{size}"), |bencher| {
            bencher.iter(|| black_box(&plan).request(black_box(LINES), None));
        });
        criterion.bench_function(&format!("pick, decide and edit/{size}"), |bencher| {
            bencher.iter(|| {
                let request = black_box(&plan).request(black_box(LINES), None);
                let decision = decide(black_box(&plan), &request, NOW)?;
                let length: usize = request_edits(Some(&decision), &request).map(|edit| length(&edit)).sum();
                Some((decision, length))
            });
        });
        criterion.bench_function(&format!("compile/{size}"), |bencher| {
            bencher.iter(|| compile(black_box(&document)));
        });
    }
}

/// Bytes of a header that is set.
fn length(edit: &Edit<'_>) -> usize {
    edit.header().map_or(0, |(_, value)| value.len())
}

/// The same request from a client with an id and a session, as in all but its first, by way of a trusted hop.
fn everything(criterion: &mut Criterion) {
    let plan = plan(EVERYTHING);
    let first = plan.request(
        LINES.into_iter().chain([("cookie", b"rid=0123456789abcdef0123456789abcdef".as_slice())]),
        None,
    );
    let first = decide(&plan, &first, NOW).expect("the rollout matches");
    let session = first.cookies.first().expect("a session begins").split(';').next().unwrap_or_default();
    let cookie = format!("rid=0123456789abcdef0123456789abcdef; {session}");
    let lines = || {
        LINES
            .into_iter()
            .chain([("cookie", cookie.as_bytes()), ("x-rollout-feature-set", b"fs-7".as_slice())])
    };
    let request = plan.request(lines(), None);
    let decision = decide(&plan, &request, NOW).expect("the rollout matches");
    assert_eq!(
        (decision.reason.name(), decision.version.name(), decision.fails_over()),
        ("session", "v2", true)
    );

    criterion.bench_function("decide/everything", |bencher| {
        bencher.iter(|| decide(black_box(&plan), black_box(&request), NOW));
    });
    criterion.bench_function("pick, decide and edit/everything", |bencher| {
        bencher.iter(|| {
            let request = black_box(&plan).request(lines(), None);
            let decision = decide(black_box(&plan), &request, NOW)?;
            let length: usize = request_edits(Some(&decision), &request).map(|edit| length(&edit)).sum();
            Some((decision, length))
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = core, everything
}
criterion_main!(benches);
