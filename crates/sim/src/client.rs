//! Simulated writers. Most go through the gateway; some hold a connection to the server that they last found to be
//! the primary, and only look again when that fails: the gateway's hold does not stop those.

use crate::mariadb::{Txn, Waiting};
use crate::network::{APPLICATION, GATEWAY, MILLI, Micros, SECOND};
use crate::world::{Happening, World};
use rand::Rng;
use std::collections::BTreeMap;

/// A client counts a write as unknown after this.
const PATIENCE: Micros = 3 * SECOND;

/// The gateway holds a connection for this long at most.
const HELD_AT_MOST: Micros = 2 * SECOND;

/// Pause between a client's writes, at most.
const PAUSE: Micros = 90 * MILLI;

#[derive(Debug, Clone, Copy)]
struct Session {
    client: usize,
    token: u32,
    began: Micros,
    node: Option<usize>,
    sequence: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Clients {
    sessions: BTreeMap<u64, Session>,
    next_token: u32,
    /// The server that a direct client is connected to.
    direct: BTreeMap<usize, usize>,
    pub(crate) stopped: bool,
    pub(crate) last_ok: Micros,
    pub(crate) oks: u64,
}

impl World {
    /// Every third client goes around the gateway.
    fn goes_direct(client: usize) -> bool {
        client % 3 == 2
    }

    pub(crate) fn write(&mut self, client: usize) {
        if self.clients.stopped {
            return;
        }
        let pause = self.random.random_range(PAUSE / 4..PAUSE);
        self.after(pause, Happening::Write(client));
        self.clients.next_token += 1;
        let token = self.clients.next_token;
        let session = self.fresh_id();
        let began = self.now;
        let mut entry = Session { client, token, began, node: None, sequence: 0 };
        if Self::goes_direct(client) {
            let known = self.clients.direct.get(&client).copied().or(self.gateway.route);
            let Some(node) = known else { return };
            self.clients.direct.insert(client, node);
            entry.node = Some(node);
            self.clients.sessions.insert(session, entry);
            let delay = self.network.delay(&mut self.random, APPLICATION, node);
            self.after(delay, Happening::AtServer { session, node });
        } else {
            self.clients.sessions.insert(session, entry);
            let delay = self.network.delay(&mut self.random, APPLICATION, GATEWAY);
            self.after(delay, Happening::AtGateway { session });
        }
        self.after(PATIENCE, Happening::GiveUp(session));
    }

    pub(crate) fn at_gateway(&mut self, session: u64) {
        let Some(entry) = self.clients.sessions.get_mut(&session) else { return };
        let Some(node) = self.gateway.route else {
            if self.now - entry.began < HELD_AT_MOST {
                self.after(20 * MILLI, Happening::AtGateway { session });
            } else {
                self.clients.sessions.remove(&session);
            }
            return;
        };
        entry.node = Some(node);
        let delay = self.network.delay(&mut self.random, GATEWAY, node);
        self.after(delay, Happening::AtServer { session, node });
    }

    /// The gateway has a new route: sessions to other servers are cut.
    pub(crate) fn cut_sessions(&mut self, target: Option<usize>) {
        self.clients
            .sessions
            .retain(|_, session| Self::goes_direct(session.client) || session.node.is_none() || session.node == target);
    }

    pub(crate) fn at_server(&mut self, session: u64, node: usize) {
        let Some(entry) = self.clients.sessions.get(&session).copied() else { return };
        let from = if Self::goes_direct(entry.client) { APPLICATION } else { GATEWAY };
        if self.nodes[node].pid.is_none() {
            return self.reply(session, node, false);
        }
        if !self.network.open(from, node) || self.nodes[node].paused {
            // It hangs; a paused server takes the statement in when it goes on.
            return self.after(100 * MILLI, Happening::AtServer { session, node });
        }
        if self.nodes[node].read_only {
            return self.reply(session, node, false);
        }
        let server = &mut self.nodes[node];
        let origin = server.server_id();
        server.append(Txn { origin, token: entry.token });
        let sequence = server.log.len();
        if let Some(entry) = self.clients.sessions.get_mut(&session) {
            entry.sequence = sequence;
        }
        if server.primary_side {
            server.waiting.push_back(Waiting { sequence, session });
        } else {
            server.durable = sequence;
            self.reply(session, node, true);
        }
        self.pump(node);
    }

    pub(crate) fn session_committed(&mut self, node: usize, sequence: usize, session: u64) {
        if self.clients.sessions.get(&session).is_some_and(|entry| entry.sequence == sequence) {
            self.reply(session, node, true);
        }
    }

    fn reply(&mut self, session: u64, node: usize, ok: bool) {
        let delay = self.network.delay(&mut self.random, node, APPLICATION);
        self.after(delay, Happening::Reply { session, ok });
    }

    /// The client has its answer.
    pub(crate) fn replied(&mut self, session: u64, ok: bool) {
        let Some(entry) = self.clients.sessions.get(&session).copied() else { return };
        let Some(node) = entry.node else { return };
        if !self.network.open(node, APPLICATION) {
            return self.after(100 * MILLI, Happening::Reply { session, ok });
        }
        self.clients.sessions.remove(&session);
        if !ok {
            self.clients.direct.remove(&entry.client);
            return;
        }
        self.clients.last_ok = self.now;
        self.clients.oks += 1;
        let now = self.now;
        self.checker.client_ok(now, node, entry.token, entry.sequence, &self.nodes);
    }

    pub(crate) fn give_up(&mut self, session: u64) {
        if let Some(entry) = self.clients.sessions.remove(&session) {
            self.clients.direct.remove(&entry.client);
        }
    }
}
