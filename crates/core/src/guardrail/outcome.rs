//! Defines what counts as a failure of a version. No other file decides that.
//!
//! The filter asks Envoy only for what is needed: [`Call`] says what to ask for, and [`classify`] says what the answers mean. The
//! table for users is "What counts" in `docs/guardrails.md`, and a test compares the two.

use std::time::Duration;

/// How a request ended, as far as it says something about its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// True if the version failed, even if failover hid that from the client.
    pub failed: bool,
    /// Time to the response headers, if the version itself answered.
    pub latency: Option<Duration>,
    /// Bits of the signals whose response header marks the answer as bad.
    pub headers: u16,
}

impl Outcome {
    /// The version failed, and another one answered.
    pub const FAILED_OVER: Self = Self { failed: true, latency: None, headers: 0 };

    /// True if an answer with good headers may still fail: it has a body or trailers, and is not an upgrade. An upgrade ends when
    /// either side closes its connection.
    #[must_use]
    pub fn may_fail_late(&self, has_more: bool) -> bool {
        has_more && !self.failed && self.latency.is_some()
    }
}

/// What is known about a request before its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Call {
    /// True if guardrails count its outcome.
    pub is_judged: bool,
    /// True if headers or trailers of the answer carry a gRPC status.
    pub is_grpc: bool,
}

/// What Envoy says about an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Response<'r> {
    /// The HTTP status; 0 if there is none.
    pub status: u16,
    /// `grpc-status` of the response headers, if [`Call::needs_grpc_status`].
    pub grpc_status: Option<&'r [u8]>,
    /// `response.code_details`, if [`Call::needs_details`].
    pub details: &'r [u8],
    /// `response.flags`, if [`needs_flags`].
    pub flags: u64,
}

/// Who answered, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The version, with nothing that counts as a failure.
    Answered,
    /// The version, with a failure.
    Failed,
    /// Envoy, because the version did not.
    Unanswered,
    /// Another filter.
    Foreign,
}

impl Call {
    /// A request whose outcome guardrails count, with this `content-type`.
    #[must_use]
    pub fn judged(content_type: Option<&[u8]>) -> Self {
        let is_grpc = content_type.is_some_and(|kind| kind.starts_with(b"application/grpc"));
        Self { is_judged: true, is_grpc }
    }

    /// True if another filter may have given this status. A request that is not judged is only counted as failed or not.
    fn may_be_foreign(self, status: u16) -> bool {
        status >= if self.is_judged { 400 } else { 500 }
    }

    /// True if the gRPC status may contradict the HTTP status.
    #[must_use]
    pub fn needs_grpc_status(self, status: u16) -> bool {
        self.is_grpc && !self.may_be_foreign(status)
    }

    /// True if the two statuses alone do not show who answered, so that the details are needed.
    #[must_use]
    pub fn needs_details(self, status: u16, grpc_status: Option<&[u8]>) -> bool {
        self.may_be_foreign(status) || grpc_status.is_some_and(|status| status != b"0")
    }
}

/// The details of an answer that came from the version.
const VIA_UPSTREAM: &[u8] = b"via_upstream";

/// True if the details alone do not show who answered, so that the flags are needed.
#[must_use]
pub fn needs_flags(details: &[u8]) -> bool {
    details != VIA_UPSTREAM
}

/// Who answered a call, and how.
#[must_use]
pub fn classify(call: Call, response: &Response<'_>) -> Ending {
    let Response { status, grpc_status, details, flags } = *response;
    if !call.needs_details(status, grpc_status) {
        return Ending::Answered;
    }
    if details == VIA_UPSTREAM {
        let failed = status >= 500 || grpc_status.is_some_and(is_failure_status);
        return if failed { Ending::Failed } else { Ending::Answered };
    }
    let is_missing = is_failure_flag(flags) || is_overdue(details, status, grpc_status);
    if is_missing { Ending::Unanswered } else { Ending::Foreign }
}

impl Ending {
    /// True if the answer is the version's own, so that its headers say something about the version.
    #[must_use]
    pub fn is_of_version(self) -> bool {
        matches!(self, Self::Answered | Self::Failed)
    }

    /// The outcome for the version. `took` is the time to the response headers, and `headers` are the bits of the signals
    /// that found them bad. `None` if the answer says nothing about the version.
    #[must_use]
    pub fn outcome(self, status: u16, took: Duration, headers: u16) -> Option<Outcome> {
        // An upgrade has no answer that could be early or late.
        let latency = Some(took).filter(|_| status != 101);
        match self {
            Self::Answered => Some(Outcome { failed: false, latency, headers }),
            Self::Failed => Some(Outcome { failed: true, latency, headers }),
            Self::Unanswered => Some(Outcome { failed: true, ..Outcome::default() }),
            Self::Foreign => None,
        }
    }
}

/// True if a request was repeated, by the number of attempts. A route of the user's own may send a request to a failover target
/// directly; that is not a failover.
#[must_use]
pub fn is_repeated(attempts: u64) -> bool {
    attempts > 1
}

/// Response flags that are a failure of the version (Envoy 1.40, `StreamInfo::CoreResponseFlag`): UH, UT, LR, UR, UF, UC,
/// UO, URX, UMSDR, UPE and NC. Others are the client's doing or another filter's.
const FAILURE_FLAGS: u64 =
    0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x80 | 0x8000 | 0x8_0000 | 0x80_0000 | 0x100_0000;

/// The failure flags that end an answer after its headers: UT, LR, UR, UC, UMSDR and UPE. An answer that was received
/// completely may have the others: UO and URX if it was not repeated, or repeated without success.
const BREAK_FLAGS: u64 = 0x4 | 0x8 | 0x10 | 0x40 | 0x8_0000 | 0x80_0000;

/// Response flags of a client that went away.
const CLIENT_FLAGS: u64 = 0x4000 | 0x1000_0000;

/// True if response flags say that the version failed. If the client went away, the version did not fail, whatever
/// else is flagged.
fn is_failure_flag(flags: u64) -> bool {
    flags & FAILURE_FLAGS != 0 && flags & CLIENT_FLAGS == 0
}

/// True if response flags say that the version broke off an answer after good headers.
#[must_use]
pub fn is_break_flag(flags: u64) -> bool {
    flags & BREAK_FLAGS != 0 && is_failure_flag(flags)
}

/// True if Envoy stopped waiting for the version without setting a flag. The status shows what it waited for: a client that
/// does not end its request gets 408, or UNKNOWN if a gRPC stream is idle.
fn is_overdue(details: &[u8], status: u16, grpc_status: Option<&[u8]>) -> bool {
    let has_given_up = matches!(details, b"stream_idle_timeout" | b"max_duration_timeout");
    has_given_up && (status == 504 || matches!(grpc_status, Some(b"4" | b"14")))
}

/// True if a gRPC status is the server's failure: UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE or DATA_LOSS.
#[must_use]
pub fn is_failure_status(grpc_status: &[u8]) -> bool {
    matches!(grpc_status, b"2" | b"4" | b"13" | b"14" | b"15")
}
