//! The program that the agent starts as gateway, workload and rescue: this test binary again, through a script.

use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// The arguments with which the script calls this binary.
const ARGUMENTS: &str = "FIREDRILL_TEST_CHILD";

/// Writes the script.
pub(crate) fn program(dir: &Path) -> PathBuf {
    let path = dir.join("program");
    let own = std::env::current_exe().expect("this binary");
    let script = format!(
        r#"#!/bin/sh
case "$1" in
workload) exec sh "{workload}" "$3" "$5" ;;
*) {ARGUMENTS}="$*" exec "{own}" --exact child::as_the_program --nocapture ;;
esac
"#,
        own = own.display(),
        workload = dir.join("workload.sh").display(),
    );
    std::fs::write(&path, script).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("made executable");
    path
}

/// Not a test of its own: does nothing unless the script calls it.
#[test]
fn as_the_program() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    let words: Vec<&str> = arguments.split(' ').collect();
    match words.as_slice() {
        ["gateway", "--config", path] => {
            let config = serde_json::from_slice(&std::fs::read(path).expect("a config")).expect("a gateway's config");
            let error = firedrill_proxy::gateway::run(config).expect_err("it never ends in peace");
            panic!("the gateway ended: {error}");
        }
        ["agent", "--config", path] => {
            let config = firedrill_agent::AgentConfig::load(Path::new(path)).expect("a config");
            let runtime = firedrill_agent::runtime().expect("a runtime");
            runtime.block_on(firedrill_agent::run(config, CancellationToken::new())).expect("it is not refused");
        }
        ["rescue", "--journal", journal] => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let pipe = std::io::stdin().as_fd().try_clone_to_owned().expect("standard input");
            runtime.block_on(firedrill_fault::rescue(Path::new(journal), pipe)).expect("the journal can be used");
        }
        other => panic!("not understood: {other:?}"),
    }
}
