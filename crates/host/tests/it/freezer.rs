//! All processes of a group stand still and run again, by each version of cgroups that is mounted.

use crate::unique;
use firedrill_host::cgroup::{self, Cgroup};
use firedrill_host::controller::{Controller, Membership, Version};
use firedrill_host::freezer::{Freezer, Motion};
use firedrill_host::process::{Child, Identity, Pidfd, Signal, Spawn};
use firedrill_host::usage;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const WITHIN: Duration = Duration::from_secs(10);

fn becomes(freezer: &Freezer, wanted: Option<Motion>) {
    let began = Instant::now();
    while freezer.motion().expect("reads") != wanted {
        assert!(began.elapsed() < WITHIN, "{wanted:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Where groups that can be frozen are made: in the hierarchy of this process, and in that of version 2.
fn places() -> Vec<(Version, PathBuf)> {
    let own = Membership::of(Identity::current().expect("lives"), Controller::Freezer).expect("reads");
    let mut all: Vec<_> = own.into_iter().map(|member| (member.version, member.mount)).collect();
    let two = cgroup::mount_of_version_2().map(|mount| (Version::Two, mount));
    all.extend(two.filter(|two| !all.contains(two)));
    assert!(!all.is_empty(), "these tests need a cgroup mount that can freeze");
    all
}

/// A test that fails leaves nothing behind, whatever it was about to do.
struct CleansUp<'a> {
    group: &'a Cgroup,
    freezer: &'a Freezer,
}

impl Drop for CleansUp<'_> {
    fn drop(&mut self) {
        let began = Instant::now();
        while self.group.exists() && began.elapsed() < WITHIN {
            let _thawed = self.freezer.set(false);
            for pid in self.group.processes().unwrap_or_default() {
                let _killed = Pidfd::open(pid).and_then(|process| process.signal(Signal::SIGKILL));
            }
            let _removed = self.group.remove();
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

async fn end(child: Child, group: &Cgroup) {
    child.kill().await.expect("ends");
    group.remove().expect("removes");
}

#[tokio::test(flavor = "current_thread")]
async fn a_group_stands_still_and_runs_again() {
    for (version, mount) in places() {
        let group = Cgroup::in_dir(mount.join(unique("freeze")));
        group.make().expect("makes");
        let child = Spawn::new("sh").args(["-c", "while :; do :; done"]).cgroup(group.dir()).spawn().expect("starts");
        let member = Membership { version, mount, group: group.clone(), leaf: group.clone() };
        let freezer = Freezer::of(&member).expect("can freeze");
        let _cleans_up = CleansUp { group: &group, freezer: &freezer };
        becomes(&freezer, Some(Motion::Running));
        freezer.set(true).expect("freezes");
        becomes(&freezer, Some(Motion::Frozen));
        assert!(freezer.told().expect("reads"));
        let used = || usage::cpu_time(child.identity()).expect("runs");
        let before = used();
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(used(), before, "{version:?}");
        for _ in 0..2 {
            freezer.set(false).expect("lets it run");
            becomes(&freezer, Some(Motion::Running));
            assert!(!freezer.told().expect("reads"));
        }
        let began = Instant::now();
        while used() == before {
            assert!(began.elapsed() < WITHIN, "{version:?}");
        }
        end(child, &group).await;
        freezer.set(false).expect("a group that is gone is no error");
        becomes(&freezer, None);
    }
}
