//! One of the two answers of a pair, as it arrives: its head, then its body in pieces, then its end.

use super::answer::Answer;
use super::pair::PairResult;
use crate::plan::compare::Compare;

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
        head.status = head.first(":status").and_then(number).unwrap_or(0);
        head
    }

    /// The status; 0 if there is none.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The first line of a header.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.lines.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_slice())
    }

    /// All lines of a header, joined as RFC 9110, 5.3 allows.
    fn joined(&self, name: &str) -> Option<Vec<u8>> {
        let all = self.lines.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_slice());
        let all: Vec<_> = all.collect();
        (!all.is_empty()).then(|| all.join(b", ".as_slice()))
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
        let length = self.first("content-length").and_then(number::<u64>);
        length.filter(|length| *length > max_body_bytes).map(|_| PairResult::SkippedSize)
    }

    /// Bytes that it holds in memory, roughly.
    pub(super) fn weight(&self) -> usize {
        self.lines.iter().fold(0, |sum: usize, (name, value)| {
            sum.saturating_add(name.len()).saturating_add(value.len()).saturating_add(LINE)
        })
    }
}

/// An answer that arrives.
#[derive(Debug, Default)]
pub(super) struct Side {
    head: Option<Head>,
    body: Vec<u8>,
    grpc_status: Option<Vec<u8>>,
    is_whole: bool,
}

impl Side {
    pub(super) fn begin(&mut self, head: Head) {
        *self = Self { head: Some(head), ..Self::default() };
    }

    pub(super) fn extend(&mut self, piece: &[u8]) {
        self.body.extend_from_slice(piece);
    }

    /// Ends it. Without a head there was no answer.
    pub(super) fn end(&mut self, grpc_status: Option<Vec<u8>>) {
        self.grpc_status = grpc_status;
        self.is_whole = self.head.is_some();
    }

    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    pub(super) fn body_length(&self) -> u64 {
        self.body.len() as u64
    }

    /// Bytes that it holds in memory, roughly.
    pub(super) fn weight(&self) -> usize {
        self.body.capacity().saturating_add(self.head.as_ref().map_or(0, Head::weight))
    }

    /// Shows the answer as these rules look at it. The body is lent, not copied.
    pub(super) fn with_answer<T>(&mut self, rules: &Compare, show: impl FnOnce(&Answer) -> T) -> T {
        let first = |name| self.head.as_ref().and_then(|head| head.first(name)).map(<[u8]>::to_vec);
        let joined = |name: &str| self.head.as_ref().and_then(|head| head.joined(name));
        let answer = Answer {
            status: self.head.as_ref().map_or(0, |head| head.status),
            headers: rules.headers.iter().map(|name| joined(name)).collect(),
            content_type: first("content-type"),
            grpc_status: self.grpc_status.clone().or_else(|| first("grpc-status")),
            body: std::mem::take(&mut self.body),
        };
        let shown = show(&answer);
        self.body = answer.body;
        shown
    }
}

/// Bytes that a line takes besides its text.
const LINE: usize = 48;

/// True if a body of this type comes in pieces over time.
fn is_stream(content_type: &[u8]) -> bool {
    let name = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    name.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}

fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.trim().parse().ok()
}
