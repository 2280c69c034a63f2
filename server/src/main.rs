//! The Sidestack script server: `sidestack serve` answers HTTP with scripts, `sidestack run` runs one,
//! `sidestack fibers` shows what a server is at.

mod admin;
mod cli;
mod connection;
mod failure;
mod fibers;
mod guest;
mod handler;
mod linger;
mod listen;
mod metrics;
mod output;
#[cfg(feature = "php")]
mod php;
mod port;
mod report;
mod request;
mod response;
mod run;
mod serve;
mod signals;
mod site;
mod socket;
mod sources;
mod units;
mod watch;
mod wire;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command};

/// Of what Rust allocates. PHP and other C code have the C library's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
        Command::Fibers(options) => runtime.block_on(fibers::run(options)),
        Command::Run(options) => runtime.block_on(run::run(options)),
    };
    // What still runs there has been waited for as long as it was to be.
    runtime.shutdown_background();
    status
}
