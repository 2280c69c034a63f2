//! The Sidestack script server: `sidestack serve` answers HTTP with scripts, `sidestack run` runs one.

mod cli;
mod connection;
mod failure;
mod guest;
mod handler;
mod listen;
mod output;
mod port;
mod report;
mod request;
mod response;
mod run;
mod serve;
mod signals;
mod sources;
mod units;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start the async runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let status = match cli.command {
        Command::Serve(options) => runtime.block_on(serve::serve(options)),
        Command::Run(options) => runtime.block_on(run::run(options)),
    };
    // What still runs there has been waited for as long as it was to be.
    runtime.shutdown_background();
    status
}
