//! Processes are started as asked, seen to end at once, and leave nothing.

use crate::TestNetns;
use firedrill_host::HostError;
use firedrill_host::process::{Exit, Identity, Pidfd, Signal, Spawn, State, Stream, run, run_with_input, state};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

const WITHIN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "current_thread")]
async fn an_end_is_seen_when_it_happens() {
    let child = Spawn::new("sleep").arg("600").spawn().expect("starts");
    let other = Pidfd::open(child.pid()).expect("exists");
    let early = tokio::time::timeout(Duration::from_millis(50), child.exited()).await;
    assert!(early.is_err(), "it still runs: {early:?}");
    let killed = Instant::now();
    child.signal(Signal::SIGKILL).expect("signals");
    assert_eq!(child.exited().await.expect("watches"), Exit::Signal(Signal::SIGKILL));
    assert!(killed.elapsed() < Duration::from_secs(1));
    assert_eq!(other.exited().await.expect("a second watcher is told too"), Exit::Unknown);
    assert!(!child.identity().alive());
    assert!(matches!(child.signal(Signal::SIGTERM), Err(HostError::NoProcess { .. })));
}

#[tokio::test(flavor = "current_thread")]
async fn a_dropped_child_runs_on_and_leaves_no_zombie() {
    let child = Spawn::new("sleep").arg("600").new_session().spawn().expect("starts");
    let identity = child.identity();
    drop(child);
    assert!(identity.alive(), "dropping the handle must not end the process");
    let handle = identity.open().expect("no error").expect("alive");
    handle.signal(Signal::SIGKILL).expect("signals");
    handle.exited().await.expect("watches");
    assert_eq!(identity.state(), None, "the end was collected");
    assert!(identity.open().expect("no error").is_none());
}

#[tokio::test(flavor = "current_thread")]
async fn a_child_inherits_no_descriptor() {
    // A descriptor without close-on-exec, as a careless library might leave it.
    let leaky = nix::unistd::dup(std::io::stdout()).expect("dup");
    let number = std::os::fd::AsRawFd::as_raw_fd(&leaky);
    let output = run(Spawn::new("sh").args(["-c", "ls /proc/$$/fd"]), WITHIN).await.expect("runs");
    let seen: Vec<String> = output.text().split_whitespace().map(ToOwned::to_owned).collect();
    assert!(!seen.contains(&number.to_string()), "descriptor {number} must not be among {seen:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_child_gets_its_user_namespace_and_session() {
    let netns = TestNetns::create("spawn");
    let spawn = Spawn::new("sh")
        .args(["-c", "id -un; stat -Lc %i /proc/$$/ns/net; ps -o sid= -p $$; echo $$"])
        .user("nobody")
        .netns(netns.path())
        .new_session();
    let text = run(spawn, WITHIN).await.expect("runs").text();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let inode = std::fs::metadata(netns.path()).expect("mounted").ino().to_string();
    assert_eq!(lines[..2], ["nobody", inode.as_str()]);
    assert_eq!(lines[2], lines[3], "leader of its own session");
}

#[tokio::test(flavor = "current_thread")]
async fn a_tool_that_fails_is_quoted_and_one_that_hangs_is_killed() {
    let error = run(Spawn::new("sh").args(["-c", "echo no luck >&2; exit 3"]), WITHIN).await.expect_err("fails");
    assert!(error.to_string().contains("status 3") && error.to_string().contains("no luck"), "{error}");

    let dir = tempfile::tempdir().expect("temp dir");
    let file = dir.path().join("pid");
    let script = format!("echo $$ > {}; exec sleep 600", file.display());
    let error = run(Spawn::new("sh").args(["-c", &script]), Duration::from_millis(300)).await.expect_err("hangs");
    assert!(matches!(error, HostError::TimedOut { .. }), "{error}");
    let pid: u32 = std::fs::read_to_string(&file).expect("written").trim().parse().expect("a pid");
    let began = Instant::now();
    while state(pid).is_some_and(|state| state != State::Zombie) {
        assert!(began.elapsed() < WITHIN, "the tool still runs");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    let error = run(Spawn::new("no-such-program"), WITHIN).await.expect_err("is not there");
    assert!(matches!(error, HostError::NotInstalled { .. }), "{error}");
    let error = run(Spawn::new("true").user("no-such-user"), WITHIN).await.expect_err("nobody");
    assert!(matches!(error, HostError::NoUser { .. }), "{error}");
}

#[tokio::test(flavor = "current_thread")]
async fn input_is_fed_and_output_is_bounded() {
    let input = vec![b'x'; 3 << 20];
    let output = run_with_input(Spawn::new("cat"), input, WITHIN).await.expect("runs");
    assert_eq!(output.stdout.len(), firedrill_host::process::CAPTURE_BYTES_MAX);
}

#[tokio::test(flavor = "current_thread")]
async fn streams_go_where_they_are_sent() {
    let dir = tempfile::tempdir().expect("temp dir");
    let log = dir.path().join("log");
    std::fs::write(&log, "before\n").expect("writes");
    let mut child = Spawn::new("cat").stdin(Stream::Pipe).stdout(Stream::Append(log.clone())).spawn().expect("starts");
    let mut stdin = std::fs::File::from(child.stdin.take().expect("piped"));
    stdin.write_all(b"after\n").expect("writes");
    drop(stdin);
    assert!(child.exited().await.expect("ends").success());
    assert_eq!(std::fs::read_to_string(&log).expect("reads"), "before\nafter\n");
}

#[test]
fn a_child_dies_with_its_parent_when_told() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    // The signal is bound to the thread that starts the child.
    let child = std::thread::spawn(|| {
        Spawn::new("sleep").arg("600").dies_with_parent(Signal::SIGKILL).spawn().expect("starts")
    })
    .join()
    .expect("no panic");
    let exit = runtime.block_on(async { tokio::time::timeout(WITHIN, child.exited()).await });
    assert_eq!(exit.expect("ends with its parent").expect("watches"), Exit::Signal(Signal::SIGKILL));
    assert!(Identity::current().expect("exists").alive());
}
