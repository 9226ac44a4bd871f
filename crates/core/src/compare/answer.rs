//! Compares two answers: status, headers, gRPC status, and bodies by structure if both are JSON, otherwise by bytes.

use super::cursor::{Cursor, Invalid};
use super::difference::{Difference, Kind};
use super::report::Report;
use super::walk;
use crate::plan::compare::Compare;

/// What is compared of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The values of [`Compare::headers`], in their order. `None` if the answer lacks the header.
    pub headers: Vec<Option<Vec<u8>>>,
    /// The value of `content-type`.
    pub content_type: Option<Vec<u8>>,
    /// The value of `grpc-status`, of the trailers or the headers.
    pub grpc_status: Option<Vec<u8>>,
    /// The whole body, decompressed.
    pub body: Vec<u8>,
}

impl Answer {
    /// True if the body is said to be JSON: `application/json`, or any type that ends with `+json`.
    fn is_json(&self) -> bool {
        let line = self.content_type.as_deref().unwrap_or_default();
        let kind = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let kind = kind.to_ascii_lowercase();
        kind == b"application/json" || kind.ends_with(b"+json")
    }
}

/// The differences between a live answer and the answer of a copy, at most [`MAX_DIFFERENCES`](super::MAX_DIFFERENCES). Empty if
/// they match.
#[must_use]
pub fn compare(rules: &Compare, live: &Answer, copy: &Answer) -> Vec<Difference> {
    let mut report = Report::new(rules);
    if rules.status && live.status != copy.status {
        let (one, other) = (live.status.to_string(), copy.status.to_string());
        report.named("status", Kind::Status, Some(one.as_bytes()), Some(other.as_bytes()));
    }
    let mut values = live.headers.iter().zip(&copy.headers);
    for name in &rules.headers {
        let Some((one, other)) = values.next() else { break };
        if one != other {
            report.named(&format!("header {name}"), Kind::Header, one.as_deref(), other.as_deref());
        }
    }
    let (one, other) = (live.grpc_status.as_deref(), copy.grpc_status.as_deref());
    if one != other {
        report.named("grpc-status", Kind::GrpcStatus, one, other);
    }
    if live.body != copy.body {
        bodies(live, copy, &mut report);
    }
    report.into_differences()
}

fn bodies(live: &Answer, copy: &Answer, report: &mut Report<'_>) {
    let kind = match (live.is_json(), copy.is_json()) {
        (true, true) => match walk::compare(&live.body, &copy.body, report) {
            Ok(()) => return,
            Err(Invalid) if is_valid(&live.body) || is_valid(&copy.body) => Kind::Invalid,
            Err(Invalid) => Kind::Body,
        },
        (false, false) => Kind::Body,
        (true, false) | (false, true) => Kind::Invalid,
    };
    report.body(kind, &live.body, &copy.body);
}

fn is_valid(text: &[u8]) -> bool {
    let mut cursor = Cursor::of(text);
    cursor.skip().and_then(|_| cursor.end()).is_ok()
}
