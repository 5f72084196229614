//! Rules that no compiler knows. Each finding names the place and the rule; all are reported at once.

mod documents;
mod layers;
mod sources;

use crate::shell;
use anyhow::{Result, bail};

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// `path` or `path:line`.
    place: String,
    /// What is wrong, and what to do.
    message: String,
}

impl Finding {
    fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: place.into(), message: message.into() }
    }
}

/// Checks everything.
///
/// # Errors
/// With the number of findings, after they were printed.
pub(crate) fn run() -> Result<()> {
    let files = tracked_files()?;
    let mut findings = sources::check(&files)?;
    findings.extend(layers::check()?);
    findings.extend(documents::check(&files)?);
    findings.sort();
    for finding in &findings {
        println!("{}: {}", finding.place, finding.message);
    }
    if findings.is_empty() { Ok(()) } else { bail!("{} findings", findings.len()) }
}

/// Every file that is, or would be, in the repository.
fn tracked_files() -> Result<Vec<String>> {
    let listing = shell::output("git", &["ls-files", "--cached", "--others", "--exclude-standard"])?;
    let mut files: Vec<String> =
        listing.lines().map(str::to_owned).filter(|path| std::path::Path::new(path).is_file()).collect();
    files.sort();
    files.dedup();
    Ok(files)
}
