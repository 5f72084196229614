//! Sandboxes of the release program, in a home of the benchmark's own, always taken down.

use anyhow::{Context, Result, bail};
use firedrill_model::report::RunReport;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the sandboxes live: a real disk, and a short path for unix sockets.
const HOME: &str = "/var/tmp/firedrill-bench";
/// The name of all of them; one at a time.
const SANDBOX: &str = "bench";
const PROGRAM: &str = "target/release/firedrill";
/// Exit statuses of `experiment run` that come with a report: passed, failed, error, inconclusive.
const REPORTED: [i32; 4] = [0, 1, 2, 3];

/// The program, and the directory where its sandboxes live; the directory goes with this value.
pub(super) struct Ground {
    program: PathBuf,
}

impl Ground {
    /// # Errors
    /// When the program was not built.
    pub(super) fn new(program: Option<&Path>) -> Result<Self> {
        let program = program.unwrap_or(Path::new(PROGRAM));
        let program = program.canonicalize().with_context(|| {
            format!("{} is not there; build it: cargo build --release -p firedrill", program.display())
        })?;
        let ground = Self { program };
        ground.clear()?;
        Ok(ground)
    }

    /// The program that is measured.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Directory of all that the benchmark writes.
    pub(super) fn home(&self) -> &Path {
        Path::new(HOME)
    }

    /// Takes away what an earlier benchmark left, the prepared databases too.
    pub(super) fn clear(&self) -> Result<()> {
        self.down()?;
        if self.home().exists() {
            std::fs::remove_dir_all(self.home()).with_context(|| format!("cannot remove {HOME}"))?;
        }
        std::fs::create_dir_all(self.home()).with_context(|| format!("cannot make {HOME}"))
    }

    /// Brings the sandbox up.
    pub(super) fn up(&self) -> Result<Fleet<'_>> {
        self.up_with(&[])
    }

    /// The same, with more options.
    pub(super) fn up_with(&self, options: &[&str]) -> Result<Fleet<'_>> {
        let mut arguments = vec!["sandbox", "up", "--json", "--name", SANDBOX];
        arguments.extend(options);
        let output = self.output(&arguments, &[0])?;
        let status = parse(&output)?;
        Ok(Fleet { ground: self, status })
    }

    fn down(&self) -> Result<()> {
        self.output(&["sandbox", "down", "--name", SANDBOX], &[0]).map(drop)
    }

    /// A command of the program, in this home.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("FIREDRILL_HOME", HOME).env_remove("FIREDRILL_SERVER");
        command
    }

    fn output(&self, arguments: &[&str], expected: &[i32]) -> Result<Vec<u8>> {
        let output = self.command(arguments).stdin(Stdio::null()).output().context("cannot start firedrill")?;
        if !output.status.code().is_some_and(|status| expected.contains(&status)) {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`firedrill {}` ended with {}: {}", arguments.join(" "), output.status, said.trim());
        }
        Ok(output.stdout)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if let Err(problem) = self.down().and_then(|()| Ok(std::fs::remove_dir_all(HOME)?)) {
            eprintln!("left behind in {HOME}: {problem:#}");
        }
    }
}

fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T> {
    serde_json::from_slice(json).with_context(|| {
        let beginning: String = String::from_utf8_lossy(json).chars().take(200).collect();
        format!("firedrill printed something else than was expected: {beginning}")
    })
}

/// What the benchmark reads of `sandbox status --json`.
#[derive(Deserialize)]
pub(super) struct Status {
    pub(super) cluster: String,
    pub(super) server: Server,
    pub(super) nodes: Vec<Node>,
    hosts: Vec<Host>,
}

/// The firedrill server.
#[derive(Deserialize)]
pub(super) struct Server {
    pub(super) url: String,
    pub(super) pid: Option<u32>,
}

/// One database server.
#[derive(Deserialize)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) host: String,
    pub(super) role: String,
    pub(super) data_dir: PathBuf,
}

#[derive(Deserialize)]
struct Host {
    name: String,
    agent_pid: Option<u32>,
}

/// A sandbox that is up; it is taken down with this value.
pub(super) struct Fleet<'a> {
    ground: &'a Ground,
    pub(super) status: Status,
}

impl Fleet<'_> {
    /// Runs an experiment, its file given as text, and gives its report whatever the verdict.
    pub(super) fn run(&self, yaml: &str) -> Result<RunReport> {
        let file = self.ground.home().join("experiment.yaml");
        std::fs::write(&file, yaml).with_context(|| format!("cannot write {}", file.display()))?;
        let path = file.to_str().context("the home is not text")?;
        self.json(&["experiment", "run", path, "--force"], &REPORTED)
    }

    /// Asks something of the fleet's server and reads the JSON it prints.
    pub(super) fn json<T: DeserializeOwned>(&self, arguments: &[&str], expected: &[i32]) -> Result<T> {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--json", "--sandbox", SANDBOX]);
        parse(&self.ground.output(&arguments, expected)?)
    }

    /// An empty directory on the disk where the sandbox is.
    pub(super) fn work(&self) -> Result<PathBuf> {
        let directory = self.ground.home().join("work");
        std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        Ok(directory)
    }

    /// Statements to the primary, as its administrator.
    pub(super) fn sql(&self, statements: &str) -> Result<()> {
        let primary = self.status.nodes.iter().find(|node| node.role == "primary").context("there is no primary")?;
        let host = primary.data_dir.ancestors().find(|dir| dir.ends_with(&primary.host));
        let socket = host.context("its data is not below its host")?.join("run/mariadbd.sock");
        let output = Command::new("mariadb").arg("--socket").arg(&socket).args(["-e", statements]).output();
        let output = output.context("cannot start mariadb")?;
        if !output.status.success() {
            bail!("{statements}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Process ids of the agents on hosts with a database.
    pub(super) fn database_agents(&self) -> Vec<(String, u32)> {
        let status = &self.status;
        let with_database = status.hosts.iter().filter(|host| status.nodes.iter().any(|node| node.host == host.name));
        with_database.filter_map(|host| Some((host.name.clone(), host.agent_pid?))).collect()
    }

    /// Takes the sandbox down now, to see how it goes.
    pub(super) fn down(self) -> Result<()> {
        self.ground.down()
    }
}

impl Drop for Fleet<'_> {
    fn drop(&mut self) {
        // Nothing left to do is no error, so it does not matter if it was taken down before.
        if let Err(problem) = self.ground.down() {
            eprintln!("the sandbox {SANDBOX} could not be taken down: {problem:#}");
        }
    }
}
