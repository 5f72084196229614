//! A load on a live server, a fault, and what the ledger says of it.

use crate::server::{DATABASE, PASSWORD, Server, USER};
use firedrill_ledger::check;
use firedrill_model::report::LedgerSummary;
use firedrill_model::workload::{Load, Login, WorkloadSpec, WorkloadState};
use firedrill_model::{RunId, Span, Verdict};
use firedrill_workload::{Handle, WorkloadError, run, run_until};
use mysql_async::prelude::Queryable;
use std::fs::File;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// No step of these tests takes this long on any machine that can run them.
const STEP_WITHIN: Duration = Duration::from_secs(90);

/// A load that runs in this process, as the agent sees it.
struct Running {
    handle: Handle,
    process: JoinHandle<Result<(), WorkloadError>>,
    acknowledged: u64,
    _dir: tempfile::TempDir,
}

fn spec(gateway: &Server, nodes: &[(&str, &Server)]) -> WorkloadSpec {
    WorkloadSpec {
        run: RunId("live-1".to_owned()),
        load: Load { writers: 8, writes_per_second: 800, timeout: Span::secs(2), ..Load::default() },
        gateway: gateway.endpoint(),
        nodes: nodes.iter().map(|(name, server)| (name.parse().expect("a name"), server.endpoint())).collect(),
        login: Login { user: USER.to_owned(), password: PASSWORD.to_owned(), database: DATABASE.to_owned() },
    }
}

impl Running {
    fn start(spec: WorkloadSpec) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().to_owned();
        let process = tokio::spawn(async move { run(spec, &path).await });
        Self { handle: Handle::adopt(dir.path()), process, acknowledged: 0, _dir: dir }
    }

    /// Waits until so many more writes were acknowledged.
    async fn acknowledges(&mut self, more: u64) {
        let (target, by) = (self.acknowledged + more, Instant::now() + STEP_WITHIN);
        while self.acknowledged < target {
            let progress = self.handle.poll().expect("readable files");
            if let Some(sample) = progress.samples.last() {
                self.acknowledged = sample.acknowledged_total;
            }
            assert!(Instant::now() < by, "{} of {target} writes, state {:?}", self.acknowledged, progress.state);
            assert!(!self.process.is_finished(), "the workload ended early: {:?}", progress.state);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops the load and checks its history.
    async fn stop(mut self) -> LedgerSummary {
        self.handle.request_stop().expect("asked");
        let ended = tokio::time::timeout(STEP_WITHIN, &mut self.process).await.expect("in time").expect("no panic");
        ended.expect("a whole history");
        let state = self.handle.state().expect("readable").expect("a state");
        let WorkloadState::Finished { history, operations } = state else { panic!("{state:?}") };
        let summary = check(File::open(history).expect("the history")).expect("a good history");
        assert_eq!(summary.operations, operations);
        let polled = self.handle.poll().expect("readable").samples.last().map(|sample| sample.acknowledged_total);
        assert_eq!(polled.unwrap_or(self.acknowledged), summary.writes_acknowledged, "samples and history agree");
        summary
    }
}

/// Loads a server for three seconds' worth of writes, kills and restarts it, and loads it again.
async fn through_a_crash(settings: &[&str]) -> LedgerSummary {
    let mut server = Server::start(1, settings).await;
    let mut load = Running::start(spec(&server, &[("one", &server)]));
    load.acknowledges(2400).await;
    server.kill();
    server.run().await;
    load.acknowledges(400).await;
    load.stop().await
}

fn crash_losses(summary: &LedgerSummary) -> u64 {
    summary.lost.iter().filter(|class| class.class == "crash loss").map(|class| class.findings.count).sum()
}

#[tokio::test]
async fn a_server_that_does_not_flush_loses_acknowledged_writes_in_a_crash() {
    let summary = through_a_crash(&["--innodb-flush-log-at-trx-commit=0", "--sync-binlog=0"]).await;
    assert_eq!(summary.verdict, Verdict::Failed, "{:?}", summary.reasons);
    let lost = crash_losses(&summary);
    assert!(lost > 0 && lost == summary.lost_total(), "{:?}", summary.reasons);
    let example = &summary.lost[0].findings.examples[0];
    assert!(example.contains("acknowledged by one as 0-1-") && example.contains("no node"), "{example}");
    assert_eq!(summary.forks.count, 0, "{:?}", summary.forks);
}

#[tokio::test]
async fn a_server_that_flushes_loses_nothing_in_a_crash() {
    let summary = through_a_crash(&["--innodb-flush-log-at-trx-commit=1", "--sync-binlog=1"]).await;
    assert_eq!(summary.verdict, Verdict::Passed, "{:?}", summary.reasons);
    assert_eq!((summary.lost_total(), summary.failed_but_present.count, summary.duplicates.count), (0, 0, 0));
    assert!(summary.writes_acknowledged >= 2800 && summary.reads_ok > 100);
    let outage = &summary.write_outages[0];
    assert!(outage.length > Span::millis(50) && outage.length < Span::secs(60), "{outage:?}");
    assert!(!summary.read_outages.is_empty());
}

#[tokio::test]
async fn a_late_replica_is_stale_and_a_changed_one_diverges() {
    let primary = Server::start(1, &[]).await;
    let (late, changed) = (Server::start(2, &[]).await, Server::start(3, &[]).await);
    late.follow(&primary, 1).await;
    changed.follow(&primary, 0).await;
    let nodes = [("first", &primary), ("late", &late), ("changed", &changed)];
    let mut load = Running::start(spec(&primary, &nodes));
    load.acknowledges(1600).await;
    let mut root = changed.root().await;
    root.query_drop("SET SESSION sql_log_bin = 0").await.expect("no log");
    root.query_drop(format!("CREATE TABLE {DATABASE}.extra (id INT PRIMARY KEY)")).await.expect("a table of its own");
    let summary = load.stop().await;

    assert_eq!((summary.verdict, summary.lost_total()), (Verdict::Failed, 0), "{:?}", summary.reasons);
    assert_eq!(summary.divergence.count, 1, "{:?}", summary.divergence);
    assert!(summary.divergence.examples[0].starts_with("changed has a table extra"), "{:?}", summary.divergence);
    let stale = summary.stale.iter().find(|stale| stale.node == "late").expect("stale reads on the late replica");
    // The replica waits a second counted in whole seconds, so that some of it is over when a write arrives.
    assert!(stale.p50 >= Span::millis(300) && stale.count * 2 > stale.of, "{stale:?}");
    assert!(summary.stale.iter().all(|stale| stale.node != "gateway"), "{:?}", summary.stale);
}

#[tokio::test]
async fn a_load_that_is_ended_at_once_leaves_a_history_that_is_cut_short() {
    let server = Server::start(1, &[]).await;
    let dir = tempfile::tempdir().expect("a directory");
    let (path, terminate) = (dir.path().to_owned(), CancellationToken::new());
    let (spec, told) = (spec(&server, &[("one", &server)]), terminate.clone());
    let load = tokio::spawn(async move { run_until(spec, &path, told).await });
    let (mut handle, by) = (Handle::adopt(dir.path()), Instant::now() + STEP_WITHIN);
    while handle.poll().expect("readable").samples.iter().all(|sample| sample.acknowledged_total < 100) {
        assert!(Instant::now() < by && !load.is_finished(), "no writes");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    terminate.cancel();
    let ended = tokio::time::timeout(STEP_WITHIN, load).await.expect("in time").expect("no panic");
    assert!(matches!(ended, Err(WorkloadError::Terminated)), "{ended:?}");
    assert!(matches!(handle.state().expect("readable"), Some(WorkloadState::Failed { .. })));
    let summary = check(File::open(handle.history()).expect("the history")).expect("readable as far as it goes");
    assert_eq!(summary.verdict, Verdict::Inconclusive);
    assert!(summary.operations > 100 && summary.reasons[0].contains("cut short"), "{:?}", summary.reasons);
}

#[tokio::test]
async fn what_cannot_be_carried_out_is_said_in_the_state() {
    let server = Server::start(1, &[]).await;
    let mut bad = spec(&server, &[]);
    bad.load.writers = 0;
    let dir = tempfile::tempdir().expect("a directory");
    let refused = run(bad, dir.path()).await.expect_err("no writers");
    assert!(refused.to_string().contains("writers must be"), "{refused}");
    let state = Handle::adopt(dir.path()).state().expect("readable");
    assert!(matches!(&state, Some(WorkloadState::Failed { message }) if message.contains("writers")), "{state:?}");
}
