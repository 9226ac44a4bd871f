//! Shadows: which requests are also sent, as a copy, to a version whose answer nobody gets.
//!
//! The cohort hashes with a salt of its own, so it is independent of the split, and a larger percentage contains the smaller.

use std::rc::Rc;

use super::condition::{HeaderCondition, contains_method};
use super::version::Version;
use crate::hash::bucket::{Ppm, Salt};
use crate::request::Request;

/// At most this many copies of one request; the route has as many mirror policies.
pub const MAX_SHADOWS: usize = 3;

/// One shadow of a rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct Shadow {
    /// Where the copy goes.
    pub version: Rc<Version>,
    pub(crate) share: Ppm,
    pub(crate) salt: Salt,
    /// None: any method.
    pub(crate) methods: Option<Box<[Box<[u8]>]>>,
    pub(crate) headers: Box<[HeaderCondition]>,
}

/// The shadows of one request, in document order without gaps.
pub type Shadows = [Option<Rc<Shadow>>; MAX_SHADOWS];

/// Methods that only read (RFC 9110, 9.2.1), without TRACE, which no proxy should repeat.
pub(crate) const SAFE_METHODS: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

/// The shadows that sample this request, of those whose version fits.
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
        self.methods.as_deref().is_none_or(|methods| contains_method(methods, request))
            && self.headers.iter().all(|condition| condition.holds(request))
            && self.share.contains(self.salt.bucket(unit))
    }
}
