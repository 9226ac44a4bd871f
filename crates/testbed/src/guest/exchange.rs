//! One request to the guest, and what the upstream and Envoy say of it.

use std::collections::BTreeMap;

/// A header's name and value.
pub type Line = (String, String);

/// One request and what came back.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    pub(super) request: Vec<Line>,
    pub(super) response: Vec<Line>,
    /// The pieces of the answer's body, of which the last one ends it.
    pub(super) pieces: Vec<Vec<u8>>,
    pub(super) properties: BTreeMap<String, Vec<u8>>,
}

/// Bytes of an answer, unless the caller gives it.
const BODY: usize = 300;

impl Exchange {
    /// A request with these headers, pseudo headers included, that the upstream answers with 200.
    pub fn new(request: &[(&str, &str)]) -> Self {
        let exchange = Self { request: lines(request), pieces: vec![vec![b' '; BODY]], ..Self::default() };
        exchange.response(&[(":status", "200"), ("content-type", "application/json")])
    }

    /// One more header of the request.
    pub fn and(mut self, name: &str, value: &str) -> Self {
        self.request.push((name.into(), value.into()));
        self
    }

    /// Another answer.
    pub fn response(mut self, headers: &[(&str, &str)]) -> Self {
        self.response = lines(headers);
        self
    }

    /// The body of the answer, as Envoy shows it: the end of an HTTP/1.1 message is a piece of its own, without bytes.
    pub fn body(mut self, body: &str) -> Self {
        self.pieces = vec![body.into(), Vec::new()];
        self
    }

    /// A property that the host knows, by its path with dots (`xds.cluster_name`).
    pub fn property(mut self, path: &str, value: impl Into<Vec<u8>>) -> Self {
        self.properties.insert(path.into(), value.into());
        self
    }
}

fn lines(headers: &[(&str, &str)]) -> Vec<Line> {
    headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}
