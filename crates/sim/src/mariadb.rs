//! A simulated MariaDB server, as far as promotions depend on it: binary log, relay log, read-only mode, both sides
//! of semi-synchronous replication, crash and restart.
//!
//! It is harsher than the real one where that is uncertain: every restart of the replication threads drops the relay
//! log, and a crashed primary that comes back may have lost transactions that were acknowledged to a client but
//! whose commit had not reached its redo log (`init_rpl_role=SLAVE` truncates them from the binary log).

use crate::network::{Micros, NODES};
use firedrill_model::{Gtid, GtidPos, GtidState};
use std::collections::{BTreeMap, VecDeque};

/// One transaction: who wrote it first, and the client's token (0: none).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Txn {
    pub(crate) origin: u32,
    pub(crate) token: u32,
}

/// `Slave_IO_Running`, with its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Io {
    Stopped,
    Connecting,
    Connected { connection: u64 },
}

/// What `CHANGE MASTER` has set up.
#[derive(Debug, Clone)]
pub(crate) struct Replication {
    pub(crate) source: usize,
    pub(crate) io: Io,
    pub(crate) heard_at: Option<Micros>,
    pub(crate) error: Option<String>,
    pub(crate) acks: bool,
}

/// A replica that is connected to a primary.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dump {
    pub(crate) connection: u64,
    pub(crate) acks: bool,
    /// The next transaction to send.
    pub(crate) cursor: usize,
    /// When the last message will arrive: messages of one connection keep their order.
    pub(crate) arrival: Micros,
}

/// A session that waits for an acknowledgement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    pub(crate) sequence: usize,
    pub(crate) session: u64,
}

#[derive(Debug)]
pub(crate) struct Mariadb {
    pub(crate) id: usize,
    pub(crate) pid: Option<u32>,
    pub(crate) last_pid: Option<u32>,
    pub(crate) paused: bool,
    pub(crate) read_only: bool,
    pub(crate) primary_side: bool,
    pub(crate) acker_side: bool,
    /// The binary log: entry `n` has sequence `n + 1`. Everything in it is applied here.
    pub(crate) log: Vec<Txn>,
    /// The first entry that the binary log really holds (a clone starts with an empty one).
    pub(crate) log_starts: usize,
    state: BTreeMap<u32, u64>,
    pub(crate) relay: VecDeque<Txn>,
    pub(crate) replication: Option<Replication>,
    pub(crate) applier: bool,
    pub(crate) applying: bool,
    pub(crate) dumps: [Option<Dump>; NODES],
    pub(crate) waiting: VecDeque<Waiting>,
    /// Up to here the engine has committed for certain, also after a crash.
    pub(crate) durable: usize,
    /// Messages that came while it was paused.
    pub(crate) answered_at: Micros,
}

impl Mariadb {
    pub(crate) fn new(id: usize, pid: u32) -> Self {
        Self {
            id,
            pid: Some(pid),
            last_pid: Some(pid),
            paused: false,
            read_only: true,
            primary_side: false,
            acker_side: false,
            log: Vec::new(),
            log_starts: 0,
            state: BTreeMap::new(),
            relay: VecDeque::new(),
            replication: None,
            applier: false,
            applying: false,
            dumps: [None; NODES],
            waiting: VecDeque::new(),
            durable: 0,
            answered_at: 0,
        }
    }

    pub(crate) fn server_id(&self) -> u32 {
        u32::try_from(self.id).unwrap_or(0) + 1
    }

    pub(crate) fn answers(&self) -> bool {
        self.pid.is_some() && !self.paused
    }

    pub(crate) fn append(&mut self, txn: Txn) {
        self.log.push(txn);
        self.state.insert(txn.origin, self.log.len() as u64);
    }

    /// Length of what it has received, applied or not.
    pub(crate) fn received(&self) -> usize {
        self.log.len() + self.relay.len()
    }

    /// The transaction with this sequence, received or applied.
    pub(crate) fn entry(&self, sequence: usize) -> Option<Txn> {
        let index = sequence.checked_sub(1)?;
        self.log.get(index).or_else(|| self.relay.get(index - self.log.len())).copied()
    }

    fn position_at(&self, sequence: usize) -> GtidPos {
        self.entry(sequence)
            .map(|txn| Gtid { domain: 0, server: txn.origin, sequence: sequence as u64 })
            .into_iter()
            .collect()
    }

    pub(crate) fn applied_position(&self) -> GtidPos {
        self.position_at(self.log.len())
    }

    pub(crate) fn received_position(&self) -> GtidPos {
        self.position_at(self.received())
    }

    pub(crate) fn binlog_state(&self) -> GtidState {
        self.state
            .iter()
            .filter(|(_, sequence)| **sequence > self.log_starts as u64)
            .map(|(&server, &sequence)| Gtid { domain: 0, server, sequence })
            .collect()
    }

    /// Stops both replication threads; the relay log is dropped with the next start.
    pub(crate) fn stop_replication(&mut self) {
        if let Some(replication) = &mut self.replication {
            replication.io = Io::Stopped;
        }
        self.relay.clear();
    }

    /// The process is gone.
    pub(crate) fn crash(&mut self) {
        self.pid = None;
        self.paused = false;
        self.relay.clear();
        self.waiting.clear();
        self.dumps = [None; NODES];
        self.applying = false;
        if let Some(replication) = &mut self.replication {
            replication.io = Io::Stopped;
        }
    }

    /// Starts it again. Where the tail is dropped (as a replica to be), what the engine had not committed is truncated
    /// from the binary log.
    pub(crate) fn start(&mut self, pid: u32, drop_tail: bool) {
        self.pid = Some(pid);
        self.last_pid = Some(pid);
        self.read_only = true;
        self.primary_side = false;
        self.acker_side = false;
        self.applier = false;
        self.replication = None;
        if drop_tail && self.durable < self.log.len() {
            self.truncate(self.durable);
        }
    }

    pub(crate) fn truncate(&mut self, length: usize) {
        self.log.truncate(length);
        self.rebuild();
    }

    /// Takes the place of its data: a copy of another server's.
    pub(crate) fn replace(&mut self, log: Vec<Txn>) {
        self.log_starts = log.len();
        self.log = log;
        self.relay.clear();
        self.durable = self.log.len();
        self.rebuild();
    }

    fn rebuild(&mut self) {
        self.state.clear();
        for (index, txn) in self.log.iter().enumerate() {
            self.state.insert(txn.origin, index as u64 + 1);
        }
    }
}
