//! The history and the samples on disk.

use crate::error::WorkloadError;
use crate::files;
use crate::recorder::Recorder;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// More than this of the history waiting for a stalled disk ends the workload with an error instead of eating memory;
/// hours at any rate that one machine can offer.
const BACKLOG_BYTES_MAX: usize = 256 << 20;

/// How long a workload that is to end at once waits for its last write.
const SETTLE_WITHIN: Duration = Duration::from_secs(1);

/// The two files that grow while the load runs. Writes go through a blocking task: a disk under fault may stall them,
/// and the clock of the operations must not.
#[derive(Debug)]
pub(crate) struct Output {
    dir: PathBuf,
    files: Option<Files>,
    /// A write that has not come back yet.
    writing: Option<tokio::task::JoinHandle<(Files, io::Result<()>)>>,
    /// Bytes that wait for it.
    history: Vec<u8>,
    samples: Vec<u8>,
}

#[derive(Debug)]
struct Files {
    history: File,
    samples: File,
}

impl Output {
    /// Makes both files, empty.
    pub(crate) fn create(dir: &Path) -> Result<Self, WorkloadError> {
        let create = |name: &str| {
            let path = dir.join(name);
            File::create(&path).map_err(|source| WorkloadError::File { path, source })
        };
        let files = Files { history: create(files::HISTORY)?, samples: create(files::SAMPLES)? };
        Ok(Self { dir: dir.to_owned(), files: Some(files), writing: None, history: Vec::new(), samples: Vec::new() })
    }

    /// Takes what was recorded since the last call, as one sample and some history, and begins to write it. Does not
    /// wait for the disk unless the last write has come back already.
    pub(crate) async fn append(&mut self, recorder: &Recorder) -> Result<(), WorkloadError> {
        self.history.extend(recorder.take());
        if let Some(sample) = recorder.sample() {
            // A sample is plain data: serialising it has no failing path.
            self.samples.extend(serde_json::to_vec(&sample).unwrap_or_default());
            self.samples.push(b'\n');
        }
        if self.writing.as_ref().is_some_and(|writing| !writing.is_finished()) {
            let bytes = self.history.len();
            if bytes > BACKLOG_BYTES_MAX {
                return Err(WorkloadError::Backlog { bytes, path: self.dir.join(files::HISTORY) });
            }
            return Ok(());
        }
        self.wait().await?;
        self.begin_write();
        Ok(())
    }

    fn begin_write(&mut self) {
        let Some(mut files) = self.files.take() else { return };
        let (history, samples) = (std::mem::take(&mut self.history), std::mem::take(&mut self.samples));
        self.writing = Some(tokio::task::spawn_blocking(move || {
            // The history first: a sample must not say more than the history can prove.
            let written = files.history.write_all(&history).and_then(|()| files.samples.write_all(&samples));
            (files, written)
        }));
    }

    async fn wait(&mut self) -> Result<(), WorkloadError> {
        let Some(writing) = self.writing.take() else { return Ok(()) };
        let file = |source| WorkloadError::File { path: self.dir.join(files::HISTORY), source };
        let (files, written) = writing.await.map_err(|lost| file(io::Error::other(lost)))?;
        self.files = Some(files);
        written.map_err(file)
    }

    /// Waits a little for a write that is under way; one that a stalled disk holds longer is left behind.
    pub(crate) async fn settle(&mut self) -> Result<(), WorkloadError> {
        tokio::time::timeout(SETTLE_WITHIN, self.wait()).await.unwrap_or(Ok(()))
    }

    /// Writes the rest and the last bytes, and makes both files durable.
    pub(crate) async fn finish(mut self, last: Vec<u8>) -> Result<(), WorkloadError> {
        self.wait().await?;
        self.history.extend(last);
        self.begin_write();
        self.wait().await?;
        let path = self.dir.join(files::HISTORY);
        let Some(files) = self.files else { return Ok(()) };
        let synced = tokio::task::spawn_blocking(move || {
            files.history.sync_all()?;
            files.samples.sync_all()
        });
        let file = |source| WorkloadError::File { path: path.clone(), source };
        synced.await.map_err(|lost| file(io::Error::other(lost)))?.map_err(file)
    }
}
