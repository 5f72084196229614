//! `cargo xtask screenshots`: pictures of every page of the console, in both widths and both themes, from a real fleet
//! that has something to show, for the documentation.

use crate::shell;
use anyhow::{Context, Result};
use serde_json::Value;

const DIRECTORY: &str = "docs/images/console";
const PROGRAM: &str = "target/debug/firedrill";
const SANDBOX: &str = "pictures";

/// Brings a fleet up, breaks it, takes the pictures, and takes the fleet down whatever happened.
///
/// # Errors
/// Something does not build, the fleet does not come up, or a page does not come.
pub(crate) fn run() -> Result<()> {
    shell::run("cargo", &["build", "--locked", "--package", "firedrill", "--package", "firedrill-browser"])?;
    let taken = take();
    shell::run(PROGRAM, &["sandbox", "down", "--name", SANDBOX])?;
    taken
}

fn take() -> Result<()> {
    let up = shell::output(PROGRAM, &["sandbox", "up", "--json", "--name", SANDBOX])?;
    let up: Value = serde_json::from_str(&up).context("the sandbox did not say where it is")?;
    let server = up["server"]["url"].as_str().context("the sandbox has no server")?;
    for experiment in ["kill-replica", "kill-primary"] {
        // The second rung of the ladder, which is passed over, would be a minute more and one more row.
        shell::run(PROGRAM, &["experiment", "run", experiment, "--force", "--sandbox", SANDBOX])?;
    }
    if std::path::Path::new(DIRECTORY).exists() {
        std::fs::remove_dir_all(DIRECTORY).with_context(|| format!("cannot remove {DIRECTORY}"))?;
    }
    shell::run("target/debug/firedrill-browser", &["screenshots", server, DIRECTORY])
}
