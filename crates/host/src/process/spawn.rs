//! Starting a process: what it sees, who it is, and where it lives.

use super::{Exit, Identity, Pidfd};
use crate::HostError;
use nix::sys::signal::Signal;
use nix::unistd::User;
use std::ffi::{CString, OsStr, OsString};
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// Where a standard stream of a child goes.
#[derive(Debug, Default)]
pub enum Stream {
    /// `/dev/null`.
    #[default]
    Null,
    /// The parent's own.
    Inherit,
    /// Appended to a file, which is made when missing.
    Append(PathBuf),
    /// An open descriptor.
    Fd(OwnedFd),
    /// A pipe, whose other end the [`Child`] has.
    Pipe,
}

/// A process to be started. It inherits no descriptor above 2, whatever its parent has open: a forgotten descriptor
/// can keep a fault in place or a lock held after its owner died.
#[derive(Debug)]
pub struct Spawn {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    clear_env: bool,
    dir: Option<PathBuf>,
    user: Option<String>,
    netns: Option<PathBuf>,
    cgroup: Option<PathBuf>,
    streams: [Stream; 3],
    new_session: bool,
    parent_death: Option<Signal>,
}

impl Spawn {
    /// A program by path, or by name to be found in `PATH`. All streams are `/dev/null` until said otherwise.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            clear_env: false,
            dir: None,
            user: None,
            netns: None,
            cgroup: None,
            streams: [Stream::Null, Stream::Null, Stream::Null],
            new_session: false,
            parent_death: None,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Starts from an empty environment.
    #[must_use]
    pub fn clear_env(mut self) -> Self {
        self.clear_env = true;
        self
    }

    /// The directory it starts in.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// The system user it becomes, with that user's groups. Needs root.
    #[must_use]
    pub fn user(mut self, name: impl Into<String>) -> Self {
        self.user = Some(name.into());
        self
    }

    /// The network namespace it lives in, by path (`/run/netns/x`).
    #[must_use]
    pub fn netns(mut self, path: impl Into<PathBuf>) -> Self {
        self.netns = Some(path.into());
        self
    }

    /// The cgroup directory it is born in; it never runs outside.
    #[must_use]
    pub fn cgroup(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cgroup = Some(dir.into());
        self
    }

    /// Standard input.
    #[must_use]
    pub fn stdin(mut self, stream: Stream) -> Self {
        self.streams[0] = stream;
        self
    }

    /// Standard output.
    #[must_use]
    pub fn stdout(mut self, stream: Stream) -> Self {
        self.streams[1] = stream;
        self
    }

    /// Standard error.
    #[must_use]
    pub fn stderr(mut self, stream: Stream) -> Self {
        self.streams[2] = stream;
        self
    }

    /// Makes it the leader of a session of its own: it outlives its parent and its parent's terminal.
    #[must_use]
    pub fn new_session(mut self) -> Self {
        self.new_session = true;
        self
    }

    /// The signal it gets when the *thread* that starts it ends. Meant for threads that live as long as the process.
    #[must_use]
    pub fn dies_with_parent(mut self, signal: Signal) -> Self {
        self.parent_death = Some(signal);
        self
    }

    /// The command line, for messages.
    #[must_use]
    pub fn command_line(&self) -> String {
        let words = self.args.iter().map(|arg| arg.to_string_lossy());
        std::iter::once(self.program.to_string_lossy()).chain(words).collect::<Vec<_>>().join(" ")
    }

    /// Starts it. An error in the child before the program runs (namespace, user, not found) is reported here.
    #[allow(
        clippy::disallowed_types,
        clippy::disallowed_methods,
        reason = "the one place of the workspace that starts processes"
    )]
    pub fn spawn(self) -> Result<Child, HostError> {
        collect_orphans();
        let line = self.command_line();
        let setup = self.child_setup()?;
        let mut command = Command::new(&self.program);
        command.args(&self.args);
        if self.clear_env {
            command.env_clear();
        }
        command.envs(self.env.iter().map(|(key, value)| (key, value)));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        let [stdin, stdout, stderr] = self.streams;
        command.stdin(stdio(stdin)?).stdout(stdio(stdout)?).stderr(stdio(stderr)?);
        // SAFETY: the closure runs between fork and exec and makes async-signal-safe system calls on values that were
        // made before the fork; it neither allocates nor takes a lock.
        unsafe { command.pre_exec(move || setup.apply()) };
        let mut started = command.spawn().map_err(|problem| match problem.kind() {
            io::ErrorKind::NotFound if !self.program.is_absolute() => HostError::NotInstalled {
                program: self.program.display().to_string(),
                remedy: "install the package that has it".to_owned(),
            },
            _ => HostError::system("start", format!("`{line}`"), problem),
        })?;
        // Not collected yet, so the id still is this child's.
        let pidfd = Pidfd::open(started.id())?;
        let identity = Identity::of(started.id())?;
        Ok(Child {
            identity,
            pidfd: Some(pidfd),
            stdin: started.stdin.take().map(OwnedFd::from),
            stdout: started.stdout.take().map(OwnedFd::from),
            stderr: started.stderr.take().map(OwnedFd::from),
        })
    }

    fn child_setup(&self) -> Result<ChildSetup, HostError> {
        let open = |path: &Path, write: bool| {
            OpenOptions::new()
                .read(!write)
                .write(write)
                .open(path)
                .map(OwnedFd::from)
                .map_err(|problem| HostError::at("open", path, problem))
        };
        Ok(ChildSetup {
            netns: self.netns.as_deref().map(|path| open(path, false)).transpose()?,
            cgroup: self.cgroup.as_deref().map(|dir| open(&dir.join("cgroup.procs"), true)).transpose()?,
            credentials: self.user.as_deref().map(Credentials::of).transpose()?,
            new_session: self.new_session,
            parent_death: self.parent_death,
            parent: std::process::id(),
        })
    }
}

fn stdio(stream: Stream) -> Result<Stdio, HostError> {
    Ok(match stream {
        Stream::Null => Stdio::null(),
        Stream::Inherit => Stdio::inherit(),
        Stream::Fd(fd) => Stdio::from(fd),
        Stream::Pipe => Stdio::piped(),
        Stream::Append(path) => {
            let file = OpenOptions::new().create(true).append(true).open(&path);
            Stdio::from(file.map_err(|problem| HostError::at("open", &path, problem))?)
        }
    })
}

/// What the child does to itself between fork and exec, prepared before the fork.
struct ChildSetup {
    netns: Option<OwnedFd>,
    cgroup: Option<OwnedFd>,
    credentials: Option<Credentials>,
    new_session: bool,
    parent_death: Option<Signal>,
    parent: u32,
}

struct Credentials {
    uid: libc::uid_t,
    gid: libc::gid_t,
    groups: Vec<libc::gid_t>,
}

impl Credentials {
    fn of(name: &str) -> Result<Self, HostError> {
        let missing = || HostError::NoUser { name: name.to_owned() };
        let user = User::from_name(name)
            .map_err(|problem| HostError::system("look up", format!("user {name}"), problem))?
            .ok_or_else(missing)?;
        let text = CString::new(name).map_err(|_| missing())?;
        let groups = nix::unistd::getgrouplist(&text, user.gid)
            .map_err(|problem| HostError::system("look up the groups of", format!("user {name}"), problem))?;
        Ok(Self {
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            groups: groups.into_iter().map(nix::unistd::Gid::as_raw).collect(),
        })
    }
}

impl ChildSetup {
    /// In the order that privileges allow: namespace and cgroup as the parent's user, then the new user, then the
    /// death signal (a change of user clears it).
    fn apply(&self) -> io::Result<()> {
        // SAFETY: plain system calls on integers and on descriptors and vectors that outlive them.
        unsafe {
            if self.new_session {
                check(libc::setsid())?;
            }
            if let Some(netns) = &self.netns {
                check(libc::setns(netns.as_raw_fd(), libc::CLONE_NEWNET))?;
            }
            if let Some(cgroup) = &self.cgroup {
                check(libc::write(cgroup.as_raw_fd(), c"0".as_ptr().cast(), 1) as i64)?;
            }
            if let Some(to) = &self.credentials {
                check(libc::setgroups(to.groups.len(), to.groups.as_ptr()))?;
                check(libc::setresgid(to.gid, to.gid, to.gid))?;
                check(libc::setresuid(to.uid, to.uid, to.uid))?;
            }
            if let Some(signal) = self.parent_death {
                check(libc::prctl(libc::PR_SET_PDEATHSIG, signal as libc::c_ulong))?;
                if libc::getppid().cast_unsigned() != self.parent {
                    libc::_exit(1);
                }
            }
            keep_only_standard_streams()
        }
    }
}

/// Marks every descriptor above 2 close-on-exec (the exec of a program that is not found still can report).
fn keep_only_standard_streams() -> io::Result<()> {
    const FIRST: libc::c_uint = 3;
    // SAFETY: close_range with CLOEXEC changes flags of our own descriptors only.
    let answer = unsafe {
        libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_uint)
    };
    check(answer)
}

fn check(answer: impl Into<i64>) -> io::Result<()> {
    if answer.into() < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A process that was started here. Dropping it neither ends nor waits for the process.
#[derive(Debug)]
pub struct Child {
    identity: Identity,
    /// `Some` until dropped.
    pidfd: Option<Pidfd>,
    /// Write end of its standard input, when piped.
    pub stdin: Option<OwnedFd>,
    /// Read end of its standard output, when piped.
    pub stdout: Option<OwnedFd>,
    /// Read end of its standard error, when piped.
    pub stderr: Option<OwnedFd>,
}

impl Child {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.identity.pid
    }

    /// Who it is, to find it again after a restart.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The handle on it.
    #[must_use]
    #[allow(clippy::missing_panics_doc, reason = "the handle is only taken by drop")]
    pub fn pidfd(&self) -> &Pidfd {
        self.pidfd.as_ref().expect("taken only by drop")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<(), HostError> {
        self.pidfd().signal(signal)
    }

    /// Waits for its end and collects it. Cancel-safe.
    pub async fn exited(&self) -> Result<Exit, HostError> {
        self.pidfd().exited().await
    }

    /// Ends it now (SIGKILL) and waits until it is gone. One that is gone already is no error.
    pub async fn kill(&self) -> Result<Exit, HostError> {
        match self.signal(Signal::SIGKILL) {
            Ok(()) | Err(HostError::NoProcess { .. }) => self.exited().await,
            Err(problem) => Err(problem),
        }
    }
}

/// Children nobody waits for any more; they are collected at the next start of a process, so that they do not stay
/// zombies. As many as processes are started and dropped by this process, each a descriptor.
static ORPHANS: Mutex<Vec<Pidfd>> = Mutex::new(Vec::new());

impl Drop for Child {
    fn drop(&mut self) {
        if let (Some(pidfd), Ok(mut orphans)) = (self.pidfd.take(), ORPHANS.lock()) {
            orphans.push(pidfd);
            orphans.retain(running);
        }
    }
}

fn collect_orphans() {
    if let Ok(mut orphans) = ORPHANS.lock() {
        orphans.retain(running);
    }
}

/// False for a child that has ended (collected now) and for one that somebody else has collected.
fn running(child: &Pidfd) -> bool {
    child.collect().is_none() && super::state(child.pid()).is_some_and(|state| state != super::State::Zombie)
}
