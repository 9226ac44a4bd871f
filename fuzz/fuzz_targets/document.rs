//! Any bytes as a document: it compiles or is rejected with a problem, and never panics. A plan also decides at any time.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rollout_core::{Nonce, Plan, Time, compile, decide, decide_unit};

const LINES: [(&str, &[u8]); 8] = [
    (":authority", b"ml.example.com"),
    (":path", b"/v2/models/fraud/?a=b"),
    (":method", b"POST"),
    ("x-user-id", b"alice"),
    ("cookie", b"uid=bob; rs=v2.4102444800.00000000000000000000000000000000"),
    ("x-api-version", b"v1"),
    ("x-rollout-feature-set", b"f"),
    ("x-request-id", b"1"),
];

fuzz_target!(|bytes: &[u8]| match compile(bytes) {
    Err(refused) => assert!(refused.problems.iter().all(|problem| !problem.path.is_empty())),
    Ok(compiled) => decide_all(&compiled.plan),
});

fn decide_all(plan: &Plan) {
    let nonce = Nonce { connection: 1, clock: 2, counter: 3 };
    for now in [0, 1_795_599_000, u64::MAX].map(Time::from_seconds) {
        let request = plan.request(LINES, Some(b"127.0.0.1:1")).with_nonce(nonce);
        let _ = decide(plan, &request, now);
        for rollout in plan.rollouts() {
            let decision = decide_unit(plan, rollout, b"alice", now);
            assert!(rollout.versions().contains(&decision.version));
            let expected = rollout.versions().iter().map(|version| plan.expected(rollout, version, now).get());
            let sum: u32 = expected.sum();
            assert!(sum.abs_diff(1_000_000) <= 16, "shares add up to {sum} ppm");
        }
    }
    for (_, ramp) in plan.rollouts().iter().filter_map(|rollout| rollout.ramp()) {
        let turns = ramp.turns();
        assert!(turns.is_sorted() && turns.iter().map(|turn| ramp.exposure(*turn)).is_sorted());
    }
}
