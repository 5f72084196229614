//! Processes found by name, port, user and cgroup, in all ways to choose among them; crash loops; hosts that go down.

use crate::lab::{Agent, Lab, LocalAgent, Victim, attack, eventually, id};
use firedrill_fault::{Context, Down};
use firedrill_host::process::{Identity, Signal, Spawn, State, state};
use firedrill_model::attack::AttackState;
use firedrill_model::{AttackSpec, Fault, Span};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A program under a name that nothing else on this host has.
struct Program {
    dir: tempfile::TempDir,
    name: String,
}

impl Program {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let dir = tempfile::tempdir().expect("temp dir");
        let name = format!("fdf-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        std::os::unix::fs::symlink("/bin/sleep", dir.path().join(&name)).expect("links");
        Self { dir, name }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(&self.name)
    }

    fn select(&self) -> Value {
        json!({ "select": "name", "name": self.name })
    }

    /// A victim that runs it, started in a later clock tick than those before.
    fn start(&self) -> Victim {
        std::thread::sleep(Duration::from_millis(20));
        let victim = Victim::running(&["-c", &format!("exec {} 600", self.path().display())]);
        eventually("the program", || {
            // The shell before it has the path in its script, but does not begin with it.
            let line = std::fs::read(format!("/proc/{}/cmdline", victim.identity().pid)).unwrap_or_default();
            line.starts_with(self.path().as_os_str().as_encoded_bytes())
        });
        victim
    }
}

fn alive(victims: &[&Victim]) -> Vec<bool> {
    victims.iter().map(|victim| victim.identity().alive()).collect()
}

#[tokio::test(flavor = "current_thread")]
async fn of_several_processes_one_is_killed_by_age_or_all() {
    let (program, local) = (Program::new(), LocalAgent::new());
    let [one, two, three, four] = [(); 4].map(|()| program.start());
    let agent = local.open().await;
    let kill = |which: &str| Fault::new("kill").with("process", program.select()).with("which", which);
    let unclear = agent.faults.inject(attack("u", Fault::new("kill").with("process", program.select()))).await;
    assert!(unclear.evidence.contains("are 4; say `which`"), "{}", unclear.evidence);
    let all = [&one, &two, &three, &four];
    for (which, left) in [
        ("newest", [true, true, true, false]),
        ("oldest", [false, true, true, false]),
        ("all", [false, false, false, false]),
    ] {
        let report = agent.faults.inject(attack(which, kill(which))).await;
        assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
        assert_eq!(alive(&all), left, "{which}: {}", report.evidence);
    }
    let nobody = agent.faults.inject(attack("n", kill("all"))).await;
    assert!(nobody.evidence.contains("there are no"), "{}", nobody.evidence);
}

#[tokio::test(flavor = "current_thread")]
async fn a_tree_stands_still_and_runs_again() {
    let (program, local) = (Program::new(), LocalAgent::new());
    let script = format!("{} 600 & wait", program.path().display());
    let victim = Victim::running(&["-c", &script]);
    let child = || -> Option<u32> {
        let path = format!("/proc/{0}/task/{0}/children", victim.identity().pid);
        std::fs::read_to_string(path).ok()?.split_whitespace().next()?.parse().ok()
    };
    eventually("the child", || child().is_some());
    let child = Identity::of(child().expect("there")).expect("runs");
    let agent = local.open().await;
    let pause = Fault::new("pause").with("process", victim.select()).with("tree", true);
    let report = agent.faults.inject(attack("t", pause)).await;
    assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
    assert_eq!((victim.state(), state(child.pid)), (Some(State::Stopped), Some(State::Stopped)), "{}", report.evidence);
    for _ in 0..2 {
        let undone = agent.faults.undo(&id("t")).await.expect("known");
        assert_eq!(undone.state, AttackState::Undone, "{}", undone.evidence);
        assert!(victim.state() != Some(State::Stopped) && state(child.pid) != Some(State::Stopped));
    }
    firedrill_host::process::Pidfd::open(child.pid).and_then(|child| child.signal(Signal::SIGKILL)).expect("runs");
}

#[test]
fn a_crash_leaves_no_tree_stopped() {
    let (lab, program) = (Lab::new(), Program::new());
    let victims = [(); 3].map(|()| program.start());
    let pause = Fault::new("pause").with("process", program.select()).with("which", "all");
    for step in ["Journalled", "Injected", "Verified", "Undoing"] {
        let spec = AttackSpec { duration: Span::millis(1500), ..attack("p", pause.clone()) };
        lab.holder(&["--crash", step], &[spec]).dies();
        lab.agent(async |mut agent: Agent| {
            assert_eq!(agent.report().await.state, AttackState::Undone, "{step}");
        });
        assert!(victims.iter().all(|victim| victim.state() == Some(State::Sleeping)), "{step}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn the_process_behind_a_port_is_found() {
    let local = LocalAgent::new();
    // The address is handed to the child as standard input, which then holds the listener alone.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = listener.local_addr().expect("bound").port();
    let holder = Spawn::new("sleep").arg("600").stdin(firedrill_host::process::Stream::Fd(listener.into()));
    let holder = holder.spawn().expect("starts");
    let agent = local.open().await;
    let by_port = Fault::new("kill").with("process", json!({ "select": "port", "port": port }));
    let report = agent.faults.inject(attack("p", by_port.clone())).await;
    assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
    assert!(!holder.identity().alive());
    let nobody = agent.faults.inject(attack("q", by_port)).await;
    assert_eq!(nobody.state, AttackState::Refused, "{}", nobody.evidence);
}

#[tokio::test(flavor = "current_thread")]
async fn processes_of_a_user_and_of_a_cgroup_are_found() {
    let local = LocalAgent::new();
    let agent = local.open().await;
    let name = format!("fdf-select-{}", std::process::id());
    let group = firedrill_host::cgroup::Cgroup::create(&name).expect("these tests need root and a cgroup mount");
    let inside = Spawn::new("sleep").arg("600").cgroup(group.dir()).spawn().expect("starts");
    let by_group = Fault::new("kill").with("process", json!({ "select": "cgroup", "cgroup": name }));
    let report = agent.faults.inject(attack("g", by_group)).await;
    assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
    assert!(!inside.identity().alive());
    eventually("the group to be empty", || group.remove().is_ok());
    // `games` runs nothing on any system that is known.
    let games = Spawn::new("sleep").arg("600").user("games").spawn().expect("starts");
    let by_user = |user: &str| Fault::new("kill").with("process", json!({ "select": "user", "user": user }));
    let report = agent.faults.inject(attack("u", by_user("games"))).await;
    assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
    assert!(!games.identity().alive());
    let report = agent.faults.inject(attack("v", by_user("nobody-has-this-name"))).await;
    assert_eq!(report.state, AttackState::Refused, "{}", report.evidence);
}

/// Starts the program again and again until it is dropped.
struct Supervisor {
    _loop: Victim,
    starts: PathBuf,
}

impl Supervisor {
    fn of(program: &Program) -> Self {
        let starts = program.dir.path().join("starts");
        let script = format!("while :; do echo x >> {}; {} 600; done", starts.display(), program.path().display());
        Self { _loop: Victim::running(&["-c", &script]), starts }
    }

    fn starts(&self) -> usize {
        std::fs::read_to_string(&self.starts).unwrap_or_default().lines().count()
    }
}

fn running(program: &Program) -> Vec<u32> {
    let listed = firedrill_host::process::list().expect("lists");
    listed.into_iter().filter(|one| one.name == program.name).map(|one| one.identity.pid).collect()
}

fn end_all(program: &Program) {
    for pid in running(program) {
        let _ended = firedrill_host::process::Pidfd::open(pid).and_then(|process| process.signal(Signal::SIGKILL));
    }
}

#[test]
fn a_process_is_killed_each_time_it_comes_back_until_the_holder_dies() {
    let (lab, program) = (Lab::new(), Program::new());
    let supervisor = Supervisor::of(&program);
    eventually("the program", || running(&program).len() == 1);
    let crash_loop = Fault::new("crash-loop").with("process", program.select()).with("which", "all");
    let holder = lab.holder(&[], &[attack("l", crash_loop)]);
    eventually("several kills", || supervisor.starts() > 5);
    holder.signal(Signal::SIGKILL);
    holder.dies();
    eventually("the program to stay", || running(&program).len() == 1);
    let stays = running(&program);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(running(&program), stays, "nobody kills it any more");
    lab.agent(async |mut agent: Agent| assert_eq!(agent.report().await.state, AttackState::Undone));
    assert_eq!(lab.journalled(), [""; 0]);
    drop(supervisor);
    end_all(&program);
}

#[tokio::test(flavor = "current_thread")]
async fn a_crash_loop_stops_at_its_count() {
    let (program, local) = (Program::new(), LocalAgent::new());
    let supervisor = Supervisor::of(&program);
    eventually("the program", || running(&program).len() == 1);
    let agent = local.open().await;
    let fault = Fault::new("crash-loop").with("process", program.select()).with("count", 2).with("every", "100ms");
    let report = agent.faults.inject(attack("c", fault)).await;
    assert_eq!(report.state, AttackState::Active, "{}", report.evidence);
    for _ in 0..400 {
        if supervisor.starts() >= 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(supervisor.starts(), 3, "the first, and one after each of two kills");
    assert_eq!(agent.faults.undo(&id("c")).await.expect("known").state, AttackState::Undone);
    drop(supervisor);
    end_all(&program);
}

#[tokio::test(flavor = "current_thread")]
async fn a_host_goes_down_only_where_that_was_allowed() {
    let local = LocalAgent::new();
    let agent = local.open().await;
    for kind in ["shutdown", "reboot", "power-off"] {
        let report = agent.faults.inject(attack(kind, Fault::new(kind))).await;
        assert_eq!(report.state, AttackState::Refused, "{}", report.evidence);
        assert!(report.evidence.contains("not set up to take its host down"), "{}", report.evidence);
    }
    let ordered = Arc::new(Mutex::new(Vec::new()));
    let mut context = Context::new("here".parse().expect("name"));
    let orders = Arc::clone(&ordered);
    context.take_down = Some(Box::new(move |down| {
        orders.lock().expect("whole").push(down);
        Ok(())
    }));
    let local = LocalAgent::new();
    let agent = local.open_with(context).await;
    let report = agent.faults.inject(attack("r", Fault::new("reboot"))).await;
    assert_eq!(
        report.state,
        AttackState::NoEffect,
        "an agent that can report has a host that is up: {}",
        report.evidence
    );
    assert_eq!(*ordered.lock().expect("whole"), [Down::Reboot]);
}
