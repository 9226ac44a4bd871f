//! The body of a request: whole with its length, or in pieces whose sum nobody is told.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// The largest piece of a body of unknown length.
const PIECE: usize = 64 * 1024;

/// What is still to be sent.
pub(super) struct Outgoing {
    rest: Bytes,
    is_streamed: bool,
}

impl Outgoing {
    pub(super) fn new(body: Bytes, is_streamed: bool) -> Self {
        Self { rest: body, is_streamed }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = if self.is_streamed { self.rest.len().min(PIECE) } else { self.rest.len() };
        let piece = self.rest.split_to(piece);
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        !self.is_streamed && self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_streamed { SizeHint::default() } else { SizeHint::with_exact(self.rest.len() as u64) }
    }
}
