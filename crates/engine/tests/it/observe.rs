//! Looking: what is seen of a live, a hung, a killed server.

use crate::fleet::{Fleet, application, ask, name, pid, query, seen, signal};
use firedrill_engine::Instance;
use firedrill_engine::install::Settings;
use firedrill_host::process::{Signal, Spawn, run};
use firedrill_model::observation::{ProcessState, Receiver};
use firedrill_model::{NodeCommand, Span};
use mysql_async::prelude::Queryable as _;
use std::time::{Duration, Instant};

#[tokio::test]
async fn semi_sync_comes_up_and_is_seen_on_both_sides() {
    let fleet = Fleet::replicating(3).await;
    let primary = seen(&fleet.nodes[0], "two ackers", |look| {
        look.status.as_ref().is_some_and(|status| status.semi_sync.ackers_connected == 2)
    })
    .await
    .status
    .expect("answers");
    assert!(!primary.read_only && primary.semi_sync.primary_active && !primary.semi_sync.acker_enabled);
    assert_eq!((primary.server_id, primary.replication), (1, None));
    let replica = seen(&fleet.nodes[1], "an active acker", |look| {
        look.status.as_ref().is_some_and(|status| status.semi_sync.acker_active && !status.position.is_empty())
    })
    .await
    .status
    .expect("answers");
    assert!(replica.read_only && !replica.semi_sync.primary_enabled);
    let replication = replica.replication.expect("follows");
    assert_eq!(replication.source, fleet.nodes[0].config().endpoint);
    assert_eq!((replication.receiver, replication.applier_running), (Receiver::Connected, true));
    assert!(replication.received.covers(&replication.applied));
}

#[tokio::test]
async fn the_write_heartbeat_runs_where_writes_are_taken_and_only_there() {
    let fleet = Fleet::replicating(2).await;
    let beats = |look: &firedrill_model::NodeObservation| {
        look.status.as_ref().is_some_and(|status| status.write_heartbeat_age.is_some())
    };
    seen(&fleet.nodes[0], "a heartbeat", beats).await;
    assert!(!beats(&fleet.nodes[1].observe().await));
    // Without an acker no write is acknowledged: the age grows.
    query(&fleet.nodes[1], "STOP SLAVE").await;
    seen(&fleet.nodes[0], "an old heartbeat and a waiting session", |look| {
        look.status.as_ref().is_some_and(|status| {
            status.write_heartbeat_age.is_some_and(|age| age > Span::secs(1)) && status.semi_sync.waiting_sessions > 0
        })
    })
    .await;
}

/// A volume of 4 MiB, in memory, that the server's user may write to.
struct SmallVolume(tempfile::TempDir);

impl SmallVolume {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let options = "size=4m,uid=mysql,gid=mysql";
        let mount = Spawn::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(dir.path());
        run(mount, Duration::from_secs(10)).await.expect("these tests need root (mount)");
        Self(dir)
    }

    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.path().join("logs-of-somebody")).expect("there is room");
        while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    }
}

impl Drop for SmallVolume {
    fn drop(&mut self) {
        // The server was just killed and may still have files there open.
        nix::mount::umount2(self.0.path(), nix::mount::MntFlags::MNT_DETACH).expect("mounted");
    }
}

#[tokio::test]
async fn a_binary_log_without_room_is_told_by_the_server_itself() {
    let volume = SmallVolume::new().await;
    let log = format!("log-bin={}/binlog", volume.0.path().display());
    let fleet = Fleet::start_with(1, &Settings { extra: vec![log], ..Settings::default() }).await;
    let node = &fleet.nodes[0];
    ask(node, NodeCommand::Open { node: name(node), semi_sync: false }).await.expect("opens");
    query(node, "CREATE TABLE shop.t (id BIGINT PRIMARY KEY AUTO_INCREMENT, text TEXT)").await;
    seen(node, "no trouble", |look| look.status.is_some() && look.disk_trouble.is_none()).await;
    volume.fill();
    // More than the rest of the page that the log is at the end of.
    let stuck = tokio::time::timeout(
        Duration::from_secs(1),
        query(node, "INSERT INTO shop.t (text) VALUES (REPEAT('x', 20000))"),
    );
    assert!(stuck.await.is_err(), "there was room");
    let look = seen(node, "no room", |look| look.disk_trouble.is_some()).await;
    let trouble = look.disk_trouble.expect("seen");
    assert!(trouble.problem.contains("wait for someone to free space"), "{trouble:?}");
    assert!(look.status.is_some(), "it answers all the same");
}

#[tokio::test]
async fn what_arrives_from_the_source_is_heard() {
    let fleet = Fleet::replicating(2).await;
    let last_heard = |look: &firedrill_model::NodeObservation| {
        look.status
            .as_ref()
            .and_then(|status| status.replication.as_ref())
            .and_then(|replication| replication.last_heard)
    };
    // An idle source sends a heartbeat each 500 ms.
    for _ in 0..10 {
        let heard = last_heard(&seen(&fleet.nodes[1], "a look", |look| look.status.is_some()).await).expect("follows");
        assert!(heard < Span::millis(900), "{heard}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    signal(&fleet.nodes[0], Signal::SIGSTOP).await;
    seen(&fleet.nodes[1], "silence", |look| last_heard(look).is_some_and(|heard| heard > Span::millis(1500))).await;
}

#[tokio::test]
async fn a_hung_server_never_holds_the_observer_up() {
    let fleet = Fleet::start(1).await;
    let node = &fleet.nodes[0];
    seen(node, "an answer", |look| look.status.is_some()).await;
    signal(node, Signal::SIGSTOP).await;
    let begun = Instant::now();
    let mut longest = Duration::ZERO;
    let mut last = Span::ZERO;
    // Past the moment at which a question is given up and a new session is tried.
    while begun.elapsed() < Duration::from_secs(6) {
        let before = Instant::now();
        let look = node.observe().await;
        longest = longest.max(before.elapsed());
        assert!(look.status.is_none() && look.error.is_some());
        assert!(matches!(look.process, ProcessState::Running { stopped: true, .. }), "{:?}", look.process);
        assert!(look.unanswered_for >= last);
        last = look.unanswered_for;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(longest < Duration::from_millis(400), "one look took {longest:?}");
    assert!(last > Span::secs(5), "{last}");
    signal(node, Signal::SIGCONT).await;
    let back = seen(node, "an answer again", |look| look.status.is_some()).await;
    assert_eq!(back.unanswered_for, Span::ZERO);
}

#[tokio::test]
async fn an_exit_is_told_at_once_and_the_next_process_is_watched_too() {
    let fleet = Fleet::start(1).await;
    let node = &fleet.nodes[0];
    for _ in 0..2 {
        let running = pid(node).await;
        let watcher = tokio::spawn({
            let node = node.clone();
            async move { (node.exited().await, Instant::now()) }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        let killed = Instant::now();
        signal(node, Signal::SIGKILL).await;
        let (exited, at) = watcher.await.expect("no panic");
        assert_eq!(exited, running);
        assert!(at.duration_since(killed) < Duration::from_millis(500), "{:?}", at.duration_since(killed));
        assert_eq!(node.observe().await.process, ProcessState::Exited { pid: running });
        ask(node, NodeCommand::Start { node: name(node) }).await.expect("starts again");
    }
}

#[tokio::test]
async fn a_server_is_found_again_by_another_agent() {
    let fleet = Fleet::start(1).await;
    let successor = Instance::new(fleet.nodes[0].config().clone());
    assert_eq!(pid(&successor).await, pid(&fleet.nodes[0]).await);
    // Also without the file that the first one wrote.
    std::fs::remove_file(fleet.nodes[0].config().identity_file()).expect("is there");
    assert_eq!(pid(&Instance::new(fleet.nodes[0].config().clone())).await, pid(&fleet.nodes[0]).await);
}

#[tokio::test]
async fn a_session_of_the_application_cannot_write_to_a_replica() {
    let fleet = Fleet::replicating(2).await;
    let mut conn = application(&fleet.nodes[1]).await.expect("connects");
    let refused = conn.query_drop("INSERT INTO shop.t (token) VALUES ('x')").await.expect_err("read-only");
    assert!(refused.to_string().contains("read-only"), "{refused}");
}
