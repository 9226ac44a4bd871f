//! Defines what counts as a failure of a version, and what as abandoned. No other file decides that.
//!
//! The filter asks Envoy only for what is needed: [`Call`] says what to ask for, and [`classify`] says what the answers mean. The
//! table for users is "What counts" in `docs/guardrails.md`, and a test compares the two.

use std::time::Duration;

/// How a request ended, as far as it says something about its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// What happened.
    pub end: End,
    /// How long the client waited: for the response headers of the version, or until it left. `None` if there is nothing to wait
    /// for, or if the version did not answer.
    pub waited: Option<Duration>,
    /// Bits of the signals that find the answer bad by its status or its headers.
    pub marks: u16,
}

/// The end of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The version answered.
    Answered,
    /// The version answered, with a failure.
    Failed,
    /// The version failed to answer, even if failover hid that from the client.
    Unanswered,
    /// The client did not wait for the answer. That is neither a failure nor a success.
    Abandoned,
}

impl Outcome {
    /// The version failed, and another one answered.
    pub const FAILED_OVER: Self = Self { end: End::Unanswered, waited: None, marks: 0 };

    /// True if the version failed.
    #[must_use]
    pub fn failed(self) -> bool {
        matches!(self.end, End::Failed | End::Unanswered)
    }

    /// True if the version answered, with or without a failure.
    #[must_use]
    pub fn is_answer(self) -> bool {
        matches!(self.end, End::Answered | End::Failed)
    }

    /// True if the client did not wait for the answer.
    #[must_use]
    pub fn is_abandoned(self) -> bool {
        self.end == End::Abandoned
    }

    /// True if an answer with good headers may still fail: it has a body or trailers, and is not an upgrade. An upgrade ends when
    /// either side closes its connection.
    #[must_use]
    pub fn may_fail_late(&self, has_more: bool) -> bool {
        has_more && self.end == End::Answered && self.waited.is_some()
    }
}

/// What is known about a request before its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Call {
    /// True if guardrails count its outcome.
    pub is_judged: bool,
    /// True if headers or trailers of the answer carry a gRPC status.
    pub is_grpc: bool,
    /// How long the client waits for the whole call.
    pub deadline: Option<Duration>,
    /// How long the client wants an attempt to take. It counts only if the version has no timeout, which replaces it.
    pub attempt_deadline: Option<Duration>,
    /// How long the version may take for an attempt.
    pub timeout: Option<Duration>,
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
    /// Time since the request started.
    pub took: Duration,
}

/// Who ended a call, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The version, with nothing that counts as a failure.
    Answered,
    /// The version, with a failure.
    Failed,
    /// Envoy, because the version did not.
    Unanswered,
    /// The client, by leaving or by its own deadline.
    Abandoned,
    /// Another filter.
    Foreign,
}

impl Call {
    /// A request whose outcome guardrails count. It reads the request headers as the client sent them: `content-type`, and the
    /// client's own deadlines.
    #[must_use]
    pub fn judged<'r>(
        headers: impl IntoIterator<Item = (&'r str, &'r [u8])>,
        timeout: Option<Duration>,
    ) -> Self {
        let mut call = Self { is_judged: true, timeout, ..Self::default() };
        for (name, value) in headers {
            match name {
                "content-type" => call.is_grpc = value.starts_with(b"application/grpc"),
                "grpc-timeout" => call.shorten(grpc_timeout(value)),
                "x-envoy-upstream-rq-timeout-ms" => call.shorten(milliseconds(value)),
                "x-envoy-upstream-rq-per-try-timeout-ms" => call.attempt_deadline = milliseconds(value),
                _ => {}
            }
        }
        call
    }

    /// Of several deadlines, the first to pass counts.
    fn shorten(&mut self, deadline: Option<Duration>) {
        self.deadline = match (self.deadline, deadline) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
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

    /// True if the call ran out of time because the client gave it less than the version may take.
    fn is_overrun(self, response: &Response<'_>) -> bool {
        let Response { status, grpc_status, details, took, .. } = *response;
        let is_timeout = status == 504 || grpc_status == Some(b"4");
        let has_passed = |deadline: Duration| took.saturating_add(SLACK) >= deadline;
        let may_take_longer = self.timeout.is_none_or(|timeout| took < timeout);
        match details {
            b"upstream_per_try_timeout" => {
                is_timeout && self.timeout.is_none() && self.attempt_deadline.is_some_and(has_passed)
            }
            b"response_timeout" | b"max_duration_timeout" => {
                is_timeout && self.deadline.is_some_and(has_passed)
            }
            // The version may be a proxy or a server that honors the deadline itself.
            VIA_UPSTREAM => is_timeout && may_take_longer && self.deadline.is_some_and(has_passed),
            _ => false,
        }
    }
}

/// How much earlier than its deadline a call may end: a timer of a busy worker starts late and ends on time.
const SLACK: Duration = Duration::from_millis(25);

/// The value of `grpc-timeout`: up to eight digits and a unit (gRPC over HTTP/2, "Requests"). `None` if it has another form.
fn grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    let number = number(digits).filter(|_| digits.len() <= 8)?;
    Some(match unit {
        b'H' => Duration::from_secs(number.saturating_mul(3_600)),
        b'M' => Duration::from_secs(number.saturating_mul(60)),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// A number of milliseconds. `None` if it is none, or zero, which means no limit.
fn milliseconds(value: &[u8]) -> Option<Duration> {
    number(value).filter(|number| *number > 0).map(Duration::from_millis)
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The details of an answer that came from the version.
const VIA_UPSTREAM: &[u8] = b"via_upstream";

/// True if the details alone do not show who answered, so that the flags are needed.
#[must_use]
pub fn needs_flags(details: &[u8]) -> bool {
    details != VIA_UPSTREAM
}

/// Who ended a call, and how.
#[must_use]
pub fn classify(call: Call, response: &Response<'_>) -> Ending {
    let Response { status, grpc_status, details, flags, .. } = *response;
    if !call.needs_details(status, grpc_status) {
        return Ending::Answered;
    }
    if call.is_overrun(response) {
        return Ending::Abandoned;
    }
    if details == VIA_UPSTREAM {
        let failed = status >= 500 || grpc_status.is_some_and(is_failure_status);
        return if failed { Ending::Failed } else { Ending::Answered };
    }
    if has_left(flags) || is_unsent(details, status, grpc_status) {
        return Ending::Abandoned;
    }
    let is_missing = flags & FAILURE_FLAGS != 0 || is_overdue(details, status, grpc_status);
    if is_missing { Ending::Unanswered } else { Ending::Foreign }
}

impl Ending {
    /// True if the answer is the version's own, so that its status and its headers say something about the version.
    #[must_use]
    pub fn is_of_version(self) -> bool {
        matches!(self, Self::Answered | Self::Failed)
    }

    /// The outcome for the version. `took` is the time since the request started, and `marks` are the bits of the signals that
    /// find the answer bad. `None` if the answer says nothing about the version.
    #[must_use]
    pub fn outcome(self, status: u16, took: Duration, marks: u16) -> Option<Outcome> {
        let (end, waited, marks) = match self {
            // An upgrade has no answer that could be early or late.
            Self::Answered => (End::Answered, Some(took).filter(|_| status != 101), marks),
            Self::Failed => (End::Failed, Some(took), marks),
            Self::Unanswered => (End::Unanswered, None, 0),
            Self::Abandoned => (End::Abandoned, Some(took), 0),
            Self::Foreign => return None,
        };
        Some(Outcome { end, waited, marks })
    }
}

/// The ending of a request that ended without response headers. The flags are those at its end.
#[must_use]
pub fn classify_without_response(flags: u64) -> Ending {
    if has_left(flags) { Ending::Abandoned } else { Ending::Foreign }
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

/// True if response flags say that the client went away. The version did not fail then, whatever else is flagged.
fn has_left(flags: u64) -> bool {
    flags & CLIENT_FLAGS != 0
}

/// True if response flags say that the version broke off an answer after good headers.
#[must_use]
pub fn is_break_flag(flags: u64) -> bool {
    flags & BREAK_FLAGS != 0 && !has_left(flags)
}

/// True if Envoy stopped waiting for the version without setting a flag. The status shows what it waited for.
fn is_overdue(details: &[u8], status: u16, grpc_status: Option<&[u8]>) -> bool {
    has_given_up(details) && (status == 504 || matches!(grpc_status, Some(b"4" | b"14")))
}

/// True if Envoy stopped waiting for the rest of the request: 408, or UNKNOWN for gRPC. Nobody can tell a client that stalls from
/// a version that does not read.
fn is_unsent(details: &[u8], status: u16, grpc_status: Option<&[u8]>) -> bool {
    has_given_up(details) && (status == 408 || grpc_status == Some(b"2"))
}

fn has_given_up(details: &[u8]) -> bool {
    matches!(details, b"stream_idle_timeout" | b"max_duration_timeout" | b"request_overall_timeout")
}

/// True if a gRPC status is the server's failure: UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE or DATA_LOSS.
#[must_use]
pub fn is_failure_status(grpc_status: &[u8]) -> bool {
    matches!(grpc_status, b"2" | b"4" | b"13" | b"14" | b"15")
}
