//! Everything else reads back as it was written.

use crate::{Fixture, cluster, event, texts};
use firedrill_model::attack::{AttackReport, AttackState, ProcessSelector};
use firedrill_model::cluster::{Endpoint, NodeSpec, Policy};
use firedrill_model::experiment::Experiment;
use firedrill_model::report::{RunReport, RunState};
use firedrill_model::workload::Login;
use firedrill_model::{AttackId, ClusterSpec, Fault, Role, RunId, Span, Timestamp, Verdict};
use firedrill_store::{AttackRecord, ClusterRecord, HostRecord, RunSummary, Store, StoreError, TimelineFilter};
use std::os::unix::fs::PermissionsExt;

#[tokio::test]
pub(crate) async fn a_cluster_with_its_login() {
    let fixture = Fixture::new().await;
    let node = NodeSpec {
        name: "east-1".parse().expect("a name"),
        host: "east-1".parse().expect("a name"),
        region: "east".parse().expect("a name"),
        endpoint: Endpoint { address: "10.0.0.1".parse().expect("an address"), port: 3306 },
        initial_role: Role::Primary,
        server_id: 1,
    };
    let spec = ClusterSpec {
        name: cluster("shop"),
        nodes: vec![node],
        gateway_host: None,
        gateway: None,
        application_host: None,
        policy: Policy::default(),
    };
    let mut record = ClusterRecord { spec, login: None };
    fixture.store.save_cluster(&record, Timestamp(1)).await.expect("stored");
    record.login = Some(Login { user: "app".to_owned(), password: "secret".to_owned(), database: "shop".to_owned() });
    fixture.store.save_cluster(&record, Timestamp(2)).await.expect("stored again");
    assert_eq!(fixture.reopened().await.clusters().await.expect("read"), [record]);
}

#[tokio::test]
pub(crate) async fn a_host_and_when_it_was_seen() {
    let fixture = Fixture::new().await;
    let host = HostRecord {
        name: "east-1".parse().expect("a name"),
        address: "10.0.0.1".parse().expect("an address"),
        region: Some("east".parse().expect("a name")),
        tags: [("rack".to_owned(), "7".to_owned())].into(),
        agent_version: "0.1.0".to_owned(),
        boot_id: "b".to_owned(),
        nodes: vec![(cluster("shop"), "east-1".parse().expect("a name"))],
        gateway_of: None,
        allowed: None,
    };
    fixture.store.save_host(&host, Timestamp(1)).await.expect("stored");
    fixture.store.host_seen(&host.name, Timestamp(2)).await.expect("stored");
    assert_eq!(fixture.reopened().await.hosts().await.expect("read"), [(host, Some(Timestamp(2)))]);
}

#[tokio::test]
pub(crate) async fn the_first_halt_stands_until_it_is_cleared() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.store.halt().await.expect("read"), None);
    fixture.store.set_halt("first", Timestamp(1)).await.expect("stored");
    fixture.store.set_halt("second", Timestamp(2)).await.expect("stored");
    let halt = fixture.reopened().await.halt().await.expect("read").expect("halted");
    assert_eq!((halt.reason.as_str(), halt.since), ("first", Timestamp(1)));
    fixture.store.clear_halt().await.expect("cleared");
    assert_eq!(fixture.reopened().await.halt().await.expect("read"), None);
}

pub(crate) fn attack(id: &str, state: AttackState, at: i64) -> AttackRecord {
    let node = "east-1".parse().expect("a name");
    let report = AttackReport {
        id: AttackId(id.to_owned()),
        host: "east-1".parse().expect("a name"),
        fault: Fault::new("pause")
            .with("process", serde_json::to_value(ProcessSelector::Database { node }).expect("JSON")),
        state,
        at: Timestamp(at),
        in_place: None,
        mechanism: "SIGSTOP".to_owned(),
        evidence: "it does not answer".to_owned(),
    };
    AttackRecord { report, cluster: Some(cluster("shop")), run: Some(RunId("run-1".to_owned())), until: None }
}

#[tokio::test]
pub(crate) async fn attacks_are_open_until_nothing_is_left_of_them() {
    let Fixture { store, dir: _dir, .. } = Fixture::new().await;
    for (id, states) in [
        ("undone", vec![AttackState::Preparing, AttackState::Active, AttackState::Undone]),
        ("refused", vec![AttackState::Preparing, AttackState::Refused]),
        ("stuck", vec![AttackState::Active, AttackState::UndoFailed]),
    ] {
        for (at, state) in states.into_iter().enumerate() {
            store.save_attack(&attack(id, state, i64::try_from(at).expect("small"))).await.expect("stored");
        }
    }
    assert_eq!(store.open_attacks().await.expect("read"), [attack("stuck", AttackState::UndoFailed, 1)]);
    assert_eq!(store.attacks_of(&RunId("run-1".to_owned())).await.expect("read").len(), 3);
    assert_eq!(store.attacks(2).await.expect("read").len(), 2);
    let (here, elsewhere) = ("east-1".parse().expect("a name"), "east-2".parse().expect("a name"));
    assert_eq!(store.open_attacks_on(&here).await.expect("read").len(), 1);
    assert_eq!(store.open_attacks_on(&elsewhere).await.expect("read").len(), 0);
}

#[tokio::test]
pub(crate) async fn changes_of_many_attacks_are_stored_at_once_with_their_lines_in_order() {
    const MANY: i64 = 1234;
    let Fixture { store, dir: _dir, .. } = Fixture::new().await;
    let mut changes: Vec<_> = (0..MANY).map(|at| attack(&format!("a-{at}"), AttackState::Active, at)).collect();
    changes.push(attack("a-7", AttackState::Undone, MANY));
    let lines: Vec<_> = (0..=MANY).map(|at| event(&at.to_string(), None, None)).collect();
    let told = store.change_attacks(&changes, &lines).await.expect("stored");
    assert!(told.iter().zip(&told[1..]).all(|(one, two)| one.sequence < two.sequence));
    assert_eq!(
        told.iter().map(|line| &line.text).collect::<Vec<_>>(),
        lines.iter().map(|l| &l.text).collect::<Vec<_>>()
    );
    let read = store.events_after(told[1000].sequence, &Default::default(), 1).await.expect("read");
    assert_eq!(read[0], told[1001]);
    assert_eq!(store.open_attacks().await.expect("read").len(), 1233);
    let ids = [changes[7].report.id.clone(), AttackId("never".to_owned())];
    let known = store.attacks_named(&ids).await.expect("read");
    assert_eq!(known.into_values().map(|record| record.report.state).collect::<Vec<_>>(), [AttackState::Undone]);
}

fn run(id: &str, began: i64, state: RunState) -> RunReport {
    RunReport {
        run: RunId(id.to_owned()),
        experiment: Experiment {
            name: "kill-primary".to_owned(),
            title: "t".to_owned(),
            hypothesis: "h".to_owned(),
            cluster: None,
            rung: Some(3),
            workload: None,
            warm_up: Span::secs(1),
            cool_down: Span::secs(1),
            probes: Vec::new(),
            steps: Vec::new(),
            expect: Vec::new(),
            abort_when: Vec::new(),
            overlap: false,
        },
        cluster: cluster("shop"),
        state,
        began: Timestamp(began),
        ended: None,
        verdict: None,
        reasons: Vec::new(),
        expectations: Vec::new(),
        probes: Vec::new(),
        attacks: Vec::new(),
        operations: Vec::new(),
        timeline: Vec::new(),
        samples: Vec::new(),
        lags: Vec::new(),
        probe_series: Vec::new(),
        aborted: None,
        ledger: None,
        environment: Vec::new(),
        progress: None,
        by: None,
        approved_by: None,
    }
}

#[tokio::test]
pub(crate) async fn runs_are_listed_by_what_they_came_to() {
    let fixture = Fixture::new().await;
    let store = &fixture.store;
    store.save_run(&run("one", 1, RunState::Running)).await.expect("stored");
    store.save_run(&run("two", 2, RunState::Running)).await.expect("stored");
    let mut ended = run("one", 1, RunState::Finished);
    ended.verdict = Some(Verdict::Failed);
    ended.reasons = vec!["3 writes were lost".to_owned()];
    store.save_run(&ended).await.expect("stored again");

    let store = fixture.reopened().await;
    assert_eq!(store.run(&ended.run).await.expect("read").as_ref(), Some(&ended));
    let listed = store.runs(10).await.expect("read");
    assert_eq!(listed.iter().map(|run| run.run.0.as_str()).collect::<Vec<_>>(), ["two", "one"]);
    assert_eq!(listed[1], RunSummary::of(&ended));
    assert_eq!(store.runs_in(RunState::Running).await.expect("read").len(), 1);
}

#[tokio::test]
pub(crate) async fn a_rung_is_passed_until_it_fails() {
    let Fixture { store, dir: _dir, .. } = Fixture::new().await;
    let (shop, run) = (cluster("shop"), RunId("run-1".to_owned()));
    for rung in [2, 1, 2] {
        store.pass_rung(&shop, rung, &run, Timestamp(1)).await.expect("stored");
    }
    assert_eq!(store.passed_rungs(&shop).await.expect("read"), [(1, run.clone()), (2, run.clone())]);
    assert!(store.passed_rungs(&cluster("other")).await.expect("read").is_empty());
    store.fail_rung(&shop, 2).await.expect("stored");
    assert_eq!(store.passed_rungs(&shop).await.expect("read"), [(1, run)]);
}

#[tokio::test]
pub(crate) async fn the_timeline_is_filtered_and_paged() {
    let Fixture { store, dir: _dir, .. } = Fixture::new().await;
    for (text, name, run) in [("a", None, None), ("b", Some("shop"), None), ("c", Some("shop"), Some("run-1"))] {
        store.append_event(&event(text, name, run)).await.expect("stored");
    }
    let all = TimelineFilter::default();
    let shop = TimelineFilter { cluster: Some(cluster("shop")), run: None };
    let run = TimelineFilter { run: Some(RunId("run-1".to_owned())), ..TimelineFilter::default() };
    assert_eq!(texts(&store.events_after(0, &shop, 10).await.expect("read")), [(2, "b"), (3, "c")]);
    assert_eq!(texts(&store.events_after(2, &all, 10).await.expect("read")), [(3, "c")]);
    assert_eq!(texts(&store.events_after(0, &all, 2).await.expect("read")), [(1, "a"), (2, "b")]);
    assert_eq!(texts(&store.newest_events(&all, 2).await.expect("read")), [(2, "b"), (3, "c")]);
    assert_eq!(texts(&store.newest_events(&run, 2).await.expect("read")), [(3, "c")]);
}

#[tokio::test]
async fn the_file_is_its_owners_only() {
    let fixture = Fixture::new().await;
    let mode = std::fs::metadata(fixture.path()).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("missing/firedrill.db");
    let error = Store::open(&path).await.expect_err("no directory");
    assert!(matches!(error, StoreError::NotWritable { .. }), "{error:?}");
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("firedrill.db");
    std::fs::write(&path, "this is not a database, and it is long enough to be read as one page".repeat(100))
        .expect("written");
    let error = Store::open(&path).await.expect_err("no database");
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
}
