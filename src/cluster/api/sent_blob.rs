//! A blob on its way to whoever asked for it.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

/// Bytes that are handed to the connection at a time.
const PIECE: usize = 64 << 10;

/// The body of an answer. It counts as one of the blobs in memory until its last piece was handed to the connection, which
/// takes the next one when the one before is sent.
pub(super) struct SentBlob {
    left: Bytes,
    _permit: OwnedSemaphorePermit,
}

impl SentBlob {
    pub(super) fn new(bytes: Vec<u8>, permit: OwnedSemaphorePermit) -> SentBlob {
        SentBlob { left: bytes.into(), _permit: permit }
    }
}

impl HttpBody for SentBlob {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let piece = self.left.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.left.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}
