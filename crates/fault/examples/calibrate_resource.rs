//! Asked against measured, for resource faults: a table in Markdown.
//!
//! ```text
//! calibrate_resource [DIR]     DIR: where volumes are filled and devices written to (default: the temp directory)
//! calibrate_resource --as-worker JOB
//! ```
//!
//! What is measured is measured here, from outside, not by the fault itself: CPU time over 5 seconds, resident memory,
//! room on a volume, and what a program under the limit gets to write. Needs root (a small volume, cgroups).

use firedrill_fault::{Context, Faults, worker};
use firedrill_host::process::{Identity, Spawn, Stream, list, run};
use firedrill_host::usage::{self, Volume};
use firedrill_model::attack::AttackState;
use firedrill_model::{AttackId, AttackSpec, Fault, Span};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::time::sleep;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// As long as the promise about CPU load is about.
const CPU_FOR: Duration = Duration::from_secs(5);
const IO_FOR: Duration = Duration::from_secs(5);
const MIB: u64 = 1 << 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let dir = match arguments.next().as_deref() {
        Some("--as-worker") => {
            worker::work(&arguments.next().ok_or("which job?")?);
            return Ok(());
        }
        Some(dir) => PathBuf::from(dir),
        None => std::env::temp_dir(),
    };
    let journal = tempfile::tempdir()?;
    let mut context = Context::new("here".parse()?);
    let program = std::env::current_exe()?;
    context.worker = Some(Box::new(move || Spawn::new(&program).arg("--as-worker").stderr(Stream::Inherit)));
    let (faults, _reports) = Faults::open(journal.path(), context).await?;
    let mut table = Table { faults, number: 0, out: std::io::stdout() };
    writeln!(table.out, "| fault | asked | measured | off by |\n|---|---:|---:|---:|")?;
    table.cpu().await?;
    table.memory().await?;
    table.disk_fill(journal.path()).await?;
    table.io_throttle(&dir).await?;
    Ok(())
}

struct Table {
    faults: Faults,
    number: u32,
    out: std::io::Stdout,
}

impl Table {
    async fn start(&mut self, fault: Fault) -> Outcome<AttackId> {
        self.number += 1;
        let id = AttackId(format!("calibrate-{}-{}", std::process::id(), self.number));
        let text = fault.to_string();
        let spec = AttackSpec { id: id.clone(), fault, node: None, duration: Span::secs(120), severs_server: false };
        let report = self.faults.inject(spec).await;
        if report.state != AttackState::Active {
            return Err(format!("{text}: {:?}, {}", report.state, report.evidence).into());
        }
        Ok(id)
    }

    async fn stop(&self, id: &AttackId) -> Outcome<()> {
        let report = self.faults.undo(id).await?;
        if report.state == AttackState::Undone { Ok(()) } else { Err(report.evidence.into()) }
    }

    fn row(&mut self, what: &str, unit: &str, asked: f64, measured: f64) -> Outcome<()> {
        let off = match unit {
            "%" => format!("{:+.2} points", measured - asked),
            _ => format!("{:+.2} %", (measured / asked - 1.0) * 100.0),
        };
        writeln!(self.out, "| {what} | {asked} {unit} | {measured:.2} {unit} | {off} |")?;
        Ok(())
    }

    async fn cpu(&mut self) -> Outcome<()> {
        for (what, cores) in [("cpu, one core", vec![0]), ("cpu, all cores", Vec::new())] {
            let count = if cores.is_empty() { usage::cores()?.len() } else { cores.len() };
            for load in [10, 25, 50, 75, 90, 95] {
                let id = self.start(Fault::new("cpu").with("load", load).with("cores", cores.clone())).await?;
                let worker = own_worker()?;
                let (before, busy_before, began) = (usage::cpu_time(worker)?, busy(&cores)?, Instant::now());
                sleep(CPU_FOR).await;
                let used = usage::cpu_time(worker)?.saturating_sub(before);
                let idle = idle_share(busy_before, busy(&cores)?);
                let share = used.as_secs_f64() / began.elapsed().as_secs_f64() / f64::from(u32::try_from(count)?);
                self.stop(&id).await?;
                // Without idle time left, others had the rest: the figure is a fair share and no error.
                self.row(&format!("{what} ({idle:.0} % left idle)"), "%", f64::from(load), share * 100.0)?;
            }
        }
        Ok(())
    }

    async fn memory(&mut self) -> Outcome<()> {
        for mib in [64_u32, 256, 1024, 2048] {
            let id = self.start(Fault::new("memory").with("amount", format!("{mib}MiB"))).await?;
            let resident = usage::resident_bytes(own_worker()?.pid)?;
            self.stop(&id).await?;
            self.row("memory (with the worker's own)", "MiB", f64::from(mib), mebibytes(resident))?;
        }
        Ok(())
    }

    /// On a volume of its own, as nobody else writes there meanwhile.
    async fn disk_fill(&mut self, below: &Path) -> Outcome<()> {
        let dir = below.join("volume");
        std::fs::create_dir(&dir)?;
        let within = Duration::from_secs(10);
        run(Spawn::new("mount").args(["-t", "tmpfs", "-o", "size=256m", "none"]).arg(&dir), within).await?;
        let filled = self.fill(&dir).await;
        run(Spawn::new("umount").arg(&dir), within).await?;
        filled
    }

    async fn fill(&mut self, dir: &Path) -> Outcome<()> {
        let path = dir.to_str().ok_or("a path in UTF-8")?;
        for percent in [50, 80, 95, 100] {
            let id = self.start(Fault::new("disk-fill").with("path", path).with("to", percent)).await?;
            let now = Volume::of(dir)?;
            self.stop(&id).await?;
            let part = mebibytes(now.used_bytes) / mebibytes(now.usable_bytes()) * 100.0;
            self.row("disk-fill, to", "%", f64::from(percent), part)?;
        }
        Ok(())
    }

    /// A program that writes past the cache is moved under the limit while it runs.
    async fn io_throttle(&mut self, dir: &Path) -> Outcome<()> {
        let path = dir.to_str().ok_or("a path in UTF-8")?;
        for mib in [1_u32, 4, 16] {
            let file = dir.join(format!("calibrate-{}", std::process::id()));
            let script =
                format!("while :; do dd if=/dev/zero of={} bs=64k count=512 oflag=direct; done", file.display());
            // `exec` of each dd in turn would end the loop: the children of the shell are born in its group.
            let writer = Spawn::new("sh").args(["-c", &script]).spawn()?;
            let fault = Fault::new("io-throttle")
                .with("process", serde_json::json!({ "select": "pid", "pid": writer.pid() }))
                .with("path", path)
                .with("write", format!("{mib}MiB"));
            let measured = self.throttled(fault, writer.pid()).await;
            for pid in children(writer.pid())?.into_iter().chain([writer.pid()]) {
                let _ended = firedrill_host::process::Pidfd::open(pid)
                    .and_then(|process| process.signal(firedrill_host::process::Signal::SIGKILL));
            }
            let _gone = std::fs::remove_file(&file);
            self.row("io-throttle, written in a second", "MiB", f64::from(mib), measured?)?;
        }
        Ok(())
    }

    /// MiB in a second that the group of a process is seen to write.
    async fn throttled(&mut self, fault: Fault, pid: u32) -> Outcome<f64> {
        let id = self.start(fault).await?;
        // What was begun before the limit is over.
        sleep(Duration::from_secs(2)).await;
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let (before, began) = (written(&text)?, Instant::now());
        sleep(IO_FOR).await;
        let bytes = written(&text)? - before;
        let rate = mebibytes(bytes) / began.elapsed().as_secs_f64();
        self.stop(&id).await?;
        Ok(rate)
    }
}

/// Bytes that a group has written to devices, by the kernel's count for it.
fn written(groups: &str) -> Outcome<u64> {
    let one = groups.lines().find_map(|line| line.split_once(":blkio:").map(|(_, path)| path));
    if let Some(path) = one {
        let file = format!("/sys/fs/cgroup/blkio{path}/blkio.throttle.io_service_bytes");
        let text = std::fs::read_to_string(file)?;
        let amounts = text.lines().filter_map(|line| line.split_once(" Write ")?.1.parse::<u64>().ok());
        return Ok(amounts.sum());
    }
    let path = groups.lines().find_map(|line| line.strip_prefix("0::")).ok_or("no cgroup")?;
    let text = std::fs::read_to_string(format!("/sys/fs/cgroup{path}/io.stat"))?;
    let amounts = text.split_whitespace().filter_map(|word| word.strip_prefix("wbytes=")?.parse::<u64>().ok());
    Ok(amounts.sum())
}

/// Ticks in which the chosen cores were busy, and idle; without any, all cores.
fn busy(chosen: &[u32]) -> Outcome<(u64, u64)> {
    let all = usage::cores()?;
    let chosen = all.iter().filter(|time| chosen.is_empty() || chosen.contains(&time.core));
    Ok(chosen.fold((0, 0), |(busy, idle), time| (busy + time.busy, idle + time.idle)))
}

/// In percent.
fn idle_share(before: (u64, u64), after: (u64, u64)) -> f64 {
    let (busy, idle) = (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1));
    mebibytes(idle) / mebibytes((busy + idle).max(1)) * 100.0
}

fn mebibytes(bytes: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    let mebibytes = bytes as f64 / MIB as f64;
    mebibytes
}

fn children(pid: u32) -> Outcome<Vec<u32>> {
    Ok(list()?.into_iter().filter(|one| one.parent == pid).map(|one| one.identity.pid).collect())
}

/// The one worker that is running.
fn own_worker() -> Outcome<Identity> {
    let own = children(std::process::id())?;
    let pid = own.first().ok_or("no worker is running")?;
    Ok(Identity::of(*pid)?)
}
