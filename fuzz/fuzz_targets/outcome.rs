//! Any request headers, statuses, details and flags: who ended a call is always known, and never contradicts what is certain.
//!
//! The input has lines: the request headers as `name: value`, then a line with the response. Nothing in it has to be valid.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use rollout_core::guardrail::{
    Bases, Basis, Call, Ending, Response, classify, classify_without_response, is_break_flag, needs_flags,
};

/// Flags of a client that went away.
const LEFT: u64 = 0x4000 | 0x1000_0000;

const NAMES: [&str; 4] =
    ["content-type", "grpc-timeout", "x-envoy-upstream-rq-timeout-ms", "x-envoy-upstream-rq-per-try-timeout-ms"];

const DETAILS: [&[u8]; 8] = [
    b"via_upstream",
    b"response_timeout",
    b"upstream_per_try_timeout",
    b"max_duration_timeout",
    b"stream_idle_timeout",
    b"request_overall_timeout",
    b"ext_authz_denied",
    b"",
];

fuzz_target!(|bytes: &[u8]| {
    let Some((head, rest)) = bytes.split_first_chunk::<24>() else { return };
    let number = |at: usize| u64::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3], 0, 0, 0, 0]);
    let mut parts = rest.split(|byte| *byte == b'\n');
    let headers: Vec<(&str, &[u8])> =
        NAMES.iter().zip(parts.by_ref()).filter(|(_, value)| !value.is_empty()).map(|(name, value)| (*name, value)).collect();
    let timeout = Some(Duration::from_millis(number(0) % 5_000)).filter(|_| head[4] & 1 == 1);
    let call = Call::judged(headers, timeout);
    let own = parts.next().unwrap_or_default();
    let details = DETAILS.get(usize::from(head[5] % 9)).copied().unwrap_or(own);
    let grpc_status = parts.next().filter(|_| call.is_grpc);
    let (flags, took) = (number(8), Duration::from_micros(number(12)));
    let status = u16::from_le_bytes([head[16], head[17]]) % 700;
    let response = Response { status, grpc_status, details, flags, took };
    let ending = classify(call, &response);

    if !call.needs_details(status, grpc_status) {
        assert_eq!(ending, Ending::Answered);
    }
    if ending.is_of_version() && call.needs_details(status, grpc_status) {
        assert!(!needs_flags(details), "only the version answers via upstream");
    }
    if flags & LEFT != 0 {
        assert_ne!(ending, Ending::Unanswered, "a client that left has seen no failure");
        assert!(!is_break_flag(flags));
        assert_eq!(classify_without_response(flags), Ending::Abandoned);
    }
    if call.deadline.is_none() && call.attempt_deadline.is_none() && details == b"response_timeout" {
        assert_eq!(ending == Ending::Abandoned, flags & LEFT != 0 && call.needs_details(status, grpc_status));
    }
    if let Some(outcome) = ending.outcome(status, took, 0) {
        let bases = Bases::of(outcome);
        assert!(bases.has(Basis::All));
        assert_ne!(bases.has(Basis::Requests), outcome.is_abandoned());
        assert!(!(outcome.failed() && outcome.is_abandoned()));
        assert!(!outcome.may_fail_late(true) || ending == Ending::Answered);
    }
});
