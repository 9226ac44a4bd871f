//! What became of a request: the one place that says what counts as a failure of a version.

use std::time::Duration;

/// How a request ended, as far as its version is to blame or to praise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// The version failed, also where failover masked it.
    pub failed: bool,
    /// Time to the response headers, where the version itself answered.
    pub latency: Option<Duration>,
    /// Bits of the signals whose response header says that the answer is bad.
    pub headers: u16,
}

/// Response flags that are a failure of the version (Envoy 1.40, `StreamInfo::CoreResponseFlag`): UH, UT, LR, UR, UF, UC, UO, URX, UMSDR, UPE
/// and NC. Others are the client's doing or another filter's.
const FAILURE_FLAGS: u64 =
    0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x80 | 0x8000 | 0x8_0000 | 0x80_0000 | 0x100_0000;

/// Those of them that end an answer after its headers: UT, LR, UR, UC, UMSDR and UPE. The others may stand beside an answer that was
/// well received: UO and URX where it was not, or in vain, repeated.
const BREAK_FLAGS: u64 = 0x4 | 0x8 | 0x10 | 0x40 | 0x8_0000 | 0x80_0000;

/// The client went away.
const CLIENT_FLAGS: u64 = 0x4000 | 0x1000_0000;

/// True where response flags say that the version failed; a client that went away is no failure, whatever else is flagged.
#[must_use]
pub fn is_failure_flag(flags: u64) -> bool {
    flags & FAILURE_FLAGS != 0 && flags & CLIENT_FLAGS == 0
}

/// True where response flags say that the version broke off an answer whose headers were fine.
#[must_use]
pub fn is_break_flag(flags: u64) -> bool {
    flags & BREAK_FLAGS != 0 && is_failure_flag(flags)
}

/// True where Envoy has given up waiting for the version, without a flag that says so. It tells what it waits for: a client that does
/// not end its request gets 408, or UNKNOWN where a gRPC stream is idle.
#[must_use]
pub fn is_overdue(details: &[u8], status: u16, grpc_status: Option<&[u8]>) -> bool {
    let has_given_up = matches!(details, b"stream_idle_timeout" | b"max_duration_timeout");
    has_given_up && (status == 504 || matches!(grpc_status, Some(b"4" | b"14")))
}

/// True where a gRPC status is the server's failure: UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE or DATA_LOSS.
#[must_use]
pub fn is_failure_status(grpc_status: &[u8]) -> bool {
    matches!(grpc_status, b"2" | b"4" | b"13" | b"14" | b"15")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_of_the_upstream_is_a_failure_and_one_of_the_client_or_another_filter_is_not() {
        for flag in [0x2, 0x4, 0x8, 0x10, 0x20, 0x40, 0x80, 0x8000, 0x8_0000, 0x80_0000, 0x100_0000] {
            assert!(is_failure_flag(flag), "{flag:#x}");
        }
        // Nothing, NR, FI, RL, DC, DR, and an upstream reset that the client's own end caused.
        for flag in [0, 0x100, 0x400, 0x800, 0x4000, 0x1000_0000, 0x4000 | 0x10] {
            assert!(!is_failure_flag(flag), "{flag:#x}");
        }
    }

    #[test]
    fn what_ends_an_answer_after_its_headers_is_a_failure_and_what_stands_beside_it_is_not() {
        for flag in [0x4, 0x8, 0x10, 0x40, 0x8_0000, 0x80_0000] {
            assert!(is_break_flag(flag), "{flag:#x}");
        }
        for flag in [0, 0x2, 0x20, 0x80, 0x8000, 0x100_0000, 0x4000 | 0x40] {
            assert!(!is_break_flag(flag), "{flag:#x}");
        }
    }

    #[test]
    fn a_limit_on_idleness_or_duration_is_the_versions_failure_where_envoy_waited_for_it() {
        for details in ["stream_idle_timeout", "max_duration_timeout"].map(str::as_bytes) {
            assert!(is_overdue(details, 504, None));
            assert!(is_overdue(details, 200, Some(b"14")));
            assert!(!is_overdue(details, 408, None));
            assert!(!is_overdue(details, 200, Some(b"2")));
        }
        assert!(!is_overdue(b"lua_response", 504, None));
        assert!(!is_overdue(b"lua_response", 200, Some(b"14")));
    }

    #[test]
    fn five_grpc_statuses_are_the_servers_failure() {
        let failures: Vec<u8> =
            (0..17).filter(|status: &u8| is_failure_status(status.to_string().as_bytes())).collect();
        assert_eq!(failures, [2, 4, 13, 14, 15]);
        assert!(!is_failure_status(b""));
    }
}
