//! Every change of an attack, stored and told once.
//!
//! Changes come one by one, from answers, reports and halts, thousands in a second when a large fleet is attacked. What
//! has come while the store was written is written together next.

use super::line;
use crate::problem::chain;
use crate::server::Server;
use crate::traces;
use firedrill_model::attack::{AttackReport, AttackState};
use firedrill_model::timeline::Scope;
use firedrill_model::{AttackId, TimelineEvent};
use firedrill_store::AttackRecord;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Changes that wait for the store; who brings one more waits. One for each host of the largest fleet that one server
/// holds.
const WAITING_MAX: usize = 16_384;
/// Changes that are written together: the store is not held longer than some tens of milliseconds.
const TOGETHER_MAX: usize = 2000;

/// Changes, and whom to tell that they are stored.
pub(crate) struct Change {
    records: Vec<AttackRecord>,
    stored: oneshot::Sender<()>,
}

/// The way to the one task that stores changes.
#[derive(Debug)]
pub(crate) struct Changes(mpsc::Sender<Change>);

impl Changes {
    /// The way, and its end for [`follow`].
    pub(crate) fn new() -> (Self, mpsc::Receiver<Change>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Self(sender), receiver)
    }
}

/// Stores a change and puts it on the timeline, once: the same state comes as an answer and as a report.
pub(crate) async fn keep(server: &Server, record: AttackRecord) {
    keep_all(server, vec![record]).await;
}

/// The same for several, in their order.
pub(crate) async fn keep_all(server: &Server, records: Vec<AttackRecord>) {
    let (stored, done) = oneshot::channel();
    if server.attack_changes.0.send(Change { records, stored }).await.is_err() {
        tracing::warn!("a change of an attack came when the server had stopped; its agent says it again");
        return;
    }
    // Without an answer the server stops, and the log says what was lost.
    drop(done.await);
}

/// Stores changes in the order in which they come, until the shutdown; what waits then is still stored.
pub(crate) async fn follow(server: Arc<Server>, mut changes: mpsc::Receiver<Change>, shutdown: CancellationToken) {
    let mut batch = Vec::new();
    loop {
        let came = tokio::select! {
            biased;
            came = changes.recv_many(&mut batch, TOGETHER_MAX) => came,
            () = shutdown.cancelled(), if !changes.is_closed() => {
                changes.close();
                continue;
            }
        };
        if came == 0 {
            return;
        }
        let (records, told): (Vec<_>, Vec<_>) = batch.drain(..).map(|change| (change.records, change.stored)).unzip();
        store(&server, records.into_iter().flatten().collect()).await;
        for stored in told {
            // Who has asked may have gone away.
            let _gone = stored.send(());
        }
    }
}

async fn store(server: &Server, records: Vec<AttackRecord>) {
    let known = match server.store.attacks_named(records.iter().map(|record| &record.report.id)).await {
        Ok(known) => known,
        Err(error) => {
            let attacks: Vec<&str> = records.iter().map(|record| record.report.id.0.as_str()).collect();
            tracing::error!(?attacks, error = %chain(&error), "changes of attacks are lost");
            return;
        }
    };
    let news = news(known, records);
    let Some(last) = news.last().map(|record| record.report.clone()) else { return };
    let lines: Vec<TimelineEvent> = news.iter().filter_map(event).collect();
    match server.store.change_attacks(&news, &lines).await {
        Ok(lines) => {
            lines.into_iter().for_each(|line| server.timeline.stored(line));
            news.iter().for_each(|record| server.traces.take(|| traces::of_attack(record)));
        }
        Err(error) => {
            let attacks: Vec<&str> = news.iter().map(|record| record.report.id.0.as_str()).collect();
            tracing::error!(?attacks, error = %chain(&error), "changes of attacks are not stored");
        }
    }
    server.attack_reports.send_replace(Some(last));
}

/// Those that say something new, given what is known; each counts as known for those behind it.
fn news(known: BTreeMap<AttackId, AttackRecord>, records: Vec<AttackRecord>) -> Vec<AttackRecord> {
    let mut states: BTreeMap<AttackId, AttackReport> =
        known.into_iter().map(|(id, record)| (id, record.report)).collect();
    let mut news = records;
    news.retain(|record| {
        let is_new = states.get(&record.report.id).is_none_or(|before| !is_old_news(before, &record.report));
        if is_new {
            states.insert(record.report.id.clone(), record.report.clone());
        }
        is_new
    });
    news
}

/// A state that is known, or one that an end has overtaken. A better measurement of the same state is news only when
/// it has another mechanism: the agent's own, after the server's guess.
fn is_old_news(before: &AttackReport, after: &AttackReport) -> bool {
    let over = |state| matches!(state, AttackState::Undone | AttackState::Refused);
    (before.state == after.state && (before.mechanism == after.mechanism || over(after.state)))
        || (over(before.state) && !over(after.state))
}

fn event(record: &AttackRecord) -> Option<TimelineEvent> {
    let (severity, kind, text) = line(&record.report)?;
    let scope = Scope {
        cluster: record.cluster.clone(),
        host: Some(record.report.host.clone()),
        run: record.run.clone(),
        ..Scope::default()
    };
    Some(TimelineEvent { sequence: 0, at: record.report.at, severity, kind, text, scope })
}

#[cfg(test)]
mod tests {
    use super::*;
    use firedrill_model::{Fault, Timestamp};

    fn record(id: &str, state: AttackState, mechanism: &str) -> AttackRecord {
        let report = AttackReport {
            id: AttackId(id.to_owned()),
            host: "east-1".parse().expect("a name"),
            fault: Fault::new("pause"),
            state,
            at: Timestamp(1),
            in_place: None,
            mechanism: mechanism.to_owned(),
            evidence: String::new(),
        };
        AttackRecord { report, cluster: None, run: None, until: None }
    }

    #[test]
    fn the_same_change_is_news_once_also_within_one_batch() {
        use AttackState::{Active, Preparing, Undone};
        let known = |record: AttackRecord| BTreeMap::from([(record.report.id.clone(), record)]);
        let active = record("a", Active, "played");
        let came = vec![active.clone(), active.clone(), record("b", Active, "played"), active.clone()];
        let told = news(known(record("a", Preparing, "")), came);
        assert_eq!(told, [active.clone(), record("b", Active, "played")]);
        // The end overtakes what comes later.
        let came = vec![record("a", Undone, "played"), active.clone()];
        assert_eq!(news(known(active.clone()), came), [record("a", Undone, "played")]);
        // The agent's own measurement, after the server's guess.
        assert_eq!(news(known(record("a", Active, "a guess")), vec![active.clone()]), [active]);
    }
}
