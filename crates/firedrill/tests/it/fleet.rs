//! A sandbox for a test: up at the start, down at the end, whatever happened in between.

use firedrill_api::client::Client;
use firedrill_api::http::StartRun;
use firedrill_model::guard::{Guard, Override};
use firedrill_model::report::RunReport;
use firedrill_model::{ClusterName, ClusterView};
use firedrill_sandbox::{Home, Profile, SandboxName, SandboxStatus, UpOptions};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// The program under test.
pub(crate) fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_firedrill"))
}

/// A whole fleet.
pub(crate) struct Fleet {
    pub(crate) name: SandboxName,
    pub(crate) status: SandboxStatus,
    pub(crate) client: Client,
    pub(crate) cluster: ClusterName,
}

impl Fleet {
    /// Brings one up; leftovers of an earlier one are removed first.
    pub(crate) async fn up(name: &str, profile: Profile) -> Self {
        Self::up_with(name, profile, false, &[]).await
    }

    /// One whose databases are on storage layers.
    pub(crate) async fn up_on_layers(name: &str, settings: &[&str]) -> Self {
        Self::up_with(name, Profile::Safe, true, settings).await
    }

    async fn up_with(name: &str, profile: Profile, storage_layer: bool, settings: &[&str]) -> Self {
        let name: SandboxName = name.parse().expect("a sandbox name");
        let options = UpOptions {
            name: name.clone(),
            profile,
            http_port: None,
            storage_layer,
            settings: settings.iter().map(|one| one.parse().expect("a server setting")).collect(),
            program: program(),
            home: Home::from_environment(),
            progress: Box::new(|line| eprintln!("{line}")),
        };
        let status = firedrill_sandbox::up(options).await.expect("the sandbox comes up");
        let client = Client::new(&status.server.url).expect("a server address");
        let cluster = status.cluster.parse().expect("a cluster name");
        Self { name, status, client, cluster }
    }

    /// Runs an experiment to its end.
    pub(crate) async fn run(&self, yaml: &str) -> RunReport {
        // What earlier runs of a test have left must not keep the next one from starting.
        let passed_over = |guard| Override { guard, reason: "a test".to_owned() };
        let overrides = [Guard::Degraded, Guard::Operation].map(passed_over).to_vec();
        let cluster = Some(self.cluster.clone());
        let start = StartRun { yaml: yaml.to_owned(), cluster, force: true, login: None, overrides };
        let run = self.client.start_run(&start).await.expect("the run starts").run;
        self.until("the run ends", Duration::from_secs(420), async || {
            self.client.run(&run).await.ok().filter(|report| report.ended.is_some())
        })
        .await
    }

    /// The text of an experiment of the library.
    pub(crate) async fn library(&self, name: &str) -> String {
        let entries = self.client.experiments().await.expect("the library");
        entries.into_iter().find(|entry| entry.name == name).expect("a name of the library").yaml
    }

    /// Waits until every node is in service.
    pub(crate) async fn until_redundant(&self) -> ClusterView {
        self.until("full redundancy", Duration::from_secs(180), async || {
            self.client.cluster(&self.cluster).await.ok().filter(|view| view.fully_redundant)
        })
        .await
    }

    /// Asks until there is an answer.
    pub(crate) async fn until<T>(&self, what: &str, within: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
        let end = Instant::now() + within;
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            if Instant::now() > end {
                let view = self.client.cluster(&self.cluster).await;
                panic!("{what} did not come within {within:?}; the cluster: {view:#?}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The process of that node's database server, as the sandbox sees it now.
    pub(crate) async fn database_pid(&self, node: &str) -> Option<u32> {
        let status = firedrill_sandbox::status(&Home::from_environment(), &self.name).await.ok()?;
        status.nodes.iter().find(|known| known.name == node)?.pid
    }

    /// The present primary's name.
    pub(crate) async fn primary(&self) -> String {
        self.until("a primary", Duration::from_secs(60), async || {
            let view = self.client.cluster(&self.cluster).await.ok()?;
            view.primary.map(|node| node.to_string())
        })
        .await
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let done = Command::new(program()).args(["sandbox", "down", "--name", self.name.as_str()]).output();
        match done {
            Ok(output) if output.status.success() => {}
            other => eprintln!("sandbox {} was not taken down: {other:?}", self.name),
        }
    }
}

/// A test's own event loop: fleets live in it from up to down.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    firedrill_api::client::install_crypto();
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop").block_on(future)
}

/// A report for a failed assertion: the verdict, the reasons, the operations.
pub(crate) fn told(report: &RunReport) -> String {
    let mut text = firedrill_console::summary::text(report, false);
    for event in &report.timeline {
        text.push_str(&format!("  {} {}\n", event.at.since(report.began), event.text));
    }
    text
}
