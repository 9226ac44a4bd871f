//! One persistent connection, opened at first use and again if the peer has closed it.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::message::{Failure, Protocol, Request, Response};
use super::outgoing::Outgoing;
use crate::runtime::runtime;

enum Sender {
    Http1(http1::SendRequest<Outgoing>),
    Http2(http2::SendRequest<Outgoing>),
}

pub(super) struct Connection {
    address: SocketAddr,
    protocol: Protocol,
    sender: Mutex<Option<Sender>>,
}

impl Connection {
    pub(super) fn new(address: SocketAddr, protocol: Protocol) -> Self {
        Self { address, protocol, sender: Mutex::new(None) }
    }

    /// Sends a request and reads the whole answer. HTTP/1.1 takes one request at a time, so its connection stays
    /// locked until then; HTTP/2 requests run side by side.
    pub(super) async fn exchange(&self, request: &Request) -> Result<Response, Failure> {
        let mut held = self.sender.lock().await;
        let message = build(request, self.protocol)?;
        self.revive(&mut held).await?;
        let answer = match held.as_mut() {
            Some(Sender::Http1(sender)) => collect(sender.send_request(message).await).await,
            Some(Sender::Http2(sender)) => {
                let mut sender = sender.clone();
                drop(held);
                return collect(sender.send_request(message).await).await;
            }
            None => return Err(Failure::Connect("no connection".into())),
        };
        if answer.is_err() {
            *held = None;
        }
        answer
    }

    /// Sends a request and returns at the response headers; the connection must not be used for another.
    pub(super) async fn open(&self, request: &Request) -> Result<hyper::Response<Incoming>, Failure> {
        let mut held = self.sender.lock().await;
        let message = build(request, self.protocol)?;
        self.revive(&mut held).await?;
        let answer = match held.as_mut() {
            Some(Sender::Http1(sender)) => sender.send_request(message).await,
            Some(Sender::Http2(sender)) => sender.send_request(message).await,
            None => return Err(Failure::Connect("no connection".into())),
        };
        answer.map_err(|error| Failure::Send(describe(&error)))
    }

    /// Closes the connection: an answer that comes too late must not be taken for the next one's.
    pub(super) fn abandon(&self) {
        // Another request holding it has found it unusable by itself, or is a concurrent one of HTTP/2.
        if let Ok(mut held) = self.sender.try_lock() {
            *held = None;
        }
    }

    async fn revive(&self, held: &mut Option<Sender>) -> Result<(), Failure> {
        let live = match held.as_mut() {
            Some(Sender::Http1(sender)) => sender.ready().await.is_ok(),
            Some(Sender::Http2(sender)) => sender.ready().await.is_ok(),
            None => false,
        };
        if !live {
            *held = Some(self.connect().await.map_err(|error| Failure::Connect(describe(&*error)))?);
        }
        Ok(())
    }

    async fn connect(&self) -> Result<Sender, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let stream = TokioIo::new(stream);
        match self.protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::handshake(stream).await?;
                runtime().spawn(connection);
                Ok(Sender::Http1(sender))
            }
            Protocol::Http2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
                runtime().spawn(connection);
                Ok(Sender::Http2(sender))
            }
        }
    }
}

fn build(request: &Request, protocol: Protocol) -> Result<hyper::Request<Outgoing>, Failure> {
    let is_host = |name: &str| name.eq_ignore_ascii_case("host");
    let host = request.headers.iter().find(|(name, _)| is_host(name));
    let host = host.map_or(b"localhost".as_slice(), |(_, value)| value);
    let mut builder = hyper::Request::builder().method(request.method.as_str());
    builder = match protocol {
        Protocol::Http1 => builder.uri(request.path.as_str()).header("host", host),
        Protocol::Http2 => builder.uri(format!("http://{}{}", String::from_utf8_lossy(host), request.path)),
    };
    for (name, value) in request.headers.iter().filter(|(name, _)| !is_host(name)) {
        builder = builder.header(name.as_str(), value.as_slice());
    }
    builder
        .body(Outgoing::new(request.body.clone(), request.is_streamed))
        .map_err(|error| Failure::Request(error.to_string()))
}

/// Status and headers, without the body.
pub(super) fn head(response: &hyper::Response<Incoming>) -> Response {
    let headers = response.headers().iter();
    Response {
        status: response.status().as_u16(),
        headers: headers.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect(),
        body: Bytes::new(),
    }
}

async fn collect(answer: hyper::Result<hyper::Response<Incoming>>) -> Result<Response, Failure> {
    let response = answer.map_err(|error| Failure::Send(describe(&error)))?;
    let head = head(&response);
    let body = response.into_body().collect().await;
    let body = body.map_err(|error| Failure::Body(head.status, describe(&error)))?;
    Ok(Response { body: body.to_bytes(), ..head })
}

/// An error with its causes: hyper's own text often says only that there was one.
pub(super) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
