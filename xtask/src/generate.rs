//! Files that are made from the sources. `--check` fails when one is not what would be made now.

use crate::shell;
use anyhow::{Context, Result, bail};
use std::path::Path;

/// Write the files, or only compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Write,
    Check,
}

/// A generated file: where it is, and the program that prints it.
struct Generated {
    path: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
}

/// Every generated file of the repository.
const FILES: &[Generated] = &[Generated {
    path: "docs/cli.md",
    program: "cargo",
    arguments: &["run", "--quiet", "--package", "firedrill", "--", "reference", "--format", "markdown"],
}];

/// Writes all generated files, or checks them.
///
/// # Errors
/// In [`Mode::Check`], when one is not fresh; and when a generator fails.
pub(crate) fn run(mode: Mode) -> Result<()> {
    let mut stale = Vec::new();
    for file in FILES {
        let wanted =
            shell::output(file.program, file.arguments).with_context(|| format!("generating {}", file.path))?;
        let present = std::fs::read_to_string(file.path).ok();
        if present.as_deref() == Some(wanted.as_str()) {
            continue;
        }
        match mode {
            Mode::Check => stale.push(file.path),
            Mode::Write => {
                if let Some(directory) = Path::new(file.path).parent() {
                    std::fs::create_dir_all(directory)?;
                }
                std::fs::write(file.path, wanted).with_context(|| format!("writing {}", file.path))?;
                println!("wrote {}", file.path);
            }
        }
    }
    if stale.is_empty() {
        return Ok(());
    }
    bail!("not fresh: {}; run `cargo xtask generate` and commit what it wrote", stale.join(", "))
}
