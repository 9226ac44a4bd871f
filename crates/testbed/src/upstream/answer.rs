//! What a server does with one request.

use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use serde_json::json;
use tokio::sync::mpsc;

use super::{Received, Shared};
use crate::grpc;

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Reply = hyper::Response<UnsyncBoxBody<Bytes, BoxError>>;

/// How a server answers; changes apply from the next request on.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// The status code.
    pub status: u16,
    /// Waits so long before the response headers.
    pub delay: Duration,
    /// Response headers besides its own.
    pub headers: Vec<(String, Vec<u8>)>,
    /// What follows.
    pub answer: Answer,
}

/// The rest of an answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A JSON echo of the request; to a gRPC health check, SERVING.
    Echo,
    /// These bytes.
    Bytes(Bytes),
    /// No answer: the connection is closed (HTTP/1.1) or the stream reset (HTTP/2) once the request is read.
    Reset,
    /// Headers and a first piece, then the connection or stream is broken off.
    ResetInBody,
    /// Server-sent events, one each `interval`, for as long as `duration`.
    Events {
        /// Between two events.
        interval: Duration,
        /// Of the whole.
        duration: Duration,
    },
    /// To a gRPC call: this status code as a trailers-only answer. To others: an echo.
    Grpc(u8),
    /// A message and then trailers with this gRPC status.
    GrpcTrailers(u8),
}

impl Behaviour {
    /// 200 with an echo.
    pub fn ok() -> Self {
        Self::status(200)
    }

    /// This status with an echo.
    pub fn status(status: u16) -> Self {
        Self { status, delay: Duration::ZERO, headers: Vec::new(), answer: Answer::Echo }
    }

    /// 200 with an echo, after a while.
    pub fn delayed(delay: Duration) -> Self {
        Self { delay, ..Self::ok() }
    }

    /// A reset before the response headers.
    pub fn reset() -> Self {
        Self { answer: Answer::Reset, ..Self::ok() }
    }

    /// A reset in the body.
    pub fn reset_in_body() -> Self {
        Self { answer: Answer::ResetInBody, ..Self::ok() }
    }

    /// Server-sent events.
    pub fn events(interval: Duration, duration: Duration) -> Self {
        Self { answer: Answer::Events { interval, duration }, ..Self::ok() }
    }

    /// A gRPC status without a message, such as 14 for UNAVAILABLE.
    pub fn grpc(code: u8) -> Self {
        Self { answer: Answer::Grpc(code), ..Self::ok() }
    }

    /// A gRPC answer whose status comes in its trailers, as that of a stream does.
    pub fn grpc_trailers(code: u8) -> Self {
        Self { answer: Answer::GrpcTrailers(code), ..Self::ok() }.header("content-type", "application/grpc")
    }

    /// Adds a response header.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.into(), value.as_ref().to_vec()));
        self
    }

    /// Answers with these bytes.
    pub fn body(self, bytes: impl Into<Bytes>) -> Self {
        Self { answer: Answer::Bytes(bytes.into()), ..self }
    }

    /// Waits before the response headers.
    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }
}

/// Answers one request; an error makes hyper break off the connection or stream without an answer.
pub(super) async fn answer(
    request: hyper::Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Reply, BoxError> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let received = receive(&head, body);
    shared.record(&received);
    let choice = Arc::clone(&shared.choice.read().unwrap_or_else(PoisonError::into_inner));
    let behaviour = choice(&received);
    if !behaviour.delay.is_zero() {
        tokio::time::sleep(behaviour.delay).await;
    }
    let content = match &behaviour.answer {
        Answer::Reset => return Err("told to reset".into()),
        Answer::Echo | Answer::Grpc(_) if grpc::is_call(&received) => {
            let reply =
                grpc::answer(hyper::Request::from_parts(head, Full::new(received.body)), &behaviour).await;
            return decorate(reply, &behaviour, &shared.name);
        }
        Answer::Echo | Answer::Grpc(_) => full(echo(&received, &shared.name)),
        Answer::Bytes(bytes) => full(bytes.clone()),
        Answer::ResetInBody => broken(),
        Answer::GrpcTrailers(code) => with_trailers(*code),
        Answer::Events { interval, duration } => events(*interval, *duration),
    };
    let content_type = match behaviour.answer {
        Answer::Echo | Answer::Grpc(_) => "application/json",
        Answer::Events { .. } => "text/event-stream",
        Answer::GrpcTrailers(_) => "application/grpc",
        Answer::Bytes(_) | Answer::Reset | Answer::ResetInBody => "application/octet-stream",
    };
    let mut builder = hyper::Response::builder().status(behaviour.status);
    if !behaviour.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        builder = builder.header("content-type", content_type);
    }
    decorate(builder.body(content)?, &behaviour, &shared.name)
}

fn decorate(mut reply: Reply, behaviour: &Behaviour, name: &str) -> Result<Reply, BoxError> {
    let own = [("x-upstream".to_owned(), name.as_bytes().to_vec())];
    for (name, value) in own.iter().chain(&behaviour.headers) {
        let name = hyper::header::HeaderName::from_bytes(name.as_bytes())?;
        reply.headers_mut().append(name, hyper::header::HeaderValue::from_bytes(value)?);
    }
    Ok(reply)
}

fn receive(head: &hyper::http::request::Parts, body: Bytes) -> Received {
    let host = head.headers.get("host").map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let headers = head.headers.iter();
    Received {
        method: head.method.to_string(),
        path: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        host: head.uri.authority().map(ToString::to_string).or(host).unwrap_or_default(),
        headers: headers.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect(),
        body_length: body.len(),
        body,
        at: Instant::now(),
    }
}

fn echo(received: &Received, name: &str) -> Bytes {
    let headers: Vec<_> = received.headers.iter().map(|(name, value)| json!([name, shown(value)])).collect();
    let echo = json!({
        "upstream": name,
        "method": received.method,
        "path": received.path,
        "host": received.host,
        "headers": headers,
        "body_length": received.body_length
    });
    Bytes::from(echo.to_string())
}

/// A value as text, or as `hex:…` when it isn't UTF-8.
fn shown(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) => text.to_owned(),
        Err(_) => value.iter().fold("hex:".to_owned(), |text, byte| format!("{text}{byte:02x}")),
    }
}

fn full(bytes: Bytes) -> UnsyncBoxBody<Bytes, BoxError> {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// A body fed by a task, which stops when the peer goes away.
struct Fed(mpsc::Receiver<Result<Bytes, BoxError>>);

impl Body for Fed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

/// An empty message, then the status.
fn with_trailers(code: u8) -> UnsyncBoxBody<Bytes, BoxError> {
    let mut trailers = hyper::HeaderMap::new();
    trailers.insert("grpc-status", hyper::header::HeaderValue::from(u16::from(code)));
    let message = Full::new(Bytes::from_static(&[0; 5])).map_err(|never| match never {});
    message.with_trailers(std::future::ready(Some(Ok(trailers)))).boxed_unsync()
}

fn broken() -> UnsyncBoxBody<Bytes, BoxError> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let _ = sender.send(Ok(Bytes::from_static(b"the first piece"))).await;
        // Headers and piece must be on the wire first, or hyper drops them with the connection.
        tokio::time::sleep(Duration::from_millis(30)).await;
        let _ = sender.send(Err("told to reset".into())).await;
    });
    Fed(receiver).boxed_unsync()
}

fn events(interval: Duration, duration: Duration) -> UnsyncBoxBody<Bytes, BoxError> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let begun = Instant::now();
        for number in 0_u32.. {
            if sender.send(Ok(Bytes::from(format!("data: {number}\n\n")))).await.is_err() {
                return;
            }
            // By the clock from the start, so that late wake-ups do not add up.
            let due = interval * (number + 1);
            tokio::time::sleep_until((begun + due.min(duration)).into()).await;
            if due >= duration {
                return;
            }
        }
    });
    Fed(receiver).boxed_unsync()
}
