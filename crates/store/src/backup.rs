//! Copies of the file: taken while a server writes, and put back while none runs.

use crate::place::Place;
use crate::{Store, StoreError, open};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, Row, SqliteConnection};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A checkpoint of a running server may hold the file for a moment.
const BUSY_WITHIN: Duration = Duration::from_secs(30);

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Bytes of the copy.
    pub bytes: u64,
    /// Lines of the timeline in it.
    pub lines: u64,
}

impl Store {
    /// Copies the file of a store to `to`, as it is at one moment, whether a server runs on it or not. The copy is whole and
    /// checked, readable by its owner only, or not there.
    ///
    /// # Errors
    /// The file cannot be read, the copy cannot be written or is there already, or what was read is damaged.
    pub async fn backup(path: &Path, to: &Path) -> Result<Copied, StoreError> {
        let place = Place::file(path);
        let failed = |doing| {
            let place = place.clone();
            move |source| StoreError::of(&place, doing, source)
        };
        let target = |error| StoreError::of_opening(to, error);
        // Neither is a copy that stands there already lost, nor does half of one get that name.
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(target)?;
        let draft = beside(to, "partial");
        let made = async {
            remove(&draft).map_err(target)?;
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(target)?;
            let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY_WITHIN);
            let mut source = SqliteConnection::connect_with(&options).await.map_err(failed("opening it"))?;
            let copying = sqlx::query("VACUUM INTO $1").bind(draft.to_string_lossy().into_owned());
            copying.execute(&mut source).await.map_err(failed("copying it"))?;
            let copied = checked(&draft).await?;
            File::open(&draft).and_then(|file| file.sync_all()).map_err(target)?;
            std::fs::rename(&draft, to).map_err(target)?;
            synced(to).map_err(target)?;
            Ok(copied)
        };
        let made = made.await;
        if made.is_err() {
            // The error that there was says more than one of tidying up.
            let _ = remove(&draft).and_then(|()| remove(to));
        }
        made
    }

    /// Puts a copy in the place of the file; what was there is kept beside it, under the name that is given back. No server
    /// may run on it: the caller holds the lock of the data directory.
    ///
    /// # Errors
    /// The copy is damaged, no store or of a newer version, or the file cannot be replaced; then what was there still is.
    pub async fn restore(copy: &Path, path: &Path, moment: &str) -> Result<(Copied, Option<PathBuf>), StoreError> {
        let target = |error| StoreError::of_opening(path, error);
        let draft = beside(path, "restoring");
        remove(&draft).map_err(target)?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft);
        let mut file = file.map_err(target)?;
        let mut source = File::open(copy).map_err(|error| StoreError::of_opening(copy, error))?;
        std::io::copy(&mut source, &mut file).and_then(|_| file.sync_all()).map_err(target)?;
        let copied = match checked(&draft).await {
            Ok(copied) => copied,
            Err(error) => {
                remove(&draft).map_err(target)?;
                return Err(error);
            }
        };
        let before = beside(path, &format!("before-{moment}"));
        let kept = path.exists().then_some(before);
        if let Some(kept) = &kept {
            // The log first: a file without its log is older, a log without its file is nothing.
            for suffix in ["-wal", "-shm"] {
                let (from, to) = (with_suffix(path, suffix), with_suffix(kept, suffix));
                if from.exists() {
                    std::fs::rename(from, to).map_err(target)?;
                }
            }
            std::fs::rename(path, kept).map_err(target)?;
        }
        std::fs::rename(&draft, path).map_err(target)?;
        synced(path).map_err(target)?;
        Ok((copied, kept))
    }
}

/// Whole, a store, and of a version that this program knows.
async fn checked(path: &Path) -> Result<Copied, StoreError> {
    let place = Place::file(path);
    let failed = |source| StoreError::of(&place, "checking the copy", source);
    let options = SqliteConnectOptions::new().filename(path).read_only(true);
    let mut copy = SqliteConnection::connect_with(&options).await.map_err(failed)?;
    let verdict = sqlx::query("PRAGMA integrity_check(1)").fetch_one(&mut copy).await.map_err(failed)?;
    let verdict: String = verdict.get(0);
    if verdict != "ok" {
        return Err(StoreError::Damaged { place, seen: verdict });
    }
    let version = sqlx::query("SELECT MAX(version) AS version FROM _sqlx_migrations").fetch_one(&mut copy).await;
    let version: i64 = version.map_err(failed)?.get("version");
    if version > open::newest_version_of_file() {
        let source = sqlx::migrate::MigrateError::VersionMissing(version);
        return Err(StoreError::OtherVersion { place, source });
    }
    let lines = sqlx::query("SELECT COUNT(*) AS lines FROM timeline").fetch_one(&mut copy).await.map_err(failed)?;
    let bytes = std::fs::metadata(path).map_err(|error| StoreError::of_opening(path, error))?.len();
    Ok(Copied { bytes, lines: lines.get::<i64, _>("lines").cast_unsigned() })
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn beside(path: &Path, what: &str) -> PathBuf {
    with_suffix(path, &format!(".{what}"))
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A new name is on the disk when its directory is.
fn synced(path: &Path) -> std::io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}
