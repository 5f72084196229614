//! The checks and generators of this repository. `cargo xtask ci` is what CI runs, and all that it runs.
//!
//! **What it never does**: anything that a user of firedrill needs.
//!
//! **Where to begin**: [`ci`], the list of stages.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the terminal")]

mod api_fuzz;
mod bench;
mod ci;
mod generate;
mod kernels;
mod screenshots;
mod shell;
mod tidy;

use anyhow::{Result, bail};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND
  ci [STAGE…]          all checks, or only the named stages; `ci --list` names them
  tidy                 rules that no compiler knows: sizes, layers, documents
  generate [--check]   write generated files; with --check only say whether they are fresh
  kernels [--only KERNEL] [--tests TEXT] [--page]
                       tests of faults on stock kernels of Debian in qemu; --page writes docs/kernels.md
  screenshots          pictures of every page of the console for the documentation; needs root
  bench [--only NAME]… [--runs N] [--quiet-within SECONDS] [--program FILE]
                       the figures of docs/benchmarks.md; needs root and the release build of the program";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("xtask: {problem:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    std::env::set_current_dir(shell::root())?;
    match arguments.as_slice() {
        ["ci", "--list"] => {
            ci::list();
            Ok(())
        }
        ["ci", stages @ ..] => ci::run(stages),
        ["kernels", arguments @ ..] => kernels::run(arguments),
        ["bench", arguments @ ..] => bench::run(arguments),
        ["screenshots"] => screenshots::run(),
        ["tidy"] => tidy::run(),
        ["generate"] => generate::run(generate::Mode::Write),
        ["generate", "--check"] => generate::run(generate::Mode::Check),
        _ => bail!("{USAGE}"),
    }
}
