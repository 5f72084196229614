//! Running a tool to its end: bounded in time and in what is kept of its output.

use super::{Exit, Spawn, Stream};
use crate::HostError;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;

/// Most bytes kept of each output stream; the rest is read and dropped, so that the tool does not block.
pub const CAPTURE_BYTES_MAX: usize = 1 << 20;

/// Most bytes of standard error quoted in an error: its end, where tools say what is wrong.
const QUOTE_BYTES_MAX: usize = 2000;

/// How a tool ended and what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// The first [`CAPTURE_BYTES_MAX`] bytes of its standard output.
    pub stdout: Vec<u8>,
    /// The first [`CAPTURE_BYTES_MAX`] bytes of its standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text; bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The end of standard error as text.
    #[must_use]
    pub fn complaint(&self) -> String {
        let from = self.stderr.len().saturating_sub(QUOTE_BYTES_MAX);
        String::from_utf8_lossy(&self.stderr[from..]).trim().to_owned()
    }
}

/// Runs a tool; a status other than 0 is an error that quotes the tool. After `within` it is killed. So it is when the
/// returned future is dropped.
pub async fn run(spawn: Spawn, within: Duration) -> Result<Output, HostError> {
    run_with_input(spawn, Vec::new(), within).await
}

/// As [`run`], with `input` on the tool's standard input.
pub async fn run_with_input(spawn: Spawn, input: Vec<u8>, within: Duration) -> Result<Output, HostError> {
    let line = spawn.command_line();
    let output = run_to_end(spawn, input, within).await?;
    if output.exit.success() {
        return Ok(output);
    }
    Err(HostError::Tool { command: line, status: output.exit.to_string(), stderr: output.complaint() })
}

/// As [`run_with_input`], for a program whose status is an answer: however it ends, that is no error.
pub async fn run_to_end(spawn: Spawn, input: Vec<u8>, within: Duration) -> Result<Output, HostError> {
    let line = spawn.command_line();
    let stdin = if input.is_empty() { Stream::Null } else { Stream::Pipe };
    let mut child = KillOnDrop(spawn.stdin(stdin).stdout(Stream::Pipe).stderr(Stream::Pipe).spawn()?);
    tokio::time::timeout(within, child.converse(&line, &input))
        .await
        .map_err(|_| HostError::TimedOut { what: format!("`{line}`"), within })?
}

/// A tool must not outlive the call that ran it.
struct KillOnDrop(super::Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        // It has ended already unless the call was cut short; then there is nobody left to report a refusal to.
        let _gone = self.0.signal(super::Signal::SIGKILL);
    }
}

impl KillOnDrop {
    async fn converse(&mut self, line: &str, input: &[u8]) -> Result<Output, HostError> {
        let failed = |problem| HostError::system("exchange data with", format!("`{line}`"), problem);
        let child = &mut self.0;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            let Some(fd) = stdin else { return Ok(()) };
            let mut sender = pipe::Sender::from_owned_fd(fd)?;
            match sender.write_all(input).await {
                // A tool that does not read all of its input says why on standard error.
                Err(problem) if problem.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
                other => other,
            }
        };
        let listen = |fd: Option<OwnedFd>| async {
            match fd {
                Some(fd) => capture(pipe::Receiver::from_owned_fd(fd)?).await,
                None => Ok(Vec::new()),
            }
        };
        let ((), stdout, stderr) = tokio::try_join!(feed, listen(stdout), listen(stderr)).map_err(failed)?;
        Ok(Output { exit: child.exited().await?, stdout, stderr })
    }
}

async fn capture(mut stream: impl AsyncRead + Unpin) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let mut chunk = vec![0; 16 * 1024];
    loop {
        let count = stream.read(&mut chunk).await?;
        if count == 0 {
            return Ok(kept);
        }
        let room = CAPTURE_BYTES_MAX - kept.len();
        kept.extend_from_slice(&chunk[..count.min(room)]);
    }
}
