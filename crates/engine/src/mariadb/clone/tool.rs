//! One run of a copying tool: recorded on disk, ended with the call that started it, and its complaint quoted.

use crate::error::EngineError;
use crate::mariadb::server::log_tail;
use crate::process::kill_by_file;
use firedrill_host::process::{Child, Signal, Spawn, Stream};
use std::path::{Path, PathBuf};

/// Lines of a tool's log that an error quotes.
const LINES_QUOTED: usize = 4;

/// A running tool.
pub(super) struct Tool {
    child: Child,
    name: &'static str,
    identity: PathBuf,
    log: PathBuf,
}

impl Tool {
    /// Starts it with its words going to `<directory>/<name>.log`. One that an earlier agent left running is ended
    /// first.
    pub(super) async fn start(name: &'static str, directory: &Path, spawn: Spawn) -> Result<Self, EngineError> {
        let identity = identity_file(directory, name);
        kill_by_file(&identity).await?;
        let log = directory.join(format!("{name}.log"));
        let child = spawn.stderr(Stream::Append(log.clone())).new_session().spawn()?;
        let tool = Self { child, name, identity, log };
        tool.child.identity().save(&tool.identity)?;
        Ok(tool)
    }

    /// Waits for its end; a status other than 0 is an error with the last words of its log.
    pub(super) async fn finish(self) -> Result<(), EngineError> {
        let exit = self.child.exited().await?;
        if exit.success() {
            return Ok(());
        }
        let log = log_tail(&self.log, LINES_QUOTED).join(" | ");
        Err(EngineError::Failed(format!("{} ended with {exit}; its log says: {log}", self.name)))
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        // Ended already, unless the call was given up; then nobody is left to report a refusal to. The file of a tool
        // that is gone means nothing to a later reader, who checks that it lives.
        let _gone = self.child.signal(Signal::SIGKILL);
        let _gone = std::fs::remove_file(&self.identity);
    }
}

/// Ends every tool of a clone, whoever started it.
pub(super) async fn end_all(directory: &Path) -> Result<(), EngineError> {
    for name in [RECEIVE, SEND, PREPARE] {
        kill_by_file(&identity_file(directory, name)).await?;
    }
    Ok(())
}

/// Unpacks the stream on the recipient.
pub(super) const RECEIVE: &str = "receive";
/// Makes the stream on the donor.
pub(super) const SEND: &str = "send";
/// Makes the copy consistent.
pub(super) const PREPARE: &str = "prepare";

fn identity_file(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.identity"))
}
