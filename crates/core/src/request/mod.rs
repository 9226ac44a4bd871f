//! A request as the plan sees it: only the values that the plan reads, picked from the header lines in one pass.
//!
//! The same pass finds the headers to remove: what a client sends in `x-rollout-*` is never believed, and no model sees the
//! secret of an override.

pub(crate) mod cookie;
mod inputs;

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use crate::header;

pub(crate) use inputs::{Inputs, Slot};

/// Values of the proxy that make a new id unique. No client can choose them; a request id alone is not enough, because a
/// client may send its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonce {
    /// Number of the connection in the proxy.
    pub connection: u64,
    /// Nanoseconds since the epoch.
    pub clock: u64,
    /// How many nonces this VM has made before.
    pub counter: u64,
}

/// What tells a preflight from any other `OPTIONS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Preflight {
    has_origin: bool,
    has_method: bool,
}

impl Preflight {
    fn take(&mut self, name: &str) {
        self.has_origin |= name == "origin";
        self.has_method |= name == "access-control-request-method";
    }
}

/// The values of one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request<'a> {
    pub(crate) host: Cow<'a, [u8]>,
    pub(crate) method: &'a [u8],
    pub(crate) path: &'a [u8],
    pub(crate) query: &'a [u8],
    /// Path and query as received.
    pub(crate) target: &'a [u8],
    pub(crate) source: Option<IpAddr>,
    pub(crate) nonce: Option<Nonce>,
    /// True for a copy that a trusted hop made: it is not copied again.
    pub(crate) is_shadow: bool,
    preflight: Preflight,
    lines: Vec<(Slot, &'a [u8])>,
    assignments: Vec<&'a [u8]>,
    feature_sets: Vec<&'a [u8]>,
    unwanted: Vec<&'a str>,
    pub(crate) retries: Retries,
}

/// Most attempts of a request: a cluster with a backstop has this many entries for its hosts, and Envoy uses one for each attempt.
pub const MAX_ATTEMPTS: usize = 16;

/// What the caller's own retry headers ask for. Envoy removes those of external clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Retries {
    /// True if there is such a header.
    pub(crate) are_wanted: bool,
    /// True if they allow more attempts than [`MAX_ATTEMPTS`].
    pub(crate) are_too_many: bool,
}

impl Retries {
    fn take(&mut self, name: &str, value: &[u8]) {
        let is_number = name == header::MAX_RETRIES;
        self.are_wanted |= is_number || name == header::RETRY_ON || name == header::RETRY_GRPC_ON;
        if is_number {
            let number = str::from_utf8(value).ok().and_then(|value| value.parse::<usize>().ok());
            self.are_too_many = number.is_some_and(|number| number >= MAX_ATTEMPTS);
        }
    }
}

impl<'a> Request<'a> {
    /// Picks the values that a plan reads; see [`crate::Plan::request`].
    pub(crate) fn read<I>(inputs: &Inputs, lines: I, source: Option<&[u8]>) -> Self
    where
        I: IntoIterator<Item = (&'a str, &'a [u8])>,
    {
        let mut request = Self {
            host: Cow::Borrowed(b""),
            method: b"",
            path: b"",
            query: b"",
            target: b"",
            source: source.and_then(address),
            nonce: None,
            is_shadow: false,
            preflight: Preflight::default(),
            lines: Vec::new(),
            assignments: Vec::new(),
            feature_sets: Vec::new(),
            unwanted: Vec::new(),
            retries: Retries::default(),
        };
        for (name, value) in lines {
            request.take(inputs, name, value);
        }
        request
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &'a [u8] {
        self.method
    }

    /// Adds what a new id is made from. Needed if [`crate::Plan::may_issue_id`] is true.
    #[must_use]
    pub fn with_nonce(self, nonce: Nonce) -> Self {
        Self { nonce: Some(nonce), ..self }
    }

    fn take(&mut self, inputs: &Inputs, name: &'a str, value: &'a [u8]) {
        if name.starts_with(':') {
            return self.take_pseudo(name, value);
        }
        if name.starts_with(header::PREFIX) {
            return self.take_reserved(inputs, name, value);
        }
        if name.starts_with(header::ENVOY_PREFIX) {
            self.retries.take(name, value);
        }
        if self.method == b"OPTIONS" {
            self.preflight.take(name);
        }
        if let Some(slot) = inputs.header_slot(name) {
            self.lines.push((slot, value));
            if inputs.is_secret(name) {
                self.unwanted.push(name);
            }
        }
        if name == "cookie" && inputs.reads_cookies() {
            let known = |(name, value)| Some((inputs.cookie_slot(name)?, value));
            self.lines.extend(cookie::pairs(value).filter_map(known));
        }
    }

    fn take_pseudo(&mut self, name: &str, value: &'a [u8]) {
        match name {
            ":authority" => self.host = normal_host(value),
            ":method" => self.method = value,
            ":path" => {
                self.target = value;
                let mut parts = value.splitn(2, |byte| *byte == b'?');
                self.path = parts.next().unwrap_or_default();
                self.query = parts.next().unwrap_or_default();
            }
            _ => {}
        }
    }

    fn take_reserved(&mut self, inputs: &Inputs, name: &'a str, value: &'a [u8]) {
        match name {
            header::ASSIGNMENT if inputs.trust_hop => self.assignments.push(value),
            header::SHADOW if inputs.trust_hop => self.is_shadow = true,
            header::FEATURE_SET if inputs.trust_hop => self.feature_sets.push(value),
            _ => self.unwanted.push(name),
        }
    }

    /// Names of the headers to remove before the request is sent on. A name may occur more than once.
    #[must_use]
    pub fn unwanted(&self) -> &[&'a str] {
        &self.unwanted
    }

    /// True for a header of the filter that the request does not have after the unwanted ones are removed.
    #[must_use]
    pub fn lacks(&self, name: &str) -> bool {
        let kept = match name {
            header::ASSIGNMENT => &self.assignments,
            header::FEATURE_SET => &self.feature_sets,
            _ => return name.starts_with(header::PREFIX),
        };
        kept.is_empty()
    }

    /// True for a browser's question whether it may send another request (CORS preflight, Fetch standard): it carries no cookies, and
    /// what it is told to store is not stored.
    pub(crate) fn is_preflight(&self) -> bool {
        self.preflight.has_origin && self.preflight.has_method
    }

    /// The feature set that a trusted hop has chosen.
    pub(crate) fn feature_set(&self) -> Option<Cow<'a, [u8]>> {
        joined(self.feature_sets.iter().copied())
    }

    /// The assignments of trusted hops, in their order.
    pub(crate) fn assignments(&self) -> &[&'a [u8]] {
        &self.assignments
    }

    /// The lines of a header, or the values of a cookie, in their order.
    pub(crate) fn lines(&self, slot: Slot) -> impl Iterator<Item = &'a [u8]> {
        self.lines.iter().filter(move |(of, _)| *of == slot).map(|(_, value)| *value)
    }

    /// The value of a header as conditions see it: repeated lines joined with a comma.
    pub(crate) fn header(&self, slot: Slot) -> Option<Cow<'a, [u8]>> {
        joined(self.lines(slot))
    }

    /// The first query parameter of this name, form-decoded.
    pub(crate) fn query_value(&self, name: &[u8]) -> Option<Cow<'a, [u8]>> {
        self.query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).find_map(|pair| {
            let mut parts = pair.splitn(2, |byte| *byte == b'=');
            let key = form_decode(parts.next().unwrap_or_default());
            (key.as_ref() == name).then(|| form_decode(parts.next().unwrap_or_default()))
        })
    }
}

fn joined<'a>(mut lines: impl Iterator<Item = &'a [u8]>) -> Option<Cow<'a, [u8]>> {
    let first = lines.next()?;
    let Some(second) = lines.next() else { return Some(Cow::Borrowed(first)) };
    let mut joined = [first, second].join(&b',');
    for line in lines {
        joined.push(b',');
        joined.extend_from_slice(line);
    }
    Some(Cow::Owned(joined))
}

/// The host without its port and a trailing dot, in lower case.
fn normal_host(authority: &[u8]) -> Cow<'_, [u8]> {
    let end = match authority.iter().rposition(|byte| *byte == b':') {
        Some(colon) if !authority.ends_with(b"]") => colon,
        _ => authority.len(),
    };
    let host = authority.get(..end).unwrap_or_default();
    let host = host.strip_suffix(b".").unwrap_or(host); // the root of the name system, which a client may write out
    if host.iter().any(u8::is_ascii_uppercase) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// An IP address as Envoy writes it (`10.0.0.1:4711`, `[::1]:4711`) or without a port.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?;
    let with_port = text.parse::<SocketAddr>().map(|address| address.ip());
    with_port.or_else(|_| text.parse()).ok()
}

/// Decodes `application/x-www-form-urlencoded`: a plus is a space, `%41` is A, and a malformed escape stays as it is.
fn form_decode(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|byte| matches!(byte, b'+' | b'%')) {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match (byte, escaped(tail)) {
            (b'+', _) => decoded.push(b' '),
            (b'%', Some((value, after))) => {
                decoded.push(value);
                rest = after;
            }
            _ => decoded.push(*byte),
        }
    }
    Cow::Owned(decoded)
}

fn escaped(after_percent: &[u8]) -> Option<(u8, &[u8])> {
    let [high, low, rest @ ..] = after_percent else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let value = digit(*high)? << 4 | digit(*low)?;
    Some((u8::try_from(value).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_loses_its_port_and_its_case() {
        for (authority, host) in [
            ("ml.example.com", "ml.example.com"),
            ("ML.Example.com:8443", "ml.example.com"),
            ("ml.example.com.", "ml.example.com"),
            ("ML.example.com.:443", "ml.example.com"),
            ("[::1]", "[::1]"),
            ("[::1]:80", "[::1]"),
            ("", ""),
            (":80", ""),
        ] {
            assert_eq!(normal_host(authority.as_bytes()), host.as_bytes(), "{authority}");
        }
    }

    #[test]
    fn an_address_is_only_an_ip_with_or_without_a_port() {
        for (text, canonical) in [
            ("10.0.0.1:4711", Some("10.0.0.1")),
            ("10.0.0.1", Some("10.0.0.1")),
            ("[2001:DB8:0:0:0:0:0:1]:443", Some("2001:db8::1")),
            ("::1", Some("::1")),
            ("[::ffff:10.0.0.1]:1", Some("::ffff:10.0.0.1")),
            ("/var/run/envoy.sock", None),
            ("@internal", None),
            ("", None),
        ] {
            assert_eq!(address(text.as_bytes()).map(|ip| ip.to_string()).as_deref(), canonical, "{text}");
        }
        assert_eq!(address(&[0xff, 0xfe]), None);
    }

    #[test]
    fn form_decoding_keeps_malformed_escapes() {
        for (raw, decoded) in [
            ("a+b", "a b"),
            ("%41%62", "Ab"),
            ("100%", "100%"),
            ("%4", "%4"),
            ("%zz%41", "%zzA"),
            ("%%41", "%A"),
            ("%2B%25", "+%"),
        ] {
            assert_eq!(form_decode(raw.as_bytes()), decoded.as_bytes(), "{raw}");
        }
        assert_eq!(form_decode(b"%FF%00").as_ref(), [0xff, 0]);
    }
}
