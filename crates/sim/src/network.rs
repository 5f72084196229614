//! Hosts and the paths between them: delays, and what is cut.

use rand::Rng;
use rand::rngs::SmallRng;

/// Database hosts come first: host `n` carries node `n`.
pub(crate) const NODES: usize = 6;
/// Where the gateway runs.
pub(crate) const GATEWAY: usize = 6;
/// Where the clients run.
pub(crate) const APPLICATION: usize = 7;
/// Where the keeper runs.
pub(crate) const SERVER: usize = 8;
/// All of them.
pub(crate) const HOSTS: usize = 9;

/// Microseconds since the start of a run.
pub(crate) type Micros = i64;

/// One millisecond.
pub(crate) const MILLI: Micros = 1_000;
/// One second.
pub(crate) const SECOND: Micros = 1_000_000;

/// A lost packet comes again after this (a typical retransmission time-out).
const RETRANSMIT: Micros = 220 * MILLI;

#[derive(Debug)]
pub(crate) struct Network {
    far: Micros,
    west: [bool; HOSTS],
    cut: [[u8; HOSTS]; HOSTS],
    extra: [[Micros; HOSTS]; HOSTS],
    loss_percent: [[u8; HOSTS]; HOSTS],
}

impl Network {
    /// Nodes 0-2 live in the east with the application and the gateway, 3-5 in the west, `far` away; the server in either.
    pub(crate) fn new(server_in_west: bool, far: Micros) -> Self {
        let mut west = [false; HOSTS];
        west[3..NODES].fill(true);
        west[SERVER] = server_in_west;
        Self { far, west, cut: [[0; HOSTS]; HOSTS], extra: [[0; HOSTS]; HOSTS], loss_percent: [[0; HOSTS]; HOSTS] }
    }

    pub(crate) fn west(&self, host: usize) -> bool {
        self.west[host]
    }

    /// Packets from `from` reach `to`.
    pub(crate) fn open(&self, from: usize, to: usize) -> bool {
        from == to || self.cut[from][to] == 0
    }

    /// A connection between them can be set up and used.
    pub(crate) fn both(&self, one: usize, other: usize) -> bool {
        self.open(one, other) && self.open(other, one)
    }

    /// How long a message takes now, retransmissions included.
    pub(crate) fn delay(&self, random: &mut SmallRng, from: usize, to: usize) -> Micros {
        let base = if from == to {
            20
        } else if self.west[from] == self.west[to] {
            300
        } else {
            self.far
        };
        let mut delay = base + random.random_range(0..=base) + self.extra[from][to];
        let loss = self.loss_percent[from][to];
        let mut rto = RETRANSMIT;
        while loss > 0 && random.random_range(0..100) < loss {
            delay += rto;
            rto *= 2;
        }
        delay
    }

    /// Cuts (or mends) the way from `from` to `to`. Cuts add up.
    pub(crate) fn cut(&mut self, from: usize, to: usize, cut: bool) {
        let count = &mut self.cut[from][to];
        *count = if cut { count.saturating_add(1) } else { count.saturating_sub(1) };
    }

    /// Makes the way slow and lossy, or ordinary again (zero, zero).
    pub(crate) fn slow(&mut self, from: usize, to: usize, extra: Micros, loss_percent: u8) {
        self.extra[from][to] = extra;
        self.loss_percent[from][to] = loss_percent;
    }
}
