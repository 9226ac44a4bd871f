//! How a server is told to answer.

use std::time::Duration;

use bytes::Bytes;

/// How a server answers; changes apply from the next request on.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// The status code.
    pub status: u16,
    /// The time before the response headers.
    pub delay: Duration,
    /// Response headers besides its own.
    pub headers: Vec<(String, Vec<u8>)>,
    /// What follows the headers.
    pub answer: Answer,
}

/// The rest of an answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A JSON echo of the request; to a gRPC health check, SERVING.
    Echo,
    /// These bytes.
    Bytes(Bytes),
    /// These bytes again and again for as long as the peer reads, so without a length.
    Endless(Bytes),
    /// No answer: the connection is closed (HTTP/1.1) or the stream reset (HTTP/2) once the request is read.
    Reset,
    /// Headers and a first piece, then the connection is closed or the stream reset.
    ResetInBody,
    /// Server-sent events, one per `interval`, for `duration`.
    Events {
        /// The time between two events.
        interval: Duration,
        /// The time of the whole answer.
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

    /// A gRPC answer whose status comes in its trailers, as in a stream.
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

    /// Answers with these bytes again and again, without an end.
    pub fn endless(self, bytes: impl Into<Bytes>) -> Self {
        Self { answer: Answer::Endless(bytes.into()), ..self }
    }

    /// Waits before the response headers.
    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }
}
