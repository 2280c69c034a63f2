//! Connections: accepted, served, and brought to an end.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};

use crate::handler::{App, Asked, answer};
use crate::wire::{Told, Wire};

/// How long connections without a request are kept when the server ends: what is on its way arrives.
const IDLE: Duration = Duration::from_millis(200);
/// It is counted in these, so that time does not count in which the machine had none for the server.
const STEP: Duration = Duration::from_millis(20);

/// All connections of a server.
pub struct Connections {
    app: Arc<App>,
    all: GracefulShutdown,
}

impl Connections {
    /// None yet.
    pub fn new(app: Arc<App>) -> Self {
        Connections { app, all: GracefulShutdown::new() }
    }

    /// Serves whoever comes; ends only by being dropped.
    pub async fn accept(&self, listener: &TcpListener) -> Infallible {
        loop {
            match listener.accept().await {
                Ok((stream, remote)) => self.serve(stream, remote),
                // The client's own: it is gone already.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
                Err(error) => {
                    // Most likely there are too many open files; they get fewer.
                    tracing::error!(target: "sidestack", "cannot accept a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn serve(&self, stream: TcpStream, remote: SocketAddr) {
        let patience = self.app.patience;
        // Without it small responses wait for acknowledgements. A connection that is gone shows that soon enough.
        let _ = stream.set_nodelay(true);
        // The kernel's own timeout, for a client that does not read: it also holds for what is left when we have closed.
        let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(patience));
        // One that is gone already has no address; nobody will read its answers.
        let Ok(local) = stream.local_addr() else { return };
        let wire = Wire::new(stream, patience);
        let (app, flushes) = (self.app.clone(), wire.flushes());
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let (app, flushes) = (app.clone(), flushes.clone());
            let (parts, body) = request.into_parts();
            async move {
                let reply = answer(app, Asked { parts, body, remote, local }).await;
                Ok::<_, Infallible>(reply.map(|body| Told::new(body, flushes)))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(patience)
            .serve_connection(TokioIo::new(wire), service);
        let connection = self.all.watch(connection);
        tokio::spawn(async move {
            // An error here is the client's: it went away, or it does not speak HTTP and has been told so.
            let _ = connection.await;
        });
    }

    /// Ends in order, so that no request is lost that was sent before its client could know:
    ///
    /// 1. connections that wait to be accepted are accepted, then nobody listens;
    /// 2. responses say that their connection closes; connections without a request are kept until none has come for a moment, as
    ///    one may be on its way;
    /// 3. connections without a request are closed; those with one, after its response.
    pub async fn drain(self, listener: TcpListener) {
        self.app.draining.store(true, Ordering::Relaxed);
        while let Some(Ok((stream, remote))) = listener.accept().now_or_never() {
            self.serve(stream, remote);
        }
        drop(listener);
        let app = self.app;
        let mut seen = app.count.load(Ordering::Relaxed);
        lasts(|| seen == std::mem::replace(&mut seen, app.count.load(Ordering::Relaxed))).await;
        // Connections that were opened and never used would keep the server for long.
        let unused = lasts(|| app.active.load(Ordering::Relaxed) == 0);
        tokio::select! {
            () = self.all.shutdown() => {}
            () = unused => {}
        }
    }
}

/// Waits until it has been quiet for [`IDLE`].
async fn lasts(mut quiet: impl FnMut() -> bool) {
    let mut so_far = Duration::ZERO;
    while so_far < IDLE {
        tokio::time::sleep(STEP).await;
        so_far = if quiet() { so_far + STEP } else { Duration::ZERO };
    }
}
