//! Resource faults beside `stress-ng` doing the same thing, in turn, by the same ruler: a table in Markdown.
//!
//! ```text
//! compare_stress_ng [DIR]     DIR: where is written (default: the temp directory)
//! compare_stress_ng --as-worker JOB
//! ```
//!
//! The ruler looks from outside, at all processes that do the work, of either program alike: their CPU time over five
//! seconds, the resident memory of the largest, what they have written to devices. Needs stress-ng and root.

use firedrill_fault::{Context, Faults, worker};
use firedrill_host::process::{Identity, Pidfd, Signal, Spawn, Stream, list};
use firedrill_host::usage;
use firedrill_model::attack::AttackState;
use firedrill_model::{AttackId, AttackSpec, Fault, Span};
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::time::sleep;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const MEASURED_FOR: Duration = Duration::from_secs(5);
/// stress-ng has no moment at which it says that it has begun.
const BEGUN_AFTER: Duration = Duration::from_secs(2);
/// Taking the memory and writing a first file is over.
const PREPARED_AFTER: Duration = Duration::from_secs(4);
/// Processes that were killed are gone within this.
const ENDED_WITHIN: Duration = Duration::from_secs(10);
const MIB: f64 = 1_048_576.0;

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
    let mut comparison = Comparison { faults, number: 0, out: std::io::stdout() };
    writeln!(comparison.out, "| load | asked | firedrill | stress-ng |\n|---|---:|---:|---:|")?;
    comparison.cpu().await?;
    comparison.memory().await?;
    comparison.disk_io(dir.to_str().ok_or("a path in UTF-8")?).await
}

struct Comparison {
    faults: Faults,
    number: u32,
    out: std::io::Stdout,
}

impl Comparison {
    async fn cpu(&mut self) -> Outcome<()> {
        for load in [10, 25, 50, 75, 90] {
            let fault = Fault::new("cpu").with("load", load).with("cores", [0]);
            let ours = self.ours(fault, BEGUN_AFTER, CPU).await?;
            let options = format!("--cpu 1 --cpu-load {load} --taskset 0");
            let theirs = theirs(&options, BEGUN_AFTER, CPU).await?;
            self.row("one core", &format!("{load} %"), "%", ours, theirs)?;
        }
        Ok(())
    }

    async fn memory(&mut self) -> Outcome<()> {
        for mib in [256, 1024] {
            let fault = Fault::new("memory").with("amount", format!("{mib}MiB"));
            let ours = self.ours(fault, PREPARED_AFTER, MEMORY).await?;
            let options = format!("--vm 1 --vm-bytes {mib}m --vm-keep --vm-populate");
            let theirs = theirs(&options, PREPARED_AFTER, MEMORY).await?;
            self.row("memory", &format!("{mib} MiB"), "MiB", ours, theirs)?;
        }
        Ok(())
    }

    async fn disk_io(&mut self, dir: &str) -> Outcome<()> {
        let fault = |write: &str| Fault::new("disk-io").with("path", dir).with("write", write).with("threads", 1);
        let limited = self.ours(fault("4MiB"), PREPARED_AFTER, WRITTEN).await?;
        writeln!(self.out, "| written past the cache | 4 MiB/s | {limited:.2} MiB/s | knows no rate |")?;
        let ours = self.ours(fault("10GiB"), PREPARED_AFTER, WRITTEN).await?;
        let options =
            format!("--hdd 1 --hdd-opts direct,wr-seq --hdd-write-size 64k --hdd-bytes 256m --temp-path {dir}");
        let theirs = theirs(&options, PREPARED_AFTER, WRITTEN).await?;
        self.row("written past the cache", "all it can", "MiB/s", ours, theirs)
    }

    fn row(&mut self, what: &str, asked: &str, unit: &str, ours: f64, theirs: f64) -> Outcome<()> {
        writeln!(self.out, "| {what} | {asked} | {ours:.2} {unit} | {theirs:.2} {unit} |")?;
        Ok(())
    }

    /// Measures a fault of this crate.
    async fn ours(&mut self, fault: Fault, begun_after: Duration, ruler: Ruler) -> Outcome<f64> {
        self.number += 1;
        let id = AttackId(format!("compare-{}-{}", std::process::id(), self.number));
        let text = fault.to_string();
        let spec = AttackSpec { id: id.clone(), fault, node: None, duration: Span::secs(120), severs_server: false };
        let report = self.faults.inject(spec).await;
        if report.state != AttackState::Active {
            return Err(format!("{text}: {:?}, {}", report.state, report.evidence).into());
        }
        sleep(begun_after).await;
        let measured = measure(std::process::id(), ruler).await;
        self.faults.undo(&id).await?;
        measured
    }
}

/// Measures stress-ng with these options.
async fn theirs(options: &str, begun_after: Duration, ruler: Ruler) -> Outcome<f64> {
    let spawn = Spawn::new("stress-ng").arg("--quiet").args(options.split(' '));
    let child = spawn.spawn()?;
    sleep(begun_after).await;
    let measured = measure(child.pid(), ruler).await;
    for process in family(child.pid())? {
        let _ended = Pidfd::open(process.pid).and_then(|process| process.signal(Signal::SIGTERM));
    }
    child.signal(Signal::SIGTERM)?;
    tokio::time::timeout(ENDED_WITHIN, child.exited()).await??;
    measured
}

/// What is read of all processes that work, and how two readings become a figure.
#[derive(Clone, Copy)]
struct Ruler {
    read: fn(&[Identity]) -> f64,
    figure: fn(before: f64, after: f64, seconds: f64) -> f64,
}

/// Share of one core, in percent.
const CPU: Ruler = Ruler {
    read: |workers| workers.iter().filter_map(|one| usage::cpu_time(*one).ok()).map(|time| time.as_secs_f64()).sum(),
    figure: |before, after, seconds| (after - before) / seconds * 100.0,
};

/// Of the process that has most, in MiB: what starts and watches it is not counted.
const MEMORY: Ruler = Ruler {
    read: |workers| {
        workers.iter().filter_map(|one| usage::resident_bytes(one.pid).ok()).max().unwrap_or(0) as f64 / MIB
    },
    figure: |_, after, _| after,
};

/// Written to devices, in MiB a second.
const WRITTEN: Ruler = Ruler {
    read: |workers| workers.iter().map(|one| written_by(one.pid)).sum::<u64>() as f64 / MIB,
    figure: |before, after, seconds| (after - before) / seconds,
};

fn written_by(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}

async fn measure(root: u32, ruler: Ruler) -> Outcome<f64> {
    let workers = family(root)?;
    let (before, began) = ((ruler.read)(&workers), Instant::now());
    sleep(MEASURED_FOR).await;
    Ok((ruler.figure)(before, (ruler.read)(&workers), began.elapsed().as_secs_f64()))
}

/// All that a process has started, and what that has started.
fn family(root: u32) -> Outcome<Vec<Identity>> {
    let all = list()?;
    let (mut found, mut looked_at): (Vec<Identity>, usize) = (Vec::new(), 0);
    let mut parent = root;
    loop {
        found.extend(all.iter().filter(|one| one.parent == parent).map(|one| one.identity));
        let Some(next) = found.get(looked_at) else { return Ok(found) };
        (parent, looked_at) = (next.pid, looked_at + 1);
    }
}
