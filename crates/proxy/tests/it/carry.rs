//! Bytes and ends of streams pass unchanged, at the receiver's pace.

use crate::support::{Backend, Lab, SOON, expect_reset, ping};
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Sends `bytes` bytes in random pieces and expects them back, then ends its half and expects the other's end.
async fn converse(client: TcpStream, seed: u64, bytes: usize) {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut message = vec![0; bytes];
    random.fill_bytes(&mut message);
    let (mut reader, mut writer) = client.into_split();
    let sent = message.clone();
    let sender = tokio::spawn(async move {
        let mut rest = sent.as_slice();
        while !rest.is_empty() {
            // Mostly small, now and then larger than any buffer.
            let most = if random.random_bool(0.1) { 300_000 } else { 3000 };
            let (piece, others) = rest.split_at(random.random_range(1..=most).min(rest.len()));
            writer.write_all(piece).await.expect("sends");
            rest = others;
        }
        writer.shutdown().await.expect("ends its half");
    });
    let mut back = Vec::new();
    timeout(SOON * 3, reader.read_to_end(&mut back)).await.expect("the end in time").expect("reads");
    sender.await.expect("the sender ends");
    assert!(back == message, "seed {seed}: {} of {bytes} bytes came back, or differ", back.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_pass_intact_in_both_directions_and_so_does_the_end() {
    let backend = Backend::echo().await;
    let mut lab = Lab::start().await;
    lab.route_to(backend.address).await;
    let mut clients = Vec::new();
    for seed in 0..20 {
        clients.push(tokio::spawn(converse(lab.connect().await, seed, 2_000_000)));
    }
    for client in clients {
        client.await.expect("a client succeeds");
    }
    let status = lab.until("all sessions ended", |status| status.sessions == 0).await;
    assert_eq!((status.bytes_from_clients, status.bytes_from_primary), (40_000_000, 40_000_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_short_sessions_end_at_once_with_their_last_byte() {
    // The end of the stream on the heels of the data, over and over, is where a byte would be lost.
    let backend = Backend::echo().await;
    let mut lab = Lab::start().await;
    lab.route_to(backend.address).await;
    let rounds = (0..8).map(|client| {
        let address = lab.address();
        tokio::spawn(async move {
            for round in 0..100_u64 {
                let stream = TcpStream::connect(address).await.expect("connects");
                let bytes = 1 + (round * 7919 % 150_000) as usize;
                converse(stream, client * 1000 + round, bytes).await;
            }
        })
    });
    for round in rounds.collect::<Vec<_>>() {
        round.await.expect("all rounds succeed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ended_its_half_still_hears_the_client() {
    let (heard, mut hears) = mpsc::channel(1);
    let backend = Backend::serve(move |mut stream| {
        let heard = heard.clone();
        async move {
            stream.write_all(b"bye").await.expect("sends");
            stream.shutdown().await.expect("ends its half");
            let mut late = Vec::new();
            stream.read_to_end(&mut late).await.expect("reads");
            heard.send(late).await.expect("reports");
        }
    })
    .await;
    let mut lab = Lab::start().await;
    lab.route_to(backend.address).await;
    let mut client = lab.connect().await;
    let mut said = Vec::new();
    timeout(SOON, client.read_to_end(&mut said)).await.expect("an end in time").expect("reads");
    assert_eq!(said, b"bye");
    client.write_all(b"and yet").await.expect("the other half is open");
    drop(client);
    let late = timeout(SOON, hears.recv()).await.expect("the server's end in time");
    assert_eq!(late.as_deref(), Some(b"and yet".as_slice()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_does_not_read_stops_the_sender() {
    const MESSAGE: usize = 256 << 20;
    let backend = Backend::echo().await;
    let mut lab = Lab::start().await;
    lab.route_to(backend.address).await;
    let (mut reader, mut writer) = lab.connect().await.into_split();
    let chunk = vec![5; 1 << 20];
    let mut sent = 0;
    while sent < MESSAGE {
        // A second without room for one byte more: the sender is stopped.
        match timeout(Duration::from_secs(1), writer.write(&chunk)).await {
            Ok(taken) => sent += taken.expect("sends"),
            Err(_stopped) => break,
        }
    }
    assert!(sent < MESSAGE / 2, "{sent} bytes vanished into the gateway while nobody read");
    let finish = tokio::spawn(async move { writer.shutdown().await.expect("ends its half") });
    let mut back = Vec::new();
    timeout(SOON, reader.read_to_end(&mut back)).await.expect("all in time").expect("reads");
    finish.await.expect("ends");
    assert_eq!(back.len(), sent);
    assert!(back.iter().all(|byte| *byte == 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_passes_in_both_directions() {
    let (accepted, mut accepts) = mpsc::channel(1);
    let backend = Backend::serve(move |mut stream| {
        let accepted = accepted.clone();
        async move {
            stream.write_all(b"x").await.expect("greets");
            accepted.send(stream).await.expect("reports");
        }
    })
    .await;
    let mut lab = Lab::start().await;
    lab.route_to(backend.address).await;

    let mut client = lab.connect().await;
    client.read_exact(&mut [0]).await.expect("greeted");
    let server = timeout(SOON, accepts.recv()).await.expect("in time").expect("a session");
    reset(server);
    expect_reset(&mut client).await;

    let mut client = lab.connect().await;
    client.read_exact(&mut [0]).await.expect("greeted");
    let mut server = timeout(SOON, accepts.recv()).await.expect("in time").expect("a session");
    reset(client);
    expect_reset(&mut server).await;
    lab.until("both sessions ended", |status| status.sessions == 0).await;
}

fn reset(stream: TcpStream) {
    stream.set_zero_linger().expect("a socket option");
    drop(stream);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_words_of_a_primary_that_breaks_off_arrive() {
    let backend = Backend::serve(|mut stream| async move {
        let mut first = [0; 1];
        stream.read_exact(&mut first).await.expect("a byte");
        // More of the client's bytes lie unread: closing now resets the connection.
        stream.write_all(b"you were killed").await.expect("sends");
    })
    .await;
    let mut lab = Lab::start().await;
    lab.route_to(backend.address).await;
    for round in 0..50 {
        let mut client = lab.connect().await;
        client.write_all(&[0; 4000]).await.expect("sends");
        let mut said = Vec::new();
        // Whether a reset or an end comes behind them is the network's choice; the words come first.
        let _ = timeout(SOON, client.read_to_end(&mut said)).await.expect("an end in time");
        assert_eq!(String::from_utf8_lossy(&said), "you were killed", "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_sessions_leave_no_descriptor_behind() {
    let backend = Backend::echo().await;
    let mut lab = Lab::start().await;
    lab.route_to(backend.address).await;
    ping(&mut lab.connect().await, b"warm").await;
    lab.until("the first ended", |status| status.sessions == 0).await;
    let before = descriptors();
    for _ in 0..10 {
        let mut clients = Vec::new();
        for _ in 0..100 {
            clients.push(lab.connect().await);
        }
        for (number, client) in clients.iter_mut().enumerate() {
            ping(client, format!("hello {number}").as_bytes()).await;
        }
    }
    let status = lab.until("all sessions ended", |status| status.sessions == 0).await;
    assert_eq!((status.accepted, backend.accepted.load(Ordering::SeqCst)), (1001, 1001));
    // The server's own ends close in its tasks, a moment later.
    let begun = tokio::time::Instant::now();
    while descriptors() > before {
        assert!(begun.elapsed() < SOON, "{} descriptors before, {} after", before, descriptors());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("proc is mounted").count()
}
