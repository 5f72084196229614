//! Whatever happens to the process that holds a resource, the resource is free again.

use crate::crash::until;
use crate::lab::{Agent, Lab, Victim, attack, eventually, workers_of};
use crate::resource::SmallVolume;
use firedrill_host::process::{OpenFilesLimit, Signal};
use firedrill_host::usage;
use firedrill_model::attack::AttackState;
use firedrill_model::{AttackSpec, Fault, Span};
use std::path::PathBuf;

const STEPS: [&str; 6] = ["Journalled", "Injected", "Verified", "Undoing", "Undone", "Forgotten"];

/// What attacks are done to, and how it was before.
pub(crate) struct Scene {
    lab: Lab,
    volume: SmallVolume,
    pub(crate) victim: Victim,
    before: String,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::with(Victim::new())
    }

    pub(crate) fn with(victim: Victim) -> Self {
        let mut scene = Self { lab: Lab::new(), volume: SmallVolume::new(), victim, before: String::new() };
        scene.before = scene.seen();
        scene
    }

    fn seen(&self) -> String {
        let limit = OpenFilesLimit::of(self.victim.identity()).expect("runs");
        let pid = self.victim.identity().pid;
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("runs");
        format!("{:?} {limit:?} {groups}", self.volume.seen())
    }

    /// Short enough that the undo begins by itself soon, long enough to be measured before.
    fn attack(&self, fault: Fault) -> AttackSpec {
        AttackSpec { duration: Span::millis(3500), ..attack(&self.id(), fault) }
    }

    /// Cgroups are named after attacks, and other tests run at the same time.
    fn id(&self) -> String {
        format!("crash-{}", self.victim.identity().pid)
    }

    fn volume(&self) -> String {
        self.volume.path().to_str().expect("UTF-8").to_owned()
    }

    fn assert_clean(&self, after: &str) {
        let workers = || workers_of(self.lab.journal());
        eventually(&format!("the end of workers after {after}"), || workers().is_empty());
        assert_eq!(self.seen(), self.before, "{after}");
        assert_eq!(self.lab.journalled(), [""; 0], "{after}");
        assert_eq!(groups_named(&format!("firedrill-{}", self.id())), [""; 0].map(PathBuf::from), "{after}");
    }

    /// Crashes the holder at every step, and has the next agent, or the rescue process, clean up.
    pub(crate) fn crash_everywhere(&self, fault: &Fault) {
        for step in STEPS {
            let after = format!("{} crashed at {step}", fault.kind);
            self.lab.holder(&["--crash", step], &[until(step, self.attack(fault.clone()))]).dies();
            let recorded = self.lab.journalled().len();
            assert_eq!(recorded, usize::from(step != "Forgotten"), "{after}");
            self.lab.agent(async |mut agent: Agent| {
                if recorded == 1 {
                    assert_eq!(agent.report().await.state, AttackState::Undone, "{after}");
                }
            });
            self.assert_clean(&after);
        }
        for step in ["Injected", "Verified"] {
            let after = format!("{} crashed at {step}, with a rescue process", fault.kind);
            self.lab.holder(&["--rescue", "--crash", step], &[until(step, self.attack(fault.clone()))]).dies();
            eventually(&format!("the rescue after {after}"), || self.lab.journalled().is_empty());
            self.assert_clean(&after);
        }
    }
}

/// Control groups of that name in any hierarchy.
pub(crate) fn groups_named(name: &str) -> Vec<PathBuf> {
    let (mut found, mut dirs) = (Vec::new(), vec![PathBuf::from("/sys/fs/cgroup")]);
    while let Some(dir) = dirs.pop() {
        // Groups of others come and go meanwhile.
        let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
        dirs.extend(entries.filter(|one| one.file_type().is_ok_and(|kind| kind.is_dir())).map(|one| one.path()));
        if dir.ends_with(name) {
            found.push(dir);
        }
    }
    found
}

#[test]
fn a_crash_leaves_no_cpu_load() {
    Scene::new().crash_everywhere(&Fault::new("cpu").with("load", 10));
}

#[test]
fn a_crash_leaves_no_memory() {
    Scene::new().crash_everywhere(&Fault::new("memory").with("amount", "100MiB"));
}

#[test]
fn a_crash_leaves_no_full_volume() {
    let scene = Scene::new();
    scene.crash_everywhere(&Fault::new("disk-fill").with("path", scene.volume()).with("to", 90));
}

#[test]
fn a_crash_leaves_no_files() {
    let scene = Scene::new();
    scene.crash_everywhere(&Fault::new("inodes").with("path", scene.volume()));
}

#[test]
fn a_crash_leaves_no_lowered_limit() {
    let scene = Scene::new();
    scene.crash_everywhere(&Fault::new("file-descriptors").with("process", scene.victim.select()));
}

#[test]
fn a_crash_leaves_no_open_files() {
    Scene::new().crash_everywhere(&Fault::new("file-descriptors").with("host", true).with("amount", 1000));
}

#[test]
fn a_crash_leaves_no_threads() {
    Scene::new().crash_everywhere(&Fault::new("threads").with("amount", 500));
}

#[test]
fn a_crash_leaves_no_disk_load() {
    let fault = Fault::new("disk-io").with("path", std::env::temp_dir().to_str().expect("UTF-8")).with("write", "1MiB");
    Scene::new().crash_everywhere(&fault);
}

#[test]
fn a_hung_holder_keeps_no_load_in_place() {
    let scene = Scene::new();
    // So long that whatever ends it is not its deadline.
    let spec = AttackSpec { duration: Span::secs(600), ..attack("r", Fault::new("cpu").with("load", 10)) };
    let holder = scene.lab.holder(&[], &[spec]);
    let workers = || workers_of(scene.lab.journal());
    eventually("the load", || {
        workers().iter().any(|pid| {
            firedrill_host::process::Identity::of(*pid)
                .and_then(usage::cpu_time)
                .is_ok_and(|used| used.as_millis() > 150)
        })
    });
    // Past the verification and its longer first lease.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    holder.signal(Signal::SIGSTOP);
    // Five seconds on a machine that was done with the verification; a slow one may still have its first lease.
    eventually("the end of the lease", || workers().is_empty());
    holder.signal(Signal::SIGCONT);
    eventually("the holder's own end of the attack", || scene.lab.journalled().is_empty());
}
