//! `sidestack fibers`, and what SIGQUIT prints: what every fiber is at.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use sidestack::FiberInfo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::signal::unix::Signal;

use crate::cli::Fibers;
use crate::output::{Output, printable};
use crate::report::own_name;
use crate::site::{Live, Site};
use crate::units::{count, show_time};
use crate::{listen, socket};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// From one look to the next.
const WATCH: Duration = Duration::from_secs(1);

/// What `/fibers` answers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    interpreters: usize,
    queued: usize,
    fibers: Vec<Row>,
}

/// One fiber.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    id: Option<u64>,
    state: String,
    age_ms: u64,
    waits_for: Option<String>,
    at: Option<String>,
    label: Option<String>,
    guest: String,
    interpreter: u32,
    /// How long it has held an interpreter that does not answer.
    held_ms: Option<u64>,
    /// Of C, then of its script, innermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    stack: Vec<String>,
}

impl From<FiberInfo> for Row {
    fn from(fiber: FiberInfo) -> Self {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Row {
            id: fiber.id,
            state: fiber.state.to_string(),
            age_ms: ms(fiber.age),
            waits_for: fiber.waits_for,
            at: fiber.at,
            label: fiber.label,
            guest: fiber.guest.into(),
            interpreter: fiber.interpreter,
            held_ms: fiber.held.map(ms),
            stack: fiber.backtrace.frames().iter().map(ToString::to_string).collect(),
        }
    }
}

impl Report {
    /// Of a site, now.
    pub async fn of(site: &Site, stacks: bool) -> Report {
        let engine = site.engine();
        let fibers = match stacks {
            // Names of frames are read from the program's file: that takes a while, the first time.
            true => {
                let found = engine.fibers_with_stacks().await;
                tokio::task::spawn_blocking(|| found.into_iter().map(Row::from).collect()).await.unwrap_or_default()
            }
            false => engine.fibers().await.into_iter().map(Row::from).collect(),
        };
        Report { interpreters: engine.metrics().interpreters, queued: site.queued(), fibers }
    }

    /// As people read it.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let line = |text: &mut String, id: &str, state: &str, age: &str, waits_for: &str, at: &str, label: &str| {
            let row = format!("  {id:<6} {state:<10} {age:<8} {waits_for:<28} {at:<18} {label}");
            let _ = writeln!(text, "{}", row.trim_end());
        };
        line(&mut text, "ID", "STATE", "AGE", "WAITS FOR", "AT", "LABEL");
        for row in &self.fibers {
            let id = row.id.map_or_else(|| "-".into(), |id| id.to_string());
            let age = show_time(Duration::from_millis(row.age_ms));
            // Labels are what clients sent, and the server may be another than it seems.
            let shown = |text: &Option<String>| printable(text.as_deref().unwrap_or("-")).to_string();
            line(&mut text, &id, &printable(&row.state), &age, &row.waits_for(), &shown(&row.at), &shown(&row.label));
            for frame in &row.stack {
                let _ = writeln!(text, "           {}", printable(frame));
            }
        }
        let _ = writeln!(
            text,
            "  {}; {}; {} queued",
            count(self.fibers.iter().filter(|row| row.id.is_some()).count(), "fiber"),
            count(self.interpreters, "interpreter"),
            self.queued
        );
        text
    }
}

impl Row {
    fn waits_for(&self) -> String {
        let name = self.waits_for.as_deref().map(own_name);
        let name = printable(name.unwrap_or("-")).to_string();
        match self.held_ms {
            Some(held) => format!("{name} (held {})", show_time(Duration::from_millis(held))),
            None => name,
        }
    }
}

/// Prints the table whenever the signal comes.
pub async fn at_quit(mut quit: Signal, live: Arc<Live>, output: Output) {
    while quit.recv().await.is_some() {
        output.lines(&Report::of(&live.site(), true).await.table());
    }
}

/// Runs the command.
pub async fn run(options: Fibers) -> ExitCode {
    if let Some(fiber) = options.kill {
        return match kill(&options, fiber).await {
            Ok((ended, answer)) => {
                println!("{}", printable(&answer));
                if ended { ExitCode::SUCCESS } else { ExitCode::FAILURE }
            }
            Err(error) => failed(&error),
        };
    }
    loop {
        let text = match ask(&options).await {
            Ok(report) if options.json => serde_json::to_string(&report).map(|text| text + "\n").map_err(Into::into),
            Ok(report) => Ok(report.table()),
            Err(error) => Err(error),
        };
        let mut out = std::io::stdout().lock();
        let text = match text {
            Ok(text) => text,
            Err(error) => return failed(&error),
        };
        // Home, and what was there before is gone.
        let before = if options.watch && !options.json && out.is_terminal() { "\x1b[H\x1b[2J" } else { "" };
        // It fails when nobody reads on.
        if write!(out, "{before}{text}").and_then(|()| out.flush()).is_err() || !options.watch {
            return ExitCode::SUCCESS;
        }
        drop(out);
        tokio::time::sleep(WATCH).await;
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

async fn ask(options: &Fibers) -> anyhow::Result<Report> {
    let (status, body, place) =
        request(options, Method::GET, if options.stacks { "/fibers?stacks" } else { "/fibers" }).await?;
    if status != 200 {
        bail!("{} (it answered {status})", other(&place));
    }
    serde_json::from_slice(&body).with_context(|| other(&place))
}

/// Ends a fiber; whether there was one, and what the server says.
async fn kill(options: &Fibers, fiber: u64) -> anyhow::Result<(bool, String)> {
    let (status, body, place) = request(options, Method::POST, &format!("/fibers/{fiber}/cancel")).await?;
    if !matches!(status.as_u16(), 200 | 202 | 404) {
        bail!("{} (it answered {status})", other(&place));
    }
    let answer = String::from_utf8_lossy(&body);
    Ok((status.is_success(), format!("fiber {fiber}: {}", answer.trim_end())))
}

fn other(place: &str) -> String {
    format!("{place} is not a server's admin address: it is the one that --admin gives, not --listen")
}

/// Asks the server, which is found by its socket if nobody says where it is: status and body, and where that was.
async fn request(options: &Fibers, method: Method, path: &str) -> anyhow::Result<(StatusCode, Bytes, String)> {
    let answer = async {
        match &options.admin {
            Some(admin) => {
                let address = listen::complete(admin);
                let stream = TcpStream::connect(&address).await.with_context(|| {
                    format!(
                        "no server's admin address is at {address}\n  start the server with `sidestack serve --admin {address} …`, \
                         or say where it is with --admin\n  the system said"
                    )
                })?;
                exchange(stream, method, path, address).await
            }
            None => {
                let (process, stream) = socket::find(options.pid).await?;
                exchange(stream, method, path, format!("the socket of process {process}")).await
            }
        }
    };
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer,
        Err(_) => bail!("the server does not answer within {} s", PATIENCE.as_secs()),
    }
}

async fn exchange<S>(
    stream: S,
    method: Method,
    path: &str,
    place: String,
) -> anyhow::Result<(StatusCode, Bytes, String)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.with_context(|| other(&place))?;
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header(HOST, "admin").body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await.with_context(|| other(&place))?;
    let status = response.status();
    let body = response.into_body().collect().await.with_context(|| other(&place))?.to_bytes();
    Ok((status, body, place))
}
