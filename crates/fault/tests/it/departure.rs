//! What leaves a host is held and sent again.

use crate::crash::{STEPS, endless, short, until};
use crate::lab::{Lab, OTHER, THERE, attack, eventually, id, on_peers};
use firedrill_host::process::Signal;
use firedrill_model::Fault;
use firedrill_model::attack::AttackState;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

fn slow(delay_ms: u64, direction: &str) -> Fault {
    on_peers("latency", &[THERE]).with("delay", format!("{delay_ms}ms")).with("direction", direction)
}

fn millis(from: u64, to: u64) -> std::ops::Range<Duration> {
    Duration::from_millis(from)..Duration::from_millis(to)
}

/// Sends so many bytes to a far listener, and says how long that took until they were all received.
fn send(lab: &Lab, bytes: usize) -> Duration {
    let listener = lab.far(|| TcpListener::bind((THERE, 0))).expect("binds");
    let target = listener.local_addr().expect("bound");
    let receiver = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accepts");
        let mut received = Vec::new();
        stream.read_to_end(&mut received).expect("receives");
        // What is sent again is what was sent.
        assert!(received.iter().zip(0..).all(|(byte, place): (_, usize)| *byte == place.to_be_bytes()[7]));
        received.len()
    });
    let began = Instant::now();
    lab.near(|| {
        let mut stream = TcpStream::connect(target).expect("connects");
        stream.write_all(&(0..bytes).map(|place| place.to_be_bytes()[7]).collect::<Vec<u8>>()).expect("sends");
    });
    assert_eq!(receiver.join().expect("received"), bytes);
    began.elapsed()
}

#[test]
fn what_leaves_is_as_late_as_asked_and_both_ways_add_up() {
    let lab = Lab::new();
    let before = lab.filter();
    lab.agent(async |agent| {
        for (direction, late) in [("outbound", millis(99, 160)), ("both", millis(199, 280))] {
            let report = agent.faults.inject(attack(direction, slow(100, direction))).await;
            assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
            let seen = lab.round_trip(THERE).expect("answers");
            assert!(late.contains(&seen), "{direction}: {seen:?}");
            assert!(lab.round_trip(OTHER).expect("answers") < Duration::from_millis(80), "only the peer is slow");
            for _ in 0..2 {
                let report = agent.faults.undo(&id(direction)).await.expect("known");
                assert_eq!(report.state, AttackState::Undone, "{}", report.evidence);
            }
            assert!(lab.round_trip(THERE).expect("answers") < Duration::from_millis(50));
            assert_eq!(lab.filter(), before);
        }
    });
    assert_eq!(lab.journalled(), [""; 0]);
}

#[test]
fn a_stream_that_is_held_on_its_way_out_does_not_crawl() {
    const BYTES: usize = 16 << 20;
    let lab = Lab::new();
    lab.agent(async |agent| {
        let report = agent.faults.inject(attack("slow", slow(10, "outbound"))).await;
        assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
        let took = send(&lab, BYTES);
        // Hundreds of Mbit/s when nothing else runs (docs/benchmarks.md).
        assert!(took < Duration::from_secs(12), "{took:?}");
    });
}

#[test]
fn several_on_the_way_out_add_up_and_end_alone() {
    let lab = Lab::new();
    lab.agent(async |agent| {
        for (name, delay) in [("a", 60), ("b", 80)] {
            let report = agent.faults.inject(attack(name, slow(delay, "outbound"))).await;
            assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
        }
        let both = lab.round_trip(THERE).expect("answers");
        assert!(millis(139, 220).contains(&both), "{both:?}");
        agent.faults.undo(&id("a")).await.expect("known");
        let one = lab.round_trip(THERE).expect("answers");
        assert!(millis(79, 130).contains(&one), "{one:?}");
    });
}

#[test]
fn datagrams_of_all_sizes_arrive_late_and_whole() {
    let lab = Lab::new();
    let near = lab.near(|| UdpSocket::bind((crate::lab::HERE, 0))).expect("binds");
    let far = lab.far(|| UdpSocket::bind((THERE, 0))).expect("binds");
    far.set_read_timeout(Some(crate::lab::WITHIN)).expect("sets");
    lab.agent(async |agent| {
        let report = agent.faults.inject(attack("slow", slow(100, "outbound"))).await;
        assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
        // The last is cut into pieces on its way, and the one before is as long as fits.
        for size in [1, 1000, 1472, 20_000] {
            let (sent, mut buffer) = (Instant::now(), vec![0; 30_000]);
            near.send_to(&vec![7; size], far.local_addr().expect("bound")).expect("sends");
            let received = far.recv(&mut buffer).expect("arrives");
            assert!(sent.elapsed() >= Duration::from_millis(99), "{size}: {:?}", sent.elapsed());
            assert!(received == size && buffer[..size].iter().all(|byte| *byte == 7), "{size}");
        }
    });
}

#[test]
fn what_waits_does_not_count_against_its_sender() {
    const DATAGRAMS: usize = 4000;
    let lab = Lab::new();
    let near = lab.near(|| UdpSocket::bind((crate::lab::HERE, 0))).expect("binds");
    lab.agent(async |agent| {
        let report = agent.faults.inject(attack("slow", slow(500, "outbound"))).await;
        assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
        let began = Instant::now();
        for _ in 0..DATAGRAMS {
            near.send_to(&[7; 100], (THERE, 9)).expect("sends");
        }
        // Held by the kernel, some 250 of them would fill the sender's buffer, for half a second each time.
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    });
}

#[test]
fn a_line_out_is_as_slow_as_asked() {
    let lab = Lab::new();
    lab.agent(async |agent| {
        let fault = on_peers("bandwidth", &[THERE]).with("rate", "20Mbit/s").with("direction", "outbound");
        let report = agent.faults.inject(attack("line", fault)).await;
        assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
        // 0.4 s at least; the upper bound is for a busy machine.
        let took = send(&lab, 1_000_000);
        assert!(millis(380, 2500).contains(&took), "{took:?}");
    });
}

#[test]
fn a_crash_at_any_step_leaves_nothing_of_either_way() {
    let lab = Lab::new();
    let filter = lab.filter();
    for step in STEPS {
        let spec = attack("slow", slow(100, "both"));
        lab.holder(&["--rescue", "--crash", step], &[until(step, short(spec))]).dies();
        eventually(&format!("the rescue after {step}"), || lab.journalled().is_empty());
        assert_eq!(lab.filter(), filter, "{step}");
        assert!(lab.round_trip(THERE).is_some_and(|took| took < Duration::from_millis(90)), "{step}");
    }
}

#[test]
fn a_hung_holder_loses_what_it_holds_and_then_its_lease() {
    let lab = Lab::new();
    let holder = lab.holder(&[], &[endless(attack("slow", slow(100, "outbound")))]);
    eventually("the delay", || lab.round_trip(THERE).is_some_and(|took| took > Duration::from_millis(99)));
    holder.signal(Signal::SIGSTOP);
    eventually("the end of the lease", || lab.round_trip(THERE).is_some_and(|took| took < Duration::from_millis(90)));
    holder.signal(Signal::SIGKILL);
    holder.dies();
    assert!(lab.reaches(THERE));
}

#[test]
fn addresses_of_the_other_version_are_held_as_well() {
    let lab = Lab::new();
    let (here, there) = ("fd79::1", "fd79::2");
    let add = |name: &str, address: &str| {
        let words = ["-6", "address", "add", &format!("{address}/64"), "dev", "eth0", "nodad"].map(str::to_owned);
        let spawn = firedrill_host::process::Spawn::new("ip").args(words).netns(firedrill_host::netns::path(name));
        crate::lab::block_on(firedrill_host::process::run(spawn, crate::lab::WITHIN)).expect("an address");
    };
    add(lab.here(), here);
    add(lab.there(), there);
    let there: IpAddr = there.parse().expect("an address");
    eventually("a way there", || lab.round_trip(there).is_some());
    lab.agent(async |agent| {
        let fault = on_peers("latency", &[there]).with("delay", "100ms").with("direction", "outbound");
        let report = agent.faults.inject(attack("six", fault)).await;
        assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
        let seen = lab.round_trip(there).expect("answers");
        assert!(millis(99, 160).contains(&seen), "{seen:?}");
    });
}
