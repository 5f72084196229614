//! How transactions travel between the simulated servers, and how acknowledgements travel back.

use crate::mariadb::{Dump, Io, Replication, Txn};
use crate::network::{MILLI, Micros, NODES, SECOND};
use crate::world::{Happening, World};
use rand::Rng;

/// `slave_net_timeout`: a receiver that hears nothing for this long gives the connection up.
const NET_TIMEOUT: Micros = 4 * SECOND;

/// `master_connect_retry`.
const CONNECT_RETRY: Micros = SECOND;

/// A packet that could not be delivered is tried again.
const RESEND: Micros = 200 * MILLI;

impl World {
    /// Begins to follow: the receiver connects, the applier runs, an old relay log is dropped.
    pub(crate) fn follow(&mut self, node: usize, source: usize, acks: bool) {
        self.disconnect(node);
        let server = &mut self.nodes[node];
        server.stop_replication();
        server.read_only = true;
        server.primary_side = false;
        server.acker_side = acks;
        server.applier = true;
        server.replication = Some(Replication { source, io: Io::Connecting, heard_at: None, error: None, acks });
        self.drop_waiting(node);
        self.after(MILLI, Happening::Connect(node));
    }

    /// The receiver's connection, if any, is closed at both ends (the source notices by a reset).
    pub(crate) fn disconnect(&mut self, node: usize) {
        if let Some(Replication { source, io: Io::Connected { connection }, .. }) = self.nodes[node].replication {
            let dump = &mut self.nodes[source].dumps[node];
            if dump.is_some_and(|dump| dump.connection == connection) {
                *dump = None;
            }
        }
    }

    pub(crate) fn connect(&mut self, node: usize) {
        let server = &self.nodes[node];
        let Some(replication) = &server.replication else { return };
        if !server.answers() || replication.io != Io::Connecting {
            if server.paused && replication.io == Io::Connecting {
                self.after(CONNECT_RETRY, Happening::Connect(node));
            }
            return;
        }
        let source = replication.source;
        let ready = self.network.both(node, source) && self.nodes[source].answers();
        if !ready {
            self.after(CONNECT_RETRY, Happening::Connect(node));
            return;
        }
        let attempt = self.fresh_id();
        let trip =
            self.network.delay(&mut self.random, node, source) + self.network.delay(&mut self.random, source, node);
        self.after(2 * trip, Happening::Accepted { node, source, attempt });
    }

    /// The handshake is over: the source looks for the replica's position in its binary log.
    pub(crate) fn accepted(&mut self, node: usize, source: usize, attempt: u64) {
        let wanted =
            self.nodes[node].replication.as_ref().is_some_and(|one| one.source == source && one.io == Io::Connecting);
        if !wanted || !self.nodes[node].answers() {
            return;
        }
        if !self.nodes[source].answers() || !self.network.both(node, source) {
            self.after(CONNECT_RETRY, Happening::Connect(node));
            return;
        }
        let has = self.nodes[node].received();
        let last = self.nodes[node].entry(has);
        let served = has == 0 && self.nodes[source].log_starts == 0
            || has >= self.nodes[source].log_starts
                && has <= self.nodes[source].log.len()
                && self.nodes[source].log.get(has.wrapping_sub(1)).copied() == last;
        let now = self.now;
        let Some(replication) = &mut self.nodes[node].replication else { return };
        if !served {
            replication.io = Io::Stopped;
            replication.error = Some(format!("1236: the position {has} is not in the source's binary log"));
            self.say(|| format!("node {node}: refused by node {source} at position {has}"));
            return;
        }
        replication.io = Io::Connected { connection: attempt };
        replication.heard_at = Some(now);
        let acks = replication.acks && self.nodes[node].acker_side;
        self.nodes[source].dumps[node] = Some(Dump { connection: attempt, acks, cursor: has, arrival: now });
        self.say(|| format!("node {node}: connected to node {source} at {has}{}", if acks { " as acker" } else { "" }));
        self.pump(source);
    }

    /// Sends what is new to every connected replica.
    pub(crate) fn pump(&mut self, source: usize) {
        for to in 0..NODES {
            let Some(dump) = self.nodes[source].dumps[to] else { continue };
            let end = self.nodes[source].log.len();
            if dump.cursor < end {
                let txns = self.nodes[source].log[dump.cursor..end].to_vec();
                self.stream(source, to, dump, txns);
            }
        }
    }

    fn stream(&mut self, source: usize, to: usize, dump: Dump, txns: Vec<Txn>) {
        let delay = self.network.delay(&mut self.random, source, to);
        let arrival = (self.now + delay).max(dump.arrival);
        let first = dump.cursor;
        let cursor = first + txns.len();
        self.nodes[source].dumps[to] = Some(Dump { cursor, arrival, ..dump });
        let what = Happening::Stream { from: source, to, connection: dump.connection, first, txns };
        self.after(arrival - self.now, what);
    }

    pub(crate) fn heartbeat(&mut self, node: usize) {
        if self.nodes[node].answers() {
            for to in 0..NODES {
                if let Some(dump) = self.nodes[node].dumps[to] {
                    self.stream(node, to, dump, Vec::new());
                }
            }
        }
        self.time_out(node);
    }

    /// A receiver that heard nothing for too long, or whose source's process is gone, connects anew.
    fn time_out(&mut self, node: usize) {
        let Some(Replication { source, io: Io::Connected { connection }, heard_at, .. }) = self.nodes[node].replication
        else {
            return;
        };
        let silent = heard_at.is_some_and(|at| self.now - at > NET_TIMEOUT);
        let reset = self.network.both(node, source)
            && self.nodes[source].dumps[node].is_none_or(|dump| dump.connection != connection);
        if self.nodes[node].answers() && (silent || reset) {
            self.reconnect(node);
        }
    }

    pub(crate) fn reconnect(&mut self, node: usize) {
        self.disconnect(node);
        if let Some(replication) = &mut self.nodes[node].replication {
            replication.io = Io::Connecting;
        }
        self.after(CONNECT_RETRY, Happening::Connect(node));
    }

    pub(crate) fn streamed(&mut self, from: usize, to: usize, connection: u64, first: usize, txns: Vec<Txn>) {
        let current = matches!(
            self.nodes[to].replication,
            Some(Replication { source, io: Io::Connected { connection: current }, .. }) if source == from && current == connection
        );
        if !current || self.nodes[to].pid.is_none() {
            return;
        }
        // A cut wire or a paused receiver keeps it back; order is kept because each message waits for itself
        // only, and a gap is refused below.
        if !self.network.open(from, to) || self.nodes[to].paused {
            self.after(RESEND, Happening::Stream { from, to, connection, first, txns });
            return;
        }
        if first > self.nodes[to].received() {
            self.after(MILLI, Happening::Stream { from, to, connection, first, txns });
            return;
        }
        let now = self.now;
        let server = &mut self.nodes[to];
        if let Some(replication) = &mut server.replication {
            replication.heard_at = Some(now);
        }
        let known = server.received() - first;
        server.relay.extend(txns.into_iter().skip(known));
        let sequence = server.received();
        let acks = server.acker_side && server.replication.as_ref().is_some_and(|replication| replication.acks);
        self.schedule_apply(to);
        if acks && first < sequence {
            let delay = self.network.delay(&mut self.random, to, from);
            self.after(delay, Happening::Ack { from: to, to: from, connection, sequence });
        }
    }

    pub(crate) fn schedule_apply(&mut self, node: usize) {
        let server = &mut self.nodes[node];
        if server.applying || !server.applier || server.relay.is_empty() {
            return;
        }
        let Some(pid) = server.pid else { return };
        server.applying = true;
        let delay = self.apply_time[node];
        self.after(delay, Happening::Apply { node, pid });
    }

    pub(crate) fn apply(&mut self, node: usize, pid: u32) {
        if self.nodes[node].pid != Some(pid) {
            return;
        }
        if self.nodes[node].paused {
            self.after(RESEND, Happening::Apply { node, pid });
            return;
        }
        let server = &mut self.nodes[node];
        server.applying = false;
        if let Some(txn) = server.relay.pop_front() {
            server.append(txn);
            server.durable = server.log.len();
            self.pump(node);
        }
        self.schedule_apply(node);
    }

    /// An acknowledgement reaches the primary: every session up to there gets its OK.
    pub(crate) fn acked(&mut self, from: usize, to: usize, connection: u64, sequence: usize) {
        if self.nodes[to].pid.is_none() || self.nodes[to].dumps[from].is_none_or(|dump| dump.connection != connection) {
            return;
        }
        if !self.network.open(from, to) || self.nodes[to].paused {
            self.after(RESEND, Happening::Ack { from, to, connection, sequence });
            return;
        }
        while let Some(waiting) = self.nodes[to].waiting.front().copied() {
            if waiting.sequence > sequence {
                break;
            }
            self.nodes[to].waiting.pop_front();
            self.commit(to, waiting.sequence, waiting.session);
        }
    }

    /// The engine commits and the client is told. The commit itself may reach the disk a little later.
    pub(crate) fn commit(&mut self, node: usize, sequence: usize, session: u64) {
        let late = self.random.random_range(0..3);
        let server = &mut self.nodes[node];
        server.durable = server.durable.max(sequence.saturating_sub(late));
        self.session_committed(node, sequence, session);
    }

    /// Sessions that wait for an acknowledgement are killed; what they wrote stays in the binary log.
    pub(crate) fn drop_waiting(&mut self, node: usize) {
        self.nodes[node].waiting.clear();
    }

    /// The process ends: its peers see their connections reset, as far as they can be reached.
    pub(crate) fn kill(&mut self, node: usize) {
        if self.nodes[node].pid.is_none() {
            return;
        }
        let (length, durable) = (self.nodes[node].log.len(), self.nodes[node].durable);
        self.say(|| format!("node {node}: killed at {length} (durable {durable})"));
        self.disconnect(node);
        let listeners = self.nodes[node].dumps;
        self.nodes[node].crash();
        for (listener, dump) in listeners.into_iter().enumerate() {
            if dump.is_some() && self.network.open(node, listener) && self.nodes[listener].answers() {
                self.reconnect_soon(listener, node);
            }
        }
        self.observe_soon(node);
    }

    fn reconnect_soon(&mut self, node: usize, source: usize) {
        let follows = self.nodes[node].replication.as_ref().is_some_and(|one| one.source == source);
        // What was on the wire before the reset still arrives: the connection is given up a moment later.
        if follows && self.random.random_bool(0.5) {
            self.reconnect(node);
        }
    }
}
