//! Sessions: a client stays on the version that it started with, even if weights change or blue becomes green.
//!
//! The cookie is `<version>.<expiry>.<tag>`. The tag is a keyed hash of rollout, unit, version and expiry. So a client
//! can't choose its version, extend its session or give it to another client. A cookie with any error is ignored.

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
    /// The first key signs, and all keys verify.
    pub(crate) keys: Box<[Key]>,
    pub(crate) drain_until: Option<Time>,
}

/// The holder of a session.
#[derive(Clone, Copy)]
pub(crate) struct Holder<'h> {
    /// Name of the rollout.
    pub(crate) rollout: &'h str,
    pub(crate) unit: &'h [u8],
}

impl Sessions {
    /// The version that the holder's cookie names. `None` if the cookie is not genuine, has expired, or names none of
    /// these versions.
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

    /// The `Set-Cookie` line that starts a session on this version. `None` after the sessions have been drained.
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

/// The tag of a session. It covers the text of the expiry, because a number can be written in more than one way.
fn signature(key: &Key, holder: Holder<'_>, version: &str, expiry: &[u8]) -> Tag {
    key.tag([b"session", holder.rollout.as_bytes(), holder.unit, version.as_bytes(), expiry])
}
