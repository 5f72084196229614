//! The command line without a fleet: grammar, bad input, exit statuses.

use crate::fleet::program;
use std::io::Write;
use std::process::{Command, Output};

pub(crate) fn firedrill(arguments: &[&str]) -> Output {
    Command::new(program())
        .args(arguments)
        .env("FIREDRILL_HOME", "/nonexistent/firedrill")
        .env_remove("FIREDRILL_SERVER")
        .output()
        .expect("the program runs")
}

pub(crate) fn stderr(output: &Output) -> String {
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
    let kinds = kinds.as_array().expect("a list");
    let names: Vec<_> = kinds.iter().filter_map(|kind| kind["kind"].as_str()).collect();
    assert!(["kill", "pause", "partition", "latency"].iter().all(|kind| names.contains(kind)), "{names:?}");
    for kind in kinds {
        for parameter in kind["parameters"].as_array().expect("a list") {
            let said = ["name", "form", "documentation"].map(|field| parameter[field].as_str().unwrap_or_default());
            assert!(said.iter().all(|text| !text.is_empty()), "{} {parameter}", kind["kind"]);
        }
    }
}

#[test]
fn a_host_says_what_can_be_done_to_it() {
    let output = firedrill(&["host", "check", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let all: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(all.iter().any(|one| one["kind"] == "partition"));
    for one in all {
        let (available, missing) = (one["available"].as_bool(), one["missing"].as_array().map(Vec::len));
        assert_eq!(available, Some(missing == Some(0)), "what is missing is said, and only then: {one}");
        assert!(available == Some(false) || one["mechanism"].as_str().is_some_and(|by| !by.is_empty()), "{one}");
    }
}

#[test]
fn each_kind_has_its_own_options() {
    let help = firedrill(&["attack", "start", "latency", "--help"]);
    assert!(help.status.success());
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(
        ["--delay", "--jitter", "--remote-ports", "--to", "--target"].iter().all(|option| text.contains(option)),
        "{text}"
    );
    let wrong = firedrill(&["attack", "start", "loss", "--percent", "200"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("not a percentage"), "{}", stderr(&wrong));
}

fn sample(name: &str) -> String {
    format!("{}/../api/src/chaos_toolkit/samples/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn an_import_says_what_each_step_became_without_a_server() {
    let output = firedrill(&[
        "template",
        "import",
        &sample("database-process.json"),
        "--dry-run",
        "--name",
        "orders-drill",
        "--target-of",
        "kill the database=role=primary",
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stdout));
}

#[test]
fn an_import_names_all_that_is_refused_and_takes_nothing() {
    let output = firedrill(&["template", "import", &sample("refused.yaml"), "--target", "role=replica"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!stderr(&output).contains("hunter2"));
    insta::assert_snapshot!(stderr(&output));
    let json = firedrill(&["template", "import", &sample("slow-link.yaml"), "--dry-run", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert!(json["template"].is_null() && json["problems"].as_array().is_some_and(|all| !all.is_empty()), "{json}");
}
