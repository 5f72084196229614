//! The control socket's server side: one thread per connection, few connections, one order at a time.

use super::config::GatewayError;
use super::poll::{self, Bell};
use super::switch::Switchboard;
use crate::control::{LINE_BYTES_MAX, Refusal, Reply, Request};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Control connections at once: the agent needs one, its successor after a crash a second, a person a third.
const CONNECTIONS_MAX: u64 = 16;

/// How long one request may take to arrive or one reply to leave; both are one small line.
const LINE_WITHIN: Duration = Duration::from_secs(5);

/// Opens the control socket. A file from a process before is replaced: whoever owns the listening address, which the
/// caller does, owns the control socket too.
pub(super) fn bind(path: &Path) -> Result<UnixListener, GatewayError> {
    let refused = |source| GatewayError::Control { path: path.to_owned(), source };
    match fs::remove_file(path) {
        Err(problem) if problem.kind() != io::ErrorKind::NotFound => return Err(refused(problem)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(refused)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(refused)?;
    Ok(listener)
}

/// Takes control connections until stopped.
#[derive(Debug)]
pub(super) struct ControlServer {
    listener: UnixListener,
    switchboard: Arc<Mutex<Switchboard>>,
    connections: Arc<AtomicU64>,
    stop: Arc<Bell>,
}

impl ControlServer {
    pub(super) fn new(listener: UnixListener, switchboard: Arc<Mutex<Switchboard>>, stop: Arc<Bell>) -> Self {
        Self { listener, switchboard, connections: Arc::default(), stop }
    }

    pub(super) fn run(self) {
        while matches!(poll::readable(&self.listener, &self.stop), Ok(true)) {
            match self.listener.accept() {
                Ok((stream, _)) => self.serve(stream),
                Err(problem) => tracing::warn!("a control connection could not be accepted: {problem}"),
            }
        }
    }

    /// Each connection has its thread, which ends with the connection or at stop.
    fn serve(&self, stream: UnixStream) {
        if !super::stats::take_place(&self.connections, CONNECTIONS_MAX) {
            tracing::warn!("more than {CONNECTIONS_MAX} control connections; one more was closed at once");
            return;
        }
        let (switchboard, connections) = (Arc::clone(&self.switchboard), Arc::clone(&self.connections));
        let stop = Arc::clone(&self.stop);
        let body = move || {
            if let Err(problem) = converse(stream, &switchboard, &stop) {
                tracing::debug!("a control connection ended: {problem}");
            }
            connections.fetch_sub(1, Relaxed);
        };
        if let Err(problem) = thread::Builder::new().name("gateway-order".to_owned()).spawn(body) {
            self.connections.fetch_sub(1, Relaxed);
            tracing::warn!("no thread for a control connection: {problem}");
        }
    }
}

fn converse(stream: UnixStream, switchboard: &Mutex<Switchboard>, stop: &Bell) -> io::Result<()> {
    stream.set_read_timeout(Some(LINE_WITHIN))?;
    stream.set_write_timeout(Some(LINE_WITHIN))?;
    let mut reader = BufReader::new(&stream);
    let mut line = String::new();
    while !reader.buffer().is_empty() || poll::readable(&stream, stop)? {
        line.clear();
        if reader.by_ref().take(LINE_BYTES_MAX).read_line(&mut line)? == 0 {
            return Ok(());
        }
        let reply = answer(&line, switchboard);
        let mut text = serde_json::to_vec(&reply)?;
        text.push(b'\n');
        (&stream).write_all(&text)?;
    }
    Ok(())
}

fn answer(line: &str, switchboard: &Mutex<Switchboard>) -> Reply {
    let request = match serde_json::from_str(line) {
        Ok(request) => request,
        Err(problem) => return Reply::Refused(Refusal::Malformed { problem: problem.to_string() }),
    };
    // The switchboard has no half-changed state to protect: it says Hold until a switch is complete.
    let mut switchboard = switchboard.lock().unwrap_or_else(PoisonError::into_inner);
    match request {
        Request::Status => Reply::Status(Box::new(switchboard.status())),
        Request::SetRoute { cluster, generation, route } => match switchboard.set_route(&cluster, generation, route) {
            Ok(routed) => Reply::Routed(routed),
            Err(refusal) => {
                tracing::warn!(cluster = %switchboard.cluster(), "{refusal}");
                Reply::Refused(refusal)
            }
        },
    }
}
