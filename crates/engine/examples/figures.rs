//! Measures what the engine costs and how fast it is, against real servers on loopback; run as root:
//! `cargo run -p firedrill-engine --example figures [MEBIBYTES]`.

#![allow(clippy::print_stdout, reason = "its purpose")]
#![expect(dead_code, reason = "the test fleet has more than is used here")]

#[path = "../tests/it/fleet.rs"]
mod fleet;

use firedrill_engine::Instance;
use firedrill_host::process::{Spawn, Stream, run};
use firedrill_model::{NodeCommand, NodeReply, Span};
use fleet::{Fleet, ask, name, operation, query};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(600);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mebibytes = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1024u64);
    let begun = Instant::now();
    let fleet = Fleet::replicating(3).await;
    println!("three nodes placed, started, replicating: {:?}", begun.elapsed());
    observation(&fleet.nodes[1]).await;
    follow(&fleet).await;
    clone(&fleet, mebibytes).await;
}

/// Processor time of this process, all threads, also those that have ended; in steps of 10 ms.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").expect("this process");
    let (_, fields) = text.rsplit_once(')').expect("a command");
    let ticks = fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number"));
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

async fn observation(replica: &Instance) {
    const LOOKS: u32 = 400;
    replica.observe().await;
    let before = processor_time();
    for _ in 0..LOOKS {
        replica.observe().await;
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let each = (processor_time() - before) / LOOKS;
    println!("one observation: {each:?} of processor, 4 a second: {:.2} % of a core", each.as_secs_f64() * 400.0);
}

async fn follow(fleet: &Fleet) {
    let [primary, left, right] = &fleet.nodes[..] else { panic!("three nodes") };
    for round in 0..6 {
        let source = if round % 2 == 0 { left } else { primary };
        let begun = Instant::now();
        let command = NodeCommand::Follow { node: name(right), source: source.config().endpoint, acker: true };
        ask(right, command).await.expect("follows");
        println!("follow: {:?}", begun.elapsed());
    }
}

async fn clone(fleet: &Fleet, mebibytes: u64) {
    let [primary, donor, recipient] = &fleet.nodes[..] else { panic!("three nodes") };
    fill(primary, mebibytes).await;
    let until = position_of(primary).await;
    donor.carry_out(NodeCommand::AwaitPosition { node: name(donor), until }, LONG.into()).await.expect("arrives");
    for round in 0..3 {
        println!("plain: {:?}", plain(donor, round).await);
        let operation = operation(&format!("figures-{round}"));
        let receive = NodeCommand::CloneReceive { node: name(recipient), operation: operation.clone() };
        let NodeReply::Listening { at, token } = ask(recipient, receive).await.expect("listens") else {
            panic!("not listening")
        };
        let send = NodeCommand::CloneSend { node: name(donor), operation: operation.clone(), to: at, token };
        let NodeReply::Copied { bytes, took } = donor.carry_out(send, LONG.into()).await.expect("copies") else {
            panic!("not copied")
        };
        println!("clone: {took} for {} MiB", bytes >> 20);
        let begun = Instant::now();
        let prepare = NodeCommand::ClonePrepare { node: name(recipient), operation: operation.clone() };
        recipient.carry_out(prepare, Span(LONG)).await.expect("prepares");
        println!("prepare: {:?}", begun.elapsed());
        ask(recipient, NodeCommand::CloneAbort { node: name(recipient), operation }).await.expect("aborts");
    }
}

async fn position_of(node: &Instance) -> firedrill_model::GtidPos {
    node.observe().await.status.expect("answers").position
}

async fn fill(primary: &Instance, mebibytes: u64) {
    query(primary, "CREATE TABLE shop.bulk (id BIGINT PRIMARY KEY AUTO_INCREMENT, v BLOB)").await;
    for _ in 0..mebibytes.div_ceil(16) {
        // 16 MiB of noise in rows of 8 KiB.
        query(
            primary,
            "INSERT INTO shop.bulk (v) SELECT CONCAT(RANDOM_BYTES(1024), RANDOM_BYTES(1024), RANDOM_BYTES(1024), \
             RANDOM_BYTES(1024), RANDOM_BYTES(1024), RANDOM_BYTES(1024), RANDOM_BYTES(1024), RANDOM_BYTES(1024)) \
             FROM shop.seq_1_to_2000",
        )
        .await;
    }
}

/// The same copy by the tools alone, through a pipe.
async fn plain(donor: &Instance, round: u32) -> Duration {
    let config = donor.config();
    let target = config.work_dir.join(format!("plain-{round}"));
    std::fs::create_dir_all(&target).expect("target");
    let line = format!(
        "set -o pipefail; {} --defaults-file={} --backup --stream=xbstream --user=root --socket={} --target-dir={} \
         2>/dev/null | {} -x -C {}",
        config.binaries.mariadb_backup.display(),
        config.config_file.display(),
        config.socket.display(),
        target.display(),
        config.binaries.mbstream.display(),
        target.display()
    );
    let begun = Instant::now();
    let spawn = Spawn::new("/bin/bash").args(["-c", &line]).stdout(Stream::Null);
    run(spawn, LONG).await.expect("copies");
    let took = begun.elapsed();
    std::fs::remove_dir_all(&target).expect("removed");
    took
}
