//! Who takes the writes: opened, closed, opened again.

use super::server::Server;
use super::sql::{Session, Table};
use crate::error::EngineError;
use firedrill_model::{GtidPos, NodeReply};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// 31 years in milliseconds: a commit waits for its acker and never falls back to asynchronous. The greatest value
/// that the variable takes would overflow the server's reckoning of the moment.
pub(crate) const SEMI_SYNC_TIMEOUT_MS: u64 = 1_000_000_000_000;

/// What running statements get to end by themselves before their sessions are killed. A healthy commit takes some
/// milliseconds; one that waits for an acker may wait for ever.
const CLOSE_GRACE: Duration = Duration::from_millis(100);

/// From one round of killing to the next while `read_only` still waits for somebody.
const KILL_EVERY: Duration = Duration::from_millis(10);

/// Sessions that are the users': not replication, not the server's own threads.
const USER_SESSIONS: &str = "SELECT ID FROM information_schema.PROCESSLIST \
     WHERE COMMAND NOT IN ('Binlog Dump', 'Slave_IO', 'Slave_SQL', 'Slave_worker', 'Daemon') \
     AND USER NOT IN ('system user', 'event_scheduler') AND ID <> CONNECTION_ID()";

impl Server {
    /// [`firedrill_model::NodeCommand::Open`]. Replication is stopped before the first write can come; forgetting the
    /// old source is file work (10-20 ms of fsync) that no writer has to wait for, so it follows after the answer.
    pub(crate) async fn open(self: &std::sync::Arc<Self>, semi_sync: bool) -> Result<NodeReply, EngineError> {
        let (_turn, guard) = self.change().await;
        let standing = self.standing().await?;
        let follows = standing.replica.is_some();
        if follows {
            self.stop_threads("STOP SLAVE").await?;
        }
        let statements = format!(
            "SET GLOBAL server_id={}; SET GLOBAL rpl_semi_sync_slave_enabled=0; \
             SET GLOBAL rpl_semi_sync_master_wait_point=AFTER_SYNC; SET GLOBAL rpl_semi_sync_master_wait_no_slave=1; \
             SET GLOBAL rpl_semi_sync_master_timeout={SEMI_SYNC_TIMEOUT_MS}; \
             SET GLOBAL rpl_semi_sync_master_enabled={}; \
             SELECT @@gtid_current_pos; SET GLOBAL read_only=0",
            self.config.server_id,
            u8::from(semi_sync)
        );
        let tables = self.admin.run(&statements).await?;
        let cell = tables.first().and_then(Table::first).and_then(|row| row.at(0));
        let applied: GtidPos = super::server::parse(&statements, cell)?;
        drop(guard);
        if follows {
            let server = std::sync::Arc::clone(self);
            tokio::spawn(async move { server.forget_source().await });
        }
        Ok(NodeReply::Position { received: applied.clone(), applied })
    }

    /// Removes the description of a source that is no longer followed; a server that was made a follower again
    /// meanwhile keeps it.
    async fn forget_source(&self) {
        let (_turn, _guard) = self.change().await;
        let read_only = self.admin.run("SELECT @@read_only").await;
        let writable = read_only
            .as_ref()
            .is_ok_and(|tables| tables.first().and_then(Table::first).and_then(|row| row.at(0)) == Some("0"));
        if !writable {
            return;
        }
        if let Err(error) = self.admin.run("RESET SLAVE ALL").await {
            tracing::warn!(node = %self.config.node, error = error.full(), "the former source could not be forgotten");
        }
    }

    /// [`firedrill_model::NodeCommand::CloseWrites`].
    pub(crate) async fn close_writes(&self, deadline: Instant) -> Result<NodeReply, EngineError> {
        let (_turn, _guard) = self.change().await;
        self.close(deadline).await?;
        Ok(self.standing().await?.reply())
    }

    /// [`firedrill_model::NodeCommand::ReopenWrites`].
    pub(crate) async fn reopen_writes(&self) -> Result<NodeReply, EngineError> {
        let (_turn, _guard) = self.change().await;
        self.admin.run("SET GLOBAL read_only=0").await?;
        Ok(NodeReply::Done)
    }

    /// Makes it read-only and ends the users' sessions. `read_only=1` waits for running commits, and a commit that
    /// waits for an acker waits for ever: after a grace their sessions are killed, which leaves the outcome unknown to
    /// the client, never falsely acknowledged. Semi-sync stays as it is: switching it off would acknowledge them.
    pub(super) async fn close(&self, deadline: Instant) -> Result<(), EngineError> {
        let mut closer = self.admin.connect().await?;
        let mut killer = self.admin.connect().await?;
        let spared = BTreeSet::from([closer.id(), killer.id(), self.observer_session.load(Ordering::Relaxed)]);
        let closing = closer.run("SET GLOBAL read_only=1");
        tokio::pin!(closing);
        let mut patience = CLOSE_GRACE;
        let closed = loop {
            if let Ok(done) = tokio::time::timeout(patience, &mut closing).await {
                break done.map(drop);
            }
            if Instant::now() >= deadline {
                break Err(EngineError::TimedOut(format!(
                    "{}: read_only=1 still waits for running statements after their sessions were killed",
                    self.config.node
                )));
            }
            kill_users(&mut killer, &spared).await?;
            patience = KILL_EVERY;
        };
        closed?;
        // Idle sessions, and those with an open transaction that can no longer commit.
        kill_users(&mut killer, &spared).await?;
        self.admin.give_back(killer);
        Ok(())
    }
}

async fn kill_users(session: &mut Session, spared: &BTreeSet<u32>) -> Result<(), EngineError> {
    let tables = session.run(USER_SESSIONS).await?;
    let ids = tables.iter().flat_map(Table::rows).filter_map(|row| row.at(0)?.parse::<u32>().ok());
    for id in ids.filter(|id| !spared.contains(id)) {
        match session.run(&format!("KILL {id}")).await {
            // 1094: it has ended by itself.
            Ok(_) | Err(EngineError::Refused { code: 1094, .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
