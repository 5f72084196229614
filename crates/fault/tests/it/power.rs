//! Power loss: what was synced stays, what was not is gone, and a real database loses exactly what its settings allow.

use crate::lab::{WITHIN, eventually};
use crate::layer::{Database, Mounted, run};
use firedrill_host::process::{Child, Spawn, Stream};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

fn read(mount: &Mounted, name: &str) -> Option<String> {
    fs::read_to_string(mount.path(name)).ok()
}

/// Changes that are synced and others that are not, of every kind.
fn change(mount: &Mounted) {
    let path = |name: &str| mount.path(name);
    let file = File::options().read(true).write(true).open(path("data")).expect("opens");
    file.write_all_at(b"SYNCED", 0).expect("writes");
    file.sync_data().expect("syncs");
    file.write_all_at(b"lost", 2).expect("writes");
    file.write_all_at(b"and what is more", 20).expect("writes");
    file.set_len(4).expect("cuts");
    fs::write(path("new"), "never synced").expect("writes");
    fs::rename(path("one"), path("two")).expect("renames");
    fs::remove_file(path("three")).expect("removes");
    fs::create_dir(path("dir")).expect("makes");
}

fn prepare(mount: &Mounted) {
    for (name, text) in [("data", "0123456789"), ("one", "1"), ("two", "2"), ("three", "3")] {
        fs::write(mount.path(name), text).expect("writes");
    }
}

fn assert_as_synced(mount: &Mounted) {
    assert_eq!(read(mount, "data").as_deref(), Some("SYNCED6789"));
    let names = ["one", "two", "three", "new", "dir"].map(|name| read(mount, name));
    assert_eq!(names, [Some("1".to_owned()), Some("2".to_owned()), Some("3".to_owned()), None, None]);
    assert!(!mount.path("dir").exists());
}

#[test]
fn what_was_not_synced_is_gone() {
    let mount = Mounted::new();
    prepare(&mount);
    mount.arm();
    change(&mount);
    assert_eq!(read(&mount, "data").as_deref(), Some("SYlo"), "before the power loss all is as written");
    let lost = mount.cut();
    assert!(lost.contains("\"names\":4") && lost.contains("\"killed\":[]"), "{lost}");
    assert_as_synced(&mount);
    // It goes on: the same again, from here.
    change(&mount);
    mount.cut();
    assert_as_synced(&mount);
    mount.remove("armed");
    change(&mount);
    assert!(!mount.path(".firedrill-graveyard").exists());
    let below: Vec<_> = fs::read_dir(mount.beside("layer/kept")).expect("lists").flatten().collect();
    assert_eq!(below.len(), 1, "nothing is kept any more: {below:?}");
    assert_eq!(read(&mount, "two").as_deref(), Some("1"));
}

#[test]
fn what_was_not_synced_is_gone_also_when_servers_die() {
    let mount = Mounted::new();
    prepare(&mount);
    mount.arm();
    change(&mount);
    mount.kill_server();
    assert!(mount.status().keeps);
    mount.cut();
    assert_as_synced(&mount);
}

#[test]
fn a_new_file_that_is_synced_is_there_by_its_name_and_so_is_all_before_it() {
    let mount = Mounted::new();
    prepare(&mount);
    mount.arm();
    fs::rename(mount.path("one"), mount.path("uno")).expect("renames");
    let new = File::create(mount.path("new")).expect("creates");
    new.write_all_at(b"all of it", 0).expect("writes");
    new.sync_data().expect("syncs");
    fs::write(mount.path("later"), "x").expect("writes");
    mount.cut();
    let names = ["new", "uno", "one", "later"].map(|name| read(&mount, name));
    assert_eq!(names, [Some("all of it".to_owned()), Some("1".to_owned()), None, None]);
}

#[test]
fn a_lost_sync_is_seen_in_a_power_loss_and_only_there() {
    let mount = Mounted::new();
    prepare(&mount);
    mount.put("lose", "60s", r#""disturbance":{"what":"lose-sync"},"paths":["data"]"#);
    for name in ["data", "one"] {
        let file = File::options().write(true).open(mount.path(name)).expect("opens");
        file.write_all_at(b"new", 0).expect("writes");
        file.sync_all().expect("as if synced");
    }
    assert_eq!(read(&mount, "data").as_deref(), Some("new3456789"));
    mount.cut();
    assert_eq!(read(&mount, "data").as_deref(), Some("0123456789"));
    assert_eq!(read(&mount, "one").as_deref(), Some("new"));
}

#[test]
fn whoever_uses_it_is_killed_and_nobody_else() {
    let mount = Mounted::new();
    let script = |dir: &Path| format!("cd {}; exec sleep 600", dir.display());
    let inside = crate::lab::Victim::running(&["-c", &script(mount.layer.point())]);
    let outside = crate::lab::Victim::running(&["-c", &script(&mount.beside("layer"))]);
    let writer = format!("exec dd if=/dev/zero of={} bs=4k", mount.path("big").display());
    mount.arm();
    let writer = crate::lab::Victim::running(&["-c", &writer]);
    eventually("some data", || fs::metadata(mount.path("big")).is_ok_and(|file| file.len() > 1 << 20));
    let lost = mount.cut();
    for victim in [&inside, &writer] {
        assert!(lost.contains(&victim.identity().pid.to_string()), "{lost}");
        eventually("its end", || !victim.identity().alive());
    }
    assert!(outside.identity().alive());
    assert!(!mount.path("big").exists());
}

#[test]
fn without_anything_kept_the_power_is_not_cut() {
    let mount = Mounted::new();
    let order = r#"{"command":"cut","id":"x","spare":[]}"#;
    let answer = crate::lab::block_on(mount.layer.ask_raw(order)).expect("answers");
    assert!(answer.contains("\"failed\"") && answer.contains("kept"), "{answer}");
}

/// A data directory under a layer, with one table.
struct Bank {
    mount: Mounted,
    socket: PathBuf,
    next: u64,
}

/// How many tokens were acknowledged, and how many of them are gone.
#[derive(Debug, Clone, Copy)]
struct Toll {
    acknowledged: usize,
    /// From the table.
    rows: usize,
    /// From the binary log, which is what replicas and restored backups get.
    events: usize,
}

/// How a database ends.
#[derive(Debug, Clone, Copy)]
enum End {
    PowerLoss,
    Kill,
}

impl Bank {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temp dir");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("changes");
        Database::install(&dir.path().join("data"));
        let sockets = dir.path().join("sockets");
        run("install", &["-d", "-o", "mysql", sockets.to_str().expect("text")]);
        let socket = sockets.join("s");
        let mount = Mounted::over(dir);
        let bank = Self { mount, socket, next: 1 };
        let database = bank.start(&[]);
        database
            .query("create database bank; create table bank.token (id bigint primary key) engine=innodb")
            .expect("c");
        database.query("shutdown").expect("ends");
        database.gone();
        bank
    }

    fn start(&self, settings: &[&str]) -> Database {
        Database::start(self.mount.layer.point(), &self.socket, settings)
    }

    /// Commits tokens until the end comes, restarts, and looks what is gone.
    fn trial(&mut self, settings: &[&str], end: End) -> Toll {
        /// Enough that there is always something under way and something done.
        const ACKNOWLEDGED_MIN: usize = 150;
        let database = self.start(settings);
        let began = Instant::now();
        self.mount.arm();
        let (client, acknowledged) = self.commit_tokens();
        while lines(&acknowledged).len() < ACKNOWLEDGED_MIN {
            assert!(began.elapsed() < WITHIN, "tokens are committed");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        match end {
            End::PowerLoss => {
                let lost = self.mount.cut();
                assert!(lost.contains(&database.identity().pid.to_string()), "{lost}");
                assert!(lost.contains("\"written_back\":0"), "nothing was synced by the layer itself: {lost}");
                database.gone();
            }
            End::Kill => database.kill(),
        }
        crate::lab::block_on(client.exited()).expect("watched");
        self.mount.remove("armed");
        let acknowledged = lines(&acknowledged);
        let database = self.start(settings);
        let there = database.query(&format!("select id from bank.token where id >= {}", self.next)).expect("answers");
        let there: BTreeSet<u64> = there.lines().filter_map(|line| line.parse().ok()).collect();
        let logged = self.logged();
        let toll = Toll {
            acknowledged: acknowledged.len(),
            rows: acknowledged.iter().filter(|id| !there.contains(*id)).count(),
            events: acknowledged.iter().filter(|id| !logged.contains(*id)).count(),
        };
        self.next = acknowledged.last().copied().unwrap_or(0).max(there.last().copied().unwrap_or(0)) + 1;
        database.query("shutdown").expect("ends");
        database.gone();
        toll
    }

    /// The tokens that are in the binary log.
    fn logged(&self) -> BTreeSet<u64> {
        // Only what is looked for: the whole text of all logs is more than is kept of a tool's output.
        let script = format!(
            "cd {}; mariadb-binlog --no-defaults binlog.0* | grep -o '^insert into bank.token values ([0-9]*' || true",
            self.mount.layer.point().display()
        );
        let spawn = Spawn::new("sh").args(["-c", &script]);
        let output = crate::lab::block_on(firedrill_host::process::run(spawn, WITHIN)).expect("reads the log");
        let text = output.text();
        let statements = text.lines().filter_map(|line| line.strip_prefix("insert into bank.token values ("));
        statements.filter_map(|rest| rest.parse().ok()).collect()
    }

    /// A client that commits one token after the other and writes down each that was acknowledged.
    fn commit_tokens(&self) -> (Child, PathBuf) {
        const TOKENS: u64 = 20_000;
        let (script, acknowledged) = (self.mount.beside("script"), self.mount.beside("acknowledged"));
        let mut text = String::new();
        for id in self.next..self.next + TOKENS {
            writeln!(text, "insert into bank.token values ({id}); select {id};").expect("memory");
        }
        fs::write(&script, text).expect("writes");
        let input = OwnedFd::from(File::open(&script).expect("opens"));
        let output = OwnedFd::from(File::create(&acknowledged).expect("creates"));
        let client = Spawn::new("mariadb")
            .args(["--no-defaults", "-uroot", "-N", "-B", "-n"])
            .arg(format!("--socket={}", self.socket.display()))
            .stdin(Stream::Fd(input))
            .stdout(Stream::Fd(output));
        (client.spawn().expect("starts"), acknowledged)
    }
}

/// The tokens of a file, without a last line that is not whole.
fn lines(path: &Path) -> Vec<u64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().filter_map(|line| line.parse().ok()).collect()
}

const SAFE: &[&str] = &["--innodb-flush-log-at-trx-commit=1", "--sync-binlog=1"];

/// Power losses until one must have taken something: most do.
const CUTS_MAX: u32 = 6;

/// Settings that lose acknowledged transactions in a power loss, each for its own reason.
const UNSAFE: [&[&str]; 4] = [
    &["--innodb-flush-log-at-trx-commit=2", "--sync-binlog=1"],
    &["--innodb-flush-log-at-trx-commit=0", "--sync-binlog=1"],
    &["--innodb-flush-log-at-trx-commit=1", "--sync-binlog=0"],
    &["--innodb-flush-log-at-trx-commit=2", "--sync-binlog=0"],
];

#[test]
fn a_database_with_safe_settings_loses_nothing_in_fifty_power_losses() {
    const TIMES: usize = 50;
    let mut bank = Bank::new();
    let mut all = 0;
    for time in 0..TIMES {
        let toll = bank.trial(SAFE, End::PowerLoss);
        assert_eq!((toll.rows, toll.events), (0, 0), "power loss {time}: {toll:?}");
        all += toll.acknowledged;
    }
    let _told = writeln!(std::io::stdout(), "{TIMES} power losses, {all} acknowledged tokens, 0 lost");
}

#[test]
fn a_power_loss_finds_unsafe_settings_and_a_kill_does_not() {
    let mut bank = Bank::new();
    for settings in UNSAFE {
        // With 0 the server itself holds the log back for up to a second, so that even a kill finds it.
        let survives_a_kill = !settings.contains(&"--innodb-flush-log-at-trx-commit=0");
        let killed = bank.trial(settings, End::Kill);
        let mut cut = bank.trial(settings, End::PowerLoss);
        for _ in 1..CUTS_MAX {
            // With 0 the server flushes once in a second: a cut right after that takes nothing.
            if survives_a_kill || cut.rows > 0 {
                break;
            }
            cut = bank.trial(settings, End::PowerLoss);
        }
        let _told = writeln!(std::io::stdout(), "{settings:?}: in a kill {killed:?}, in a power loss {cut:?}");
        assert!(killed.rows == 0 && killed.events == 0 || !survives_a_kill, "{settings:?}: {killed:?}");
        let synced = settings.contains(&"--sync-binlog=1");
        // Without a synced binary log it is the log that loses; the rows are synced by the next transaction.
        let lost = if synced { cut.rows } else { cut.events };
        assert!(lost > 0, "{settings:?}: {cut:?}");
    }
}

#[test]
fn a_database_does_not_notice_that_servers_die() {
    const KILLS: usize = 30;
    let mut bank = Bank::new();
    let database = bank.start(SAFE);
    let (client, acknowledged) = bank.commit_tokens();
    for _ in 0..KILLS {
        let before = lines(&acknowledged).len();
        let killed = bank.mount.kill_server();
        eventually("more commits", || lines(&acknowledged).len() > before + 1);
        assert_ne!(bank.mount.status().server, killed);
    }
    assert!(client.identity().alive(), "the client has seen no error");
    client.signal(firedrill_host::process::Signal::SIGKILL).expect("alive");
    let count = database.query("select count(*) from bank.token").expect("answers").trim().parse::<usize>();
    assert!(count.expect("a number") >= lines(&acknowledged).len());
    let log = fs::read_to_string(format!("{}.err", bank.socket.display())).expect("reads");
    assert!(!log.contains("[ERROR]"), "{log}");
    bank.next = u64::MAX;
}
