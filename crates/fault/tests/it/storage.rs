//! The storage layer: it passes everything on, outlives its server, and does what its rules say for as long as they last.

use crate::lab::eventually;
use crate::layer::Mounted;
use nix::fcntl::{FallocateFlags, OFlag, fallocate};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[test]
fn files_are_what_they_are_below() {
    let mount = Mounted::new();
    let path = |name: &str| mount.path(name);
    fs::write(path("a"), "one").expect("writes");
    let mut appended = OpenOptions::new().append(true).open(path("a")).expect("opens");
    appended.write_all(b" two").expect("appends");
    appended.sync_all().expect("syncs");
    assert_eq!(fs::read_to_string(path("a")).expect("reads"), "one two");

    fs::create_dir(path("d")).expect("makes");
    fs::rename(path("a"), path("d/b")).expect("renames");
    fs::hard_link(path("d/b"), path("c")).expect("links");
    symlink("d/b", path("l")).expect("links");
    assert_eq!(fs::metadata(path("c")).expect("is there").nlink(), 2);
    assert_eq!(fs::read_to_string(path("l")).expect("follows"), "one two");
    assert_eq!(fs::read_link(path("l")).expect("reads").to_str(), Some("d/b"));
    assert_eq!(fs::remove_dir(path("d")).expect_err("not empty").kind(), ErrorKind::DirectoryNotEmpty);
    assert_eq!(fs::metadata(path("a")).expect_err("renamed").kind(), ErrorKind::NotFound);
    let exclusive = OpenOptions::new().write(true).create_new(true).open(path("c"));
    assert_eq!(exclusive.expect_err("exists").kind(), ErrorKind::AlreadyExists);

    let open = File::options().read(true).write(true).open(path("c")).expect("opens");
    fs::remove_file(path("c")).expect("removes");
    fs::remove_file(path("d/b")).expect("removes");
    assert_eq!(open.metadata().expect("open").nlink(), 0);
    open.write_all_at(b"after", 100).expect("a removed file is written to");
    open.set_len(102).expect("cuts");
    assert_eq!(open.metadata().expect("open").len(), 102);

    fs::set_permissions(path("d"), fs::Permissions::from_mode(0o700)).expect("changes");
    assert_eq!(fs::metadata(path("d")).expect("is there").mode() & 0o777, 0o700);
    for number in 0..1000 {
        File::create(path(&format!("d/{number:04}"))).expect("creates");
    }
    let names: BTreeSet<_> = fs::read_dir(path("d")).expect("lists").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names.len(), 1000);
    fs::remove_dir_all(path("d")).expect("removes");
    let left: Vec<_> = fs::read_dir(path("")).expect("lists").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["l"]);
}

#[test]
fn direct_writes_holes_and_locks_are_true() {
    let mount = Mounted::new();
    let direct = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .custom_flags(OFlag::O_DIRECT.bits())
        .open(mount.path("direct"))
        .expect("opens");
    let mut memory = vec![7_u8; 3 * 4096];
    let start = memory.as_ptr().align_offset(4096);
    let page = &mut memory[start..start + 4096];
    direct.write_all_at(page, 8192).expect("writes");
    page.fill(0);
    direct.read_exact_at(page, 8192).expect("reads");
    assert!(page.iter().all(|byte| *byte == 7));
    assert_eq!(direct.write_at(&page[..100], 0).expect_err("not aligned").kind(), ErrorKind::InvalidInput);

    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(mount.path("h")).expect("o");
    fallocate(&file, FallocateFlags::empty(), 0, 1 << 20).expect("reserves");
    assert_eq!(file.metadata().expect("open").len(), 1 << 20);
    file.write_all_at(&[1; 1 << 16], 1 << 19).expect("writes");
    let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    fallocate(&file, punch, 1 << 19, 1 << 15).expect("punches");
    file.seek(SeekFrom::Start(1 << 19)).expect("seeks");
    let mut content = vec![9; 1 << 16];
    file.read_exact(&mut content).expect("reads");
    assert!(content[..1 << 15].iter().all(|byte| *byte == 0) && content[1 << 15..].iter().all(|byte| *byte == 1));

    let other = File::open(mount.path("h")).expect("opens");
    file.try_lock().expect("free");
    assert!(other.try_lock().is_err(), "held by another");
    mount.kill_server();
    assert!(other.try_lock().is_err(), "still held");
    drop(file);
    other.try_lock().expect("free again");
}

#[test]
fn whoever_uses_it_does_not_notice_the_death_of_the_server() {
    /// Enough to hit every step of every operation now and then.
    const KILLS: usize = 60;
    let mount = Mounted::new();
    let done = AtomicBool::new(false);
    let done = &done;
    let churn = |thread: usize| {
        let mut rounds = 0_u64;
        while !done.load(Ordering::Relaxed) {
            let name = mount.path(&format!("{thread}-{rounds}"));
            let file = File::options().read(true).write(true).create_new(true).open(&name).expect("creates");
            file.write_all_at(&rounds.to_ne_bytes(), 4096).expect("writes");
            file.sync_data().expect("syncs");
            let moved = name.with_extension("moved");
            fs::rename(&name, &moved).expect("renames");
            fs::hard_link(&moved, &name).expect("links");
            fs::remove_file(&moved).expect("removes");
            let mut read = [0; 8];
            file.read_exact_at(&mut read, 4096).expect("reads");
            assert_eq!(u64::from_ne_bytes(read), rounds);
            fs::create_dir(&moved).expect("makes");
            fs::remove_dir(&moved).expect("removes");
            fs::remove_file(&name).expect("removes");
            rounds += 1;
        }
        rounds
    };
    let mut pids = BTreeSet::new();
    std::thread::scope(|scope| {
        let churn = &churn;
        let threads: Vec<_> = (0..3).map(|thread| scope.spawn(move || churn(thread))).collect();
        let _told = Told(done);
        for _ in 0..KILLS {
            let killed = mount.kill_server();
            pids.insert(killed);
            eventually("the next server", || mount.status().server != killed);
            if threads.iter().any(|thread| thread.is_finished()) {
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
        let rounds: u64 = threads.into_iter().map(|thread| thread.join().expect("no error at all")).sum();
        assert!(rounds > 0);
    });
    assert!(pids.len() >= KILLS / 2, "{} servers died", pids.len());
    assert_eq!(fs::read_dir(mount.path("")).expect("lists").count(), 0, "everything was done, and once");
    let guardian = mount.status().guardian;
    // Nodes and handles of killed servers are closed, except for the few that were just being made.
    eventually("the descriptors to go", || {
        fs::read_dir(format!("/proc/{guardian}/fd")).expect("lists").count() < 20 + KILLS
    });
}

/// Ends the threads also when the test fails.
struct Told<'a>(&'a AtomicBool);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn sync_time(file: &File) -> Duration {
    let began = Instant::now();
    file.write_all_at(b"x", 0).expect("writes");
    file.sync_data().expect("syncs");
    began.elapsed()
}

#[test]
fn a_delay_lasts_for_its_lease_and_hits_only_its_files() {
    let mount = Mounted::new();
    let (slow, fast) = (File::create(mount.path("slow.ibd")).expect("c"), File::create(mount.path("fast")).expect("c"));
    let rule =
        r#""disturbance":{"what":"delay","delay":"300ms","jitter":"0s"},"paths":["*.ibd"],"operations":["sync"]"#;
    mount.put("d", "60s", rule);
    assert!(sync_time(&slow) >= Duration::from_millis(300));
    assert!(sync_time(&fast) < Duration::from_millis(300));
    mount.kill_server();
    assert!(sync_time(&slow) >= Duration::from_millis(300), "the next server knows it, too");
    mount.remove("d");
    mount.remove("d");
    assert!(sync_time(&slow) < Duration::from_millis(300));

    // Whoever waits goes on when the rule ends, and nobody has to be alive for that.
    mount.put("d", "700ms", &rule.replace("300ms", "50s"));
    let took = sync_time(&slow);
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(mount.status().rules, []);
}

#[test]
fn errors_come_as_often_as_asked_and_do_nothing() {
    let mount = Mounted::new();
    let file = File::options().read(true).write(true).create(true).truncate(true).open(mount.path("f")).expect("o");
    file.write_all_at(b"before", 0).expect("writes");
    mount.put("e", "60s", r#""disturbance":{"what":"fail","errno":28},"operations":["write"],"percent":50.0"#);
    let failed = (0..400).filter(|_| file.write_all_at(b"after!", 0).is_err()).count();
    assert!((120..280).contains(&failed), "{failed} of 400");
    let error = (0..100).find_map(|_| file.write_all_at(b"after!", 0).err()).expect("half of them fail");
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    mount.put("e", "60s", r#""disturbance":{"what":"fail","errno":5},"operations":["write","read","sync"]"#);
    assert!(file.write_all_at(b"nothing", 0).is_err() && file.sync_all().is_err());
    mount.remove("e");
    let mut content = String::new();
    (&file).read_to_string(&mut content).expect("reads");
    assert!(content == "after!", "{content}");
}

#[test]
fn writes_are_torn_and_bits_flipped() {
    let mount = Mounted::new();
    let path = mount.path("f");
    let write = |data: &[u8]| {
        let file = File::create(&path).expect("creates");
        file.write_at(data, 0)
    };
    let data = vec![0xff; 16_384];
    mount.put("t", "60s", r#""disturbance":{"what":"torn-write"}"#);
    assert_eq!(write(&data).expect("as if written"), data.len());
    let kept = fs::read(&path).expect("reads").len();
    assert!(kept > 0 && kept < data.len() && kept.is_multiple_of(512), "{kept}");
    mount.put("t", "60s", r#""disturbance":{"what":"short-write"}"#);
    let told = write(&data).expect("some is written");
    assert_eq!(fs::read(&path).expect("reads").len(), told);
    assert!(told < data.len());
    mount.remove("t");

    let wrong = || {
        let read = fs::read(&path).expect("reads");
        read.iter().map(|byte| byte.count_zeros()).sum::<u32>()
    };
    mount.put("t", "60s", r#""disturbance":{"what":"flip-on-write"}"#);
    write(&data).expect("writes");
    mount.remove("t");
    assert_eq!(wrong(), 1);
    write(&data).expect("writes");
    assert_eq!(wrong(), 0);
    mount.put("t", "60s", r#""disturbance":{"what":"flip-on-read"}"#);
    assert!(wrong() >= 1);
    mount.remove("t");
    assert_eq!(wrong(), 0, "the disk was right all the time");
}

#[test]
fn a_killed_caller_does_not_wait_for_a_delay() {
    let mount = Mounted::new();
    mount.put("d", "60s", r#""disturbance":{"what":"delay","delay":"50s","jitter":"0s"},"operations":["open"]"#);
    let path = mount.path("f");
    let victim = crate::lab::Victim::running(&["-c", &format!("exec dd if=/dev/zero of={} count=1", path.display())]);
    eventually("the call", || mount.status().rules[0].applied > 0);
    victim.signal(firedrill_host::process::Signal::SIGKILL);
    eventually("the end", || !victim.identity().alive());
}
