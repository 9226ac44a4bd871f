//! A small HTTP client, HTTP/1.1 or h2c, with header values as bytes and errors as values.
//!
//! A client owns a fixed number of persistent connections and uses them in turn: Envoy binds a connection to one
//! worker, so a test that must see every worker opens several.

mod connection;
mod frames;

use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::Mutex;

use crate::runtime::wait;
use crate::time::PATIENCE;
use connection::Connection;
pub use frames::raw_http2;

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
}

impl Request {
    /// A request without a body.
    pub fn new(method: &str, path: &str) -> Self {
        Self { method: method.into(), path: path.into(), headers: Vec::new(), body: Bytes::new() }
    }

    /// `GET path`.
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// `POST path` with a body.
    pub fn post(path: &str, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::new("POST", path) }
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

    /// The name of the upstream that answered, from its `x-upstream` header; empty when Envoy answered itself.
    pub fn upstream(&self) -> String {
        self.header("x-upstream").unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null when it isn't.
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

/// Why there is no whole answer.
#[derive(Clone, Debug)]
pub enum Failure {
    /// The request can't be written as HTTP; for such use [`raw`].
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

/// A client of one address.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    protocol: Protocol,
    limit: Duration,
    next: Arc<AtomicUsize>,
    connections: Arc<Vec<Connection>>,
}

impl Client {
    /// A client with one HTTP/1.1 connection, opened at first use, and [`PATIENCE`] for an answer.
    pub fn new(address: SocketAddr) -> Self {
        let (protocol, limit) = (Protocol::Http1, PATIENCE);
        Self { address, protocol, limit, next: Arc::default(), connections: Arc::default() }.connections(1)
    }

    /// Speaks h2c instead.
    pub fn http2(self) -> Self {
        let count = self.connections.len();
        Self { protocol: Protocol::Http2, ..self }.connections(count)
    }

    /// Uses `count` persistent connections in turn.
    pub fn connections(self, count: usize) -> Self {
        let connect = |_| Connection::new(self.address, self.protocol);
        Self { connections: Arc::new((0..count.max(1)).map(connect).collect()), ..self }
    }

    /// Gives up on an answer after `limit`.
    pub fn timeout(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// `GET path` with these headers.
    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Response, Failure> {
        let request = Request::get(path);
        self.send(headers.iter().fold(request, |request, (name, value)| request.header(name, value)))
    }

    /// Sends a request on the next connection and waits for the whole answer.
    pub fn send(&self, request: Request) -> Result<Response, Failure> {
        let client = self.clone();
        wait(async move { client.exchange(request).await })
    }

    /// Sends a request on a connection of its own and returns as soon as the response headers are there.
    pub fn open(&self, request: Request) -> Result<Opened, Failure> {
        let (limit, connection) = (self.limit, Connection::new(self.address, self.protocol));
        wait(async move {
            let response = tokio::time::timeout(limit, connection.open(&request)).await;
            let response = response.map_err(|_| Failure::Timeout)??;
            let head = connection::head(&response);
            Ok(Opened { head, body: Arc::new(Mutex::new(response.into_body())), _connection: connection })
        })
    }

    /// The asynchronous form of [`Client::send`].
    pub(crate) async fn exchange(&self, request: Request) -> Result<Response, Failure> {
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        let connection = &self.connections[index];
        match tokio::time::timeout(self.limit, connection.exchange(&request)).await {
            Ok(answer) => answer,
            Err(_) => {
                connection.abandon();
                Err(Failure::Timeout)
            }
        }
    }
}

/// An answer whose headers are there and whose body is still coming.
pub struct Opened {
    /// Status and headers; the body is empty.
    pub head: Response,
    body: Arc<Mutex<Incoming>>,
    // Dropped earlier it would close under the body.
    _connection: Connection,
}

impl Opened {
    /// The next piece of the body, or `None` at its end; waits at most `limit`.
    pub fn next(&mut self, limit: Duration) -> Result<Option<Bytes>, Failure> {
        let (body, status) = (Arc::clone(&self.body), self.head.status);
        wait(async move {
            let mut body = body.lock().await;
            let deadline = tokio::time::Instant::now() + limit;
            loop {
                let frame =
                    tokio::time::timeout_at(deadline, body.frame()).await.map_err(|_| Failure::Timeout)?;
                let Some(frame) = frame else { return Ok(None) };
                let frame = frame.map_err(|error| Failure::Body(status, connection::describe(&error)))?;
                // Trailers end the body without being a piece of it.
                if let Ok(piece) = frame.into_data() {
                    return Ok(Some(piece));
                }
            }
        })
    }
}

/// Sends bytes over a fresh TCP connection and returns what comes back until the peer closes or is silent for
/// twenty seconds: for requests that no HTTP library would write. Ask for `connection: close` to be answered at once.
pub fn raw(address: SocketAddr, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(bytes)?;
    let mut received = Vec::new();
    let mut buffer = [0_u8; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(received),
            Ok(length) => received.extend_from_slice(&buffer[..length]),
            Err(_) => return Ok(received),
        }
    }
}
