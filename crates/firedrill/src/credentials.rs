//! The sessions of `firedrill login`, one per server, in a file that only its owner can read.

use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

type Sessions = BTreeMap<String, String>;

/// `$XDG_CONFIG_HOME/firedrill/sessions.json`, or below `~/.config`.
fn path() -> anyhow::Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
    Ok(base
        .context("neither HOME nor XDG_CONFIG_HOME is set, so there is no place for sessions")?
        .join("firedrill/sessions.json"))
}

fn read() -> anyhow::Result<Sessions> {
    let path = path()?;
    let metadata = match std::fs::metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Sessions::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    if metadata.mode() & 0o077 != 0 {
        bail!("{0} can be read by others, so it is not used; `chmod 600 {0}`", path.display());
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is damaged; remove it and log in again", path.display()))
}

/// The secret for that server, when somebody has logged in there.
pub(crate) fn of(server: &str) -> anyhow::Result<Option<String>> {
    // Without a home there is no file, which is no error of a command that may need none.
    if path().is_err() {
        return Ok(None);
    }
    Ok(read()?.remove(server))
}

/// Keeps the secret for that server, or forgets it; gives the file.
pub(crate) fn keep(server: &str, secret: Option<&str>) -> anyhow::Result<PathBuf> {
    let path = path()?;
    let mut sessions = read()?;
    match secret {
        Some(secret) => drop(sessions.insert(server.to_owned(), secret.to_owned())),
        None => drop(sessions.remove(server)),
    }
    let failed = || format!("cannot write {}", path.display());
    let directory = path.parent().context("a file without a directory")?;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).with_context(failed)?;
    let new = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .with_context(failed)?;
    file.write_all(&serde_json::to_vec_pretty(&sessions)?).with_context(failed)?;
    std::fs::rename(&new, &path).with_context(failed)?;
    Ok(path)
}
