//! Sessions: a client stays on the version that it began with, even when weights move or blue becomes green.
//!
//! The cookie says `<version>.<expiry>.<tag>`. The tag is keyed and covers rollout, unit, version and expiry, so a client can
//! neither pick its version nor prolong its session nor lend it to another. Whatever is wrong with a cookie, it counts as none.

use std::rc::Rc;

use super::version::Version;
use crate::hash::mac::{Key, Tag};
use crate::request::cookie::Cookie;
use crate::request::{Request, Slot};
use crate::time::Time;

/// How a rollout keeps its sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sessions {
    pub(crate) slot: Slot,
    pub(crate) cookie: Cookie,
    /// The first signs, all verify.
    pub(crate) keys: Box<[Key]>,
    pub(crate) drain_until: Option<Time>,
}

/// Whose session it is.
#[derive(Clone, Copy)]
pub(crate) struct Holder<'h> {
    /// Name of the rollout.
    pub(crate) rollout: &'h str,
    pub(crate) unit: &'h [u8],
}

impl Sessions {
    /// The one of these versions that the holder's cookie names, if the cookie is genuine and in time.
    pub(crate) fn resumed<'v>(
        &self,
        versions: &'v [Rc<Version>],
        holder: Holder<'_>,
        request: &Request<'_>,
        now: Time,
    ) -> Option<&'v Rc<Version>> {
        let value = request.lines(self.slot).next().filter(|_| self.are_open(now))?;
        let (rest, tag) = value.split_last_chunk::<32>()?;
        let rest = rest.strip_suffix(b".")?;
        let dot = rest.iter().rposition(|byte| *byte == b'.')?;
        let (version, expiry) = (rest.get(..dot)?, rest.get(dot..)?.strip_prefix(b".")?);
        let expires = str::from_utf8(expiry).ok()?.parse().map(Time::from_seconds).ok()?;
        let version = versions.iter().find(|known| known.name().as_bytes() == version)?;
        let is_genuine = |key: &Key| signature(key, holder, version.name(), expiry).is_written(tag);
        (now < expires && self.keys.iter().any(is_genuine)).then_some(version)
    }

    /// The `Set-Cookie` line that begins a session on this version; none once the sessions have been drained.
    pub(crate) fn begun(&self, holder: Holder<'_>, version: &Version, now: Time) -> Option<String> {
        let key = self.keys.first().filter(|_| self.are_open(now))?;
        let end = now.after(self.cookie.max_age);
        let expires = self.drain_until.map_or(end, |drained| drained.min(end));
        let expiry = expires.seconds().to_string();
        let tag = signature(key, holder, version.name(), expiry.as_bytes());
        Some(self.cookie.line(&format!("{}.{expiry}.{tag}", version.name()), expires.since(now)))
    }

    fn are_open(&self, now: Time) -> bool {
        self.drain_until.is_none_or(|drained| now < drained)
    }
}

/// Over the text of the expiry, not its number: a number can be written in more than one way.
fn signature(key: &Key, holder: Holder<'_>, version: &str, expiry: &[u8]) -> Tag {
    key.tag([b"session", holder.rollout.as_bytes(), holder.unit, version.as_bytes(), expiry])
}
