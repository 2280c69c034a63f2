//! `sidestack run`: one script, from its start to the end of the last task that it started.

use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::CommandFactory;
use clap::error::ErrorKind;
use serde::de::{self, Deserialize, Deserializer};
use sidestack::{Bytes, Engine, Error, Limit, Rest, Value};

use crate::cli::{Cli, Run};
use crate::output::{self, Style};
use crate::signals::{Signals, Stop};
use crate::sources::Sources;
use crate::units::Deadline;
use crate::{guest, report};

/// The exit status of a script that its deadline ended; that of `timeout(1)`.
const DEADLINE: u8 = 124;

/// From a cancel to the end of the process: more than an engine's grace, so that scripts can clean up.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Runs the command.
pub async fn run(options: Run) -> ExitCode {
    let style = Style::of_stderr();
    output::init_log(options.limits.log, style, std::io::stderr);
    match start(options, style).await {
        Ok(status) => status,
        Err(error) => {
            eprintln!("{}error{}: {error:#}", style.red, style.reset);
            ExitCode::FAILURE
        }
    }
}

async fn start(options: Run, style: Style) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new().context("cannot listen to signals")?;
    let mut args = options.file_and_args.into_iter();
    let file = PathBuf::from(args.next().context("no script to run")?);
    let args: Vec<Bytes> = args.map(|arg| Bytes(arg.into_vec())).collect();
    if file.as_os_str().as_encoded_bytes().starts_with(b"-") && !file.exists() {
        let message = format!("unexpected option `{}` before the script\n", file.display());
        Cli::command().error(ErrorKind::UnknownArgument, message).exit();
    }
    let path = guest::program_path(&file)?;
    let sources = Sources::of(&path);
    let Deadline(deadline) = options.deadline;
    let begun = Instant::now();
    let engine = guest::program_engine(&path, deadline, &options.limits)?;
    let mut work = std::pin::pin!(async {
        let script = engine.run_file::<Status>(&path, Rest(args)).label(file.display().to_string());
        // Nobody else calls.
        let status = script.detect_deadlock().await?;
        tasks(&engine).await;
        match engine.metrics().last_deadlock {
            Some(fibers) => Err(Error::Deadlock { fibers }),
            None => Ok(status),
        }
    });
    let overdue = async {
        match deadline {
            // The engine ends the script itself; what is left then are tasks in the background.
            Some(after) => tokio::time::sleep_until((begun + after + Duration::from_millis(100)).into()).await,
            None => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        outcome = &mut work => Ended::Itself(outcome),
        () = overdue => Ended::Overdue,
        stop = signals.next() => match stop {
            Stop::Interrupt => Ended::Stopped(stop),
            Stop::Terminate => tokio::select! {
                outcome = &mut work => Ended::Itself(outcome),
                () = tokio::time::sleep(options.drain) => Ended::Stopped(stop),
                again = signals.next() => Ended::Stopped(again),
            },
        },
    };
    // What still runs is cancelled, and has its chance to clean up.
    tokio::select! {
        _ = engine.shutdown(Duration::ZERO) => {}
        () = tokio::time::sleep(LAST_WORDS) => {}
        again = signals.next() => return Ok(again.status()),
    }
    let about = file.display().to_string();
    Ok(match ended {
        Ended::Itself(Ok(Status(status))) => ExitCode::from(status),
        Ended::Itself(Err(error)) => {
            eprint!("{}", report::report(&error, &about, None, &sources, style));
            match error {
                Error::Limit { which: Limit::Deadline, .. } => ExitCode::from(DEADLINE),
                _ => ExitCode::FAILURE,
            }
        }
        Ended::Overdue => {
            eprintln!(
                "  {}error[deadline]{} the tasks of {about} ran into the deadline of {}",
                style.red, style.reset, options.deadline
            );
            ExitCode::from(DEADLINE)
        }
        Ended::Stopped(stop) => stop.status(),
    })
}

enum Ended {
    Itself(Result<Status, Error>),
    Overdue,
    Stopped(Stop),
}

/// Waits until no fiber is left. The engine counts them, but tells nobody: it is asked, often at first.
async fn tasks(engine: &Engine) {
    let mut pause = Duration::from_micros(100);
    loop {
        let metrics = engine.metrics();
        if metrics.fibers + metrics.queued == 0 {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// An exit status, from what a script returns.
struct Status(u8);

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let number = match value {
            Value::Bool(good) => i64::from(!good),
            Value::Int(_) | Value::Float(_) => value.as_i64().unwrap_or(-1),
            // A script may return anything else, for whoever requires it.
            _ => 0,
        };
        u8::try_from(number)
            .map(Status)
            .map_err(|_| de::Error::custom("a script's exit status is an integer from 0 to 255"))
    }
}
