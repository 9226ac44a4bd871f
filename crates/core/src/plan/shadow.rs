//! Shadows: requests that are also sent, as copies, to a version whose answer no client gets.
//!
//! Units are chosen by a hash with a salt of its own, independent of the split. A larger percentage contains the smaller one.

use std::rc::Rc;

use super::compare::Compare;
use super::condition::HeaderCondition;
use super::version::Version;
use crate::copy::is_above;
use crate::hash::bucket::{Ppm, Salt};
use crate::request::{Request, Slot};

/// Most copies of one request. The route has as many mirror policies.
pub const MAX_SHADOWS: usize = 3;

/// Largest `content-length` that is copied if the document does not say.
pub(crate) const DEFAULT_BODY_BYTES: u64 = 1 << 20;

/// Largest `max_body_bytes`. The limit protects Envoy's memory, because a copy waits there until its body is complete.
pub(crate) const MAX_BODY_BYTES: u64 = 4 << 20;

/// Largest `max_per_second`.
pub(crate) const MAX_PER_SECOND: u32 = 100_000;

/// One shadow of a rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct Shadow {
    /// The version that gets the copy.
    pub version: Rc<Version>,
    pub(crate) cluster: Box<str>,
    pub(crate) share: Ppm,
    pub(crate) salt: Salt,
    /// `None` means any method.
    pub(crate) methods: Option<Box<[Box<[u8]>]>>,
    pub(crate) protocol: Protocol,
    pub(crate) headers: Box<[HeaderCondition]>,
    pub(crate) limits: Limits,
    pub(crate) compare: Option<Compare>,
}

/// How much a shadow takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest `content-length` that is copied. A body of unknown length is copied.
    pub max_body_bytes: u64,
    /// Most copies per second of all workers together. `None` means any number.
    pub max_per_second: Option<u32>,
}

/// What becomes of a request that a shadow may copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyResult {
    /// The copy is sent.
    Sent,
    /// The body is larger than `max_body_bytes`.
    SkippedBody,
    /// The request is an upgrade, which is never copied.
    SkippedUpgrade,
    /// `max_per_second` copies have been sent in this second.
    SkippedRate,
}

impl CopyResult {
    /// Number of results.
    pub const COUNT: usize = 4;
    /// All results, each at the position of [`CopyResult::index`].
    pub const ALL: [Self; Self::COUNT] =
        [Self::Sent, Self::SkippedBody, Self::SkippedUpgrade, Self::SkippedRate];

    /// Position in [`CopyResult::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// The name in the public API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::SkippedBody => "skipped_body",
            Self::SkippedUpgrade => "skipped_upgrade",
            Self::SkippedRate => "skipped_rate",
        }
    }
}

/// A shadow whose cohort has the request, and what becomes of the copy.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadowCopy {
    /// The shadow.
    pub shadow: Rc<Shadow>,
    /// What becomes of the copy.
    pub result: CopyResult,
}

/// Where a request says that it is something else than its method, and how large its body is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Protocol {
    pub(crate) upgrade: Slot,
    pub(crate) length: Slot,
    /// Headers that name the method that is meant.
    pub(crate) methods: [Slot; METHOD_HEADERS.len()],
}

/// Headers by which frameworks let a client name another method than it sends.
pub(crate) const METHOD_HEADERS: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// The query parameter that does the same.
const METHOD_QUERY: &[u8] = b"_method";

impl Protocol {
    /// True if the connection becomes another protocol's. Envoy shows an extended CONNECT in this form too.
    fn is_upgrade(&self, request: &Request<'_>) -> bool {
        request.lines(self.upgrade).next().is_some()
    }

    /// True if the request says that its body is larger.
    fn is_larger_than(&self, bytes: u64, request: &Request<'_>) -> bool {
        request.lines(self.length).any(|line| is_above(line, bytes))
    }

    /// True if these methods contain the request's and every other that it names.
    fn names_only(&self, methods: &[Box<[u8]>], request: &Request<'_>) -> bool {
        let contains = |named: &[u8]| methods.iter().any(|method| method.eq_ignore_ascii_case(named));
        let is_sent = methods.iter().any(|method| method.as_ref() == request.method); // RFC 9110, 9.1
        let mut named = self.methods.iter().flat_map(|slot| request.lines(*slot));
        is_sent
            && named.all(contains)
            && request.query_value(METHOD_QUERY).is_none_or(|named| contains(&named))
    }
}

/// The shadows whose cohorts have one request, in document order without gaps.
pub type Copies = [Option<ShadowCopy>; MAX_SHADOWS];

/// Methods that only read (RFC 9110, 9.2.1), except TRACE, which no proxy should repeat.
pub(crate) const SAFE_METHODS: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

/// The copies of this request: a shadow must fit, and its cohort must have the request. Rates are not looked at here.
pub(crate) fn copies(
    candidates: &[Rc<Shadow>],
    unit: &[u8],
    request: &Request<'_>,
    fits: impl Fn(&Shadow) -> bool,
) -> Copies {
    let mut copies = Copies::default();
    if request.is_shadow {
        return copies;
    }
    let sampled = candidates.iter().filter(|shadow| fits(shadow) && shadow.samples(unit, request));
    for (place, shadow) in copies.iter_mut().zip(sampled) {
        *place = Some(ShadowCopy { shadow: Rc::clone(shadow), result: shadow.result(request) });
    }
    copies
}

impl Shadow {
    /// The Envoy cluster where copies go.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// How much it takes.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// How its answers are compared with the live ones. `None` if they are not.
    #[must_use]
    pub fn compare(&self) -> Option<&Compare> {
        self.compare.as_ref()
    }

    /// True if a copy would not repeat the call that already serves the request.
    pub(crate) fn differs_from(&self, serving: &Version) -> bool {
        self.version.differs_from(serving) && self.cluster != serving.cluster
    }

    fn samples(&self, unit: &[u8], request: &Request<'_>) -> bool {
        self.methods.as_deref().is_none_or(|methods| self.protocol.names_only(methods, request))
            && self.headers.iter().all(|condition| condition.holds(request))
            && self.share.contains(self.salt.bucket(unit))
    }

    fn result(&self, request: &Request<'_>) -> CopyResult {
        if self.protocol.is_upgrade(request) {
            CopyResult::SkippedUpgrade
        } else if self.protocol.is_larger_than(self.limits.max_body_bytes, request) {
            CopyResult::SkippedBody
        } else {
            CopyResult::Sent
        }
    }
}
