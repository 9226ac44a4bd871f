//! Shadows: requests that are also sent, as copies, to a version whose answer no client gets.
//!
//! Units are chosen by a hash with a salt of its own, independent of the split. A larger percentage contains the smaller one.

use std::rc::Rc;

use super::condition::HeaderCondition;
use super::version::Version;
use crate::hash::bucket::{Ppm, Salt};
use crate::request::{Request, Slot};

/// Most copies of one request. The route has as many mirror policies.
pub const MAX_SHADOWS: usize = 3;

/// One shadow of a rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct Shadow {
    /// The version that gets the copy.
    pub version: Rc<Version>,
    pub(crate) share: Ppm,
    pub(crate) salt: Salt,
    /// `None` means any method.
    pub(crate) methods: Option<Box<[Box<[u8]>]>>,
    pub(crate) protocol: Protocol,
    pub(crate) headers: Box<[HeaderCondition]>,
}

/// Where a request says that it is something else than its method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Protocol {
    pub(crate) upgrade: Slot,
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

/// The shadows of one request, in document order without gaps.
pub type Shadows = [Option<Rc<Shadow>>; MAX_SHADOWS];

/// Methods that only read (RFC 9110, 9.2.1), except TRACE, which no proxy should repeat.
pub(crate) const SAFE_METHODS: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

/// The shadows that sample this request and whose version fits.
pub(crate) fn sample(
    candidates: &[Rc<Shadow>],
    unit: &[u8],
    request: &Request<'_>,
    fits: impl Fn(&Version) -> bool,
) -> Shadows {
    let mut shadows = Shadows::default();
    if request.is_shadow {
        return shadows;
    }
    let sampled = candidates.iter().filter(|shadow| fits(&shadow.version) && shadow.samples(unit, request));
    for (place, shadow) in shadows.iter_mut().zip(sampled) {
        *place = Some(Rc::clone(shadow));
    }
    shadows
}

impl Shadow {
    fn samples(&self, unit: &[u8], request: &Request<'_>) -> bool {
        !self.protocol.is_upgrade(request)
            && self.methods.as_deref().is_none_or(|methods| self.protocol.names_only(methods, request))
            && self.headers.iter().all(|condition| condition.holds(request))
            && self.share.contains(self.salt.bucket(unit))
    }
}
