//! SIGKILL at any moment, not only at the steps that have a name: of the process that holds a fault, of its rescue process,
//! of both in either order. Nothing stays.
//!
//! The moments follow from `FIREDRILL_SEED` (default 1), so that a failing order of events can be had again.

use crate::kills;
use crate::lab::{Agent, Lab, THERE, Victim, attack, eventually, helpers_of, on_peers, workers_of};
use crate::resource::SmallVolume;
use firedrill_host::process::{OpenFilesLimit, Pidfd, Signal, Spawn, State, run};
use firedrill_model::Fault;
use std::time::Duration;

/// Kills of a holder for each kind. With those of rescue processes, and of the other tests, well over a thousand.
const ROUNDS: u64 = 48;
/// By then a fault is in place and being measured, also on a busy machine.
const LATEST: Duration = Duration::from_millis(60);

/// A small generator (splitmix64).
struct Dice(u64);

impl Dice {
    fn new(kind: &str) -> Self {
        let seed = std::env::var("FIREDRILL_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
        Self(kind.bytes().fold(seed, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte))))
    }

    fn moment(&mut self) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Duration::from_nanos((z ^ (z >> 31)) % u64::try_from(LATEST.as_nanos()).expect("short"))
    }
}

/// Who is killed in a round, in which order.
#[derive(Debug, Clone, Copy)]
enum Blow {
    /// The holder, which has no rescue process: the next agent takes the fault out.
    Holder,
    /// The holder; its rescue process takes the fault out.
    LeavesRescue,
    /// The holder and then the rescue process.
    Both,
    /// The rescue process and then the holder.
    RescueFirst,
}

impl Blow {
    fn of(round: u64) -> Self {
        [Self::Holder, Self::LeavesRescue, Self::Both, Self::RescueFirst][usize::try_from(round % 4).expect("small")]
    }
}

/// A host with one process and one volume to attack.
pub(crate) struct Field {
    pub(crate) lab: Lab,
    pub(crate) victim: Victim,
    volume: SmallVolume,
}

impl Field {
    pub(crate) fn new() -> Self {
        Self { lab: Lab::new(), victim: Victim::new(), volume: SmallVolume::new() }
    }

    /// All that a fault of these kinds could leave behind.
    pub(crate) fn seen(&self) -> String {
        let victim = self.victim.identity();
        let limit = OpenFilesLimit::of(victim).expect("runs");
        let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", victim.pid)).expect("runs");
        let stopped = self.victim.state() == Some(State::Stopped);
        let qdiscs = self.lab.near(|| {
            crate::lab::block_on(run(Spawn::new("tc").args(["qdisc", "show"]), Duration::from_secs(5))).expect("prints")
        });
        let (filter, qdiscs, volume) = (self.lab.filter(), qdiscs.text(), self.volume.seen());
        format!("{filter}\n{qdiscs}\n{volume:?}\n{limit:?}\n{groups}\nstopped {stopped}")
    }

    fn kill_rescue(&self) {
        for pid in helpers_of(self.lab.journal(), "--as-rescue") {
            if Pidfd::open(pid).is_ok_and(|rescue| rescue.signal(Signal::SIGKILL).is_ok()) {
                kills::count("rescue process");
            }
        }
    }

    fn storm(&self, fault: &Fault) {
        let before = self.seen();
        let mut dice = Dice::new(&fault.kind);
        for round in 0..ROUNDS {
            let (blow, moment) = (Blow::of(round), dice.moment());
            let after = format!("{} in round {round}, {blow:?} after {moment:?}", fault.kind);
            let rescue: &[&str] = if matches!(blow, Blow::Holder) { &[] } else { &["--rescue"] };
            let holder = self.lab.holder(rescue, &[attack(&self.id(), fault.clone())]);
            // The moment is the point: anything may be going on by then.
            std::thread::sleep(moment);
            if matches!(blow, Blow::RescueFirst) {
                self.kill_rescue();
            }
            holder.signal(Signal::SIGKILL);
            holder.dies();
            if matches!(blow, Blow::Both) {
                self.kill_rescue();
            }
            // One that lives on ends when it has taken everything out; until then the journal is its own.
            let rescue = || helpers_of(self.lab.journal(), "--as-rescue");
            eventually(&format!("the end of the rescue after {after}"), || rescue().is_empty());
            self.lab.agent(async |agent: Agent| assert!(agent.faults.active().is_empty(), "{after}"));
            assert!(self.clean(), "{after}: {:?}", self.lab.journalled());
            eventually(&format!("the end of workers after {after}"), || workers_of(self.lab.journal()).is_empty());
            eventually(&format!("the host as before, after {after}"), || self.seen() == before);
        }
        assert!(self.lab.reaches(THERE), "{}", fault.kind);
    }

    pub(crate) fn clean(&self) -> bool {
        self.lab.journalled().is_empty()
    }

    /// Control groups are named after attacks, and other tests run at the same time.
    fn id(&self) -> String {
        format!("storm-{}", self.victim.identity().pid)
    }

    pub(crate) fn volume(&self) -> String {
        self.volume.path().to_str().expect("UTF-8").to_owned()
    }
}

#[test]
fn packets_that_vanish() {
    let field = Field::new();
    field.storm(&on_peers("partition", &[THERE]));
    field.storm(&on_peers("loss", &[THERE]).with("percent", 40.0));
    field.storm(&on_peers("reset", &[THERE]));
}

#[test]
fn packets_that_are_held() {
    let field = Field::new();
    field.storm(&on_peers("latency", &[THERE]).with("delay", "30ms"));
    field.storm(&on_peers("bandwidth", &[THERE]).with("rate", "10Mbit/s"));
}

#[test]
fn packets_that_are_changed() {
    let field = Field::new();
    field.storm(&on_peers("corruption", &[THERE]).with("percent", 40.0));
    field.storm(&on_peers("duplication", &[THERE]).with("percent", 40.0));
}

#[test]
fn processes() {
    let field = Field::new();
    field.storm(&Fault::new("pause").with("process", field.victim.select()));
    field.storm(&Fault::new("file-descriptors").with("process", field.victim.select()));
    field.storm(&Fault::new("threads").with("amount", 100));
}

#[test]
fn volumes_and_memory() {
    let field = Field::new();
    field.storm(&Fault::new("disk-fill").with("path", field.volume()).with("to", 90));
    field.storm(&Fault::new("inodes").with("path", field.volume()));
    field.storm(&Fault::new("memory").with("amount", "64MiB"));
}
