//! The command line without a fleet: grammar, bad input, exit statuses.

use crate::fleet::program;
use std::io::Write;
use std::process::{Command, Output};

fn firedrill(arguments: &[&str]) -> Output {
    Command::new(program())
        .args(arguments)
        .env("FIREDRILL_HOME", "/nonexistent/firedrill")
        .env_remove("FIREDRILL_SERVER")
        .output()
        .expect("the program runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_grammar_is_what_scripts_rely_on() {
    let help = firedrill(&["--help"]);
    assert!(help.status.success());
    insta::assert_snapshot!(String::from_utf8_lossy(&help.stdout));
}

#[test]
fn a_malformed_experiment_names_the_line() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(b"name: x\ntitle: x\nhypothesis: x\nsteps:\n  - attack: {kind: tickle, target: {role: primary}}\nexpect: [no-fork]\n")
        .expect("written");
    let output = firedrill(&["experiment", "validate", file.path().to_str().expect("a path")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("line 5"), "{}", stderr(&output));
    assert!(output.stdout.is_empty());
}

#[test]
fn a_missing_server_is_named_with_the_next_step() {
    let output = firedrill(&["cluster", "list", "--server", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("http://127.0.0.1:1") && stderr(&output).contains("sandbox up"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn usage_errors_are_two() {
    assert_eq!(firedrill(&["attack", "start"]).status.code(), Some(2));
    assert_eq!(firedrill(&["sandbox", "up", "--name", "../x"]).status.code(), Some(2));
    assert_eq!(firedrill(&["attack", "start", "kill", "--target", "role=boss"]).status.code(), Some(2));
}

#[test]
fn a_history_cut_short_or_of_another_kind_is_refused() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(b"this is no history").expect("written");
    let output = firedrill(&["ledger", "check", file.path().to_str().expect("a path")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("history"), "{}", stderr(&output));
    let missing = firedrill(&["ledger", "check", "/nonexistent/history.fdh"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(stderr(&missing).contains("/nonexistent/history.fdh"));
}

#[test]
fn the_kinds_of_attacks_are_listed_for_scripts() {
    let output = firedrill(&["attack", "kinds", "--json"]);
    assert!(output.status.success());
    let kinds: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let names: Vec<_> = kinds.as_array().expect("a list").iter().map(|kind| kind["kind"].clone()).collect();
    assert_eq!(names, ["kill", "pause", "partition", "latency"]);
}
