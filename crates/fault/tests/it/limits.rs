//! Limits through cgroups: a process gets less, and afterwards is where it was.

use crate::lab::{Agent, LocalAgent, Victim, WITHIN, attack, block_on, eventually, id, with_workers};
use crate::resource_crash::{Scene, groups_named};
use firedrill_host::cgroup::Cgroup;
use firedrill_host::controller::{Controller, Membership, Version};
use firedrill_host::process::Identity;
use firedrill_model::Fault;
use firedrill_model::attack::AttackState;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

fn groups(victim: &Victim) -> String {
    std::fs::read_to_string(format!("/proc/{}/cgroup", victim.identity().pid)).expect("runs")
}

fn throttle(victim: &Victim) -> Fault {
    let path = std::env::temp_dir();
    let fault = Fault::new("io-throttle").with("process", victim.select());
    // So little that an emulated or a busy disk is faster, too.
    fault.with("path", path.to_str().expect("UTF-8")).with("write", "256KiB")
}

/// Cgroups are named after attacks, and other tests run at the same time.
fn unique(victim: &Victim, stem: &str) -> String {
    format!("fdf-{stem}-{}", victim.identity().pid)
}

/// A group like that of a service of the system, in a group of its own (a slice), which nobody else changes.
struct Service {
    slice: Cgroup,
    group: Cgroup,
    version: Version,
}

impl Service {
    fn new(controller: Controller) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let own = Membership::of(Identity::current().expect("runs"), controller).expect("reads");
        let own = own.expect("these tests need a cgroup hierarchy with that controller");
        let name = format!("fdf-slice-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let slice = Cgroup::in_dir(own.mount.join(name));
        let group = Cgroup::in_dir(slice.dir().join("service"));
        for group in [&slice, &group] {
            group.make().expect("these tests need root");
        }
        Self { slice, group, version: own.version }
    }

    /// All that an attack could change of it.
    fn seen(&self) -> String {
        let files = ["cpu.max", "cpu.cfs_quota_us", "io.max", "blkio.throttle.write_bps_device"];
        let read = files.map(|file| format!("{file} {:?}", self.group.read(file).ok()));
        // In no order of the kernel's that would mean anything.
        let inside = BTreeSet::from_iter(self.group.processes().expect("lists"));
        let beside = std::fs::read_dir(self.slice.dir()).expect("lists").flatten();
        let beside = beside.filter(|one| one.file_type().is_ok_and(|kind| kind.is_dir())).count();
        format!("{read:?} {inside:?} passed on {:?}, {beside} groups", self.slice.read("cgroup.subtree_control").ok())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let ended = block_on_thread(self.slice.kill_all(WITHIN));
        let removed = ended.and_then(|()| self.slice.remove());
        if let Err(problem) = removed {
            assert!(std::thread::panicking(), "{problem}");
        }
    }
}

/// Also from within a runtime.
fn block_on_thread<T: Send>(work: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| scope.spawn(|| block_on(work)).join().expect("no panic"))
}

async fn in_and_out(victim: &Victim, stem: &str, fault: Fault) {
    let name = &unique(victim, stem);
    let local = LocalAgent::new();
    let agent = local.open_with(with_workers(&local.path())).await;
    let before = groups(victim);
    let report = agent.faults.inject(attack(name, fault)).await;
    assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
    assert_ne!(groups(victim), before, "{}", report.mechanism);
    for _ in 0..2 {
        let undone = agent.faults.undo(&id(name)).await.expect("known");
        assert_eq!(undone.state, AttackState::Undone, "{}", undone.evidence);
        assert_eq!(groups(victim), before);
    }
    assert_eq!(groups_named(&format!("firedrill-{name}")), [""; 0].map(PathBuf::from));
    assert_eq!(local.workers(), [0; 0]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_process_gets_less_processor_time() {
    let victim = Victim::running(&["-c", "while :; do :; done"]);
    in_and_out(&victim, "quota", quota(&victim)).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_process_gets_less_of_a_device() {
    let victim = Victim::new();
    in_and_out(&victim, "throttle", throttle(&victim)).await;
}

#[tokio::test(flavor = "current_thread")]
async fn the_limit_of_a_service_is_put_back() {
    let service = Service::new(Controller::Cpu);
    let (victim, beside) = (Victim::in_group(&service.group), Victim::in_group(&service.group));
    let local = LocalAgent::new();
    let agent = local.open_with(with_workers(&local.path())).await;
    // First nothing is set, and in version 2 nothing can be: the slice does not pass the controller on.
    let untouched = service.seen();
    whole_group(&agent, &service, "first", &victim).await;
    assert_eq!(service.seen(), untouched);
    // It does during another attack, and then an administrator sets a limit of their own.
    let name = unique(&beside, "other");
    let other = agent.faults.inject(attack(&name, quota(&beside))).await;
    assert_eq!(other.state, AttackState::Active, "{}", other.evidence);
    let (file, limit, none) = match service.version {
        Version::One => ("cpu.cfs_quota_us", "50000", "-1"),
        Version::Two => ("cpu.max", "50000 100000", "max"),
    };
    service.group.write(file, limit).expect("sets");
    whole_group(&agent, &service, "second", &victim).await;
    assert_eq!(service.group.read(file).expect("reads").trim(), limit);
    service.group.write(file, none).expect("sets");
    let undone = agent.faults.undo(&id(&name)).await.expect("known");
    assert_eq!(undone.state, AttackState::Undone, "{}", undone.evidence);
    assert_eq!(service.seen(), untouched);
}

fn quota(victim: &Victim) -> Fault {
    // So little that the worker which measures it gets more on a busy machine, too.
    Fault::new("cpu-quota").with("process", victim.select()).with("cores", 0.2)
}

/// An attack on all of a service, in and out again.
async fn whole_group(agent: &Agent, service: &Service, name: &str, victim: &Victim) {
    let before = (service.seen(), groups(victim));
    let report = agent.faults.inject(attack(name, quota(victim).with("whole_group", true))).await;
    assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
    assert_ne!(service.seen(), before.0);
    for _ in 0..2 {
        let undone = agent.faults.undo(&id(name)).await.expect("known");
        assert_eq!(undone.state, AttackState::Undone, "{}", undone.evidence);
        assert_eq!((service.seen(), groups(victim)), before);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn one_process_of_a_service_is_limited_alone() {
    let service = Service::new(Controller::Cpu);
    let (victim, beside) = (Victim::in_group(&service.group), Victim::in_group(&service.group));
    let before = (service.seen(), groups(&beside));
    in_and_out(&victim, "one", quota(&victim)).await;
    assert_eq!((service.seen(), groups(&beside)), before);
}

#[tokio::test(flavor = "current_thread")]
async fn two_limits_end_in_either_order() {
    two_limits(&Victim::new()).await;
    let service = Service::new(Controller::Io);
    let (victim, beside) = (Victim::in_group(&service.group), Victim::in_group(&service.group));
    let before = (service.seen(), groups(&beside));
    two_limits(&victim).await;
    assert_eq!((service.seen(), groups(&beside)), before);
}

async fn two_limits(victim: &Victim) {
    let local = LocalAgent::new();
    let agent = local.open_with(with_workers(&local.path())).await;
    let before = groups(victim);
    for reverse in [false, true] {
        let [one, two, three] = ["a", "b", "c"].map(|name| unique(victim, &format!("{name}-{reverse}")));
        for spec in [attack(&one, quota(victim)), attack(&two, throttle(victim))] {
            let report = agent.faults.inject(spec).await;
            assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
        }
        let again = agent.faults.inject(attack(&three, quota(victim))).await;
        assert!(again.evidence.contains("another attack"), "{}", again.evidence);
        let ([first, last], limit) = if reverse { ([two, one], "cpu.max") } else { ([one, two], "io.max") };
        let undone = agent.faults.undo(&id(&first)).await.expect("known");
        assert_eq!(undone.state, AttackState::Undone, "{}", undone.evidence);
        assert!(still_limited(victim, limit), "the other limit stays: {}", undone.evidence);
        let undone = agent.faults.undo(&id(&last)).await.expect("known");
        assert_eq!(undone.state, AttackState::Undone, "{}", undone.evidence);
        assert_eq!(groups(victim), before);
        for name in [first, last] {
            assert_eq!(groups_named(&format!("firedrill-{name}")), [""; 0].map(PathBuf::from));
        }
    }
}

/// Whether a limit of version 2 is in force; those of version 1 are in groups that have nothing in common.
fn still_limited(victim: &Victim, file: &str) -> bool {
    let controller = if file == "io.max" { Controller::Io } else { Controller::Cpu };
    let member = Membership::of(victim.identity(), controller).expect("reads").expect("mounted");
    let text = member.group.read(file).unwrap_or_default();
    member.version == Version::One || !(text.trim().is_empty() || text.starts_with("max"))
}

#[tokio::test(flavor = "current_thread")]
async fn what_cannot_be_limited_is_refused() {
    let (victim, local) = (Victim::new(), LocalAgent::new());
    let agent = local.open_with(with_workers(&local.path())).await;
    let report = agent.faults.inject(attack("p", throttle(&victim).with("path", "/proc"))).await;
    assert_eq!(report.state, AttackState::Refused, "{}", report.evidence);
    assert!(report.evidence.contains("no single device"), "{}", report.evidence);
    let nothing = Fault::new("cpu-quota").with("process", victim.select()).with("cores", 0);
    let report = agent.faults.inject(attack("q", nothing)).await;
    assert_eq!(report.state, AttackState::Refused, "{}", report.evidence);
}

#[tokio::test(flavor = "current_thread")]
async fn a_limit_that_would_strike_the_agent_itself_is_refused() {
    let (local, victim) = (LocalAgent::new(), Victim::new());
    let agent = local.open().await;
    // A child of this process is in the groups of this process.
    for fault in [
        Fault::new("memory-limit").with("leave", "1GiB"),
        Fault::new("pids-limit").with("leave", 1000).with("whole_group", true),
    ] {
        let report = agent.faults.inject(attack("own", fault.with("process", victim.select()))).await;
        assert_eq!(report.state, AttackState::Refused, "{}", report.evidence);
        assert!(report.evidence.contains("cgroup"), "{}", report.evidence);
    }
}

#[test]
fn a_crash_leaves_no_quota() {
    let service = Service::new(Controller::Cpu);
    let before = service.seen();
    let scene = Scene::with(Victim::in_group(&service.group));
    let quota = Fault::new("cpu-quota").with("process", scene.victim.select()).with("cores", 0.3);
    scene.crash_everywhere(&quota.with("whole_group", true));
    drop(scene);
    eventually("the end of the victim", || service.seen() == before);
}

#[test]
fn a_crash_leaves_no_throttle() {
    let service = Service::new(Controller::Io);
    let beside = Victim::in_group(&service.group);
    let before = service.seen();
    let scene = Scene::with(Victim::in_group(&service.group));
    scene.crash_everywhere(&throttle(&scene.victim));
    drop(scene);
    eventually("the end of the victim", || service.seen() == before);
    drop(beside);
}
