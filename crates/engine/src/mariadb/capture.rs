//! Setting aside what a failed server leaves for a look at what happened.

use super::server::{Server, log_tail};
use super::{binlog, option};
use crate::config::InstanceConfig;
use crate::error::EngineError;
use crate::install::blocking;
use firedrill_model::{NodeReply, OperationId};
use std::fmt::Write as _;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::Arc;

/// How much of a log is kept: its end.
const LOG_BYTES_MAX: u64 = 16 << 20;

/// Lines of the error log that the answer carries.
const TAIL_LINES: usize = 30;

/// Most data files that are listed.
const FILES_MAX: usize = 20_000;

impl Server {
    /// [`firedrill_model::NodeCommand::Capture`]. The option file is copied, `master.info` is not: it holds a password.
    pub(crate) async fn capture(&self, operation: &OperationId) -> Result<NodeReply, EngineError> {
        let config = Arc::clone(&self.config);
        let directory = config.captured_dir(operation);
        let process = format!("{:?}\n", self.process.state());
        blocking(move || {
            std::fs::create_dir_all(&directory).map_err(|problem| EngineError::file("make", &directory, problem))?;
            copy_end(&config.error_log, &directory.join("error.log"))?;
            copy_end(&config.config_file, &directory.join("my.cnf"))?;
            copy_end(&config.work_dir.join("start.log"), &directory.join("start.log"))?;
            write(&directory.join("process.txt"), &process)?;
            write(&directory.join("files.txt"), &file_list(&config))?;
            let log_tail = log_tail(&config.error_log, TAIL_LINES);
            Ok(NodeReply::Captured { directory: directory.display().to_string(), log_tail })
        })
        .await
    }
}

/// Copies the end of a file; a file that is not there leaves none.
fn copy_end(from: &Path, to: &Path) -> Result<(), EngineError> {
    let mut file = match std::fs::File::open(from) {
        Err(problem) if problem.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|problem| EngineError::file("read", from, problem))?,
    };
    let mut bytes = Vec::new();
    file.metadata()
        .and_then(|meta| file.seek(SeekFrom::Start(meta.len().saturating_sub(LOG_BYTES_MAX))))
        .and_then(|_| file.take(LOG_BYTES_MAX).read_to_end(&mut bytes))
        .map_err(|problem| EngineError::file("read", from, problem))?;
    std::fs::write(to, bytes).map_err(|problem| EngineError::file("write", to, problem))
}

fn write(path: &Path, text: &str) -> Result<(), EngineError> {
    std::fs::write(path, text).map_err(|problem| EngineError::file("write", path, problem))
}

/// Every data file with its size and its last change, and the last binary log.
fn file_list(config: &InstanceConfig) -> String {
    let mut text = String::new();
    let last = binlog::files(&config.data_dir, &option::binlog_base(config)).ok().and_then(|mut files| files.pop());
    let _infallible =
        writeln!(text, "last binary log: {}", last.map_or("none".to_owned(), |path| path.display().to_string()));
    let mut pending = vec![config.data_dir.clone()];
    let mut listed = 0;
    while let Some(directory) = pending.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else {
            let _infallible = writeln!(text, "{} cannot be listed", directory.display());
            continue;
        };
        for entry in entries.flatten() {
            let (path, Ok(meta)) = (entry.path(), entry.metadata()) else { continue };
            if meta.is_dir() {
                pending.push(path);
            } else if listed < FILES_MAX {
                listed += 1;
                let changed = meta.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
                let seconds = changed.map_or(0, |at| at.as_secs());
                let _infallible = writeln!(text, "{:>14} {seconds:>12} {}", meta.len(), path.display());
            }
        }
    }
    text
}
