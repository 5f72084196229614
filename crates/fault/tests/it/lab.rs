//! Two hosts (network namespaces) on a cable, a victim process, and an agent's faults on one of them.

use crate::kills;
use firedrill_fault::{Context, Faults};
use firedrill_host::cgroup::Cgroup;
use firedrill_host::link::Batch;
use firedrill_host::netns;
use firedrill_host::process::{Child, Identity, Pidfd, Signal, Spawn, State, Stream, run, state};
use firedrill_model::attack::AttackReport;
use firedrill_model::{AttackId, AttackSpec, Fault, Span};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// No condition of these tests takes this long, on emulated processors (docs/kernels.md) that others use, too.
pub(crate) const WITHIN: Duration = Duration::from_secs(60);

pub(crate) const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 79, 0, 1));
pub(crate) const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 79, 0, 2));
/// A second address of the far host: another peer.
pub(crate) const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 79, 0, 3));
/// Nobody has this address.
pub(crate) const NOBODY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 79, 0, 99));

pub(crate) struct Lab {
    here: String,
    there: String,
    journal: tempfile::TempDir,
}

impl Lab {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let stem = format!("fdf-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let lab = Self {
            here: format!("{stem}-here"),
            there: format!("{stem}-there"),
            journal: tempfile::tempdir().expect("temp dir"),
        };
        for name in [&lab.here, &lab.there] {
            netns::create(name).expect("these tests need root (CAP_SYS_ADMIN, CAP_NET_ADMIN)");
        }
        block_on(async {
            let here = Batch::new().veth("eth0", "eth0", &lab.there).address("eth0", HERE, 24).up("eth0");
            here.apply(Some(&netns::path(&lab.here))).await.expect("cable");
            let there = Batch::new().address("eth0", THERE, 24).address("eth0", OTHER, 24).up("eth0");
            there.apply(Some(&netns::path(&lab.there))).await.expect("far end");
        });
        // The kernel learns of the carrier a moment after both ends are up, and drops what is sent before.
        eventually("a cable that works before anything is done to it", || lab.reaches(THERE) && lab.reaches(OTHER));
        lab
    }

    /// The name of the near host's namespace.
    pub(crate) fn here(&self) -> &str {
        &self.here
    }

    /// The name of the far host's namespace.
    pub(crate) fn there(&self) -> &str {
        &self.there
    }

    pub(crate) fn journal(&self) -> &Path {
        self.journal.path()
    }

    /// Names of records and drafts in the journal.
    pub(crate) fn journalled(&self) -> Vec<String> {
        journalled_in(self.journal())
    }

    /// Runs an agent's code on the near host.
    pub(crate) fn agent<T: Send>(&self, work: impl AsyncFnOnce(Agent) -> T + Send) -> T {
        self.agent_with(|_| {}, work)
    }

    /// As [`Lab::agent`], with more that it knows of its host.
    pub(crate) fn agent_with<T: Send>(
        &self,
        prepare: impl FnOnce(&mut Context) + Send,
        work: impl AsyncFnOnce(Agent) -> T + Send,
    ) -> T {
        netns::enter(&netns::path(&self.here), || {
            block_on(async {
                let mut context = Context::new("here".parse().expect("name"));
                prepare(&mut context);
                let (faults, reports) = Faults::open(self.journal(), context).await.expect("opens");
                work(Agent { faults, reports }).await
            })
        })
        .expect("enters")
    }

    /// A process on the near host that holds attacks (`examples/hold.rs`).
    pub(crate) fn holder(&self, arguments: &[&str], attacks: &[AttackSpec]) -> Holder {
        let specs = attacks.iter().map(|attack| serde_json::to_string(attack).expect("serialises"));
        let child = block_on(async {
            let spawn = Spawn::new(hold()).arg(self.journal()).args(arguments).args(specs).stderr(Stream::Inherit);
            spawn.netns(netns::path(&self.here)).spawn().expect("starts")
        });
        Holder { child }
    }

    /// Whether a handshake from the near host to a closed port of that address is answered.
    pub(crate) fn reaches(&self, address: IpAddr) -> bool {
        self.round_trip(address).is_some()
    }

    /// How long that takes.
    pub(crate) fn round_trip(&self, address: IpAddr) -> Option<Duration> {
        let target = SocketAddr::from((address, 7));
        self.near(|| {
            let began = Instant::now();
            match TcpStream::connect_timeout(&target, Duration::from_millis(600)) {
                Err(problem) if problem.kind() == ErrorKind::ConnectionRefused => Some(began.elapsed()),
                Err(problem) if problem.kind() == ErrorKind::TimedOut => None,
                other => panic!("neither refused nor lost: {other:?}"),
            }
        })
    }

    /// Whether a packet gets from one host to the other without any answer: out (from the near host) and in.
    pub(crate) fn passes_out_and_in(&self) -> (bool, bool) {
        let near = self.near(|| UdpSocket::bind((HERE, 0)).expect("binds"));
        let far = netns::enter(&netns::path(&self.there), || UdpSocket::bind((THERE, 0)).expect("binds"));
        let far = far.expect("enters");
        let passes = |from: &UdpSocket, to: &UdpSocket| {
            to.set_read_timeout(Some(Duration::from_millis(300))).expect("sets");
            from.send_to(b"x", to.local_addr().expect("bound")).expect("a drop must not show at the sender");
            to.recv(&mut [0; 8]).is_ok()
        };
        (passes(&near, &far), passes(&far, &near))
    }

    /// A socket here and one there, within a runtime.
    pub(crate) fn sockets(&self) -> (tokio::net::UdpSocket, tokio::net::UdpSocket) {
        let bind = |address| {
            let socket = UdpSocket::bind((address, 0)).expect("binds");
            socket.set_nonblocking(true).expect("sets");
            socket
        };
        let (near, far) = (self.near(|| bind(HERE)), self.far(|| bind(THERE)));
        let watched = |socket| tokio::net::UdpSocket::from_std(socket).expect("a socket");
        (watched(near), watched(far))
    }

    /// All that could be left in the near host's packet filter.
    pub(crate) fn filter(&self) -> String {
        // Not there before the kernel's module is, which is loaded with the first queue.
        let queues = "cat /proc/thread-self/net/netfilter/nfnetlink_queue 2>/dev/null || true";
        let script = format!("nft list ruleset; iptables-save 2>/dev/null | grep -v '^#'; {queues}");
        self.near(|| block_on(run(Spawn::new("sh").args(["-c", &script]), WITHIN))).expect("prints").text()
    }

    /// Does something on the far host.
    pub(crate) fn far<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        netns::enter(&netns::path(&self.there), work).expect("enters")
    }

    /// Does something on the near host.
    pub(crate) fn near<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        netns::enter(&netns::path(&self.here), work).expect("enters")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in [&self.here, &self.there] {
            let cleaned = netns::kill_processes(&netns::path(name)).and_then(|_| netns::delete(name));
            if let Err(problem) = cleaned {
                assert!(std::thread::panicking(), "{problem}");
            }
        }
    }
}

/// The faults of the near host, as an agent holds them.
pub(crate) struct Agent {
    pub(crate) faults: Faults,
    pub(crate) reports: mpsc::Receiver<AttackReport>,
}

impl Agent {
    /// The next report.
    pub(crate) async fn report(&mut self) -> AttackReport {
        tokio::time::timeout(WITHIN, self.reports.recv()).await.expect("in time").expect("the faults live")
    }
}

/// As [`Lab::holder`], on this host and without one of its own.
pub(crate) fn local_holder(journal: &Path, arguments: &[&str], attacks: &[AttackSpec]) -> Holder {
    let specs = attacks.iter().map(|attack| serde_json::to_string(attack).expect("serialises"));
    let spawn = Spawn::new(hold()).arg(journal).args(arguments).args(specs).stderr(Stream::Inherit);
    Holder { child: block_on(async { spawn.spawn().expect("starts") }) }
}

/// Names of records and drafts in a journal.
fn journalled_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("lists");
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| !name.ends_with(".lock")).collect()
}

/// A process that holds attacks; killed when dropped.
pub(crate) struct Holder {
    child: Child,
}

impl Holder {
    pub(crate) fn signal(&self, signal: Signal) {
        self.child.signal(signal).expect("alive");
    }

    /// Waits until it has killed itself (or was killed).
    pub(crate) fn dies(&self) {
        block_on(self.has_died());
    }

    /// The same, within a runtime.
    pub(crate) async fn has_died(&self) {
        let exit = tokio::time::timeout(WITHIN, self.child.exited()).await;
        let exit = exit.expect("dies in time").expect("watches");
        assert_eq!(exit, firedrill_host::process::Exit::Signal(Signal::SIGKILL));
        kills::count("holder of a fault");
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // Dead already in most tests.
        let _dead = self.child.signal(Signal::SIGKILL);
    }
}

/// A process to be attacked; killed when dropped.
pub(crate) struct Victim {
    child: Child,
}

impl Victim {
    pub(crate) fn new() -> Self {
        Self::running(&["-c", "exec sleep 600"])
    }

    pub(crate) fn running(script: &[&str]) -> Self {
        Self { child: Spawn::new("sh").args(script).spawn().expect("starts") }
    }

    /// In a control group.
    pub(crate) fn in_group(group: &Cgroup) -> Self {
        Self { child: Spawn::new("sleep").arg("600").cgroup(group.dir()).spawn().expect("starts") }
    }

    pub(crate) fn identity(&self) -> Identity {
        self.child.identity()
    }

    /// As the parameter `process` stands in files.
    pub(crate) fn select(&self) -> serde_json::Value {
        serde_json::json!({ "select": "pid", "pid": self.child.pid() })
    }

    pub(crate) fn state(&self) -> Option<State> {
        state(self.child.pid())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.child.signal(signal).expect("alive");
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        if let Ok(handle) = Pidfd::open(self.child.pid()) {
            let _dead = handle.signal(Signal::SIGKILL);
        }
    }
}

/// A fault of that kind on these peers, which spares nothing.
pub(crate) fn on_peers(kind: &str, peers: &[IpAddr]) -> Fault {
    let fault = Fault::new(kind).with("spare", Vec::<String>::new());
    if peers.is_empty() {
        return fault;
    }
    fault.with("peers", peers.iter().map(ToString::to_string).collect::<Vec<_>>())
}

/// An attack of 30 seconds.
pub(crate) fn attack(id: &str, fault: Fault) -> AttackSpec {
    AttackSpec { id: AttackId(id.to_owned()), fault, node: None, duration: Span::secs(30), severs_server: false }
}

pub(crate) fn id(text: &str) -> AttackId {
    AttackId(text.to_owned())
}

/// Waits for a condition, and says which one when it does not come.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < WITHIN, "{what} did not come about within {WITHIN:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    began.elapsed()
}

pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime").block_on(work)
}

/// The program `examples/hold.rs`.
fn hold() -> PathBuf {
    // …/deps/it-xxxx → …/examples/hold
    let own = std::env::current_exe().expect("has a path");
    let program = own.ancestors().nth(2).expect("in deps").join("examples/hold");
    assert!(program.exists(), "{} is built with the tests of this crate", program.display());
    program
}

/// A context that can start workers.
pub(crate) fn with_workers(journal: &Path) -> Context {
    let mut context = Context::new("here".parse().expect("name"));
    let (program, journal) = (hold(), journal.to_owned());
    context.worker = Some(Box::new(move || Spawn::new(&program).arg(&journal).arg("--as-worker")));
    context
}

/// Ids of the workers that agents with this journal have started and that are alive.
pub(crate) fn workers_of(journal: &Path) -> Vec<u32> {
    helpers_of(journal, "--as-worker")
}

/// Ids of the live processes that agents with this journal have started in that part.
pub(crate) fn helpers_of(journal: &Path, part: &str) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc").expect("lists").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let of_journal = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        words.get(1) == Some(&journal.as_os_str().as_encoded_bytes()) && words.get(2) == Some(&part.as_bytes())
    };
    pids.filter(of_journal).collect()
}

/// The journal's directory, for tests that need no hosts.
pub(crate) struct LocalAgent {
    dir: tempfile::TempDir,
}

impl LocalAgent {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("temp dir") }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// Ids of the workers that are alive.
    pub(crate) fn workers(&self) -> Vec<u32> {
        workers_of(self.dir.path())
    }

    pub(crate) fn journalled(&self) -> Vec<String> {
        journalled_in(self.dir.path())
    }

    /// A process that holds attacks, as [`Lab::holder`], on this host and within a runtime.
    pub(crate) fn holder(&self, arguments: &[&str]) -> Holder {
        Holder { child: Spawn::new(hold()).arg(self.dir.path()).args(arguments).spawn().expect("starts") }
    }

    pub(crate) async fn open(&self) -> Agent {
        self.open_with(Context::new("here".parse().expect("name"))).await
    }

    pub(crate) async fn open_with(&self, context: Context) -> Agent {
        let (faults, reports) = Faults::open(self.dir.path(), context).await.expect("opens");
        Agent { faults, reports }
    }
}
