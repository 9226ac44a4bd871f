//! The bodies that a server sends: whole, in pieces, broken off, or followed by trailers.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame};
use tokio::sync::mpsc;

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(super) type Reply = hyper::Response<UnsyncBoxBody<Bytes, BoxError>>;

pub(super) fn full(bytes: Bytes) -> UnsyncBoxBody<Bytes, BoxError> {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// A body that a task feeds. The task stops when the peer goes away.
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
pub(super) fn with_trailers(code: u8) -> UnsyncBoxBody<Bytes, BoxError> {
    let mut trailers = hyper::HeaderMap::new();
    trailers.insert("grpc-status", hyper::header::HeaderValue::from(u16::from(code)));
    let message = Full::new(Bytes::from_static(&[0; 5])).map_err(|never| match never {});
    message.with_trailers(std::future::ready(Some(Ok(trailers)))).boxed_unsync()
}

pub(super) fn endless(bytes: Bytes) -> UnsyncBoxBody<Bytes, BoxError> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move { while sender.send(Ok(bytes.clone())).await.is_ok() {} });
    Fed(receiver).boxed_unsync()
}

pub(super) fn broken() -> UnsyncBoxBody<Bytes, BoxError> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let _ = sender.send(Ok(Bytes::from_static(b"the first piece"))).await;
        // Headers and piece must be on the wire first, or hyper drops them with the connection.
        tokio::time::sleep(Duration::from_millis(30)).await;
        let _ = sender.send(Err("told to reset".into())).await;
    });
    Fed(receiver).boxed_unsync()
}

pub(super) fn events(interval: Duration, duration: Duration) -> UnsyncBoxBody<Bytes, BoxError> {
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
