//! What runs in a guest: the integration tests of `fault` and of `host`, the programs that they start, and `firedrill`
//! itself.

use super::obtain::text;
use crate::shell;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

const FAULT: &str = "fault";
/// Its tests have this before their names, to tell them from those of `fault`.
const HOST: &str = "host";

/// Where they are.
pub(super) struct Programs {
    /// Of `fault`.
    tests: PathBuf,
    host_tests: PathBuf,
    /// What tests find beside themselves.
    examples: Vec<PathBuf>,
    firedrill: PathBuf,
}

/// What cargo is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Build {
    /// All tests of the workspace: nothing, where they were just built and run.
    Everything,
    /// No more than is needed.
    Needed,
}

/// Builds them.
pub(super) fn build(build: Build) -> Result<Programs> {
    let cargo = |arguments: &[&str]| {
        println!("$ cargo {}", arguments.join(" "));
        let messages = shell::output("cargo", &[arguments, &["--locked", "--message-format=json"]].concat())?;
        Ok::<_, anyhow::Error>(executables(&messages))
    };
    let built = match build {
        Build::Everything => cargo(&["test", "--no-run", "--workspace"])?,
        Build::Needed => {
            // Without `--examples`, which would make tests of them.
            let mut built =
                cargo(&["test", "--no-run", "--package", "firedrill-fault", "--package", "firedrill-host"])?;
            built.extend(cargo(&["build", "--package", "firedrill"])?);
            built
        }
    };
    let find = |kind: &str, name: &str, part: &str| {
        let found = built.iter().find(|one| one.kind == kind && one.name == name && one.is_of(part));
        found.map(|one| one.path.clone()).with_context(|| format!("cargo built no {kind} {name} of {part}"))
    };
    let examples = built.iter().filter(|one| one.kind == "example" && one.is_of(FAULT));
    Ok(Programs {
        tests: find("test", "it", FAULT)?,
        host_tests: find("test", "it", HOST)?,
        examples: examples.map(|one| one.path.clone()).collect(),
        firedrill: find("bin", "firedrill", "firedrill")?,
    })
}

/// A program that cargo has built.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Executable {
    kind: String,
    name: String,
    manifest: String,
    path: PathBuf,
}

impl Executable {
    /// Whether it is of that crate.
    fn is_of(&self, part: &str) -> bool {
        self.manifest.ends_with(&format!("/crates/{part}/Cargo.toml"))
    }
}

/// From the messages of cargo.
fn executables(messages: &str) -> Vec<Executable> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let built = messages.filter_map(|message| {
        // The unit tests of a program have its kind and name, too.
        let unit_tests = message["profile"]["test"] == true && message["target"]["kind"][0] != "test";
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        (!unit_tests).then_some(())?;
        Some(Executable {
            kind: text(&message["target"]["kind"][0])?,
            name: text(&message["target"]["name"])?,
            manifest: text(&message["manifest_path"])?,
            path: PathBuf::from(message["executable"].as_str()?),
        })
    });
    built.collect()
}

impl Programs {
    /// Names of all tests.
    pub(super) fn tests(&self) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for (program, before) in [(&self.tests, String::new()), (&self.host_tests, format!("{HOST}::"))] {
            let listed = shell::output(text(program)?, &["--list", "--format", "terse"])?;
            let names = listed.lines().filter_map(|line| line.strip_suffix(": test"));
            all.extend(names.map(|name| format!("{before}{name}")));
        }
        Ok(all)
    }

    /// Copies them, without what only a debugger reads: a guest reads slowly.
    pub(super) fn copy_to(&self, dir: &Path) -> Result<()> {
        // Tests look for programs in `examples` beside the directory where they are.
        for part in ["deps", "examples"] {
            fs::create_dir_all(dir.join(part))?;
        }
        let tests = [(&self.tests, FAULT), (&self.host_tests, HOST)];
        let mut all: Vec<_> = tests.map(|(from, name)| (from, dir.join("deps").join(name))).to_vec();
        all.push((&self.firedrill, dir.join("firedrill")));
        for example in &self.examples {
            let name = example.file_name().context("a program without a name")?;
            all.push((example, dir.join("examples").join(name)));
        }
        for (from, to) in all {
            shell::run_quietly("strip", &["-o", text(&to)?, text(from)?])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_among_the_messages_of_cargo() {
        let messages = r#"{"target":{"kind":["lib"],"name":"x"},"manifest_path":"/w/crates/x/Cargo.toml","executable":null}
{"target":{"kind":["bin"],"name":"x"},"manifest_path":"/w/x","profile":{"test":true},"executable":"/t/x-unit"}
{"target":{"kind":["test"],"name":"it"},"manifest_path":"/w/crates/fault/Cargo.toml","profile":{"test":true},"executable":"/t/it"}
{"reason":"build-finished","success":true}"#;
        let [tests] = &executables(messages)[..] else { panic!("one is meant") };
        assert!(tests.is_of(FAULT) && !tests.is_of(HOST) && tests.kind == "test" && tests.path == Path::new("/t/it"));
    }
}
