//! The guardian: it mounts, keeps a copy of every descriptor, and starts the next server when one dies. It does nothing
//! else, so that there is little it could die of. When it dies all the same, the server starts another one, which takes
//! over from it and stands by as the first did.

use super::desk;
use super::handover::{self, Base};
use super::server::Places;
use super::store::{self, Key, Kind, Message};
use super::wire::{Agreed, BEFORE_DATA, PAYLOAD_MAX, Request, agree, answer_header};
use firedrill_host::process::{Spawn, Stream};
use firedrill_host::{HostError, fuse};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

/// A server that lived shorter than this did not come to anything.
const LIVED: Duration = Duration::from_secs(1);
/// The pause before the next one then.
const PAUSE: Duration = Duration::from_millis(20);
/// After so many of these the file system is taken away: an error is better than calls that never return.
const FAILURES_MAX: u32 = 1000;

/// What is handed to each server.
struct Held {
    base: Base,
    /// By key, in the order in which a server needs them: nodes before handles.
    kept: BTreeMap<Key, ([u64; 2], OwnedFd)>,
}

/// Runs as the first guardian until the file system is unmounted. `program` gives the command line of this program up to
/// the role.
pub(super) fn guard(dir: &Path, point: &Path, program: &dyn Fn() -> Spawn) -> Result<(), HostError> {
    let held = begin(&Places(dir.to_owned()), point)?;
    stand_by(held, None, (dir, point), program)
}

/// Runs as the guardian after one that died; `server` is the socket to the server, which goes on meanwhile.
pub(super) fn take_over(
    dir: &Path,
    point: &Path,
    server: OwnedFd,
    program: &dyn Fn() -> Spawn,
) -> Result<(), HostError> {
    let taken = handover::take(server.as_fd()).map_err(|source| HostError::System {
        action: "take over",
        object: format!("the storage layer over {}", point.display()),
        source,
    });
    let (base, rest) = taken?;
    let kept = rest.into_iter().filter_map(|message| Some((message.key, (message.numbers, message.fd?))));
    stand_by(Held { base, kept: kept.collect() }, Some(server), (dir, point), program)
}

/// One server after the other; `living` is the socket to one that serves already.
fn stand_by(
    mut held: Held,
    mut living: Option<OwnedFd>,
    (dir, point): (&Path, &Path),
    program: &dyn Fn() -> Spawn,
) -> Result<(), HostError> {
    let mut failures = 0;
    loop {
        let began = Instant::now();
        let ended = match living.take() {
            Some(server) => listen(&mut held, &server).map_err(unspoken),
            None => attend(&mut held, (dir, point), program),
        };
        match ended {
            Ok(true) => break,
            Ok(false) => tracing::warn!("the server of the storage layer died; the next one is started"),
            Err(problem) => tracing::error!(problem = problem.full(), "no server of the storage layer can be started"),
        }
        if began.elapsed() > LIVED {
            failures = 0;
            continue;
        }
        failures += 1;
        if failures > FAILURES_MAX {
            tracing::error!("the storage layer is given up: its servers do not live");
            fuse::unmount(point)?;
            break;
        }
        // The first death of a server is no failure of its own: it is the drill.
        if failures > 1 {
            std::thread::sleep(PAUSE);
        }
    }
    // Nobody listens any more; one that is gone already is as good.
    let _gone = std::fs::remove_file(Places(dir.to_owned()).control());
    Ok(())
}

fn begin(places: &Places, point: &Path) -> Result<Held, HostError> {
    let failed = |action: &'static str, object: &Path, source: io::Error| HostError::System {
        action,
        object: object.display().to_string(),
        source,
    };
    std::fs::create_dir_all(&places.0).map_err(|problem| failed("create", &places.0, problem))?;
    let control = places.control();
    for old in [&control, &places.rules(), &places.cut(), &places.lost()] {
        match std::fs::remove_file(old) {
            Err(problem) if problem.kind() != io::ErrorKind::NotFound => return Err(failed("remove", old, problem)),
            _ => {}
        }
    }
    // Of a layer that ended with its machine; there is nothing to put back any more.
    match std::fs::remove_dir_all(places.kept()) {
        Err(problem) if problem.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove", &places.kept(), problem));
        }
        _ => {}
    }
    let listener = UnixListener::bind(&control).map_err(|problem| failed("listen at", &control, problem))?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let below =
        nix::fcntl::open(point, flags, Mode::empty()).map_err(|problem| failed("open", point, problem.into()))?;
    let desk = desk::create().map_err(|problem| failed("make memory for", &places.0, problem))?;
    let device = fuse::mount(point, &places.0)?;
    match greet(&device) {
        Ok(agreed) => {
            let base = Base { device, agreed, below, desk, control: OwnedFd::from(listener) };
            Ok(Held { base, kept: BTreeMap::new() })
        }
        Err(problem) => {
            fuse::unmount(point)?;
            Err(failed("agree with the kernel on the file system over", point, problem.into()))
        }
    }
}

/// Takes the first request, which must be answered before all others.
fn greet(device: &OwnedFd) -> Result<Agreed, Errno> {
    let mut bytes = vec![0; BEFORE_DATA + PAYLOAD_MAX];
    let count = nix::unistd::read(device, &mut bytes)?;
    let request = Request::parse(&bytes[..count]).ok_or(Errno::EPROTO)?;
    let outcome = agree(&request);
    let header = answer_header(request.unique, outcome.as_ref().map(|(body, _)| body.len()).map_err(|errno| *errno));
    let body = outcome.as_ref().map_or(&[][..], |(body, _)| body);
    nix::sys::uio::writev(device, &[IoSlice::new(&header), IoSlice::new(body)])?;
    outcome.map(|(_, agreed)| agreed)
}

/// One server from its start to its end; `true` when the file system was unmounted.
fn attend(held: &mut Held, (dir, point): (&Path, &Path), program: &dyn Fn() -> Spawn) -> Result<bool, HostError> {
    let (own, other) = store::pair().map_err(unspoken)?;
    // Collected at the next start, or by the system when this process ends.
    let server = program().arg("server").arg(dir).arg(point);
    let _child = server.stdin(Stream::Fd(other)).stderr(Stream::Inherit).spawn()?;
    let kept = held.kept.iter().map(|(key, (numbers, fd))| (*key, *numbers, fd.as_fd()));
    handover::give(own.as_fd(), &held.base, kept).map_err(unspoken)?;
    listen(held, &own).map_err(unspoken)
}

/// Keeps what a server works with, until it ends; `true` when the file system was unmounted.
fn listen(held: &mut Held, server: &OwnedFd) -> Result<bool, Errno> {
    loop {
        let Message { key, numbers, fd } = match store::receive(server.as_fd())? {
            None => return Ok(false),
            Some(message) => message,
        };
        match (key.0, fd) {
            (Kind::Over, _) => return Ok(true),
            (Kind::Drop, _) => {
                if let Some(kind) = Kind::from(key.1) {
                    held.kept.remove(&(kind, numbers[0]));
                }
            }
            (Kind::Node | Kind::Handle | Kind::Kept, Some(fd)) => {
                held.kept.insert(key, (numbers, fd));
            }
            (kind, _) => tracing::error!(?kind, "the server of the storage layer said something unexpected"),
        }
    }
}

fn unspoken(problem: Errno) -> HostError {
    HostError::System {
        action: "speak with",
        object: "the server of the storage layer".to_owned(),
        source: problem.into(),
    }
}
