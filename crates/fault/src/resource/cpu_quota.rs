//! CPU quota: a process gets at most so much processor time, as in a container with a limit.

use super::limit::{self, Setting};
use super::limited::{self, Ground, Limiting, Ruler};
use crate::kinds::{Effect, Kind, Refusal};
use crate::resource::cpu::Burn;
use crate::shape::Parameters;
use crate::target::{self, Target};
use crate::worker::{self, Job};
use firedrill_host::cgroup::Cgroup;
use firedrill_host::controller::{Controller, Membership, Version};
use firedrill_host::process::Identity;
use firedrill_host::{HostError, usage};
use firedrill_model::Span;
use firedrill_model::attack::ProcessSelector;
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// The kernel gives quotas out anew so often, unless the group has its own period, in microseconds.
const PERIOD_US: u64 = 100_000;
/// The kernel refuses less in a period.
const QUOTA_MIN_US: f64 = 1000.0;
const CORES_MAX: f64 = 4096.0;
/// What the group uses is measured for so long, with a worker in it that wants all it can get.
const MEASURED_FOR: Duration = Duration::from_secs(1);
/// More than this beyond the quota is not the limit that was asked for: part of it, and cores.
const OVER_PART: f64 = 0.15;
const OVER_CORES: f64 = 0.05;

/// A process gets at most so much processor time, by default the database server of the node that is attacked.
///
/// A process that shares its cgroup (version 2) with others is moved out of it for that time, away from its other limits.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(crate) struct CpuQuota {
    /// Which process, when it is not the database server.
    process: Option<ProcessSelector>,
    /// The container whose cgroup gets the limit, as a whole: by name, id or the beginning of an id.
    container: Option<String>,
    /// How many cores' worth of time it gets, such as 0.2 or 1.5.
    cores: f64,
    /// All processes of its cgroup (container, service) get that together, instead of the one process alone.
    #[serde(default)]
    whole_group: bool,
}

impl Parameters for CpuQuota {
    fn check(&self) -> Result<(), String> {
        target::check_aim(self.process.as_ref(), self.container.as_ref())?;
        #[allow(clippy::cast_precision_loss, reason = "a small constant")]
        let least = QUOTA_MIN_US / PERIOD_US as f64;
        if (least..=CORES_MAX).contains(&self.cores) {
            Ok(())
        } else {
            Err(format!("{} cores are not from {least} to {CORES_MAX}", self.cores))
        }
    }
}

pub(crate) static KIND: Kind = limited::kind::<CpuQuota>(
    "cpu-quota",
    "A process gets at most so much processor time.",
    || limit::available(Controller::Cpu),
    |asked| limited::preflight::<CpuQuota>(asked, Controller::Cpu),
);

impl Limiting for CpuQuota {
    type Ruler = Quota;

    fn aim(&mut self) -> (Option<ProcessSelector>, Option<String>) {
        (self.process.take(), self.container.take())
    }

    fn whole_group(&self) -> bool {
        self.whole_group
    }

    fn plan(self, target: &Target, member: &Membership) -> Result<(Vec<Setting>, Quota), Refusal> {
        let period = period(&member.group, target.means_whole_group(self.whole_group));
        Ok((settings(member.version, period, self.cores), Quota { cores: self.cores }))
    }
}

/// The period that is in force, in microseconds: a group that is made for the fault has that of the kernel.
fn period(group: &Cgroup, whole_group: bool) -> u64 {
    let one = group.read("cpu.cfs_period_us").ok().filter(|_| whole_group);
    let two = || group.read("cpu.max").ok().and_then(|text| Some(text.split_whitespace().nth(1)?.to_owned()));
    one.or_else(two).and_then(|text| text.trim().parse().ok()).unwrap_or(PERIOD_US)
}

fn settings(version: Version, period: u64, cores: f64) -> Vec<Setting> {
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a period is at most a second, and the cores were checked"
    )]
    let quota = (cores * period as f64).round() as u64;
    let (file, during, unset) = match version {
        Version::One => ("cpu.cfs_quota_us", quota.to_string(), "-1"),
        Version::Two => ("cpu.max", format!("{quota} {period}"), "max"),
    };
    vec![Setting { file: file.to_owned(), key: None, during, unset: unset.to_owned() }]
}

/// A worker in the group wants all that it can get: only then the limit shows.
pub(super) struct Quota {
    cores: f64,
}

impl Ruler for Quota {
    async fn measure(&self, limited: &Ground) -> Result<Effect, Refusal> {
        let group = limited.group();
        let burn = Burn::everything().map_err(Refusal)?;
        let worker = limited.worker(&Job::Cpu(burn), MEASURED_FOR * 3).await?;
        let (before, began) = ((used(&group)?, throttled(&group)), Instant::now());
        sleep(MEASURED_FOR).await;
        let (after, took) = ((used(&group)?, throttled(&group)), began.elapsed());
        worker::end(worker.identity()).await?;
        let used = after.0.saturating_sub(before.0).as_secs_f64() / took.as_secs_f64();
        Ok(judge(self.cores, Measured { used, throttled: after.1.saturating_sub(before.1) }))
    }
}

/// What a group did in a second.
#[derive(Debug, Clone, Copy)]
struct Measured {
    /// Cores' worth of time that was used.
    used: f64,
    /// Times that the kernel held it back.
    throttled: u64,
}

/// Processor time of all processes that are in the group now.
fn used(group: &Cgroup) -> Result<Duration, HostError> {
    let times = group.processes()?.into_iter().filter_map(|pid| usage::cpu_time(Identity::of(pid).ok()?).ok());
    Ok(times.sum())
}

/// How often the kernel has held it back.
fn throttled(group: &Cgroup) -> u64 {
    limited::counted(group, "cpu.stat", "nr_throttled")
}

fn judge(asked: f64, measured: Measured) -> Effect {
    let Measured { used, throttled } = measured;
    let figures = format!(
        "asked at most {asked} cores, measured {used:.3} over {} of wanting all; held back {throttled} times",
        Span(MEASURED_FOR)
    );
    if used <= asked * (1.0 + OVER_PART) + OVER_CORES && throttled > 0 {
        Effect::Seen(figures)
    } else {
        Effect::NotSeen(figures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_a_part_of_the_period() {
        assert_eq!(period(&Cgroup::in_dir("/nowhere"), true), PERIOD_US);
        let during = |version| settings(version, PERIOD_US, 0.25).remove(0).during;
        assert_eq!(during(Version::One), "25000");
        assert_eq!(during(Version::Two), "25000 100000");
    }

    #[test]
    fn what_is_not_held_back_is_no_effect() {
        let judged = |used, throttled| judge(0.2, Measured { used, throttled });
        assert!(matches!(judged(0.21, 9), Effect::Seen(_)));
        assert!(matches!(judged(0.1, 0), Effect::NotSeen(_)));
        assert!(matches!(judged(0.9, 9), Effect::NotSeen(_)));
    }
}
