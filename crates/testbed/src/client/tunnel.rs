//! An upgrade over HTTP/2: an extended CONNECT (RFC 8441), and the bytes that go through it.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::connection::describe;
use super::message::{Failure, Request};
use crate::runtime::{runtime, wait};
use crate::time::PATIENCE;

/// An open tunnel. Its connection ends with it.
pub struct Tunnel {
    stream: Arc<Mutex<TokioIo<Upgraded>>>,
    // Dropped earlier it would close under the stream.
    _sender: http2::SendRequest<Empty<Bytes>>,
}

impl Tunnel {
    /// Asks for this protocol (`websocket`) on a connection of its own. The method and the body of `request` are ignored.
    pub fn open(address: SocketAddr, protocol: &'static str, request: &Request) -> Result<Self, Failure> {
        let request = request.clone();
        wait(async move {
            tokio::time::timeout(PATIENCE, open(address, protocol, &request))
                .await
                .map_err(|_| Failure::Timeout)?
        })
    }

    /// Sends bytes, and waits until as many have come back.
    pub fn exchange(&self, bytes: Vec<u8>) -> Result<Vec<u8>, Failure> {
        let stream = Arc::clone(&self.stream);
        wait(async move {
            let mut stream = stream.lock().await;
            let exchange = async {
                stream.write_all(&bytes).await?;
                let mut received = vec![0; bytes.len()];
                stream.read_exact(&mut received).await?;
                std::io::Result::Ok(received)
            };
            let done = tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| Failure::Timeout)?;
            done.map_err(|error| Failure::Body(200, describe(&error)))
        })
    }
}

async fn open(address: SocketAddr, protocol: &'static str, request: &Request) -> Result<Tunnel, Failure> {
    let connect = |error: &dyn std::error::Error| Failure::Connect(describe(error));
    let stream = TcpStream::connect(address).await.map_err(|error| connect(&error))?;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(|error| connect(&error))?;
    runtime().spawn(connection);
    let uri = format!("http://localhost{}", request.path);
    let mut builder =
        hyper::Request::builder().method("CONNECT").uri(uri).extension(Protocol::from_static(protocol));
    for (name, value) in &request.headers {
        builder = builder.header(name.as_str(), value.as_slice());
    }
    let message = builder.body(Empty::new()).map_err(|error| Failure::Request(error.to_string()))?;
    sender.ready().await.map_err(|error| connect(&error))?;
    let answer = sender.send_request(message).await.map_err(|error| Failure::Send(describe(&error)))?;
    if answer.status() != hyper::StatusCode::OK {
        return Err(Failure::Send(format!("the tunnel was refused with {}", answer.status())));
    }
    let upgraded = hyper::upgrade::on(answer).await.map_err(|error| Failure::Send(describe(&error)))?;
    Ok(Tunnel { stream: Arc::new(Mutex::new(TokioIo::new(upgraded))), _sender: sender })
}
