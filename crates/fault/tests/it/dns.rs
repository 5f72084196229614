//! Answers of a name server that are changed, late or lost on their way.

use crate::lab::{Agent, HERE, Lab, THERE, attack, eventually, id};
use firedrill_host::process::Signal;
use firedrill_model::Fault;
use firedrill_model::attack::{AttackReport, AttackState};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A name server on the far host that knows every name: it has the address 10.1.1.1.
struct NameServer {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    fn on(lab: &Lab) -> Self {
        let socket = lab.far(|| UdpSocket::bind((THERE, 53))).expect("binds");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("sets");
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while !ends.load(Ordering::Relaxed) {
                let Ok((size, from)) = socket.recv_from(&mut buffer) else { continue };
                let mut answer = buffer[..size].to_vec();
                (answer[2], answer[3], answer[7]) = (0x85, 0x80, 1);
                answer.extend_from_slice(&[0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 14, 16, 0, 4, 10, 1, 1, 1]);
                socket.send_to(&answer, from).expect("answers");
            }
        });
        Self { over, thread: Some(thread) }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let ended = self.thread.take().expect("one").join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

/// What a program hears: the code and the first address; `None`: nothing within the time.
async fn look_up(name: &str) -> Option<(u8, Option<[u8; 4]>)> {
    let socket = tokio::net::UdpSocket::bind((HERE, 0)).await.expect("binds");
    socket.connect((THERE, 53)).await.expect("connects");
    let mut question = vec![1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).expect("short"));
        question.extend_from_slice(label.as_bytes());
    }
    question.extend_from_slice(&[0, 0, 1, 0, 1]);
    socket.send(&question).await.expect("asks");
    let mut answer = [0; 1500];
    let size = tokio::time::timeout(Duration::from_millis(500), socket.recv(&mut answer)).await.ok()?;
    let answer = &answer[..size.expect("receives")];
    assert_eq!(answer[..2], [1, 2], "it answers this question");
    assert_eq!(answer[12..question.len()], question[12..], "letter by letter");
    let address = (answer[7] == 1).then(|| answer[answer.len() - 4..].try_into().expect("four"));
    Some((answer[3] & 0x0f, address))
}

const RIGHT: Option<(u8, Option<[u8; 4]>)> = Some((0, Some([10, 1, 1, 1])));

fn dns(failure: &str, names: &[&str]) -> Fault {
    let fault = Fault::new("dns").with("failure", failure).with("servers", vec![THERE.to_string()]);
    fault.with("names", names.iter().map(ToString::to_string).collect::<Vec<_>>())
}

async fn active(agent: &Agent, name: &str, fault: Fault) -> AttackReport {
    let report = agent.faults.inject(attack(name, fault)).await;
    assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
    report
}

#[test]
fn answers_are_changed_for_some_names_and_then_right_again() {
    let lab = Lab::new();
    let before = lab.filter();
    let _server = NameServer::on(&lab);
    lab.agent(async |agent| {
        assert_eq!(look_up("db.example.com").await, RIGHT);
        let wrong = dns("wrong", &["*.example.com"]).with("addresses", vec!["192.0.2.7"]);
        let cases = [
            ("nxdomain", dns("nxdomain", &["*.example.com"]), Some((3, None)), "NXDOMAIN"),
            ("servfail", dns("servfail", &["db.example.com"]), Some((2, None)), "SERVFAIL"),
            ("empty", dns("empty", &["*.example.com"]), Some((0, None)), "no records"),
            ("wrong", wrong, Some((0, Some([192, 0, 2, 7]))), "192.0.2.7"),
            ("silent", dns("silent", &["*.example.com"]), None, "no answer"),
        ];
        for (name, fault, expected, said) in cases {
            let report = active(&agent, name, fault).await;
            assert!(report.evidence.contains(said), "{}", report.evidence);
            assert_eq!(look_up("db.example.com").await, expected, "{name}");
            assert_eq!(look_up("example.com").await, RIGHT, "another name is left alone: {name}");
            for _ in 0..2 {
                let report = agent.faults.undo(&id(name)).await.expect("known");
                assert_eq!(report.state, AttackState::Undone, "{}", report.evidence);
            }
            assert_eq!(look_up("db.example.com").await, RIGHT, "{name}");
        }
        // All names, the root among them.
        active(&agent, "all", dns("servfail", &[])).await;
        assert_eq!(look_up("anything.test").await, Some((2, None)));
        agent.faults.undo_all("over").await;
    });
    assert_eq!(lab.filter(), before);
    assert_eq!(lab.journalled(), [""; 0]);
}

#[test]
fn answers_are_late_as_asked() {
    let lab = Lab::new();
    let _server = NameServer::on(&lab);
    lab.agent(async |agent| {
        let report = active(&agent, "slow", dns("slow", &["*.test"]).with("delay", "300ms")).await;
        assert!(report.evidence.contains("300ms late"), "{}", report.evidence);
        let began = Instant::now();
        assert_eq!(look_up("db.test").await, RIGHT);
        assert!(began.elapsed() > Duration::from_millis(290), "{:?}", began.elapsed());
        let began = Instant::now();
        assert_eq!(look_up("db.example.com").await, RIGHT);
        assert!(began.elapsed() < Duration::from_millis(250), "{:?}", began.elapsed());
    });
}

#[test]
fn a_name_server_that_is_not_there_is_no_effect() {
    let lab = Lab::new();
    lab.agent(async |agent| {
        let report = agent.faults.inject(attack("none", dns("nxdomain", &[]))).await;
        assert_eq!(report.state, AttackState::NoEffect, "{}", report.evidence);
    });
}

#[test]
fn answers_are_right_when_the_holder_dies_or_hangs() {
    let lab = Lab::new();
    let before = lab.filter();
    let _server = NameServer::on(&lab);
    let answer = || lab.near(|| crate::lab::block_on(look_up("db.test")));
    for signal in [Signal::SIGKILL, Signal::SIGSTOP] {
        let holder = lab.holder(&[], &[attack("lie", dns("nxdomain", &["db.test"]))]);
        eventually("the lie", || answer() == Some((3, None)));
        // Past the verification and its longer first lease.
        std::thread::sleep(Duration::from_millis(1500));
        holder.signal(signal);
        if signal == Signal::SIGKILL {
            holder.dies();
            assert_eq!(answer(), RIGHT, "at once");
        } else {
            // The queue is full of nothing: what is sent to it waits until the lease ends.
            let took = eventually("the end of the lease", || answer() == RIGHT);
            assert!(took < Duration::from_secs(9), "{took:?}");
            holder.signal(Signal::SIGKILL);
            holder.dies();
        }
        lab.agent(async |agent| assert!(agent.faults.active().is_empty()));
        assert_eq!(lab.filter(), before);
    }
}

#[test]
fn a_program_that_uses_the_resolver_is_lied_to() {
    let lab = Lab::new();
    let _server = NameServer::on(&lab);
    let target = SocketAddr::from((THERE, 53));
    lab.agent(async |agent| {
        active(&agent, "wrong", dns("wrong", &[]).with("addresses", vec!["192.0.2.8"])).await;
        // A socket that is not connected takes the changed answer, too: its checksum is right.
        let socket = tokio::net::UdpSocket::bind((HERE, 0)).await.expect("binds");
        let question = [9, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'x', 0, 0, 1, 0, 1];
        socket.send_to(&question, target).await.expect("asks");
        let mut buffer = [0; 512];
        let answer = tokio::time::timeout(Duration::from_millis(500), socket.recv_from(&mut buffer)).await;
        let (size, from) = answer.expect("in time").expect("receives");
        assert_eq!((from, &buffer[size - 4..size]), (target, &[192, 0, 2, 8][..]));
    });
}
