//! An agent inside the test's own process, which can be stopped in peace or cut off.

use crate::child;
use crate::link_server::LinkServer;
use firedrill_agent::{AgentConfig, AgentError, Enrolment};
use firedrill_host::process::{Child, Signal, Spawn, Stream};
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const HOST: &str = "app-1";

pub(crate) struct Agent {
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), AgentError>>,
}

/// For a host without databases and gateway.
pub(crate) fn config(server: &LinkServer, dir: &Path) -> AgentConfig {
    AgentConfig {
        servers: vec![server.address.to_string()],
        enrolment: Some(Enrolment {
            token: "a-good-token".to_owned(),
            authority_sha256: server.shared.authority.fingerprint(),
        }),
        data_dir: dir.join("agent"),
        host: HOST.parse().expect("a name"),
        address: "127.0.0.1".parse().expect("an address"),
        region: Some("east".parse().expect("a name")),
        tags: [("tier".to_owned(), "app".to_owned())].into(),
        instances: vec![],
        gateway: None,
        lease: None,
        power_switch: None,
        allowed_commands: vec![],
        allow: None,
        program: child::program(dir),
    }
}

impl Agent {
    pub(crate) fn start(config: AgentConfig) -> Self {
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(firedrill_agent::run(config, shutdown.clone()));
        Self { shutdown, task }
    }

    /// As SIGTERM.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(10), self.task).await.expect("it ends soon");
        ended.expect("no panic").expect("a peaceful end");
    }

    /// As SIGKILL, as far as that is possible inside one process.
    pub(crate) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.expect_err("cut off").is_cancelled());
    }

    /// How it ends by itself.
    pub(crate) async fn ended(self) -> AgentError {
        let ended = tokio::time::timeout(Duration::from_secs(10), self.task).await.expect("it ends soon");
        ended.expect("no panic").expect_err("an error")
    }
}

/// An agent in a process of its own, killed with the test.
pub(crate) struct AgentProcess(pub(crate) Child);

impl AgentProcess {
    pub(crate) fn start(config: &AgentConfig, dir: &Path) -> Self {
        Self::start_with(config, dir, &[])
    }

    /// With these variables in its environment.
    pub(crate) fn start_with(config: &AgentConfig, dir: &Path, environment: &[(&str, String)]) -> Self {
        let path = dir.join("agent.json");
        std::fs::write(&path, serde_json::to_vec(config).expect("serialises")).expect("written");
        let spawn = Spawn::new(&config.program).args(["agent", "--config"]).arg(path);
        let spawn = environment.iter().fold(spawn, |spawn, (name, value)| spawn.env(name, value));
        Self(spawn.stderr(Stream::Append(dir.join("agent.log"))).spawn().expect("started"))
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        let _ = self.0.signal(Signal::SIGKILL);
    }
}
