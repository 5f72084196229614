//! Disk fill: room on a volume is taken by a file without a name (`O_TMPFILE`), at once, by `fallocate`.
//!
//! The file is gone with the last process that has it open, and that is the worker; nothing on the volume says that it
//! was there. It is filled once: what others free later stays free, as it would when a disk really is full.

use super::level::{Level, ratio, readable};
use super::memory;
use crate::kinds::{Asked, Checking, Effect, Family, Kind, Mechanism, Pending, Refusal, Scope};
use crate::shape::{Parameters, Shape};
use crate::worker::{self, Held, Job, Life, Load, Tell, Work, Worker};
use firedrill_host::observe;
use firedrill_host::usage::Volume;
use firedrill_model::{Bytes, Percent, Span};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, fallocate};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Taken at a time: allocating this much takes milliseconds, so a worker that is told to end does so at once.
const STEP_BYTES: u64 = 4 << 30;
/// The least that is tried when there is no more room: smaller than any file can grow by.
const STEP_MIN_BYTES: u64 = 4096;
/// Filling takes milliseconds per GiB, more on volumes with much metadata.
const FILLED_WITHIN: Duration = Duration::from_secs(10);
/// Less than this part of what was asked is not the fault that was asked for, in percent.
const PART_MIN: u64 = 95;

/// A volume is filled, as by logs that nobody removed. The room is taken at once and comes back at once.
///
/// Give one of `amount`, `to` and `leave`. What the file system keeps for root is not touched; a program that runs as
/// root may still use it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(crate) struct DiskFill {
    /// A directory on the volume.
    path: PathBuf,
    /// Takes so much.
    amount: Option<Bytes>,
    /// Takes until this percentage of the volume is in use, as `df` counts.
    to: Option<Percent>,
    /// Takes until so much is left for those who are not root.
    leave: Option<Bytes>,
    /// Also when it is the volume of the agent's undo journal. Other attacks of this host may be refused meanwhile.
    #[serde(default)]
    journal_volume: bool,
}

impl Parameters for DiskFill {
    fn check(&self) -> Result<(), String> {
        Level::of(self.amount, self.to, self.leave).map(drop)
    }
}

pub(crate) static KIND: Kind = Kind {
    name: "disk-fill",
    summary: "A volume is filled up, to a percentage or but for a rest.",
    family: Family::Resource,
    scope: Scope::Host,
    instant: false,
    shape: Shape::of::<DiskFill>(),
    needs: &[],
    mechanism: || Ok("worker process that holds a file without a name (O_TMPFILE, fallocate)".to_owned()),
    preflight,
    undo: worker::undo,
    verify_undone: worker::verify_undone,
};

fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let fill: DiskFill = asked.parameters()?;
        if !fill.journal_volume {
            spare_journal(&fill.path, &asked.journal).map_err(Refusal)?;
        }
        let before = Volume::of(&fill.path)?;
        let level = Level::of(fill.amount, fill.to, fill.leave).map_err(Refusal)?;
        let bytes = allowed(level, &before, &fill.path).map_err(Refusal)?;
        spare_memory(&fill.path, bytes)?;
        let fill = Fill { path: fill.path, bytes, before: before.free_bytes };
        let worker = Worker::start(&asked.context, &Job::DiskFill(fill.clone()), Life::default()).await?;
        Ok(Box::new(Held { worker, load: fill }) as Box<dyn Mechanism>)
    })
}

/// A full volume of the undo journal would have other attacks refused.
pub(super) fn spare_journal(path: &Path, journal: &Path) -> Result<(), String> {
    let device = |path: &Path| {
        let seen = std::fs::metadata(path).map_err(|problem| format!("cannot look at {}: {problem}", path.display()));
        seen.map(|seen| seen.dev())
    };
    if device(path)? == device(journal)? {
        return Err(format!(
            "{} is on the volume of this agent's undo journal ({}); other attacks would be refused while it is full. Say \
             `journal_volume: true` if that is meant",
            path.display(),
            journal.display()
        ));
    }
    Ok(())
}

fn allowed(level: Level, volume: &Volume, path: &Path) -> Result<u64, String> {
    let (free, missing) = (volume.free_bytes, level.missing(volume.usable_bytes(), volume.free_bytes));
    if missing == 0 {
        return Err(format!("only {} are free on the volume of {} already", readable(free), path.display()));
    }
    if missing > free {
        return Err(format!(
            "{} cannot be taken: {} are free on the volume of {}",
            readable(missing),
            readable(free),
            path.display()
        ));
    }
    Ok(missing)
}

/// A volume in memory is filled with memory, of which the host must keep its reserve.
fn spare_memory(path: &Path, bytes: u64) -> Result<(), Refusal> {
    if !statfs(path).is_ok_and(|seen| seen.filesystem_type() == TMPFS_MAGIC) {
        return Ok(());
    }
    let available = observe::host(Path::new("/"))?.memory_available_bytes;
    if bytes.saturating_add(memory::RESERVE_BYTES) > available {
        return Err(Refusal(format!(
            "{} is kept in memory, and filling it would leave the host less than {} of {}",
            path.display(),
            readable(memory::RESERVE_BYTES),
            readable(available)
        )));
    }
    Ok(())
}

/// The worker's part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fill {
    path: PathBuf,
    bytes: u64,
    /// Free before.
    before: u64,
}

/// A file that no directory names, on the volume of this one.
pub(super) fn unnamed(path: &Path, flags: OFlag) -> Result<File, String> {
    let flags = (OFlag::O_TMPFILE | flags).bits();
    OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).map_err(|problem| {
        format!("the file system of {} has no files without a name (O_TMPFILE): {problem}", path.display())
    })
}

impl Fill {
    pub(crate) fn prepare(self) -> Result<Work, String> {
        let file = unnamed(&self.path, OFlag::empty())?;
        // One page, to see that it can be done.
        match fallocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, 4096) {
            Ok(()) | Err(Errno::ENOSPC | Errno::EDQUOT) => {}
            Err(problem) => {
                let path = self.path.display();
                return Err(format!(
                    "room cannot be taken at once on the file system of {path} (fallocate): {problem}"
                ));
            }
        }
        Ok(Box::new(move |tell: &Tell| self.fill(file, tell)))
    }

    fn fill(&self, file: File, tell: &Tell) -> Infallible {
        let (mut taken, mut step) = (0, STEP_BYTES);
        let note = loop {
            let now = step.min(self.bytes - taken);
            if now == 0 {
                break String::new();
            }
            let offset = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
            match fallocate(&file, FallocateFlags::empty(), offset(taken), offset(now)) {
                Ok(()) => {
                    taken += now;
                    tell.at(taken, false, "");
                }
                Err(Errno::EINTR) => {}
                Err(Errno::ENOSPC | Errno::EDQUOT) if step > STEP_MIN_BYTES => step /= 2,
                Err(problem) => break problem.desc().to_owned(),
            }
        };
        tell.at(taken, true, &note);
        worker::hold(file)
    }
}

impl Load for Fill {
    fn describe(&self) -> String {
        format!("a file without a name of {} on the volume of {}", readable(self.bytes), self.path.display())
    }

    fn verify<'a>(&'a mut self, worker: &'a mut Worker) -> Pending<'a, Effect> {
        Box::pin(async {
            let began = Instant::now();
            let Some(last) = worker.settled(FILLED_WITHIN).await else {
                return Effect::NotSeen("the worker ended before the volume was filled".to_owned());
            };
            match Volume::of(&self.path) {
                Ok(now) => self.judge(&now, last.amount, &last.note, began.elapsed()),
                Err(problem) => Effect::NotSeen(format!("it could not be measured: {}", problem.full())),
            }
        })
    }
}

impl Fill {
    /// Seen when the volume has lost what was asked for, or has nothing left.
    fn judge(&self, now: &Volume, taken: u64, note: &str, took: Duration) -> Effect {
        let lost = self.before.saturating_sub(now.free_bytes);
        let percent = ratio(now.used_bytes, now.usable_bytes()) * 100.0;
        let took = Span(Duration::from_millis(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)));
        let note = if note.is_empty() { String::new() } else { format!("; {note}") };
        let figures = format!(
            "asked {}, taken {} within {took}; the volume of {} is at {percent:.1} %, {} are free{note}",
            readable(self.bytes),
            readable(taken),
            self.path.display(),
            readable(now.free_bytes)
        );
        let enough = |bytes: u64| bytes.saturating_mul(100) >= self.bytes.saturating_mul(PART_MIN);
        if enough(taken) && enough(lost) || taken > 0 && now.free_bytes < STEP_MIN_BYTES {
            Effect::Seen(figures)
        } else {
            Effect::NotSeen(figures)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(used: u64, free: u64) -> Volume {
        Volume { used_bytes: used << 20, free_bytes: free << 20, inodes: 0, free_inodes: 0 }
    }

    #[test]
    fn a_volume_that_is_full_enough_is_left_alone() {
        let path = Path::new("/data");
        assert_eq!(allowed(Level::To(90_000), &volume(50, 50), path), Ok(40 << 20));
        assert!(allowed(Level::To(40_000), &volume(50, 50), path).is_err_and(|why| why.contains("already")));
        assert!(allowed(Level::Amount(60 << 20), &volume(50, 50), path).is_err_and(|why| why.contains("50.0 MiB")));
    }

    #[test]
    fn room_that_was_not_lost_is_no_effect() {
        let fill = Fill { path: "/data".into(), bytes: 40 << 20, before: 50 << 20 };
        let judged = |now: Volume, taken: u64| fill.judge(&now, taken << 20, "", Duration::ZERO);
        assert!(matches!(judged(volume(90, 10), 40), Effect::Seen(_)));
        assert!(matches!(judged(volume(100, 0), 30), Effect::Seen(_)), "others took the rest");
        assert!(matches!(judged(volume(50, 50), 40), Effect::NotSeen(_)));
        assert!(matches!(judged(volume(70, 30), 20), Effect::NotSeen(_)));
    }
}
