//! The driver's process, with the browser that it starts: both are gone when this is dropped, also after a panic.

#![allow(clippy::disallowed_methods, reason = "a tool for tests starts the browser of the system")]

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// The driver needs a fraction of a second on a machine that does nothing else.
const START_WITHIN: Duration = Duration::from_secs(30);

/// A running driver.
#[derive(Debug)]
pub(crate) struct Driver {
    child: Child,
    group: Option<Pid>,
    /// The address that commands go to.
    pub(crate) address: String,
    /// What the browser writes; gone with it.
    pub(crate) profile: TempDir,
}

impl Driver {
    /// Starts it on a port of its own choice.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let profile = tempfile::Builder::new().prefix("fd-browser-").tempdir()?;
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0).kill_on_drop(true);
        // The browser's own temporary files go where they are removed.
        command.env("TMPDIR", profile.path()).env("HOME", profile.path());
        let mut child = command
            .spawn()
            .context("cannot start chromedriver; `make setup` installs chromium and chromium-driver on Debian")?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let mut lines = BufReader::new(child.stdout.take().context("no output of chromedriver")?).lines();
        let port = tokio::time::timeout(START_WITHIN, async {
            while let Some(line) = lines.next_line().await? {
                if let Some((_, rest)) = line.split_once("started successfully on port ") {
                    return Ok(rest.trim_end_matches('.').parse::<u16>()?);
                }
            }
            bail!("chromedriver ended before it listened")
        });
        let port = port.await.context("chromedriver does not say that it listens")??;
        Ok(Self { child, group, address: format!("http://127.0.0.1:{port}"), profile })
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(group) = self.group
            && matches!(self.child.try_wait(), Ok(None))
        {
            // The group is ours as long as its leader was not waited for. An error says that it is gone already.
            let _gone = killpg(group, Signal::SIGKILL);
        }
    }
}
