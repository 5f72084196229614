//! A PostgreSQL server of a test's own. Nothing of it is played: it is the real program, on a directory that goes with it.

#![allow(clippy::disallowed_methods, reason = "a program of a test, which needs no cgroup and no namespace")]

use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Starting takes half a second; a busy machine may need many.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// It refuses to run as root.
const USER: &str = "postgres";

/// A running server that listens on a socket in its own directory and goes when this is dropped, or its thread ends.
#[derive(Debug)]
pub struct Postgres {
    home: TempDir,
    programs: PathBuf,
    process: Option<Child>,
}

impl Postgres {
    /// Makes a data directory and starts a server on it.
    ///
    /// # Errors
    /// It is not installed (`apt install postgresql`), or does not start; says what it said.
    pub fn start() -> Result<Self> {
        let home = tempfile::Builder::new().prefix("firedrill-postgres-").tempdir()?;
        let mut server = Self { programs: programs()?, home, process: None };
        ran(Command::new("chown").arg(USER).arg(server.home.path()))?;
        let data = server.data();
        let made = server
            .program("initdb")
            .args(["--auth=trust", "--username=firedrill", "--no-sync"])
            .args(["--encoding=UTF8", "--locale=C"])
            .arg(data)
            .output()?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        server.run()?;
        Ok(server)
    }

    /// Starts the process, after [`Postgres::stop`].
    ///
    /// # Errors
    /// It does not start; says what it said.
    pub fn run(&mut self) -> Result<()> {
        let log = self.home.path().join("log");
        let process = self
            .program("postgres")
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(self.home.path())
            // No network, and no flushes: what tests kill are processes, not machines.
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=100"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .spawn()
            .context("postgres does not start")?;
        self.process = Some(process);
        let began = Instant::now();
        while self.sql("postgres", "SELECT 1").is_err() {
            let ended = self.process.as_mut().map(Child::try_wait).transpose()?.flatten();
            if ended.is_some() || began.elapsed() > STARTS_WITHIN {
                bail!("PostgreSQL does not answer: {}", std::fs::read_to_string(&log).unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Ends it at once, as a crash would.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // SIGQUIT: its children go with it.
            let _ = Command::new("kill").args(["-QUIT", &process.id().to_string()]).status();
            let _ = process.wait();
        }
    }

    /// A new, empty database of that name, as an address.
    ///
    /// # Errors
    /// There is one already.
    pub fn database(&self, name: &str) -> Result<String> {
        self.sql("postgres", &format!("CREATE DATABASE {name}"))?;
        Ok(format!("postgres://firedrill@localhost/{name}?host={}", self.home.path().display()))
    }

    /// What a statement gives in a database: a line for each row.
    ///
    /// # Errors
    /// What the server said.
    pub fn sql(&self, database: &str, statement: &str) -> Result<String> {
        let mut client = Command::new(self.programs.join("psql"));
        client.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--username=firedrill"]);
        client.arg(format!("--host={}", self.home.path().display())).arg(format!("--dbname={database}"));
        let output = client.args(["--set=ON_ERROR_STOP=1", "--command", statement]).output()?;
        ensure!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups", "--pdeathsig=QUIT"]);
        command.arg(self.programs.join(name));
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Where the newest version that is installed has its programs; Debian keeps them out of the path.
fn programs() -> Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let programs = versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists());
    let version = |bin: &PathBuf| -> Option<u32> { bin.parent().and_then(Path::file_name)?.to_str()?.parse().ok() };
    programs.max_by_key(version).context("PostgreSQL is not installed (apt install postgresql)")
}

fn ran(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}
