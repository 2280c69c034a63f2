//! A client's connection, which loses nothing of what was answered when it ends.
//!
//! * hyper drops a connection whose response's body fails, with all that it has buffered: that response's head may be among that, and
//!   answers to the requests before it. So a failure waits ([`Told`]) until hyper has nothing buffered any more. Then it flushes its
//!   socket.
//! * The system resets a connection that is closed before all has been read that the client sent, and forgets what it has not sent
//!   yet. So it is closed in steps: nothing more is sent, then what comes is read and forgotten, until the client closes its end or
//!   some time has passed.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use crate::linger::forget;

/// The socket.
pub struct Wire {
    /// Always there until the drop.
    stream: Option<TcpStream>,
    /// The client sends nothing more, or is gone.
    over: bool,
    /// How long the client may keep it when it is to be closed.
    patience: Duration,
    flushes: Arc<Flushes>,
}

/// How often all that there was to send had been given to the system.
#[derive(Default)]
pub struct Flushes {
    count: AtomicU64,
    /// The connection's own task: it sends one response at a time.
    waiting: AtomicWaker,
}

impl Wire {
    /// Of a connection.
    pub fn new(stream: TcpStream, patience: Duration) -> Wire {
        Wire { stream: Some(stream), over: false, patience, flushes: Arc::default() }
    }

    /// For the bodies of its responses.
    pub fn flushes(&self) -> Arc<Flushes> {
        self.flushes.clone()
    }

    /// Does something with the stream, and notes that it is broken.
    fn poll<T>(&mut self, work: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        let done = work(Pin::new(stream));
        self.over |= matches!(done, Poll::Ready(Err(_)));
        done
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, task: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.remaining();
        ready!(self.poll(|stream| stream.poll_read(task, buffer)))?;
        self.over |= before > 0 && buffer.remaining() == before;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(|stream| stream.poll_write(task, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(|stream| stream.poll_write_vectored(task, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll(|stream| stream.poll_flush(task)))?;
        self.flushes.count.fetch_add(1, Ordering::Relaxed);
        self.flushes.waiting.wake();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_shutdown(task))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take().filter(|_| !self.over)
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(close(stream, self.patience));
        }
    }
}

/// Closes a connection in steps.
async fn close(mut stream: TcpStream, patience: Duration) {
    if stream.shutdown().await.is_ok() {
        let mut bytes = vec![0; 16 << 10];
        forget(patience, async move || stream.read(&mut bytes).await.is_ok_and(|count| count > 0)).await;
    }
}

/// A body whose failure is told when what was answered before has been sent.
pub struct Told<B: Body> {
    body: B,
    flushes: Arc<Flushes>,
    /// The failure, and how many flushes there were before it.
    failure: Option<(B::Error, u64)>,
}

impl<B: Body> Told<B> {
    /// Of a response on the connection that these are of.
    pub fn new(body: B, flushes: Arc<Flushes>) -> Told<B> {
        Told { body, flushes, failure: None }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Told<B>
where
    B::Error: Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.failure.is_none() {
            match ready!(Pin::new(&mut self.body).poll_frame(task)) {
                Some(Err(error)) => self.failure = Some((error, self.flushes.count.load(Ordering::Relaxed))),
                other => return Poll::Ready(other),
            }
        }
        // A pending body has hyper flush.
        self.flushes.waiting.register(task.waker());
        let count = self.flushes.count.load(Ordering::Relaxed);
        match self.failure.take_if(|(_, before)| count > *before) {
            Some((error, _)) => Poll::Ready(Some(Err(error))),
            None => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http_body_util::{BodyExt, Full, StreamBody};
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper::{Request, Response};
    use hyper_util::rt::TokioIo;
    use tokio::net::TcpListener;

    use super::*;

    /// More than the system takes for a client that does not read.
    const LARGE: usize = 16 << 20;

    /// `/whole` is large, `/cut` breaks off after a few bytes.
    async fn serve(stream: TcpStream) {
        let wire = Wire::new(stream, Duration::from_secs(5));
        let flushes = wire.flushes();
        let service = service_fn(|request: Request<hyper::body::Incoming>| {
            let some = Ok(Frame::data(Bytes::from_static(b"some")));
            let cut = || StreamBody::new(stream::iter([some, Err(io::Error::other("cut off"))]));
            let body = match request.uri().path() {
                "/whole" => Full::from(vec![b'x'; LARGE]).map_err(|never| match never {}).boxed(),
                _ => cut().boxed(),
            };
            let response = Response::new(Told::new(body, flushes.clone()));
            async { Ok::<_, Infallible>(response) }
        });
        http1::Builder::new().serve_connection(TokioIo::new(wire), service).await.expect_err("cut off");
    }

    #[tokio::test]
    async fn what_was_answered_before_a_cut_arrives() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut client = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("a connection");
        let server = tokio::spawn(serve(listener.accept().await.expect("a connection").0));
        client
            .write_all(b"GET /whole HTTP/1.1\r\n\r\nGET /cut HTTP/1.1\r\n\r\nGET /never HTTP/1.1\r\n\r\n")
            .await
            .expect("sent");
        // Both have been answered by then, as far as the server can.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.expect("an end in order");
        server.await.expect("no panic");
        let heads = all.windows(15).filter(|window| window == b"HTTP/1.1 200 OK").count();
        assert_eq!((heads, all.iter().filter(|byte| **byte == b'x').count()), (2, LARGE));
        assert!(all.ends_with(b"\r\n4\r\nsome\r\n"), "{}", String::from_utf8_lossy(&all[all.len() - 100..]));
    }
}
