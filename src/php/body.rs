//! Bodies: of requests, as the host has them, and of responses, as they come.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use http_body::{Frame, SizeHint};

use super::exchange::Exchange;
use crate::Error;

/// A body of a request or a response: a stream of bytes.
///
/// As a response's it ends with an error if the page's call did. Dropping it early tells the script, at its next output,
/// that the client went away.
pub struct Body(Kind);

enum Kind {
    /// All there is.
    Whole(Option<Bytes>),
    /// The host's own.
    Foreign(Pin<Box<dyn http_body::Body<Data = Bytes, Error = BoxError> + Send>>),
    /// What a page writes.
    Page(Output),
}

/// What host bodies may fail with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The reading end of a page's output.
pub(super) struct Output {
    pub chunks: Pin<Box<async_channel::Receiver<Bytes>>>,
    pub exchange: Arc<Exchange>,
}

impl Body {
    /// Nothing.
    pub fn empty() -> Self {
        Body(Kind::Whole(None))
    }

    /// A stream of the host's own, such as hyper's `Incoming`.
    pub fn new<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Body(Kind::Foreign(Box::pin(Mapped(Box::pin(body)))))
    }

    pub(super) fn whole(bytes: Bytes) -> Self {
        Body(Kind::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }

    pub(super) fn page(output: Output) -> Self {
        Body(Kind::Page(output))
    }

    /// What broke the page off.
    pub(super) fn take_failure(&self) -> Option<Error> {
        match &self.0 {
            Kind::Page(output) => output.exchange.take_failure(),
            Kind::Whole(_) | Kind::Foreign(_) => None,
        }
    }

    /// The next bytes, never empty; `None` at the end.
    pub async fn chunk(&mut self) -> Option<Result<Bytes, BoxError>> {
        poll_fn(|task| self.poll_chunk(task)).await
    }

    /// All bytes that are left.
    pub async fn collect(mut self) -> Result<Vec<u8>, BoxError> {
        let mut all = Vec::new();
        while let Some(chunk) = self.chunk().await {
            all.extend_from_slice(&chunk?);
        }
        Ok(all)
    }

    pub(super) fn poll_chunk(&mut self, task: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        loop {
            let chunk = match &mut self.0 {
                Kind::Whole(bytes) => bytes.take().map(Ok),
                Kind::Foreign(body) => match std::task::ready!(body.as_mut().poll_frame(task)) {
                    None => None,
                    Some(Err(error)) => Some(Err(error)),
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => Some(Ok(data)),
                        Err(_) => continue,
                    },
                },
                Kind::Page(output) => match std::task::ready!(output.chunks.as_mut().poll_next(task)) {
                    Some(chunk) => Some(Ok(chunk)),
                    None => self.take_failure().map(|error| Err(error.into())),
                },
            };
            // What a stream ended with is not asked for again.
            if !matches!(chunk, Some(Ok(_))) {
                self.0 = Kind::Whole(None);
            }
            if !matches!(&chunk, Some(Ok(bytes)) if bytes.is_empty()) {
                return Poll::Ready(chunk);
            }
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.poll_chunk(task).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(bytes) => bytes.is_none(),
            Kind::Foreign(body) => body.is_end_stream(),
            Kind::Page(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Foreign(body) => body.size_hint(),
            Kind::Page(_) => SizeHint::default(),
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Body::empty()
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Body::whole(bytes.into())
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Body::whole(text.into())
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Body::whole(bytes)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Kind::Whole(None) => "Body(empty)",
            Kind::Whole(Some(_)) => "Body(bytes)",
            Kind::Foreign(_) => "Body(stream)",
            Kind::Page(_) => "Body(page)",
        })
    }
}

/// A host body with its errors boxed.
struct Mapped<B>(Pin<Box<B>>);

impl<B> http_body::Body for Mapped<B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.as_mut().poll_frame(task).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
