//! Shadows: requests that are also sent, as copies, to a version whose answer no client gets.
//!
//! Units are chosen by a hash with a salt of its own, independent of the split. A larger percentage contains the smaller one.

use std::rc::Rc;

use super::condition::{HeaderCondition, contains_method};
use super::version::Version;
use crate::hash::bucket::{Ppm, Salt};
use crate::request::Request;

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
    pub(crate) headers: Box<[HeaderCondition]>,
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
        self.methods.as_deref().is_none_or(|methods| contains_method(methods, request))
            && self.headers.iter().all(|condition| condition.holds(request))
            && self.share.contains(self.salt.bucket(unit))
    }
}
