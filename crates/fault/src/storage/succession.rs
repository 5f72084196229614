//! What a server does when its guardian dies: it starts another one and gives it a copy of everything, while the database
//! goes on. Until that one has all of it, the death of the server would be the end of the file system: milliseconds.

use super::server::{Event, Server};
use super::store;
use firedrill_host::process::{Spawn, Stream};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// The pause before the next try, when a guardian cannot be started or does not live.
const PAUSE: Duration = Duration::from_millis(100);
/// A guardian that lived shorter than this did not come to anything.
const LIVED: Duration = Duration::from_millis(100);
/// Operations under way take as long as the disk below; when they do not end, it is tried again after the pause.
const STILL_WITHIN: Duration = Duration::from_secs(2);

/// Waits for the end of the guardian at the other end of this socket.
pub(super) fn watch(server: &Arc<Server>, guardian: OwnedFd) {
    let server = Arc::clone(server);
    std::thread::spawn(move || {
        // It sends nothing any more: whatever comes is its end.
        let _end = store::receive(guardian.as_fd());
        server.tree.unguarded();
        server.tell(Event::Alone);
    });
}

/// Sees to it that there is a guardian, until the file system is unmounted. `guardian` is how the next one is started.
pub(super) fn oversee(server: &Arc<Server>, events: &Receiver<Event>, guardian: impl Fn() -> Spawn) {
    let (mut alone, mut appointed, mut told) = (false, None::<Instant>, false);
    loop {
        let event =
            if alone { events.recv_timeout(PAUSE) } else { events.recv().map_err(|_| RecvTimeoutError::Disconnected) };
        match event {
            Ok(Event::Over) | Err(RecvTimeoutError::Disconnected) => return,
            Ok(Event::Alone) if appointed.is_some_and(|since| since.elapsed() < LIVED) => {
                alone = true;
                continue;
            }
            Ok(Event::Alone) | Err(RecvTimeoutError::Timeout) => {}
        }
        match appoint(server, guardian()) {
            Ok(()) => {
                tracing::warn!("the guardian of the storage layer died; the next one stands by");
                (alone, appointed, told) = (false, Some(Instant::now()), false);
            }
            Err(problem) => {
                if !told {
                    tracing::error!(%problem, "no guardian of the storage layer can be started; it is tried again");
                }
                (alone, told) = (true, true);
            }
        }
    }
}

/// Starts a guardian and hands over to it.
fn appoint(server: &Arc<Server>, guardian: Spawn) -> io::Result<()> {
    let (own, other) = store::pair()?;
    // Collected at the next start, or by the system when this process ends.
    let guardian = guardian.stdin(Stream::Fd(other)).stderr(Stream::Inherit).dir("/").new_session().spawn();
    let guardian = guardian.map_err(|problem| io::Error::other(problem.full()))?;
    let watched = own.try_clone()?;
    server.gate.close(STILL_WITHIN)?;
    let handed = server.tree.hand_over(own, guardian.pid(), &server.base, &server.keep);
    server.gate.open();
    handed?;
    watch(server, watched);
    Ok(())
}
