//! The directory of one load: what it was started with, who the process is, what was reported and sent.

use crate::storage;
use firedrill_host::HostError;
use firedrill_host::process::{Identity, Pidfd};
use firedrill_model::workload::WorkloadSpec;
use firedrill_model::{RunId, Timestamp};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What the agent keeps there beside the files of the workload itself.
const SPEC: &str = "spec.json";
const IDENTITY: &str = "identity";
const LOG: &str = "workload.log";
/// The moment of the newest sample that was reported.
const REPORTED: &str = "reported";
/// Present when the history was sent.
const SENT: &str = "sent";

/// One load's directory.
#[derive(Debug, Clone)]
pub(super) struct RunDir {
    path: PathBuf,
    run: RunId,
}

impl RunDir {
    /// Makes the directory of a new load, with its specification in it.
    pub(super) fn make(parent: &Path, spec: &WorkloadSpec) -> io::Result<Self> {
        let run_dir = Self { path: parent.join(file_name(&spec.run)), run: spec.run.clone() };
        // An agent that was killed between the two steps of a start has left a directory without a process.
        if run_dir.path.exists() {
            run_dir.remove()?;
        }
        storage::make_private_dir(&run_dir.path)?;
        storage::replace(&run_dir.spec_file(), &serde_json::to_vec(spec)?)?;
        Ok(run_dir)
    }

    /// The directory of a load that was started; `None` when there is none.
    pub(super) fn existing(parent: &Path, run: &RunId) -> io::Result<Option<Self>> {
        Ok(Self::open(parent.join(file_name(run)))?.filter(|run_dir| run_dir.run == *run))
    }

    /// All loads that were started under `parent`.
    pub(super) fn find(parent: &Path) -> io::Result<Vec<Self>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(parent)? {
            found.extend(Self::open(entry?.path())?);
        }
        Ok(found)
    }

    /// Removes the oldest directories whose history was sent, up to `kept` of them.
    pub(super) fn prune(parent: &Path, kept: usize) -> io::Result<()> {
        let mut done: Vec<(SystemTime, Self)> = Vec::new();
        for run_dir in Self::find(parent)? {
            if let Ok(sent) = std::fs::metadata(run_dir.path.join(SENT)) {
                done.push((sent.modified()?, run_dir));
            }
        }
        done.sort_by_key(|(sent, _)| *sent);
        let surplus = done.len().saturating_sub(kept);
        done.iter().take(surplus).try_for_each(|(_, run_dir)| run_dir.remove())
    }

    fn open(path: PathBuf) -> io::Result<Option<Self>> {
        // Without an identity the start did not come to its end.
        if !path.join(IDENTITY).exists() {
            return Ok(None);
        }
        let Some(content) = storage::read_if_there(&path.join(SPEC))? else { return Ok(None) };
        let spec: WorkloadSpec = serde_json::from_slice(&content)?;
        Ok(Some(Self { path, run: spec.run }))
    }

    pub(super) fn run(&self) -> &RunId {
        &self.run
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn spec_file(&self) -> PathBuf {
        self.path.join(SPEC)
    }

    pub(super) fn identity_file(&self) -> PathBuf {
        self.path.join(IDENTITY)
    }

    pub(super) fn log_file(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// The running process; `None` when it has ended.
    pub(super) fn process(&self) -> Result<Option<Pidfd>, HostError> {
        Identity::load(&self.identity_file())?.map_or(Ok(None), |identity| identity.open())
    }

    /// Up to where samples were reported.
    pub(super) fn reported(&self) -> io::Result<Timestamp> {
        let content = storage::read_if_there(&self.path.join(REPORTED))?;
        let text = content.map(|content| String::from_utf8_lossy(&content).into_owned());
        // Unreadable, it only means that samples are reported twice.
        Ok(Timestamp(text.and_then(|text| text.trim().parse().ok()).unwrap_or(i64::MIN)))
    }

    /// Notes up to where samples were reported.
    pub(super) fn note_reported(&self, at: Timestamp) -> io::Result<()> {
        storage::replace_unsynced(&self.path.join(REPORTED), at.0.to_string().as_bytes())
    }

    /// Whether the history was sent.
    pub(super) fn is_sent(&self) -> bool {
        self.path.join(SENT).exists()
    }

    /// Notes that the history was sent.
    pub(super) fn note_sent(&self) -> io::Result<()> {
        storage::replace(&self.path.join(SENT), b"")
    }

    /// The last lines of what the process said, for messages.
    pub(super) fn log_tail(&self) -> String {
        const LINES: usize = 3;
        let text = std::fs::read(self.log_file()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join(" | ")
    }

    /// Removes it all; the process must have ended.
    pub(super) fn remove(&self) -> io::Result<()> {
        std::fs::remove_dir_all(&self.path)
    }
}

/// A run's id as the name of a directory: it comes over the wire, a path must not.
fn file_name(run: &RunId) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    format!("run-{}", run.0.chars().take(80).map(safe).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use firedrill_model::Endpoint;
    use firedrill_model::workload::{Load, Login};
    use std::time::Duration;

    fn spec(run: &str) -> WorkloadSpec {
        WorkloadSpec {
            run: RunId(run.to_owned()),
            load: Load::default(),
            gateway: Endpoint { address: "127.0.0.1".parse().expect("address"), port: 1 },
            nodes: vec![],
            login: Login { user: "u".to_owned(), password: "p".to_owned(), database: "d".to_owned() },
        }
    }

    fn started(parent: &Path, run: &str) -> RunDir {
        let run_dir = RunDir::make(parent, &spec(run)).expect("made");
        Identity { pid: u32::MAX, start_time: 1 }.save(&run_dir.identity_file()).expect("saved");
        run_dir
    }

    #[test]
    fn a_started_load_is_found_again_and_half_a_start_is_not() {
        let dir = tempfile::tempdir().expect("temp dir");
        let run_dir = started(dir.path(), "../a b");
        RunDir::make(dir.path(), &spec("half")).expect("made");
        let found = RunDir::find(dir.path()).expect("found");
        assert_eq!(found.iter().map(|found| found.run().0.as_str()).collect::<Vec<_>>(), ["../a b"]);
        assert_eq!(found[0].path(), dir.path().join("run-___a_b"));
        assert!(RunDir::existing(dir.path(), &RunId("half".to_owned())).expect("looked up").is_none());
        assert!(RunDir::existing(dir.path(), &RunId("???a?b".to_owned())).expect("looked up").is_none());
        assert!(run_dir.process().expect("no error").is_none());
    }

    #[test]
    fn only_sent_histories_are_pruned() {
        let dir = tempfile::tempdir().expect("temp dir");
        for (run, seconds) in [("1", 10), ("2", 20), ("3", 30)] {
            let run_dir = started(dir.path(), run);
            run_dir.note_sent().expect("noted");
            let sent = std::fs::File::open(run_dir.path.join(SENT)).expect("there");
            sent.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).expect("set");
        }
        let unsent = started(dir.path(), "0");
        RunDir::prune(dir.path(), 1).expect("pruned");
        let mut left: Vec<String> =
            RunDir::find(dir.path()).expect("found").iter().map(|found| found.run().0.clone()).collect();
        left.sort();
        assert_eq!(left, ["0", "3"]);
        assert!(!unsent.is_sent());
    }

    #[test]
    fn what_was_reported_is_remembered() {
        let dir = tempfile::tempdir().expect("temp dir");
        let run_dir = started(dir.path(), "1");
        assert_eq!(run_dir.reported().expect("nothing yet"), Timestamp(i64::MIN));
        run_dir.note_reported(Timestamp(42)).expect("noted");
        assert_eq!(run_dir.reported().expect("read"), Timestamp(42));
    }
}
