//! The control socket: one command and one answer per connection, each a line of JSON. The guardian holds the listening
//! socket, so that a command which comes while there is no server waits for the next.

use super::cut::{self, Loss, Order};
use super::rules::Rule;
use super::server::Server;
use firedrill_model::Span;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Longest command, in bytes.
const COMMAND_BYTES_MAX: u64 = 64 * 1024;
/// A client sends its command at once.
const HEARD_WITHIN: Duration = Duration::from_secs(5);
/// Commands that are done at a time; more wait.
const CLIENTS_MAX: usize = 16;
/// Until old content is kept, operations under way must have ended.
const ARMED_WITHIN: Duration = Duration::from_secs(10);
/// The pause after which it is tried again.
const PAUSE: Duration = Duration::from_millis(5);

/// What the layer is asked to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "command")]
pub(crate) enum Command {
    /// Say how it stands.
    Status,
    /// Put a rule in force.
    Put {
        /// Which.
        rule: Box<Rule>,
        /// For so long, unless renewed.
        lease: Span,
    },
    /// Extend a lease.
    Renew {
        /// Of this rule.
        id: String,
        /// To so long from now.
        lease: Span,
    },
    /// End a rule.
    Remove {
        /// Which.
        id: String,
    },
    /// Cut the power.
    Cut {
        /// Which power loss: asked for again, it is answered again and not done again.
        id: String,
        /// Processes that are not killed.
        spare: Vec<u32>,
    },
}

/// What the layer answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "answer")]
pub(crate) enum Reply {
    /// How it stands.
    Status(Box<Status>),
    /// Done.
    Done,
    /// There is no rule of that name; its lease may have run out.
    NoSuchRule,
    /// What the power loss did.
    Lost(Loss),
    /// It cannot be done.
    Failed {
        /// Why not.
        why: String,
    },
}

/// How a layer stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The process that answers the kernel.
    pub server: u32,
    /// The process that starts the next one when it dies.
    pub guardian: u32,
    /// Whether that one is alive.
    pub guarded: bool,
    /// Minor version of the kernel's interface (FUSE 7.x).
    pub interface: u32,
    /// Whether the kernel could send unanswered requests again by itself (Linux 6.9). The layer works without.
    pub kernel_resends: bool,
    /// Whether what a power loss needs is kept.
    pub keeps: bool,
    /// The rules in force, and how often each applied.
    pub rules: Vec<InForce>,
}

/// A rule in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// Its name.
    pub id: String,
    /// To how many operations it has applied, as far as the present server knows.
    pub applied: u64,
    /// How long it lasts unless renewed.
    pub left: Span,
}

/// Serves clients until the process ends.
pub(super) fn listen(server: &Arc<Server>, listener: OwnedFd) {
    let listener = UnixListener::from(listener);
    let busy = Arc::new(AtomicUsize::new(0));
    for client in listener.incoming() {
        let Ok(client) = client else {
            std::thread::sleep(PAUSE);
            continue;
        };
        while busy.load(Ordering::Relaxed) >= CLIENTS_MAX {
            std::thread::sleep(PAUSE);
        }
        busy.fetch_add(1, Ordering::Relaxed);
        let (server, busy) = (Arc::clone(server), Arc::clone(&busy));
        std::thread::spawn(move || {
            if let Err(problem) = converse(&server, client) {
                tracing::warn!(%problem, "a client of the storage layer was not understood or did not listen");
            }
            busy.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

fn converse(server: &Server, mut client: UnixStream) -> io::Result<()> {
    client.set_read_timeout(Some(HEARD_WITHIN))?;
    client.set_write_timeout(Some(HEARD_WITHIN))?;
    let mut line = String::new();
    BufReader::new(Read::by_ref(&mut client).take(COMMAND_BYTES_MAX)).read_line(&mut line)?;
    let reply = match serde_json::from_str(&line) {
        Ok(command) => obey(server, command),
        Err(problem) => Reply::Failed { why: format!("the command cannot be read: {problem}") },
    };
    let mut text = serde_json::to_vec(&reply)?;
    text.push(b'\n');
    client.write_all(&text)
}

fn obey(server: &Server, command: Command) -> Reply {
    let done = match command {
        Command::Status => return Reply::Status(Box::new(status(server))),
        Command::Put { rule, lease } => server.rules.put(*rule, lease.duration()).map(|()| Reply::Done),
        Command::Renew { id, lease } => {
            let renewed = server.rules.renew(&id, lease.duration());
            renewed.map(|known| if known { Reply::Done } else { Reply::NoSuchRule })
        }
        Command::Remove { id } => server.rules.remove(&id).map(|()| Reply::Done),
        Command::Cut { id, spare } => {
            return cut::cut(server, Order { id, spare }).map_or_else(|why| Reply::Failed { why }, Reply::Lost);
        }
    };
    match done {
        Ok(reply) => settle(server).map_or_else(|why| Reply::Failed { why }, |()| reply),
        Err(problem) => Reply::Failed { why: problem.to_string() },
    }
}

/// Waits until old content is kept if, and only if, it should be.
fn settle(server: &Server) -> Result<(), String> {
    let began = Instant::now();
    loop {
        server.arm_or_disarm();
        if server.rules.keeps() == server.keep.armed() {
            return Ok(());
        }
        if began.elapsed() > ARMED_WITHIN {
            return Err("operations under way do not end, so keeping can neither begin nor end".to_owned());
        }
        std::thread::sleep(PAUSE);
    }
}

fn status(server: &Server) -> Status {
    let (now, counts) = (firedrill_host::clock::since_boot(), server.rules.counts());
    let rules = server.rules.list();
    let in_force = rules.iter().filter(|rule| rule.until > now).map(|rule| InForce {
        id: rule.id.clone(),
        applied: counts.get(&rule.id).copied().unwrap_or(0),
        left: Span(rule.until - now),
    });
    Status {
        server: std::process::id(),
        guardian: server.tree.guardian(),
        guarded: server.tree.guarded(),
        interface: server.base.agreed.minor,
        kernel_resends: server.base.agreed.resends,
        keeps: server.keep.armed(),
        rules: in_force.collect(),
    }
}
