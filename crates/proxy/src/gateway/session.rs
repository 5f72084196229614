//! One client's connection, from its acceptance to its end, and the table that an event loop keeps of them.

use super::pump::Pump;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Pause before a primary that refused is tried again. It refuses because it is still starting or was just killed, both
/// of which change within tens of milliseconds.
pub(super) const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Names a session of one event loop. Never used twice within 2³² sessions, so that an event or a timer of a session
/// that is gone does not hit its successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    serial: u32,
    index: u32,
}

/// Which of the two sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Backend,
}

impl Key {
    /// As a token of the epoll set.
    pub(super) fn token(self, side: Side) -> u64 {
        u64::from(self.serial) << 32 | u64::from(self.index) << 1 | u64::from(side == Side::Backend)
    }

    pub(super) fn from_token(token: u64) -> (Self, Side) {
        let [high, low] = [token >> 32, token & u64::from(u32::MAX)].map(|half| half as u32);
        (Self { serial: high, index: low >> 1 }, if low & 1 == 1 { Side::Backend } else { Side::Client })
    }
}

/// A client without a server: what it waits for and until when.
#[derive(Debug, Clone)]
pub(super) struct Wait {
    /// When it came.
    pub(super) since: Instant,
    /// When it has waited long enough.
    pub(super) until: Instant,
    /// It counts against the bound of held connections.
    pub(super) holds_place: bool,
    pub(super) stage: Stage,
}

/// What a waiting client waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// A route.
    Held,
    /// An attempt to connect, given up at that moment.
    Connecting(Instant),
    /// The next attempt, at that moment.
    Pausing(Instant),
}

/// What a timer means for a waiting client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing: it came early.
    Nothing,
    /// Tell it that there is no primary, and close.
    Expire,
    /// The attempt has failed.
    GiveUpAttempt,
    /// Try again.
    Connect,
}

impl Wait {
    pub(super) fn new(now: Instant, hold_for: Duration) -> Self {
        Self { since: now, until: now + hold_for, holds_place: false, stage: Stage::Held }
    }

    pub(super) fn due(&self, now: Instant) -> Due {
        if now >= self.until {
            return Due::Expire;
        }
        match self.stage {
            Stage::Connecting(until) if now >= until => Due::GiveUpAttempt,
            Stage::Pausing(until) if now >= until => Due::Connect,
            _ => Due::Nothing,
        }
    }
}

/// One client's connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: TcpStream,
    /// The connection to the primary, made or being made.
    pub(super) backend: Option<TcpStream>,
    /// Present until the connection to the primary is made.
    pub(super) wait: Option<Wait>,
    pub(super) to_backend: Pump,
    pub(super) to_client: Pump,
}

impl Session {
    pub(super) fn new(client: TcpStream, wait: Wait) -> Self {
        Self { client, backend: None, wait: Some(wait), to_backend: Pump::default(), to_client: Pump::default() }
    }

    /// Both directions have ended in good order.
    pub(super) fn is_finished(&self) -> bool {
        self.to_backend.is_closed() && self.to_client.is_closed()
    }
}

/// The sessions of one event loop. Places are used again; keys are not.
#[derive(Debug, Default)]
pub(super) struct Table {
    places: Vec<(u32, Option<Session>)>,
    free: Vec<u32>,
}

impl Table {
    pub(super) fn insert(&mut self, session: Session) -> Key {
        if let Some(index) = self.free.pop() {
            let (serial, place) = &mut self.places[index as usize];
            *serial = serial.wrapping_add(1);
            *place = Some(session);
            return Key { serial: *serial, index };
        }
        let index = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        self.places.push((0, Some(session)));
        Key { serial: 0, index }
    }

    pub(super) fn get(&mut self, key: Key) -> Option<&mut Session> {
        let (serial, session) = self.places.get_mut(key.index as usize)?;
        if *serial == key.serial { session.as_mut() } else { None }
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Session> {
        let (serial, place) = self.places.get_mut(key.index as usize)?;
        let session = if *serial == key.serial { place.take() } else { None }?;
        self.free.push(key.index);
        Some(session)
    }

    /// All sessions there are now.
    pub(super) fn keys(&self) -> Vec<Key> {
        let taken = (0..).zip(&self.places).filter(|(_, (_, session))| session.is_some());
        taken.map(|(index, (serial, _))| Key { serial: *serial, index }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_read_back() {
        for key in [Key { serial: 0, index: 0 }, Key { serial: u32::MAX, index: 4000 }] {
            for side in [Side::Client, Side::Backend] {
                assert_eq!(Key::from_token(key.token(side)), (key, side));
            }
        }
    }

    #[test]
    fn a_waiting_client_is_tried_again_until_its_time_is_up() {
        let now = Instant::now();
        let mut wait = Wait::new(now, Duration::from_millis(100));
        assert_eq!(wait.due(now + Duration::from_millis(99)), Due::Nothing, "held: only the end matters");
        wait.stage = Stage::Connecting(now + Duration::from_millis(10));
        assert_eq!(wait.due(now + Duration::from_millis(9)), Due::Nothing);
        assert_eq!(wait.due(now + Duration::from_millis(10)), Due::GiveUpAttempt);
        wait.stage = Stage::Pausing(now + Duration::from_millis(60));
        assert_eq!(wait.due(now + Duration::from_millis(60)), Due::Connect);
        assert_eq!(wait.due(now + Duration::from_millis(100)), Due::Expire);
    }

    #[test]
    fn a_key_dies_with_its_session() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listens");
        let connect = || TcpStream::connect(listener.local_addr().expect("an address")).expect("connects");
        let wait = Wait::new(Instant::now(), Duration::ZERO);
        let mut table = Table::default();
        let first = table.insert(Session::new(connect(), wait.clone()));
        assert!(table.remove(first).is_some());
        let second = table.insert(Session::new(connect(), wait));
        assert!(table.get(first).is_none() && table.remove(first).is_none());
        assert_eq!(table.keys(), [second]);
    }
}
