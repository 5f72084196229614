//! Waiting, with a bound and a reason, for what was started to be of use.

use crate::error::SandboxError;
use crate::layout::{HostLayout, Layout};
use crate::running;
use firedrill_api::client::Client;
use firedrill_model::ClusterView;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// A server opens its store and makes its keys in well under a second.
const SERVER_WITHIN: Duration = Duration::from_secs(20);
/// From the start of the agents to full redundancy takes seconds; a machine under full load needs more.
const FLEET_WITHIN: Duration = Duration::from_secs(90);
/// How often it is asked.
const ASK_EVERY: Duration = Duration::from_millis(25);
/// A gateway with a route answers within a round trip and a connect.
const GREETING_WITHIN: Duration = Duration::from_secs(3);
/// So much of a log's end goes into an error.
const LOG_TAIL_BYTES: u64 = 800;

/// Waits until the server answers, or its supervisor is gone.
///
/// # Errors
/// [`SandboxError::NotReady`] with the end of its log.
pub(crate) async fn server(layout: &Layout, client: &Client) -> Result<(), SandboxError> {
    let began = Instant::now();
    loop {
        let Err(problem) = client.status().await else { return Ok(()) };
        let after = began.elapsed();
        if running::supervisor(layout)?.is_none() {
            let log = layout.log("supervisor");
            let seen = with_log("it ended", &log);
            return Err(SandboxError::NotReady { what: "the supervisor".to_owned(), after, seen, log });
        }
        if after >= SERVER_WITHIN {
            let log = layout.log("server");
            let seen = with_log(&problem.to_string(), &log);
            return Err(SandboxError::NotReady { what: "the server".to_owned(), after, seen, log });
        }
        sleep(ASK_EVERY).await;
    }
}

/// Waits until every node is in service and the gateway lets a connection through to the primary.
///
/// # Errors
/// [`SandboxError::NotReady`] with what stands in the way.
pub(crate) async fn fleet(layout: &Layout, client: &Client) -> Result<(), SandboxError> {
    let deadline = Instant::now() + FLEET_WITHIN;
    let log = layout.log("server");
    loop {
        let seen = match client.cluster(&Layout::cluster_name()).await {
            Ok(view) => match obstacle(&view) {
                None if greets(layout.gateway()).await => return Ok(()),
                None => "the gateway does not let connections through".to_owned(),
                Some(obstacle) => obstacle,
            },
            Err(problem) => problem.to_string(),
        };
        if Instant::now() >= deadline {
            let what = format!("the cluster of sandbox {:?}", layout.name().as_str());
            return Err(SandboxError::NotReady { what, after: FLEET_WITHIN, seen: with_log(&seen, &log), log });
        }
        sleep(ASK_EVERY).await;
    }
}

/// What the keeper still waits for; `None` when all is well.
fn obstacle(view: &ClusterView) -> Option<String> {
    if view.fully_redundant && view.primary.is_some() && view.route == view.primary {
        return None;
    }
    let nodes = view.nodes.iter().filter(|node| !node.reason.is_empty());
    let reasons: Vec<String> =
        view.problems.iter().cloned().chain(nodes.map(|node| format!("{}: {}", node.name, node.reason))).collect();
    Some(if reasons.is_empty() { "the cluster is not fully redundant".to_owned() } else { reasons.join("; ") })
}

/// A database server speaks first: a byte through the gateway means that the whole way to the primary is open.
pub(crate) async fn greets(gateway: &HostLayout) -> bool {
    let endpoint = gateway.endpoint();
    let greeting = async {
        let mut connection = TcpStream::connect((endpoint.address, endpoint.port)).await?;
        connection.read_u8().await
    };
    matches!(timeout(GREETING_WITHIN, greeting).await, Ok(Ok(_)))
}

/// `seen` with the end of a log, because the log goes away with the sandbox.
fn with_log(seen: &str, log: &Path) -> String {
    match tail(log) {
        Some(tail) if !tail.trim().is_empty() => format!("{seen}; its log ends with:\n{}\n", tail.trim()),
        _ => seen.to_owned(),
    }
}

fn tail(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES))).ok()?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_shown() {
        let directory = tempfile::tempdir().expect("a directory");
        let log = directory.path().join("server.log");
        assert_eq!(with_log("nobody answers", &log), "nobody answers");
        std::fs::write(&log, format!("{}\nport 7070 is taken\n", "x".repeat(5000))).expect("written");
        let text = with_log("nobody answers", &log);
        assert!(text.starts_with("nobody answers") && text.contains("port 7070 is taken"), "{text}");
        assert!(text.len() < 1000);
    }
}
