//! The plan of a sandbox on disk: written, and on the disk for sure, before the first thing is made.

use crate::error::SandboxError;
use crate::layout::{Choices, Layout};
use crate::name::{Home, SandboxName};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

fn path(home: &Home, name: &SandboxName) -> PathBuf {
    home.sandbox(name).join("plan.json")
}

/// Writes `bytes` to `path` so that after a crash there is the old content or the new, whole.
///
/// # Errors
/// [`SandboxError::File`].
pub(crate) fn write_durably(path: &Path, bytes: &[u8], mode: u32) -> Result<(), SandboxError> {
    let fail = || SandboxError::file("write", path);
    let directory = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(directory).map_err(SandboxError::file("make", directory))?;
    let aside = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&aside)
        .map_err(SandboxError::file("write", &aside))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(fail())?;
    std::fs::rename(&aside, path).map_err(fail())?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(fail())
}

/// Stores the plan.
///
/// # Errors
/// [`SandboxError::File`].
pub(crate) fn store(choices: &Choices) -> Result<(), SandboxError> {
    let path = path(&Home::at(&choices.home), &choices.name);
    let text = serde_json::to_vec_pretty(choices).map_err(SandboxError::step("write the plan as JSON"))?;
    // It holds passwords.
    write_durably(&path, &text, 0o600)
}

/// The plan of the sandbox of that name; `None` when there is none.
///
/// # Errors
/// [`SandboxError::File`], and [`SandboxError::Plan`] when the file is damaged.
pub(crate) fn load(home: &Home, name: &SandboxName) -> Result<Option<Layout>, SandboxError> {
    let path = path(home, name);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(problem) if problem.kind() == ErrorKind::NotFound => return Ok(None),
        Err(problem) => return Err(SandboxError::file("read", &path)(problem)),
    };
    let choices =
        serde_json::from_slice(&text).map_err(|source| SandboxError::Plan { name: name.to_string(), path, source })?;
    Ok(Some(Layout::new(choices)))
}

/// The plan, or [`SandboxError::Unknown`].
///
/// # Errors
/// As [`load`], and when there is none.
pub(crate) fn require(home: &Home, name: &SandboxName) -> Result<Layout, SandboxError> {
    load(home, name)?.ok_or_else(|| SandboxError::Unknown { name: name.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Profile, tests::choices};

    #[test]
    fn a_plan_reads_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let home = Home::at(directory.path());
        let mut choices = choices("x", Profile::Unsafe);
        choices.home = directory.path().to_owned();
        assert!(load(&home, &choices.name).expect("no plan is no error").is_none());
        store(&choices).expect("stored");
        let layout = load(&home, &choices.name).expect("loads").expect("is there");
        assert_eq!(layout, Layout::new(choices));
    }

    #[test]
    fn a_damaged_plan_is_named_with_the_way_out() {
        let directory = tempfile::tempdir().expect("a directory");
        let home = Home::at(directory.path());
        let name: SandboxName = "x".parse().expect("a good name");
        write_durably(&path(&home, &name), b"{", 0o600).expect("written");
        let message = load(&home, &name).expect_err("damaged").to_string();
        assert!(message.contains("plan.json") && message.contains("sandbox down --name x"), "{message}");
    }
}
