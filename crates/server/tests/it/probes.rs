//! Probes of every kind against small servers on loopback and played agents; and what an abort does.

use crate::fixture::{Fixture, WITHIN, until};
use crate::keeper::{Crew, Played, healthy, shop};
use axum::Router;
use axum::extract::RawQuery;
use axum::http::StatusCode;
use axum::response::Redirect;
use axum::routing::get;
use firedrill_api::http::StartRun;
use firedrill_api::link::Order;
use firedrill_model::attack::AttackState;
use firedrill_model::probe::ProbeState;
use firedrill_model::report::{RunReport, RunState};
use firedrill_model::{RunId, Span, Verdict};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A shop that is well until it is told otherwise.
#[derive(Clone, Default)]
struct Shop {
    ill: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl Shop {
    async fn open(&self) -> SocketAddr {
        let shop = self.clone();
        let health = async move || {
            shop.asked.fetch_add(1, Ordering::SeqCst);
            let status = if shop.ill.load(Ordering::SeqCst) { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
            (status, r#"{"ok": true, "queues": [{"depth": 3}]}"#)
        };
        let slow = async || {
            tokio::time::sleep(Duration::from_secs(30)).await;
            "late"
        };
        let prometheus = async |RawQuery(query): RawQuery| {
            let query = query.unwrap_or_default();
            let result = if query.contains("absent") { "" } else { r#"{"metric":{"__name__":"up"},"value":[1,"1"]}"# };
            format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{result}]}}}}"#)
        };
        let router = Router::new()
            .route("/health", get(health))
            .route("/slow", get(slow))
            .route("/moved", get(async || Redirect::to("/health")))
            .route("/large", get(async || "x".repeat(2 << 20)))
            .route("/api/v1/query", get(prometheus));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }
}

async fn cluster() -> (Fixture, Crew, Played) {
    let (fixture, played) = (Fixture::new().await, Played::default());
    let crew = healthy(&fixture, &played).await;
    (fixture, crew, played)
}

async fn ended(fixture: &Fixture, run: &RunId) -> RunReport {
    until("the end of the run", async || fixture.client.run(run).await.ok().filter(|report| report.ended.is_some()))
        .await
}

/// Asks a probe once, as a step, and gives the run's verdict with its first reason.
async fn checked(fixture: &Fixture, measure: &str) -> (Verdict, String) {
    let yaml = format!(
        "name: once\ntitle: t\nhypothesis: h\nwarm_up: 1ms\ncool_down: 1ms\nprobes:\n\
         \x20 - {{name: x, measure: {measure}, when: [during], every: 60s, timeout: 500ms, tolerate: 60s}}\n\
         steps:\n\x20 - check: x\nexpect: [no-promotion]\n"
    );
    let run = fixture.client.start_run(&StartRun { yaml, ..StartRun::default() }).await.expect(measure).run;
    let report = ended(fixture, &run).await;
    (report.verdict.expect("a verdict"), report.reasons.first().cloned().unwrap_or_default())
}

#[tokio::test]
async fn every_kind_of_probe_holds_breaks_or_is_unknown() {
    let (fixture, _crew, _) = cluster().await;
    let address = Shop::default().open().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|held| held.local_addr()).expect("a free port");
    let held = Verdict::Passed;
    let (broken, unknown) = (Verdict::Failed, Verdict::Inconclusive);
    let sql = |target: &str, value: &str| {
        format!("{{sql: {{target: {{{target}}}, query: SELECT @@read_only, value: {value}}}}}")
    };
    let http = |rest: &str| format!("{{http: {{url: \"http://{address}/{rest}}}}}");
    let command =
        |program: &str, rest: &str| format!("{{command: {{target: {{role: replica}}, program: {program}{rest}}}}}");
    let prometheus = |query: &str, value: &str| {
        format!("{{prometheus: {{url: \"http://{address}\", query: \"{query}\", value: {value}}}}}")
    };
    let cases = [
        (sql("role: primary", "{equals: 0}"), held, ""),
        (sql("role: replica", "{equals: 1}"), held, ""),
        (sql("region: east", "{equals: 0}"), broken, "east-2: \"1\", wanted equal to 0"),
        (sql("role: pseudo-primary", "{equals: 0}"), unknown, "no host matches role=pseudo-primary"),
        (http("health\""), held, ""),
        (http("health\", json: {path: \"$.queues[*].depth\", value: {below: 4}}"), held, ""),
        (http("health\", json: {path: \"$.queues[0].depth\", value: {below: 3}}"), broken, "is 3, wanted below 3"),
        (http("nowhere\""), broken, "status 404"),
        (http("moved\""), broken, "status 303"),
        (http("slow\""), broken, "no answer in time"),
        (http("large\", json: {path: $, value: {equals: 1}}"), broken, "more than 1048576 bytes"),
        (format!("{{http: {{url: \"http://{closed}/\"}}}}"), broken, "refused"),
        ("{http: {url: \"http://169.254.169.254/\"}}".to_owned(), unknown, "S120: 169.254.169.254"),
        ("{http: {url: \"http://no-such-host.invalid/\"}}".to_owned(), unknown, "no-such-host.invalid"),
        (format!("{{tcp: {{address: \"{address}\"}}}}"), held, ""),
        (format!("{{tcp: {{address: \"{closed}\"}}}}"), broken, "no connection"),
        ("{tcp: {address: \"[fe80::1]:80\"}}".to_owned(), unknown, "S120"),
        (prometheus("up{job='x'}", "{equals: 1}"), held, ""),
        (prometheus("up", "{above: 1}"), broken, "up is 1, wanted above 1"),
        (prometheus("absent", "{equals: 1}"), unknown, "no series"),
        (format!("{{prometheus: {{url: \"http://{closed}\", query: up, value: {{equals: 1}}}}}}"), unknown, "refused"),
        (command("/bin/true", ""), held, ""),
        (command("/bin/true", ", output: {equals: said}"), held, ""),
        (command("/bin/false", ""), broken, "status 1, wanted status 0"),
        (command("/usr/bin/id", ""), unknown, "S121: `/usr/bin/id` is not run here"),
        ("{role-count: {role: replica, count: {equals: 2}}}".to_owned(), held, ""),
        ("{role-count: {role: replica, count: {above: 2}}}".to_owned(), broken, "2 of 2"),
        ("{ack-latency-at-most: 1s}".to_owned(), unknown, "no write was measured"),
    ];
    for (measure, verdict, says) in cases {
        let (seen, reason) = checked(&fixture, &measure).await;
        assert_eq!(seen, verdict, "{measure}: {reason}");
        assert!(reason.contains(says), "{measure}: {reason}");
    }
}

fn watched(address: SocketAddr, overlap: &str, abort: &str) -> StartRun {
    let yaml = format!(
        "name: watched\ntitle: t\nhypothesis: h\nwarm_up: 1ms\ncool_down: 1ms\noverlap: true\nprobes:\n\
         \x20 - name: shop answers\n    measure: {{http: {{url: \"http://{address}/health\"}}}}\n\
         \x20   when: [before, during]\n    every: 100ms\n    timeout: 500ms\nsteps:\n\
         \x20 - attack: {{kind: pause, target: {{nodes: [east-2]}}, duration: 60s}}\n{overlap}\
         \x20 - wait: 40s\nexpect: [no-promotion]\nabort_when: [{abort}]\n"
    );
    StartRun { yaml, cluster: Some(shop()), ..StartRun::default() }
}

/// Waits for an attack of the run to be in place.
async fn attacked(fixture: &Fixture) {
    until("the attack", async || {
        let attacks = fixture.client.attacks().await.ok()?;
        attacks.iter().any(|attack| attack.state == AttackState::Active).then_some(())
    })
    .await;
}

async fn undone(crew: &Crew) -> Instant {
    let undo = |order: &Order| matches!(order, Order::Undo { .. }).then_some(());
    crew.agents[1].told("the undo", undo).await;
    Instant::now()
}

#[tokio::test]
async fn a_broken_probe_aborts_within_a_second_and_the_time_is_reported() {
    let (fixture, crew, _) = cluster().await;
    let service = Shop::default();
    let address = service.open().await;
    let run = fixture.client.start_run(&watched(address, "", "probe: shop answers")).await.expect("begun").run;
    attacked(&fixture).await;
    until("some answers", async || (service.asked.load(Ordering::SeqCst) >= 5).then_some(())).await;

    let breach = (Instant::now(), firedrill_server::clock::now());
    service.ill.store(true, Ordering::SeqCst);
    let took = undone(&crew).await - breach.0;
    assert!(took < Duration::from_secs(1), "the fault was ordered out {took:?} after the breach");

    let report = ended(&fixture, &run).await;
    assert_eq!((report.state, report.verdict), (RunState::Halted, Some(Verdict::Failed)), "{:?}", report.reasons);
    let aborted = report.aborted.expect("aborted");
    assert_eq!(aborted.condition, "probe shop answers broken");
    assert!(aborted.observed.contains("status 503"), "{aborted:?}");
    assert!(breach.1 <= aborted.breach_at && aborted.breach_at <= aborted.halt_at, "{aborted:?}");
    assert!(aborted.took().expect("gone") < Span::secs(1), "{aborted:?}");
    assert!(report.attacks.iter().all(|attack| attack.state == AttackState::Undone), "{:?}", report.attacks);
    let told = |text: &str| {
        assert!(report.timeline.iter().any(|line| line.text.contains(text)), "{text}: {:#?}", report.timeline)
    };
    told("probe shop answers broke: status 503");
    told("aborted: probe shop answers broken: status 503");
    told("every fault of the run is out");
    let series = &report.probe_series[0];
    assert!(series.asked >= 5 && series.broken >= 1 && series.unknown == 0, "{series:?}");
    assert_eq!(series.values.last().map(|value| value.state), Some(ProbeState::Broken));
}

#[tokio::test]
async fn what_is_tolerated_does_not_abort() {
    let (fixture, _crew, _) = cluster().await;
    let service = Shop::default();
    let address = service.open().await;
    let abort = "probe: {name: shop answers, for: 1500ms}";
    let start = watched(address, "", abort);
    let start = StartRun { yaml: start.yaml.replace("wait: 40s", "wait: 4s"), ..start };
    let run = fixture.client.start_run(&start).await.expect("begun").run;
    attacked(&fixture).await;
    service.ill.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(700)).await;
    service.ill.store(false, Ordering::SeqCst);
    let report = ended(&fixture, &run).await;
    assert_eq!((report.state, &report.aborted), (RunState::Finished, &None), "{:?}", report.reasons);
    // It is no abort, but it broke.
    assert_eq!(report.verdict, Some(Verdict::Failed), "{:?}", report.reasons);
    assert!(report.timeline.iter().any(|line| line.text.contains("shop answers holds again after")), "{report:#?}");
}

#[tokio::test]
async fn an_abort_does_not_wait_for_a_fault_on_its_way_in() {
    let (fixture, crew, played) = cluster().await;
    let service = Shop::default();
    let address = service.open().await;
    let wide = firedrill_model::guard::GuardPolicy::all_off();
    fixture.client.set_guards(&wide).await.expect("set");
    let second = "\x20 - wait: 1s\n  - attack: {kind: pause, name: second, target: {nodes: [east-3]}, duration: 60s}\n";
    let started = fixture.client.start_run(&watched(address, second, "probe: shop answers")).await;
    let _run = started.expect("begun").run;
    attacked(&fixture).await;
    played.hang_faults(true);
    let inject = |order: &Order| matches!(order, Order::Inject { .. }).then_some(());
    crew.agents[2].told("the second fault", inject).await;

    let breach = Instant::now();
    service.ill.store(true, Ordering::SeqCst);
    let took = undone(&crew).await - breach;
    assert!(took < Duration::from_secs(1), "the first fault was ordered out {took:?} after the breach");
}

#[tokio::test]
async fn a_probe_that_cannot_be_asked_is_no_steady_state() {
    let (fixture, crew, _) = cluster().await;
    let address: SocketAddr = "169.254.169.254:80".parse().expect("an address");
    let began = Instant::now();
    let run = fixture.client.start_run(&watched(address, "", "probe: shop answers")).await.expect("begun").run;
    let report = ended(&fixture, &run).await;
    assert!(began.elapsed() < WITHIN);
    assert_eq!(report.verdict, Some(Verdict::Inconclusive), "{:?}", report.reasons);
    assert!(report.reasons[0].contains("could not be told before the steps: S120"), "{:?}", report.reasons);
    assert!(report.probes[0].unknown && !report.probes[0].held, "{:?}", report.probes);
    let injected = crew.agents.iter().any(|agent| {
        let told = agent.instructions.lock().expect("whole");
        told.iter().any(|told| matches!(told.order, Order::Inject { .. }))
    });
    assert!(!injected, "nothing is attacked without a steady state");
}
