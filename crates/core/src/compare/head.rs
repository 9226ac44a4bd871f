//! Status and headers of an answer, and whether they say that it can't be compared.

use super::pair::PairResult;
use crate::copy::is_above;
use crate::guardrail::{Call, Ending, Response, classify};

/// Status and headers of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    status: u16,
    lines: Vec<(String, Vec<u8>)>,
}

impl Head {
    /// The head with these headers, `:status` among them.
    #[must_use]
    pub fn new(lines: Vec<(String, Vec<u8>)>) -> Self {
        let mut head = Self { status: 0, lines };
        let status = head.first(":status").and_then(|status| str::from_utf8(status).ok()?.parse().ok());
        head.status = status.unwrap_or(0);
        head
    }

    /// The status; 0 if there is none.
    #[must_use]
    pub(super) fn status(&self) -> u16 {
        self.status
    }

    /// The first line of a header.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.lines.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_slice())
    }

    /// All lines of a header, joined as RFC 9110, 5.3 allows.
    pub(super) fn joined(&self, name: &str) -> Option<Vec<u8>> {
        let all = self.lines.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_slice());
        let all: Vec<_> = all.collect();
        (!all.is_empty()).then(|| all.join(b", ".as_slice()))
    }

    /// What becomes of the pairs if this is the head of the live answer, with Envoy's details and flags. `None` if it can be compared.
    #[must_use]
    pub fn live_result(&self, details: &[u8], flags: u64) -> Option<PairResult> {
        let call = Call { is_judged: true, is_grpc: true, ..Call::default() };
        let grpc_status = self.first("grpc-status");
        let response = Response { status: self.status, grpc_status, details, flags, ..Response::default() };
        match classify(call, &response) {
            Ending::Answered => None,
            Ending::Failed | Ending::Unanswered => Some(PairResult::LiveError),
            Ending::Abandoned => Some(PairResult::SkippedAbandoned),
            Ending::Foreign => Some(PairResult::SkippedOther),
        }
    }

    /// Why an answer with this head can't be compared. `None` if it can, as far as the head shows.
    pub(super) fn skip(&self, max_body_bytes: u64) -> Option<PairResult> {
        let is_other = |coding: &[u8]| !coding.eq_ignore_ascii_case(b"identity") && !coding.is_empty();
        if self.first("content-type").is_some_and(is_stream) {
            return Some(PairResult::SkippedStream);
        }
        if self.first("content-encoding").is_some_and(is_other) {
            return Some(PairResult::SkippedEncoding);
        }
        let is_long = self.first("content-length").is_some_and(|length| is_above(length, max_body_bytes));
        is_long.then_some(PairResult::SkippedSize)
    }

    /// Bytes that it holds in memory, roughly.
    pub(super) fn weight(&self) -> usize {
        self.lines.iter().fold(0, |sum: usize, (name, value)| {
            sum.saturating_add(name.len()).saturating_add(value.len()).saturating_add(LINE)
        })
    }
}

/// Bytes that a line takes besides its text.
const LINE: usize = 48;

/// True if a body of this type comes in pieces over time.
fn is_stream(content_type: &[u8]) -> bool {
    let name = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    name.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}
