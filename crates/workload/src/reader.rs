//! One reading client: it asks for the newest tokens of a writer chosen at random.

use crate::connection::{connect, opts, pause};
use crate::load::Load;
use crate::schedule::Schedule;
use firedrill_ledger::history::{Outcome, Via};
use firedrill_ledger::interval::Intervals;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use rand::Rng;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// A read asks for this many of a writer's newest tokens: a second or so of its writes, one page of the index.
const WINDOW: u32 = 100;

/// A direct read that has no answer after this long has failed: a node, unlike the gateway, has nothing to wait for.
const DIRECT_WITHIN: Duration = Duration::from_secs(1);

/// Where a reader reads, and when.
#[derive(Debug)]
pub(crate) struct Reader {
    via: Via,
    opts: Opts,
    within: Duration,
    schedule: Schedule,
}

/// The readers of a load. Half of the readers and of the reads go through the gateway; the other half of the reads goes
/// to the nodes, where each node has a reader of its own, so that a silent one delays no other.
pub(crate) fn readers(load: &Load) -> Vec<Reader> {
    let (count, rate) = (load.spec.load.readers, load.spec.load.reads_per_second);
    if count == 0 || rate == 0 {
        return Vec::new();
    }
    let nodes = u32::try_from(load.spec.nodes.len()).unwrap_or(u32::from(u16::MAX));
    let through = (count / 2).max(1);
    let direct_rate = if count > 1 && nodes > 0 { rate / 2 } else { 0 };
    let gateway = (0..through).map(|index| Reader {
        via: Via::Gateway,
        opts: load.gateway.clone(),
        within: load.timeout(),
        schedule: Schedule::new(rate - direct_rate, through, index),
    });
    let direct = (0_u16..).zip(&load.spec.nodes).filter(|_| direct_rate > 0).map(|(index, (_, endpoint))| Reader {
        via: Via::Node(index),
        opts: opts(*endpoint, &load.spec.login),
        within: DIRECT_WITHIN.min(load.timeout()),
        schedule: Schedule::new(direct_rate, nodes, index.into()),
    });
    gateway.chain(direct).collect()
}

/// The spacing of the reads through the gateway; zero without any.
pub(crate) fn gateway_spacing(readers: u32, reads_per_second: u32, nodes: usize) -> Duration {
    let direct = if readers > 1 && nodes > 0 { reads_per_second / 2 } else { 0 };
    let rate = if readers == 0 { 0 } else { reads_per_second - direct };
    Duration::from_secs(1).checked_div(rate).unwrap_or(Duration::ZERO)
}

/// Reads until the load is stopped.
pub(crate) async fn read(load: Arc<Load>, mut reader: Reader) {
    let process = load.recorder.process();
    let mut connection = None;
    loop {
        let now = load.recorder.elapsed().saturating_sub(load.began);
        let due = reader.schedule.take(now);
        load.recorder.skip(0, due.skipped);
        tokio::select! {
            biased;
            () = load.stop.cancelled() => return,
            () = tokio::time::sleep_until(load.recorder.instant(load.began + due.at)) => {}
        }
        let writer = rand::rng().random_range(0..load.spec.load.writers);
        load.recorder.begin_read(process, reader.via, writer);
        let by = Instant::now() + reader.within;
        let outcome = match timeout_at(by, attempt(&load, &reader.opts, &mut connection, writer, by)).await {
            Ok(Ok(seen)) => seen,
            Ok(Err(reason)) => Outcome::Failed { reason },
            // A read changes nothing, so one without an answer is simply no success.
            Err(_) => Outcome::Failed { reason: "no answer in time".to_owned() },
        };
        let failed = matches!(outcome, Outcome::Failed { .. });
        load.recorder.end_read(process, outcome);
        if failed {
            tokio::time::sleep(pause()).await;
        }
    }
}

/// One read. The connection is kept only when it answered well; a dropped future loses it too.
async fn attempt(
    load: &Load,
    opts: &Opts,
    connection: &mut Option<Conn>,
    writer: u32,
    by: Instant,
) -> Result<Outcome, String> {
    let mut conn = match connection.take() {
        Some(conn) => conn,
        None => connect(opts, by).await?,
    };
    let seen = ask(load, &mut conn, writer).await.map_err(|error| error.to_string())?;
    *connection = Some(conn);
    Ok(seen)
}

/// Asks for the newest tokens, or, where a node is further behind than the window, for the last one it has.
async fn ask(load: &Load, conn: &mut Conn, writer: u32) -> mysql_async::Result<Outcome> {
    let table = &load.table;
    let window = load.newest(writer).saturating_sub(WINDOW).max(1);
    let mut answer = conn
        .query_iter(format!(
            "SELECT @@server_id; SELECT sequence FROM {table} WHERE writer = {writer} AND sequence >= LEAST({window}, \
             IFNULL((SELECT MAX(sequence) FROM {table} WHERE writer = {writer}), 0)) ORDER BY sequence"
        ))
        .await?;
    let server = answer.collect::<u32>().await?.into_iter().next().unwrap_or(0);
    let sequences = answer.collect::<u32>().await?;
    let from = sequences.first().map_or(1, |&first| first.min(window));
    let seen: Intervals = sequences.into_iter().collect();
    Ok(Outcome::Seen { server, from, seen })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spacing_is_that_of_the_gateways_share() {
        assert_eq!(gateway_spacing(4, 100, 6), Duration::from_millis(20));
        assert_eq!(gateway_spacing(1, 100, 6), Duration::from_millis(10));
        assert_eq!(gateway_spacing(4, 100, 0), Duration::from_millis(10));
        assert_eq!(gateway_spacing(0, 100, 6), Duration::ZERO);
    }
}
