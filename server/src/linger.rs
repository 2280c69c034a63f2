//! What a client goes on sending when it has its answer.
//!
//! It may send all of its request before it looks at the answer. Closing the connection under it would lose that; so what comes is
//! read and forgotten, for a while.

use std::time::Duration;

use tokio::time::timeout;

/// How long a client may be quiet meanwhile.
const QUIET: Duration = Duration::from_secs(2);

/// Has `more` take what comes until it says that there is no more, for as long as a client may keep the server waiting.
pub async fn forget(patience: Duration, mut more: impl AsyncFnMut() -> bool) {
    let all = async { while matches!(timeout(QUIET, more()).await, Ok(true)) {} };
    let _ = timeout(patience, all).await;
}

/// A request's body whose reader may stop at any time, and on any thread: the connection goes on.
#[cfg(feature = "php")]
pub use lingering::Lingering;

#[cfg(feature = "php")]
mod lingering {
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use std::time::Duration;

    use http_body_util::BodyExt;
    use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
    use tokio::runtime::Handle;

    /// See [`super::Lingering`].
    pub struct Lingering {
        /// Always there until the drop.
        body: Option<Incoming>,
        patience: Duration,
        /// Where its rest is read.
        runtime: Handle,
    }

    impl Lingering {
        /// A body of a request that is being answered on this runtime.
        pub fn new(body: Incoming, patience: Duration) -> Lingering {
            Lingering { body: Some(body), patience, runtime: Handle::current() }
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
            if let Some(mut body) = self.body.take().filter(|body| !body.is_end_stream()) {
                self.runtime
                    .spawn(super::forget(self.patience, async move || matches!(body.frame().await, Some(Ok(_)))));
            }
        }
    }
}
