//! What workloads send.

use crate::agent::{Agent, identified, obliging};
use crate::fixture::{Fixture, until};
use crate::keeper::{register, shop};
use firedrill_api::http::Live;
use firedrill_api::link::{Order, Upward};
use firedrill_model::workload::{Sample, WorkloadState};
use firedrill_model::{RunId, Span, Timestamp};
use firedrill_server::{WorkloadItem, WorkloadNews};
use futures_util::StreamExt;
use reqwest::StatusCode;

fn run() -> RunId {
    RunId("run-1".to_owned())
}

fn sample() -> Sample {
    Sample {
        at: Timestamp(1),
        over: Span::millis(200),
        writes_ok: 7,
        writes_failed: 0,
        writes_unknown: 0,
        reads_ok: 0,
        reads_failed: 0,
        write_p50: None,
        write_p99: None,
        acknowledged_total: 7,
    }
}

#[tokio::test]
async fn samples_and_states_of_a_run_are_passed_on() {
    let fixture = Fixture::new().await;
    fixture.client.register_cluster(&register()).await.expect("registered");
    let agent = Agent::connect(&fixture, "app", obliging()).await;
    let _guard = fixture.server().runs.begin(&run(), &shop()).expect("free");
    let mut feed = fixture.server().workloads.subscribe();
    let live = fixture.client.events(&Default::default()).await.expect("a stream");
    let started = Upward::Workload { run: run(), state: WorkloadState::Started };
    agent.report(vec![started, Upward::Sample { run: run(), sample: sample() }]).await;
    let item = |news| WorkloadItem { run: run(), host: agent.host().clone(), news };
    assert_eq!(feed.recv().await.expect("fed"), item(WorkloadNews::State(WorkloadState::Started)));
    assert_eq!(feed.recv().await.expect("fed"), item(WorkloadNews::Sample(sample())));
    let mut samples = Box::pin(live.filter_map(async |message| match message.expect("good").live {
        Live::Sample { run, sample, .. } => Some((run, sample)),
        _ => None,
    }));
    assert_eq!(samples.next().await, Some((run(), sample())));
}

#[tokio::test]
async fn a_load_of_no_run_is_stopped() {
    let fixture = Fixture::new().await;
    let agent = Agent::connect(&fixture, "app", obliging()).await;
    for _ in 0..3 {
        agent.report(vec![Upward::Sample { run: run(), sample: sample() }]).await;
    }
    let dropped = agent
        .told("the drop", |order| match order {
            Order::DropWorkload { run } => Some(run.clone()),
            _ => None,
        })
        .await;
    assert_eq!(dropped, run());
    let told = agent.instructions.lock().expect("whole");
    assert_eq!(told.iter().filter(|told| matches!(told.order, Order::DropWorkload { .. })).count(), 1);
}

#[tokio::test]
async fn a_history_is_taken_whole_and_only_of_a_run_under_way() {
    let fixture = Fixture::new().await;
    fixture.client.register_cluster(&register()).await.expect("registered");
    let agent = Agent::connect(&fixture, "app", obliging()).await;
    let http = identified(&agent.identity);
    let put = async |body: Vec<u8>| {
        http.put(fixture.link("/link/v1/history/run-1")).body(body).send().await.expect("an answer").status()
    };
    assert_eq!(put(b"early".to_vec()).await, StatusCode::BAD_REQUEST);
    assert!(!fixture.dir.path().join("data/runs").exists(), "nothing is left of a refused one");

    let _guard = fixture.server().runs.begin(&run(), &shop()).expect("free");
    let mut feed = fixture.server().workloads.subscribe();
    let history: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    assert_eq!(put(history.clone()).await, StatusCode::OK);
    let Ok(WorkloadItem { news: WorkloadNews::History { path, bytes }, .. }) = feed.recv().await else {
        panic!("the history is not announced")
    };
    assert_eq!(bytes, history.len() as u64);
    assert!(std::fs::read(path).expect("a file") == history);
    let mut pieces = Box::pin(fixture.client.history(&run()).await.expect("a history"));
    let mut read = Vec::new();
    while let Some(piece) = pieces.next().await {
        read.extend_from_slice(&piece.expect("good"));
    }
    assert!(read == history);
}

#[tokio::test]
async fn a_history_cut_short_is_not_kept() {
    let fixture = Fixture::new().await;
    fixture.client.register_cluster(&register()).await.expect("registered");
    let agent = Agent::connect(&fixture, "app", obliging()).await;
    let _guard = fixture.server().runs.begin(&run(), &shop()).expect("free");
    let directory = fixture.dir.path().join("data/runs/run-1");
    let files = async || {
        let files = std::fs::read_dir(&directory).ok()?.filter_map(Result::ok);
        Some(files.map(|file| file.file_name()).collect::<Vec<_>>())
    };
    let (pieces, body) = tokio::io::duplex(1 << 20);
    let body = reqwest::Body::wrap_stream(tokio_util::io::ReaderStream::new(body));
    let request = identified(&agent.identity).put(fixture.link("/link/v1/history/run-1")).body(body);
    let sending = tokio::spawn(request.send());
    let mut pieces = pieces;
    tokio::io::AsyncWriteExt::write_all(&mut pieces, &[1; 500_000]).await.expect("taken");
    until("the first pieces are there", async || files().await.filter(|files| !files.is_empty())).await;
    // As when the agent is killed: the connection closes in the middle of the body.
    sending.abort();
    until("the rest is removed", async || files().await.filter(Vec::is_empty)).await;
}
