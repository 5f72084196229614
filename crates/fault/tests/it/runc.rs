//! Real containers, run by runc, with the programs of this host and no image: joined to the lab's far host by a cable, or
//! sharing the network of its near one.

use crate::lab::{Lab, WITHIN, block_on, eventually};
use firedrill_host::container::{self, Container};
use firedrill_host::link::Batch;
use firedrill_host::netns;
use firedrill_host::process::{Identity, Spawn, State, state};
use serde_json::json;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The main process waits for its child, and starts another one when that ends.
pub(crate) const IDLE: &str = "while :; do sleep 1000; done";
/// One that wants all processor time.
pub(crate) const BUSY: &str = "sleep 1000 & while :; do :; done";

/// A container. Removed when dropped, whatever it is doing.
pub(crate) struct RuncContainer {
    name: String,
    bundle: tempfile::TempDir,
    /// Of its own; `None` where it shares the network of the near host.
    network: Option<Network>,
    script: String,
}

struct Network {
    name: String,
    /// The far host, as the container sees it, and the container's own address.
    far: IpAddr,
    own: IpAddr,
}

impl RuncContainer {
    /// One on a cable to the far host of the lab.
    pub(crate) fn running(lab: &Lab, script: &str) -> Self {
        let (name, number) = new_name();
        let network = Network {
            name: name.clone(),
            far: IpAddr::V4(Ipv4Addr::new(10, 80, number, 1)),
            own: IpAddr::V4(Ipv4Addr::new(10, 80, number, 2)),
        };
        let it = Self {
            name,
            bundle: tempfile::tempdir().expect("temp dir"),
            network: Some(network),
            script: script.to_owned(),
        };
        it.connect(lab, number);
        it.start(lab);
        it
    }

    /// One in the network of the near host.
    pub(crate) fn on_host(lab: &Lab, script: &str) -> Self {
        let (name, _) = new_name();
        let it =
            Self { name, bundle: tempfile::tempdir().expect("temp dir"), network: None, script: script.to_owned() };
        it.start(lab);
        it
    }

    fn connect(&self, lab: &Lab, number: u8) {
        let Some(network) = &self.network else { return };
        netns::create(&network.name).expect("makes");
        let cable = format!("box{number}");
        block_on(async {
            let own = Batch::new().veth("eth0", &cable, lab.there()).address("eth0", network.own, 24).up("eth0");
            own.apply(Some(&netns::path(&network.name))).await.expect("cable");
            let far = Batch::new().address(&cable, network.far, 24).up(&cable);
            far.apply(Some(&netns::path(lab.there()))).await.expect("far end");
        });
        eventually("a cable that works before anything is done to it", || self.reaches());
    }

    /// Starts it, or starts it again after its end.
    pub(crate) fn start(&self, lab: &Lab) -> Identity {
        let root = self.bundle.path().join("rootfs");
        for dir in ["usr", "proc", "dev", "tmp"] {
            std::fs::create_dir_all(root.join(dir)).expect("makes");
        }
        for link in ["bin", "sbin", "lib", "lib64"] {
            // There from its first start.
            let _there = symlink(format!("usr/{link}"), root.join(link));
        }
        let network = self.network.as_ref().map_or_else(|| lab.here(), |network| &network.name);
        let config = json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": ["sh", "-c", self.script],
                "env": ["PATH=/usr/bin:/usr/sbin"],
                "cwd": "/",
            },
            "root": {"path": "rootfs"},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
                {"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]},
            ],
            "linux": {
                "cgroupsPath": format!("/{}", self.name),
                "namespaces": [
                    {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                    {"type": "network", "path": netns::path(network)},
                ],
            },
        });
        std::fs::write(self.bundle.path().join("config.json"), config.to_string()).expect("writes");
        let bundle = self.bundle.path().to_str().expect("UTF-8");
        assert!(
            runc(&["run", "--detach", "--bundle", bundle, &self.name]),
            "runc (apt-get install runc) runs containers"
        );
        self.init()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn found(&self) -> Container {
        container::find(&self.name).expect("runs")
    }

    pub(crate) fn init(&self) -> Identity {
        self.found().init
    }

    /// What its main process has started.
    pub(crate) fn child(&self) -> Identity {
        let init = self.init();
        let mut child = None;
        eventually("the child of the main process", || {
            child = self.found().processes().expect("runs").into_iter().find(|one| *one != init);
            child.is_some()
        });
        child.expect("found")
    }

    /// The states of its main process and of that one's child.
    pub(crate) fn states(&self) -> [Option<State>; 2] {
        [self.init(), self.child()].map(|one| state(one.pid))
    }

    /// Ends it as its runtime does, and forgets it.
    pub(crate) fn remove(&self) {
        assert!(runc(&["delete", "--force", &self.name]), "removed");
    }

    pub(crate) fn restart(&self, lab: &Lab) {
        self.remove();
        self.start(lab);
    }

    /// Whether a handshake from inside to the far host is answered.
    pub(crate) fn reaches(&self) -> bool {
        self.round_trip().is_some()
    }

    pub(crate) fn round_trip(&self) -> Option<Duration> {
        let target = SocketAddr::from((self.far(), 7));
        self.within(|| {
            let began = std::time::Instant::now();
            match TcpStream::connect_timeout(&target, Duration::from_millis(600)) {
                Err(problem) if problem.kind() == ErrorKind::ConnectionRefused => Some(began.elapsed()),
                Err(problem) if problem.kind() == ErrorKind::TimedOut => None,
                other => panic!("neither refused nor lost: {other:?}"),
            }
        })
    }

    pub(crate) fn far(&self) -> IpAddr {
        self.network.as_ref().expect("has a network of its own").far
    }

    fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let network = self.network.as_ref().expect("has a network of its own");
        netns::enter(&netns::path(&network.name), work).expect("enters")
    }

    /// The name of its network is taken away: it lasts as long as the container does.
    pub(crate) fn forget_network(&self) {
        netns::delete(&self.network.as_ref().expect("has a network of its own").name).expect("removes");
    }

    /// All that could be left in its packet filter.
    pub(crate) fn filter(&self) -> String {
        let script = "nft list ruleset; cat /proc/thread-self/net/netfilter/nfnetlink_queue 2>/dev/null || true";
        let printed =
            self.within(|| block_on(firedrill_host::process::run(Spawn::new("sh").args(["-c", script]), WITHIN)));
        printed.expect("prints").text()
    }

    /// All that could be set in its groups, in both versions.
    pub(crate) fn limits(&self) -> String {
        use firedrill_host::controller::Controller as C;
        const FILES: [&str; 12] = [
            "cpu.cfs_quota_us",
            "cpu.cfs_period_us",
            "cpu.max",
            "blkio.throttle.write_bps_device",
            "io.max",
            "memory.limit_in_bytes",
            "memory.max",
            "pids.max",
            "freezer.state",
            "cgroup.freeze",
            "cgroup.subtree_control",
            "cgroup.type",
        ];
        let found = self.found();
        let mut all = String::new();
        for controller in [C::Cpu, C::Io, C::Freezer, C::Memory, C::Pids] {
            let Some(member) = found.membership(controller).expect("runs") else { continue };
            let dir = member.group.dir();
            for file in FILES {
                let text = std::fs::read_to_string(dir.join(file));
                all.extend(text.map(|text| format!("{}/{file}: {text}", dir.display())));
            }
            // Groups made below it.
            let below = std::fs::read_dir(dir).expect("lists").flatten();
            all.extend(below.filter(|one| one.path().is_dir()).map(|one| format!("{:?}\n", one.path())));
        }
        all
    }

    /// Lets it run again behind the back of whoever froze it.
    pub(crate) fn thaw(&self) {
        assert!(runc(&["resume", &self.name]), "resumed");
    }

    /// Sets limits of its own.
    pub(crate) fn update(&self, limits: &[&str]) {
        assert!(runc(&[&["update"], limits, &[&self.name]].concat()), "updated");
    }
}

impl Drop for RuncContainer {
    fn drop(&mut self) {
        let _removed = runc(&["delete", "--force", &self.name]);
        if let Some(network) = &self.network {
            // Gone with the test.
            let _gone = netns::delete(&network.name);
        }
    }
}

/// A name that no other test of this machine has, and a number that no other of this process has.
fn new_name() -> (String, u8) {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    (format!("fdf-{}-c{number}", std::process::id()), u8::try_from(number % 250).expect("small"))
}

/// Whether runc did it. What it says goes to the test's own error stream.
fn runc(arguments: &[&str]) -> bool {
    let spawn = Spawn::new("runc").args(arguments).stderr(firedrill_host::process::Stream::Inherit);
    std::thread::scope(|scope| {
        // From inside and outside of a runtime.
        let ran = scope.spawn(|| block_on(async { spawn.spawn().expect("apt-get install runc").exited().await }));
        ran.join().expect("no panic").expect("watches").success()
    })
}
