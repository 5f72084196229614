//! One event loop: waits for events, orders and timers, and deals them out. What they do to a session is in `sessions`.

mod sessions;

use super::config::GatewayConfig;
use super::poll::{Bell, Set};
use super::session::{Key, Table};
use super::stats::{Moved, Stats};
use super::timers::Timers;
use firedrill_model::Endpoint;
use sessions::Directions;
use std::io;
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender, TryRecvError};
use std::time::Instant;

/// Orders that may wait for one loop; the acceptor pauses when there are more, and the kernel queues its connections.
const ORDERS_MAX: usize = 1024;

/// Size of one read. Large enough for a whole result set of usual size, small enough to stay in the second-level cache.
const BUFFER_BYTES: usize = 64 * 1024;

/// The token of the loop's own bell; no session has it.
const BELL: u64 = u64::MAX;

/// What a loop can be told.
#[derive(Debug)]
enum Order {
    /// Serve this client.
    Client(TcpStream),
    /// Cut all sessions and hold. Answered with how many were cut.
    Cut(Sender<u64>),
    /// Connect all clients there. Answered with how many were waiting.
    Open(Endpoint, Sender<u64>),
    /// End.
    Stop,
}

#[derive(Debug)]
struct Mailbox {
    bell: Bell,
    /// An order other than a new client waits: look before the next event.
    urgent: AtomicBool,
    /// Sessions here.
    load: AtomicU64,
    moved: Moved,
}

/// How other threads speak to a loop.
#[derive(Debug, Clone)]
pub(super) struct Handle {
    orders: SyncSender<Order>,
    mailbox: Arc<Mailbox>,
}

impl Handle {
    pub(super) fn client(&self, client: TcpStream) {
        self.mailbox.load.fetch_add(1, Ordering::Relaxed);
        // A loop that is gone drops the connection; the process is ending.
        let _ = self.orders.send(Order::Client(client));
        self.mailbox.bell.ring();
    }

    pub(super) fn cut(&self, done: Sender<u64>) {
        self.order(Order::Cut(done));
    }

    pub(super) fn open(&self, endpoint: Endpoint, done: Sender<u64>) {
        self.order(Order::Open(endpoint, done));
    }

    pub(super) fn stop(&self) {
        self.order(Order::Stop);
    }

    /// Sessions that it has.
    pub(super) fn load(&self) -> u64 {
        self.mailbox.load.load(Ordering::Relaxed)
    }

    pub(super) fn moved(&self) -> &Moved {
        &self.mailbox.moved
    }

    fn order(&self, order: Order) {
        // A loop that is gone drops the order, and with it the channel its sender waits on.
        let _ = self.orders.send(order);
        self.mailbox.urgent.store(true, Ordering::Release);
        self.mailbox.bell.ring();
    }
}

/// One event loop.
#[derive(Debug)]
pub(super) struct Worker {
    config: Arc<GatewayConfig>,
    stats: Arc<Stats>,
    mailbox: Arc<Mailbox>,
    orders: Receiver<Order>,
    set: Set,
    sessions: Table,
    timers: Timers,
    /// Sessions that had more to move than one turn allows.
    unfinished: Vec<Key>,
    /// `None`: hold.
    route: Option<Endpoint>,
    buffer: Vec<u8>,
}

impl Worker {
    pub(super) fn new(config: &Arc<GatewayConfig>, stats: &Arc<Stats>) -> io::Result<(Handle, Self)> {
        let (sender, orders) = mpsc::sync_channel(ORDERS_MAX);
        let mailbox = Mailbox {
            bell: Bell::new()?,
            urgent: AtomicBool::new(false),
            load: AtomicU64::new(0),
            moved: Moved::default(),
        };
        let mailbox = Arc::new(mailbox);
        let set = Set::new()?;
        set.add_bell(&mailbox.bell, BELL)?;
        let handle = Handle { orders: sender, mailbox: Arc::clone(&mailbox) };
        let worker = Self {
            config: Arc::clone(config),
            stats: Arc::clone(stats),
            mailbox,
            orders,
            set,
            sessions: Table::default(),
            timers: Timers::default(),
            unfinished: Vec::new(),
            route: None,
            buffer: vec![0; BUFFER_BYTES],
        };
        Ok((handle, worker))
    }

    /// Runs until told to stop, or until the kernel refuses to wait.
    pub(super) fn run(mut self) {
        loop {
            let until = if self.unfinished.is_empty() { self.timers.next() } else { Some(Instant::now()) };
            let happened = match self.set.wait(until) {
                Ok(happened) => happened,
                Err(problem) => {
                    tracing::error!("an event loop of the gateway cannot wait for events and ends: {problem}");
                    return;
                }
            };
            for number in 0..happened {
                let (token, event) = self.set.event(number);
                if token == BELL {
                    self.mailbox.bell.hush();
                }
                if (token == BELL || self.mailbox.urgent.load(Ordering::Acquire)) && self.obey().is_break() {
                    return;
                }
                if token != BELL {
                    let (key, side) = Key::from_token(token);
                    self.on_event(key, side, event);
                }
            }
            for key in std::mem::take(&mut self.unfinished) {
                self.pump(key, Directions::BOTH);
            }
            let now = Instant::now();
            while let Some(key) = self.timers.take_due(now) {
                self.on_timer(key, now);
            }
        }
    }
    /// Carries out the orders that wait.
    fn obey(&mut self) -> ControlFlow<()> {
        self.mailbox.urgent.store(false, Ordering::Release);
        for _ in 0..ORDERS_MAX {
            match self.orders.try_recv() {
                Ok(Order::Client(client)) => self.welcome(client),
                Ok(Order::Cut(done)) => answer(&done, self.cut()),
                Ok(Order::Open(endpoint, done)) => answer(&done, self.open(endpoint)),
                Ok(Order::Stop) | Err(TryRecvError::Disconnected) => return ControlFlow::Break(()),
                Err(TryRecvError::Empty) => return ControlFlow::Continue(()),
            }
        }
        // There may be more; sessions first.
        self.mailbox.bell.ring();
        ControlFlow::Continue(())
    }
}

/// Tells whoever gave an order that it was carried out. It does not wait any more when another loop has failed.
fn answer(done: &Sender<u64>, count: u64) {
    let _ = done.send(count);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::switch::Switchboard;
    use firedrill_model::command::Route;
    use firedrill_model::{ClusterName, Generation};
    use std::thread;
    use std::time::Duration;

    /// Longer than any order needs that is on its way.
    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn no_loop_is_opened_before_every_loop_has_cut() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let cluster: ClusterName = "shop".parse().expect("a name");
        let primary = Endpoint { address: [127, 0, 0, 1].into(), port: 3306 };
        let path = |name| directory.path().join(name);
        let config = Arc::new(GatewayConfig::new(cluster.clone(), primary, path("control"), path("state")));
        let stats = Arc::default();
        let (one, first) = Worker::new(&config, &stats).expect("a loop");
        let (other, second) = Worker::new(&config, &stats).expect("a loop");
        let mut board = Switchboard::new(&config, primary, Generation(0), vec![one, other], stats);
        let route = Route::Primary { node: "east-1".parse().expect("a name"), endpoint: primary };
        let switching = thread::spawn(move || board.set_route(&cluster, Generation(1), route));

        let cut_by = |worker: &Worker| match worker.orders.recv_timeout(SOON) {
            Ok(Order::Cut(done)) => answer(&done, 1),
            other => panic!("{other:?} instead of a cut"),
        };
        cut_by(&first);
        let early = first.orders.recv_timeout(Duration::from_millis(100));
        assert!(early.is_err(), "{early:?} although the other loop still has sessions to the old primary");
        cut_by(&second);
        for worker in [&first, &second] {
            assert!(!switching.is_finished(), "answered before every loop has the new route");
            match worker.orders.recv_timeout(SOON) {
                Ok(Order::Open(endpoint, done)) if endpoint == primary => answer(&done, 0),
                other => panic!("{other:?} instead of the new primary"),
            }
        }
        assert_eq!(switching.join().expect("no panic").expect("switched").sessions_cut, 2);
    }
}
