//! What goes over a connection, and what may go wrong: values that know no socket.

use std::fmt;

use bytes::Bytes;

/// A request to send. `host` is an ordinary header here, also for HTTP/2.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers in order, values as they go over the wire.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The whole body.
    pub body: Bytes,
    /// Sends the body in pieces and without its length: chunked in HTTP/1.1.
    pub is_streamed: bool,
}

impl Request {
    /// A request without a body.
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.into(),
            path: path.into(),
            headers: Vec::new(),
            body: Bytes::new(),
            is_streamed: false,
        }
    }

    /// `GET path`.
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// `POST path` with a body.
    pub fn post(path: &str, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::new("POST", path) }
    }

    /// Does not say how long the body is.
    pub fn streamed(self) -> Self {
        Self { is_streamed: true, ..self }
    }

    /// Adds a header line.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.into(), value.as_ref().to_vec()));
        self
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Headers in order of arrival, names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The whole body.
    pub body: Bytes,
}

impl Response {
    /// The first value of a header, as text.
    pub fn header(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    /// The name of the upstream that answered, from its `x-upstream` header; empty if Envoy answered by itself.
    pub fn upstream(&self) -> String {
        self.header("x-upstream").unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null if it is not JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A request header as an echoing upstream received it.
    pub fn echoed(&self, name: &str) -> Option<String> {
        let headers = self.json();
        let pairs = headers.get("headers")?.as_array()?;
        let pair =
            pairs.iter().find(|pair| pair[0].as_str().is_some_and(|key| key.eq_ignore_ascii_case(name)))?;
        pair[1].as_str().map(str::to_owned)
    }
}

/// Why there is no complete answer.
#[derive(Clone, Debug)]
pub enum Failure {
    /// The request can't be written as HTTP; for such requests use [`super::raw`].
    Request(String),
    /// No connection.
    Connect(String),
    /// The connection ended before the response headers.
    Send(String),
    /// The response headers came, with this status, but not the whole body.
    Body(u16, String),
    /// Nothing within the client's time limit.
    Timeout,
}

impl Failure {
    /// The kind in one word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Request(_) => "request",
            Self::Connect(_) => "connect",
            Self::Send(_) => "send",
            Self::Body(..) => "body",
            Self::Timeout => "timeout",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(cause) | Self::Connect(cause) | Self::Send(cause) => {
                write!(out, "{}: {cause}", self.kind())
            }
            Self::Body(status, cause) => write!(out, "body of a {status}: {cause}"),
            Self::Timeout => out.write_str("timeout"),
        }
    }
}

impl std::error::Error for Failure {}

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge, without TLS.
    Http2,
}
