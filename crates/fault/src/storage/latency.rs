//! Storage latency: the disk answers late.

use super::ruled::{self, Ruled, Target, open};
use super::rules::{Disturbance, Operation};
use crate::kinds::{Asked, Checking, Effect, Family, Kind, Mechanism, Scope};
use crate::shape::{Parameters, Shape};
use firedrill_model::Span;
use schemars::JsonSchema;
use serde::Deserialize;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// Operations on the database's files take longer by a delay. A delay of many seconds is a disk that hangs: the port
/// stays open, connections stay up, and whatever needs the disk waits. Waits end with the fault, whatever the delay.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct StorageLatency {
    /// How much longer each operation takes, up to one hour.
    delay: Span,
    /// Give or take up to this, evenly distributed; at most the delay.
    #[serde(default)]
    jitter: Span,
    /// Which operations: `read`, `write`, `sync`, `open`, `change` (names and attributes), `look` (names, attributes and
    /// directories are looked up). By default reads, writes and syncs.
    #[serde(default = "usual")]
    operations: Vec<Operation>,
    #[serde(flatten)]
    target: Target,
}

pub(super) fn usual() -> Vec<Operation> {
    vec![Operation::Read, Operation::Write, Operation::Sync]
}

const DELAY_MAX: Duration = Duration::from_secs(3600);
/// The measurement does not wait longer than this.
const MEASURED_WITHIN: Duration = Duration::from_secs(3);
/// Enough probes for a median.
const PROBES_MAX: u32 = 9;

impl Parameters for StorageLatency {
    fn check(&self) -> Result<(), String> {
        let (delay, jitter) = (self.delay.duration(), self.jitter.duration());
        if delay.is_zero() || delay > DELAY_MAX {
            return Err("`delay` must be above 0 and at most 1h".to_owned());
        }
        if jitter > delay {
            return Err("`jitter` must be at most the delay".to_owned());
        }
        if self.operations.is_empty() {
            return Err("`operations` must name at least one".to_owned());
        }
        self.target.check()
    }
}

pub(crate) static KIND: Kind = Kind {
    name: "storage-latency",
    summary: "Files of a database answer late.",
    family: Family::Storage,
    scope: Scope::Node,
    instant: false,
    shape: Shape::of::<StorageLatency>(),
    needs: ruled::NEEDS,
    mechanism: ruled::mechanism,
    preflight,
    undo: ruled::undo,
    verify_undone: ruled::verify_undone,
};

fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let StorageLatency { delay, jitter, operations, target } = asked.parameters()?;
        let layer = ruled::find(&asked, target.mount.as_deref()).await?;
        let rule = target.rule(&asked, Disturbance::Delay { delay, jitter }, operations.clone());
        let probes = ruled::attempts(target.percent, 200);
        let measure: ruled::Measure =
            Box::new(move |probe| Ok(measure(probe, &operations, (delay.duration(), jitter.duration()), probes)));
        let description = "a delay in the storage layer".to_owned();
        Ok(Box::new(Ruled { layer, rule, description, measure: Arc::new(measure) }) as Box<dyn Mechanism>)
    })
}

/// Probes until the time is over. A probe that has not ended by then has shown its delay, too.
fn measure(probe: &Path, operations: &[Operation], (delay, jitter): (Duration, Duration), probes: u32) -> Effect {
    let operation = operations.first().copied().unwrap_or(Operation::Sync);
    let (tell, told) = mpsc::channel();
    let path = probe.to_owned();
    std::thread::spawn(move || {
        for _ in 0..probes {
            // The receiver is gone when the measurement is over.
            let (began, done) = (Instant::now(), touch(&path, operation));
            if tell.send(done.map(|()| began.elapsed())).is_err() {
                return;
            }
        }
    });
    let least = delay.saturating_sub(jitter);
    let (began, mut late) = (Instant::now(), Vec::new());
    while (late.len() as u32) < PROBES_MAX {
        match told.recv_timeout(MEASURED_WITHIN.saturating_sub(began.elapsed())) {
            Ok(Ok(took)) if took >= least => late.push(took),
            Ok(Ok(_)) => {}
            Ok(Err(problem)) => return Effect::NotSeen(format!("the probe failed: {problem}")),
            Err(mpsc::RecvTimeoutError::Timeout) if late.is_empty() && delay >= MEASURED_WITHIN => {
                let within = Span(MEASURED_WITHIN);
                return Effect::Seen(format!("asked {}; a probe had not ended after {within}", Span(delay)));
            }
            Err(_) => break,
        }
    }
    late.sort_unstable();
    match late.get(late.len() / 2) {
        Some(median) => {
            let count = late.len();
            Effect::Seen(format!("asked {}, measured {} p50 of {count} late probes", Span(delay), Span(*median)))
        }
        None => Effect::NotSeen(format!("no probe took {} or longer", Span(least))),
    }
}

/// One operation of the kind on the probe file.
pub(super) fn touch(probe: &Path, operation: Operation) -> io::Result<()> {
    match operation {
        Operation::Read => open(probe)?.read_at(&mut [0; 16], 0).map(drop),
        Operation::Write => open(probe)?.write_all_at(b"probe", 0),
        Operation::Sync => open(probe)?.sync_data(),
        Operation::Open => open(probe).map(drop),
        Operation::Change => open(probe)?.set_modified(std::time::SystemTime::now()),
        Operation::Look => std::fs::symlink_metadata(probe).map(drop),
    }
}
