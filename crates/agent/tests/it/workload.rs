//! Loads: started once, followed, found again, their history sent.

use crate::agent::{Agent, config};
use crate::link_server::{Heard, LinkServer, instruction};
use firedrill_api::link::{Answer, Order, Upward};
use firedrill_model::workload::{Load, Login, WorkloadSpec, WorkloadState};
use firedrill_model::{Endpoint, RunId};
use std::path::Path;

const RUN: &str = "run-1";

/// Stands for the workload process: samples until the stop file appears, then a history.
const SCRIPT: &str = r#"
dir=$2
echo started >>"$dir/starts"
state() { echo "$1" >"$dir/state.tmp"; mv "$dir/state.tmp" "$dir/state.json"; }
state '{"state":"started"}'
at=0
while [ ! -e "$dir/stop" ]; do
  [ $at -lt 3000 ] || exit 9
  at=$((at + 1))
  echo '{"at":'$at',"over":"50ms","writes_ok":1,"writes_failed":0,"writes_unknown":0,"reads_ok":0,"reads_failed":0,"write_p50":null,"write_p99":null,"acknowledged_total":'$at'}' >>"$dir/samples.ndjson"
  sleep 0.02
done
state '{"state":"final_reads"}'
sleep 0.3
head -c 300000 /dev/zero >"$dir/history.fdh"
state '{"state":"finished","history":"here","operations":7}'
"#;

fn start() -> Order {
    let endpoint = Endpoint { address: "127.0.0.1".parse().expect("an address"), port: 9 };
    Order::StartWorkload {
        workload: Box::new(WorkloadSpec {
            run: RunId(RUN.to_owned()),
            load: Load::default(),
            gateway: endpoint,
            nodes: vec![],
            login: Login { user: "u".to_owned(), password: "p".to_owned(), database: "d".to_owned() },
        }),
    }
}

fn stop() -> Order {
    Order::StopWorkload { run: RunId(RUN.to_owned()) }
}

fn samples(heard: &Heard) -> Vec<i64> {
    let at = |item: &Upward| match item {
        Upward::Sample { sample, .. } => Some(sample.at.0),
        _ => None,
    };
    heard.items.iter().filter_map(at).collect()
}

fn states(heard: &Heard) -> Vec<WorkloadState> {
    let state = |item: &Upward| match item {
        Upward::Workload { state, .. } => Some(state.clone()),
        _ => None,
    };
    heard.items.iter().filter_map(state).collect()
}

fn ended(heard: &Heard) -> Option<WorkloadState> {
    states(heard)
        .into_iter()
        .find(|state| matches!(state, WorkloadState::Finished { .. } | WorkloadState::Failed { .. }))
}

fn with_script(dir: &Path, script: &str) {
    std::fs::write(dir.join("workload.sh"), script).expect("written");
}

#[tokio::test]
async fn a_load_is_followed_across_a_killed_agent_and_its_history_is_sent() {
    let dir = tempfile::tempdir().expect("temp dir");
    with_script(dir.path(), SCRIPT);
    let server = LinkServer::start().await;
    let agent = Agent::start(config(&server, dir.path()));
    server.connected().await;
    server.send(instruction("start", 1, start()));
    assert_eq!(server.answer("start", 1).await, Ok(Answer::Done));
    server.until("samples", |heard| (samples(heard).len() > 5).then_some(())).await;
    agent.kill().await;

    let agent = Agent::start(config(&server, dir.path()));
    server.until("another hello", |heard| heard.hellos.get(1).map(|_| ())).await;
    server.connected().await;
    // The server was killed too and asks under another id.
    server.send(instruction("start again", 1, start()));
    assert_eq!(server.answer("start again", 1).await, Ok(Answer::Done));
    let before = samples(&server.shared.heard.lock().expect("lock")).len();
    server.until("more samples", |heard| (samples(heard).len() > before + 5).then_some(())).await;
    server.send(instruction("stop", 1, stop()));
    assert_eq!(server.answer("stop", 1).await, Ok(Answer::Done));

    let end = server.until("the end", ended).await;
    assert_eq!(end, WorkloadState::Finished { history: "here".to_owned(), operations: 7 });
    {
        let heard = server.shared.heard.lock().expect("lock");
        assert_eq!(heard.histories[RUN], vec![0; 300_000], "the history is there before its end is said");
        let seen = samples(&heard);
        assert!(seen.is_sorted() && seen.windows(2).all(|pair| pair[0] != pair[1]), "each sample once: {seen:?}");
        assert!(states(&heard).contains(&WorkloadState::FinalReads));
    }
    let starts = std::fs::read_to_string(dir.path().join("agent/workloads/run-run-1/starts")).expect("written");
    assert_eq!(starts, "started\n", "one process only");
    agent.stop().await;
}

#[tokio::test]
async fn a_load_that_ended_while_no_agent_lived_is_still_sent() {
    let dir = tempfile::tempdir().expect("temp dir");
    with_script(dir.path(), SCRIPT);
    let server = LinkServer::start().await;
    let agent = Agent::start(config(&server, dir.path()));
    server.connected().await;
    server.send(instruction("start", 1, start()));
    server.until("samples", |heard| (!samples(heard).is_empty()).then_some(())).await;
    agent.kill().await;
    let run_dir = dir.path().join("agent/workloads/run-run-1");
    std::fs::write(run_dir.join("stop"), "").expect("asked to stop");
    for _ in 0..500 {
        if std::fs::read_to_string(run_dir.join("state.json")).is_ok_and(|state| state.contains("finished")) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let agent = Agent::start(config(&server, dir.path()));
    assert!(matches!(server.until("the end", ended).await, WorkloadState::Finished { .. }));
    assert!(server.shared.heard.lock().expect("lock").histories.contains_key(RUN));
    agent.stop().await;
}

#[tokio::test]
async fn a_load_that_breaks_down_says_its_last_words() {
    let dir = tempfile::tempdir().expect("temp dir");
    with_script(dir.path(), "echo 'no such database' >&2\nexit 3");
    let server = LinkServer::start().await;
    let agent = Agent::start(config(&server, dir.path()));
    server.connected().await;
    server.send(instruction("start", 1, start()));
    match server.until("the end", ended).await {
        WorkloadState::Failed { message } => {
            assert!(message.contains("status 3") && message.contains("no such database"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    agent.stop().await;
}

#[tokio::test]
async fn a_dropped_load_leaves_nothing() {
    let dir = tempfile::tempdir().expect("temp dir");
    with_script(dir.path(), SCRIPT);
    let server = LinkServer::start().await;
    let agent = Agent::start(config(&server, dir.path()));
    server.connected().await;
    server.send(instruction("start", 1, start()));
    server.until("samples", |heard| (!samples(heard).is_empty()).then_some(())).await;
    let run_dir = dir.path().join("agent/workloads/run-run-1");
    let process = firedrill_host::process::Identity::load(&run_dir.join("identity")).expect("read").expect("there");
    server.send(instruction("drop", 1, Order::DropWorkload { run: RunId(RUN.to_owned()) }));
    assert_eq!(server.answer("drop", 1).await, Ok(Answer::Done));
    assert!(!process.alive());
    assert!(!run_dir.exists());
    assert!(server.shared.heard.lock().expect("lock").histories.is_empty());
    server.send(instruction("drop again", 1, Order::DropWorkload { run: RunId(RUN.to_owned()) }));
    assert_eq!(server.answer("drop again", 1).await, Ok(Answer::Done));
    agent.stop().await;
}
