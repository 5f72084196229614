//! Very many people who look at the console: what one page costs, and what it costs that many have it open.
//!
//! A played reader does what the script of the pages does: it holds one stream, and fetches its page again when something
//! changes, not more often than the script does. It draws nothing.

use crate::killing::spec;
use crate::process::Server;
use crate::until;
use anyhow::{Context, ensure};
use firedrill_api::client::Client;
use firedrill_api::http::RegisterCluster;
use firedrill_model::cluster::NodeSpec;
use firedrill_model::report::RunState;
use firedrill_model::{ClusterSpec, Role};
use futures_util::future::{join_all, try_join_all};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// As `live.js` has it.
const APART: Duration = Duration::from_millis(200);
/// What wants the page fetched again; samples are drawn from the stream.
const FETCHED_FOR: [&str; 4] = ["cluster", "operation", "run", "timeline"];
/// Registrations at once.
const AT_ONCE: usize = 32;
/// Enough for a median and a worst one.
const FETCHES: u32 = 100;

/// The first page of a large fleet.
#[derive(Debug, Clone)]
pub struct FirstPage {
    /// The program whose `server` is measured.
    pub program: PathBuf,
    /// An empty directory for its state.
    pub dir: PathBuf,
    /// Clusters of six nodes each.
    pub clusters: u32,
}

/// What the first page costs.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct FirstPageFigures {
    /// Clusters.
    pub clusters: u32,
    /// Nodes of all of them.
    pub nodes: u32,
    /// The page alone, head and body.
    pub page_bytes: usize,
    /// The page and every file that it names.
    pub all_bytes: usize,
    /// From the request to the last byte, milliseconds: median, and the worst.
    pub median_ms: f64,
    /// See there.
    pub worst_ms: f64,
}

/// Measures the first page.
///
/// # Errors
/// The server does not do what it is asked.
pub async fn first_page(plan: &FirstPage) -> anyhow::Result<FirstPageFigures> {
    let server = Server::start(&plan.program, &plan.dir).await?;
    let client = server.client()?;
    let specs: Vec<ClusterSpec> = (0..plan.clusters).map(large).collect::<anyhow::Result<_>>()?;
    for some in specs.chunks(AT_ONCE) {
        let registered = some
            .iter()
            .map(async |spec| client.register_cluster(&RegisterCluster { spec: spec.clone(), login: None }).await);
        try_join_all(registered).await?;
    }
    let page = get(server.http(), "/").await?;
    let mut files = Vec::new();
    for name in files_of(&String::from_utf8_lossy(&page)) {
        files.push(get(server.http(), &name).await.with_context(|| name.clone())?.len());
    }
    let mut took = Vec::new();
    for _ in 0..FETCHES {
        let began = Instant::now();
        get(server.http(), "/").await?;
        took.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    took.sort_by(f64::total_cmp);
    Ok(FirstPageFigures {
        clusters: plan.clusters,
        nodes: u32::try_from(specs.iter().map(|spec| spec.nodes.len()).sum::<usize>())?,
        page_bytes: page.len(),
        all_bytes: page.len() + files.iter().sum::<usize>(),
        median_ms: took[took.len() / 2],
        worst_ms: took.last().copied().unwrap_or_default(),
    })
}

/// A cluster of six nodes in two regions.
fn large(number: u32) -> anyhow::Result<ClusterSpec> {
    let node = |at: u32| -> anyhow::Result<NodeSpec> {
        let region = if at < 3 { "east" } else { "west" };
        let name = format!("{region}-{number}-{at}");
        let mut node = spec()?.nodes.swap_remove(0);
        (node.name, node.host, node.region) = (name.parse()?, name.parse()?, region.parse()?);
        node.initial_role = [
            Role::Primary,
            Role::Replica,
            Role::Replica,
            Role::PseudoPrimary,
            Role::PseudoReplica,
            Role::PseudoReplica,
        ][at as usize % 6];
        node.server_id = at + 1;
        node.endpoint.address = format!("10.{}.{}.{}", 1 + number / 250, number % 250, at + 1).parse()?;
        Ok(node)
    };
    Ok(ClusterSpec {
        name: format!("shop-{number}").parse()?,
        nodes: (0..6).map(node).collect::<anyhow::Result<_>>()?,
        gateway_host: Some(format!("gateway-{number}").parse()?),
        ..spec()?
    })
}

/// What a page loads, once each.
fn files_of(page: &str) -> Vec<String> {
    let mut files: Vec<String> =
        page.split('"').filter(|part| part.starts_with("/assets/")).map(str::to_owned).collect();
    files.sort();
    files.dedup();
    files
}

/// Many readers of one page.
#[derive(Debug, Clone)]
pub struct Readers {
    /// The server's address.
    pub server: SocketAddr,
    /// How many.
    pub count: u32,
    /// How long.
    pub during: Duration,
}

/// What it was like for the readers.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct ReadersFigures {
    /// Readers.
    pub readers: u32,
    /// Events that came, of all of them.
    pub events: u64,
    /// Pages that were fetched again.
    pub fetches: u64,
    /// Bytes of those.
    pub fetched_bytes: u64,
    /// From the event to the fetched page, milliseconds: median and the 99th of a hundred.
    pub median_ms: f64,
    /// See there.
    pub p99_ms: f64,
}

/// Lets readers read the page of the run that is under way, or of the next one that begins.
///
/// # Errors
/// No run begins, a stream breaks off, or a page does not come.
pub async fn readers(plan: &Readers) -> anyhow::Result<ReadersFigures> {
    let client = Client::new(&format!("http://{}", plan.server))?;
    let run = until("a run is under way", || async {
        Ok(client.runs().await?.into_iter().find(|entry| entry.state == RunState::Running))
    });
    let run = run.await?.run.0;
    let all: Vec<anyhow::Result<Seen>> = join_all((0..plan.count).map(|_| read(plan, &run))).await;
    let all: Vec<Seen> = all.into_iter().collect::<anyhow::Result<_>>()?;
    let mut took: Vec<f64> = all.iter().flat_map(|seen| seen.took.iter().copied()).collect();
    took.sort_by(f64::total_cmp);
    let at = |part: usize| {
        took.get((took.len() * part / 100).min(took.len().saturating_sub(1))).copied().unwrap_or_default()
    };
    Ok(ReadersFigures {
        readers: plan.count,
        events: all.iter().map(|seen| seen.events).sum(),
        fetches: took.len() as u64,
        fetched_bytes: all.iter().map(|seen| seen.bytes).sum(),
        median_ms: at(50),
        p99_ms: at(99),
    })
}

/// What one reader saw.
#[derive(Default)]
struct Seen {
    events: u64,
    bytes: u64,
    took: Vec<f64>,
}

async fn read(plan: &Readers, run: &str) -> anyhow::Result<Seen> {
    let page = format!("/runs/{run}");
    let mut stream = TcpStream::connect(plan.server).await?;
    let path = format!("/api/v1/events?brief=true&run={run}");
    stream.write_all(request(&path, "keep-alive").as_bytes()).await?;
    let mut lines = BufReader::new(stream).lines();
    let end = tokio::time::Instant::now() + plan.during;
    let mut seen = Seen::default();
    let mut last: Option<Instant> = None;
    let mut wanted: Option<Instant> = None;
    loop {
        // An event is answered at once, or when the last fetch is long enough ago.
        let due = wanted.map(|since| last.map_or(since, |last| (last + APART).max(since)));
        let wait = due.map_or(end, |due| tokio::time::Instant::from_std(due).min(end));
        tokio::select! {
            line = lines.next_line() => {
                let Some(line) = line? else { anyhow::bail!("the stream has ended") };
                let Some(kind) = line.strip_prefix("event:") else { continue };
                seen.events += 1;
                if FETCHED_FOR.contains(&kind.trim()) && wanted.is_none() {
                    wanted = Some(Instant::now());
                }
            }
            () = tokio::time::sleep_until(wait) => {
                if tokio::time::Instant::now() >= end { return Ok(seen) }
                let began = wanted.take().unwrap_or_else(Instant::now);
                last = Some(Instant::now());
                seen.bytes += get(plan.server, &page).await?.len() as u64;
                seen.took.push(began.elapsed().as_secs_f64() * 1000.0);
            }
        }
    }
}

fn request(path: &str, connection: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/html, text/event-stream\r\nconnection: {connection}\r\n\r\n"
    )
}

/// One answer, head and body.
async fn get(server: SocketAddr, path: &str) -> anyhow::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(request(path, "close").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    ensure!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{path}: {}",
        String::from_utf8_lossy(&answer[..answer.len().min(200)])
    );
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_page_loads_is_counted_once() {
        let page =
            r#"<link href="/assets/a.css"><script src="/assets/b.js"></script><script src="/assets/b.js"></script>"#;
        assert_eq!(files_of(page), ["/assets/a.css", "/assets/b.js"]);
    }

    #[test]
    fn a_large_fleet_has_six_nodes_for_each_cluster_and_no_name_twice() {
        let specs: Vec<ClusterSpec> = (0..300).map(|number| large(number).expect("a cluster")).collect();
        let hosts: std::collections::BTreeSet<&str> =
            specs.iter().flat_map(|spec| &spec.nodes).map(|node| node.host.as_str()).collect();
        assert_eq!(hosts.len(), 1800);
    }
}
