//! Any bytes as a document: compiled or refused with a problem, never a panic; what compiles decides too.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rollout_core::compile::compile;
use rollout_core::decide::{decide, decide_unit};
use rollout_core::request::Request;
use rollout_core::time::Time;

fuzz_target!(|bytes: &[u8]| match compile(bytes) {
    Err(refused) => assert!(refused.problems.iter().all(|problem| !problem.path.is_empty())),
    Ok(compiled) => {
        let plan = compiled.plan;
        let lines: [(&str, &[u8]); 4] =
            [(":authority", b"ml.example.com"), (":path", b"/v2/models/fraud/?a=b"), (":method", b"POST"), ("x-user-id", b"alice")];
        let _ = decide(&plan, &Request::new(&plan, lines, Some(b"127.0.0.1:1")), Time::from_seconds(1_795_599_000));
        for rollout in plan.rollouts() {
            let decision = decide_unit(&plan, rollout, b"alice", Time::from_seconds(1_795_599_000));
            assert!(rollout.versions().contains(&decision.version));
        }
    }
});
