//! Crash loop: a process is killed each time it comes back, until the deadline.
//!
//! The loop is a task of the holder: it ends with it, and there is nothing to take back.

use crate::FaultError;
use crate::journal::Undo;
use crate::kill;
use crate::kinds::{Asked, Checking, Effect, Failure, Family, Kind, Mechanism, Pending, Refusal, Scope, StillThere};
use crate::shape::{Parameters, Shape};
use crate::target::{self, Which};
use firedrill_host::HostError;
use firedrill_host::capabilities::{Capability, Need};
use firedrill_host::process::{Identity, Signal};
use firedrill_model::Span;
use firedrill_model::attack::ProcessSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// How often the process is looked for: it lives no longer than this, once it can be found.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The first kill must be seen to work.
const KILLED_WITHIN: Duration = Duration::from_secs(5);
const EVERY_MAX: Duration = Duration::from_secs(3600);

/// A process is killed each time it comes back, by default the database server of the node that is attacked: what starts
/// it again must give up, or go on for ever.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct CrashLoop {
    /// Which process, when it is not the database server. Not by `pid`: that never comes back.
    process: Option<ProcessSelector>,
    /// The container whose main process it is, or all of whose processes with `which: all`: by name, id or the beginning
    /// of an id. One that comes back under the same name is killed again.
    container: Option<String>,
    /// Which of several that `process` finds.
    #[serde(default)]
    which: Which,
    /// Also all that they have started.
    #[serde(default)]
    tree: bool,
    /// Which signal.
    #[serde(default = "sigkill")]
    signal: String,
    /// At least so long between two kills; without it, as soon as the process is seen.
    #[serde(default)]
    every: Span,
    /// At most so many kills.
    count: Option<u32>,
}

fn sigkill() -> String {
    "SIGKILL".to_owned()
}

impl Parameters for CrashLoop {
    const PULSES: bool = false;

    fn check(&self) -> Result<(), String> {
        target::check_aim(self.process.as_ref(), self.container.as_ref())?;
        kill::parse(&self.signal)?;
        if let Some(ProcessSelector::Pid { pid }) = &self.process {
            return Err(format!("a process that comes back is not process {pid} any more; select it by name, port …"));
        }
        if self.count == Some(0) {
            return Err("no kills at all are no fault".to_owned());
        }
        if self.every.duration() > EVERY_MAX {
            return Err(format!("{} between two kills are more than {}", self.every, Span(EVERY_MAX)));
        }
        Ok(())
    }
}

pub(crate) static KIND: Kind = Kind {
    name: "crash-loop",
    summary: "A process is killed each time it comes back.",
    family: Family::State,
    scope: Scope::Process,
    instant: false,
    shape: Shape::of::<CrashLoop>(),
    needs: &[Need::Capability(Capability::Kill)],
    mechanism: || Ok("signals through pidfds, by a task of the agent that ends with it".to_owned()),
    preflight,
    undo,
    verify_undone,
};

/// That there was a loop, which ends with its holder.
#[derive(Debug, Serialize, Deserialize)]
struct Looped {
    signal: String,
}

fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let mut wanted: CrashLoop = asked.parameters()?;
        wanted.process = target::aim(wanted.process.take(), wanted.container.take());
        let signal = kill::parse(&wanted.signal).map_err(Refusal)?;
        // It must be there now: what is never found is a mistake in the selector.
        let found = target::find_all(wanted.process.as_ref(), wanted.which, wanted.tree, &asked)?;
        let first = found.iter().map(|target| target.identity).collect();
        let (wanted, asked) = (Arc::new(wanted), Arc::new(asked));
        Ok(Box::new(Loop { wanted, asked, signal, first, task: None }) as Box<dyn Mechanism>)
    })
}

struct Loop {
    wanted: Arc<CrashLoop>,
    asked: Arc<Asked>,
    signal: Signal,
    /// Those that were there at the beginning.
    first: Vec<Identity>,
    task: Option<(JoinHandle<()>, Arc<AtomicU32>)>,
}

impl Drop for Loop {
    fn drop(&mut self) {
        if let Some((task, _)) = &self.task {
            task.abort();
        }
    }
}

impl Mechanism for Loop {
    fn describe(&self) -> String {
        format!("{} through a pidfd, each time the process is found again", self.signal)
    }

    fn undo(&self) -> Result<Undo, FaultError> {
        Undo::by(&Looped { signal: self.signal.to_string() })
    }

    fn inject(&mut self, _lease: Duration) -> Pending<'_, Result<(), Failure>> {
        Box::pin(async {
            let killed = Arc::new(AtomicU32::new(0));
            let work = kill_again(Arc::clone(&self.wanted), Arc::clone(&self.asked), self.signal, Arc::clone(&killed));
            self.task = Some((tokio::spawn(work), killed));
            Ok(())
        })
    }

    fn verify(&mut self) -> Pending<'_, Effect> {
        Box::pin(async {
            let began = Instant::now();
            while self.first.iter().any(Identity::alive) {
                if began.elapsed() > KILLED_WITHIN {
                    return Effect::NotSeen(format!("it still ran {} after {}", Span(KILLED_WITHIN), self.signal));
                }
                sleep(LOOK_EVERY / 10).await;
            }
            let killed = self.task.as_ref().map_or(0, |(_, killed)| killed.load(Ordering::Relaxed));
            if killed == 0 {
                return Effect::NotSeen("it ended by itself before it was killed".to_owned());
            }
            let took = Span(began.elapsed());
            Effect::Seen(format!("it was gone {took} after {}, {killed} killed so far", self.signal))
        })
    }

    fn renew(&mut self, _lease: Duration) -> Result<(), String> {
        match &self.task {
            Some((task, killed)) if task.is_finished() && self.wanted.count.is_none() => {
                Err(format!("the loop ended after {} kills", killed.load(Ordering::Relaxed)))
            }
            _ => Ok(()),
        }
    }
}

/// Kills until so many are killed, or for ever.
async fn kill_again(wanted: Arc<CrashLoop>, asked: Arc<Asked>, signal: Signal, killed: Arc<AtomicU32>) {
    // A process that takes its time to end is not signalled twice.
    let mut done: BTreeSet<(u32, u64)> = BTreeSet::new();
    let mut rounds = 0;
    while wanted.count.is_none_or(|count| rounds < count) {
        let found = target::find_all(wanted.process.as_ref(), wanted.which, wanted.tree, &asked).unwrap_or_default();
        let before = done.len();
        for target in found {
            let id = (target.identity.pid, target.identity.start_time);
            if done.contains(&id) {
                continue;
            }
            match target.handle.signal(signal) {
                Ok(()) => {
                    done.insert(id);
                    killed.fetch_add(1, Ordering::Relaxed);
                    tracing::info!(attack = %asked.id, target = target.name, %signal, "killed again");
                }
                Err(HostError::NoProcess { .. }) => {}
                Err(problem) => {
                    tracing::warn!(attack = %asked.id, target = target.name, problem = problem.full(), "not killed");
                }
            }
        }
        let hit = done.len() > before;
        rounds += u32::from(hit);
        // What has ended need not be remembered: it is not found again.
        done.retain(|(pid, start_time)| Identity { pid: *pid, start_time: *start_time }.alive());
        sleep(if hit { wanted.every.duration().max(LOOK_EVERY) } else { LOOK_EVERY }).await;
    }
}

fn undo(_undo: &Undo) -> Pending<'_, Result<(), Failure>> {
    Box::pin(async { Ok(()) })
}

fn verify_undone(_undo: &Undo) -> Pending<'_, Result<String, StillThere>> {
    Box::pin(async { Ok("the loop ended with its holder, and a kill has nothing to take back".to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_comes_back_is_refused() {
        let check = |text: &str| serde_json::from_str::<CrashLoop>(text).expect("reads").check();
        assert!(check(r#"{"process": {"select": "pid", "pid": 7}}"#).is_err_and(|why| why.contains("by name")));
        assert!(check(r#"{"process": {"select": "name", "name": "mariadbd"}, "every": "2s", "count": 3}"#).is_ok());
        assert!(check(r#"{"count": 0}"#).is_err());
        assert!(check(r#"{"signal": "SIGSTOP"}"#).is_err());
    }
}
