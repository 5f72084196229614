//! Attacks on this host alone, without a server: whatever happens to the command, the fault comes out.

use crate::cli::{firedrill, stderr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// No wait of these tests takes this long.
const WITHIN: Duration = Duration::from_secs(20);

/// A process, killed with the test.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts"))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.pid().to_string()]).status().expect("runs");
        assert!(sent.success());
    }

    fn stopped(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("it lives");
        status.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

fn victim() -> Running {
    Running::start(Command::new("sleep").arg("600"))
}

/// A pause of the victim for a minute, held by a command that runs.
fn paused(victim: &Running, data: &Path) -> Running {
    let process = format!("select=pid,pid={}", victim.pid());
    let words = ["attack", "start", "pause", "--process", &process, "--duration", "1m", "--data"];
    let holder = Running::start(Command::new(env!("CARGO_BIN_EXE_firedrill")).args(words).arg(data));
    eventually("the pause", || victim.stopped());
    holder
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < WITHIN, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn undo_all(data: &Path) -> Vec<serde_json::Value> {
    let output = firedrill(&["attack", "undo", "--all", "--json", "--data", data.to_str().expect("UTF-8")]);
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn a_killed_command_leaves_nothing() {
    let (data, victim) = (tempfile::tempdir().expect("a directory"), victim());
    let holder = paused(&victim, data.path());
    holder.signal("-KILL");
    eventually("the rescue", || !victim.stopped());
    eventually("the empty journal", || undo_all(data.path()).is_empty());
}

#[test]
fn a_command_that_is_told_to_end_undoes_first() {
    let (data, victim) = (tempfile::tempdir().expect("a directory"), victim());
    let mut holder = paused(&victim, data.path());
    holder.signal("-INT");
    assert!(holder.0.wait().expect("ends").success());
    assert!(!victim.stopped());
    assert!(undo_all(data.path()).is_empty());
}

#[test]
fn the_last_resort_undoes_what_live_and_hung_commands_hold() {
    let (data, one, two) = (tempfile::tempdir().expect("a directory"), victim(), victim());
    let (_live, hung) = (paused(&one, data.path()), paused(&two, data.path()));
    hung.signal("-STOP");
    let undone = undo_all(data.path());
    assert!(!one.stopped() && !two.stopped());
    assert_eq!(undone.len(), 2, "{undone:?}");
    assert!(undone.iter().all(|one| one["state"] == "undone"), "{undone:?}");
    assert!(undo_all(data.path()).is_empty(), "nothing is left to do");
}
