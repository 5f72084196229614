//! One guest: what it is given, its start, and its end within a bound.

use super::binaries::Programs;
use super::initramfs;
use super::matrix::Plan;
use super::obtain::{Image, text};
use crate::shell;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const TESTS: &str = include_str!("tests.sh");
/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    test_seconds: u32,
    guest: Duration,
}

/// All tests together take some minutes on an idle machine; much more than that on one that others keep busy.
pub(super) const FOR_CI: Patience = Patience { test_seconds: 180, guest: Duration::from_secs(900) };
/// With a database (`--tests power::`) a test takes minutes.
pub(super) const BY_HAND: Patience = Patience { test_seconds: 900, guest: Duration::from_secs(3600) };

/// Most tests wait for deadlines and leases. More at a time would make each of them wait for the emulated processors.
const AT_A_TIME: u32 = 4;
/// Failed tests that are run once more, alone. If there are more, it is not for being slow.
const AGAIN_MAX: u32 = 8;
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// For throttled writes and full volumes; takes only what is written.
const DISK_BYTES: u64 = 1 << 30;

/// Lays out what the guest reads.
pub(super) fn prepare(image: &Image, programs: &Programs, plan: &Plan, patience: Patience, dir: &Path) -> Result<()> {
    let test_seconds = patience.test_seconds;
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    fs::create_dir_all(dir)?;
    programs.copy_to(&dir.join("bin"))?;
    initramfs::pack(image, &dir.join("initramfs"), &dir.join("initramfs.img"))?;
    shell::run_quietly("cp", &["-r", text(&image.modules())?, text(&dir.join("modules"))?])?;
    fs::write(dir.join("tests"), plan.run.join("\n") + "\n")?;
    let limits =
        format!("TEST_SECONDS={test_seconds} AT_A_TIME={AT_A_TIME} AGAIN_MAX={AGAIN_MAX} KERNEL={}\n", image.release);
    fs::write(dir.join("limits"), limits)?;
    fs::write(dir.join("tests.sh"), TESTS)?;
    let disk = dir.join("disk");
    File::create(&disk)?.set_len(DISK_BYTES)?;
    let mkfs = shell::find("mkfs.ext4").context("mkfs.ext4 is missing")?;
    shell::run_quietly(text(&mkfs)?, &["-q", "-F", text(&disk)?])
}

/// Boots it and waits for its end. One that does not end is killed: what it has written counts.
pub(super) fn boot(image: &Image, patience: Patience, dir: &Path) -> Result<Duration> {
    let share = |path: &str, tag: &str, more: &str| {
        format!("local,path={path},mount_tag={tag},security_model=none,multidevs=remap{more}")
    };
    let console = File::create(dir.join("console.txt"))?;
    // Ends with this program, however that ends.
    let mut guest = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
        // Where there is /dev/kvm it may be one that cannot run these kernels; emulation runs everywhere.
        // One thread for all processors: with several, a kernel that changes its own code while it runs (the first quota on
        // a cgroup, the first hook of a packet filter) has ended in an opcode of which half was the old one.
        .args(["-accel", "tcg,thread=single", "-cpu", "max", "-smp", "2", "-m", "3G", "-nic", "none"])
        .args(["-nographic", "-no-reboot", "-append", "console=ttyS0 panic=-1 quiet"])
        .args(["-kernel", text(&image.kernel())?, "-initrd", text(&dir.join("initramfs.img"))?])
        .args(["-virtfs", &share("/", "host", ",readonly=on"), "-virtfs", &share(text(dir)?, "work", "")])
        .args(["-drive", &format!("file={},format=raw,if=virtio,cache=unsafe", text(&dir.join("disk"))?)])
        .stdin(Stdio::null())
        .stderr(console.try_clone()?)
        .stdout(console)
        .spawn()
        .context("cannot start qemu-system-x86_64")?;
    let began = Instant::now();
    while guest.try_wait()?.is_none() {
        if began.elapsed() > patience.guest {
            guest.kill()?;
            guest.wait()?;
            println!("the guest did not end within {} s and was killed", patience.guest.as_secs());
            break;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(began.elapsed())
}
