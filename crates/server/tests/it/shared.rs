//! Several servers on one real PostgreSQL, in one process. Killed ones are in the tests of the program.

use crate::fixture::until;
use firedrill_api::client::{Client, ClientError};
use firedrill_played::Postgres;
use firedrill_server::{Contending, PostgresUrl, ServerConfig, StartError, contend};
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// What a take-over must not exceed, with the time that a busy machine takes.
const WITHIN: Duration = Duration::from_secs(15);

struct One {
    dir: TempDir,
    contending: Contending,
    shutdown: CancellationToken,
}

impl One {
    async fn start(url: &PostgresUrl, keys_of: Option<&One>) -> Result<Self, StartError> {
        let dir = tempfile::tempdir().expect("a directory");
        if let Some(first) = keys_of {
            copy_keys(first.dir.path(), dir.path());
        }
        let shutdown = CancellationToken::new();
        let contending = contend(config(dir.path()), url.clone(), shutdown.clone()).await?;
        Ok(Self { dir, contending, shutdown })
    }

    fn url(&self) -> String {
        format!("http://{}", self.contending.http)
    }

    async fn acts(&self) -> Option<u64> {
        Client::new(&self.url()).expect("an address").status().await.ok().and_then(|status| status.epoch)
    }

    async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(WITHIN, self.contending.finished()).await.expect("in time").expect("in peace");
    }
}

fn config(dir: &Path) -> ServerConfig {
    let loopback = "127.0.0.1:0".parse().expect("an address");
    ServerConfig::new(dir.to_owned(), loopback, loopback)
}

fn copy_keys(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.join("authority")).expect("made");
    for file in ["authority/authority.pem", "authority/authority.key", "secrets.key"] {
        std::fs::copy(from.join(file), to.join(file)).expect("copied");
    }
}

fn database() -> (Postgres, PostgresUrl) {
    let server = Postgres::start().expect("a server");
    let url = server.database("fd").expect("a database").parse().expect("an address");
    (server, url)
}

async fn acting(one: &One) -> u64 {
    until("it acts", || one.acts()).await
}

#[tokio::test]
async fn the_other_goes_on_at_once_when_one_is_stopped() {
    let (_database, url) = database();
    let first = One::start(&url, None).await.expect("started");
    assert_eq!(acting(&first).await, 1);
    let second = One::start(&url, Some(&first)).await.expect("started");
    let alone = Client::new(&second.url()).expect("an address");
    let refused = until("it knows who acts", async || {
        alone.status().await.err().filter(|error| error.to_string().contains("stands by; "))
    })
    .await;
    assert!(refused.to_string().contains(&first.url()), "{refused}");

    // Whoever knows both is answered all the time.
    let client = Client::new(&format!("{},{}", second.url(), first.url())).expect("addresses");
    client.halt("kept over the take-over").await.expect("halted");
    let began = Instant::now();
    first.stop().await;
    let status = client.status().await.expect("the second one answers");
    assert_eq!((status.epoch, status.halted.as_deref()), (Some(2), Some("kept over the take-over")));
    assert!(began.elapsed() < WITHIN);
    let lines = client.timeline(&Default::default()).await.expect("a timeline");
    assert!(lines.iter().any(|line| line.text.contains("acts (epoch 2); before it, http://")), "{lines:?}");
    second.stop().await;
}

#[tokio::test]
async fn a_server_with_other_keys_is_refused() {
    let (_database, url) = database();
    let first = One::start(&url, None).await.expect("started");
    acting(&first).await;
    let without = One::start(&url, None).await.err().expect("it has no keys");
    assert!(without.code() == "S038" && without.to_string().contains(&first.url()), "{without}");

    let (_other_database, other_url) = database();
    let stranger = One::start(&other_url, None).await.expect("started");
    acting(&stranger).await;
    let keys = tempfile::tempdir().expect("a directory");
    copy_keys(stranger.dir.path(), keys.path());
    let other = contend(config(keys.path()), url.clone(), CancellationToken::new()).await;
    assert_eq!(other.err().map(|error| error.code()), Some("S038"));
    assert_eq!(first.acts().await, Some(1), "it was not disturbed");
}

#[tokio::test]
async fn a_server_that_cannot_say_that_it_acts_stops_acting_and_comes_back() {
    let (mut database, url) = database();
    let only = One::start(&url, None).await.expect("started");
    acting(&only).await;
    database.stop();
    let client = Client::new(&only.url()).expect("an address");
    until("it stands by", async || match client.status().await {
        Err(ClientError::Problem(problem)) => (problem.code == "S017").then_some(()),
        _ => None,
    })
    .await;
    database.run().expect("starts again");
    assert_eq!(acting(&only).await, 2, "it has taken over from itself");
    only.stop().await;
}

#[tokio::test]
async fn a_database_that_is_not_there_is_told_at_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let url: PostgresUrl = "postgres://firedrill:hush@127.0.0.1:1/fd".parse().expect("an address");
    let error = contend(config(dir.path()), url, CancellationToken::new()).await.expect_err("nobody is there");
    assert!(error.code() == "S003" && !error.to_string().contains("hush"), "{error}");
}
