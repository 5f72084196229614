//! Whatever happens to the process that holds a fault of a container, the fault comes out, also when the container is gone
//! by then.

use crate::lab::{Agent, Lab, attack, eventually, workers_of};
use crate::runc::{IDLE, RuncContainer};
use firedrill_host::process::State;
use firedrill_model::attack::AttackState;
use firedrill_model::{AttackSpec, Fault, Span};

const STEPS: [&str; 6] = ["Journalled", "Injected", "Verified", "Undoing", "Undone", "Forgotten"];

struct Scene {
    lab: Lab,
    target: RuncContainer,
    before: String,
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::new();
        let target = RuncContainer::running(&lab, IDLE);
        let mut scene = Self { lab, target, before: String::new() };
        scene.before = scene.seen();
        scene
    }

    fn seen(&self) -> String {
        format!("{}{}{}", self.target.limits(), self.target.filter(), self.lab.filter())
    }

    /// An attack that comes to that step: late ones are passed when its time is over, measured or not; before early ones it
    /// must not be over, however slow the machine is.
    fn attack(&self, fault: &Fault, step: &str) -> AttackSpec {
        let late = ["Undoing", "Undone", "Forgotten"].contains(&step);
        let duration = if late { Span::millis(1000) } else { Span::secs(60) };
        let fault = fault.clone().with("container", self.target.name());
        AttackSpec { duration, ..attack(self.target.name(), fault) }
    }

    fn assert_clean(&self, after: &str) {
        let workers = || workers_of(self.lab.journal());
        eventually(&format!("the end of workers after {after}"), || workers().is_empty());
        assert_eq!(self.seen(), self.before, "{after}");
        assert_eq!(self.lab.journalled(), [""; 0], "{after}");
        assert!(self.target.states().iter().all(|state| *state != Some(State::Stopped)), "{after}");
        assert!(self.target.reaches(), "{after}");
    }

    /// Crashes the holder at every step, and has the next agent, or the rescue process, clean up.
    fn crash_everywhere(&self, fault: &Fault) {
        for step in STEPS {
            let after = format!("{fault} crashed at {step}");
            self.lab.holder(&["--crash", step], &[self.attack(fault, step)]).dies();
            self.next_agent_cleans_up(step != "Forgotten", &after);
            self.assert_clean(&after);
        }
        for step in ["Injected", "Verified"] {
            let after = format!("{fault} crashed at {step}, with a rescue process");
            self.lab.holder(&["--rescue", "--crash", step], &[self.attack(fault, step)]).dies();
            eventually(&format!("the rescue after {after}"), || self.lab.journalled().is_empty());
            self.assert_clean(&after);
        }
        // The container is gone, or is another one, when somebody comes to clean up.
        let after = format!("{fault} crashed, and the container ended");
        self.lab.holder(&["--crash", "Verified"], &[self.attack(fault, "Verified")]).dies();
        self.target.remove();
        self.next_agent_cleans_up(true, &after);
        self.target.start(&self.lab);
        self.assert_clean(&after);
        let after = format!("{fault} crashed, and the container was started again");
        self.lab.holder(&["--crash", "Verified"], &[self.attack(fault, "Verified")]).dies();
        self.target.restart(&self.lab);
        self.next_agent_cleans_up(true, &after);
        self.assert_clean(&after);
    }

    fn next_agent_cleans_up(&self, recorded: bool, after: &str) {
        assert_eq!(self.lab.journalled().len(), usize::from(recorded), "{after}");
        self.lab.agent(async |mut agent: Agent| {
            if recorded {
                let report = agent.report().await;
                assert_eq!(report.state, AttackState::Undone, "{after}: {}", report.evidence);
            }
        });
    }
}

#[test]
fn a_crash_leaves_no_packet_rules_in_a_container() {
    Scene::new().crash_everywhere(&Fault::new("partition"));
}

#[test]
fn a_crash_leaves_no_delay_in_a_container() {
    Scene::new().crash_everywhere(&Fault::new("latency").with("delay", "30ms"));
}

#[test]
fn a_crash_leaves_no_stopped_container() {
    Scene::new().crash_everywhere(&Fault::new("pause").with("which", "all"));
}

#[test]
fn a_crash_leaves_no_frozen_container() {
    Scene::new().crash_everywhere(&Fault::new("pause").with("means", "freezer"));
}

#[test]
fn a_crash_leaves_no_quota_on_a_container() {
    Scene::new().crash_everywhere(&Fault::new("cpu-quota").with("cores", 0.3));
}

#[test]
fn a_crash_leaves_no_limit_on_the_processes_of_a_container() {
    Scene::new().crash_everywhere(&Fault::new("pids-limit").with("leave", 10));
}

#[test]
fn a_crash_leaves_no_limit_on_the_memory_of_a_container() {
    Scene::new().crash_everywhere(&Fault::new("memory-limit").with("leave", "40MiB"));
}

#[test]
fn a_hung_holder_keeps_no_rules_in_a_container() {
    let scene = Scene::new();
    let holder = scene.lab.holder(&[], &[scene.attack(&Fault::new("partition"), "Verified")]);
    eventually("the cut", || !scene.target.reaches());
    holder.signal(firedrill_host::process::Signal::SIGSTOP);
    eventually("the end of the lease", || scene.target.reaches());
    holder.signal(firedrill_host::process::Signal::SIGCONT);
    eventually("the holder's own end of the attack", || scene.lab.journalled().is_empty());
}
