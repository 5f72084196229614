//! Disk I/O: a volume is kept busy with reads and writes that go to the device (`O_DIRECT`), on a file without a name.

use super::disk_fill::unnamed;
use super::level::readable;
use crate::kinds::{Asked, Checking, Effect, Family, Kind, Mechanism, Pending, Refusal, Scope};
use crate::shape::{Parameters, Shape};
use crate::worker::{self, Held, Job, Life, Load, Tell, Work, Worker};
use firedrill_host::usage::{self, Volume};
use firedrill_model::{Bytes, Span};
use nix::fcntl::OFlag;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Blocks are read and written at places that are multiples of this, as devices ask for.
const ALIGNMENT: usize = 4096;
/// The file that is read and written. Much larger than the cache of a small device, much smaller than a volume.
pub(super) const FILE_BYTES: u64 = 256 << 20;
/// Left free on the volume.
const SPARE_BYTES: u64 = 256 << 20;
const THREADS_MAX: u32 = 64;
const BLOCK_BYTES_MAX: u64 = 16 << 20;
/// The file is written once before it can be read; a slow device takes this long.
const PREPARED_WITHIN: Duration = Duration::from_secs(10);
/// The load is measured for so long.
const MEASURED_FOR: Duration = Duration::from_secs(1);
/// A device that does not come up to what was asked is fully used, which is an effect. This part of it must be there, in
/// percent.
const PART_MIN: u64 = 5;

/// A volume is kept busy with reads and writes, as by a backup or a neighbour.
///
/// Give `read`, `write` or both, in bytes per second; the device may be too slow for it, and then is fully busy. The file
/// that is read and written has no name and takes 256 MiB.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(crate) struct DiskIo {
    /// A directory on the volume.
    path: PathBuf,
    /// Bytes to be read in a second.
    #[serde(default)]
    read: Bytes,
    /// Bytes to be written in a second.
    #[serde(default)]
    write: Bytes,
    /// Size of each read and write, a multiple of 4KiB.
    #[serde(default = "block")]
    block: Bytes,
    /// How many read and how many write at a time.
    #[serde(default = "threads")]
    threads: u32,
}

const fn block() -> Bytes {
    Bytes(64 << 10)
}

const fn threads() -> u32 {
    4
}

impl Parameters for DiskIo {
    fn check(&self) -> Result<(), String> {
        if self.read.0 == 0 && self.write.0 == 0 {
            return Err("give `read` or `write`, such as 20MiB in a second".to_owned());
        }
        if self.threads == 0 || self.threads > THREADS_MAX {
            return Err(format!("{} threads are not from 1 to {THREADS_MAX}", self.threads));
        }
        let block = self.block.0;
        if block == 0 || block > BLOCK_BYTES_MAX || !block.is_multiple_of(ALIGNMENT as u64) {
            return Err(format!("a block of {} is no multiple of 4KiB up to 16MiB", self.block));
        }
        Ok(())
    }
}

pub(crate) static KIND: Kind = Kind {
    name: "disk-io",
    summary: "A volume is kept busy with reads and writes.",
    family: Family::Resource,
    scope: Scope::Host,
    instant: false,
    shape: Shape::of::<DiskIo>(),
    needs: &[],
    mechanism: || Ok("worker process with O_DIRECT on a file without a name".to_owned()),
    preflight,
    undo: worker::undo,
    verify_undone: worker::verify_undone,
};

fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let wanted: DiskIo = asked.parameters()?;
        let free = Volume::of(&wanted.path)?.free_bytes;
        if free < FILE_BYTES + SPARE_BYTES {
            return Err(Refusal(format!(
                "{} are free on the volume of {}; a file of {} is needed, and as much must be left",
                readable(free),
                wanted.path.display(),
                readable(FILE_BYTES)
            )));
        }
        let drive = Drive {
            path: wanted.path,
            read: wanted.read.0,
            write: wanted.write.0,
            block: wanted.block.0,
            threads: wanted.threads,
            file: FILE_BYTES,
        };
        let worker = Worker::start(&asked.context, &Job::DiskIo(drive.clone()), Life::default()).await?;
        Ok(Box::new(Held { worker, load: drive }) as Box<dyn Mechanism>)
    })
}

/// The worker's part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Drive {
    pub(super) path: PathBuf,
    /// Bytes in a second.
    pub(super) read: u64,
    pub(super) write: u64,
    pub(super) block: u64,
    pub(super) threads: u32,
    /// Size of the file, a multiple of the block.
    pub(super) file: u64,
}

impl Drive {
    pub(crate) fn prepare(self) -> Result<Work, String> {
        let file = unnamed(&self.path, OFlag::O_DIRECT)?;
        Block::new(ALIGNMENT).write(&file, 0).map_err(|problem| {
            let path = self.path.display();
            format!("the file system of {path} cannot be written to past its cache (O_DIRECT): {problem}")
        })?;
        Ok(Box::new(move |tell: &Tell| {
            let file = Arc::new(file);
            if self.read > 0 {
                // What was never written is not read from the device.
                let whole = Block::new(1 << 20);
                for place in 0..self.file >> 20 {
                    let _full = whole.write(&file, place << 20);
                }
            }
            tell.at(0, true, "");
            let each = |rate: u64| Pace { rate: rate / u64::from(self.threads), block: self.block, file: self.file };
            for number in 0..self.threads {
                for (rate, way) in [(self.read, Way::Read), (self.write, Way::Write)] {
                    let (file, pace) = (Arc::clone(&file), each(rate));
                    if rate > 0 {
                        // One thread less is seen in what is measured.
                        let _started = thread::Builder::new().spawn(move || pace.run(&file, &way, number));
                    }
                }
            }
            worker::hold(file)
        }))
    }
}

enum Way {
    Read,
    Write,
}

/// How fast one thread goes.
struct Pace {
    /// Bytes in a second.
    rate: u64,
    block: u64,
    file: u64,
}

impl Pace {
    /// When the block of that number is due.
    fn due(&self, number: u64) -> Duration {
        let nanos = u128::from(number) * u128::from(self.block) * 1_000_000_000 / u128::from(self.rate.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Reads or writes until the process ends. A thread that comes late does not catch up for more than a second.
    fn run(&self, file: &File, way: &Way, seed: u32) {
        let mut block = Block::new(usize::try_from(self.block).unwrap_or(ALIGNMENT));
        let blocks = (self.file / self.block).max(1);
        let mut place = u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (mut began, mut done) = (Instant::now(), 0);
        loop {
            place = place.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (place >> 33) % blocks * self.block;
            let worked = match way {
                Way::Read => block.read(file, at),
                Way::Write => block.write(file, at),
            };
            if worked.is_err() {
                // A full or failing device: tried again, at the same pace.
                thread::sleep(Duration::from_millis(10));
            }
            done += 1;
            let (due, elapsed) = (self.due(done), began.elapsed());
            thread::sleep(due.saturating_sub(elapsed));
            if elapsed.saturating_sub(due) > Duration::from_secs(1) {
                (began, done) = (Instant::now(), 0);
            }
        }
    }
}

/// Memory that a device can read and write directly: at an address that is a multiple of the alignment.
struct Block {
    memory: Vec<u8>,
    from: usize,
    length: usize,
}

impl Block {
    fn new(length: usize) -> Self {
        let mut memory = vec![0; length + ALIGNMENT];
        // Devices may treat blocks of zeros as nothing.
        for (number, byte) in memory.iter_mut().enumerate() {
            *byte = u8::try_from(number % 251).unwrap_or(1);
        }
        let from = memory.as_ptr().align_offset(ALIGNMENT);
        Self { memory, from, length }
    }

    fn write(&self, file: &File, place: u64) -> std::io::Result<()> {
        file.write_all_at(&self.memory[self.from..self.from + self.length], place)
    }

    fn read(&mut self, file: &File, place: u64) -> std::io::Result<()> {
        // Short where the file has not been written to.
        file.read_at(&mut self.memory[self.from..self.from + self.length], place).map(drop)
    }
}

impl Load for Drive {
    fn describe(&self) -> String {
        let path = self.path.display();
        format!("{} threads with O_DIRECT on a file without a name on the volume of {path}", self.threads)
    }

    fn verify<'a>(&'a mut self, worker: &'a mut Worker) -> Pending<'a, Effect> {
        Box::pin(async {
            if worker.settled(PREPARED_WITHIN).await.is_none() {
                return Effect::NotSeen("the worker ended".to_owned());
            }
            match rates(worker, MEASURED_FOR).await {
                Ok((read, written)) => self.judge(read, written),
                Err(why) => Effect::NotSeen(why),
            }
        })
    }
}

/// Bytes in a second that a worker has had read and written.
pub(super) async fn rates(worker: &Worker, time: Duration) -> Result<(u64, u64), String> {
    let pid = worker.identity().pid;
    let count = || usage::storage_bytes(pid).map_err(|problem| format!("it could not be measured: {}", problem.full()));
    let (before, began) = (count()?, Instant::now());
    sleep(time).await;
    let (after, took) = (count()?, began.elapsed().as_millis().max(1));
    let rate = |before: u64, after: u64| {
        u64::try_from(u128::from(after.saturating_sub(before)) * 1000 / took).unwrap_or(u64::MAX)
    };
    Ok((rate(before.0, after.0), rate(before.1, after.1)))
}

impl Drive {
    fn judge(&self, read: u64, written: u64) -> Effect {
        let one = |what: &str, asked: u64, measured: u64| {
            (asked > 0)
                .then(|| format!("asked {} {what} in a second, measured {}", readable(asked), readable(measured)))
        };
        let figures: Vec<String> =
            [one("read", self.read, read), one("written", self.write, written)].into_iter().flatten().collect();
        let figures = format!("{}, over {}", figures.join("; "), Span(MEASURED_FOR));
        let there = |asked: u64, measured: u64| measured.saturating_mul(100) >= asked.saturating_mul(PART_MIN);
        let seen = there(self.read, read) && there(self.write, written);
        if seen { Effect::Seen(figures) } else { Effect::NotSeen(figures) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_at_an_even_pace() {
        let pace = Pace { rate: 1 << 20, block: 64 << 10, file: 1 << 20 };
        assert_eq!(pace.due(16), Duration::from_secs(1));
        assert_eq!(pace.due(0), Duration::ZERO);
    }

    #[test]
    fn a_block_is_where_a_device_wants_it() {
        let block = Block::new(8192);
        let address = block.memory[block.from..].as_ptr();
        assert_eq!(address.align_offset(ALIGNMENT), 0);
        assert!(block.from + block.length <= block.memory.len());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let check = |text: &str| serde_json::from_str::<DiskIo>(text).expect("reads").check();
        assert!(check(r#"{"path": "/", "write": "1MiB"}"#).is_ok());
        assert!(check(r#"{"path": "/"}"#).is_err());
        assert!(check(r#"{"path": "/", "write": "1MiB", "threads": 0}"#).is_err());
        assert!(check(r#"{"path": "/", "write": "1MiB", "block": "5000"}"#).is_err());
    }

    #[test]
    fn a_silent_disk_is_no_effect() {
        let drive = Drive { path: "/".into(), read: 10 << 20, write: 0, block: 65536, threads: 1, file: FILE_BYTES };
        assert!(matches!(drive.judge(10 << 20, 0), Effect::Seen(_)));
        assert!(matches!(drive.judge(2 << 20, 0), Effect::Seen(_)), "all that the device gives");
        assert!(matches!(drive.judge(0, 0), Effect::NotSeen(_)));
    }
}
