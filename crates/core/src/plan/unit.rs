//! The unit of a request: what is hashed, so that a user, session or caller always gets the same version.
//!
//! Sources are tried in document order, in `decide`; this file reads one source.

use std::borrow::Cow;
use std::rc::Rc;

use crate::hash::mac::Key;
use crate::request::cookie::Cookie;
use crate::request::{Nonce, Request, Slot};

/// A source of the unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// First line of a header.
    Header(Slot),
    /// First value of a cookie.
    Cookie(Slot),
    /// First query parameter of this name, decoded.
    Query(Box<[u8]>),
    /// The peer's address.
    PeerAddress,
    /// A cookie that the filter sets if the client does not have it.
    Issued(Rc<Issuer>),
}

/// Gives an anonymous client an id, in a cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Issuer {
    pub(crate) slot: Slot,
    pub(crate) request_id: Slot,
    pub(crate) cookie: Cookie,
    pub(crate) key: Key,
}

impl Source {
    /// The value in a request. `None` if the request does not have it.
    pub(crate) fn value<'a>(&self, request: &Request<'a>) -> Option<Cow<'a, [u8]>> {
        let value = match self {
            Self::Header(slot) | Self::Cookie(slot) => request.lines(*slot).next().map(Cow::Borrowed),
            Self::Query(name) => request.query_value(name),
            Self::PeerAddress => request.source.map(|address| Cow::Owned(address.to_string().into_bytes())),
            Self::Issued(issuer) => issuer.brought(request).map(Cow::Borrowed),
        };
        value.filter(|value| !value.is_empty())
    }
}

impl Issuer {
    /// The id that the client got earlier. `None` if it has none, or a forged one.
    pub(crate) fn brought<'a>(&self, request: &Request<'a>) -> Option<&'a [u8]> {
        request.lines(self.slot).next().filter(|id| !id.is_empty())
    }

    /// A new id: 128 bits in hexadecimal.
    pub(crate) fn new_id(&self, request: &Request<'_>, nonce: Nonce) -> String {
        let request_id = request.lines(self.request_id).next().unwrap_or_default();
        let [connection, clock, counter] =
            [nonce.connection, nonce.clock, nonce.counter].map(u64::to_le_bytes);
        self.key.tag([b"id", request_id, &connection, &clock, &counter]).to_string()
    }
}
