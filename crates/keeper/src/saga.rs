//! Operations as sagas that are written like straight-line code.
//!
//! A saga's `advance` is run again from the top whenever anything happens. What it has asked before is remembered
//! (with the answer) under the command itself, so that asking again gives the remembered answer instead of a
//! second call: the code reads from top to bottom and returns early where an answer is still missing. The memory is
//! part of the stored state. After a restart, commands without an answer are issued again; all are idempotent.

use crate::clone::CloneNode;
use crate::core::{Core, Owner};
use crate::promotion::Promotion;
use crate::pseudo::PseudoPromotion;
use crate::recovery::Recovery;
use crate::rejoin::Rejoin;
use crate::switchover::Switchover;
use firedrill_model::operation::{Phase, STEP_LOG_LINES_MAX};
use firedrill_model::timeline::EventKind;
use firedrill_model::{
    CommandFailure, NodeCommand, NodeName, NodeReply, Operation, OperationId, OperationKind, OperationState, Severity,
    Span, Step, StepState, Timestamp,
};
use serde::{Deserialize, Serialize};

/// Between two tries of a command that must succeed sooner or later. Short against a human's patience, long against
/// a round trip.
pub(crate) const RETRY_PAUSE: Span = Span::millis(300);

/// A command that keeps failing is tried less and less often, down to this.
const RETRY_PAUSE_MAX: Span = Span::secs(5);

/// One operation with its plan and its memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Saga {
    pub(crate) operation: Operation,
    pub(crate) plan: Plan,
    asks: Vec<Ask>,
    /// Phases whose end was announced.
    announced: Vec<Phase>,
}

/// What each kind of operation knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Plan {
    Promotion(Promotion),
    Recovery(Recovery),
    Pseudo(PseudoPromotion),
    Clone(CloneNode),
    Rejoin(Rejoin),
    Switchover(Switchover),
}

/// A command that was asked, with its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Ask {
    command: NodeCommand,
    within: Span,
    step: u32,
    tries: u32,
    answer: Option<Result<NodeReply, CommandFailure>>,
    answered_at: Option<Timestamp>,
}

/// What came of asking, so far.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Asked {
    Waiting,
    Done(NodeReply),
    Failed(CommandFailure),
}

impl Asked {
    pub(crate) fn ended(&self) -> bool {
        !matches!(self, Self::Waiting)
    }
}

impl Saga {
    /// Begins an operation and says so.
    pub(crate) fn begin(
        core: &mut Core,
        kind: OperationKind,
        subject: &NodeName,
        cause: String,
        failure_at: Option<Timestamp>,
        plan: Plan,
    ) -> Self {
        let number = core.journal.next_operation;
        core.journal.edit().next_operation += 1;
        let cluster = core.journal.spec.name.clone();
        let id = OperationId(format!("{cluster}-{number}"));
        let severity = if kind == OperationKind::Promotion { Severity::Warning } else { Severity::Info };
        core.note_in(
            severity,
            EventKind::OperationStarted,
            Some(subject),
            Some(&id),
            format!("{kind} of {subject} begins: {cause}"),
        );
        let operation = Operation {
            id,
            cluster,
            kind,
            subject: subject.clone(),
            partner: None,
            cause,
            state: OperationState::Running,
            reason: None,
            failure_at,
            began: core.now,
            ended: None,
            steps: Vec::new(),
        };
        Self { operation, plan, asks: Vec::new(), announced: Vec::new() }
    }

    pub(crate) fn id(&self) -> &OperationId {
        &self.operation.id
    }

    /// The nodes that it works on, which nothing else may touch meanwhile.
    pub(crate) fn involves(&self, node: &NodeName) -> bool {
        self.operation.subject == *node || self.operation.partner.as_ref() == Some(node)
    }

    pub(crate) fn ended(&self) -> bool {
        self.operation.ended.is_some()
    }

    /// Asks for `command` unless that was done before; gives what came of it.
    pub(crate) fn ask(&mut self, core: &mut Core, phase: Phase, command: NodeCommand) -> Asked {
        let within = core.policy().step_within;
        self.ask_within(core, phase, command, within)
    }

    /// [`Saga::ask`] with a bound of its own.
    pub(crate) fn ask_within(&mut self, core: &mut Core, phase: Phase, command: NodeCommand, within: Span) -> Asked {
        if let Some(ask) = self.asks.iter().find(|ask| ask.command == command) {
            return match &ask.answer {
                None => Asked::Waiting,
                Some(Ok(reply)) => Asked::Done(reply.clone()),
                Some(Err(failure)) => Asked::Failed(failure.clone()),
            };
        }
        let step = self.add_step(core, phase, &command);
        let owner = Owner::Step { operation: self.operation.id.clone(), step };
        core.perform(owner, command.clone(), within);
        self.asks.push(Ask { command, within, step, tries: 1, answer: None, answered_at: None });
        Asked::Waiting
    }

    /// Asks again and again until it is done.
    pub(crate) fn insist(&mut self, core: &mut Core, phase: Phase, command: NodeCommand) -> Option<NodeReply> {
        match self.ask(core, phase, command.clone()) {
            Asked::Done(reply) => Some(reply),
            Asked::Waiting => None,
            Asked::Failed(_) => {
                self.again(core, &command);
                None
            }
        }
    }

    /// Issues a failed command anew, when its pause is over.
    pub(crate) fn again(&mut self, core: &mut Core, command: &NodeCommand) {
        let Some(ask) = self.asks.iter_mut().find(|ask| ask.command == *command) else { return };
        let pause = RETRY_PAUSE.duration().saturating_mul(ask.tries).min(RETRY_PAUSE_MAX.duration());
        let rested = ask.answered_at.is_some_and(|at| core.now.since(at).duration() >= pause);
        let reachable = command.node().is_none_or(|node| core.reachable(node));
        if !rested || !reachable || !matches!(ask.answer, Some(Err(_))) {
            return;
        }
        ask.answer = None;
        ask.answered_at = None;
        ask.tries += 1;
        let (step, within, tries) = (ask.step, ask.within, ask.tries);
        if let Some(step) = self.operation.steps.iter_mut().find(|one| one.number == step) {
            step.state = StepState::Running;
            step.ended = None;
            log(step, format!("asked again (try {tries})"));
        }
        let owner = Owner::Step { operation: self.operation.id.clone(), step };
        core.perform(owner, command.clone(), within);
    }

    /// How often a command was asked.
    pub(crate) fn tries(&self, command: &NodeCommand) -> u32 {
        self.asks.iter().find(|ask| ask.command == *command).map_or(0, |ask| ask.tries)
    }

    /// Forgets what was asked, so that it is asked anew; answers that are still on their way are ignored.
    pub(crate) fn forget(&mut self, core: &mut Core, which: impl Fn(&NodeCommand) -> bool) {
        let (gone, kept): (Vec<Ask>, Vec<Ask>) =
            std::mem::take(&mut self.asks).into_iter().partition(|ask| which(&ask.command));
        self.asks = kept;
        for ask in gone.iter().filter(|ask| ask.answer.is_none()) {
            self.close_step(core.now, ask.step, StepState::Skipped);
            let owner = Owner::Step { operation: self.operation.id.clone(), step: ask.step };
            core.calls.retain(|_, call| call.owner != owner);
        }
    }

    /// Takes an answer in; false when nobody waits for it.
    pub(crate) fn answered(&mut self, now: Timestamp, step: u32, result: Result<NodeReply, CommandFailure>) -> bool {
        let Some(ask) = self.asks.iter_mut().find(|ask| ask.step == step && ask.answer.is_none()) else { return false };
        let state = if result.is_ok() { StepState::Done } else { StepState::Failed };
        let lines = match &result {
            Ok(reply) => crate::text::reply_lines(reply),
            Err(failure) => vec![failure.message.clone()],
        };
        ask.answer = Some(result);
        ask.answered_at = Some(now);
        self.close_step(now, step, state);
        if let Some(step) = self.operation.steps.iter_mut().find(|one| one.number == step) {
            lines.into_iter().for_each(|line| log(step, line));
        }
        true
    }

    /// Issues every unanswered command again, after a restart.
    pub(crate) fn reissue(&self, core: &mut Core) {
        for ask in self.asks.iter().filter(|ask| ask.answer.is_none()) {
            let owner = Owner::Step { operation: self.operation.id.clone(), step: ask.step };
            core.perform(owner, ask.command.clone(), ask.within);
        }
    }

    /// A step that the keeper takes itself, already over.
    pub(crate) fn record(&mut self, phase: Phase, title: &str, began: Timestamp, ended: Timestamp, lines: Vec<String>) {
        let number = self.next_step();
        let mut step = Step {
            number,
            phase,
            host: None,
            title: title.to_owned(),
            state: StepState::Done,
            began,
            ended: Some(ended),
            log: Vec::new(),
        };
        lines.into_iter().for_each(|line| log(&mut step, line));
        self.operation.steps.push(step);
    }

    /// Says that a phase is over, once.
    pub(crate) fn end_phase(&mut self, core: &mut Core, phase: Phase) {
        if self.announced.contains(&phase) {
            return;
        }
        self.announced.push(phase);
        let took = self.operation.phase(phase).map(|(began, ended)| ended.since(began));
        let (kind, subject) = (self.operation.kind, self.operation.subject.clone());
        let text = match took {
            Some(took) => format!("{kind} of {subject}: {phase} took {took}"),
            None => format!("{kind} of {subject}: {phase} was not needed"),
        };
        let id = self.operation.id.clone();
        core.note_in(Severity::Info, EventKind::PhaseEnded(phase), Some(&subject), Some(&id), text);
    }

    /// It cannot go on without a person, unless what it waits for comes back; said when the reason is new.
    pub(crate) fn needs_person(&mut self, core: &mut Core, reason: String) {
        if self.operation.state == OperationState::NeedsPerson && self.operation.reason.as_ref() == Some(&reason) {
            return;
        }
        self.operation.state = OperationState::NeedsPerson;
        self.operation.reason = Some(reason.clone());
        let text = format!("{} of {} waits: {reason}", self.operation.kind, self.operation.subject);
        let (subject, id) = (self.operation.subject.clone(), self.operation.id.clone());
        core.note_in(Severity::Critical, EventKind::OperationStarted, Some(&subject), Some(&id), text);
    }

    /// It goes on.
    pub(crate) fn goes_on(&mut self) {
        if self.operation.state == OperationState::NeedsPerson {
            self.operation.state = OperationState::Running;
            self.operation.reason = None;
        }
    }

    /// Ends the operation and says how.
    pub(crate) fn finish(&mut self, core: &mut Core, state: OperationState, reason: Option<String>) {
        if self.ended() {
            return;
        }
        let open: Vec<u32> =
            self.operation.steps.iter().filter(|step| step.ended.is_none()).map(|step| step.number).collect();
        open.into_iter().for_each(|step| self.close_step(core.now, step, StepState::Skipped));
        self.asks.clear();
        let id = self.operation.id.clone();
        core.calls.retain(|_, call| !matches!(&call.owner, Owner::Step { operation, .. } if *operation == id));
        self.operation.state = state;
        self.operation.ended = Some(core.now);
        let took = core.now.since(self.operation.began);
        let (kind, subject) = (self.operation.kind, self.operation.subject.clone());
        let partner = self.operation.partner.as_ref().map(|node| format!(" (with {node})")).unwrap_or_default();
        let (severity, text) = match (state, &reason) {
            (OperationState::Finished, _) => (Severity::Info, format!("{kind} of {subject}{partner} done in {took}")),
            (_, Some(reason)) => {
                (Severity::Warning, format!("{kind} of {subject}{partner} given up after {took}: {reason}"))
            }
            (_, None) => (Severity::Warning, format!("{kind} of {subject}{partner} given up after {took}")),
        };
        self.operation.reason = reason;
        core.note_in(severity, EventKind::OperationEnded, Some(&subject), Some(&id), text);
    }

    fn next_step(&self) -> u32 {
        u32::try_from(self.operation.steps.len()).unwrap_or(u32::MAX)
    }

    fn add_step(&mut self, core: &Core, phase: Phase, command: &NodeCommand) -> u32 {
        let number = self.next_step();
        let host = match command.node() {
            Some(node) => core.host_of(node),
            None => core.journal.spec.gateway_host.clone(),
        };
        self.operation.steps.push(Step {
            number,
            phase,
            host,
            title: crate::text::command_title(command),
            state: StepState::Running,
            began: core.now,
            ended: None,
            log: Vec::new(),
        });
        number
    }

    fn close_step(&mut self, now: Timestamp, number: u32, state: StepState) {
        if let Some(step) = self.operation.steps.iter_mut().find(|step| step.number == number) {
            step.state = state;
            step.ended = Some(now);
        }
    }
}

fn log(step: &mut Step, line: String) {
    if step.log.len() < STEP_LOG_LINES_MAX {
        step.log.push(line);
    }
}

impl Saga {
    /// The old primary is being put out of power, and no other node is open yet.
    pub(crate) fn vacates_primary(&self) -> bool {
        match &self.plan {
            Plan::Promotion(plan) => plan.vacates_primary(),
            Plan::Recovery(plan) => plan.vacates_primary(),
            Plan::Switchover(plan) => plan.vacates_primary(),
            Plan::Pseudo(_) | Plan::Clone(_) | Plan::Rejoin(_) => false,
        }
    }

    /// While it lasts, nothing else may change the cluster.
    pub(crate) fn freezes(&self) -> bool {
        matches!(self.plan, Plan::Promotion(_) | Plan::Recovery(_) | Plan::Switchover(_))
    }
}
