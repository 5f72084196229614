//! What happens to the sessions of one event loop: they come, wait, are connected, carried, cut and ended.

use super::Worker;
use crate::gateway::error_packet::Turned;
use crate::gateway::poll::Happened;
use crate::gateway::pump::Turn;
use crate::gateway::session::{Due, Key, RETRY_AFTER, Session, Side, Stage, Wait};
use crate::gateway::socket;
use crate::gateway::stats::{self, Moved};
use firedrill_model::{Endpoint, Span};
use std::net::TcpStream;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// How a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Everything was passed on: close.
    InOrder,
    /// Something broke: whoever is still there gets a reset.
    Broken,
    /// The client is turned away.
    Turned(Turned),
}

/// Which directions of a session may have something to move.
#[derive(Debug, Clone, Copy)]
pub(super) struct Directions {
    to_client: bool,
    to_backend: bool,
}

impl Directions {
    pub(super) const BOTH: Self = Self { to_client: true, to_backend: true };
}

impl Worker {
    /// Takes a new client.
    pub(super) fn welcome(&mut self, client: TcpStream) {
        let wait = Wait::new(Instant::now(), self.config.hold_for.duration());
        let until = wait.until;
        let key = self.sessions.insert(Session::new(client, wait));
        let Some(session) = self.sessions.get(key) else { return };
        if let Err(problem) = self.set.add_socket(&session.client, key.token(Side::Client)) {
            tracing::warn!("a client cannot be watched and is cut: {problem}");
            return self.end(key, Ending::Broken);
        }
        self.timers.set(until, key);
        match self.route {
            Some(endpoint) => self.connect(key, endpoint),
            None => {
                self.hold(key);
            }
        }
    }

    /// Cuts every session that has a server; whoever had not yet seen its server's greeting waits for the next.
    pub(super) fn cut(&mut self) -> u64 {
        self.route = None;
        let mut cut = 0;
        for key in self.sessions.keys() {
            let Some(session) = self.sessions.get(key) else { continue };
            if session.wait.is_none() {
                cut += 1;
                self.end(key, Ending::Broken);
            } else {
                if let Some(backend) = session.backend.take() {
                    socket::reset(backend);
                }
                self.hold(key);
            }
        }
        self.stats.cut.fetch_add(cut, Relaxed);
        cut
    }

    /// Connects everybody who waits.
    pub(super) fn open(&mut self, endpoint: Endpoint) -> u64 {
        self.route = Some(endpoint);
        let waiting = self.sessions.keys();
        for key in &waiting {
            self.connect(*key, endpoint);
        }
        waiting.len() as u64
    }

    pub(super) fn on_event(&mut self, key: Key, side: Side, event: Happened) {
        let Some(session) = self.sessions.get(key) else { return };
        match (&session.wait, side) {
            (Some(wait), Side::Client) => {
                // A client that has asked for nothing yet and goes frees its place. While connecting it may have sent
                // all it has to say and closed its half: then the pump will find that out.
                let connecting = matches!(wait.stage, Stage::Connecting(_));
                if event.failed() || (event.ending() && !connecting) {
                    self.end(key, Ending::Broken);
                } else if event.ending() {
                    session.to_backend.expect_end();
                }
            }
            (Some(_), Side::Backend) => self.on_connected(key, event),
            (None, side) => {
                if event.ending() {
                    match side {
                        Side::Client => session.to_backend.expect_end(),
                        Side::Backend => session.to_client.expect_end(),
                    }
                }
                if event.failed() {
                    return self.on_failure(key, side);
                }
                // Only what this event makes possible: a read that finds nothing costs as much as half a message.
                let (reads, room) = (event.readable(), event.writable());
                let directions = match side {
                    Side::Client => {
                        Directions { to_backend: reads, to_client: room && session.to_client.waits_for_room() }
                    }
                    Side::Backend => {
                        Directions { to_client: reads, to_backend: room && session.to_backend.waits_for_room() }
                    }
                };
                self.pump(key, directions);
            }
        }
    }

    pub(super) fn on_timer(&mut self, key: Key, now: Instant) {
        let Some(session) = self.sessions.get(key) else { return };
        let Some(wait) = &session.wait else { return };
        match (wait.due(now), self.route) {
            (Due::Nothing, _) | (Due::Connect, None) => {}
            (Due::Expire, _) => {
                let waited = Span(now.duration_since(wait.since));
                stats::count(&self.stats.hold_expired);
                self.end(key, Ending::Turned(Turned::HoldExpired { waited }));
            }
            (Due::GiveUpAttempt, _) => self.on_connect_failed(key),
            (Due::Connect, Some(endpoint)) => self.connect(key, endpoint),
        }
    }

    /// Begins to connect a client that waits.
    fn connect(&mut self, key: Key, endpoint: Endpoint) {
        let Some(session) = self.sessions.get(key) else { return };
        let Some(wait) = &mut session.wait else { return };
        let until = Instant::now() + self.config.connect_timeout.duration();
        wait.stage = Stage::Connecting(until);
        let begun = socket::begin_connect(endpoint).and_then(|backend| {
            self.set.add_socket(&backend, key.token(Side::Backend))?;
            Ok(backend)
        });
        match begun {
            Ok(backend) => {
                session.backend = Some(backend);
                self.timers.set(until, key);
            }
            Err(problem) => {
                tracing::debug!(%endpoint, "an attempt to connect failed at once: {problem}");
                self.on_connect_failed(key);
            }
        }
    }

    /// The kernel has news of an attempt to connect.
    fn on_connected(&mut self, key: Key, event: Happened) {
        let Some(session) = self.sessions.get(key) else { return };
        let Some(backend) = &session.backend else { return };
        if !event.writable() {
            return;
        }
        if event.failed() || !matches!(backend.take_error(), Ok(None)) {
            return self.on_connect_failed(key);
        }
        if event.ending() {
            session.to_client.expect_end();
        }
        if session.wait.take().is_some_and(|wait| wait.holds_place) {
            stats::give_place(&self.stats.held);
        }
        self.pump(key, Directions::BOTH);
    }

    /// The primary did not take the connection. While the route stays, it is tried again.
    fn on_connect_failed(&mut self, key: Key) {
        stats::count(&self.stats.connect_failures);
        let Some(session) = self.sessions.get(key) else { return };
        if let Some(backend) = session.backend.take() {
            socket::reset(backend);
        }
        if !self.hold(key) {
            return;
        }
        let Some(wait) = self.sessions.get(key).and_then(|session| session.wait.as_mut()) else { return };
        let again = Instant::now() + RETRY_AFTER;
        wait.stage = Stage::Pausing(again);
        self.timers.set(again, key);
    }

    /// Lets a client wait, if there is a place; says whether there is.
    fn hold(&mut self, key: Key) -> bool {
        let Some(wait) = self.sessions.get(key).and_then(|session| session.wait.as_mut()) else { return false };
        wait.stage = Stage::Held;
        let max = self.config.max_held;
        if !wait.holds_place && !stats::take_place(&self.stats.held, max) {
            stats::count(&self.stats.too_many_held);
            self.end(key, Ending::Turned(Turned::TooManyHeld { max }));
            return false;
        }
        wait.holds_place = true;
        true
    }

    /// Moves what can be moved. Answers before questions: that is what somebody waits for.
    pub(super) fn pump(&mut self, key: Key, directions: Directions) {
        let Some(session) = self.sessions.get(key) else { return };
        let Session { client, backend: Some(backend), wait: None, to_client, to_backend } = session else { return };
        let buffer = &mut self.buffer;
        let turns = to_client.run_if(directions.to_client, backend, client, buffer).and_then(|turn| {
            let other = to_backend.run_if(directions.to_backend, client, backend, buffer)?;
            Ok([turn, other])
        });
        let moved = &self.mailbox.moved;
        Moved::add(&moved.from_clients, to_backend.take_moved());
        Moved::add(&moved.from_primary, to_client.take_moved());
        match turns {
            Err(_reset_or_timed_out) => self.end(key, Ending::Broken),
            Ok([Turn::Waits, Turn::Waits]) if session.is_finished() => self.end(key, Ending::InOrder),
            Ok([Turn::Waits, Turn::Waits]) => {}
            Ok(_) => self.unfinished.push(key),
        }
    }

    /// A socket has failed. When it was the primary's, the client gets what the primary said last (that it was killed,
    /// say) before the reset.
    fn on_failure(&mut self, key: Key, side: Side) {
        let Some(session) = self.sessions.get(key) else { return };
        if let (Side::Backend, Some(backend)) = (side, &session.backend) {
            // It ends in the primary's failure, or else in the client's: the session is over either way.
            let _ = session.to_client.run(backend, &session.client, &mut self.buffer);
            Moved::add(&self.mailbox.moved.from_primary, session.to_client.take_moved());
        }
        self.end(key, Ending::Broken);
    }

    fn end(&mut self, key: Key, ending: Ending) {
        let Some(session) = self.sessions.remove(key) else { return };
        stats::give_place(&self.stats.sessions);
        self.mailbox.load.fetch_sub(1, Relaxed);
        if session.wait.is_some_and(|wait| wait.holds_place) {
            stats::give_place(&self.stats.held);
        }
        // The primary's side first: what matters at a switch is that nothing more reaches it.
        match (ending, session.backend) {
            (Ending::InOrder, backend) => drop(backend),
            (_, Some(backend)) => socket::reset(backend),
            (_, None) => {}
        }
        match ending {
            Ending::InOrder => drop(session.client),
            Ending::Broken => socket::reset(session.client),
            Ending::Turned(turned) => turned.tell(&session.client),
        }
    }
}
