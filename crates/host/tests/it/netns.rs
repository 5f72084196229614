//! Namespaces and links are made, seen by `ip`, joined, and removed without a trace.

use crate::TestNetns;
use firedrill_host::link::{self, Batch};
use firedrill_host::netns;
use firedrill_host::process::{Signal, Spawn, run};
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "current_thread")]
async fn a_namespace_is_one_for_ip_too() {
    let made = TestNetns::create("ns");
    let listed = run(Spawn::new("ip").args(["netns", "list"]), WITHIN).await.expect("runs").text();
    assert!(listed.contains(&made.0) && netns::list().expect("lists").contains(&made.0));
    let shown = run(Spawn::new("ip").args(["-n", &made.0, "link", "show", "up"]), WITHIN).await.expect("runs").text();
    assert!(shown.contains("lo:"), "its loopback is up: {shown}");

    let twice = netns::create(&made.0).expect_err("it is there already");
    assert_eq!(twice.errno(), Some(nix::libc::EEXIST), "{twice}");
    assert!(netns::list().expect("lists").contains(&made.0), "a refused second creation removes nothing");

    netns::delete(&made.0).expect("deletes");
    netns::delete(&made.0).expect("twice is no error");
    assert!(!netns::list().expect("lists").contains(&made.0));
}

#[tokio::test(flavor = "current_thread")]
async fn processes_inside_are_found_and_ended() {
    let made = TestNetns::create("inside");
    let child = Spawn::new("sleep").arg("600").netns(made.path()).spawn().expect("starts");
    assert_eq!(netns::processes(&made.path()).expect("looks"), [child.pid()]);
    assert_eq!(netns::kill_processes(&made.path()).expect("kills"), 1);
    assert_eq!(child.exited().await.expect("ends"), firedrill_host::process::Exit::Signal(Signal::SIGKILL));
}

#[tokio::test(flavor = "current_thread")]
async fn hosts_on_a_bridge_talk() {
    let (one, two) = (TestNetns::create("one"), TestNetns::create("two"));
    // The bridge lives in a namespace of its own, as a test must not touch the machine's links.
    let switch = TestNetns::create("switch");
    let address = |last: u8| IpAddr::from([10, 77, 0, last]);
    Batch::new()
        .bridge("br0")
        .veth("p1", "eth0", &one.0)
        .veth("p2", "eth0", &two.0)
        .master("p1", "br0")
        .master("p2", "br0")
        .up("p1")
        .up("p2")
        .apply(Some(&switch.path()))
        .await
        .expect("links");
    for (host, last) in [(&one, 1), (&two, 2)] {
        let batch = Batch::new().address("eth0", address(last), 24).up("eth0").default_route(address(254));
        batch.apply(Some(&host.path())).await.expect("address");
    }
    assert_eq!(link::names(Some(&one.path())).expect("lists"), ["lo", "eth0"]);

    let listener = netns::enter(&two.path(), || TcpListener::bind((address(2), 0))).expect("enters").expect("binds");
    let port = listener.local_addr().expect("bound").port();
    let mut stream =
        netns::enter(&one.path(), || TcpStream::connect((address(2), port))).expect("enters").expect("connects");
    let (mut served, from) = listener.accept().expect("accepts");
    assert_eq!(from.ip(), address(1));
    stream.write_all(b"hello").expect("writes");
    let mut heard = [0; 5];
    served.read_exact(&mut heard).expect("reads");
    assert_eq!(&heard, b"hello");
}

#[tokio::test(flavor = "current_thread")]
async fn a_refused_batch_says_why() {
    let made = TestNetns::create("refuse");
    let error = Batch::new().up("nothing0").apply(Some(&made.path())).await.expect_err("no such link");
    assert!(error.to_string().contains("nothing0"), "{error}");
    link::delete("fdt-no-such").await.expect("deleting what is not there is no error");
}
