//! The life of one attack, as a task: preflight, journal, inject, verify, hold, undo. Whatever happens to it in
//! between, a step that may have left something behind is followed by the undo.

use crate::faults::Context;
use crate::inside;
use crate::journal::{Journal, Record, Undo};
use crate::kinds::{self, Asked, Effect, Kind, Mechanism};
use crate::pulse::{Phase, Pulse};
use crate::rescue::Lifeline;
use firedrill_host::clock;
use firedrill_model::attack::{AttackReport, AttackState};
use firedrill_model::{AttackId, AttackSpec, Span};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// How long a fault outlives a holder that hangs, where the kernel can count it.
pub(crate) const LEASE: Duration = Duration::from_secs(5);
/// A lease is renewed so often that several renewals may come late.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// The first lease covers the verification, during which it is not renewed.
const FIRST_LEASE: Duration = Duration::from_secs(20);
/// Longest duration of an attack. A longer one is not a drill but a change.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);
/// An undo that does not work is tried again so often, and then it is an alarm.
const UNDO_ATTEMPTS: u32 = 3;
const UNDO_PAUSE: Duration = Duration::from_millis(200);

/// A point in the life of an attack, told as it is passed; a crash after any of them must leave nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The record is on disk; nothing has happened yet.
    Journalled,
    /// The fault is in place.
    Injected,
    /// Its effect was measured, or was not to be seen.
    Verified,
    /// It is about to be taken out.
    Undoing,
    /// It was seen to be out; the record is still on disk.
    Undone,
    /// The record is gone.
    Forgotten,
}

/// What all attacks of a host share.
pub(crate) struct Ground {
    pub(crate) context: Arc<Context>,
    pub(crate) journal: Journal,
    pub(crate) lifeline: Option<Lifeline>,
    pub(crate) reports: mpsc::Sender<AttackReport>,
}

/// One attack under way. Its latest report is watched by whoever asked for it; the watch closes when the task ends.
pub(crate) struct Attack {
    pub(crate) spec: AttackSpec,
    pub(crate) ground: Arc<Ground>,
    /// The reason why it must end early, once there is one.
    pub(crate) stop: watch::Receiver<Option<String>>,
    pub(crate) latest: watch::Sender<AttackReport>,
}

impl Attack {
    pub(crate) async fn run(mut self) {
        let pulse = match Pulse::read(&self.spec.fault.parameters) {
            Ok(pulse) => pulse,
            Err(problem) => return self.report(AttackState::Refused, format!("{}: {problem}", self.spec.fault.kind)),
        };
        let Some((mechanism, record)) = self.prepare().await else { return };
        let deadline = Instant::now() + self.spec.duration.duration();
        let instant = record.undo.is_nothing();
        let mut phase = Phase { mechanism, record, number: 1 };
        let mut entered = self.inject(&mut phase, deadline).await;
        if entered.is_ok() && instant {
            // Nothing to hold and nothing to take back: it is over.
            return self.forget(&phase.record).await;
        }
        loop {
            let end = match entered {
                Ok(()) => self.hold(&mut phase, pulse, deadline).await,
                Err(why) => End::Over(why),
            };
            let Phase { mechanism, record, number } = phase;
            self.step(Step::Undoing);
            drop(mechanism);
            let seen = match take_out(&record).await {
                Ok(seen) => seen,
                Err(problem) => return self.report(AttackState::UndoFailed, format!("{}; {problem}", end.text())),
            };
            self.step(Step::Undone);
            let next = match end {
                End::Over(why) => Err(Why { text: format!("{}; {seen}", why.text), ..why }),
                End::Dormant(dormant) => self.rest((&record, number), dormant, &seen, deadline).await,
            };
            match next {
                Ok(ready) => phase = ready,
                Err(why) => {
                    self.forget(&record).await;
                    return self.report(why.state, why.text);
                }
            }
            entered = self.come_back(&mut phase, deadline).await;
        }
    }

    /// Everything before the fault: nothing is in place after a refusal.
    async fn prepare(&mut self) -> Option<(Box<dyn Mechanism>, Record)> {
        match self.try_prepare(self.spec.duration).await {
            Ok(prepared) => Some(prepared),
            Err(why) => {
                self.report(AttackState::Refused, why);
                None
            }
        }
    }

    /// Preflight and journal, for a fault that is in place for `lasting` at most.
    async fn try_prepare(&mut self, lasting: Span) -> Result<(Box<dyn Mechanism>, Record), String> {
        let spec = &self.spec;
        let kind = kinds::find(&spec.fault.kind).ok_or_else(|| unknown(&spec.fault.kind))?;
        if !kind.instant && (spec.duration.duration().is_zero() || spec.duration.duration() > DURATION_MAX) {
            return Err(format!("a duration of {} is not between 0s and 24h", spec.duration));
        }
        if let Some(lifeline) = &self.ground.lifeline
            && !lifeline.is_up()
        {
            return Err("the rescue process is not running; a fault might outlive this agent".to_owned());
        }
        let (id, context) = (spec.id.clone(), Arc::clone(&self.ground.context));
        let journal = self.ground.journal.dir().to_owned();
        let pulse = Pulse::read(&spec.fault.parameters).map_err(|problem| problem.to_string())?;
        let in_place = pulse.map_or(lasting.duration(), |pulse| lasting.duration().min(pulse.active));
        let (fault, node) = (spec.fault.clone(), spec.node.clone());
        let asked = Asked { id: id.clone(), fault, node, context, journal, lasting: in_place };
        let mechanism = tokio::select! {
            biased;
            reason = stopped(&mut self.stop) => return Err(format!("it was called off before it began: {reason}")),
            checked = inside::preflight(kind, asked) => checked.map_err(|refusal| refusal.0)?,
        };
        let who = (id, self.ground.context.host.clone());
        let what = (spec.fault.clone(), lasting);
        let undo = mechanism.undo().map_err(|problem| problem.to_string())?;
        let mut record = Record::new(who, what, mechanism.describe(), undo).map_err(|problem| problem.to_string())?;
        record.inside = mechanism.inside();
        self.write(&record).await?;
        if let Some(lifeline) = &self.ground.lifeline {
            lifeline.journal_changed();
        }
        self.latest.send_modify(|report| report.mechanism.clone_from(&record.mechanism));
        self.step(Step::Journalled);
        Ok((mechanism, record))
    }

    async fn write(&self, record: &Record) -> Result<(), String> {
        let (journal, written) = (self.ground.journal.clone(), record.clone());
        on_disk(move || journal.write(&written)).await
    }

    /// Puts the fault in place and measures it. An error is why it must come out again.
    async fn inject(&mut self, phase: &mut Phase, until: Instant) -> Result<(), Why> {
        let Phase { mechanism, record, .. } = phase;
        mechanism.inject(lease(until, FIRST_LEASE)).await.map_err(|problem| Why {
            state: AttackState::Refused,
            text: format!("the host refused it: {}", problem.0),
        })?;
        self.latest.send_modify(|report| report.in_place = Some(clock::wall()));
        self.step(Step::Injected);
        // A signal has no duration: its effect may be waited for longer than that.
        let instant = record.undo.is_nothing();
        let effect = tokio::select! {
            biased;
            reason = stopped(&mut self.stop) => return Err(Why::over(&format!("{reason}, before it was measured"))),
            () = sleep_until(until), if !instant => return Err(Why::over("its time was over before it was measured")),
            effect = mechanism.verify() => effect,
        };
        self.step(Step::Verified);
        match effect {
            Effect::Seen(evidence) => self.report(AttackState::Active, evidence),
            Effect::NotSeen(evidence) => self.report(AttackState::NoEffect, evidence),
        }
        Ok(())
    }

    /// Holds the fault until it must come out, and says why it must.
    async fn hold(&mut self, phase: &mut Phase, pulse: Option<Pulse>, deadline: Instant) -> End {
        let until = pulse.map_or(deadline, |pulse| deadline.min(Instant::now() + pulse.active));
        loop {
            if let Some(pulse) = pulse.filter(|_| Instant::now() >= until && until < deadline) {
                return End::Dormant(pulse.dormant);
            }
            if let Err(why) = phase.mechanism.renew(lease(until, LEASE)) {
                return End::Over(Why::over(&format!("it ended before its time: {why}")));
            }
            if let Err(why) = self.wait(until, deadline).await {
                return End::Over(why);
            }
        }
    }

    /// Waits until then, but no longer than a renewal may be late. An error is why the attack is over.
    async fn wait(&mut self, until: Instant, deadline: Instant) -> Result<(), Why> {
        tokio::select! {
            biased;
            reason = stopped(&mut self.stop) => return Err(Why::over(&reason)),
            () = sleep_until(deadline) => return Err(Why::over("its time was over")),
            () = sleep_until(until.min(Instant::now() + RENEW_EVERY)) => {}
        }
        if self.ground.journal.end_requested() {
            return Err(Why::over("somebody on this host asked for the end of all attacks"));
        }
        Ok(())
    }

    /// The time between two pulses: nothing is in place, and the record says so, but it is there, for whoever ends all
    /// attacks. Then the fault is made ready again, as if for the first time. An error is why the attack is over.
    async fn rest(
        &mut self,
        (record, number): (&Record, u32),
        dormant: Duration,
        seen: &str,
        deadline: Instant,
    ) -> Result<Phase, Why> {
        let mut resting = record.clone();
        resting.undo = Undo::NOTHING;
        self.write(&resting).await.map_err(|problem| Why::over(&problem))?;
        self.flip(format!("dormant after pulse {number}"), format!("dormant for {}: {seen}", Span(dormant)));
        let until = Instant::now() + dormant;
        while Instant::now() < until {
            let ended = self.wait(until, deadline).await;
            ended.map_err(|why| Why { text: format!("{}; it was dormant", why.text), ..why })?;
        }
        let left = Span(deadline.saturating_duration_since(Instant::now()));
        let (mechanism, record) = self
            .try_prepare(left)
            .await
            .map_err(|why| Why::over(&format!("it could not come back after pulse {number}: {why}")))?;
        Ok(Phase { mechanism, record, number: number.saturating_add(1) })
    }

    /// Puts it in place again, as it was measured the first time.
    async fn come_back(&mut self, phase: &mut Phase, deadline: Instant) -> Result<(), Why> {
        let number = phase.number;
        let injected = phase.mechanism.inject(lease(deadline, LEASE)).await;
        injected.map_err(|problem| Why::over(&format!("the host refused it in pulse {number}: {}", problem.0)))?;
        self.step(Step::Injected);
        let evidence = format!("in place again, pulse {number}; measured in the first");
        self.flip(format!("pulse {number}: {}", phase.record.mechanism), evidence);
        Ok(())
    }

    /// Tells of a change within the attack, whose state stays. What has the same mechanism is no news to a server.
    fn flip(&self, mechanism: String, evidence: String) {
        self.latest.send_modify(|report| report.mechanism = mechanism);
        let state = self.latest.borrow().state;
        self.report(state, evidence);
    }

    async fn forget(&self, record: &Record) {
        forget(&self.ground.journal, &record.id).await;
        self.step(Step::Forgotten);
    }

    fn report(&self, state: AttackState, evidence: String) {
        self.latest.send_modify(|report| {
            report.state = state;
            report.at = clock::wall();
            report.evidence = evidence;
        });
        self.ground.tell(self.latest.borrow().clone());
    }

    fn step(&self, step: Step) {
        tracing::debug!(attack = %self.spec.id, ?step, "attack");
        (self.ground.context.on_step)(&self.spec.id, step);
    }
}

/// How a fault comes out.
enum End {
    /// For good.
    Over(Why),
    /// For so long.
    Dormant(Duration),
}

impl End {
    fn text(&self) -> &str {
        match self {
            Self::Over(why) => &why.text,
            Self::Dormant(_) => "it was to be dormant for a while",
        }
    }
}

/// Why a fault comes out, and what the attack is called then.
struct Why {
    state: AttackState,
    text: String,
}

impl Why {
    fn over(text: &str) -> Self {
        Self { state: AttackState::Undone, text: text.to_owned() }
    }
}

impl Ground {
    /// Tells the agent. An agent that does not listen must not keep a fault in place, so this never waits.
    pub(crate) fn tell(&self, report: AttackReport) {
        if let Err(problem) = self.reports.try_send(report) {
            let report = problem.into_inner();
            tracing::error!(attack = %report.id, state = ?report.state, evidence = report.evidence,
                "nobody takes the reports of attacks; this one is only here");
        }
    }
}

fn unknown(kind: &str) -> String {
    format!(
        "this agent knows no fault {kind:?}: it is older than the one that does; use one version of firedrill everywhere"
    )
}

/// Undoes an attack by its record alone and sees that it is out. What was seen, or what is still there.
pub(crate) async fn take_out(record: &Record) -> Result<String, String> {
    match record.of_this_boot() {
        Ok(true) => {}
        Ok(false) => return Ok("the machine was booted since: nothing of it is left".to_owned()),
        Err(problem) => return Err(problem.to_string()),
    }
    let kind = kinds::find(&record.fault.kind).ok_or_else(|| unknown(&record.fault.kind))?;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let undone = match &record.inside {
            None => undo_once(kind, &record.undo).await,
            Some(inside) => inside.undo(kind, &record.undo).await,
        };
        match undone {
            Err(_) if attempts < UNDO_ATTEMPTS => sleep(UNDO_PAUSE).await,
            Err(problem) => return Err(format!("it could not be taken out in {attempts} attempts: {problem}")),
            Ok(seen) => return Ok(seen),
        }
    }
}

/// One attempt, in the namespace of the calling thread.
pub(crate) async fn undo_once(kind: &Kind, undo: &Undo) -> Result<String, String> {
    match (kind.undo)(undo).await {
        Ok(()) => (kind.verify_undone)(undo).await.map_err(|still| still.0),
        Err(problem) => Err(problem.0),
    }
}

/// Removes the record of an attack that is out. When that fails the attack is undone once more at the next start, which
/// does no harm.
pub(crate) async fn forget(journal: &Journal, id: &AttackId) {
    let (journal, which) = (journal.clone(), id.clone());
    if let Err(problem) = on_disk(move || journal.remove(&which)).await {
        tracing::error!(attack = %id, problem, "the record of an attack that is out stays in the journal");
    }
}

/// Work that waits for the disk runs beside the agent's one thread.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, crate::FaultError> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(problem)) => {
            let cause = std::error::Error::source(&problem).map(|cause| format!(": {cause}")).unwrap_or_default();
            Err(format!("{problem}{cause}"))
        }
        Err(problem) => Err(format!("the thread that writes the journal failed: {problem}")),
    }
}

/// The reason to stop, once there is one. That nobody is left to give one is a reason, too.
async fn stopped(stop: &mut watch::Receiver<Option<String>>) -> String {
    match stop.wait_for(Option::is_some).await {
        Ok(reason) => reason.clone().unwrap_or_default(),
        Err(_) => "the agent lets go of its attacks".to_owned(),
    }
}

/// A lease never reaches beyond the deadline: a holder that hangs just before it keeps nothing in place.
fn lease(until: Instant, most: Duration) -> Duration {
    most.min(until.saturating_duration_since(Instant::now())).max(Duration::from_millis(1))
}
