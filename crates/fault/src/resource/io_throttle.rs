//! I/O throttle: a process reads and writes a device only so fast, as on a small cloud volume.
//!
//! The kernel counts what goes to the device: direct I/O and fsync at once, buffered writes (with version 1) not at all.

use super::disk_io::{Drive, rates};
use super::level::readable;
use super::limit::{self, Setting};
use super::limited::{self, Ground, Limiting, Ruler};
use crate::kinds::{Effect, Kind, Refusal};
use crate::shape::Parameters;
use crate::target::{self, Target};
use crate::worker::{self, Job, Worker};
use firedrill_host::controller::{Controller, Disk, Membership, Version, disk_of};
use firedrill_model::attack::ProcessSelector;
use firedrill_model::{Bytes, Span};
use schemars::JsonSchema;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// A slower device would keep a process from ending for minutes, as what it has begun is finished first.
const BYTES_MIN: u64 = 64 << 10;
const OPERATIONS_MIN: u64 = 4;
/// Under the limit and then beside it, so long each, a worker reads or writes as fast as it can.
const MEASURED_FOR: Duration = Duration::from_secs(1);
const COMPARED_FOR: Duration = Duration::from_millis(300);
/// More than this part of the limit is not the limit that was asked for, in percent.
const PART_MAX: u64 = 125;
/// Reads and writes of the worker that measures: small ones, so that many fit into a second.
const BLOCK_BYTES: u64 = 4096;
/// The worker's file is small, as it must be written before it can be read.
const FILE_BYTES: u64 = 4 << 20;
/// As fast as a device can be.
const AS_FAST_AS_IT_GOES: u64 = 1 << 40;
const PREPARED_WITHIN: Duration = Duration::from_secs(10);

/// A process reads or writes a device only so fast, by default the database server of the node that is attacked.
///
/// A process that shares its cgroup (version 2) with others is moved out of it for that time, away from its other limits.
///
/// Give one or more of `read`, `write`, `read_operations` and `write_operations`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(crate) struct IoThrottle {
    /// Which process, when it is not the database server.
    process: Option<ProcessSelector>,
    /// The container whose cgroup gets the limit, as a whole: by name, id or the beginning of an id.
    container: Option<String>,
    /// A directory on the volume whose device is meant; what the fault measures is read and written there.
    path: PathBuf,
    /// Bytes read in a second, at most, such as 1MiB.
    read: Option<Bytes>,
    /// Bytes written in a second, at most.
    write: Option<Bytes>,
    /// Reads in a second, at most.
    read_operations: Option<u64>,
    /// Writes in a second, at most.
    write_operations: Option<u64>,
    /// All processes of its cgroup (container, service) get that together, instead of the one process alone.
    #[serde(default)]
    whole_group: bool,
}

impl Parameters for IoThrottle {
    fn check(&self) -> Result<(), String> {
        target::check_aim(self.process.as_ref(), self.container.as_ref())?;
        let rates = self.rates();
        if rates.is_empty() {
            return Err("give `read`, `write`, `read_operations` or `write_operations`".to_owned());
        }
        match rates.iter().find(|rate| rate.most < rate.least()) {
            Some(rate) => Err(format!("{} in a second are less than {}, the least", rate.most, rate.least())),
            None => Ok(()),
        }
    }
}

/// One of the four limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rate {
    writes: bool,
    operations: bool,
    most: u64,
}

impl Rate {
    const fn least(&self) -> u64 {
        if self.operations { OPERATIONS_MIN } else { BYTES_MIN }
    }

    /// For people.
    fn text(&self, amount: u64) -> String {
        let way = if self.writes { "written" } else { "read" };
        if self.operations {
            format!("{amount} operations {way} in a second")
        } else {
            format!("{} {way} in a second", readable(amount))
        }
    }
}

impl IoThrottle {
    fn rates(&self) -> Vec<Rate> {
        let bytes = |bytes: Option<Bytes>| bytes.map(|bytes| bytes.0);
        let all = [
            (false, false, bytes(self.read)),
            (true, false, bytes(self.write)),
            (false, true, self.read_operations),
            (true, true, self.write_operations),
        ];
        all.into_iter()
            .filter_map(|(writes, operations, most)| Some(Rate { writes, operations, most: most? }))
            .collect()
    }
}

pub(crate) static KIND: Kind = limited::kind::<IoThrottle>(
    "io-throttle",
    "A process reads or writes a device only so fast.",
    || limit::available(Controller::Io),
    |asked| limited::preflight::<IoThrottle>(asked, Controller::Io),
);

impl Limiting for IoThrottle {
    type Ruler = Throttle;

    fn aim(&mut self) -> (Option<ProcessSelector>, Option<String>) {
        (self.process.take(), self.container.take())
    }

    fn whole_group(&self) -> bool {
        self.whole_group
    }

    fn plan(self, _target: &Target, member: &Membership) -> Result<(Vec<Setting>, Throttle), Refusal> {
        let disk = disk_of(&self.path)?.ok_or_else(|| {
            Refusal(format!(
                "{} is on no single device (memory, overlay, network …), which is what can be limited",
                self.path.display()
            ))
        })?;
        let rates = self.rates();
        Ok((settings(member.version, disk, &rates), Throttle { rates, path: self.path }))
    }
}

fn settings(version: Version, disk: Disk, rates: &[Rate]) -> Vec<Setting> {
    let key = Some(disk.to_string());
    match version {
        Version::One => {
            let file = |rate: &Rate| {
                let way = if rate.writes { "write" } else { "read" };
                format!("blkio.throttle.{way}_{}_device", if rate.operations { "iops" } else { "bps" })
            };
            let one = |rate: &Rate| Setting {
                file: file(rate),
                key: key.clone(),
                during: rate.most.to_string(),
                unset: "0".to_owned(),
            };
            rates.iter().map(one).collect()
        }
        Version::Two => {
            let one = |rate: &Rate| {
                let way = if rate.writes { 'w' } else { 'r' };
                format!("{way}{}={}", if rate.operations { "iops" } else { "bps" }, rate.most)
            };
            let during = rates.iter().map(one).collect::<Vec<_>>().join(" ");
            let unset = "rbps=max wbps=max riops=max wiops=max".to_owned();
            vec![Setting { file: "io.max".to_owned(), key, during, unset }]
        }
    }
}

/// A worker in the group, and then one beside it, wants all that it can get.
pub(super) struct Throttle {
    rates: Vec<Rate>,
    path: PathBuf,
}

impl Ruler for Throttle {
    async fn measure(&self, limited: &Ground) -> Result<Effect, Refusal> {
        // One way is enough to see that the device and the group are the right ones.
        let Some(rate) = self.rates.iter().find(|rate| rate.writes).or(self.rates.first()) else {
            return Ok(Effect::NotSeen("there is no limit".to_owned()));
        };
        let (job, lasting) = (self.job(rate), |time: Duration| PREPARED_WITHIN + time * 2);
        let under = limited.worker(&job, lasting(MEASURED_FOR)).await?;
        let under = measured(rate, under, MEASURED_FOR).await?;
        let beside = limited.worker_beside(&job, lasting(COMPARED_FOR)).await?;
        let beside = measured(rate, beside, COMPARED_FOR).await?;
        Ok(judge(rate, under, beside))
    }
}

impl Throttle {
    fn job(&self, rate: &Rate) -> Job {
        let all = AS_FAST_AS_IT_GOES;
        let (read, write) = if rate.writes { (0, all) } else { (all, 0) };
        Job::DiskIo(Drive { path: self.path.clone(), read, write, block: BLOCK_BYTES, threads: 4, file: FILE_BYTES })
    }
}

/// How fast a worker is, which is ended then.
async fn measured(rate: &Rate, mut worker: Worker, time: Duration) -> Result<u64, Refusal> {
    worker.settled(PREPARED_WITHIN).await.ok_or_else(|| Refusal("the worker ended".to_owned()))?;
    let (read, written) = rates(&worker, time).await.map_err(Refusal)?;
    worker::end(worker.identity()).await?;
    let bytes = if rate.writes { written } else { read };
    Ok(if rate.operations { bytes / BLOCK_BYTES } else { bytes })
}

fn judge(rate: &Rate, under: u64, beside: u64) -> Effect {
    let figures = format!(
        "asked at most {}; measured {} over {}, and {} beside the limit",
        rate.text(rate.most),
        rate.text(under),
        Span(MEASURED_FOR),
        rate.text(beside)
    );
    if under == 0 || under.saturating_mul(100) > rate.most.saturating_mul(PART_MAX) {
        Effect::NotSeen(figures)
    } else if beside < rate.most {
        Effect::NotSeen(format!("{figures}: the device is no faster than that"))
    } else {
        Effect::Seen(figures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(text: &str) -> IoThrottle {
        serde_json::from_str(text).expect("reads")
    }

    #[test]
    fn each_version_has_its_files() {
        let rates = wanted(r#"{"path": "/", "write": "1MiB", "read_operations": 100}"#).rates();
        let disk = Disk { major: 254, minor: 0 };
        let one = settings(Version::One, disk, &rates);
        let lines: Vec<_> = one.iter().map(|setting| (setting.file.as_str(), setting.during.as_str())).collect();
        assert_eq!(lines, [("blkio.throttle.write_bps_device", "1048576"), ("blkio.throttle.read_iops_device", "100")]);
        let two = settings(Version::Two, disk, &rates);
        assert_eq!(two[0].during, "wbps=1048576 riops=100");
        assert_eq!(two[0].key.as_deref(), Some("254:0"));
    }

    #[test]
    fn a_limit_is_given_and_not_too_low() {
        assert!(wanted(r#"{"path": "/"}"#).check().is_err());
        assert!(wanted(r#"{"path": "/", "write": "1KiB"}"#).check().is_err());
        assert!(wanted(r#"{"path": "/", "write_operations": 1}"#).check().is_err());
        assert!(wanted(r#"{"path": "/", "read": "1MiB"}"#).check().is_ok());
    }

    #[test]
    fn a_slow_device_shows_no_limit() {
        let rate = Rate { writes: true, operations: false, most: 1 << 20 };
        assert!(matches!(judge(&rate, 1 << 20, 50 << 20), Effect::Seen(_)));
        assert!(matches!(judge(&rate, 1 << 19, 1 << 19), Effect::NotSeen(_)));
        assert!(matches!(judge(&rate, 2 << 20, 50 << 20), Effect::NotSeen(_)));
        assert!(matches!(judge(&rate, 0, 50 << 20), Effect::NotSeen(_)));
    }
}
