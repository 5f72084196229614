//! The machine's clock, moved by less than anybody notices: other tests run beside these.

use crate::crash::until;
use crate::lab::{Lab, LocalAgent, attack, eventually, id, local_holder};
use firedrill_host::clock::{self, Reading};
use firedrill_model::attack::AttackState;
use firedrill_model::{AttackSpec, Fault, Span};
use std::io::Write;

/// All that an attack could change, for the right time is that of the clock which nobody sets.
struct Seen {
    wall_since_boot: i64,
    keeping: clock::Keeping,
}

impl Seen {
    fn now() -> Self {
        let now = Reading::now();
        Self { wall_since_boot: now.wall - now.since_boot, keeping: clock::keeping().expect("Linux") }
    }

    fn assert_same(&self, after: &str) {
        let now = Self::now();
        let ahead = now.wall_since_boot - self.wall_since_boot;
        assert!(ahead.abs() < 250_000, "{after}: {ahead} ns ahead");
        assert_eq!(now.keeping, self.keeping, "{after}");
    }
}

fn wrong_clock() -> Fault {
    Fault::new("host-clock").with("whole_machine", true)
}

/// Whether this is a container, where it must be refused: asserts that it is.
async fn refused_in_a_container(local: &LocalAgent) -> bool {
    let first = std::fs::read_link("/proc/self/ns/pid").expect("reads");
    if first.to_string_lossy() == "pid:[4026531836]" {
        return false;
    }
    let report = local.open().await.faults.inject(attack("contained", wrong_clock().with("offset", "500us"))).await;
    assert_eq!(report.state, AttackState::Refused, "{}", report.evidence);
    assert!(report.evidence.contains("container"), "{}", report.evidence);
    writeln!(std::io::stderr(), "a container: only the refusal was seen").expect("writes");
    true
}

#[test]
fn it_is_refused_on_hosts_that_share_their_clock_and_when_it_is_not_meant() {
    let lab = Lab::new();
    lab.agent(async |agent| {
        let report = agent.faults.inject(attack("shared", wrong_clock().with("offset", "500us"))).await;
        assert_eq!(report.state, AttackState::Refused, "{}", report.evidence);
        assert!(report.evidence.contains("run the agent of the machine itself"), "{}", report.evidence);
        let report = agent.faults.inject(attack("unmeant", Fault::new("host-clock").with("offset", "500us"))).await;
        assert_eq!(report.state, AttackState::Refused, "{}", report.evidence);
        assert!(report.evidence.contains("whole_machine"), "{}", report.evidence);
    });
}

// One test: there is one clock.
#[tokio::test(flavor = "current_thread")]
async fn it_comes_and_goes_whatever_happens_to_its_holder() {
    let local = LocalAgent::new();
    if refused_in_a_container(&local).await {
        return;
    }
    comes_and_goes(&local).await;
    for fault in [wrong_clock().with("offset", "-500us"), wrong_clock().with("drift_ppm", 400).with("offset", "500us")]
    {
        // Each step needs a runtime of its own.
        std::thread::scope(|scope| scope.spawn(|| crashes(&fault)).join()).expect("no panic");
    }
}

async fn comes_and_goes(local: &LocalAgent) {
    let agent = local.open().await;
    let before = Seen::now();
    let spec = attack("jump", wrong_clock().with("offset", "500us"));
    let report = agent.faults.inject(spec).await;
    assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
    let ahead = Seen::now().wall_since_boot - before.wall_since_boot;
    assert!((250_000..750_000).contains(&ahead), "{ahead} ns");
    let again = agent.faults.inject(attack("again", wrong_clock().with("drift_ppm", 100))).await;
    assert!(again.evidence.contains("another attack"), "{}", again.evidence);
    for _ in 0..2 {
        let undone = agent.faults.undo(&id("jump")).await.expect("known");
        assert_eq!(undone.state, AttackState::Undone, "{}", undone.evidence);
        before.assert_same("undone");
    }
    let report = agent.faults.inject(attack("drift", wrong_clock().with("drift_ppm", -400))).await;
    assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
    let undone = agent.faults.undo(&id("drift")).await.expect("known");
    assert_eq!(undone.state, AttackState::Undone, "{}", undone.evidence);
    assert_eq!(clock::keeping().expect("Linux"), before.keeping);
}

/// The holder is killed at every step, and the rescue process or the next agent puts the clock right.
fn crashes(fault: &Fault) {
    for step in ["Journalled", "Injected", "Verified", "Undoing", "Undone", "Forgotten"] {
        let after = format!("{fault} crashed at {step}");
        let local = LocalAgent::new();
        let (keeping, before) = (clock::keeping().expect("Linux"), Seen::now());
        let spec = AttackSpec { duration: Span::millis(2500), ..attack("clock", fault.clone()) };
        local_holder(&local.path(), &["--rescue", "--crash", step], &[until(step, spec)]).dies();
        eventually(&format!("the rescue after {after}"), || local.journalled().is_empty());
        assert_eq!(clock::keeping().expect("Linux"), keeping, "{after}");
        // A drift also moves the clock that this is measured with.
        if fault.parameters.get("drift_ppm").is_none() {
            before.assert_same(&after);
        }
    }
}
