//! The storage layer: a file system that is mounted over a database's data directory before the database starts and
//! passes everything on to the directory below, until it is told to misbehave.
//!
//! Two processes. The *guardian* mounts, holds a copy of every descriptor, and starts the *server*, which does the work.
//! When the server dies, by whatever, the guardian starts the next one, which answers the requests that the dead one left
//! on the [desk]: the database notices a pause of milliseconds and no error. When the guardian dies, the server starts the
//! [next one][succession] and gives it a copy of everything. Only when the second dies before it has taken over from the
//! first is there nobody left: then every call fails, which the database does not survive, and what is below is as it was.
//!
//! What goes wrong is said in [rules], each with a lease that the layer itself ends. While no rule is in force the layer
//! only passes on. A [power loss][cut] needs a rule that *keeps* what it is going to put back; see [keep] for what counts
//! as durable and what the bounds are, and [names] for names.
//!
//! What stays true: `fsync` and `fdatasync` reach the disk below, direct I/O is direct, `rename` is atomic, hard links,
//! holes, reserved space and extended attributes are those of the directory below, locks are the kernel's own. What is
//! not there: `O_TMPFILE`, `FS_IOC_*`, and `syncfs` (programs sync files). Names are looked up anew at each use, so
//! opening many files costs more than below.
//!
//! The kernel could read and write the files below by itself (`FUSE_PASSTHROUGH`), but then no rule could reach a file
//! that a database has open, and databases keep theirs open for ever; so it is not used.

mod chance;
mod control;
pub(crate) mod corruption;
mod cut;
mod desk;
mod directories;
pub(crate) mod error;
mod files;
mod gate;
mod guardian;
mod handover;
mod keep;
pub(crate) mod latency;
mod layer;
pub(crate) mod lost_sync;
mod names;
mod operations;
pub(crate) mod power_loss;
mod ranges;
mod rulebook;
mod ruled;
mod rules;
mod server;
mod store;
mod succession;
mod tree;
mod wire;

pub use control::{InForce, Status};
pub use layer::{Layer, Program};

use firedrill_host::HostError;
use firedrill_host::process::Spawn;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

/// Runs as the guardian or the server of a layer, as the arguments say that [`Layer::mount`] and the guardian put after
/// the program's own; returns when the file system was unmounted. `program` is how this program is started up to those
/// arguments.
///
/// # Errors
/// When it cannot be mounted, or when the other process of the two is missing.
pub fn run(arguments: impl IntoIterator<Item = OsString>, program: &dyn Fn() -> Spawn) -> Result<(), HostError> {
    let failed = |problem: io::Error| HostError::System {
        action: "run as",
        object: "a process of the storage layer".to_owned(),
        source: problem,
    };
    let mut arguments = arguments.into_iter();
    let mut path = || arguments.next().map(PathBuf::from);
    let (role, dir, point) = (path(), path(), path());
    let other = || io::stdin().as_fd().try_clone_to_owned().map_err(failed);
    allow_many_files();
    match (role.as_ref().and_then(|role| role.to_str()), dir, point) {
        (Some("guardian"), Some(dir), Some(point)) => guardian::guard(&dir, &point, program),
        (Some("next-guardian"), Some(dir), Some(point)) => guardian::take_over(&dir, &point, other()?, program),
        (Some("server"), Some(dir), Some(point)) => {
            // A thread that ends without an answer would leave its caller waiting for ever; the next server answers.
            let report = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                report(panic);
                std::process::abort();
            }));
            // Modes are the callers', who had theirs applied already.
            nix::sys::stat::umask(nix::sys::stat::Mode::empty());
            server::serve(&dir, &point, other()?, program).map_err(failed)
        }
        _ => Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "it is started by Layer::mount only"))),
    }
}

/// A descriptor per file that the kernel knows: as many as are allowed without asking anybody.
fn allow_many_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a structure of the right type, which lives through both calls.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}
