//! Asks probes: the effects. What an answer comes to is `firedrill_model::probe`'s.
//!
//! Addresses are asked by the server itself, so whoever may start an experiment can make the server open connections:
//! [`Destinations`] says to where. Databases and programs are asked by the agents of their hosts.
//!
//! **Where to begin**: [`ask`] puts one question; [`Tickers`] puts questions again and again while a run goes on.

mod destination;
mod hosts;
mod tickers;
mod web;

pub use destination::Destinations;
pub(crate) use tickers::Tickers;

use crate::Server;
use firedrill_model::ClusterName;
use firedrill_model::probe::{Answer, Finding, Measure, Probe, Seen, judge};
use firedrill_model::workload::Login;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// A destination is not among those allowed.
const DESTINATION: &str = "S120";
/// A host's agent does not run such a program.
const COMMAND: &str = "S121";

/// Questions under way at once, over all runs: half of what one agent takes, so that its fences and attacks always find
/// room, and few enough for a server's descriptors.
const UNDER_WAY_MAX: usize = 32;

/// What asking needs.
pub(crate) struct Prober {
    web: web::Web,
    destinations: Arc<Destinations>,
    under_way: Semaphore,
}

impl Prober {
    /// That connects only to those destinations.
    pub(crate) fn new(destinations: Destinations) -> Self {
        let destinations = Arc::new(destinations);
        Self { web: web::Web::new(Arc::clone(&destinations)), destinations, under_way: Semaphore::new(UNDER_WAY_MAX) }
    }
}

/// A probe, and of whom.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    /// The cluster of the run.
    pub(crate) cluster: ClusterName,
    /// As whom databases are asked.
    pub(crate) login: Option<Login>,
    /// What.
    pub(crate) probe: Probe,
}

/// Puts a question that is no fact of the cluster, and judges the answers. Takes no longer than the probe's patience.
pub(crate) async fn ask(server: &Server, question: &Question) -> Finding {
    let probe = &question.probe;
    let patience = probe.timeout.duration();
    let end = Instant::now() + patience;
    let Ok(Ok(_place)) = timeout(patience, server.prober.under_way.acquire()).await else {
        let why = format!("{UNDER_WAY_MAX} questions of probes were under way all the time");
        return judge(&probe.measure, &[of_nobody(Seen::NotAsked(why))]);
    };
    let answers = match &probe.measure {
        Measure::Http(http) => vec![of_nobody(server.prober.web.get(&http.url, http.json.is_some(), end).await)],
        Measure::Prometheus(prometheus) => vec![of_nobody(server.prober.web.query(prometheus, end).await)],
        Measure::Tcp(tcp) => vec![of_nobody(connect(server, &tcp.address, end).await)],
        Measure::Sql(_) | Measure::Command(_) => hosts::ask(server, question, end).await,
        _ => Vec::new(),
    };
    judge(&probe.measure, &answers)
}

async fn connect(server: &Server, address: &str, end: Instant) -> Seen {
    let Some((host, port)) = destination::host_and_port(address) else {
        return Seen::NotAsked(format!("{address:?} is not host:port"));
    };
    let began = Instant::now();
    let resolved = server.prober.destinations.resolve(host, port, end).await;
    let addresses = match resolved {
        Ok(addresses) => addresses,
        Err(why) => return Seen::NotAsked(why),
    };
    match tokio::time::timeout_at(end, TcpStream::connect(addresses.as_slice())).await {
        Ok(Ok(_connection)) => Seen::Connected { took: began.elapsed().into() },
        Ok(Err(error)) => Seen::Failed(format!("no connection to {address}: {error}")),
        Err(_) => Seen::Failed(format!("no connection to {address} in time")),
    }
}

fn of_nobody(seen: Seen) -> Answer {
    Answer { from: None, seen }
}
