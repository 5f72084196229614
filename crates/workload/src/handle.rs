//! The agent's side of a workload process: both talk through files in one directory, so that an agent that was killed
//! finds its workload again.

use crate::files;
use firedrill_model::workload::{Sample, WorkloadState};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Most bytes of samples read by one [`Handle::poll`]: an agent that was away for an hour catches up in a few calls.
const POLL_BYTES_MAX: u64 = 1 << 20;

/// A view on the directory of a workload process that runs, ran or is about to run.
#[derive(Debug)]
pub struct Handle {
    dir: PathBuf,
    /// How far `samples.ndjson` was read.
    offset: u64,
}

/// What is new since the last [`Handle::poll`].
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Samples that were not seen before, in time order.
    pub samples: Vec<Sample>,
    /// The present state; `None` until the load has begun.
    pub state: Option<WorkloadState>,
}

/// Why a workload's directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// A file could not be read or written.
    #[error("the workload's file {} cannot be used", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file holds something else than expected.
    #[error("the workload's file {} holds something else than expected", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

impl Handle {
    /// Looks at a directory from the beginning: the first [`Handle::poll`] answers all samples so far.
    #[must_use]
    pub fn adopt(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), offset: 0 }
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the history is, whole once the state is [`WorkloadState::Finished`].
    #[must_use]
    pub fn history(&self) -> PathBuf {
        self.dir.join(files::HISTORY)
    }

    /// Asks the process to end the load and do its final reads. Asking again changes nothing.
    ///
    /// # Errors
    /// The stop file could not be made.
    pub fn request_stop(&self) -> Result<(), HandleError> {
        let path = self.dir.join(files::STOP);
        File::create(&path).map(|_| ()).map_err(|source| HandleError::File { path, source })
    }

    /// Reads what is new. Never blocks on the process; a line that is still being written is left for the next call.
    ///
    /// # Errors
    /// A file that is there and cannot be read. Files that are not there yet are no error.
    pub fn poll(&mut self) -> Result<Progress, HandleError> {
        // The state first: when it says that the workload is over, the samples read after it are the last.
        let state = self.state()?;
        Ok(Progress { samples: self.samples()?, state })
    }

    /// The present state; `None` until the load has begun.
    ///
    /// # Errors
    /// As [`Handle::poll`].
    pub fn state(&self) -> Result<Option<WorkloadState>, HandleError> {
        let path = self.dir.join(files::STATE);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(absent) if absent.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(HandleError::File { path, source }),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|source| HandleError::Content { path, source })
    }

    fn samples(&mut self) -> Result<Vec<Sample>, HandleError> {
        let path = self.dir.join(files::SAMPLES);
        let bytes = match read_from(&path, self.offset) {
            Ok(bytes) => bytes,
            Err(absent) if absent.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(HandleError::File { path, source }),
        };
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        let samples = bytes[..whole]
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(serde_json::from_slice)
            .collect::<Result<Vec<Sample>, _>>()
            .map_err(|source| HandleError::Content { path, source })?;
        self.offset += whole as u64;
        Ok(samples)
    }
}

fn read_from(path: &Path, offset: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(POLL_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use firedrill_model::{Span, Timestamp};
    use std::io::Write;

    fn sample(at: i64) -> Sample {
        Sample {
            at: Timestamp(at),
            over: Span::millis(250),
            writes_ok: 1,
            writes_failed: 0,
            writes_unknown: 0,
            reads_ok: 0,
            reads_failed: 0,
            write_p50: Some(Span::millis(1)),
            write_p99: None,
            acknowledged_total: 9,
        }
    }

    #[test]
    fn polling_answers_each_sample_once_and_waits_for_whole_lines() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut handle = Handle::adopt(dir.path());
        assert_eq!(handle.poll().expect("nothing yet"), Progress { samples: Vec::new(), state: None });

        let line = |at| serde_json::to_string(&sample(at)).expect("serialises");
        let mut file = File::create(dir.path().join(files::SAMPLES)).expect("samples");
        let second = line(2);
        write!(file, "{}\n{}", line(1), &second[..10]).expect("written");
        assert_eq!(handle.poll().expect("one").samples, [sample(1)]);
        assert!(handle.poll().expect("none").samples.is_empty());
        writeln!(file, "{}", &second[10..]).expect("written");
        files::write_state(dir.path(), &WorkloadState::FinalReads).expect("state");
        let progress = handle.poll().expect("the rest");
        assert_eq!((progress.samples, progress.state), (vec![sample(2)], Some(WorkloadState::FinalReads)));

        let mut again = Handle::adopt(dir.path());
        assert_eq!(again.poll().expect("all").samples, [sample(1), sample(2)]);
    }

    #[test]
    fn a_stop_is_asked_by_a_file_and_garbage_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let handle = Handle::adopt(dir.path());
        handle.request_stop().expect("asked");
        handle.request_stop().expect("asked again");
        assert!(dir.path().join(files::STOP).exists());
        std::fs::write(dir.path().join(files::STATE), "{").expect("garbage");
        let refused = handle.state().expect_err("garbage");
        assert!(refused.to_string().contains("state.json"), "{refused}");
    }
}
