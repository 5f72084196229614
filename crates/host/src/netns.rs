//! Named network namespaces, made and kept as `ip netns` does, so that `ip netns list` shows them.

use crate::HostError;
use crate::process::{Pidfd, Signal};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// Where named namespaces are mounted.
pub const DIRECTORY: &str = "/run/netns";

/// The path of a named namespace, to enter it by.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// Makes a namespace with its loopback up. One that exists already is an error (`EEXIST`).
pub fn create(name: &str) -> Result<(), HostError> {
    prepare_directory()?;
    let path = path(name);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .map_err(|problem| HostError::at("create the network namespace", &path, problem))?;
    let target = path.clone();
    let made = on_own_thread(move || {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|problem| HostError::at("unshare a network namespace for", &target, problem))?;
        mount(Some("/proc/thread-self/ns/net"), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(|problem| HostError::at("mount a network namespace on", &target, problem))?;
        raise_loopback()
    });
    if made.is_err() {
        // The first error is the one to report; what is left is cleaned as far as it goes.
        let _second = delete(name);
    }
    made
}

/// Removes a named namespace; one that is not there is no error. Processes inside keep it alive, unnamed: end them
/// first ([`processes`]).
pub fn delete(name: &str) -> Result<(), HostError> {
    let path = path(name);
    match umount2(&path, MntFlags::MNT_DETACH) {
        // EINVAL: the file is there, nothing is mounted on it (a creation that was cut short).
        Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => {}
        Err(problem) => return Err(HostError::at("unmount", &path, problem)),
    }
    match fs::remove_file(&path) {
        Err(problem) if problem.kind() != io::ErrorKind::NotFound => Err(HostError::at("remove", &path, problem)),
        _ => Ok(()),
    }
}

/// Undoes what the first [`create`] did to [`DIRECTORY`] (made a shared mount point of it), when no namespace is left
/// and nothing else is mounted there. In use, or never prepared, is no error: the next [`create`] prepares it again.
pub fn release_directory() -> Result<(), HostError> {
    let directory = Path::new(DIRECTORY);
    if !list()?.is_empty() {
        return Ok(());
    }
    match umount2(directory, MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT | nix::Error::EBUSY) => Ok(()),
        Err(problem) => Err(HostError::at("unmount", directory, problem)),
    }
}

/// Names of all named namespaces, sorted.
pub fn list() -> Result<Vec<String>, HostError> {
    let directory = Path::new(DIRECTORY);
    let entries = match fs::read_dir(directory) {
        Err(problem) if problem.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|problem| HostError::at("list", directory, problem))?,
    };
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// Which namespace: the same numbers mean the same one for as long as it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// The device that namespaces are on.
    device: u64,
    /// Its number there.
    inode: u64,
}

/// The namespace that a path (`/proc/PID/ns/net`, a name) leads to.
pub fn identity(path: &Path) -> Result<Namespace, HostError> {
    let seen = fs::metadata(path).map_err(|problem| HostError::at("look at", path, problem))?;
    Ok(Namespace { device: seen.dev(), inode: seen.ino() })
}

/// The namespace of the calling thread.
pub fn own() -> Result<Namespace, HostError> {
    identity(Path::new("/proc/thread-self/ns/net"))
}

/// Opens a namespace, wherever it can be reached: by a process that lives in it, or by a mount. `None` when it is gone.
pub fn open(wanted: Namespace) -> Result<Option<File>, HostError> {
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    let proc = Path::new("/proc");
    let entries = fs::read_dir(proc).map_err(|problem| HostError::at("list", proc, problem))?;
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let by_process = pids.map(|pid| PathBuf::from(format!("/proc/{pid}/ns/net")));
    for path in mounted(&mounts, wanted.inode).into_iter().chain(by_process) {
        // One that has ended, or must not be looked at, is not the way.
        let Ok(file) = File::open(&path) else { continue };
        let seen = file.metadata().map_err(|problem| HostError::at("look at", &path, problem))?;
        if wanted == (Namespace { device: seen.dev(), inode: seen.ino() }) {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

/// Where a namespace is mounted: `id parent major:minor net:[4026532181] /run/netns/x …`.
fn mounted(mounts: &str, inode: u64) -> Vec<PathBuf> {
    let root = format!("net:[{inode}]");
    let place = |line: &str| {
        let mut words = line.split(' ').skip(3);
        (words.next()? == root).then(|| words.next().map(PathBuf::from))?
    };
    mounts.lines().filter_map(place).collect()
}

/// Runs a closure inside a namespace, on a thread of its own, and waits for it. Sockets that it opens stay in that
/// namespace wherever they are used later.
pub fn enter<T, F>(path: &Path, closure: F) -> Result<T, HostError>
where
    T: Send,
    F: FnOnce() -> T + Send,
{
    let namespace = File::open(path).map_err(|problem| HostError::at("open", path, problem))?;
    on_own_thread(move || {
        setns(&namespace, CloneFlags::CLONE_NEWNET).map_err(|problem| HostError::at("enter", path, problem))?;
        Ok(closure())
    })
}

/// Starts a thread that lives in a namespace, with all that it does and starts.
pub fn start_inside<T, F>(namespace: File, name: &str, work: F) -> Result<JoinHandle<Result<T, HostError>>, HostError>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let object = name.to_owned();
    let work = move || {
        setns(&namespace, CloneFlags::CLONE_NEWNET)
            .map_err(|problem| HostError::system("enter the network namespace of", object, problem))?;
        // Nobody keeps it alive who does not use it.
        drop(namespace);
        Ok(work())
    };
    let started = std::thread::Builder::new().name("inside".to_owned()).spawn(work);
    started.map_err(|problem| HostError::system("start", "a thread", problem))
}

/// Ids of the processes that live in a namespace.
pub fn processes(path: &Path) -> Result<Vec<u32>, HostError> {
    let wanted = fs::metadata(path).map_err(|problem| HostError::at("look at", path, problem))?;
    let proc = Path::new("/proc");
    let entries = fs::read_dir(proc).map_err(|problem| HostError::at("list", proc, problem))?;
    Ok(entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            // A process that ended meanwhile is not inside.
            fs::metadata(format!("/proc/{pid}/ns/net"))
                .is_ok_and(|found| found.ino() == wanted.ino() && found.dev() == wanted.dev())
        })
        .collect())
}

/// Ends (SIGKILL) every process in a namespace; does not wait for their ends. Returns how many there were.
pub fn kill_processes(path: &Path) -> Result<usize, HostError> {
    let inside = processes(path)?;
    for pid in &inside {
        match Pidfd::open(*pid).and_then(|process| process.signal(Signal::SIGKILL)) {
            Ok(()) | Err(HostError::NoProcess { .. }) => {}
            Err(problem) => return Err(problem),
        }
    }
    Ok(inside.len())
}

/// Names of the interfaces in the namespace of the calling thread.
pub fn interfaces() -> Result<Vec<String>, HostError> {
    let all =
        nix::net::if_::if_nameindex().map_err(|problem| HostError::system("list", "network interfaces", problem))?;
    Ok(all.iter().map(|interface| interface.name().to_string_lossy().into_owned()).collect())
}

/// As `ip netns add`: the directory is a shared mount point, so that namespaces made here are seen, and can be removed,
/// from other mount namespaces.
fn prepare_directory() -> Result<(), HostError> {
    let directory = Path::new(DIRECTORY);
    fs::create_dir_all(directory)
        .and_then(|()| fs::set_permissions(directory, fs::Permissions::from_mode(0o755)))
        .map_err(|problem| HostError::at("create", directory, problem))?;
    let share = || mount(None::<&str>, directory, None::<&str>, MsFlags::MS_SHARED | MsFlags::MS_REC, None::<&str>);
    match share() {
        Ok(()) => return Ok(()),
        Err(nix::Error::EINVAL) => {}
        Err(problem) => return Err(HostError::at("share the mount of", directory, problem)),
    }
    mount(Some(directory), directory, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .and_then(|()| share())
        .map_err(|problem| HostError::at("make a mount point of", directory, problem))
}

fn raise_loopback() -> Result<(), HostError> {
    let failed = |problem| HostError::system("bring up", "the loopback interface", problem);
    let socket = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Inet,
        nix::sys::socket::SockType::Datagram,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
        None,
    )
    .map_err(|problem| failed(problem.into()))?;
    // SAFETY: ifreq is plain old data; all zero is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which lives until the call returns.
    let answer =
        unsafe { libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&socket), libc::SIOCSIFFLAGS, &raw const request) };
    if answer < 0 { Err(failed(io::Error::last_os_error())) } else { Ok(()) }
}

/// Namespaces belong to threads: the change must not leak into the pool of an async runtime.
fn on_own_thread<T: Send>(work: impl FnOnce() -> Result<T, HostError> + Send) -> Result<T, HostError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, work)
            .map_err(|problem| HostError::system("start", "a thread", problem))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_a_namespace_are_found() {
        let mounts = "36 25 0:4 net:[4026532181] /run/netns/a rw shared:9 - nsfs nsfs rw\n\
                      37 25 0:4 net:[4026532199] /run/netns/b rw - nsfs nsfs rw\n\
                      38 25 0:4 net:[4026532181] /run/docker/netns/c rw - nsfs nsfs rw\n";
        assert_eq!(mounted(mounts, 4_026_532_181), ["/run/netns/a", "/run/docker/netns/c"].map(PathBuf::from));
        assert!(mounted(mounts, 402_653_218).is_empty(), "the beginning of another's number");
    }

    #[test]
    fn the_own_namespace_is_found_and_one_that_never_was_is_not() {
        let own = own().expect("has one");
        assert!(open(own).expect("looks").is_some());
        assert!(open(Namespace { inode: 1, ..own }).expect("looks").is_none());
    }
}
