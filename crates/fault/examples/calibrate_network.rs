//! Asked against measured, for network faults: a table in Markdown.
//!
//! Two hosts (network namespaces) on a cable. What is measured is measured from outside, not by the fault itself: TCP
//! handshakes, datagrams that arrive, bytes of a TCP stream. With the argument `out` only what is held on its way out.
//! Needs root.

use firedrill_fault::{Context, Faults};
use firedrill_host::link::Batch;
use firedrill_host::netns;
use firedrill_model::attack::AttackState;
use firedrill_model::{AttackId, AttackSpec, Fault, Span};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1));
const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 2));
/// Handshakes of one line of the table.
const HANDSHAKES: usize = 51;
/// Datagrams of one line, and how many are sent before they are looked for: no more than a receive buffer takes.
const DATAGRAMS: usize = 10_000;
const TOGETHER: usize = 50;
/// Where the far host takes in what is sent.
const SINK_PORT: u16 = 5001;
/// A stream is measured for so long, after the first second, in which the sender finds its speed.
const STREAM_FOR: Duration = Duration::from_secs(4);

fn main() -> Outcome<()> {
    let names = ["here", "there"].map(|end| format!("fdcal-{}-{end}", std::process::id()));
    for name in &names {
        netns::create(name)?;
    }
    let done = measure(&names);
    for name in &names {
        netns::delete(name)?;
    }
    done
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be made").block_on(work)
}

fn measure([here, there]: &[String; 2]) -> Outcome<()> {
    let (near, far) = (netns::path(here), netns::path(there));
    block_on(async {
        let cable = Batch::new().veth("eth0", "eth0", there).address("eth0", HERE, 24).up("eth0");
        cable.apply(Some(&near)).await?;
        Batch::new().address("eth0", THERE, 24).up("eth0").apply(Some(&far)).await
    })?;
    let listener = netns::enter(&far, || TcpListener::bind((THERE, 0)))??;
    let (from, to) =
        (netns::enter(&near, || UdpSocket::bind((HERE, 0)))??, netns::enter(&far, || UdpSocket::bind((THERE, 0)))??);
    to.set_read_timeout(Some(Duration::from_millis(20)))?;
    let target = listener.local_addr()?;
    std::thread::spawn(move || {
        listener.incoming().flatten().for_each(|stream| drop(std::thread::spawn(|| pour(stream))))
    });
    let sink = netns::enter(&far, || TcpListener::bind((THERE, SINK_PORT)))??;
    std::thread::spawn(move || {
        sink.incoming().flatten().for_each(|stream| drop(std::thread::spawn(|| swallow(stream))))
    });
    netns::enter(&near, move || block_on(table(target, &from, &to)))?
}

/// Sends until nobody listens.
fn pour(mut stream: TcpStream) {
    let block = vec![7; 64 * 1024];
    while stream.write_all(&block).is_ok() {}
}

/// Reads until nobody sends, and tells the sender of each 64 KiB.
fn swallow(mut stream: TcpStream) {
    let (mut block, mut bytes) = (vec![0; 1 << 20], 0_u64);
    while let Ok(size @ 1..) = stream.read(&mut block) {
        let before = bytes >> 16;
        bytes += size as u64;
        for _ in before..bytes >> 16 {
            if stream.write_all(&[1]).is_err() {
                return;
            }
        }
    }
}

async fn table(target: SocketAddr, from: &UdpSocket, to: &UdpSocket) -> Outcome<()> {
    let journal = tempfile::tempdir()?;
    let (faults, _reports) = Faults::open(journal.path(), Context::new("here".parse()?)).await?;
    let mut out = std::io::stdout();
    writeln!(out, "| fault | asked | measured | |\n|---|---:|---:|---|")?;
    if std::env::args().nth(1).as_deref() == Some("out") {
        return departures(&faults, (from, to), &mut out).await;
    }
    let usual = handshakes(Duration::from_secs(1)).await?;
    let base = usual[usual.len() / 2];
    for micros in [100, 1_000, 10_000, 100_000, 1_000_000] {
        let delay = Duration::from_micros(micros);
        let id = start(&faults, on_peer("latency").with("delay", Span(delay).to_string())).await?;
        let times = handshakes(delay + Duration::from_secs(1)).await?;
        let at = |percent: usize| times[(times.len() - 1) * percent / 100].saturating_sub(base).as_secs_f64() * 1e3;
        let asked = delay.as_secs_f64() * 1e3;
        writeln!(
            out,
            "| latency | {asked} ms | {:.3} ms p50 | {:.3} ms p99, of {HANDSHAKES} handshakes |",
            at(50),
            at(99)
        )?;
        faults.undo(&id).await?;
    }
    for percent in [0.1, 1.0, 5.0, 10.0, 25.0, 50.0] {
        let id = start(&faults, on_peer("loss").with("percent", percent).with("direction", "outbound")).await?;
        #[allow(clippy::cast_precision_loss, reason = "a few thousand")]
        let lost = (DATAGRAMS - datagrams(from, to).await?) as f64 * 100.0 / DATAGRAMS as f64;
        writeln!(out, "| loss | {percent} % | {lost:.2} % | of {DATAGRAMS} datagrams |")?;
        faults.undo(&id).await?;
    }
    for megabits in [1_u32, 10, 100, 1000] {
        let id = start(&faults, on_peer("bandwidth").with("rate", format!("{megabits}Mbit/s"))).await?;
        let measured = tokio::task::spawn_blocking(move || stream(target)).await??;
        writeln!(
            out,
            "| bandwidth | {megabits} Mbit/s | {measured:.2} Mbit/s | a TCP stream of {} s |",
            STREAM_FOR.as_secs()
        )?;
        faults.undo(&id).await?;
    }
    packet_path(&faults, target, (from, to), &mut out).await?;
    departures(&faults, (from, to), &mut out).await
}

/// What is held on its way out, and what others would be: a stream to the far host.
async fn departures(faults: &Faults, (near, far): (&UdpSocket, &UdpSocket), out: &mut std::io::Stdout) -> Outcome<()> {
    let away = |kind: &str| on_peer(kind).with("direction", "outbound");
    let sink = SocketAddr::from((THERE, SINK_PORT));
    for (way, fault) in [
        ("latency 1 ms", away("latency").with("delay", "1ms")),
        ("latency 10 ms", away("latency").with("delay", "10ms")),
        ("latency 50 ms", away("latency").with("delay", "50ms")),
        ("bandwidth 10 Mbit/s", away("bandwidth").with("rate", "10Mbit/s")),
        ("bandwidth 100 Mbit/s", away("bandwidth").with("rate", "100Mbit/s")),
        ("bandwidth 1000 Mbit/s", away("bandwidth").with("rate", "1000Mbit/s")),
    ] {
        let id = start(faults, fault).await?;
        let times = handshakes(Duration::from_secs(2)).await?;
        let late = times[times.len() / 2].as_secs_f64() * 1e3;
        let megabits = tokio::task::spawn_blocking(move || send_stream(sink)).await??;
        let (from, to) = (near.try_clone()?, far.try_clone()?);
        let packets = tokio::task::spawn_blocking(move || flood(&from, &to)).await??;
        writeln!(
            out,
            "| path out: {way} | | {megabits:.1} Mbit/s | a TCP stream; {packets:.0} datagrams of 100 bytes a second; \
             a handshake takes {late:.2} ms p50 |"
        )?;
        faults.undo(&id).await?;
    }
    Ok(())
}

/// What goes through the packet queue in user space, and what does not, side by side.
async fn packet_path(
    faults: &Faults,
    target: SocketAddr,
    (near, far): (&UdpSocket, &UdpSocket),
    out: &mut std::io::Stdout,
) -> Outcome<()> {
    let elsewhere = Fault::new("latency").with("spare", Vec::<String>::new()).with("peers", vec!["192.0.2.1"]);
    let ways = [
        ("no attack", None),
        ("latency on another peer", Some(elsewhere.with("delay", "1ms"))),
        ("latency 0.1 ms", Some(on_peer("latency").with("delay", "100us"))),
        ("latency 1 ms", Some(on_peer("latency").with("delay", "1ms"))),
        ("latency 10 ms", Some(on_peer("latency").with("delay", "10ms"))),
    ];
    for (way, fault) in ways {
        let id = match fault {
            Some(fault) => Some(start(faults, fault).await?),
            None => None,
        };
        let megabits = tokio::task::spawn_blocking(move || stream(target)).await??;
        let (from, to) = (far.try_clone()?, near.try_clone()?);
        let packets = tokio::task::spawn_blocking(move || flood(&from, &to)).await??;
        let gigabits = megabits / 1000.0;
        writeln!(
            out,
            "| path: {way} | | {gigabits:.2} Gbit/s | a TCP stream; {packets:.0} datagrams of 100 bytes a second |"
        )?;
        if let Some(id) = id {
            faults.undo(&id).await?;
        }
    }
    Ok(())
}

/// Datagrams that arrive in a second when one core sends as many as it can.
fn flood(from: &UdpSocket, to: &UdpSocket) -> Outcome<f64> {
    let target = to.local_addr()?;
    to.set_read_timeout(Some(Duration::from_millis(200)))?;
    let over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // A full queue on the way is what is looked for.
                let _sent = from.send_to(&[7; 100], target);
            }
        });
        let (began, mut arrived) = (Instant::now(), 0_u32);
        while began.elapsed() < STREAM_FOR {
            arrived += u32::from(to.recv(&mut [0; 128]).is_ok());
        }
        let took = began.elapsed();
        over.store(true, Ordering::Relaxed);
        Ok(f64::from(arrived) / took.as_secs_f64())
    })
}

fn on_peer(kind: &str) -> Fault {
    Fault::new(kind).with("spare", Vec::<String>::new()).with("peers", vec![THERE.to_string()])
}

async fn start(faults: &Faults, fault: Fault) -> Outcome<AttackId> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let id = AttackId(format!("{}-{}", fault.kind, NUMBER.fetch_add(1, Ordering::Relaxed)));
    let text = fault.to_string();
    let spec = AttackSpec { id: id.clone(), fault, node: None, duration: Span::secs(600), severs_server: false };
    let report = faults.inject(spec).await;
    match report.state {
        // A short delay is below what twenty probes can tell on a busy machine; here it is measured better.
        AttackState::Active | AttackState::NoEffect => Ok(id),
        state => Err(format!("{text}: {state:?}: {}", report.evidence).into()),
    }
}

/// Times of handshakes with a closed port, sorted.
async fn handshakes(within: Duration) -> Outcome<Vec<Duration>> {
    let mut times = Vec::new();
    for _ in 0..HANDSHAKES {
        let began = Instant::now();
        let refused = tokio::time::timeout(within, tokio::net::TcpStream::connect((THERE, 7))).await;
        if refused.is_ok() {
            times.push(began.elapsed());
        }
    }
    times.sort();
    if times.is_empty() { Err("nobody answers".into()) } else { Ok(times) }
}

/// How many datagrams arrive, without keeping the fault's holder from renewing its lease.
async fn datagrams(from: &UdpSocket, to: &UdpSocket) -> Outcome<usize> {
    let (from, to) = (from.try_clone()?, to.try_clone()?);
    tokio::task::spawn_blocking(move || arriving(&from, &to)).await?
}

/// How many datagrams arrive.
fn arriving(from: &UdpSocket, to: &UdpSocket) -> Outcome<usize> {
    let (target, mut arrived) = (to.local_addr()?, 0);
    for _ in 0..DATAGRAMS / TOGETHER {
        for _ in 0..TOGETHER {
            from.send_to(&[7; 64], target)?;
        }
        while arrived < DATAGRAMS && to.recv(&mut [0; 128]).is_ok() {
            arrived += 1;
        }
    }
    Ok(arrived)
}

/// Megabits per second of a stream to the far host, as it has arrived there.
fn send_stream(target: SocketAddr) -> Outcome<f64> {
    let stream = TcpStream::connect(target)?;
    let mut sending = stream.try_clone()?;
    let over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let block = vec![7; 64 * 1024];
            while !over.load(Ordering::Relaxed) {
                if sending.write_all(&block).is_err() {
                    break;
                }
            }
            let _sent_before = sending.shutdown(std::net::Shutdown::Write);
        });
        let (mut answers, mut buffer) = (stream, [0; 4096]);
        let warm = Instant::now();
        while warm.elapsed() < Duration::from_secs(1) {
            let _warming_up = answers.read(&mut buffer)?;
        }
        let (began, mut blocks) = (Instant::now(), 0_usize);
        while began.elapsed() < STREAM_FOR {
            blocks += answers.read(&mut buffer)?;
        }
        let took = began.elapsed().as_secs_f64();
        over.store(true, Ordering::Relaxed);
        answers.shutdown(std::net::Shutdown::Both)?;
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        Ok((blocks << 16) as f64 * 8.0 / took / 1e6)
    })
}

/// Megabits per second of a stream from the far host.
fn stream(target: SocketAddr) -> Outcome<f64> {
    let mut stream = TcpStream::connect(target)?;
    let mut buffer = vec![0; 1 << 20];
    let warm = Instant::now();
    while warm.elapsed() < Duration::from_secs(1) {
        let _warming_up = stream.read(&mut buffer)?;
    }
    let (began, mut bytes) = (Instant::now(), 0_usize);
    while began.elapsed() < STREAM_FOR {
        bytes += stream.read(&mut buffer)?;
    }
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    Ok(bytes as f64 * 8.0 / began.elapsed().as_secs_f64() / 1e6)
}
