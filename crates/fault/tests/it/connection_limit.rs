//! A limit on connections.

use crate::lab::{Agent, HERE, Lab, THERE, WITHIN, attack, id, on_peers};
use firedrill_model::Fault;
use firedrill_model::attack::{AttackReport, AttackState};
use nix::sys::socket::{setsockopt, sockopt};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// What became of an attempt to connect.
fn connect(target: SocketAddr) -> Result<TcpStream, ErrorKind> {
    TcpStream::connect_timeout(&target, Duration::from_millis(300)).map_err(|problem| problem.kind())
}

/// Ends a connection for both sides at once.
fn reset(stream: TcpStream) {
    let now = libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&stream, sockopt::Linger, &now).expect("sets");
}

/// A connection that has ended makes room, as soon as the kernel has seen its end.
fn when_there_is_room(connect: impl Fn() -> Result<TcpStream, ErrorKind>) -> TcpStream {
    let began = Instant::now();
    loop {
        match connect() {
            Ok(stream) => return stream,
            Err(_) => assert!(began.elapsed() < WITHIN, "there is room within {WITHIN:?}"),
        }
    }
}

/// Starts it while others knock, so that there is something to be seen.
async fn active(agent: &Agent, name: &str, fault: Fault, knock: impl AsyncFn()) -> AttackReport {
    let knocking = async {
        loop {
            knock().await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let report = tokio::select! {
        report = agent.faults.inject(attack(name, fault)) => report,
        () = knocking => unreachable!("it goes on"),
    };
    assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
    report
}

async fn undone(agent: &Agent, name: &str) {
    let report = agent.faults.undo(&id(name)).await.expect("known");
    assert_eq!(report.state, AttackState::Undone, "{}", report.evidence);
}

#[test]
fn so_many_connections_are_open_at_a_time() {
    let lab = Lab::new();
    let before = lab.filter();
    let listener = lab.near(|| TcpListener::bind((HERE, 0))).expect("binds");
    let target = listener.local_addr().expect("bound");
    let from_there = || lab.far(|| connect(target));
    let old = from_there().expect("connects");
    lab.agent(async |agent| {
        for (failure, refusal) in [("refused", ErrorKind::ConnectionRefused), ("silent", ErrorKind::TimedOut)] {
            let fault = on_peers("connection-limit", &[THERE]).with("connections", 3).with("failure", failure);
            let knocks = std::sync::Mutex::new(Vec::new());
            let knock = async || knocks.lock().expect("whole").extend(from_there());
            active(&agent, failure, fault.with("local_ports", vec![target.port()]), knock).await;
            // The first of them were there before the limit, and count for nothing.
            knocks.into_inner().expect("whole").into_iter().for_each(reset);
            let mut held: Vec<_> = (0..3).map(|_| when_there_is_room(from_there)).collect();
            assert_eq!(from_there().expect_err("above the limit"), refusal);
            reset(held.pop().expect("three"));
            held.push(when_there_is_room(from_there));
            assert_eq!(from_there().expect_err("above the limit"), refusal);
            assert!(old.take_error().expect("asks").is_none(), "what was open before stays");
            undone(&agent, failure).await;
            held.extend((0..5).map(|_| from_there().expect("as before")));
        }
    });
    assert_eq!(lab.filter(), before);
    assert_eq!(lab.journalled(), [""; 0]);
}

#[test]
fn so_many_connections_are_opened_in_a_second() {
    let lab = Lab::new();
    let listener = lab.far(|| TcpListener::bind((THERE, 0))).expect("binds");
    let target = listener.local_addr().expect("bound");
    let from_here = || lab.near(|| connect(target));
    lab.agent(async |agent| {
        let fault = on_peers("connection-limit", &[THERE]).with("per_second", 2).with("opened", "from-here");
        let report = active(&agent, "rate", fault, async || drop(from_here())).await;
        assert!(report.evidence.contains("at most 2 in a second"), "{}", report.evidence);
        let outcomes: Vec<bool> = (0..20).map(|_| from_here().is_ok()).collect();
        let through = outcomes.iter().filter(|through| **through).count();
        assert!(through < 10, "{through} of 20 at once");
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert!(from_here().is_ok(), "a second later");
        undone(&agent, "rate").await;
        assert!((0..20).all(|_| from_here().is_ok()), "as before");
    });
}

#[test]
fn a_limit_that_nobody_reaches_is_no_effect() {
    let lab = Lab::new();
    lab.agent(async |agent| {
        let fault = on_peers("connection-limit", &[THERE]).with("connections", 1000);
        let report = agent.faults.inject(attack("high", fault)).await;
        assert_eq!(report.state, AttackState::NoEffect, "{}", report.evidence);
    });
}
