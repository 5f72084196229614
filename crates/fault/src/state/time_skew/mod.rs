//! Time skew: chosen processes see another wall clock than the host.
//!
//! Their copies of the kernel's clock functions (the vDSO) are changed to add a skew, until a deadline that stands in
//! the changed code itself and is moved on while the attack lasts: a lease that needs nobody to end it.

mod patch;
mod stub;
mod vdso;

use crate::FaultError;
use crate::claim::Claim;
use crate::journal::Undo;
use crate::kinds::{Asked, Checking, Effect, Failure, Family, Kind, Mechanism, Pending, Refusal, Scope, StillThere};
use crate::network::fnv1a;
use crate::shape::{Parameters, Shape};
use crate::state::offset::Offset;
use crate::target::{self, Target, Which, names};
use firedrill_engine::Admin;
use firedrill_host::HostError;
use firedrill_host::capabilities::{Capability, Need};
use firedrill_host::process::Image;
use firedrill_model::Span;
use firedrill_model::attack::ProcessSelector;
use patch::{Found, Kernel, Patch};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use stub::{Stub, Terms};

/// Further than any certificate, and near enough for times in nanoseconds.
const OFFSET_MAX: Duration = Duration::from_secs(3650 * 86_400);
/// Half as fast again, or half as slow.
const DRIFT_PPM_MAX: i32 = 500_000;
/// An attack lasts no longer.
const AFTER_MAX: Duration = Duration::from_secs(24 * 3600);
/// How far off a server's answer may be: what a question takes on a busy machine, and what a clock drifts meanwhile.
const SLACK: Duration = Duration::from_millis(500);
/// How far off our own question may be, besides what it takes: a step of the host's clock.
const REHEARSAL_SLACK: Duration = Duration::from_millis(1);
/// A healthy server answers within milliseconds.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// A process, by default the database server of the node that is attacked, sees another wall clock than the host: ahead or
/// behind, running fast or slow, from the beginning or from a moment on. Its other clocks (monotonic, since boot)
/// and the kernel's own (times of files, timers) stay right. A wait for a moment of the wall clock that begins
/// meanwhile waits for the host's clock, so it ends early or late by the skew, even after the attack. A process
/// that is forked meanwhile is skewed for 20 seconds at most. What asks the kernel by system calls of its own, instead of the
/// functions that the kernel provides, is not skewed, and the report says so. Only on x86_64.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct TimeSkew {
    /// How far ahead, or behind (`-90s`), the clock is; up to 3650 days.
    #[serde(default)]
    #[schemars(default)]
    offset: Option<Offset>,
    /// How much faster the clock runs, in millionths; negative: slower. 1000 gains 3.6 s in an hour.
    #[serde(default)]
    drift_ppm: i32,
    /// The offset comes so long after the beginning, as a jump.
    #[serde(default)]
    after: Span,
    /// Which process, when it is not the database server.
    process: Option<ProcessSelector>,
    /// Which of several that `process` finds.
    #[serde(default)]
    which: Which,
    /// Also all that they have started.
    #[serde(default)]
    tree: bool,
}

impl TimeSkew {
    fn offset(&self) -> Offset {
        self.offset.unwrap_or_default()
    }
}

impl Parameters for TimeSkew {
    fn check(&self) -> Result<(), String> {
        let offset = self.offset().length();
        if offset.is_zero() && self.drift_ppm == 0 {
            return Err("neither an `offset` nor a `drift_ppm` is asked for: nothing would happen".to_owned());
        }
        if offset > OFFSET_MAX {
            return Err("an `offset` of more than 3650 days is not supported".to_owned());
        }
        if self.drift_ppm.abs() > DRIFT_PPM_MAX {
            return Err(format!(
                "a drift of {} ppm is not between -{DRIFT_PPM_MAX} and {DRIFT_PPM_MAX}",
                self.drift_ppm
            ));
        }
        if self.after.duration() > AFTER_MAX {
            return Err(format!("no attack lasts until {} after its beginning", self.after));
        }
        if self.after > Span::ZERO && offset.is_zero() {
            return Err("`after` says when the `offset` comes; give one".to_owned());
        }
        Ok(())
    }
}

pub(crate) static KIND: Kind = Kind {
    name: "time-skew",
    summary: "A process sees a wall clock that is ahead, behind, fast or slow.",
    family: Family::State,
    scope: Scope::Process,
    instant: false,
    shape: Shape::of::<TimeSkew>(),
    needs: &[Need::Capability(Capability::SysPtrace)],
    mechanism,
    preflight,
    undo,
    verify_undone,
};

const BY: &str = "the process's copy of the kernel's clock functions (vDSO), with a deadline in the code";

fn mechanism() -> Result<String, String> {
    let stub = empty_stub(0)?;
    Kernel::look()?.has_room(stub.bytes.len())?;
    Ok(BY.to_owned())
}

fn empty_stub(owner: u64) -> Result<Stub, String> {
    let terms = Terms { deadline: 0, start: 0, rate: 0, jump: 0, offset: 0 };
    Stub::new(terms, owner).ok_or_else(|| "there is no such code for processors other than x86_64".to_owned())
}

/// What is taken out of which processes.
#[derive(Debug, Serialize, Deserialize)]
struct Skewed {
    claims: Vec<String>,
    owner: u64,
    patches: Vec<Patch>,
}

fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let wanted: TimeSkew = asked.parameters()?;
        let targets = target::find_all(wanted.process.as_ref(), wanted.which, wanted.tree, &asked)?;
        // Never 0, and of two attacks never the same by accident.
        let owner = u64::from(fnv1a(asked.id.0.as_bytes())) << 32 | u64::from(std::process::id()) | 1 << 31;
        let stub = empty_stub(owner).map_err(Refusal)?;
        let kernel = Kernel::look().map_err(Refusal)?;
        let (mut claims, mut patches) = (Vec::new(), Vec::new());
        for target in &targets {
            let refuse = |why: String| Refusal(format!("the clock of {} cannot be skewed: {why}", target.name));
            may_be_held(target).map_err(refuse)?;
            claims.push(Claim::take(format!("the clock of process {}", target.identity.pid), &asked)?);
            patches.push(Patch::plan(target.identity, &kernel, &stub).map_err(refuse)?);
        }
        let node = asked.node.as_ref().filter(|_| database_is_meant(wanted.process.as_ref()));
        let admin = node.and_then(|node| (asked.context.admin)(node));
        let skew = Skew { wanted, targets, claims, patches, owner, admin, stub: None, images: Vec::new() };
        Ok(Box::new(skew) as Box<dyn Mechanism>)
    })
}

fn database_is_meant(process: Option<&ProcessSelector>) -> bool {
    matches!(process, None | Some(ProcessSelector::Database { .. }))
}

/// Whether its threads can be held, and see the host's monotonic clock.
fn may_be_held(target: &Target) -> Result<(), String> {
    let pid = target.identity.pid;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0").trim().to_owned();
    match field("TracerPid:").as_str() {
        "0" => {}
        tracer => return Err(format!("process {tracer} traces it (a debugger?)")),
    }
    if field("Seccomp:") == "1" {
        return Err("it may make no system calls (seccomp's strict mode), and a skewed clock makes one".to_owned());
    }
    let time = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/time")).ok();
    if time(&pid.to_string()) != time("self") {
        return Err("it is in a time namespace of its own, whose monotonic clock is another one".to_owned());
    }
    Ok(())
}

struct Skew {
    wanted: TimeSkew,
    /// At least one.
    targets: Vec<Target>,
    claims: Vec<Claim>,
    patches: Vec<Patch>,
    owner: u64,
    /// The way to the database server, when that is the target: it can be asked.
    admin: Option<Admin>,
    /// What was put in, once it was.
    stub: Option<Stub>,
    images: Vec<Image>,
}

impl Skew {
    fn terms(&self, lease: Duration) -> Terms {
        let start = monotonic();
        Terms {
            deadline: start.saturating_add(nanos(lease)),
            start,
            rate: (i64::from(self.wanted.drift_ppm) << 32) / 1_000_000,
            jump: start.saturating_add(nanos(self.wanted.after.duration())),
            offset: self.wanted.offset().nanos(),
        }
    }

    fn asked(&self) -> String {
        let (offset, after) = (self.wanted.offset(), self.wanted.after);
        let mut said = Vec::new();
        if !offset.length().is_zero() {
            let moment = if after > Span::ZERO { format!(" after {after}") } else { String::new() };
            said.push(format!("{offset}{moment}"));
        }
        if self.wanted.drift_ppm != 0 {
            said.push(format!("{:+} ppm", self.wanted.drift_ppm));
        }
        said.join(", ")
    }

    /// What the changed code says, read back out of each process and run here.
    async fn rehearse(&self) -> Result<String, String> {
        let stub = self.stub.clone().ok_or("it was not put in place")?;
        let patches = self.patches.clone();
        let looked = beside(move || {
            let look = |patch: &Patch| Ok((patch.read_back(&stub)?, patch.is_known_to_its_libraries()));
            patches.iter().map(look).collect::<Vec<Result<(Terms, bool), String>>>()
        });
        let looked = looked.await.map_err(|failure| failure.0)?;
        let (mut unknown, mut seen) = (Vec::new(), None);
        for (target, found) in self.targets.iter().zip(looked) {
            let (terms, known) = match found {
                // One of several that has ended meanwhile is not there to be skewed.
                Err(_) if self.targets.len() > 1 && !target.identity.alive() => continue,
                other => other.map_err(|problem| format!("{}: {problem}", target.name))?,
            };
            seen = Some(measure(terms)?);
            unknown.extend((!known).then_some(&target.name));
        }
        let seen = seen.ok_or_else(|| format!("{} have all ended meanwhile", names(&self.targets)))?;
        let (asked, all) = (self.asked(), names(&self.targets));
        let told = format!("asked {asked}, the clock code of {all}, read back and run, {seen}");
        match unknown.first() {
            None => Ok(format!("{told}; its libraries have looked that code up")),
            Some(first) => Err(format!(
                "{told}, but {} of them, the first {first}, have not looked that code up: they make system calls of their \
                 own, or have asked no clock yet",
                unknown.len()
            )),
        }
    }
}

/// An hour, to measure a drift by.
const HOUR: u64 = 3_600_000_000_000;

/// How far off the stub with these terms is: in a rehearsal as of later, where a drift or a jump are to come.
#[cfg(target_arch = "x86_64")]
fn measure(terms: Terms) -> Result<String, String> {
    use stub::rehearsal::Rehearsal;
    let now = monotonic();
    let as_if = Terms { jump: terms.jump.min(now), start: now.wrapping_sub(HOUR), ..terms };
    let rehearsal = Rehearsal::new(as_if).map_err(|problem| format!("cannot be run: {problem}"))?;
    let drifted = (i128::from(HOUR) * i128::from(terms.rate)) >> 32;
    let before = wall();
    let told = rehearsal.clock(libc::CLOCK_REALTIME);
    let took = wall() - before;
    let (measured, expected) = (told - before, i128::from(terms.offset) + drifted);
    let slack = i128::from(nanos(REHEARSAL_SLACK));
    if !(expected - slack..=expected + took + slack).contains(&measured) {
        return Err(format!("the code tells a time that is {}, not {}", off(measured), off(expected)));
    }
    let mut said = Vec::new();
    if terms.offset != 0 {
        let left = Duration::from_nanos(terms.jump.saturating_sub(now));
        let moment = if left.is_zero() { "is".to_owned() } else { format!("will in {} be", Span(left)) };
        said.push(format!("{moment} {}", off(measured - drifted)));
    }
    if terms.rate != 0 {
        said.push(format!("will be {} after an hour of drift", off(measured - i128::from(terms.offset))));
    }
    Ok(said.join(" and "))
}

#[cfg(not(target_arch = "x86_64"))]
fn measure(_terms: Terms) -> Result<String, String> {
    Err("there is no such code for this processor".to_owned())
}

/// `3600.000001 s ahead`.
fn off(nanos: i128) -> String {
    let magnitude = Duration::from_nanos(u64::try_from(nanos.unsigned_abs()).unwrap_or(u64::MAX));
    format!("{:.6} s {}", magnitude.as_secs_f64(), if nanos < 0 { "behind" } else { "ahead" })
}

impl Mechanism for Skew {
    fn describe(&self) -> String {
        BY.to_owned()
    }

    fn undo(&self) -> Result<Undo, FaultError> {
        let claims = self.claims.iter().map(|claim| claim.object().to_owned()).collect();
        Undo::by(&Skewed { claims, owner: self.owner, patches: self.patches.clone() })
    }

    fn inject(&mut self, lease: Duration) -> Pending<'_, Result<(), Failure>> {
        Box::pin(async move {
            let stub =
                Stub::new(self.terms(lease), self.owner).ok_or_else(|| Failure("not on this machine".to_owned()))?;
            self.stub = Some(stub.clone());
            let patches = self.patches.clone();
            let outcome = beside(move || patches.iter().map(|patch| patch.put_in(&stub)).collect::<Vec<_>>()).await?;
            for (target, outcome) in self.targets.iter().zip(outcome) {
                match outcome {
                    Err(_) if self.targets.len() > 1 && !target.identity.alive() => {}
                    Err(problem) => return Err(Failure(format!("{}: {problem}", target.name))),
                    Ok(()) => {}
                }
            }
            self.images = self.patches.iter().filter_map(|patch| Image::open(patch.process).ok()).collect();
            Ok(())
        })
    }

    fn verify(&mut self) -> Pending<'_, Effect> {
        Box::pin(async {
            let rehearsed = match self.rehearse().await {
                Ok(seen) => seen,
                Err(why) => return Effect::NotSeen(why),
            };
            let Some(admin) = self.admin.as_ref().filter(|_| self.wanted.after == Span::ZERO) else {
                return Effect::Seen(rehearsed);
            };
            match asked_of(admin).await {
                Err(problem) => Effect::NotSeen(format!("{rehearsed}; but the server could not be asked: {problem}")),
                Ok(measured) => {
                    let expected = i128::from(self.wanted.offset().nanos());
                    let told = format!("{rehearsed}; the server's NOW() is {}", off(measured));
                    let tolerated = i128::from(nanos(SLACK));
                    if (measured - expected).abs() <= tolerated { Effect::Seen(told) } else { Effect::NotSeen(told) }
                }
            }
        })
    }

    fn renew(&mut self, lease: Duration) -> Result<(), String> {
        let deadline = monotonic().saturating_add(nanos(lease));
        let mut left = 0;
        for image in &self.images {
            let Some(patch) = self.patches.iter().find(|patch| patch.process == image.process()) else { continue };
            match patch.set_deadline(image, deadline) {
                Ok(()) => left += 1,
                Err(HostError::NoProcess { .. }) => {}
                Err(problem) => return Err(problem.full()),
            }
        }
        if left == 0 { Err(format!("{} ended, or run other programs now", names(&self.targets))) } else { Ok(()) }
    }
}

/// How far off the database server's clock is.
async fn asked_of(admin: &Admin) -> Result<i128, String> {
    const QUESTION: &str = "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(6))";
    let asking = async {
        let mut session = admin.connect().await?;
        let before = wall();
        let began = Instant::now();
        let tables = session.run(QUESTION).await?;
        Ok((tables, before + i128::from(nanos(began.elapsed())) / 2))
    };
    let answer = tokio::time::timeout(ANSWERED_WITHIN, asking).await;
    let (tables, now) = answer
        .map_err(|_| format!("no answer within {}", Span(ANSWERED_WITHIN)))?
        .map_err(|problem: firedrill_engine::EngineError| problem.full())?;
    let told = tables.last().and_then(|table| table.first()).and_then(|row| row.at(0)?.parse::<i128>().ok());
    Ok(told.ok_or("its answer is no number")? * 1000 - now)
}

fn undo(undo: &Undo) -> Pending<'_, Result<(), Failure>> {
    Box::pin(async move {
        let Some(Skewed { owner, patches, .. }) = undo.read()? else { return Ok(()) };
        let problems = beside(move || {
            // One that fails must not keep the others skewed.
            patches.iter().filter_map(|patch| patch.take_out(owner).err()).collect::<Vec<String>>()
        });
        match problems.await?.first() {
            None => Ok(()),
            Some(first) => Err(Failure(format!("the clock functions are not as they were: {first}"))),
        }
    })
}

fn verify_undone(undo: &Undo) -> Pending<'_, Result<String, StillThere>> {
    Box::pin(async move {
        let Some(Skewed { owner, patches, .. }) = undo.read()? else { return Ok("no clock was skewed".to_owned()) };
        let mut gone = 0;
        for patch in &patches {
            match patch.find(owner).map_err(StillThere)? {
                Found::Gone => gone += 1,
                Found::Nothing => {}
                Found::Patched => {
                    let pid = patch.process.pid;
                    return Err(StillThere(format!("the clock functions of process {pid} are still changed")));
                }
            }
        }
        let count = patches.len();
        Ok(format!("the clock functions of {} processes are as they were, {gone} have ended meanwhile", count - gone))
    })
}

/// Work that holds a process for milliseconds runs beside the agent's one thread.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|problem| Failure(format!("the thread that changes clock functions failed: {problem}")))
}

fn monotonic() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    now.map_or(0, |now| nanos(Duration::from(now)))
}

/// The host's wall clock.
fn wall() -> i128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i128::from(nanos(since))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(), String> {
        serde_json::from_str::<TimeSkew>(text).map_err(|problem| problem.to_string())?.check()
    }

    #[test]
    fn what_would_do_nothing_is_refused() {
        assert!(check(r#"{}"#).is_err());
        assert!(check(r#"{"offset": "0s"}"#).is_err());
        assert!(check(r#"{"drift_ppm": 5, "after": "1s"}"#).is_err_and(|why| why.contains("offset")));
        assert!(check(r#"{"offset": "4000d"}"#).is_err());
        assert!(check(r#"{"drift_ppm": -600000}"#).is_err());
        assert!(check(r#"{"offset": "-1h", "drift_ppm": 100, "after": "10s"}"#).is_ok());
    }
}
