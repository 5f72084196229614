//! Time skew, against a program that asks for the time without pause (`examples/clock.rs`) and a real MariaDB server.

use crate::engine::Ward;
use crate::fleet::{column, name};
use crate::lab::{Agent, LocalAgent, attack, eventually, id};
use firedrill_fault::Context;
use firedrill_host::process::{Child, Identity, Image, Signal, Spawn, Stream, mappings};
use firedrill_model::attack::{AttackReport, AttackState};
use firedrill_model::{AttackSpec, Fault, Span};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const STEPS: [&str; 6] = ["Journalled", "Injected", "Verified", "Undoing", "Undone", "Forgotten"];
const SECOND: i64 = 1_000_000_000;
const HOUR: i64 = 3600 * SECOND;
/// `time` tells whole seconds, and those of the kernel's last tick: just after a second begins it still tells the one
/// before. No kernel ticks less often than a hundred times a second.
const COARSE: i64 = SECOND + SECOND / 100;

/// The program that is attacked; killed when dropped.
struct Clock {
    child: Child,
    questions: File,
    answers: BufReader<File>,
}

impl Clock {
    fn with_threads(threads: u32) -> Self {
        let own = std::env::current_exe().expect("has a path");
        let program = own.ancestors().nth(2).expect("in deps").join("examples/clock");
        assert!(program.exists(), "{} is built with the tests of this crate", program.display());
        let spawn = Spawn::new(program).arg(threads.to_string()).stdin(Stream::Pipe).stdout(Stream::Pipe);
        let mut child = spawn.spawn().expect("starts");
        let questions = File::from(child.stdin.take().expect("a pipe"));
        let answers = BufReader::new(File::from(child.stdout.take().expect("a pipe")));
        Self { child, questions, answers }
    }

    fn identity(&self) -> Identity {
        self.child.identity()
    }

    fn fault(&self) -> Fault {
        let process = serde_json::json!({ "select": "pid", "pid": self.child.pid() });
        Fault::new("time-skew").with("process", process)
    }

    /// By how much its three wall clocks and its monotonic clock are off, in nanoseconds.
    fn off(&mut self) -> [i64; 4] {
        let (wall, monotonic) = (wall(), monotonic());
        writeln!(self.questions, "?").expect("it lives");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("it answers");
        let mut told = line.split_whitespace().map(|word| word.parse::<i64>().expect("a number"));
        [wall, wall, wall, monotonic].map(|own| told.next().expect("four numbers") - own)
    }

    /// All three wall clocks are off by that, as near as the coarsest can tell; the monotonic clock is not.
    fn is_off_by(&mut self, expected: i64) -> bool {
        let off = self.off();
        let near = |off: i64, expected: i64| (expected - COARSE..=expected + COARSE).contains(&off);
        assert!(near(off[3], 0), "the monotonic clock is {off:?} off");
        off[..3].iter().all(|off| near(*off, expected))
    }

    /// Its clock functions are the kernel's own, byte for byte.
    fn is_untouched(&self) -> bool {
        vdso(self.identity()) == vdso(Identity::current().expect("exists"))
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        // Dead already in some tests.
        let _dead = self.child.signal(Signal::SIGKILL);
    }
}

fn vdso(process: Identity) -> Vec<u8> {
    let all = mappings(process).expect("lists");
    let mapping = all.iter().find(|mapping| mapping.name == "[vdso]").expect("every process here has one");
    let bytes = usize::try_from(mapping.bytes()).expect("small");
    Image::open(process).expect("opens").read(mapping.start, bytes).expect("reads")
}

fn wall() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_nanos()).expect("before 2262")
}

fn monotonic() -> i64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("there is one");
    now.tv_sec() * SECOND + now.tv_nsec()
}

async fn active(agent: &Agent, name: &str, fault: Fault) -> AttackReport {
    let report = agent.faults.inject(attack(name, fault)).await;
    assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
    report
}

async fn undone(agent: &Agent, name: &str) -> AttackReport {
    let report = agent.faults.undo(&id(name)).await.expect("known");
    assert_eq!(report.state, AttackState::Undone, "{}", report.evidence);
    report
}

#[tokio::test(flavor = "current_thread")]
async fn a_process_sees_another_time_and_then_the_right_one() {
    let (mut clock, local) = (Clock::with_threads(2), LocalAgent::new());
    let agent = local.open().await;
    assert!(clock.is_off_by(0) && clock.is_untouched());
    for (offset, expected) in [("1h", HOUR), ("-1h", -HOUR), ("+365d", 8760 * HOUR)] {
        let name = format!("t{offset}").replace('+', "");
        let report = active(&agent, &name, clock.fault().with("offset", offset)).await;
        assert!(report.evidence.contains("looked that code up"), "{}", report.evidence);
        assert!(clock.is_off_by(expected), "{:?}", clock.off());
        assert!(!clock.is_untouched(), "a look that sees nothing proves nothing");
        for _ in 0..2 {
            undone(&agent, &name).await;
            assert!(clock.is_off_by(0), "{:?}", clock.off());
            assert!(clock.is_untouched());
        }
    }
    assert!(local.journalled().is_empty());
}

#[tokio::test(flavor = "current_thread")]
async fn a_clock_drifts_and_jumps_when_asked() {
    let (mut clock, local) = (Clock::with_threads(0), LocalAgent::new());
    let agent = local.open().await;
    let began = Instant::now();
    active(&agent, "fast", clock.fault().with("drift_ppm", 500_000)).await;
    let injected = began.elapsed();
    eventually("a second gained", || clock.off()[0] > SECOND);
    let gained = clock.off()[0];
    let most = i64::try_from(began.elapsed().as_nanos()).expect("short") / 2;
    let least = i64::try_from(began.elapsed().saturating_sub(injected).as_nanos()).expect("short") / 2 - SECOND / 5;
    assert!((least..=most).contains(&gained), "{least} to {most} expected, {gained} gained");
    undone(&agent, "fast").await;

    let began = Instant::now();
    active(&agent, "jump", clock.fault().with("offset", "-1h").with("after", "1500ms")).await;
    assert!(clock.is_off_by(0) || began.elapsed() > Duration::from_millis(1400));
    eventually("the jump", || clock.is_off_by(-HOUR));
    assert!(began.elapsed() > Duration::from_millis(1400));
    undone(&agent, "jump").await;
    assert!(clock.is_off_by(0) && clock.is_untouched());
}

#[tokio::test(flavor = "current_thread")]
async fn a_busy_process_bears_it_over_and_over() {
    const ROUNDS: u32 = 40;
    let (mut clock, local) = (Clock::with_threads(6), LocalAgent::new());
    let agent = local.open().await;
    for round in 0..ROUNDS {
        let name = format!("t{round}");
        active(&agent, &name, clock.fault().with("offset", "1h")).await;
        undone(&agent, &name).await;
    }
    assert!(clock.is_off_by(0) && clock.is_untouched() && clock.identity().alive());
}

#[tokio::test(flavor = "current_thread")]
async fn one_attack_at_a_time_on_a_clock() {
    let (mut clock, local) = (Clock::with_threads(0), LocalAgent::new());
    let agent = local.open().await;
    active(&agent, "first", clock.fault().with("offset", "1h")).await;
    let report = agent.faults.inject(attack("second", clock.fault().with("offset", "2h"))).await;
    assert_eq!(report.state, AttackState::Refused, "{}", report.evidence);
    // Another agent, which knows nothing of the first.
    let other = LocalAgent::new();
    let stranger = other.open().await;
    let report = stranger.faults.inject(attack("third", clock.fault().with("offset", "2h"))).await;
    assert_eq!(report.state, AttackState::Refused, "{}", report.evidence);
    assert!(clock.is_off_by(HOUR), "{:?}", clock.off());
    undone(&agent, "first").await;
    assert!(clock.is_untouched());
}

#[tokio::test(flavor = "current_thread")]
async fn a_process_that_ends_or_becomes_another_is_no_failure() {
    let local = LocalAgent::new();
    let agent = local.open().await;
    let clock = Clock::with_threads(1);
    active(&agent, "ended", clock.fault().with("offset", "1h")).await;
    clock.child.signal(Signal::SIGKILL).expect("alive");
    eventually("the end", || !clock.identity().alive());
    let report = undone(&agent, "ended").await;
    assert!(report.evidence.contains("1 have ended"), "{}", report.evidence);

    let script = "read _; exec sleep 600";
    let mut child = Spawn::new("sh").args(["-c", script]).stdin(Stream::Pipe).spawn().expect("starts");
    let process = serde_json::json!({ "select": "pid", "pid": child.pid() });
    let was = vdso(child.identity());
    let fault = Fault::new("time-skew").with("process", process).with("offset", "1h");
    active(&agent, "other", fault).await;
    assert_ne!(vdso(child.identity()), was);
    File::from(child.stdin.take().expect("a pipe")).write_all(b"\n").expect("it reads");
    eventually("another program", || {
        let line = std::fs::read(format!("/proc/{}/cmdline", child.pid())).unwrap_or_default();
        line.starts_with(b"sleep") && mappings(child.identity()).is_ok_and(|all| !all.is_empty())
    });
    undone(&agent, "other").await;
    assert_eq!(vdso(child.identity()), was);
    child.signal(Signal::SIGKILL).expect("alive");
}

fn spec(clock: &Clock, duration: Span) -> AttackSpec {
    AttackSpec { duration, ..attack("skew", clock.fault().with("offset", "1h")) }
}

#[test]
fn a_crash_at_any_step_leaves_nothing() {
    for (step, rescue) in STEPS.into_iter().flat_map(|step| [(step, false), (step, true)]) {
        let (mut clock, local) = (Clock::with_threads(1), LocalAgent::new());
        let after = format!("crashed at {step}, rescue: {rescue}");
        let text = serde_json::to_string(&spec(&clock, Span::millis(700))).expect("serialises");
        let mut arguments = vec!["--crash", step, &text];
        arguments.extend(rescue.then_some("--rescue"));
        crate::lab::block_on(async {
            local.holder(&arguments).has_died().await;
            if !rescue {
                drop(local.open().await);
            }
        });
        eventually(&format!("the undo, {after}"), || local.journalled().is_empty());
        assert!(clock.is_off_by(0) && clock.is_untouched(), "{after}");
    }
}

#[test]
fn nobody_is_needed_for_the_time_to_be_right_again() {
    let (mut clock, local) = (Clock::with_threads(1), LocalAgent::new());
    let text = serde_json::to_string(&spec(&clock, Span::secs(600))).expect("serialises");
    let holder = crate::lab::block_on(async { local.holder(&[&text]) });
    eventually("the skew", || clock.is_off_by(HOUR));
    // The first lease covers the verification; then it is renewed every second.
    std::thread::sleep(Duration::from_millis(1500));
    holder.signal(Signal::SIGKILL);
    holder.dies();
    assert!(clock.is_off_by(HOUR), "the lease has not run out yet");
    let took = eventually("the end of the lease", || clock.is_off_by(0));
    assert!(took < Duration::from_secs(9), "{took:?}");
    assert!(!clock.is_untouched(), "by the deadline in the code alone");
    crate::lab::block_on(async { drop(local.open().await) });
    assert!(clock.is_untouched());
}

#[tokio::test(flavor = "current_thread")]
async fn a_database_server_tells_another_time() {
    let ward = Ward::one().await;
    let node = ward.node();
    let admin = node.admin().expect("runs");
    let (process, found) = (admin.process, name(node));
    let mut context = Context::new("here".parse().expect("name"));
    context.database = Box::new(move |wanted| (*wanted == found).then_some(process));
    context.admin = Box::new(move |wanted| (*wanted == admin.node).then(|| admin.clone()));
    let agent = ward.local.open_with(context).await;
    let off = async || {
        let told = column(node, "SELECT UNIX_TIMESTAMP()").await;
        told.first().expect("one").parse::<i64>().expect("a number") - wall() / SECOND
    };
    assert!(off().await.abs() <= 1);
    for (offset, expected) in [("1h", 3600), ("-1h", -3600)] {
        let fault = Fault::new("time-skew").with("offset", offset);
        let attacked = format!("now{offset}");
        let report = agent.faults.inject(AttackSpec { node: Some(name(node)), ..attack(&attacked, fault) }).await;
        assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
        assert!(report.evidence.contains("NOW()"), "{}", report.evidence);
        assert!((off().await - expected).abs() <= 1, "{}", off().await);
        undone(&agent, &attacked).await;
        assert!(off().await.abs() <= 1);
    }
    assert_eq!(vdso(process), vdso(Identity::current().expect("exists")));
}
