//! After the load: which server takes the writes, and what every node holds.

use crate::connection::{connect_retrying, opts, pause};
use crate::load::Load;
use crate::node::{self, Identity, Problem};
use firedrill_ledger::history::{FinalRead, Known, NodeState, Primary, Record};
use firedrill_model::{GtidPos, NodeName};
use mysql_async::{Conn, Opts};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// Nodes may take this long to answer before the load; one that does not is read later all the same.
const KNOWN_WITHIN: Duration = Duration::from_secs(2);

/// The primary may take this long to be found and the nodes to catch up with it: longer than any promotion, shorter
/// than the patience of a person.
const CONVERGE_WITHIN: Duration = Duration::from_secs(20);

/// A node that cannot be reached for this long is recorded as unread: it is dead or cut off, and waiting for it would
/// only delay the report.
const REACH_WITHIN: Duration = Duration::from_secs(3);

/// Reading one node to the end may take this much longer.
const READ_WITHIN: Duration = Duration::from_secs(60);

/// Notes which server is which node, and what their binary logs held before the load.
pub(crate) async fn note_known(load: &Arc<Load>) {
    let by = Instant::now() + KNOWN_WITHIN;
    let mut asked = JoinSet::new();
    for (name, endpoint) in load.spec.nodes.clone() {
        let opts = opts(endpoint, &load.spec.login);
        asked.spawn(async move { (name, timeout_at(by, identify(&opts, by)).await) });
    }
    while let Some(answer) = asked.join_next().await {
        if let Ok((node, Ok(Ok((_, identity))))) = answer {
            let known = Known { node, server: identity.server, binlog_state: identity.binlog_state };
            load.recorder.append(&Record::Known(Box::new(known)));
        }
    }
}

/// Reads every node and records what it holds, or why it could not be read.
pub(crate) async fn read_all(load: &Arc<Load>) {
    let converge_by = Instant::now() + CONVERGE_WITHIN;
    let found = find_primary(load, converge_by).await;
    let primary = found.as_ref().map_or_else(|why| Primary::NotKnown(why.clone()), |who| Primary::Server(who.server));
    load.recorder.append(&Record::Primary(Box::new(primary)));
    let target = found.as_ref().ok().cloned();

    let mut reads = JoinSet::new();
    for (name, endpoint) in load.spec.nodes.clone() {
        let (load, target) = (Arc::clone(load), target.clone());
        let opts = opts(endpoint, &load.spec.login);
        reads.spawn(async move { (name, read_node(&load, &opts, target.as_ref(), converge_by).await) });
    }
    let mut states: Vec<(NodeName, Result<NodeState, Problem>)> = Vec::new();
    while let Some(read) = reads.join_next().await {
        states.extend(read.ok());
    }
    states.sort_by(|one, other| one.0.cmp(&other.0));
    let mut finals: Vec<FinalRead> =
        states.into_iter().map(|(name, state)| FinalRead { node: name.to_string(), state }).collect();
    if let Some(target) = target {
        settle(load, &target, &mut finals, converge_by).await;
    }
    for read in finals {
        load.recorder.append(&Record::Final(Box::new(read)));
    }
}

/// The server that takes the writes, and what it held when the load had ended.
#[derive(Debug, Clone)]
struct Target {
    server: u32,
    position: GtidPos,
}

impl Target {
    fn of(identity: Identity) -> Self {
        Self { server: identity.server, position: identity.binlog_pos }
    }
}

/// Looks behind the gateway; when nothing writable answers there in time, takes the one writable node if there is
/// exactly one.
async fn find_primary(load: &Load, by: Instant) -> Result<Target, Problem> {
    let problem = loop {
        let problem = match identify(&load.gateway, by).await {
            Ok((_, identity)) if !identity.read_only => return Ok(Target::of(identity)),
            Ok((_, identity)) => format!("the gateway leads to server {}, which is read-only", identity.server),
            Err(problem) => format!("the gateway does not answer: {problem}"),
        };
        if Instant::now() >= by {
            break problem;
        }
        tokio::time::sleep(pause()).await;
    };
    let by = Instant::now() + KNOWN_WITHIN;
    let mut asked = JoinSet::new();
    for (_, endpoint) in &load.spec.nodes {
        let opts = opts(*endpoint, &load.spec.login);
        asked.spawn(async move { identify(&opts, by).await });
    }
    let mut writable = Vec::new();
    while let Some(answer) = asked.join_next().await {
        if let Ok(Ok((_, identity))) = answer
            && !identity.read_only
        {
            writable.push(identity);
        }
    }
    match (writable.pop(), writable.len()) {
        (Some(only), 0) => Ok(Target::of(only)),
        (None, _) => Err(format!("{problem}; no node is writable")),
        (Some(_), others) => Err(format!("{problem}; {} nodes are writable", others + 1)),
    }
}

async fn identify(opts: &Opts, by: Instant) -> Result<(Conn, Identity), Problem> {
    let mut conn = connect_retrying(opts, by).await?;
    let identity = timeout_at(by, node::identity(&mut conn)).await.map_err(|_| "no answer in time".to_owned())??;
    Ok((conn, identity))
}

/// Waits for one node to catch up, and reads it whether it did or not.
async fn read_node(load: &Load, opts: &Opts, target: Option<&Target>, by: Instant) -> Result<NodeState, Problem> {
    let reach_by = by.min(Instant::now() + REACH_WITHIN);
    let (mut conn, identity) = identify(opts, reach_by).await?;
    let converged = match target {
        Some(target) if identity.server == target.server => true,
        // Without a binary log there is no position to wait for, and nothing can be compared.
        Some(target) if !target.position.is_empty() => {
            let within = by.saturating_duration_since(Instant::now());
            let patience = by + KNOWN_WITHIN;
            timeout_at(patience, node::caught_up(&mut conn, &target.position, within))
                .await
                .map_err(|_| "no answer in time".to_owned())??
        }
        _ => false,
    };
    timeout_at(by + READ_WITHIN, node::state(&mut conn, &load.table, converged))
        .await
        .map_err(|_| "reading it took too long".to_owned())?
}

/// Reads the primary through the gateway when it is none of the known nodes, and finds out whether anything was written
/// to its tables while the others were read: then their contents cannot be compared with it.
async fn settle(load: &Load, target: &Target, finals: &mut Vec<FinalRead>, by: Instant) {
    let own = |read: &FinalRead| read.state.as_ref().is_ok_and(|state| state.server == target.server);
    if !finals.iter().any(own) {
        let state = read_node(load, &load.gateway, Some(target), by.max(Instant::now() + KNOWN_WITHIN)).await;
        finals.push(FinalRead { node: "gateway".to_owned(), state });
    }
    let Some(Ok(state)) = finals.iter_mut().find(|read| own(read)).map(|read| read.state.as_mut()) else { return };
    let again = timeout_at(Instant::now() + READ_WITHIN, async {
        let (mut conn, identity) = identify(&load.gateway, Instant::now() + KNOWN_WITHIN).await?;
        let same = identity.server == target.server;
        let tables = node::fingerprints(&mut conn).await?;
        Ok::<_, Problem>((same && tables == state.tables, same.then_some(identity.binlog_state)))
    })
    .await;
    // The gateway may be gone while the primary is not; then nothing speaks against what was read.
    let Ok(Ok((unchanged, log))) = again else { return };
    state.converged &= unchanged;
    // Heartbeats go on being written outside the load's tables. What another node was seen to have of them is no
    // transaction of its own, so the log that all are compared with is the one that was read last.
    if let Some(log) = log {
        state.binlog_state = log;
    }
}
