//! Files that are made from the sources. `--check` fails when one is not what would be made now.

use crate::shell;
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::path::Path;

/// Write the files, or only compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Write,
    Check,
}

/// A generated file and what makes its text.
struct Generated {
    path: &'static str,
    make: fn() -> Result<String>,
}

/// Every generated file of the repository.
const FILES: &[Generated] = &[Generated { path: "docs/cli.md", make: command_line }];

/// Writes all generated files, or checks them.
///
/// # Errors
/// In [`Mode::Check`], when one is not fresh; and when a generator fails.
pub(crate) fn run(mode: Mode) -> Result<()> {
    let mut stale = Vec::new();
    for file in FILES {
        let wanted = (file.make)().with_context(|| format!("generating {}", file.path))?;
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

/// The reference of the command line: what `--help` says of each command.
fn command_line() -> Result<String> {
    shell::run("cargo", &["build", "--locked", "--quiet", "--package", "firedrill"])?;
    let mut text = "# The command line\n\nMade by `cargo xtask generate` from what the program says of itself.\n\n\
        Data goes to standard output, everything else to standard error. Exit status: 0 passed or done, 1 an expectation \
        was\nbroken, 2 usage or the tool's own error, 3 inconclusive, 4 refused by a guard.\n"
        .to_owned();
    describe(&mut text, &[])?;
    Ok(text)
}

/// Adds one command and all below it.
fn describe(text: &mut String, command: &[&str]) -> Result<()> {
    // The environment fills in defaults, which must not get into the reference.
    let without = ["--unset=FIREDRILL_SERVER", "--unset=FIREDRILL_HOME", "target/debug/firedrill"];
    let help = shell::output("env", &[&without, command, &["--help"]].concat())?;
    let name = ["firedrill"].iter().chain(command).copied().collect::<Vec<_>>().join(" ");
    write!(text, "\n## {name}\n\n```text\n{}\n```\n", help.trim_end())?;
    for below in subcommands(&help) {
        describe(text, &[command, &[below]].concat())?;
    }
    Ok(())
}

/// The names in the section `Commands:` of a help text.
fn subcommands(help: &str) -> Vec<&str> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' '))?.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subcommands_are_read_from_help() {
        let help = "About.\n\nUsage: x\n\nCommands:\n  up    Bring it up\n        with a second line\n  help  Print\n\n\
                    Options:\n  -h  no\n";
        assert_eq!(subcommands(help), ["up"]);
    }
}
