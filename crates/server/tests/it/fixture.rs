//! A server on ephemeral ports with its own data directory.

use crate::agent::{Identity, enrol};
use firedrill_api::client::Client;
use firedrill_server::{Running, Server, ServerConfig, start};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// No wait of a test takes longer; the longest one, for a silent link, is 2 s.
pub(crate) const WITHIN: Duration = Duration::from_secs(15);

pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    pub(crate) client: Client,
    running: Option<Running>,
    shutdown: CancellationToken,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// One that is set up otherwise; a restart forgets that.
    pub(crate) async fn with(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let shutdown = CancellationToken::new();
        let mut config = config(&dir);
        change(&mut config);
        let running = start(config, shutdown.clone()).await.expect("started");
        let client = client(&running);
        Self { dir, client, running: Some(running), shutdown }
    }

    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs")
    }

    pub(crate) fn server(&self) -> &Arc<Server> {
        &self.running().server
    }

    pub(crate) fn http(&self, path: &str) -> String {
        format!("http://{}{path}", self.running().http)
    }

    pub(crate) fn link(&self, path: &str) -> String {
        format!("https://{}{path}", self.running().link)
    }

    /// Stops it in peace.
    pub(crate) async fn stop(&mut self) {
        self.shutdown.cancel();
        let running = self.running.take().expect("it runs");
        tokio::time::timeout(WITHIN, running.finished()).await.expect("stopped in time");
    }

    /// Stops it and starts it again on the same directory, on other ports.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.shutdown = CancellationToken::new();
        let running = start(config(&self.dir), self.shutdown.clone()).await.expect("started again");
        self.client = client(&running);
        self.running = Some(running);
    }

    /// A host with a good certificate.
    pub(crate) async fn enrolled(&self, host: &str) -> Identity {
        let token = self.client.token(&host.parse().expect("a name")).await.expect("a token");
        enrol(self, host, &token.token).await.expect("enrolled")
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub(crate) fn config(dir: &TempDir) -> ServerConfig {
    let loopback = "127.0.0.1:0".parse().expect("an address");
    ServerConfig::new(dir.path().join("data"), loopback, loopback)
}

fn client(running: &Running) -> Client {
    Client::new(&format!("http://{}", running.http)).expect("a client")
}

/// Asks again until the answer is there; fails when it does not come.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(began.elapsed() < WITHIN, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
