//! A cgroup ends all that was born in it.

use crate::unique;
use firedrill_host::cgroup::Cgroup;
use firedrill_host::process::{Identity, Spawn, Stream, run};
use std::io::{BufRead, BufReader};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(10);

/// Ends and removes the group, also after a panic.
struct TestCgroup(Cgroup);

impl Drop for TestCgroup {
    fn drop(&mut self) {
        for pid in self.0.processes().unwrap_or_default() {
            let _gone = firedrill_host::process::Pidfd::open(pid)
                .and_then(|process| process.signal(firedrill_host::process::Signal::SIGKILL));
        }
        let began = std::time::Instant::now();
        while self.0.remove().is_err() && began.elapsed() < WITHIN {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn all_descendants_end_with_their_group() {
    let top = TestCgroup(Cgroup::create(&unique("cg")).expect("these tests need root and a cgroup mount"));
    let group = Cgroup::create(&format!("{}/inner", top.0.dir().file_name().expect("named").to_string_lossy()))
        .expect("a group below");
    let mut child = Spawn::new("sh")
        .args(["-c", "sleep 600 & echo $!; setsid sleep 600 & echo $!; wait"])
        .cgroup(group.dir())
        .stdout(Stream::Pipe)
        .spawn()
        .expect("starts");
    let reader = BufReader::new(std::fs::File::from(child.stdout.take().expect("piped")));
    let grandchildren: Vec<Identity> = reader
        .lines()
        .take(2)
        .map(|line| Identity::of(line.expect("reads").parse().expect("a pid")).expect("alive"))
        .collect();
    let outside = Spawn::new("sleep").arg("600").spawn().expect("starts");
    top.0.add(outside.pid()).expect("moves in");
    assert_eq!(top.0.processes().expect("lists").len(), 4);
    assert!(top.0.remove().is_err(), "a group with processes cannot be removed");

    top.0.kill_all(WITHIN).await.expect("kills");
    assert!(grandchildren.iter().all(|process| !process.alive()));
    child.exited().await.expect("ended");
    outside.exited().await.expect("ended");
    top.0.kill_all(WITHIN).await.expect("nothing left is no error");
    top.0.remove().expect("removes");
    top.0.remove().expect("twice is no error");
    assert!(!top.0.exists());
}

#[tokio::test(flavor = "current_thread")]
async fn a_child_is_born_in_its_group() {
    let group = TestCgroup(Cgroup::create(&unique("born")).expect("cgroup"));
    let text =
        run(Spawn::new("cat").arg("/proc/self/cgroup").cgroup(group.0.dir()), WITHIN).await.expect("runs").text();
    let name = group.0.dir().file_name().expect("named").to_string_lossy().into_owned();
    assert!(text.contains(&name), "{text}");
}
