//! One of the two answers of a pair, as it arrives: its head, then its body in pieces, then its end.

use super::answer::Answer;
use super::head::Head;
use crate::plan::compare::Compare;

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
            status: self.head.as_ref().map_or(0, Head::status),
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
