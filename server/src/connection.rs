//! Connections: accepted, served, and brought to an end.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};

use crate::handler::{App, answer};

/// How long a client may take to send a request's head, and how long a connection is kept without one.
const HEAD: Duration = Duration::from_secs(60);

/// How long connections without a request are kept when the server ends: what is on its way arrives.
const IDLE: Duration = Duration::from_millis(200);

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
        // Without it small responses wait for acknowledgements. A connection that is gone shows that soon enough.
        let _ = stream.set_nodelay(true);
        let app = self.app.clone();
        let service = service_fn(move |request| {
            let app = app.clone();
            async move { Ok::<_, Infallible>(answer(app, request, remote).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .pipeline_flush(true)
            .serve_connection(TokioIo::new(stream), service);
        let connection = self.all.watch(connection);
        tokio::spawn(async move {
            // An error here is the client's: it went away, or it does not speak HTTP and has been told so.
            let _ = connection.await;
        });
    }

    /// Lets the requests that run end; connections end after their next response.
    pub async fn drain(self) {
        let idle = async {
            // Connections that were opened and not used would keep the server for long.
            let mut quiet = Duration::ZERO;
            let step = Duration::from_millis(20);
            while quiet < IDLE {
                tokio::time::sleep(step).await;
                quiet = if self.app.active.load(Ordering::Relaxed) == 0 { quiet + step } else { Duration::ZERO };
            }
        };
        tokio::select! {
            () = self.all.shutdown() => {}
            () = idle => {}
        }
    }
}
