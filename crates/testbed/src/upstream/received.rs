//! A request as a server saw it.

use std::time::Instant;

use bytes::Bytes;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The host that was asked for: `host` of HTTP/1.1, `:authority` of HTTP/2.
    pub host: String,
    /// Headers in order, names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The length of the body.
    pub body_length: usize,
    /// The body, kept after [`super::Upstream::keep_bodies`].
    pub body: Bytes,
    /// When the whole request had arrived.
    pub at: Instant,
}

impl Received {
    /// The first value of a header, as text.
    pub fn header(&self, name: &str) -> Option<String> {
        self.values(name).into_iter().next()
    }

    /// All values of a header, as text.
    pub fn values(&self, name: &str) -> Vec<String> {
        let lines = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        lines.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    }

    /// The names of all headers that begin with `prefix`, in order.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let names = self.headers.iter().map(|(name, _)| name.clone());
        names.filter(|name| name.starts_with(prefix)).collect()
    }
}
