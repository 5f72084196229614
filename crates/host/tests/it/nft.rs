//! Owner tables drop what they are told to, in silence, and go by themselves.

use crate::TestNetns;
use firedrill_host::link::Batch;
use firedrill_host::netns;
use firedrill_host::nft::{self, Counter, Definition, Filter, Flow, Hook, OwnerTable, Protocol, RenewError, Verdict};
use firedrill_host::process::{Spawn, run};
use firedrill_host::queue::{Announce, Held, PacketId, PacketVerdict, Queue};
use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

const WITHIN: Duration = Duration::from_secs(10);
const LEASE: Duration = Duration::from_secs(5);
const HERE: [u8; 4] = [10, 78, 0, 1];
const THERE: [u8; 4] = [10, 78, 0, 2];

/// Two namespaces joined by a cable, with a socket in each.
struct Pair {
    here: TestNetns,
    _there: TestNetns,
    sender: UdpSocket,
    receiver: UdpSocket,
}

impl Pair {
    async fn new() -> Self {
        let (here, there) = (TestNetns::create("here"), TestNetns::create("there"));
        Batch::new()
            .veth("eth0", "eth0", &there.0)
            .address("eth0", IpAddr::from(HERE), 24)
            .up("eth0")
            .apply(Some(&here.path()))
            .await
            .expect("cable");
        Batch::new().address("eth0", IpAddr::from(THERE), 24).up("eth0").apply(Some(&there.path())).await.expect("end");
        let socket = |path: &Path, address: [u8; 4]| {
            let socket =
                netns::enter(path, || UdpSocket::bind((IpAddr::from(address), 0))).expect("enters").expect("binds");
            socket.set_read_timeout(Some(Duration::from_millis(100))).expect("sets");
            socket
        };
        let pair =
            Self { sender: socket(&here.path(), HERE), receiver: socket(&there.path(), THERE), here, _there: there };
        // The kernel learns of the carrier a moment after both ends are up, and drops what is sent before.
        let began = Instant::now();
        while !(pair.out_passes() && pair.in_passes()) {
            assert!(began.elapsed() < WITHIN, "the cable works before anything is done to it");
        }
        // What was waiting for the far address to be known has come meanwhile.
        while pair.sender.recv(&mut [0; 8]).is_ok() || pair.receiver.recv(&mut [0; 8]).is_ok() {}
        pair
    }

    /// A drop must not show at the sender, so sending itself has to succeed.
    fn out_passes(&self) -> bool {
        self.sender.send_to(b"x", self.receiver.local_addr().expect("bound")).expect("sending succeeds");
        self.receiver.recv(&mut [0; 8]).is_ok()
    }

    fn in_passes(&self) -> bool {
        self.receiver.send_to(b"x", self.sender.local_addr().expect("bound")).expect("sending succeeds");
        self.sender.recv(&mut [0; 8]).is_ok()
    }

    fn table(&self, hooks: Vec<Hook>, filter: Filter, lease: Duration) -> OwnerTable {
        self.table_with(hooks, filter, Verdict::Drop, lease)
    }

    fn table_with(&self, hooks: Vec<Hook>, filter: Filter, verdict: Verdict, lease: Duration) -> OwnerTable {
        let definition = Definition { name: "firedrill_test".to_owned(), hooks, filter, verdict };
        netns::enter(&self.here.path(), || OwnerTable::create(definition, lease))
            .expect("enters")
            .expect("these tests need CAP_NET_ADMIN and nftables in the kernel")
    }

    fn tables(&self) -> Vec<String> {
        netns::enter(&self.here.path(), nft::tables).expect("enters").expect("lists")
    }
}

fn devices() -> Vec<String> {
    vec!["eth0".to_owned()]
}

fn egress() -> Vec<Hook> {
    vec![Hook::Egress { devices: devices() }]
}

fn peer() -> Filter {
    Filter::peers(&[IpAddr::from(THERE)])
}

#[tokio::test(flavor = "current_thread")]
async fn each_direction_is_cut_alone_and_counted() {
    let pair = Pair::new().await;
    let mut table = pair.table(vec![Hook::Egress { devices: devices() }], peer(), LEASE);
    assert!(!pair.out_passes() && pair.in_passes());
    assert_eq!(table.count(0, Counter::Hit).expect("reads").packets, 1);
    drop(table);
    assert!(pair.out_passes(), "a closed table matches nothing");

    let mut table = pair.table(vec![Hook::Ingress { devices: devices() }], peer(), LEASE);
    assert!(pair.out_passes() && !pair.in_passes());
    assert_eq!(table.total(Counter::Hit).expect("reads").packets, 1);
    drop(table);
    assert_eq!(pair.tables(), [""; 0]);
}

#[tokio::test(flavor = "current_thread")]
async fn only_the_peers_are_meant() {
    let pair = Pair::new().await;
    let both = || vec![Hook::Ingress { devices: devices() }, Hook::Egress { devices: devices() }];
    let other = Filter::peers(&[IpAddr::from([10, 78, 0, 99]), "fd00::1".parse().expect("address")]);
    let table = pair.table(both(), other, LEASE);
    assert!(pair.out_passes() && pair.in_passes());
    drop(table);
    let _table = pair.table(both(), Filter::default(), LEASE);
    assert!(!pair.out_passes() && !pair.in_passes());
}

#[tokio::test(flavor = "current_thread")]
async fn networks_protocols_ports_and_exclusions_are_kept() {
    let pair = Pair::new().await;
    let (near, far) =
        (pair.sender.local_addr().expect("bound").port(), pair.receiver.local_addr().expect("bound").port());
    let network = |text: &str| text.parse().expect("a network");
    let port = |port: u16| vec![port.to_string().parse().expect("ports")];
    let around = |port: u16| vec![format!("{}-{}", port - 1, port.saturating_add(1)).parse().expect("ports")];
    let flow = Flow::default;
    let cases = [
        ("its network", Flow { networks: vec![network("10.78.0.0/30")], ..flow() }, false),
        ("another network", Flow { networks: vec![network("10.78.0.128/25")], ..flow() }, true),
        ("its protocol", Flow { protocol: Some(Protocol::Udp), ..flow() }, false),
        ("another protocol", Flow { protocol: Some(Protocol::Tcp), ..flow() }, true),
        ("its remote port", Flow { remote_ports: port(far), ..flow() }, false),
        ("its remote ports", Flow { remote_ports: around(far), ..flow() }, false),
        ("another remote port", Flow { remote_ports: port(1), ..flow() }, true),
        ("its local port", Flow { local_ports: port(near), ..flow() }, false),
        ("another local port", Flow { local_ports: port(1), remote_ports: port(far), ..flow() }, true),
        ("new connections only", Flow { opening: true, ..flow() }, true),
    ];
    for (what, flow, passes) in cases {
        let filter = Filter { flow: flow.clone(), ..Filter::default() };
        let table = pair.table(egress(), filter, LEASE);
        assert_eq!(pair.out_passes(), passes, "{what}");
        drop(table);
        let table = pair.table(
            vec![Hook::Ingress { devices: devices() }],
            Filter { flow: flow.clone(), ..Filter::default() },
            LEASE,
        );
        assert_eq!(pair.in_passes(), passes, "{what}, the other way");
        drop(table);
        let all_but = Filter { except: vec![flow], ..Filter::default() };
        let _table = pair.table(egress(), all_but, LEASE);
        assert_eq!(pair.out_passes(), !passes, "an exclusion wins: {what}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn chance_duplicates_and_corruption_are_measured() {
    const SENT: u64 = 400;
    let pair = Pair::new().await;
    let arriving = || {
        let (mut whole, mut broken, mut buffer) = (0, 0, [0; 128]);
        // No more at a time than a receive buffer takes.
        for _ in 0..SENT / 50 {
            for _ in 0..50 {
                pair.sender.send_to(&[0; 64], pair.receiver.local_addr().expect("bound")).expect("sends");
            }
            while let Ok(size) = pair.receiver.recv(&mut buffer) {
                if buffer[..size].iter().all(|byte| *byte == 0) { whole += 1 } else { broken += 1 }
            }
        }
        (whole, broken)
    };
    let quarter = Filter { chance: Some(25_000), ..peer() };
    let mut table = pair.table(egress(), quarter.clone(), LEASE);
    let (whole, broken) = arriving();
    assert_eq!((table.total(Counter::Seen).expect("reads").packets, broken), (SENT, 0));
    assert_eq!(SENT - whole, table.total(Counter::Hit).expect("reads").packets);
    assert!((230..370).contains(&whole), "{whole} of {SENT} passed, about 300 expected");
    drop(table);

    let mut table = pair.table_with(egress(), quarter.clone(), Verdict::Duplicate, LEASE);
    let (whole, broken) = arriving();
    let copies = table.total(Counter::Hit).expect("reads").packets;
    // The kernel does not copy copies of copies for ever.
    assert!((SENT + copies - 10..=SENT + copies).contains(&whole) && broken == 0, "{whole} of {SENT} and {copies}");
    assert!((70..200).contains(&copies), "{copies} copies, about 133 expected");
    drop(table);

    let table = pair.table_with(egress(), quarter, Verdict::Corrupt { offset: 20 }, LEASE);
    let (whole, broken) = arriving();
    assert_eq!(whole + broken, SENT, "corrupted packets arrive");
    assert!((50..150).contains(&broken), "{broken} of {SENT} corrupted, about 100 expected");
    drop(table);
}

#[tokio::test(flavor = "current_thread")]
async fn resets_are_told_to_both_sides() {
    let pair = Pair::new().await;
    let inside =
        |path: &Path| netns::enter(path, || std::net::TcpListener::bind((IpAddr::from(THERE), 0))).expect("enters");
    let listener = inside(&pair._there.path()).expect("binds");
    let target = listener.local_addr().expect("bound");
    let connect =
        || netns::enter(&pair.here.path(), || std::net::TcpStream::connect_timeout(&target, WITHIN)).expect("enters");
    let mut open = connect().expect("connects");
    let (mut accepted, _) = listener.accept().expect("accepts");
    let tcp = Filter { flow: Flow { protocol: Some(Protocol::Tcp), ..peer().flow }, ..Filter::default() };
    let _table = pair.table_with(vec![Hook::Input, Hook::Output], tcp, Verdict::Reset, LEASE);
    assert_eq!(connect().expect_err("reset").kind(), std::io::ErrorKind::ConnectionRefused);
    let reset = |socket: &mut std::net::TcpStream| {
        use std::io::{Read, Write};
        socket.set_read_timeout(Some(WITHIN)).expect("sets");
        // Whichever of the two calls comes first after the reset tells of it; one that comes later sees an end.
        match socket.write_all(b"x").and_then(|()| socket.read(&mut [0; 8])) {
            Ok(read) => read == 0,
            Err(problem) => problem.kind() == std::io::ErrorKind::ConnectionReset,
        }
    };
    assert!(reset(&mut accepted) && reset(&mut open));
    assert!(pair.out_passes(), "only TCP is meant");
}

#[tokio::test(flavor = "current_thread")]
async fn a_lease_ends_by_itself_and_is_renewed_without_a_gap() {
    let pair = Pair::new().await;
    let lease = Duration::from_millis(600);
    let mut table = pair.table(vec![Hook::Egress { devices: devices() }], peer(), lease);
    let began = Instant::now();
    while began.elapsed() < lease * 2 {
        assert!(!pair.out_passes(), "renewed in time");
        table.renew(lease).expect("renews");
    }
    let renewed = Instant::now();
    while !pair.out_passes() {
        assert!(renewed.elapsed() < lease * 3, "the lease does not end");
    }
    assert!(renewed.elapsed() > lease / 2);
    assert!(matches!(table.renew(lease), Err(RenewError::Lapsed(_))));
    assert!(pair.out_passes(), "a refused renewal changes nothing");
}

#[tokio::test(flavor = "current_thread")]
async fn nobody_else_removes_the_table_and_nft_can_print_it() {
    let pair = Pair::new().await;
    let both = vec![Hook::Ingress { devices: devices() }, Hook::Egress { devices: devices() }];
    let table = pair.table(both, peer(), LEASE);
    let nft = |words: &[&str]| Spawn::new("nft").args(words).netns(pair.here.path());
    let listed = run(nft(&["list", "ruleset"]), WITHIN).await.expect("prints").text();
    assert!(listed.contains("flags owner") && listed.contains("10.78.0.2"), "{listed}");
    let refused = run(nft(&["delete", "table", "netdev", "firedrill_test"]), WITHIN).await.expect_err("owned");
    assert!(refused.to_string().contains("not permitted"), "{refused}");
    assert_eq!(pair.tables(), ["firedrill_test"]);
    drop(table);
    let listed = run(nft(&["list", "ruleset"]), WITHIN).await.expect("prints").text();
    assert_eq!(listed, "");
}

#[tokio::test(flavor = "current_thread")]
async fn queued_packets_wait_for_their_verdict() {
    let pair = Pair::new().await;
    let through = netns::enter(&pair.here.path(), nft::queue_expression).expect("enters");
    let through = through.expect("this kernel has one of the two ways to queue");
    assert_eq!(pair.tables(), [""; 0], "the question leaves nothing");

    let mut queue =
        netns::enter(&pair.here.path(), || Queue::bind(7, Announce::Lengths)).expect("enters").expect("binds");
    let second =
        netns::enter(&pair.here.path(), || Queue::bind_free(7, Announce::Ids)).expect("enters").expect("binds");
    assert_eq!(second.number(), 8, "a queue that is served is not taken");
    let definition = Definition {
        name: "firedrill_test".to_owned(),
        hooks: vec![Hook::Input],
        filter: peer(),
        verdict: Verdict::Queue { number: 7, through },
    };
    let make = || OwnerTable::create(definition, LEASE);
    let mut table = netns::enter(&pair.here.path(), make).expect("enters").expect("creates");
    assert!(pair.out_passes(), "only what arrives is meant");
    assert!(!pair.in_passes(), "held");
    assert!(!pair.in_passes(), "held");
    let mut held = Vec::new();
    while queue.receive(&mut held).expect("receives") {}
    // IPv4 (20) and UDP (8) headers and one byte.
    assert_eq!(held.iter().map(|packet| packet.bytes).collect::<Vec<_>>(), [29, 29]);
    let held: Vec<PacketId> = held.into_iter().map(|Held { id, .. }| id).collect();
    assert_eq!(table.total(Counter::Hit).expect("reads").packets, 2);
    queue.decide(&held[..1], PacketVerdict::Drop).expect("decides");
    assert!(pair.sender.recv(&mut [0; 8]).is_err(), "dropped");
    queue.decide(&held[1..], PacketVerdict::Accept).expect("decides");
    assert!(pair.sender.recv(&mut [0; 8]).is_ok(), "released");
    drop(queue);
    assert!(pair.in_passes(), "a queue that nobody serves lets packets pass");
}
