//! The newest generation of each cluster that this agent has seen: a server of an older one no longer acts here. On
//! disk before anything is done by it, so that a restarted agent does not fall for the older server.

use crate::error::AgentError;
use crate::storage;
use firedrill_model::{ClusterName, Generation};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Lines after which the file is written anew at the next start.
const LINES_MAX: usize = 1000;

/// Why an instruction of some generation is not followed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stale {
    /// The newest seen.
    pub(crate) known: Generation,
}

/// The record, in memory and appended to a file, one `cluster generation` per line.
#[derive(Debug)]
pub(crate) struct Generations {
    known: Mutex<BTreeMap<ClusterName, Generation>>,
    kept: tokio::sync::Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    newest: BTreeMap<ClusterName, Generation>,
    file: Arc<File>,
}

impl Generations {
    /// Reads the file, or begins it.
    ///
    /// # Errors
    /// [`AgentError::Storage`]: acting without the record would mean trusting any server.
    pub(crate) fn open(path: PathBuf) -> Result<Self, AgentError> {
        let content = storage::read_if_there(&path).map_err(AgentError::storage("read", &path))?.unwrap_or_default();
        let mut newest = BTreeMap::<ClusterName, Generation>::new();
        let mut lines = 0;
        for line in storage::whole_lines(&content) {
            lines += 1;
            let (cluster, generation) = parse(line).ok_or_else(|| AgentError::Storage {
                action: "understand",
                path: path.clone(),
                source: io::Error::new(io::ErrorKind::InvalidData, String::from_utf8_lossy(line).into_owned()),
            })?;
            let known = newest.entry(cluster).or_default();
            *known = generation.max(*known);
        }
        // Also when the last line was cut short: an append would continue it.
        if lines > LINES_MAX || !content.ends_with(b"\n") {
            let lines: String = newest.iter().map(|(cluster, generation)| line(cluster, *generation)).collect();
            storage::replace(&path, lines.as_bytes()).map_err(AgentError::storage("write", &path))?;
        }
        let file = Arc::new(storage::open_append(&path).map_err(AgentError::storage("open", &path))?);
        Ok(Self { known: Mutex::new(newest.clone()), kept: tokio::sync::Mutex::new(Kept { newest, file }) })
    }

    /// Takes note of a generation that asks for something, in memory; older ones than the newest are refused.
    pub(crate) fn admit(&self, cluster: &ClusterName, generation: Generation) -> Result<(), Stale> {
        let mut known = self.lock();
        let newest = known.entry(cluster.clone()).or_default();
        if generation < *newest {
            return Err(Stale { known: *newest });
        }
        *newest = generation;
        Ok(())
    }

    /// The newest seen.
    pub(crate) fn newest(&self, cluster: &ClusterName) -> Generation {
        self.lock().get(cluster).copied().unwrap_or_default()
    }

    /// Returns when `generation` or a newer one is safely on disk.
    pub(crate) async fn keep(&self, cluster: &ClusterName, generation: Generation) -> io::Result<()> {
        let mut kept = self.kept.lock().await;
        if kept.newest.get(cluster).is_some_and(|newest| *newest >= generation) {
            return Ok(());
        }
        let (file, line) = (Arc::clone(&kept.file), line(cluster, generation));
        let appended = tokio::task::spawn_blocking(move || {
            let mut file = &*file;
            file.write_all(line.as_bytes())?;
            file.sync_data()
        });
        appended.await.map_err(io::Error::other)??;
        kept.newest.insert(cluster.clone(), generation);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ClusterName, Generation>> {
        // Each change is one assignment; a panic elsewhere leaves the map consistent.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn line(cluster: &ClusterName, generation: Generation) -> String {
    format!("{cluster} {}\n", generation.0)
}

fn parse(line: &[u8]) -> Option<(ClusterName, Generation)> {
    let (cluster, generation) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    Some((cluster.parse().ok()?, Generation(generation.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shop() -> ClusterName {
        "shop".parse().expect("name")
    }

    #[tokio::test]
    async fn an_older_generation_is_refused_also_after_a_restart() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("generations");
        let generations = Generations::open(path.clone()).expect("opens");
        for generation in [3, 5, 5] {
            generations.admit(&shop(), Generation(generation)).expect("newer or equal");
            generations.keep(&shop(), Generation(generation)).await.expect("kept");
        }
        assert_eq!(generations.admit(&shop(), Generation(4)), Err(Stale { known: Generation(5) }));
        drop(generations);
        let generations = Generations::open(path).expect("opens again");
        assert_eq!(generations.admit(&shop(), Generation(4)), Err(Stale { known: Generation(5) }));
        assert_eq!(generations.newest(&shop()), Generation(5));
        let other = "other".parse().expect("name");
        assert_eq!(generations.admit(&other, Generation(1)), Ok(()), "clusters do not share generations");
    }

    #[tokio::test]
    async fn a_line_cut_short_by_a_crash_does_no_harm() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("generations");
        std::fs::write(&path, "shop 7\nshop 9").expect("written");
        let generations = Generations::open(path.clone()).expect("opens");
        assert_eq!(generations.newest(&shop()), Generation(7));
        generations.keep(&shop(), Generation(8)).await.expect("kept");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "shop 7\nshop 8\n");
        std::fs::write(&path, "rubbish\n").expect("written");
        assert!(Generations::open(path).is_err(), "a record that cannot be trusted is not guessed at");
    }
}
