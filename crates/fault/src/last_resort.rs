//! The last resort: everything that any process has put in place on this host, taken out by the journals alone.
//!
//! A live holder is asked first: it looks for a request file in its journal's directory once a second. One that does not
//! answer hangs, and is killed: kernel objects go with it, the rest is undone from its records.

use crate::FaultError;
use crate::journal::{Journal, Record};
use crate::rescue::{self, Rescued};
use firedrill_host::process::Signal;
use firedrill_model::AttackId;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// A live holder looks once a second and undoes within milliseconds; a busy one may take a few.
const OBEYED_WITHIN: Duration = Duration::from_secs(5);
/// A killed process is gone within milliseconds, unless it hangs in a device.
const GONE_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Journals lie at most so deep under the directory that is given.
const DEPTH_MAX: u32 = 5;

/// One attack that was found.
#[derive(Debug)]
pub struct Undone {
    /// In which journal.
    pub journal: PathBuf,
    /// Which.
    pub id: AttackId,
    /// What was seen, or why it may still be in place.
    pub outcome: Result<String, String>,
}

/// Takes everything out whose record is in a journal under this directory, whoever holds it.
///
/// # Errors
/// A journal that cannot be read or written.
pub async fn undo_everything(dir: &Path) -> Result<Vec<Undone>, FaultError> {
    let mut journals = BTreeSet::new();
    find(dir, DEPTH_MAX, &mut journals);
    let mut all = Vec::new();
    for path in journals {
        let journal = Journal::open(&path)?;
        let found = journal.records()?;
        for (id, outcome) in undo_journal(&journal, &found).await? {
            all.push(Undone { journal: path.clone(), id, outcome });
        }
    }
    Ok(all)
}

async fn undo_journal(
    journal: &Journal,
    found: &[Record],
) -> Result<Vec<(AttackId, Result<String, String>)>, FaultError> {
    let request = journal.request_end()?;
    let began = Instant::now();
    let held = |record: &Record| record.holder.alive();
    while began.elapsed() < OBEYED_WITHIN && journal.records()?.iter().any(held) {
        sleep(LOOK_EVERY).await;
    }
    let left = journal.records()?;
    let obeyed = |record: &&Record| !left.iter().any(|other| other.id == record.id);
    let mut all: Vec<_> = found
        .iter()
        .filter(obeyed)
        .map(|record| (record.id.clone(), Ok("its holder took it out".to_owned())))
        .collect();
    for record in &left {
        kill(record).await;
    }
    for Rescued { id, outcome } in rescue::undo_all(journal, |_| true).await? {
        all.push((id, outcome.map(|seen| format!("{seen}; its holder was gone or hung"))));
    }
    for record in found {
        if !all.iter().any(|(id, _)| *id == record.id) {
            all.push((record.id.clone(), Ok("its holder was killed, and its rescue process took it out".to_owned())));
        }
    }
    drop(request);
    Ok(all)
}

/// Kills a holder that does not obey.
async fn kill(record: &Record) {
    let began = Instant::now();
    while record.holder.alive() && began.elapsed() < GONE_WITHIN {
        if let Ok(Some(handle)) = record.holder.open() {
            tracing::warn!(attack = %record.id, pid = record.holder.pid, "killing the holder of an attack, which does not answer");
            // Gone meanwhile: what was wanted.
            let _gone = handle.signal(Signal::SIGKILL);
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Directories that hold records. What cannot be listed holds none of ours.
fn find(dir: &Path, depth: u32, into: &mut BTreeSet<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if Journal::is_record(&path) {
            into.insert(dir.to_owned());
        } else if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find(&path, depth - 1, into);
        }
    }
}
