//! What a server does with one request.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::json;

use super::behaviour::{Answer, Behaviour};
use super::body::{BoxError, Reply, broken, endless, events, full, with_trailers};
use super::health;
use super::received::Received;
use super::shared::Shared;

/// Answers one request. An error makes hyper close the connection or reset the stream without an answer.
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
        Answer::Echo | Answer::Grpc(_) if health::is_call(&received) => {
            let reply =
                health::answer(hyper::Request::from_parts(head, Full::new(received.body)), &behaviour).await;
            return decorate(reply, &behaviour, &shared.name);
        }
        Answer::Echo | Answer::Grpc(_) => full(echo(&received, &shared.name)),
        Answer::Bytes(bytes) => full(bytes.clone()),
        Answer::Endless(bytes) => endless(bytes.clone()),
        Answer::ResetInBody => broken(),
        Answer::GrpcTrailers(code) => with_trailers(*code),
        Answer::Events { interval, duration } => events(*interval, *duration),
    };
    let content_type = match behaviour.answer {
        Answer::Echo | Answer::Grpc(_) => "application/json",
        Answer::Events { .. } => "text/event-stream",
        Answer::GrpcTrailers(_) => "application/grpc",
        Answer::Bytes(_) | Answer::Endless(_) | Answer::Reset | Answer::ResetInBody => {
            "application/octet-stream"
        }
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

/// A value as text, or as `hex:…` if it is not UTF-8.
fn shown(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) => text.to_owned(),
        Err(_) => value.iter().fold("hex:".to_owned(), |text, byte| format!("{text}{byte:02x}")),
    }
}
