//! The tests of faults on the kernels that users run: stock kernels of Debian, booted in qemu without hardware support,
//! with the unified cgroup hierarchy and nothing else.
//!
//! A guest has this machine's own root, read-only and with a layer in memory above it, so that it has the same
//! userland; what differs is the kernel. Whatever a test cannot do there is listed with its reason in [`matrix`].

mod binaries;
mod boot;
mod initramfs;
mod matrix;
mod obtain;
mod outcome;
mod page;

use anyhow::{Context, Result, bail};
use binaries::Build;
use outcome::Run;
use std::path::PathBuf;

/// A kernel of a Debian release.
struct Kernel {
    /// As people call it.
    name: &'static str,
    /// The release whose newest kernel it is.
    suite: &'static str,
}

const KERNELS: &[Kernel] = &[Kernel { name: "6.1", suite: "bookworm" }, Kernel { name: "6.12", suite: "trixie" }];

const PAGE: &str = "docs/kernels.md";

const USAGE: &str = "\
usage: cargo xtask kernels [--only KERNEL] [--tests TEXT] [--page]
  --only KERNEL   6.1 or 6.12 alone
  --tests TEXT    only tests with this in their name, also those that are left out otherwise
  --page          write docs/kernels.md from what was seen, when nothing failed";

/// What is wanted.
#[derive(Default)]
struct Choices<'a> {
    only: Option<&'a str>,
    tests: Option<&'a str>,
    page: bool,
}

/// The stage of CI: all kernels, all tests that can run there.
///
/// # Errors
/// As [`run`].
pub(crate) fn stage() -> Result<()> {
    test(&Choices::default(), Build::Everything)
}

/// Gets the kernels, boots each, runs the tests, prints what came of them.
///
/// # Errors
/// When something is missing, or a test failed or was not reached.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    test(&Choices::parse(arguments)?, Build::Needed)
}

fn test(choices: &Choices<'_>, build: Build) -> Result<()> {
    if std::env::consts::ARCH != "x86_64" {
        bail!("the kernels are booted on x86_64 machines only, and this is {}", std::env::consts::ARCH);
    }
    obtain::check_tools()?;
    let programs = binaries::build(build)?;
    let plan = matrix::plan(programs.tests()?, choices.tests);
    let patience = if choices.tests.is_some() { boot::BY_HAND } else { boot::FOR_CI };
    let mut runs = Vec::new();
    for kernel in KERNELS.iter().filter(|kernel| choices.only.is_none_or(|only| only == kernel.name)) {
        let image = obtain::kernel(kernel).with_context(|| format!("getting Linux {}", kernel.name))?;
        println!("booting Linux {}, {} tests", image.release, plan.run.len());
        let dir = directory().join(format!("run-{}", kernel.name));
        boot::prepare(&image, &programs, &plan, patience, &dir)?;
        let took = boot::boot(&image, patience, &dir)?;
        runs.push(Run::read(kernel.name, &image.release, &dir, &plan, took)?);
    }
    if runs.is_empty() {
        bail!("{USAGE}");
    }
    print!("{}", outcome::table(&runs, &plan));
    let problems: Vec<String> = runs.iter().flat_map(Run::problems).collect();
    if !problems.is_empty() {
        bail!("{} problems:\n{}", problems.len(), problems.join("\n"));
    }
    if choices.page {
        std::fs::write(PAGE, page::text(&runs, &plan)).with_context(|| format!("writing {PAGE}"))?;
        println!("wrote {PAGE}");
    }
    Ok(())
}

impl<'a> Choices<'a> {
    fn parse(mut arguments: &[&'a str]) -> Result<Self> {
        let mut choices = Self::default();
        loop {
            arguments = match arguments {
                [] => return Ok(choices),
                ["--only", name, rest @ ..] => {
                    choices.only = Some(name);
                    rest
                }
                ["--tests", text, rest @ ..] => {
                    choices.tests = Some(text);
                    rest
                }
                ["--page", rest @ ..] => {
                    choices.page = true;
                    rest
                }
                _ => bail!("{USAGE}"),
            };
        }
    }
}

/// What is downloaded and made, outside of what git sees.
fn directory() -> PathBuf {
    crate::shell::root().join("target/kernels")
}
