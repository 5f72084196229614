//! A node made anew from another one, given up at any step, and gone on with by another agent.

use crate::evidence::fingerprint;
use crate::fleet::{Fleet, ask, column, name, operation, query, seen};
use firedrill_engine::Instance;
use firedrill_host::process::{Identity, Signal};
use firedrill_model::command::FailureKind;
use firedrill_model::{CommandFailure, Endpoint, GtidPos, NodeCommand, NodeReply, OperationId};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;

/// The steps of one clone, each of which can be the last.
struct Clone<'a> {
    donor: &'a Instance,
    recipient: &'a Instance,
    operation: OperationId,
}

impl Clone<'_> {
    async fn receive(&self) -> (Endpoint, String) {
        let (node, operation) = (name(self.recipient), self.operation.clone());
        match ask(self.recipient, NodeCommand::CloneReceive { node, operation }).await.expect("listens") {
            NodeReply::Listening { at, token } => (at, token),
            other => panic!("not listening: {other:?}"),
        }
    }

    async fn send(&self, to: Endpoint, token: String) -> Result<NodeReply, CommandFailure> {
        let (node, operation) = (name(self.donor), self.operation.clone());
        ask(self.donor, NodeCommand::CloneSend { node, operation, to, token }).await
    }

    async fn copy(&self) {
        let (to, token) = self.receive().await;
        match self.send(to, token).await.expect("copies") {
            NodeReply::Copied { bytes, .. } => assert!(bytes > 1 << 20, "{bytes}"),
            other => panic!("not copied: {other:?}"),
        }
    }

    async fn prepare(&self) -> GtidPos {
        let (node, operation) = (name(self.recipient), self.operation.clone());
        match ask(self.recipient, NodeCommand::ClonePrepare { node, operation }).await.expect("prepares") {
            NodeReply::Prepared { position } => position,
            other => panic!("not prepared: {other:?}"),
        }
    }

    async fn activate(&self, seed: GtidPos) {
        let (node, operation) = (name(self.recipient), self.operation.clone());
        let reply = ask(self.recipient, NodeCommand::CloneActivate { node, operation, seed: seed.clone() }).await;
        match reply.expect("activates") {
            NodeReply::Started { binlog_state, position } => {
                assert_eq!((binlog_state.position(), position), (seed.clone(), seed));
            }
            other => panic!("not started: {other:?}"),
        }
    }

    async fn finish(&self) {
        let (node, operation) = (name(self.recipient), self.operation.clone());
        ask(self.recipient, NodeCommand::CloneFinish { node, operation }).await.expect("finishes");
    }

    async fn abort(&self) {
        for node in [self.donor, self.recipient] {
            let command = NodeCommand::CloneAbort { node: name(node), operation: self.operation.clone() };
            ask(node, command).await.expect("aborts");
            assert_eq!(side_directories(node), Vec::<String>::new());
        }
    }
}

/// What a clone has left in the work directory.
fn side_directories(node: &Instance) -> Vec<String> {
    let entries = std::fs::read_dir(&node.config().work_dir).expect("work dir").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("clone-") || name.starts_with("aside-")).collect()
}

/// A primary with two replicas and some rows; the third node, with rows of its own, is to be made anew.
async fn fleet() -> Fleet {
    let fleet = Fleet::replicating(2).await;
    query(&fleet.nodes[0], "INSERT INTO shop.t (token) SELECT UUID() FROM mysql.help_topic LIMIT 500").await;
    fleet
}

async fn with_third() -> Fleet {
    let fleet = Fleet::start(3).await;
    let [primary, replica, third] = &fleet.nodes[..] else { panic!("three nodes") };
    ask(primary, NodeCommand::Open { node: name(primary), semi_sync: true }).await.expect("opens");
    let source = primary.config().endpoint;
    ask(replica, NodeCommand::Follow { node: name(replica), source, acker: true }).await.expect("follows");
    query(primary, "CREATE TABLE shop.t (id BIGINT PRIMARY KEY AUTO_INCREMENT, token VARCHAR(64) UNIQUE)").await;
    query(primary, "INSERT INTO shop.t (token) SELECT UUID() FROM mysql.help_topic LIMIT 500").await;
    query(third, "CREATE TABLE shop.own (id INT PRIMARY KEY)").await;
    fleet
}

async fn joined(fleet: &Fleet, donor: usize) {
    let [primary, _, third] = &fleet.nodes[..] else { panic!("three nodes") };
    let source = primary.config().endpoint;
    query(primary, "INSERT INTO shop.t (token) VALUES ('after the copy')").await;
    ask(third, NodeCommand::Follow { node: name(third), source, acker: false }).await.expect("follows");
    let until = fingerprint(primary).await.position;
    ask(third, NodeCommand::AwaitPosition { node: name(third), until }).await.expect("catches up");
    assert_eq!(fingerprint(primary).await.tables, fingerprint(third).await.tables, "cloned from node {donor}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clone_of_a_replica_or_of_the_primary_joins_and_is_equal() {
    for donor in [1, 0] {
        let fleet = with_third().await;
        let clone = Clone { donor: &fleet.nodes[donor], recipient: &fleet.nodes[2], operation: operation("test-7") };
        clone.copy().await;
        let seed = clone.prepare().await;
        assert!(!seed.is_empty());
        assert_eq!(clone.prepare().await, seed, "asked twice");
        clone.activate(seed.clone()).await;
        clone.activate(seed).await;
        joined(&fleet, donor).await;
        clone.finish().await;
        clone.finish().await;
        assert_eq!(side_directories(&fleet.nodes[2]), Vec::<String>::new());
        joined_again(&fleet).await;
    }
}

/// The clone can feed another replica: what that one lacks is in its binary log.
async fn joined_again(fleet: &Fleet) {
    let [primary, replica, third] = &fleet.nodes[..] else { panic!("three nodes") };
    let source = third.config().endpoint;
    query(primary, "SET GLOBAL rpl_semi_sync_master_enabled=0").await;
    ask(replica, NodeCommand::Follow { node: name(replica), source, acker: false }).await.expect("follows the clone");
    query(primary, "INSERT INTO shop.t (token) VALUES ('through the clone')").await;
    let until = fingerprint(primary).await.position;
    ask(replica, NodeCommand::AwaitPosition { node: name(replica), until }).await.expect("arrives");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clone_is_given_up_at_every_step_and_the_old_data_is_back() {
    let fleet = with_third().await;
    let [_, donor, third] = &fleet.nodes[..] else { panic!("three nodes") };
    for last in 0..=3 {
        let clone = Clone { donor, recipient: third, operation: operation(&format!("test-{last}")) };
        if last == 0 {
            clone.receive().await;
        }
        if last >= 1 {
            clone.copy().await;
        }
        let seed = if last >= 2 { Some(clone.prepare().await) } else { None };
        if last >= 3 {
            clone.activate(seed.expect("prepared")).await;
        }
        clone.abort().await;
        clone.abort().await;
        ask(third, NodeCommand::Start { node: name(third) }).await.expect("starts on its old data");
        assert_eq!(column(third, "SHOW TABLES IN shop").await, ["own"], "given up after step {last}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_agent_goes_on_after_each_step() {
    let fleet = with_third().await;
    let donor = Instance::new(fleet.nodes[1].config().clone());
    let recipients: Vec<Instance> = (0..6).map(|_| Instance::new(fleet.nodes[2].config().clone())).collect();
    let by = |agent: usize| Clone { donor: &donor, recipient: &recipients[agent], operation: operation("test-9") };
    by(0).receive().await;
    by(1).copy().await;
    let seed = by(2).prepare().await;
    by(3).activate(seed.clone()).await;
    by(4).activate(seed).await;
    joined(&fleet, 1).await;
    by(5).finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_without_the_token_is_sent_away_and_steps_out_of_order_are_refused() {
    let fleet = fleet().await;
    let [donor, recipient] = &fleet.nodes[..] else { panic!("two nodes") };
    let clone = Clone { donor, recipient, operation: operation("test-1") };
    let prepare = NodeCommand::ClonePrepare { node: name(recipient), operation: clone.operation.clone() };
    assert_eq!(ask(recipient, prepare.clone()).await.expect_err("not begun").kind, FailureKind::Invalid);
    let (to, token) = clone.receive().await;
    assert_eq!(ask(recipient, prepare).await.expect_err("nothing has come").kind, FailureKind::Invalid);
    let mut stranger = tokio::net::TcpStream::connect((to.address, to.port)).await.expect("connects");
    stranger.write_all(b"firedrill-clone-1 0000\nrubbish").await.expect("writes");
    let failure = clone.send(to, "wrong".into()).await.expect_err("is not taken");
    assert_eq!(failure.kind, FailureKind::Failed, "{failure}");
    clone.send(to, token).await.expect("the right one is still awaited");
    clone.abort().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_donor_that_dies_in_the_middle_leaves_no_copy_and_no_process() {
    let fleet = with_third().await;
    let [_, donor, third] = &fleet.nodes[..] else { panic!("three nodes") };
    let clone = Clone { donor, recipient: third, operation: operation("test-4") };
    let (to, token) = clone.receive().await;
    // The recipient's tool is held, so that the copy cannot end.
    let receive = third.config().work_dir.join("clone-test-4/receive.identity");
    let send = donor.config().work_dir.join("clone-test-4/send.identity");
    let killer = async {
        let receiver = running(&receive).await;
        receiver.open().expect("opens").expect("runs").signal(Signal::SIGSTOP).expect("held");
        let sender = running(&send).await;
        sender.open().expect("opens").expect("runs").signal(Signal::SIGKILL).expect("killed");
        receiver.open().expect("opens").expect("runs").signal(Signal::SIGCONT).expect("goes on");
        receiver
    };
    let (sent, receiver) = tokio::join!(clone.send(to, token), killer);
    let failure = sent.expect_err("the tool was killed");
    assert!(failure.message.contains("SIGKILL"), "{failure}");
    let begun = Instant::now();
    while receiver.alive() {
        assert!(begun.elapsed() < Duration::from_secs(10), "the recipient's tool still runs");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let prepare = NodeCommand::ClonePrepare { node: name(third), operation: clone.operation.clone() };
    let failure = ask(third, prepare).await.expect_err("half a copy is no copy");
    assert_eq!(failure.kind, FailureKind::Invalid, "{failure}");
    clone.abort().await;
    seen(third, "the untouched server", |look| look.status.is_some()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_that_a_lost_agent_left_running_is_ended_by_the_next_one() {
    let fleet = fleet().await;
    let [donor, recipient] = &fleet.nodes[..] else { panic!("two nodes") };
    let lost = Clone { donor, recipient, operation: operation("test-5") };
    let (to, token) = lost.receive().await;
    let mut silent = tokio::net::TcpStream::connect((to.address, to.port)).await.expect("connects");
    silent.write_all(format!("firedrill-clone-1 {token}\n").as_bytes()).await.expect("greets");
    let receiver = running(&recipient.config().work_dir.join("clone-test-5/receive.identity")).await;
    let next = Instance::new(recipient.config().clone());
    Clone { donor, recipient: &next, operation: operation("test-5") }.abort().await;
    assert!(!receiver.alive());
}

/// The process whose identity a clone writes there, once it runs.
async fn running(file: &std::path::Path) -> Identity {
    let begun = Instant::now();
    loop {
        if let Ok(Some(identity)) = Identity::load(file) {
            return identity;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{} never came", file.display());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
