//! A small HTTP client, HTTP/1.1 or h2c, with header values as bytes and errors as values.
//!
//! A client owns a fixed number of persistent connections and uses them in turn: Envoy binds a connection to one
//! worker, so a test that must see every worker opens several.

mod connection;
mod frames;
mod message;
mod outgoing;
mod tunnel;

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
pub use message::{Failure, Protocol, Request, Response};
pub use tunnel::Tunnel;

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

    /// Sends a request on a connection of its own and returns as soon as the response headers have arrived.
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

/// An answer whose headers have arrived and whose body is still coming.
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
