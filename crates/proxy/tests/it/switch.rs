//! A change of route: cut first, then connect; never two primaries; never an older authority.

use crate::support::{Backend, Lab, SOON, cluster, expect_reset, greeting, ping, to};
use firedrill_model::Generation;
use firedrill_model::command::Route;
use firedrill_proxy::control::{Client, ControlError, Refusal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

#[tokio::test(flavor = "multi_thread")]
async fn idle_and_busy_sessions_are_cut_at_once_on_both_sides() {
    let (ended, mut ends) = tokio::sync::mpsc::channel(16);
    let old = Backend::serve(move |mut stream| {
        let ended = ended.clone();
        async move {
            stream.write_all(b"x").await.expect("greets");
            let mut buffer = vec![0; 65536];
            let problem = loop {
                match stream.read(&mut buffer).await {
                    Ok(0) => break None,
                    Ok(_) => {}
                    Err(problem) => break Some(problem.kind()),
                }
            };
            ended.send(problem).await.expect("reports");
        }
    })
    .await;
    let new = Backend::greeter().await;
    let mut lab = Lab::start().await;
    lab.route_to(old.address).await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = lab.connect().await;
        client.read_exact(&mut [0]).await.expect("greeted");
        clients.push(client);
    }
    let mut busy = clients.pop().expect("ten clients");
    let writing = tokio::spawn(async move {
        let chunk = [1; 10_000];
        while busy.write_all(&chunk).await.is_ok() {}
        busy
    });
    lab.until("the busy one is busy", |status| status.bytes_from_clients > 1_000_000).await;

    let begun = Instant::now();
    let routed = lab.set(2, &to(new.address)).await;
    assert_eq!(routed.sessions_cut, 10);
    for client in &mut clients {
        expect_reset(client).await;
    }
    timeout(SOON, writing).await.expect("the busy one is cut too").expect("ends");
    for _ in 0..10 {
        let end = timeout(SOON, ends.recv()).await.expect("the old primary is rid of them in time").expect("a report");
        assert_eq!(end, Some(std::io::ErrorKind::ConnectionReset));
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "at once: {:?}", begun.elapsed());
    assert_eq!(greeting(&mut lab.connect().await).await, new.address);
    let status = lab.status().await;
    let switch = status.last_switch.expect("a switch");
    assert_eq!((status.cut, switch.sessions_cut), (10, 10));
}

/// Servers that are primary in turn.
const SERVERS: u64 = 4;

/// Where the hammering clients and the servers write down what they see.
#[derive(Default)]
struct Watch {
    /// The number of the last route change that was answered.
    answered: AtomicU64,
    /// Messages that reached a server that had been left before they were sent.
    late: AtomicU64,
    received: AtomicU64,
    stop: AtomicBool,
}

/// The server with that number is primary after each change whose number, divided by [`SERVERS`], leaves it. Each
/// message is stamped with the last change that had been answered before it was sent. So it may reach the server of that
/// change, or of the next, which may be in force but not answered yet; any other had been left.
async fn watching_server(number: u64, watch: &Arc<Watch>) -> Backend {
    let watch = Arc::clone(watch);
    Backend::serve(move |mut stream| {
        let watch = Arc::clone(&watch);
        async move {
            let mut stamp = [0; 8];
            if stream.write_all(b"x").await.is_err() {
                return;
            }
            while stream.read_exact(&mut stamp).await.is_ok() {
                watch.received.fetch_add(1, Ordering::SeqCst);
                let stamped = u64::from_be_bytes(stamp);
                if ![stamped, stamped + 1].map(|change| change % SERVERS).contains(&number) {
                    watch.late.fetch_add(1, Ordering::SeqCst);
                }
                if stream.write_all(&stamp).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

async fn hammer(address: std::net::SocketAddr, watch: Arc<Watch>) {
    while !watch.stop.load(Ordering::SeqCst) {
        let Ok(mut client) = TcpStream::connect(address).await else { continue };
        if client.read_exact(&mut [0]).await.is_err() {
            continue;
        }
        loop {
            let stamp = watch.answered.load(Ordering::SeqCst).to_be_bytes();
            let mut answer = [0; 8];
            if client.write_all(&stamp).await.is_err() || client.read_exact(&mut answer).await.is_err() {
                break;
            }
            if watch.stop.load(Ordering::SeqCst) {
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_sent_after_the_answer_reaches_the_old_primary() {
    const CHANGES: u64 = 60;
    let watch = Arc::new(Watch::default());
    let mut servers = Vec::new();
    for number in 0..SERVERS {
        servers.push(watching_server(number, &watch).await);
    }
    let mut lab = Lab::start().await;
    lab.set(1, &to(servers[0].address)).await;
    let mut clients = JoinSet::new();
    for _ in 0..32 {
        clients.spawn(hammer(lab.address(), Arc::clone(&watch)));
    }
    for change in 1..=CHANGES {
        let before = watch.received.load(Ordering::SeqCst);
        let begun = Instant::now();
        while watch.received.load(Ordering::SeqCst) < before + 200 {
            assert!(begun.elapsed() < SOON, "the clients stand still before change {change}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        lab.set(1, &to(servers[usize::try_from(change % SERVERS).expect("small")].address)).await;
        watch.answered.store(change, Ordering::SeqCst);
    }
    watch.stop.store(true, Ordering::SeqCst);
    timeout(SOON, async { while clients.join_next().await.is_some() {} }).await.expect("the clients end");
    assert_eq!(watch.late.load(Ordering::SeqCst), 0, "messages reached a primary that had been left");
    let status = lab.status().await;
    assert!(status.cut > CHANGES, "sessions were cut: {status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_authority_is_refused_and_changes_nothing() {
    let (new, old) = (Backend::greeter().await, Backend::greeter().await);
    let mut lab = Lab::start().await;
    lab.set(7, &to(new.address)).await;
    let mut client = lab.connect().await;
    greeting(&mut client).await;
    for route in [to(old.address), Route::Hold, to(new.address)] {
        let refused = lab.control.set_route(&cluster(), Generation(6), &route).await.expect_err("an older authority");
        let ControlError::Refused(Refusal::Stale { known, offered, .. }) = &refused else { panic!("{refused}") };
        assert_eq!((*known, *offered), (Generation(7), Generation(6)));
    }
    ping(&mut client, b"still here").await;
    let foreign = "other".parse().expect("a name");
    let refused = lab.control.set_route(&foreign, Generation(9), &Route::Hold).await.expect_err("another cluster's");
    assert!(matches!(refused, ControlError::Refused(Refusal::Cluster { .. })), "{refused}");
    ping(&mut client, b"still here").await;
    assert_eq!(lab.status().await.generation, Generation(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_route_again_cuts_nobody() {
    let backend = Backend::greeter().await;
    let mut lab = Lab::start().await;
    lab.set(1, &to(backend.address)).await;
    let mut client = lab.connect().await;
    greeting(&mut client).await;
    assert_eq!(lab.set(2, &to(backend.address)).await.sessions_cut, 0);
    ping(&mut client, b"still here").await;
    assert_eq!(lab.status().await.generation, Generation(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_authorities_at_once_the_newer_wins() {
    let (one, two) = (Backend::greeter().await, Backend::greeter().await);
    let mut lab = Lab::start().await;
    let path = lab.control_path();
    for round in 0..50_u64 {
        let orders = [(2 * round + 1, to(one.address)), (2 * round + 2, to(two.address))].map(|(generation, route)| {
            let path = path.clone();
            tokio::spawn(async move {
                let mut control = Client::connect(path).await.expect("connects");
                control.set_route(&cluster(), Generation(generation), &route).await
            })
        });
        for order in orders {
            // The older one is refused or overtaken; the newer one never fails.
            let _ = order.await.expect("no panic");
        }
        let status = lab.status().await;
        assert_eq!((status.generation, status.route), (Generation(2 * round + 2), to(two.address)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_on_the_control_socket_is_answered_and_harmless() {
    let mut lab = Lab::start().await;
    let mut raw = tokio::net::UnixStream::connect(lab.control_path()).await.expect("connects");
    raw.write_all(b"{\"request\":\"fly\"}\n").await.expect("sends");
    let mut reply = vec![0; 1000];
    let length = timeout(SOON, raw.read(&mut reply)).await.expect("an answer in time").expect("an answer");
    let text = String::from_utf8_lossy(&reply[..length]).into_owned();
    assert!(text.contains("malformed") && text.contains("fly"), "{text}");
    assert_eq!(lab.status().await.generation, Generation(0));
}
