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
const FILES: &[Generated] = &[
    Generated { path: "docs/cli.md", make: command_line },
    Generated { path: "docs/attacks.md", make: attacks },
    Generated { path: "docs/openapi.json", make: api },
];

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

/// The description of the HTTP API: what its handlers take and give.
fn api() -> Result<String> {
    shell::run("cargo", &["build", "--locked", "--quiet", "--package", "firedrill"])?;
    shell::output("target/debug/firedrill", &["api"])
}

/// The reference of attacks: what each says of itself.
fn attacks() -> Result<String> {
    shell::run("cargo", &["build", "--locked", "--quiet", "--package", "firedrill"])?;
    let json = shell::output("target/debug/firedrill", &["attack", "kinds", "--json"])?;
    let kinds: Vec<serde_json::Value> = serde_json::from_str(&json).context("the kinds of attacks")?;
    let mut text = "# Attacks\n\nMade by `cargo xtask generate` from the faults themselves. In an experiment the parameters stand \
        beside the kind:\n\n```yaml\n- attack: {kind: latency, delay: 100ms, target: {role: replica}, duration: 20s}\n```\n\n\
        On the command line each is an option, with `-` for `_`: `firedrill attack start latency --delay 100ms \
        --target role=replica`;\nwithout `--target` the attack is on this host alone and needs no server. There, `--socket PATH` says \
        which\ndatabase server is meant. `firedrill host check` says which of them a host can bear, and by which mechanism.\n"
        .to_owned();
    let field = |value: &serde_json::Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    for kind in &kinds {
        let (name, family, scope) = (field(kind, "kind"), field(kind, "family"), field(kind, "scope"));
        write!(
            text,
            "\n## {name}\n\n{} ({family}; aimed at a {scope})\n\n{}\n",
            field(kind, "summary"),
            field(kind, "documentation")
        )?;
        let needs: Vec<&str> =
            kind["needs"].as_array().into_iter().flatten().filter_map(|need| need.as_str()).collect();
        let needs = if needs.is_empty() { "no privilege of the kernel".to_owned() } else { needs.join("; ") };
        writeln!(text, "\nNeeds {needs}.")?;
        let parameters = kind["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
        if parameters.is_empty() {
            continue;
        }
        text.push_str("\n| parameter | value | default | |\n|---|---|---|---|\n");
        for one in parameters {
            let default = match one["default"].as_str() {
                Some(default) => format!("`{default}`"),
                None if one["required"] == true => "must be given".to_owned(),
                None => String::new(),
            };
            writeln!(
                text,
                "| `{}` | {} | {default} | {} |",
                field(one, "name"),
                field(one, "form"),
                field(one, "documentation")
            )?;
        }
    }
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
