//! Loss, bandwidth, corruption, duplication, reset, DNS; and which packets they mean.

use crate::lab::{Agent, Lab, OTHER, THERE, attack, id, on_peers};
use firedrill_model::Fault;
use firedrill_model::attack::{AttackReport, AttackState};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

async fn active(agent: &Agent, fault: Fault) -> AttackReport {
    let report = agent.faults.inject(attack("it", fault)).await;
    assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
    report
}

async fn undone(agent: &Agent) {
    let report = agent.faults.undo(&id("it")).await.expect("known");
    assert_eq!(report.state, AttackState::Undone, "{}", report.evidence);
}

/// How many of so many packets arrive whole, and how many with a wrong byte.
async fn arriving(sender: &UdpSocket, receiver: &UdpSocket, packets: usize) -> (usize, usize) {
    /// No more at a time than a receive buffer takes.
    const TOGETHER: usize = 50;
    let target = receiver.local_addr().expect("bound");
    let (mut whole, mut broken, mut buffer) = (0, 0, [0; 256]);
    for _ in 0..packets.div_ceil(TOGETHER) {
        for _ in 0..packets.min(TOGETHER) {
            sender.send_to(&[7; 200], target).await.expect("a loss must not show at the sender");
        }
        while let Ok(Ok(size)) = tokio::time::timeout(Duration::from_millis(100), receiver.recv(&mut buffer)).await {
            if buffer[..size].iter().all(|byte| *byte == 7) { whole += 1 } else { broken += 1 }
        }
    }
    (whole, broken)
}

#[test]
fn loss_duplication_and_corruption_are_as_asked() {
    const SENT: usize = 400;
    let lab = Lab::new();
    let before = lab.filter();
    lab.agent(async |agent| {
        let (near, far) = lab.sockets();
        let out = |kind: &str| on_peers(kind, &[THERE]).with("percent", 25.0);

        let report = active(&agent, out("loss").with("direction", "outbound")).await;
        assert!(report.evidence.contains("asked 25 %"), "{}", report.evidence);
        let (whole, broken) = arriving(&near, &far, SENT).await;
        assert!((230..370).contains(&whole) && broken == 0, "{whole} of {SENT} arrived, about 300 expected");
        undone(&agent).await;
        assert_eq!(arriving(&near, &far, 20).await, (20, 0));
    });
    lab.agent(async |agent| {
        let (near, far) = lab.sockets();
        let out = |kind: &str| on_peers(kind, &[THERE]).with("percent", 25.0);
        active(&agent, out("duplication")).await;
        let (whole, broken) = arriving(&near, &far, SENT).await;
        assert!((450..560).contains(&whole) && broken == 0, "{whole} arrived of {SENT}, about 500 expected");
        undone(&agent).await;

        // Handshakes have no data to corrupt, so the wrong byte is looked for in what is sent here.
        let report = agent.faults.inject(attack("c", out("corruption"))).await;
        assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
        let (whole, broken) = arriving(&near, &far, SENT).await;
        assert_eq!(whole + broken, SENT);
        assert!((55..150).contains(&broken), "{broken} of {SENT} broken, about 100 expected");
        agent.faults.undo_all("over").await;
    });
    assert_eq!(lab.filter(), before);
    assert_eq!(lab.journalled(), [""; 0]);
}

#[test]
fn a_line_is_as_slow_as_asked() {
    const BYTES: usize = 1_000_000;
    let lab = Lab::new();
    let listener = lab.far(|| std::net::TcpListener::bind((THERE, 0))).expect("binds");
    let target = listener.local_addr().expect("bound");
    let server = std::thread::spawn(move || {
        use std::io::Write;
        let (mut stream, _) = listener.accept().expect("accepts");
        stream.write_all(&vec![0; BYTES]).expect("sends");
    });
    lab.agent(async |agent| {
        active(&agent, on_peers("bandwidth", &[THERE]).with("rate", "20Mbit/s")).await;
        let mut stream = TcpStream::connect(target).await.expect("connects");
        let began = Instant::now();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.expect("receives");
        assert_eq!(received.len(), BYTES);
        // 0.4 s at least; the upper bound is for a busy machine.
        let took = began.elapsed();
        assert!((Duration::from_millis(380)..Duration::from_millis(1500)).contains(&took), "{took:?}");
    });
    server.join().expect("sent");
}

#[test]
fn connections_are_reset_and_new_ones_refused() {
    let lab = Lab::new();
    let listener = lab.far(|| std::net::TcpListener::bind((THERE, 0))).expect("binds");
    listener.set_nonblocking(true).expect("sets");
    let target = listener.local_addr().expect("bound");
    lab.agent(async |agent| {
        let listener = TcpListener::from_std(listener).expect("a listener");
        let mut open = TcpStream::connect(target).await.expect("connects");
        let (mut accepted, _) = listener.accept().await.expect("accepts");
        active(&agent, on_peers("reset", &[THERE])).await;
        let refused = TcpStream::connect(target).await.expect_err("refused");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        // The reset comes back after the write.
        let _sent = open.write_all(b"x").await;
        assert!(open.read(&mut [0; 8]).await.is_err(), "reset");
        let _sent = accepted.write_all(b"x").await;
        assert!(accepted.read(&mut [0; 8]).await.is_err(), "reset on both sides");
        undone(&agent).await;
        TcpStream::connect(target).await.expect("as before");
    });
}

#[test]
fn ports_and_exclusions_are_kept_and_the_agents_own_channel_is_spared() {
    let lab = Lab::new();
    let listen = |address: IpAddr| {
        let listener = lab.far(|| std::net::TcpListener::bind((address, 0))).expect("binds");
        (listener.local_addr().expect("bound"), listener)
    };
    let ((one, _one), (two, _two), (server, _server)) = (listen(THERE), listen(THERE), listen(OTHER));
    let connects = async |target: SocketAddr| {
        tokio::time::timeout(Duration::from_millis(600), TcpStream::connect(target)).await.is_ok()
    };
    lab.agent_with(
        |context| context.servers = Box::new(move || vec![server]),
        async |agent| {
            let port = on_peers("partition", &[THERE]).with("remote_ports", vec![one.port()]);
            let traffic = async {
                loop {
                    connects(one).await;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            let report = tokio::select! {
                report = agent.faults.inject(attack("port", port)) => report,
                () = traffic => unreachable!("it goes on"),
            };
            assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
            assert!(!connects(one).await);
            assert!(connects(two).await, "only one port is meant");
            agent.faults.undo_all("the next").await;

            let excepted = on_peers("partition", &[THERE, OTHER]).with("except", vec![OTHER.to_string()]);
            let report = agent.faults.inject(attack("except", excepted)).await;
            assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
            assert!(!connects(two).await && connects(server).await, "an exclusion wins");
            agent.faults.undo_all("the next").await;

            let usual = Fault::new("partition").with("peers", vec!["10.79.0.0/24"]);
            let report = agent.faults.inject(attack("spared", usual)).await;
            assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
            assert!(connects(server).await, "the agent's channel is spared unless asked for");
            assert!(!connects(SocketAddr::from((OTHER, 7))).await && !connects(one).await);
        },
    );
}

#[test]
fn name_resolution_is_stopped_in_silence_or_refused() {
    let lab = Lab::new();
    let server = lab.far(|| std::net::UdpSocket::bind((THERE, 53))).expect("binds");
    let answering = std::thread::spawn(move || {
        let mut buffer = [0; 512];
        server.set_read_timeout(Some(Duration::from_secs(20))).expect("sets");
        while let Ok((size, from)) = server.recv_from(&mut buffer) {
            if size == 1 {
                return;
            }
            server.send_to(&buffer[..size], from).expect("answers");
        }
    });
    let asked = async || {
        let socket = UdpSocket::bind((crate::lab::HERE, 0)).await.expect("binds");
        socket.connect((THERE, 53)).await.expect("connects");
        socket.send(b"question").await?;
        let answer = tokio::time::timeout(Duration::from_millis(300), socket.recv(&mut [0; 64])).await;
        answer.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
    };
    lab.agent(async |agent| {
        let dns = |failure: &str| Fault::new("dns").with("failure", failure).with("servers", vec![THERE.to_string()]);
        assert!(asked().await.is_ok());
        active(&agent, dns("silent")).await;
        assert_eq!(asked().await.expect_err("silent").kind(), std::io::ErrorKind::TimedOut);
        undone(&agent).await;
        let report = agent.faults.inject(attack("refused", dns("refused"))).await;
        assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
        assert_ne!(asked().await.expect_err("refused").kind(), std::io::ErrorKind::TimedOut);
        agent.faults.undo_all("over").await;
        assert!(asked().await.is_ok());
        let socket = UdpSocket::bind((crate::lab::HERE, 0)).await.expect("binds");
        socket.send_to(b"x", (THERE, 53)).await.expect("says goodbye");
    });
    answering.join().expect("ended");
}
