//! `sidestack serve`: start, answer, drain.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::net::TcpListener;

use crate::cli::Serve;
use crate::connection::Connections;
use crate::handler::App;
use crate::metrics::Metrics;
use crate::output::{self, Output, Style, Writing};
use crate::signals::{Signals, Stop};
use crate::site::{Live, Site};
use crate::units::{Deadline, show_size, show_time};
use crate::{admin, fibers, guest, listen, signals, socket, watch};

/// How long calls get to answer that they were cancelled.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Runs the command.
pub async fn serve(options: Serve) -> ExitCode {
    let (output, writing) = Output::start();
    output::init_log(options.limits.log, output.style(), {
        let output = output.clone();
        move || output.writer()
    });
    let options = Arc::new(options);
    let status = match run(&options, &output, &writing).await {
        Ok(status) => status,
        Err(error) => {
            let Style { red, reset, .. } = output.style();
            output.lines(&format!("{red}error{reset}: {error:#}\n"));
            ExitCode::FAILURE
        }
    };
    drop(writing);
    status
}

async fn run(options: &Arc<Serve>, output: &Output, writing: &Writing) -> anyhow::Result<ExitCode> {
    // From here on a signal is an orderly end.
    let mut signals = Signals::new().context("cannot listen to signals")?;
    let quit = signals::quit().context("cannot listen to signals")?;
    let Deadline(deadline) = options.deadline;
    let max_body = guest::bytes(options.max_body)?;
    let max_response = guest::bytes(options.max_response)?;
    let live = Arc::new(Live::new(Site::load(options, output).await?));
    let listener = listen::bind("--listen", &options.listen).await?;
    let admin = match &options.admin {
        Some(address) => Some(listen::bind("--admin", address).await?),
        None => None,
    };
    let admin_address = admin.as_ref().map(TcpListener::local_addr).transpose().context("cannot tell the address")?;
    let address = listener.local_addr().context("cannot tell the address")?;
    let app = Arc::new(App {
        metrics: Metrics::new(&live),
        live: live.clone(),
        output: output.clone(),
        max_body,
        max_response,
        deadline,
        patience: options.client_timeout,
        dev: options.dev,
        quiet: options.quiet,
        draining: AtomicBool::new(false),
        active: AtomicUsize::new(0),
        count: AtomicUsize::new(0),
    });
    banner(output, &live.site(), options, address, admin_address);
    tokio::spawn(fibers::at_quit(quit, live, output.clone()));
    if options.watch || !options.watch_path.is_empty() {
        tokio::spawn(watch::watch(options.clone(), app.clone()));
    }
    if let Some(listener) = admin {
        tokio::spawn(admin::serve(app.clone(), move |task| listener.poll_accept(task).map_ok(|(stream, _)| stream)));
    }
    let _named = match socket::bind() {
        Ok((listener, named)) => {
            let app = app.clone();
            tokio::spawn(admin::serve(app, move |task| listener.poll_accept(task).map_ok(|(stream, _)| stream)));
            Some(named)
        }
        Err(error) => {
            tracing::warn!(target: "sidestack", "no admin socket: {error}");
            None
        }
    };

    let connections = Connections::new(app.clone());
    let stop = tokio::select! {
        never = connections.accept(&listener) => match never {},
        stop = signals.next() => stop,
    };
    tokio::select! {
        () = end(options, output, &app, stop, listener, connections) => {}
        again = signals.next() => {
            output.lines(&format!("  {}: ended at once\n", again.name()));
            return Ok(again.status());
        }
    }
    if writing.left_out() > 0 {
        output.lines(&format!(
            "  {} log lines were left out: they came faster than they could be written\n",
            writing.left_out()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn banner(output: &Output, site: &Site, options: &Serve, address: SocketAddr, admin: Option<SocketAddr>) {
    let Style { bold, cyan, dim, green, reset, .. } = output.style();
    let version = concat!(env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));
    let engine = site.engine();
    let interpreters = match engine.metrics().interpreters {
        1 => "1 interpreter".to_string(),
        many => format!("{many} interpreters"),
    };
    let workers = site.workers().map_or_else(String::new, |workers| format!(" · {workers} workers"));
    let deadline = match options.deadline {
        Deadline(None) => "no deadline".to_string(),
        limit => format!("deadline {limit}"),
    };
    output.lines(&format!(
        "  {bold}Sidestack {version}{reset} {dim}· {} · {interpreters}{workers} · {deadline} · memory {} each{reset}\n  \
         {green}➜{reset} {cyan}http://{address}{reset}\n",
        engine.guest(),
        show_size(options.limits.memory.unwrap_or(site.memory())),
    ));
    if let Some(admin) = admin {
        output.lines(&format!("    {dim}metrics and fibers at {admin}{reset}\n"));
    }
}

/// Ends in order: 1. no new connections; 2. the requests that run have `--drain` to end; 3. they are cancelled, and answered
/// so; 4. the interpreters end.
async fn end(options: &Serve, output: &Output, app: &App, stop: Stop, listener: TcpListener, connections: Connections) {
    let (begun, site) = (Instant::now(), app.live.site());
    let running = app.active.load(Ordering::Relaxed);
    let requests = |count| if count == 1 { "1 request".to_string() } else { format!("{count} requests") };
    let left = match running {
        0 => "no request runs".to_string(),
        some => format!("{} may end within {}", requests(some), humantime::format_duration(options.drain)),
    };
    output.lines(&format!("  {}: no new connections; {left}\n", stop.name()));
    let mut drain = std::pin::pin!(connections.drain(listener));
    let mut cut = 0;
    if tokio::time::timeout(options.drain, &mut drain).await.is_err() {
        cut = app.active.load(Ordering::Relaxed);
        site.engine().shutdown(Duration::ZERO).await;
        let _ = tokio::time::timeout(LAST_WORDS, drain).await;
    }
    let _ = tokio::time::timeout(LAST_WORDS, site.stop()).await;
    let metrics = site.engine().shutdown(Duration::ZERO).await;
    let mut text = format!(
        "  ended after {}: {} answered",
        show_time(begun.elapsed()),
        requests(app.count.load(Ordering::Relaxed))
    );
    if cut > 0 {
        text.push_str(&format!(", {} cancelled", requests(cut)));
    }
    if metrics.stuck > 0 {
        text.push_str(&format!(", {} interpreters did not end", metrics.stuck));
    }
    output.lines(&(text + "\n"));
}
