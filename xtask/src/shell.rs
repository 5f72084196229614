//! Running programs, with what failed named in full.

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// The root of the work tree.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_owned)
}

/// Runs a program with our own output streams.
///
/// # Errors
/// When it cannot be started or its exit status is not 0.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<()> {
    run_with(program, arguments, &[])
}

/// As [`run`], with environment variables added.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_with(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    println!("$ {program} {}", arguments.join(" "));
    ended_well(program, arguments, Command::new(program).args(arguments).envs(environment.iter().copied()).status())
}

/// As [`run`], in a directory.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_in(dir: &Path, program: &str, arguments: &[&str]) -> Result<()> {
    println!("$ cd {} && {program} {}", dir.display(), arguments.join(" "));
    ended_well(program, arguments, Command::new(program).args(arguments).current_dir(dir).status())
}

/// As [`run`], without a word about it.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_quietly(program: &str, arguments: &[&str]) -> Result<()> {
    ended_well(program, arguments, Command::new(program).args(arguments).status())
}

/// Writes what a program prints to its standard output into a file.
///
/// # Errors
/// As [`run`], and when the file cannot be made.
pub(crate) fn output_to(file: &Path, program: &str, arguments: &[&str]) -> Result<()> {
    let out = File::create(file).with_context(|| format!("cannot make {}", file.display()))?;
    ended_well(program, arguments, Command::new(program).args(arguments).stdout(out).status())
}

fn ended_well(program: &str, arguments: &[&str], status: io::Result<ExitStatus>) -> Result<()> {
    let status = status.with_context(|| format!("cannot start {program}"))?;
    if !status.success() {
        bail!("`{program} {}` ended with {status}", arguments.join(" "));
    }
    Ok(())
}

/// Where a program is, in `PATH` or in the `sbin` directories that the `PATH` of ordinary users leaves out.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|dir| dir.join(program)).find(|candidate| candidate.is_file())
}

/// What a program prints to its standard output.
///
/// # Errors
/// When it cannot be started, its exit status is not 0, or the output is not text.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("`{program} {}` ended with {}: {}", arguments.join(" "), output.status, errors.trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Whether `cargo NAME` can be called.
pub(crate) fn has_cargo_command(name: &str) -> bool {
    Command::new("cargo").args([name, "--version"]).output().is_ok_and(|output| output.status.success())
}
