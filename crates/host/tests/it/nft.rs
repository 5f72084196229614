//! Owner tables drop what they are told to, in silence, and go by themselves.

use crate::TestNetns;
use firedrill_host::link::Batch;
use firedrill_host::netns;
use firedrill_host::nft::{self, Definition, Hook, OwnerTable, Peers, RenewError, Verdict};
use firedrill_host::process::{Spawn, run};
use firedrill_host::queue::{PacketVerdict, Queue};
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
        assert!(pair.out_passes() && pair.in_passes(), "the cable works before anything is done to it");
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

    fn table(&self, hooks: Vec<Hook>, peers: Peers, lease: Duration) -> OwnerTable {
        let definition = Definition { name: "firedrill_test".to_owned(), hooks, peers, verdict: Verdict::Drop };
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

fn peer() -> Peers {
    Peers::Addresses(vec![IpAddr::from(THERE)])
}

#[tokio::test(flavor = "current_thread")]
async fn each_direction_is_cut_alone_and_counted() {
    let pair = Pair::new().await;
    let mut table = pair.table(vec![Hook::Egress { devices: devices() }], peer(), LEASE);
    assert!(!pair.out_passes() && pair.in_passes());
    assert_eq!(table.count(0).expect("reads").packets, 1);
    drop(table);
    assert!(pair.out_passes(), "a closed table matches nothing");

    let mut table = pair.table(vec![Hook::Ingress { devices: devices() }], peer(), LEASE);
    assert!(pair.out_passes() && !pair.in_passes());
    assert_eq!(table.total().expect("reads").packets, 1);
    drop(table);
    assert_eq!(pair.tables(), [""; 0]);
}

#[tokio::test(flavor = "current_thread")]
async fn only_the_peers_are_meant() {
    let pair = Pair::new().await;
    let both = || vec![Hook::Ingress { devices: devices() }, Hook::Egress { devices: devices() }];
    let other = Peers::Addresses(vec![IpAddr::from([10, 78, 0, 99]), "fd00::1".parse().expect("address")]);
    let table = pair.table(both(), other, LEASE);
    assert!(pair.out_passes() && pair.in_passes());
    drop(table);
    let _table = pair.table(both(), Peers::Everybody, LEASE);
    assert!(!pair.out_passes() && !pair.in_passes());
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

    let mut queue = netns::enter(&pair.here.path(), || Queue::bind(7)).expect("enters").expect("binds");
    let second = netns::enter(&pair.here.path(), || Queue::bind_free(7)).expect("enters").expect("binds");
    assert_eq!(second.number(), 8, "a queue that is served is not taken");
    let definition = Definition {
        name: "firedrill_test".to_owned(),
        hooks: vec![Hook::Input],
        peers: peer(),
        verdict: Verdict::Queue { number: 7, through },
    };
    let make = || OwnerTable::create(definition, LEASE);
    let mut table = netns::enter(&pair.here.path(), make).expect("enters").expect("creates");
    assert!(pair.out_passes(), "only what arrives is meant");
    assert!(!pair.in_passes(), "held");
    assert!(!pair.in_passes(), "held");
    let mut held = Vec::new();
    while queue.receive(&mut held).expect("receives") {}
    assert_eq!(held.len(), 2);
    assert_eq!(table.total().expect("reads").packets, 2);
    queue.decide(&held[..1], PacketVerdict::Drop).expect("decides");
    assert!(pair.sender.recv(&mut [0; 8]).is_err(), "dropped");
    queue.decide(&held[1..], PacketVerdict::Accept).expect("decides");
    assert!(pair.sender.recv(&mut [0; 8]).is_ok(), "released");
    drop(queue);
    assert!(pair.in_passes(), "a queue that nobody serves lets packets pass");
}
