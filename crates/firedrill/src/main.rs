//! The `firedrill` program: reads the command line, calls the right room, prints, and sets the exit status.
//!
//! **What it never does**: decide. Every rule lives in the crates behind it.
//!
//! **Where to begin**: [`args`] for the grammar, [`commands`] for one module per subcommand.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is what this program is for")]

mod args;
mod attack_options;
mod commands;
mod connect;
mod credentials;
mod exit;
mod output;
mod people_args;
mod schedule_options;

use args::{Args, Command};
use clap::Parser;
use exit::Outcome;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let args = Args::parse();
    start_logging(&args.command);
    firedrill_api::client::install_crypto();
    let runtime = match runtime(&args.command) {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("firedrill: no event loop could be made: {error}");
            return ExitCode::from(exit::TOOL_ERROR);
        }
    };
    match runtime.block_on(commands::run(args)) {
        Ok(Outcome(status)) => ExitCode::from(status),
        Err(error) => {
            let code = exit::code_of(&error).map_or_else(String::new, |code| format!(" ({code})"));
            eprintln!("firedrill: {error:#}{code}");
            ExitCode::from(exit::status_of(&error))
        }
    }
}

/// Logs go to standard error, `FIREDRILL_LOG` sets the level (`debug`, `firedrill_server=trace`). Long-running roles
/// say what they do by default, other commands only warn.
fn start_logging(command: &Command) {
    let default = if command.is_long_running() { "info" } else { "warn" };
    let filter = EnvFilter::try_from_env("FIREDRILL_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}

/// The agent and its children share a host with a database: one thread. Everything else may use the cores.
fn runtime(command: &Command) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = match command {
        Command::Agent(_) => return firedrill_agent::runtime(),
        Command::Server(_) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    builder.enable_all().build()
}
