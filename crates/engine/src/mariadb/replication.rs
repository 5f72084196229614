//! Following a source: begun, stopped, waited for.
//!
//! Two things about MariaDB shape all of this:
//! - In GTID mode the relay log is thrown away whenever both threads are started from a standstill, and by every
//!   `CHANGE MASTER` (MDEV-4698). What was received and not applied is then fetched again, or lost when nobody has it
//!   any more. So the receiver alone is stopped and started while the applier runs, and a new source is taken only by a
//!   drained replica or from a source that has it all.
//! - A replica skips events that bear its own server id, on the assumption that it wrote them. A former primary whose
//!   crash recovery dropped the tail of its binary log (`init_rpl_role=SLAVE`) would so never get that tail back, although
//!   an acker has it: rows would be missing, without an error. Such a node follows under another server id until it has
//!   its own transactions again ([`own_and_missing`]).
//! - A receiver that acknowledges ends by calling its source once more, to end its own session there, with a time-out
//!   of a second or more. Its replication connection is closed by then. A source that is silent would so hold up a
//!   promotion; [`Server::stop_threads`] interrupts the call.

use super::server::{POLL_EVERY, Server, Standing, Turn, describe, parse};
use super::sql::{Sessions, Table, literal};
use super::status;
use crate::error::EngineError;
use firedrill_host::process::{Signal, signal_thread};
use firedrill_model::observation::Receiver;
use firedrill_model::{Endpoint, Gtid, GtidPos, GtidState, NodeReply};
use std::time::{Duration, Instant};

/// How long stopping may take before the receiver's farewell call is interrupted; it is done in 1-2 ms with a live source.
const STOP_PATIENCE: Duration = Duration::from_millis(5);

/// From one interruption to the next, and how many at most: the call has two waits (connect, greeting).
const INTERRUPT_EVERY: Duration = Duration::from_millis(3);
const INTERRUPTS_MAX: u32 = 200;

/// The longest pause between two looks at a position that is waited for: a catch-up can take minutes.
const POSITION_POLL_MAX: Duration = Duration::from_millis(50);

/// A pause is at most this part of the wait so far, so that looking late costs a drain no more than a tenth.
const POSITION_POLL_SHARE: u32 = 10;

/// Errors by which a source or the replica itself says that their histories do not fit together: 1236 (the source does
/// not have the position, or no longer), 1950 (out of order in strict mode), 1955 and 1947 (position not found or in
/// conflict), 1945 and 1951 (the source's answers to a position it cannot place).
const DIVERGED: [&str; 6] = ["1236", "1945", "1947", "1950", "1951", "1955"];

/// How often a source that cannot be reached is tried.
const SOURCE_POLL_EVERY: Duration = Duration::from_millis(50);

/// Added to a server id while a node must take its own transactions back. Ids of servers are below.
const ALIAS_OFFSET: u32 = 1_000_000_000;

/// What a follower is made with: noticed loss of a source within 4 s (`slave_net_timeout`) and tried again each second.
const CONNECT_OPTIONS: &str = "MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1, MASTER_HEARTBEAT_PERIOD=0.5";

impl Server {
    /// [`firedrill_model::NodeCommand::StopReceiving`].
    pub(crate) async fn stop_receiving(&self) -> Result<NodeReply, EngineError> {
        let (_turn, _guard) = self.change().await;
        self.stop_threads("STOP SLAVE IO_THREAD").await?;
        Ok(self.standing().await?.reply())
    }

    /// [`firedrill_model::NodeCommand::Drain`].
    pub(crate) async fn drain(&self, until: &GtidPos, deadline: Instant) -> Result<NodeReply, EngineError> {
        self.reach(until, deadline, |standing| {
            let row = standing.replica()?;
            let stuck = row.get("Slave_SQL_Running") != Some("Yes")
                || (status::receiver(row) == Receiver::Stopped && !standing.received.covers(until));
            stuck.then(|| {
                format!(
                    "cannot reach {until}: holds {}, applied {}; {}",
                    standing.received,
                    standing.applied,
                    describe(standing)
                )
            })
        })
        .await
    }

    /// [`firedrill_model::NodeCommand::AwaitPosition`].
    pub(crate) async fn await_position(&self, until: &GtidPos, deadline: Instant) -> Result<NodeReply, EngineError> {
        self.reach(until, deadline, |standing| {
            let row = standing.replica()?;
            let error = status::problem(row, "Last_SQL_Errno", "Last_SQL_Error")?;
            Some(format!("cannot reach {until}: applied {}, then the applier stopped: {error}", standing.applied))
        })
        .await
    }

    /// [`firedrill_model::NodeCommand::CatchUp`].
    pub(crate) async fn catch_up(
        &self,
        source: Endpoint,
        until: &GtidPos,
        deadline: Instant,
    ) -> Result<NodeReply, EngineError> {
        if !self.standing().await?.applied.covers(until) {
            self.follow(source, false, deadline).await?;
            self.await_position(until, deadline).await?;
        }
        self.stop_receiving().await
    }

    /// [`firedrill_model::NodeCommand::Follow`].
    pub(crate) async fn follow(
        &self,
        source: Endpoint,
        acker: bool,
        deadline: Instant,
    ) -> Result<NodeReply, EngineError> {
        let (turn, guard) = self.change().await;
        let before = self.follower().await?;
        if before.follows(source, acker) {
            return Ok(self.standing().await?.reply());
        }
        if !before.read_only {
            self.close(deadline).await?;
        }
        let stop = async {
            let stopped = self.stop_threads("STOP SLAVE").await;
            // The source may be slow to answer; nobody else has to wait for it.
            drop(guard);
            stopped
        };
        let (stopped, source_state) = tokio::join!(stop, self.state_of(source, deadline));
        stopped?;
        let guard = self.resume(turn, "its source").await?;
        let goal = self.begin_following(source, acker, &source_state?).await?;
        drop(guard);
        let standing = self.streaming(turn, source, deadline).await?;
        if goal.is_empty() {
            return Ok(standing.reply());
        }
        self.await_position(&goal, deadline).await?;
        let guard = self.resume(turn, "its own earlier transactions").await?;
        self.stop_threads("STOP SLAVE IO_THREAD").await?;
        self.admin.run(&format!("SET GLOBAL server_id={}; START SLAVE IO_THREAD", self.config.server_id)).await?;
        drop(guard);
        Ok(self.streaming(turn, source, deadline).await?.reply())
    }

    /// Sets the source and starts both threads from where the server stands. Answers with the node's own earlier
    /// transactions that must come back to it first, under another server id; nothing in the usual case.
    async fn begin_following(
        &self,
        source: Endpoint,
        acker: bool,
        source_state: &GtidState,
    ) -> Result<GtidPos, EngineError> {
        // Asked after the applier has stopped: a demoted primary stands where its own binary log ends.
        let statement = "SELECT @@gtid_current_pos, @@gtid_slave_pos";
        let tables = self.admin.run(statement).await?;
        let row = tables.first().and_then(Table::first);
        let stands: GtidPos = parse(statement, row.and_then(|row| row.at(0)))?;
        let applied: GtidPos = parse(statement, row.and_then(|row| row.at(1)))?;
        let seed = if stands == applied {
            String::new()
        } else {
            format!("SET GLOBAL gtid_slave_pos={}; ", literal(&stands.to_string()))
        };
        let goal = own_and_missing(self.config.server_id, &stands, source_state);
        let server_id = if goal.is_empty() { self.config.server_id } else { alias(self.config.server_id) };
        let login = &self.config.replication;
        self.admin
            .run(&format!(
                "SET GLOBAL rpl_semi_sync_master_enabled=0; SET GLOBAL rpl_semi_sync_slave_enabled={acker}; \
                 SET GLOBAL server_id={server_id}; {seed}\
                 CHANGE MASTER TO MASTER_HOST={host}, MASTER_PORT={port}, {CONNECT_OPTIONS}, \
                 MASTER_USER={user}, MASTER_PASSWORD={password}; START SLAVE",
                acker = u8::from(acker),
                host = literal(&source.address.to_string()),
                port = source.port,
                user = literal(&login.user),
                password = literal(&login.password),
            ))
            .await?;
        Ok(goal)
    }

    /// What the binary log of the source holds, asked of the source itself.
    async fn state_of(&self, source: Endpoint, deadline: Instant) -> Result<GtidState, EngineError> {
        let sessions = Sessions::remote(source, self.config.replication.clone());
        let statement = "SELECT @@gtid_binlog_state";
        loop {
            match sessions.run(statement).await {
                Ok(tables) => {
                    return parse(statement, tables.first().and_then(Table::first).and_then(|row| row.at(0)));
                }
                Err(EngineError::NotConnected { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(SOURCE_POLL_EVERY).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// [`firedrill_model::NodeCommand::SetAcker`].
    pub(crate) async fn set_acker(&self, on: bool, deadline: Instant) -> Result<NodeReply, EngineError> {
        let (turn, guard) = self.change().await;
        let before = self.follower().await?;
        let running = before.receiver != Receiver::Stopped;
        if before.acker_enabled == on && (!running || before.acker_active == on) {
            return Ok(NodeReply::Done);
        }
        let set = format!("SET GLOBAL rpl_semi_sync_slave_enabled={}", u8::from(on));
        let Some(source) = before.source.filter(|_| running) else {
            self.admin.run(&set).await?;
            return Ok(NodeReply::Done);
        };
        if !before.applier_running && !before.drained {
            return Err(EngineError::Failed(format!(
                "{}: its applier is stopped with received transactions not applied; restarting the receiver now would \
                 throw them away",
                self.config.node
            )));
        }
        self.stop_threads("STOP SLAVE IO_THREAD").await?;
        self.admin.run(&format!("{set}; START SLAVE IO_THREAD")).await?;
        drop(guard);
        self.streaming(turn, source, deadline).await?;
        Ok(NodeReply::Done)
    }

    /// Runs a `STOP SLAVE` and, when it does not end at once, interrupts the receiver's farewell call to its source.
    /// The signal is the one by which the server itself interrupts the thread; its handler does nothing.
    pub(super) async fn stop_threads(&self, statement: &str) -> Result<(), EngineError> {
        let stopping = self.admin.run(statement);
        tokio::pin!(stopping);
        if let Ok(done) = tokio::time::timeout(STOP_PATIENCE, &mut stopping).await {
            return done.map(drop);
        }
        for _ in 0..INTERRUPTS_MAX {
            self.interrupt_receiver().await?;
            if let Ok(done) = tokio::time::timeout(INTERRUPT_EVERY, &mut stopping).await {
                return done.map(drop);
            }
        }
        // Whatever it waits for (an applier in a long transaction) is not ours to interrupt.
        stopping.await.map(drop)
    }

    async fn interrupt_receiver(&self) -> Result<(), EngineError> {
        let Some(identity) = self.process.find() else { return Ok(()) };
        let tables = self.admin.run("SELECT TID FROM information_schema.PROCESSLIST WHERE COMMAND='Slave_IO'").await?;
        let threads = tables.iter().flat_map(Table::rows).filter_map(|row| row.at(0)?.parse().ok());
        for thread in threads {
            match signal_thread(identity, thread, Signal::SIGUSR1) {
                // It has ended, which is what it should.
                Ok(()) | Err(firedrill_host::HostError::NoProcess { .. }) => {}
                Err(problem) => return Err(problem.into()),
            }
        }
        Ok(())
    }

    /// Waits until the source has accepted the position and streams.
    async fn streaming(&self, turn: Turn, source: Endpoint, deadline: Instant) -> Result<Standing, EngineError> {
        loop {
            let standing = self.standing().await?;
            self.still(turn, "its receiver")?;
            let row = standing.replica().ok_or_else(|| {
                EngineError::Failed(format!("{}: replication was removed by somebody else", self.config.node))
            })?;
            let errors = [
                status::problem(row, "Last_IO_Errno", "Last_IO_Error"),
                status::problem(row, "Last_SQL_Errno", "Last_SQL_Error"),
            ];
            if let Some(error) = errors.into_iter().flatten().find(|error| is_divergence(error)) {
                return Err(EngineError::Diverged {
                    node: self.config.node.to_string(),
                    source_endpoint: source.to_string(),
                    error,
                });
            }
            if status::is_streaming(row) {
                return Ok(standing);
            }
            if Instant::now() >= deadline {
                let state = describe(&standing);
                return Err(EngineError::TimedOut(format!(
                    "{} is not connected to {source}: {state}",
                    self.config.node
                )));
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    /// Waits until `until` is applied, or `hopeless` says why it never will be.
    async fn reach(
        &self,
        until: &GtidPos,
        deadline: Instant,
        hopeless: impl Fn(&Standing) -> Option<String>,
    ) -> Result<NodeReply, EngineError> {
        let began = Instant::now();
        loop {
            let standing = self.standing().await?;
            if standing.applied.covers(until) {
                return Ok(standing.reply());
            }
            if let Some(why) = hopeless(&standing) {
                return Err(EngineError::Failed(format!("{} {why}", self.config.node)));
            }
            if Instant::now() >= deadline {
                return Err(EngineError::TimedOut(format!(
                    "{} has not reached {until}: applied {}; {}",
                    self.config.node,
                    standing.applied,
                    describe(&standing)
                )));
            }
            tokio::time::sleep((began.elapsed() / POSITION_POLL_SHARE).clamp(POLL_EVERY, POSITION_POLL_MAX)).await;
        }
    }

    async fn follower(&self) -> Result<Follower, EngineError> {
        let statement = "SELECT @@read_only, @@rpl_semi_sync_slave_enabled, @@rpl_semi_sync_master_enabled, \
                         @@server_id; SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_slave_status'";
        let tables = self.admin.run(statement).await?;
        let standing = self.standing().await?;
        let variables = tables.first().and_then(Table::first);
        let on = |index| variables.and_then(|row| row.at(index)) == Some("1");
        let row = standing.replica();
        let cell = |column| row.and_then(|row| row.get(column));
        Ok(Follower {
            read_only: on(0),
            acker_enabled: on(1),
            primary_enabled: on(2),
            acker_active: tables.get(1).and_then(Table::first).and_then(|row| row.at(1)) == Some("ON"),
            source: source_of(cell("Master_Host"), cell("Master_Port")),
            receiver: row.map_or(Receiver::Stopped, status::receiver),
            streaming: row.is_some_and(status::is_streaming),
            applier_running: cell("Slave_SQL_Running") == Some("Yes"),
            by_gtid: cell("Using_Gtid") == Some("Slave_Pos"),
            drained: standing.applied.covers(&standing.received),
            own_id: variables.and_then(|row| row.at(3)) == Some(self.config.server_id.to_string().as_str()),
        })
    }
}

/// What a server does now, as far as a change of source is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is one thing the server says of itself")]
struct Follower {
    read_only: bool,
    acker_enabled: bool,
    acker_active: bool,
    primary_enabled: bool,
    source: Option<Endpoint>,
    receiver: Receiver,
    streaming: bool,
    applier_running: bool,
    by_gtid: bool,
    drained: bool,
    /// It bears its own server id, not the alias of one that takes its own transactions back.
    own_id: bool,
}

impl Follower {
    /// True when there is nothing to do; restarting it would throw its relay log away for nothing.
    fn follows(&self, source: Endpoint, acker: bool) -> bool {
        self.source == Some(source)
            && self.by_gtid
            && self.streaming
            && self.applier_running
            && self.read_only
            && self.own_id
            && !self.primary_enabled
            && (self.acker_enabled, self.acker_active) == (acker, acker)
    }
}

/// The last of a server's own transactions that the source has and the server lacks, by domain.
fn own_and_missing(server_id: u32, stands: &GtidPos, source: &GtidState) -> GtidPos {
    let lacks = |gtid: &Gtid| stands.get(gtid.domain).is_none_or(|ours| ours.sequence < gtid.sequence);
    source.iter().filter(|gtid| gtid.server == server_id && lacks(gtid)).collect()
}

fn alias(server_id: u32) -> u32 {
    server_id % ALIAS_OFFSET + ALIAS_OFFSET
}

fn source_of(host: Option<&str>, port: Option<&str>) -> Option<Endpoint> {
    Some(Endpoint { address: host?.parse().ok()?, port: port?.parse().ok()? })
}

fn is_divergence(error: &str) -> bool {
    error.split(' ').next().is_some_and(|number| DIVERGED.contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Endpoint {
        source_of(Some("10.0.0.1"), Some("3306")).expect("an endpoint")
    }

    fn follower() -> Follower {
        Follower {
            read_only: true,
            acker_enabled: true,
            acker_active: true,
            primary_enabled: false,
            source: Some(source()),
            receiver: Receiver::Connected,
            streaming: true,
            applier_running: true,
            by_gtid: true,
            drained: true,
            own_id: true,
        }
    }

    #[test]
    fn a_follower_as_asked_is_left_alone() {
        assert!(follower().follows(source(), true));
        assert!(!follower().follows(source(), false), "must be restarted to stop acknowledging");
        assert!(!Follower { applier_running: false, ..follower() }.follows(source(), true));
        assert!(!Follower { acker_active: false, ..follower() }.follows(source(), true));
        assert!(!Follower { source: source_of(Some("10.0.0.2"), Some("3306")), ..follower() }.follows(source(), true));
    }

    #[test]
    fn a_former_primary_lacks_what_recovery_dropped() {
        let source: GtidState = "0-1-107,0-2-110,1-1-3".parse().expect("a state");
        let lacks = |stands: &str| own_and_missing(1, &stands.parse().expect("a position"), &source).to_string();
        assert_eq!(lacks("0-1-104,1-1-3"), "0-1-107");
        assert_eq!(lacks("0-1-107,1-1-3"), "");
        assert_eq!(lacks("0-2-109"), "1-1-3");
        assert_eq!((alias(7), alias(alias(7))), (1_000_000_007, 1_000_000_007));
    }

    #[test]
    fn only_some_errors_mean_a_clone() {
        assert!(is_divergence("1236 Got fatal error 1236 from master"));
        assert!(!is_divergence("2003 Can't connect; 1236 would come later"));
    }
}
