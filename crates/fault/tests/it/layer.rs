//! A storage layer over a directory of its own, for the tests of storage faults.

use crate::lab::{WITHIN, block_on, eventually};
use firedrill_fault::storage::{Layer, Status};
use firedrill_host::fuse;
use firedrill_host::process::{Identity, Pidfd, Signal, Spawn};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A mounted layer; taken off when dropped, and its processes with it.
pub(crate) struct Mounted {
    dir: tempfile::TempDir,
    pub(crate) layer: Layer,
}

impl Mounted {
    pub(crate) fn new() -> Self {
        Self::over(tempfile::tempdir().expect("temp dir"))
    }

    /// Over the directory `data` in this one, which is made when missing.
    pub(crate) fn over(dir: tempfile::TempDir) -> Self {
        std::fs::create_dir_all(dir.path().join("data")).expect("makes");
        let (own, point) = (dir.path().join("layer"), dir.path().join("data"));
        let layer = block_on(Layer::mount(&program, &own, &point)).expect("mounts");
        Self { dir, layer }
    }

    /// A path below the mount point.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.layer.point().join(name)
    }

    /// The directory beside the layer's and the mount point.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn status(&self) -> Status {
        block_on(self.layer.status()).expect("answers")
    }

    /// Gives a command that must succeed.
    pub(crate) fn ask(&self, command: &str) -> String {
        let answer = block_on(self.layer.ask_raw(command)).expect("answers");
        assert!(!answer.contains("\"failed\""), "{command}: {answer}");
        answer
    }

    /// Puts a rule in force; `rule` is the disturbance and whatever else, as JSON fields.
    pub(crate) fn put(&self, id: &str, lease: &str, rule: &str) {
        self.ask(&format!(r#"{{"command":"put","lease":"{lease}","rule":{{"id":"{id}",{rule}}}}}"#));
    }

    pub(crate) fn remove(&self, id: &str) {
        self.ask(&format!(r#"{{"command":"remove","id":"{id}"}}"#));
    }

    /// Keeps what a power loss needs, for a minute.
    pub(crate) fn arm(&self) {
        self.put("armed", "60s", r#""disturbance":{"what":"keep"}"#);
    }

    /// Cuts the power; this process, which may have files open, is spared.
    pub(crate) fn cut(&self) -> String {
        static CUTS: AtomicU32 = AtomicU32::new(0);
        let (id, own) = (CUTS.fetch_add(1, Ordering::Relaxed), std::process::id());
        self.ask(&format!(r#"{{"command":"cut","id":"{id}","spare":[{own}]}}"#))
    }

    /// Kills the server.
    pub(crate) fn kill_server(&self) -> u32 {
        let server = self.status().server;
        kill(server);
        server
    }

    /// Kills the guardian, and waits for the next one.
    pub(crate) fn replace_guardian(&self) -> u32 {
        let old = self.status().guardian;
        kill(old);
        eventually("the next guardian", || {
            let status = self.status();
            status.guarded && status.guardian != old
        });
        self.status().guardian
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let status = block_on(self.layer.status());
        let unmounted = block_on(self.layer.unmount());
        // Whatever the test has left open, its processes go.
        for pid in status.into_iter().flat_map(|status| [status.guardian, status.server]) {
            if Identity::of(pid).is_ok_and(|process| process.alive()) && pid > 1 {
                kill(pid);
            }
        }
        assert!(unmounted.is_ok() || std::thread::panicking(), "{unmounted:?}");
        let left = fuse::mounts().unwrap_or_default();
        let left = left.iter().any(|mount| mount.point == self.layer.point());
        assert!(!left || std::thread::panicking(), "the mount is gone");
    }
}

pub(crate) fn kill(pid: u32) {
    if let Ok(process) = Pidfd::open(pid) {
        let _dead = process.signal(Signal::SIGKILL);
    }
}

/// `examples/layer.rs`, which is built beside the tests.
pub(crate) fn program() -> Spawn {
    let own = std::env::current_exe().expect("known");
    Spawn::new(own.ancestors().nth(2).expect("in deps").join("examples/layer"))
}

/// Starts a MariaDB server on a directory and waits until it answers.
pub(crate) struct Database {
    child: firedrill_host::process::Child,
    socket: PathBuf,
}

impl Database {
    /// A fresh data directory, made once per test process and copied.
    pub(crate) fn install(into: &Path) {
        // Temporary tables in a place of its own: a server that starts removes those that it finds in a shared one.
        let temporary = tempfile::tempdir().expect("a directory");
        let script = format!(
            "chown mysql {1} && mariadb-install-db --no-defaults --datadir={0} --tmpdir={1} --user=mysql \
             --auth-root-authentication-method=normal --skip-test-db >&2",
            into.display(),
            temporary.path().display()
        );
        run("sh", &["-c", &script]);
    }

    pub(crate) fn start(data: &Path, socket: &Path, settings: &[&str]) -> Self {
        let child = Spawn::new("mariadbd")
            .arg("--no-defaults")
            .arg("--user=mysql")
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--socket={}", socket.display()))
            .arg(format!("--pid-file={}.pid", socket.display()))
            .arg(format!("--log-error={}.err", socket.display()))
            .args(["--skip-networking", "--performance-schema=off", "--server-id=1", "--log-bin=binlog"])
            .args(["--innodb-buffer-pool-size=16M", "--innodb-log-file-size=4M"])
            .args(settings)
            .spawn()
            .expect("starts");
        let database = Self { child, socket: socket.to_owned() };
        let began = Instant::now();
        while database.query("select 1").is_err() {
            let log = || std::fs::read_to_string(format!("{}.err", socket.display())).unwrap_or_default();
            assert!(database.child.identity().alive(), "the database ended: {}", log());
            assert!(began.elapsed() < WITHIN, "the database does not answer: {}", log());
            std::thread::sleep(Duration::from_millis(5));
        }
        database
    }

    pub(crate) fn query(&self, statements: &str) -> Result<String, String> {
        let client = Spawn::new("mariadb").args(["--no-defaults", "-uroot", "-N", "-B"]);
        let client = client.arg(format!("--socket={}", self.socket.display()));
        let input = format!("{statements};\n").into_bytes();
        let output = block_on(firedrill_host::process::run_with_input(client, input, WITHIN));
        output.map(|output| output.text()).map_err(|problem| problem.full())
    }

    pub(crate) fn identity(&self) -> Identity {
        self.child.identity()
    }

    pub(crate) fn kill(&self) {
        let _dead = self.child.signal(Signal::SIGKILL);
        self.gone();
    }

    pub(crate) fn gone(&self) {
        let exit = block_on(async { tokio::time::timeout(WITHIN, self.child.exited()).await });
        exit.expect("ends in time").expect("watched");
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _dead = self.child.signal(Signal::SIGKILL);
        if !std::thread::panicking() {
            self.gone();
        }
    }
}

pub(crate) fn run(program: &str, arguments: &[&str]) {
    let spawn = Spawn::new(program).args(arguments);
    block_on(firedrill_host::process::run(spawn, Duration::from_secs(60))).expect("runs");
}
