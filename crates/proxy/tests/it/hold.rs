//! Connections without a primary wait, within bounds, and are told when they wait in vain.

use crate::support::{Backend, Lab, SOON, error_packet, greeting, ping, to};
use firedrill_model::Span;
use firedrill_model::command::Route;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

#[tokio::test(flavor = "multi_thread")]
async fn connections_wait_and_are_let_through() {
    let backend = Backend::greeter().await;
    let mut lab = Lab::start().await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(lab.connect().await);
    }
    lab.until("fifty held", |status| status.held == 50).await;
    lab.route_to(backend.address).await;
    for client in &mut clients {
        assert_eq!(greeting(client).await, backend.address);
        ping(client, b"through").await;
    }
    let status = lab.status().await;
    assert_eq!((status.held, status.sessions, status.cut), (0, 50, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_more_than_may_be_held_is_refused_at_once() {
    let mut lab = Lab::with(|config| config.max_held = 3).await;
    let held = [lab.connect().await, lab.connect().await, lab.connect().await];
    lab.until("three held", |status| status.held == 3).await;
    let begun = Instant::now();
    let (code, text) = error_packet(&mut lab.connect().await).await;
    assert!(begun.elapsed() < SOON / 2, "at once, not at the end of the hold");
    assert_eq!(code, 1040);
    assert!(text.contains("try again") && text.contains("max_held"), "{text}");
    drop(held);
    let status = lab.until("the places are free", |status| status.held == 0).await;
    assert_eq!((status.sessions, status.refused.too_many_held), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_lasts_too_long_ends_in_an_error() {
    let mut lab = Lab::with(|config| config.hold_for = Span::millis(300)).await;
    let begun = Instant::now();
    let (code, text) = error_packet(&mut lab.connect().await).await;
    assert!(begun.elapsed() >= Duration::from_millis(300), "not before its time: {:?}", begun.elapsed());
    assert_eq!(code, 1053);
    assert!(text.contains("no primary") && text.contains("firedrill cluster show"), "{text}");
    let status = lab.status().await;
    assert_eq!((status.sessions, status.held, status.refused.hold_expired), (0, 0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_above_the_limit_is_refused_at_once() {
    let backend = Backend::echo().await;
    let mut lab = Lab::with(|config| config.max_sessions = 2).await;
    lab.route_to(backend.address).await;
    let mut open = [lab.connect().await, lab.connect().await];
    for client in &mut open {
        ping(client, b"open").await;
    }
    let (code, text) = error_packet(&mut lab.connect().await).await;
    assert_eq!(code, 1040);
    assert!(text.contains("max_sessions"), "{text}");
    drop(open);
    lab.until("the places are free", |status| status.sessions == 0).await;
    ping(&mut lab.connect().await, b"again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_refuses_is_tried_until_it_opens() {
    let reserved = TcpSocket::new_v4().expect("a socket");
    reserved.set_reuseaddr(true).expect("a socket option");
    reserved.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let address = reserved.local_addr().expect("an address");
    let mut lab = Lab::start().await;
    lab.route_to(address).await;
    let mut client = lab.connect().await;
    let status = lab.until("three attempts", |status| status.connect_failures >= 3).await;
    assert_eq!((status.held, status.sessions), (1, 1));
    let _backend = Backend::serve_on(reserved.listen(16).expect("listens"), |mut stream| async move {
        let (mut reader, mut writer) = stream.split();
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
    });
    ping(&mut client, b"at last").await;
    assert_eq!(lab.status().await.held, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_at_a_silent_primary_is_given_up_and_moves_with_the_route() {
    let (silent, _full) = silent_server().await;
    let backend = Backend::greeter().await;
    let mut lab = Lab::with(|config| config.connect_timeout = Span::millis(100)).await;
    lab.route_to(silent).await;
    let mut client = lab.connect().await;
    lab.until("two attempts given up", |status| status.connect_failures >= 2).await;
    let routed = lab.set(2, &to(backend.address)).await;
    assert_eq!(routed.sessions_cut, 0, "the client had no server yet: it waits, and is not cut");
    assert_eq!(greeting(&mut client).await, backend.address);
}

/// A listener whose queue is full: the kernel drops further attempts to connect without an answer.
async fn silent_server() -> (std::net::SocketAddr, (TcpListener, Vec<TcpStream>)) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let listener = socket.listen(1).expect("listens");
    let address = listener.local_addr().expect("an address");
    let mut queued = Vec::new();
    while let Ok(stream) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        queued.push(stream.expect("queued"));
        assert!(queued.len() < 100, "the queue never fills");
    }
    (address, (listener, queued))
}

#[tokio::test(flavor = "multi_thread")]
async fn hold_cuts_and_keeps_the_next_ones() {
    let backend = Backend::greeter().await;
    let mut lab = Lab::start().await;
    lab.route_to(backend.address).await;
    let mut client = lab.connect().await;
    greeting(&mut client).await;
    assert_eq!(lab.set(1, &Route::Hold).await.sessions_cut, 1);
    crate::support::expect_reset(&mut client).await;
    let mut next = lab.connect().await;
    lab.until("one held", |status| status.held == 1).await;
    lab.set(1, &to(backend.address)).await;
    greeting(&mut next).await;
}
