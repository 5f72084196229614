//! One run, from the warm-up to the verdict.
//!
//! Every wait goes through [`Run::pause`] or `Run::meanwhile`, which keep the eyes open: they take in samples, views and
//! the answers of the `during` probes, test the abort conditions and the halt, and store what there is so far.

mod progress;
mod steady;
mod stop;

use super::courses::Courses;
use super::guard::{self, Admitted};
use super::judge::{Evidence, judge};
use super::watch::{Moment, Seen, is_met};
use super::{empty_report, environment, first_write, load};
use crate::clock::now;
use crate::probes::Tickers;
use crate::problem::store_failed;
use crate::runs::RunGuard;
use crate::server::{Server, run_entry};
use crate::{WorkloadItem, WorkloadNews};
use firedrill_api::http::{Live, Problem};
use firedrill_model::attack::{AttackReport, AttackState};
use firedrill_model::experiment::{AttackStep, Condition, StepSpec, When};
use firedrill_model::guard::RunStanding;
use firedrill_model::message::Topic;
use firedrill_model::progress::Stage;
use firedrill_model::report::{RunReport, RunState};
use firedrill_model::timeline::{EventKind, Scope};
use firedrill_model::workload::WorkloadState;
use firedrill_model::{ClusterView, HostName, Severity, Span, TimelineEvent, Timestamp, Verdict};
use firedrill_store::{RunSummary, StoreError, TimelineFilter};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::{Receiver, error::TryRecvError};

/// How often a wait looks around.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Operations are read this often: one that needs a person must be seen within a second.
const UPKEEP_EVERY: Span = Span::millis(500);
/// The report so far is stored this often.
const SAVE_EVERY: Span = Span::secs(1);
/// While the steps are taken, a slow store keeps the eyes shut for no longer than this: a breach must be seen, and the
/// faults be out, within a second. What was not stored then is stored the next time.
const UPKEEP_WITHIN: Duration = Duration::from_millis(300);
/// The steady state must be seen within this long, before and after; a lagging replica is no loss of it.
const STEADY_WITHIN: Span = Span::secs(10);
/// Most timeline lines and operations put into a report.
const LINES_MAX: u32 = 2000;

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Woken {
    /// What was waited for has come.
    Met,
    /// The time is over.
    TimedOut,
    /// The run is to stop.
    Stopped,
}

/// What a wait is for.
enum Until {
    Time,
    Condition(Condition),
    LoadStarted,
    LoadFinished,
}

/// A run under way.
pub(super) struct Run {
    server: Arc<Server>,
    admitted: Admitted,
    report: RunReport,
    seen: Seen,
    view: Option<ClusterView>,
    news: Receiver<WorkloadItem>,
    load_host: Option<HostName>,
    load_state: Option<WorkloadState>,
    history: Option<PathBuf>,
    /// When its first attack began.
    attacked: Option<Timestamp>,
    effect_at: Option<Timestamp>,
    redundant_at: Option<Timestamp>,
    was_short: bool,
    broken_steps: Vec<String>,
    tool_errors: Vec<String>,
    /// Attacks that a guard refused.
    refusals: Vec<String>,
    halted: Option<String>,
    /// Checks that could not be told.
    doubts: Vec<String>,
    probing: bool,
    courses: Courses,
    tickers: Option<Tickers>,
    /// Lines for the timeline that are not told yet: telling may wait for the store.
    unsaid: Vec<TimelineEvent>,
    looked: Timestamp,
    saved: Timestamp,
}

impl Run {
    /// Stores the beginning.
    pub(super) async fn begin(server: Arc<Server>, admitted: Admitted) -> Result<Self, Problem> {
        let report = empty_report(admitted.guard.run().clone(), &admitted);
        server.store.save_run(&report).await.map_err(|error| store_failed(&error))?;
        let news = server.workloads.subscribe();
        let run = Self {
            view: server.keepers.view(&report.cluster).ok(),
            server,
            admitted,
            looked: report.began,
            saved: report.began,
            courses: Courses::new(&report.experiment.probes),
            report,
            seen: Seen::default(),
            news,
            load_host: None,
            load_state: None,
            history: None,
            attacked: None,
            effect_at: None,
            redundant_at: None,
            was_short: false,
            broken_steps: vec![],
            tool_errors: vec![],
            refusals: vec![],
            halted: None,
            doubts: vec![],
            probing: false,
            tickers: None,
            unsaid: vec![],
        };
        let (name, title) = (&run.report.experiment.name, &run.report.experiment.title);
        let text = format!("run of {name} begins, started by {}: {title}", crate::access::by());
        run.say_about(Severity::Info, EventKind::Run, text, Some(Topic::RunBegan)).await;
        run.tell();
        Ok(run)
    }

    fn guard(&self) -> &RunGuard {
        &self.admitted.guard
    }

    /// The whole run. Whatever happens on the way, the attacks come out, the load ends and a verdict is stored.
    pub(super) async fn carry_out(mut self) {
        if self.start_load().await && self.pause(self.report.experiment.warm_up, &Until::Time).await == Woken::TimedOut
        {
            self.now_in(Stage::ProbesBefore).await;
            self.ask_probes(When::Before).await;
            if self.report.probes.iter().all(|probe| probe.held) {
                self.now_in(Stage::Steps).await;
                self.take_steps().await;
            }
        }
        self.end_probing();
        // Nothing comes before the attacks, not even to say that they come out.
        self.progress().stage = Stage::TakingOut;
        self.end_attacks().await;
        self.note_faults_gone();
        self.tell_noted().await;
        self.now_in(Stage::Counting).await;
        self.finish_load().await;
        self.conclude().await;
    }

    async fn start_load(&mut self) -> bool {
        let Some((host, spec)) = load::spec(&self.report.run, &self.admitted) else { return true };
        self.load_host = Some(host.clone());
        if let Err(failure) = load::start(&self.server, &host, spec).await {
            self.tool_errors.push(format!("the load could not be started on {host}: {failure}"));
            return false;
        }
        match self.pause(load::START_WITHIN, &Until::LoadStarted).await {
            Woken::Met => true,
            Woken::Stopped => false,
            Woken::TimedOut => {
                let state = self.load_state.as_ref().map_or_else(|| "it said nothing".to_owned(), |s| format!("{s:?}"));
                self.tool_errors
                    .push(format!("the load on {host} did not begin within {}: {state}", load::START_WITHIN));
                false
            }
        }
    }

    async fn take_steps(&mut self) {
        self.begin_probing();
        for (index, step) in self.report.experiment.steps.clone().into_iter().enumerate() {
            self.step_begins().await;
            let go_on = match step {
                StepSpec::Attack(attack) => self.attack(&attack).await,
                StepSpec::EndAttack(name) => self.end_attack(&name).await,
                StepSpec::Wait(span) => self.pause(span, &Until::Time).await != Woken::Stopped,
                StepSpec::WaitUntil { condition, within } => self.wait_until(index, condition, within).await,
                StepSpec::Check(name) => self.check(&name).await,
            };
            self.step_ends();
            if !go_on {
                return;
            }
        }
        self.now_in(Stage::CoolDown).await;
        let cool_down = self.report.experiment.cool_down;
        if self.pause(cool_down, &Until::Time).await == Woken::TimedOut {
            self.end_probing();
            self.now_in(Stage::ProbesAfter).await;
            self.ask_probes(When::After).await;
        }
    }

    async fn attack(&mut self, step: &AttackStep) -> bool {
        if !self.settled_for(step).await {
            return false;
        }
        let (standing, began) = (self.standing(), now());
        let (server, cluster) = (Arc::clone(&self.server), self.report.cluster.clone());
        let (asked, step) = (self.admitted.asked.clone(), step.clone());
        let label = step.label().to_owned();
        let started = self
            .meanwhile(async move { crate::attacks::start(&server, Some(standing), &cluster, &step, &asked).await });
        let started = match started.await {
            Ok(started) => started,
            Err(broken) => {
                self.tool_errors.push(format!("the start of attack {label} broke off: {broken}"));
                return false;
            }
        };
        match started {
            Ok(reports) => {
                self.attacked = self.attacked.or(Some(began));
                let landed = reports.iter().all(|report| report.state == AttackState::Active);
                if landed {
                    self.effect_at = self.effect_at.or_else(|| reports.iter().map(|report| report.at).min());
                    (self.redundant_at, self.was_short) = (None, false);
                }
                reports.into_iter().for_each(|report| self.keep(report));
                landed && self.halted.is_none()
            }
            Err(problem) if problem.refused => {
                self.refusals.push(problem.message);
                false
            }
            Err(problem) => {
                self.tool_errors.push(format!("attack {label} could not be made: {problem}"));
                false
            }
        }
    }

    /// What this run has done itself so far.
    fn standing(&self) -> RunStanding {
        let hit = self.report.attacks.iter().filter(|attack| attack.state != AttackState::Refused);
        RunStanding {
            attacked: self.attacked,
            hit: hit.map(|attack| attack.host.clone()).collect(),
            ..guard::standing(&self.report.experiment, &self.report.run)
        }
    }

    /// Waits while only the cluster's state speaks against an attack, as before a probe: a steady state has moments in
    /// which a replica lags. Whatever is the matter then, the attack itself says. False when the run is to stop.
    async fn settled_for(&mut self, step: &AttackStep) -> bool {
        let end = now() + STEADY_WITHIN;
        let asked = self.admitted.asked.clone();
        loop {
            let standing = Some(self.standing());
            let plan = crate::attacks::plan(&self.server, standing, &self.report.cluster, step, &asked).await;
            let Ok(plan) = plan else { return true };
            let refused = plan.guards.iter().any(firedrill_model::guard::Answer::stands);
            if !refused || !guard::may_settle(&plan.guards) || now() >= end {
                return true;
            }
            if self.pause(Span::millis(100), &Until::Time).await == Woken::Stopped {
                return false;
            }
        }
    }

    /// Keeps the last state of each attack on each host.
    fn keep(&mut self, report: AttackReport) {
        match self.report.attacks.iter_mut().find(|known| known.id == report.id && known.host == report.host) {
            Some(known) => *known = report,
            None => self.report.attacks.push(report),
        }
    }

    async fn end_attack(&mut self, name: &str) -> bool {
        let steps = self.report.experiment.steps.iter();
        let kind = steps.filter_map(|step| match step {
            StepSpec::Attack(attack) if attack.label() == name => Some(attack.fault.kind.clone()),
            _ => None,
        });
        let kinds: Vec<String> = kind.collect();
        let ids = self.in_place(|report| kinds.contains(&report.fault.kind)).await;
        let (server, ending) = (Arc::clone(&self.server), ids.clone());
        match self.meanwhile(async move { crate::attacks::end(&server, &ending).await }).await {
            Ok(ended) => self.keep_ended(ids, ended),
            Err(broken) => self.tool_errors.push(format!("the end of attack {name} broke off: {broken}")),
        }
        self.halted.is_none()
    }

    /// Attacks also end by themselves, at their deadline; the store knows.
    async fn refresh_attacks(&mut self) {
        match self.server.store.attacks_of(&self.report.run).await {
            Ok(stored) => stored.into_iter().for_each(|record| self.keep(record.report)),
            Err(error) => self.missed("attacks", &error),
        }
    }

    async fn wait_until(&mut self, index: usize, condition: Condition, within: Span) -> bool {
        match self.pause(within, &Until::Condition(condition)).await {
            Woken::Met => true,
            Woken::Stopped => false,
            Woken::TimedOut => {
                self.broken_steps.push(format!("steps[{index}]: {condition:?} did not come within {within}"));
                false
            }
        }
    }

    /// Waits, with open eyes.
    async fn pause(&mut self, longest: Span, until: &Until) -> Woken {
        let end = now() + longest;
        loop {
            self.look().await;
            if self.halted.is_some() && !matches!(until, Until::LoadFinished) {
                return Woken::Stopped;
            }
            let met = match until {
                Until::Time => false,
                Until::Condition(condition) => is_met(*condition, &self.moment()),
                Until::LoadStarted => self.load_state.is_some() && !self.load_failed(),
                Until::LoadFinished => self.history.is_some(),
            };
            if met {
                return Woken::Met;
            }
            if now() >= end || (self.load_failed() && !matches!(until, Until::Time)) {
                return Woken::TimedOut;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn load_failed(&self) -> bool {
        matches!(self.load_state, Some(WorkloadState::Failed { .. }))
    }

    /// Takes in what happened since the last look.
    async fn look(&mut self) {
        self.take_news();
        self.view = self.server.keepers.view(&self.report.cluster).ok();
        let since_look = now().since(self.looked);
        if let Some(view) = &self.view {
            self.seen.view(view);
            let after = self.effect_at.is_some_and(|effect| view.at > effect);
            self.was_short |= after && !view.fully_redundant;
        }
        if self.redundant_at.is_none() && self.effect_at.is_some() {
            let restored = is_met(Condition::RedundancyRestored, &self.moment());
            self.redundant_at = restored.then(now);
        }
        let was_halted = self.halted.is_some();
        self.take_answers();
        self.stop_when_told();
        if self.halted.is_some() && !was_halted {
            // Nothing comes before the attacks.
            return;
        }
        if !self.probing {
            self.upkeep(since_look).await;
        } else if tokio::time::timeout(UPKEEP_WITHIN, self.upkeep(since_look)).await.is_err() {
            tracing::warn!(run = %self.report.run, "the store is slow; what it did not take now is stored the next time");
        }
    }

    /// What may wait for the store. Cut short, it is done again.
    async fn upkeep(&mut self, since_look: Span) {
        self.tell_noted().await;
        if since_look < UPKEEP_EVERY {
            return;
        }
        self.looked = now();
        self.refresh_operations().await;
        if now().since(self.saved) >= SAVE_EVERY {
            self.save().await;
            self.saved = now();
        }
    }

    /// Keeps a line for the timeline, of that moment.
    fn note(&mut self, at: Timestamp, severity: Severity, kind: EventKind, text: String) {
        self.unsaid.push(TimelineEvent { sequence: 0, at, severity, kind, text, scope: self.scope() });
    }

    async fn tell_noted(&mut self) {
        while let Some(event) = self.unsaid.first().cloned() {
            self.server.timeline.append_event(event).await;
            self.unsaid.remove(0);
        }
    }

    fn take_news(&mut self) {
        loop {
            match self.news.try_recv() {
                Ok(item) if item.run != self.report.run => {}
                Ok(item) => match item.news {
                    WorkloadNews::Sample(sample) => self.seen.sample(sample),
                    WorkloadNews::State(state) => self.load_state = Some(state),
                    WorkloadNews::History { path, .. } => self.history = Some(path),
                },
                // Old samples are gone from the charts; the history has everything.
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    async fn refresh_operations(&mut self) {
        let began = self.report.began;
        match self.server.store.operations(Some(&self.report.cluster), LINES_MAX).await {
            Ok(operations) => {
                let of_run = operations.into_iter().filter(|operation| operation.began >= began);
                self.report.operations = of_run.rev().collect();
            }
            Err(error) => self.missed("operations", &error),
        }
    }

    /// What could not be read may be what speaks against the run, so the run cannot pass without it.
    fn missed(&mut self, what: &str, error: &StoreError) {
        let text = format!("the {what} of the run could not be read from the store: {error}");
        if !self.tool_errors.contains(&text) {
            self.tool_errors.push(text);
        }
    }

    fn moment(&self) -> Moment<'_> {
        Moment {
            now: now(),
            seen: &self.seen,
            view: self.view.as_ref(),
            operations: &self.report.operations,
            effect_at: self.effect_at,
            was_short: self.was_short,
        }
    }

    async fn finish_load(&mut self) {
        let Some(host) = self.load_host.clone() else { return };
        if self.load_state.is_none() || self.load_failed() {
            load::drop_load(&self.server, &self.report).await;
            return;
        }
        if let Err(failure) = load::stop(&self.server, &host, &self.report.run).await {
            self.tool_errors.push(format!("the load on {host} could not be told to stop: {failure}"));
            return;
        }
        if self.pause(load::FINISH_WITHIN, &Until::LoadFinished).await != Woken::Met {
            let state = format!("{:?}", self.load_state);
            self.tool_errors.push(format!("the load on {host} did not finish within {}: {state}", load::FINISH_WITHIN));
            return;
        }
        let Some(history) = self.history.clone() else { return };
        match load::check(&history).await {
            Ok(summary) => self.report.ledger = Some(summary),
            Err(error) => self.tool_errors.push(error),
        }
    }

    async fn conclude(&mut self) {
        self.refresh_operations().await;
        self.refresh_attacks().await;
        if let Some(ledger) = &self.report.ledger {
            first_write::add(&mut self.report.operations, ledger);
        }
        let judgement = judge(&Evidence {
            experiment: &self.report.experiment,
            attacks: &self.report.attacks,
            operations: &self.report.operations,
            effect_at: self.effect_at,
            redundant_at: self.redundant_at,
            probes: &self.report.probes,
            broken_steps: &self.broken_steps,
            tool_errors: &self.tool_errors,
            refusals: &self.refusals,
            doubts: &self.doubts,
            ledger: self.report.ledger.as_ref(),
            halted: self.halted.as_deref(),
        });
        self.report.verdict = Some(judgement.verdict);
        self.report.reasons = judgement.reasons;
        self.report.expectations = judgement.expectations;
        self.report.state = if self.halted.is_some() { RunState::Halted } else { RunState::Finished };
        self.report.environment = environment::describe(self.view.as_ref());
        self.note_rung(judgement.verdict).await;
        let severity = if judgement.verdict == Verdict::Passed { Severity::Info } else { Severity::Warning };
        let why = self.report.reasons.first().map_or_else(String::new, |reason| format!(": {reason}"));
        let text = format!("run of {} {}{why}", self.report.experiment.name, judgement.verdict);
        let (experiment, stopped) = (self.report.experiment.name.clone(), self.halted.is_some());
        let ended = Topic::RunEnded { experiment, verdict: judgement.verdict, stopped };
        self.say_about(severity, EventKind::Run, text, Some(ended)).await;
        self.report.ended = Some(now());
        self.progress().stage = Stage::Judged;
        self.save().await;
        self.tell();
    }

    async fn note_rung(&self, verdict: Verdict) {
        let Some(rung) = self.report.experiment.rung else { return };
        let (store, cluster) = (&self.server.store, &self.report.cluster);
        let noted = match verdict {
            Verdict::Passed => store.pass_rung(cluster, rung, &self.report.run, now()).await,
            Verdict::Failed => store.fail_rung(cluster, rung).await,
            Verdict::Inconclusive | Verdict::Error => Ok(()),
        };
        if let Err(error) = noted {
            tracing::error!(%cluster, rung, %error, "the ladder's state could not be stored");
        }
    }

    async fn save(&mut self) {
        let filter = TimelineFilter { cluster: Some(self.report.cluster.clone()), ..TimelineFilter::default() };
        if let Ok(mut events) = self.server.store.newest_events(&filter, LINES_MAX).await {
            events.retain(|event| {
                event.at >= self.report.began && event.scope.run.as_ref().is_none_or(|run| *run == self.report.run)
            });
            events.sort_by_key(|event| (event.at, event.sequence));
            self.report.timeline = events;
        }
        self.progress().writes = self.seen.writes;
        self.report.samples.clone_from(&self.seen.samples);
        self.report.lags.clone_from(&self.seen.lags);
        self.report.probe_series = self.courses.series();
        if let Err(error) = self.server.store.save_run(&self.report).await {
            tracing::error!(run = %self.report.run, %error, "the report so far could not be stored");
        }
    }

    async fn say(&self, severity: Severity, kind: EventKind, text: String) {
        self.say_about(severity, kind, text, None).await;
    }

    async fn say_about(&self, severity: Severity, kind: EventKind, text: String, about: Option<Topic>) {
        self.server.timeline.append(severity, kind, text, Scope { about, ..self.scope() }).await;
    }

    fn scope(&self) -> Scope {
        let (cluster, run) = (Some(self.report.cluster.clone()), Some(self.report.run.clone()));
        Scope { cluster, run, ..Scope::default() }
    }

    /// Tells the live pages how the run stands.
    fn tell(&self) {
        self.server.live.send(Live::Run { entry: run_entry(RunSummary::of(&self.report)) });
    }
}
