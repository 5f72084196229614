//! The undo journal: one file per attack, on disk before the fault goes in, removed after it was seen to be out.
//!
//! What is durable: everything that is needed to undo a fault with no memory of it, in another process, after a crash.
//! What is not: how far the attack had come. A record therefore means "may be in place", and undoing is idempotent.
//!
//! A record is written to a draft, synced, renamed, and the directory synced; so a file with its final name is whole.
//! A draft that is found was never followed by an injection, and is removed.

use crate::FaultError;
use crate::inside::Inside;
use firedrill_host::clock;
use firedrill_host::process::Identity;
use firedrill_model::{AttackId, Fault, HostName, Span, Timestamp};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Version of the record's format. A record of another version is set aside, loudly.
const VERSION: u32 = 2;
/// Longest attack id, in bytes: leaves room for suffixes within the 255 bytes of a file name.
const ID_BYTES_MAX: usize = 100;
const RECORD_SUFFIX: &str = "attack";
const DRAFT_SUFFIX: &str = "draft";
const UNREADABLE_SUFFIX: &str = "unreadable";
/// A file of this name asks the holder to take everything out.
const END_REQUEST: &str = "end-all";
/// How often it is looked whether a journal is free.
const HELD_LOOK_EVERY: Duration = Duration::from_millis(20);

/// How a fault is taken out with nothing but this. What it holds is known to the module of the fault alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Undo(Option<serde_json::Value>);

impl Undo {
    /// There is nothing to take back.
    pub const NOTHING: Self = Self(None);

    /// By what a module wrote down.
    ///
    /// # Errors
    /// What cannot be written as JSON cannot be journalled.
    pub fn by(what: &impl Serialize) -> Result<Self, FaultError> {
        let value = serde_json::to_value(what).map_err(|problem| FaultError::UndoForm(problem.to_string()))?;
        Ok(Self(Some(value)))
    }

    /// There is nothing to take back.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        self.0.is_none()
    }

    /// What the module wrote down; `None` when there is nothing to take back.
    ///
    /// # Errors
    /// It was written by something else.
    pub fn read<T: serde::de::DeserializeOwned>(&self) -> Result<Option<T>, FaultError> {
        let read = |value: &serde_json::Value| serde_json::from_value(value.clone());
        self.0.as_ref().map(read).transpose().map_err(|problem| FaultError::UndoForm(problem.to_string()))
    }
}

/// One attack on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Format of this record.
    version: u32,
    /// Which attack.
    pub id: AttackId,
    /// On which host.
    pub host: HostName,
    /// What.
    pub fault: Fault,
    /// By which mechanism.
    pub mechanism: String,
    /// How to take it out.
    pub undo: Undo,
    /// In which namespace that must be done, when not in that of this agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<Inside>,
    /// The boot during which it was injected: after another boot nothing of it can be left.
    pub boot_id: String,
    /// The process that holds it.
    pub holder: Identity,
    /// When it was written.
    pub written_at: Timestamp,
    /// When it must be out, by the wall clock, for people.
    pub deadline: Timestamp,
    /// When it must be out, counted from boot: what is acted on.
    pub deadline_since_boot: Span,
}

impl Record {
    /// A record of an attack that this process is about to put in place.
    pub fn new(
        (id, host): (AttackId, HostName),
        (fault, duration): (Fault, Span),
        mechanism: String,
        undo: Undo,
    ) -> Result<Self, FaultError> {
        let now = clock::wall();
        Ok(Self {
            version: VERSION,
            id,
            host,
            fault,
            mechanism,
            undo,
            inside: None,
            boot_id: clock::boot_id()?,
            holder: Identity::current()?,
            written_at: now,
            deadline: now + duration,
            deadline_since_boot: Span(clock::since_boot().saturating_add(duration.duration())),
        })
    }

    /// Whether it was written during the present boot.
    pub fn of_this_boot(&self) -> Result<bool, FaultError> {
        Ok(clock::boot_id()? == self.boot_id)
    }
}

/// A directory of records.
#[derive(Debug, Clone)]
pub struct Journal {
    dir: PathBuf,
}

/// Says that no other process uses the journal, for as long as it lives.
#[derive(Debug)]
pub struct Hold {
    _lock: Flock<File>,
}

/// A request in force; dropping it takes it back.
#[derive(Debug)]
pub(crate) struct EndRequest {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Drop for EndRequest {
    fn drop(&mut self) {
        if let Err(problem) = fs::remove_file(&self.path)
            && problem.kind() != io::ErrorKind::NotFound
        {
            tracing::error!(path = %self.path.display(), %problem,
                "the file of a request to end all attacks stays; it asks for nothing any more");
        }
    }
}

impl Journal {
    /// Opens a journal; its directory is made when missing.
    pub fn open(dir: &Path) -> Result<Self, FaultError> {
        fs::create_dir_all(dir).map_err(|problem| failed("create", dir, problem))?;
        Ok(Self { dir: dir.to_owned() })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Takes the journal for this process. The kernel gives it back when the process ends.
    pub fn hold(&self, lock: &'static str) -> Result<Hold, FaultError> {
        let path = self.dir.join(lock);
        let file = File::create(&path).map_err(|problem| failed("create", &path, problem))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Hold { _lock: lock }),
            Err((_, nix::Error::EWOULDBLOCK)) => Err(FaultError::JournalHeld(self.dir.clone())),
            Err((_, problem)) => Err(failed("lock", &path, problem.into())),
        }
    }

    /// As [`Journal::hold`], and waits so long for whoever has the journal now. Even a dead holder can: a process that
    /// it was just starting shares its lock from the fork to the exec.
    pub(crate) async fn hold_within(&self, lock: &'static str, within: Duration) -> Result<Hold, FaultError> {
        let began = Instant::now();
        loop {
            match self.hold(lock) {
                Err(FaultError::JournalHeld(_)) if began.elapsed() < within => sleep(HELD_LOOK_EVERY).await,
                other => return other,
            }
        }
    }

    /// Puts a record on disk; when this returns, it survives a crash of the machine.
    pub fn write(&self, record: &Record) -> Result<(), FaultError> {
        let path = self.path_of(&record.id)?;
        let draft = path.with_extension(DRAFT_SUFFIX);
        let text = serde_json::to_vec_pretty(record).map_err(|problem| failed("write", &path, problem.into()))?;
        File::create(&draft)
            .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&draft, &path))
            .and_then(|()| self.sync())
            .map_err(|problem| failed("write", &path, problem))
    }

    /// Removes a record. One that is gone is no error. Only after the fault was seen to be out.
    pub fn remove(&self, id: &AttackId) -> Result<(), FaultError> {
        let path = self.path_of(id)?;
        match fs::remove_file(&path) {
            Err(problem) if problem.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.and_then(|()| self.sync()).map_err(|problem| failed("remove", &path, problem)),
        }
    }

    /// Reads one record; `None` when there is none.
    pub fn read(&self, id: &AttackId) -> Result<Option<Record>, FaultError> {
        let path = self.path_of(id)?;
        match fs::read(&path) {
            Err(problem) if problem.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(problem) => Err(failed("read", &path, problem)),
            Ok(bytes) => parse(&bytes).map(Some).map_err(|problem| failed("read", &path, problem)),
        }
    }

    /// All records, oldest first. Drafts are left alone: another process may be writing them.
    pub fn records(&self) -> Result<Vec<Record>, FaultError> {
        let mut all = Vec::new();
        for path in self.files(RECORD_SUFFIX)? {
            match fs::read(&path) {
                // Removed by its holder meanwhile.
                Err(problem) if problem.kind() == io::ErrorKind::NotFound => {}
                Err(problem) => return Err(failed("read", &path, problem)),
                Ok(bytes) => match parse(&bytes) {
                    Ok(record) => all.push(record),
                    Err(problem) => self.set_aside(&path, &problem)?,
                },
            }
        }
        all.sort_by_key(|record| record.written_at);
        Ok(all)
    }

    /// Asks the holder to take everything out, for as long as the answer is kept.
    pub(crate) fn request_end(&self) -> Result<EndRequest, FaultError> {
        let path = self.dir.join(END_REQUEST);
        let file = File::create(&path).map_err(|problem| failed("write", &path, problem))?;
        // Waits for another who asks the same, seconds at most.
        let lock =
            Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, problem)| failed("lock", &path, problem.into()))?;
        Ok(EndRequest { path, _lock: lock })
    }

    /// Whether somebody asks for the end of everything.
    pub(crate) fn end_requested(&self) -> bool {
        // The lock goes with the process that asks: a file that a killed one left asks for nothing.
        let Ok(file) = File::open(self.dir.join(END_REQUEST)) else { return false };
        matches!(Flock::lock(file, FlockArg::LockSharedNonblock), Err((_, nix::Error::EWOULDBLOCK)))
    }

    /// Whether a file is a record, by its name.
    pub(crate) fn is_record(path: &Path) -> bool {
        path.extension().is_some_and(|extension| extension == RECORD_SUFFIX)
    }

    /// Removes drafts that a dead process left. Only for who holds the journal.
    pub fn remove_drafts(&self) -> Result<(), FaultError> {
        for path in self.files(DRAFT_SUFFIX)? {
            fs::remove_file(&path).map_err(|problem| failed("remove", &path, problem))?;
        }
        Ok(())
    }

    /// A record that cannot be read cannot be acted on, and must not stop the others from being undone. It is kept
    /// for a person, under another name.
    fn set_aside(&self, path: &Path, problem: &io::Error) -> Result<(), FaultError> {
        let aside = path.with_extension(UNREADABLE_SUFFIX);
        tracing::error!(path = %path.display(), kept = %aside.display(), %problem,
            "an undo record cannot be read: a fault may still be in place; look at the file and at the host");
        fs::rename(path, &aside).map_err(|problem| failed("set aside", path, problem))
    }

    fn files(&self, suffix: &str) -> Result<Vec<PathBuf>, FaultError> {
        let entries = fs::read_dir(&self.dir).map_err(|problem| failed("list", &self.dir, problem))?;
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == suffix));
        files.sort();
        Ok(files)
    }

    fn path_of(&self, id: &AttackId) -> Result<PathBuf, FaultError> {
        check_id(id)?;
        Ok(self.dir.join(format!("{id}.{RECORD_SUFFIX}")))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}

/// Refuses an id that could leave the directory or clash with a suffix.
pub(crate) fn check_id(id: &AttackId) -> Result<(), FaultError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let text = &id.0;
    let fits = !text.is_empty() && text.len() <= ID_BYTES_MAX && !text.starts_with('.') && text.chars().all(allowed);
    if fits { Ok(()) } else { Err(FaultError::BadId(id.clone())) }
}

fn parse(bytes: &[u8]) -> io::Result<Record> {
    let record: Record = serde_json::from_slice(bytes)?;
    if record.version == VERSION {
        return Ok(record);
    }
    let text = format!("format {} is not {VERSION}, the one this program knows", record.version);
    Err(io::Error::new(io::ErrorKind::InvalidData, text))
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> FaultError {
    FaultError::Journal { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str) -> Record {
        let fault = Fault::new("pause");
        let who = (AttackId(id.to_owned()), "east-1".parse().expect("name"));
        let process = Identity { pid: 7, start_time: 8 };
        Record::new(who, (fault, Span::secs(30)), "SIGSTOP".to_owned(), Undo::by(&process).expect("JSON"))
            .expect("record")
    }

    #[test]
    fn records_survive_and_go() {
        let dir = tempfile::tempdir().expect("temp dir");
        let journal = Journal::open(dir.path()).expect("opens");
        let (one, two) = (record("run-1.a"), record("run-1.b"));
        journal.write(&one).expect("writes");
        journal.write(&two).expect("writes");
        assert_eq!(journal.records().expect("reads"), [one.clone(), two.clone()]);
        assert_eq!(journal.read(&one.id).expect("reads"), Some(one.clone()));
        journal.remove(&one.id).expect("removes");
        journal.remove(&one.id).expect("twice is no error");
        assert_eq!(journal.records().expect("reads"), [two]);
        assert_eq!(journal.read(&one.id).expect("reads"), None);
    }

    #[test]
    fn what_is_half_written_does_not_hide_the_rest() {
        let dir = tempfile::tempdir().expect("temp dir");
        let journal = Journal::open(dir.path()).expect("opens");
        let whole = record("whole");
        journal.write(&whole).expect("writes");
        let text = fs::read(dir.path().join("whole.attack")).expect("reads");
        for cut in 0..text.len() {
            fs::write(dir.path().join("cut.attack"), &text[..cut]).expect("writes");
            assert_eq!(journal.records().expect("reads"), std::slice::from_ref(&whole), "cut at {cut}");
            assert!(dir.path().join("cut.unreadable").exists(), "kept for a person");
        }
        fs::write(dir.path().join("other.attack"), String::from_utf8_lossy(&text).replace(": 2,", ": 3,")).expect("w");
        assert_eq!(journal.records().expect("reads").len(), 1, "a format of the future is not guessed at");
        fs::write(dir.path().join("dead.draft"), "{").expect("writes");
        journal.remove_drafts().expect("removes");
        assert!(!dir.path().join("dead.draft").exists());
    }

    #[test]
    fn an_id_cannot_leave_the_directory() {
        for bad in ["", ".", "..", ".x", "a/b", "../x", "a b", "a\0b", &"x".repeat(101)] {
            assert!(check_id(&AttackId(bad.to_owned())).is_err(), "{bad:?} must be refused");
        }
        assert!(check_id(&AttackId("0197-ab_c.east-1".to_owned())).is_ok());
    }

    #[test]
    fn a_request_lasts_as_long_as_who_asks() {
        let dir = tempfile::tempdir().expect("temp dir");
        let journal = Journal::open(dir.path()).expect("opens");
        assert!(!journal.end_requested());
        let request = journal.request_end().expect("asks");
        assert!(journal.end_requested() && journal.end_requested());
        drop(request);
        assert!(!journal.end_requested());
        fs::write(dir.path().join(END_REQUEST), "").expect("as a killed process leaves it");
        assert!(!journal.end_requested());
    }

    #[test]
    fn one_process_holds_a_journal() {
        let dir = tempfile::tempdir().expect("temp dir");
        let journal = Journal::open(dir.path()).expect("opens");
        let held = journal.hold("holder.lock").expect("free");
        assert!(matches!(journal.hold("holder.lock"), Err(FaultError::JournalHeld(_))));
        drop(held);
        journal.hold("holder.lock").expect("free again");
    }
}
