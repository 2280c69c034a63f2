//! Requests' bodies that nobody reads to their end.
//!
//! A client sends all of its body before it looks at the answer, and goes on with the same connection. Closing that under it
//! would lose answers: what is left of a body is read and forgotten, for a while.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;

/// How long a client may go on sending a body that is not wanted.
const LINGER: Duration = Duration::from_secs(2);

/// Reads and forgets for a while.
pub async fn linger(mut body: Incoming) {
    let all = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = tokio::time::timeout(LINGER, all).await;
}

/// A body whose reader may stop at any time, and on any thread.
#[cfg(feature = "php")]
pub use lingering::Lingering;

#[cfg(feature = "php")]
mod lingering {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
    use tokio::runtime::Handle;

    /// See [`super::Lingering`].
    pub struct Lingering {
        /// Always there until the drop.
        body: Option<Incoming>,
        /// Where its rest is read.
        runtime: Handle,
    }

    impl Lingering {
        /// A body of a request that is being answered on this runtime.
        pub fn new(body: Incoming) -> Lingering {
            Lingering { body: Some(body), runtime: Handle::current() }
        }
    }

    impl Body for Lingering {
        type Data = Bytes;
        type Error = hyper::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            task: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
            self.body.as_mut().map_or(Poll::Ready(None), |body| Pin::new(body).poll_frame(task))
        }

        fn is_end_stream(&self) -> bool {
            self.body.as_ref().is_none_or(Body::is_end_stream)
        }

        fn size_hint(&self) -> SizeHint {
            self.body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
        }
    }

    impl Drop for Lingering {
        fn drop(&mut self) {
            if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
                self.runtime.spawn(super::linger(body));
            }
        }
    }
}
