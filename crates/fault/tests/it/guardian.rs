//! The storage layer loses its processes: the guardian, the server, one after the other in any order, and both at once.

use crate::lab::{block_on, eventually};
use crate::layer::{Database, Mounted, kill, program, run};
use firedrill_fault::storage::Layer;
use firedrill_host::fuse;
use firedrill_host::process::{Pidfd, Signal};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::sync::atomic::{AtomicBool, Ordering};

/// Which of the two is killed.
#[derive(Clone, Copy)]
enum Victim {
    Guardian,
    Server,
}

/// Kills, and waits until another has taken over.
fn replace(mount: &Mounted, victim: Victim) {
    match victim {
        Victim::Guardian => {
            mount.replace_guardian();
        }
        Victim::Server => {
            let killed = mount.kill_server();
            eventually("the next server", || mount.status().server != killed);
        }
    }
}

#[test]
fn open_files_outlive_guardians_and_servers_in_any_order() {
    use Victim::{Guardian, Server};
    let mount = Mounted::new();
    let file = File::options().read(true).write(true).create_new(true).open(mount.path("f")).expect("creates");
    fs::create_dir(mount.path("dir")).expect("makes");
    let unlinked = File::options().read(true).write(true).create_new(true).open(mount.path("gone")).expect("creates");
    fs::remove_file(mount.path("gone")).expect("removes");
    let orders: [&[Victim]; 4] =
        [&[Guardian, Server], &[Server, Guardian], &[Guardian, Guardian, Server, Server], &[Server, Guardian, Server]];
    let mut written = 0_u64;
    for victim in orders.concat() {
        replace(&mount, victim);
        for open in [&file, &unlinked] {
            let mut before = [0; 8];
            open.write_all_at(&written.to_ne_bytes(), 0).expect("writes");
            open.sync_data().expect("syncs");
            open.read_exact_at(&mut before, 0).expect("reads");
            assert_eq!(u64::from_ne_bytes(before), written);
        }
        // What was opened under one guardian is there under the next.
        File::create(mount.path("dir").join(written.to_string())).expect("creates");
        written += 1;
    }
    assert_eq!(fs::read_dir(mount.path("dir")).expect("lists").count() as u64, written);
}

#[test]
fn what_is_kept_for_a_power_loss_outlives_guardians() {
    let mount = Mounted::new();
    fs::write(mount.path("data"), "0123456789").expect("writes");
    mount.arm();
    let file = File::options().write(true).open(mount.path("data")).expect("opens");
    file.write_all_at(b"SYNCED", 0).expect("writes");
    file.sync_data().expect("syncs");
    file.write_all_at(b"lost", 2).expect("writes");
    mount.replace_guardian();
    assert!(mount.status().keeps);
    replace(&mount, Victim::Server);
    mount.cut();
    assert_eq!(fs::read_to_string(mount.path("data")).expect("reads"), "SYNCED6789");
}

#[test]
fn a_guardian_is_replaced_while_an_operation_waits_in_a_delay() {
    let mount = Mounted::new();
    let file = File::create(mount.path("f")).expect("creates");
    let rule = r#""disturbance":{"what":"delay","delay":"50s","jitter":"0s"},"operations":["sync"]"#;
    mount.put("d", "60s", rule);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| file.sync_data());
        eventually("the call", || mount.status().rules[0].applied > 0);
        mount.replace_guardian();
        replace(&mount, Victim::Server);
        assert!(!waiting.is_finished());
        mount.remove("d");
        waiting.join().expect("no panic").expect("syncs");
    });
}

#[test]
fn whoever_works_on_it_does_not_notice_that_both_die_in_turn() {
    /// With a kill of either at each turn: enough for a hand-over at every step of every operation.
    const TURNS: usize = 20;
    let mount = Mounted::new();
    let done = AtomicBool::new(false);
    let churn = |thread: usize| {
        let mut rounds = 0_u64;
        while !done.load(Ordering::Relaxed) {
            let name = mount.path(&format!("{thread}-{rounds}"));
            let file = File::options().read(true).write(true).create_new(true).open(&name).expect("creates");
            file.write_all_at(&rounds.to_ne_bytes(), 4096).expect("writes");
            fs::rename(&name, name.with_extension("moved")).expect("renames");
            let mut read = [0; 8];
            file.read_exact_at(&mut read, 4096).expect("reads");
            assert_eq!(u64::from_ne_bytes(read), rounds);
            fs::remove_file(name.with_extension("moved")).expect("removes");
            rounds += 1;
        }
        rounds
    };
    let mut guardians = BTreeSet::new();
    std::thread::scope(|scope| {
        let churn = &churn;
        let threads: Vec<_> = (0..3).map(|thread| scope.spawn(move || churn(thread))).collect();
        for turn in 0..TURNS {
            guardians.insert(mount.replace_guardian());
            if turn % 2 == 0 {
                replace(&mount, Victim::Server);
            }
            if threads.iter().any(|thread| thread.is_finished()) {
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
        let rounds: u64 = threads.into_iter().map(|thread| thread.join().expect("no error at all")).sum();
        assert!(rounds > 0);
    });
    assert_eq!(guardians.len(), TURNS);
    assert_eq!(fs::read_dir(mount.path("")).expect("lists").count(), 0, "everything was done, and once");
}

#[test]
fn a_database_goes_on_when_the_guardian_dies_and_then_the_server() {
    let dir = tempfile::tempdir().expect("temp dir");
    Database::install(&dir.path().join("data"));
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("opens up");
    let sockets = dir.path().join("sockets");
    run("install", &["-d", "-o", "mysql", sockets.to_str().expect("text")]);
    let socket = sockets.join("s");
    let mount = Mounted::over(dir);
    let database = Database::start(mount.layer.point(), &socket, &[]);
    database.query("create database d; create table d.t (id int primary key) engine=innodb").expect("creates");
    for round in 0..3 {
        mount.replace_guardian();
        database.query(&format!("insert into d.t values ({})", 2 * round)).expect("commits");
        replace(&mount, Victim::Server);
        database.query(&format!("insert into d.t values ({})", 2 * round + 1)).expect("commits");
    }
    assert_eq!(database.query("select count(*) from d.t").expect("reads").trim(), "6");
}

/// The one thing that it does not survive: then calls fail at once, nothing hangs, what is below is as it was, and a new
/// layer can be mounted.
#[test]
fn when_both_die_at_once_calls_fail_and_a_new_layer_takes_the_place() {
    let mut mount = Mounted::new();
    let file = File::create(mount.path("f")).expect("creates");
    file.write_all_at(b"kept", 0).expect("writes");
    let status = mount.status();
    // Stopped, it cannot start another guardian before it is killed itself.
    Pidfd::open(status.server).expect("alive").signal(Signal::SIGSTOP).expect("stops");
    kill(status.guardian);
    kill(status.server);
    eventually("the end of the file system", || {
        // The call that is under way then gets another error.
        fs::metadata(mount.path("f")).is_err_and(|error| error.raw_os_error() == Some(libc::ENOTCONN))
    });
    assert!(file.sync_data().is_err() && file.write_all_at(b"lost", 0).is_err());
    drop(file);
    let (own, point) = (mount.beside("layer"), mount.layer.point().to_owned());
    mount.layer = block_on(Layer::mount(&program, &own, &point)).expect("mounts");
    assert_eq!(fs::read_to_string(mount.path("f")).expect("reads"), "kept");
    let over = fuse::mounts().expect("lists").into_iter().filter(|mounted| mounted.point == point).count();
    assert_eq!(over, 1, "the dead one is gone");
}
