//! The journal of ackers: who may have acknowledged a write that nobody else has, and how a node leaves the list.
//!
//! # What a promotion relies on
//!
//! In lossless mode the primary gives a client its OK only after one acker has written the transaction to its relay
//! log. So an acknowledged write is held by the primary and by at least one node *that was an acker at that time*.
//! A promotion may begin to write when it has heard, after each of them stopped acknowledging, from every node that
//! could have been the only one. This list is an upper bound of those nodes, at every moment, also across crashes
//! of the server:
//!
//! 1. **Entering.** A node is entered in the stored state in the turn that asks it to acknowledge
//!    (`Follow{acker}`, `SetAcker{on}`); the state is stored before the command is sent. Servers start with the
//!    acker side off, so no node acknowledges without having been entered.
//! 2. **Staying.** What an acker has acknowledged lives in its relay log until it is applied. MariaDB drops the relay
//!    log when the replication threads are started again (MDEV-4698) and when the server restarts. From the moment
//!    such a thing is asked for or seen, the entry carries a [`Debt`]: what it acknowledged *before* may be gone
//!    from it. An entry with a debt proves nothing by answering.
//! 3. **Paying a debt.** (a) The restart is over: the process was seen to be gone, or the command, or a later
//!    one that changes that node, was answered (such commands are carried out one after the other). (b) Only then the primary is asked
//!    where it is; its answer, the *barrier*, covers every transaction that it had written to its binary log before
//!    (a), so every one that this acker could have acknowledged before (a). (c) Only then an entry of the list that is
//!    still acknowledging is asked to wait until it has *applied* the barrier. Applied is durable there, whatever
//!    happens to its relay log. After its answer the debt is gone: all that it covered is on a node that a promotion
//!    will have to hear from.
//!    Each question is asked after the answer to the one before, so no late observation can be mistaken for a new
//!    one. That is why observations, which are older than their arrival, are never used here.
//! 4. **Leaving.** An entry whose acker side is known to be off (its process gone, or it answered `SetAcker{off}`,
//!    `Follow{acker: false}`, `Fence` or `Open`, and no command to acknowledge is under way) leaves when its debt is
//!    paid. A node that is merely silent cannot leave: it may be acknowledging.
//! 5. **Handing over.** When a new primary is asked to open, the old one acknowledges nothing any more, and the new
//!    one holds all that it could have acknowledged: all debts are void. Two things stay. *The inheritance*: at
//!    that moment the new primary may be the only node that holds it, and its ackers will vouch for what it
//!    acknowledges itself, not for what it inherited; so the position is kept, and no later primary is opened
//!    without it. *The entries*: a node that could not be reached still acknowledges to whom it was told to; an entry
//!    says to whom, and counts again when that node becomes the primary again.
//!
//! A late duplicate of a command to acknowledge cannot slip in after its node has left: agents answer a repeated
//! instruction without repeating it, refuse one past its deadline, and work on one command per node at a time.

use crate::core::{Core, Owner};
use crate::saga::RETRY_PAUSE;
use firedrill_model::command::FailureKind;
use firedrill_model::observation::ProcessState;
use firedrill_model::{CommandFailure, GtidPos, NodeCommand, NodeName, NodeReply, Role, Span};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A holder that lags is asked again after this; short, in case its agent lets a promotion's commands wait behind.
const HOLDER_WITHIN: Span = Span::secs(1);

/// Who may acknowledge for the present primary. Empty on an asynchronous cluster.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct AckerJournal {
    entries: BTreeMap<NodeName, Acker>,
    /// What earlier primaries may have acknowledged: the next one must hold it, whoever has seen it.
    #[serde(default)]
    inherited: GtidPos,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Acker {
    /// The sources it may be acknowledging to: what it was told, until something is known that ends it. More than one
    /// while an answer is missing.
    sources: BTreeSet<NodeName>,
    /// What it acknowledged to the present primary earlier may be gone from it.
    pub(crate) debt: Option<Debt>,
}

impl Acker {
    /// It may be acknowledging to this primary now.
    pub(crate) fn acks_for(&self, primary: &NodeName) -> bool {
        self.sources.contains(primary)
    }
}

/// See the module's rule 3.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Debt {
    /// (a): the restart that caused it is over.
    pub(crate) settled: bool,
    /// (b): the call that asks the primary, made after (a).
    asked: Option<u64>,
    /// (b): the primary's position after (a).
    pub(crate) barrier: Option<GtidPos>,
}

impl AckerJournal {
    pub(crate) fn get(&self, node: &NodeName) -> Option<&Acker> {
        self.entries.get(node)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&NodeName, &Acker)> {
        self.entries.iter()
    }

    /// What earlier primaries may have acknowledged.
    pub(crate) fn inherited(&self) -> &GtidPos {
        &self.inherited
    }

    /// The nodes whose answer a promotion needs.
    pub(crate) fn of(&self, primary: &NodeName) -> impl Iterator<Item = (&NodeName, &Acker)> {
        self.entries.iter().filter(|(_, entry)| entry.acks_for(primary) || entry.debt.is_some())
    }

    /// How many nodes may be acknowledging to this primary.
    pub(crate) fn acking(&self, primary: &NodeName) -> usize {
        self.entries.values().filter(|entry| entry.acks_for(primary)).count()
    }

    /// Rule 5.
    pub(crate) fn hand_over(&mut self, inherited: GtidPos) {
        self.entries.values_mut().for_each(|entry| entry.debt = None);
        self.tidy();
        self.inherited = inherited;
    }

    fn tidy(&mut self) {
        self.entries.retain(|_, entry| !entry.sources.is_empty() || entry.debt.is_some());
    }
}

/// At registration and when a cluster becomes lossless: nobody knows who acknowledged before.
pub(crate) fn distrust_all(core: &mut Core) {
    let primary = core.journal.primary.clone();
    let entries = if core.lossless() {
        let replicas = core.journal.nodes.iter().filter(|(_, record)| record.role == Role::Replica);
        let entry = Acker { sources: BTreeSet::from([primary]), debt: Some(Debt::default()) };
        replicas.map(|(node, _)| (node.clone(), entry.clone())).collect()
    } else {
        BTreeMap::new()
    };
    core.journal.edit().ackers.entries = entries;
}

/// To whom a command makes its node acknowledge.
fn arms(core: &Core, command: &NodeCommand) -> Option<NodeName> {
    match command {
        NodeCommand::Follow { source, acker: true, .. } => {
            core.journal.spec.nodes.iter().find(|node| node.endpoint == *source).map(|node| node.name.clone())
        }
        NodeCommand::SetAcker { on: true, .. } => Some(core.journal.primary.clone()),
        _ => None,
    }
}

/// Rules 1 and 2, for a command that is about to be sent.
pub(crate) fn before(core: &mut Core, command: &NodeCommand) {
    let Some(node) = command.node().filter(|_| core.lossless() && disturbs(command)) else { return };
    let primary = core.journal.primary.clone();
    let source = arms(core, command);
    let acks = core.journal.ackers.get(node).is_some_and(|entry| entry.acks_for(&primary));
    if !acks && source.is_none() {
        return;
    }
    let entry = core.journal.edit().ackers.entries.entry(node.clone()).or_default();
    if acks {
        // It acknowledges now, and what it holds may be dropped.
        entry.debt = Some(Debt::default());
    }
    entry.sources.extend(source);
}

/// Rule 3 (a) and rule 4, for a command that was answered. The call itself is no longer under way.
pub(crate) fn after(core: &mut Core, command: &NodeCommand, result: &Result<NodeReply, CommandFailure>) {
    let Some(node) = command.node().filter(|_| disturbs(command)) else { return };
    let Some(mut entry) = core.journal.ackers.get(node).cloned() else { return };
    let over = match result {
        Ok(_) => true,
        // Timed out or broken off: it may still be at work. Stale: it never was, and says nothing of others.
        Err(failure) => !matches!(failure.kind, FailureKind::TimedOut | FailureKind::Unreachable | FailureKind::Stale),
    };
    let before = entry.clone();
    let decides = !matches!(
        command,
        NodeCommand::Start { .. } | NodeCommand::Recover { .. } | NodeCommand::SetAcker { on: true, .. }
    );
    if result.is_ok() && decides {
        entry.sources = arming(core, node);
        entry.sources.extend(arms(core, command));
    }
    // Something that restarts the receiver may be queued behind this command.
    let quiet = !core.calls.values().any(|call| call.command.node() == Some(node) && disturbs(&call.command));
    if let Some(debt) = entry.debt.as_mut().filter(|_| over && quiet) {
        debt.settled = true;
    }
    if entry != before {
        let ackers = &mut core.journal.edit().ackers;
        ackers.entries.insert(node.clone(), entry);
        ackers.tidy();
    }
}

/// Commands that end or restart a node's receiving, or its process.
pub(crate) fn disturbs(command: &NodeCommand) -> bool {
    matches!(
        command,
        NodeCommand::Follow { .. }
            | NodeCommand::SetAcker { .. }
            | NodeCommand::Fence { .. }
            | NodeCommand::Start { .. }
            | NodeCommand::Recover { .. }
            | NodeCommand::Open { .. }
            | NodeCommand::CloneActivate { .. }
    )
}

/// To whom the commands that are under way to the node make it acknowledge.
fn arming(core: &Core, node: &NodeName) -> BTreeSet<NodeName> {
    let calls = core.calls.values().filter(|call| call.command.node() == Some(node));
    calls.filter_map(|call| arms(core, &call.command)).collect()
}

/// Rules 2 and 4, for a process that is gone, or was: `known` is the process that was last seen there.
pub(crate) fn observed(core: &mut Core, node: &NodeName, known: Option<u32>, process: ProcessState) {
    let Some(entry) = core.journal.ackers.get(node) else { return };
    let ended = match process {
        ProcessState::Running { pid, .. } => known.is_some_and(|known| known != pid),
        ProcessState::Exited { .. } | ProcessState::Absent => true,
    };
    let known_off = entry.sources.is_empty() && entry.debt.as_ref().is_some_and(|debt| debt.settled);
    if !ended || known_off {
        return;
    }
    let primary = core.journal.primary.clone();
    let arming = arming(core, node);
    let ackers = &mut core.journal.edit().ackers;
    if let Some(entry) = ackers.entries.get_mut(node) {
        if entry.acks_for(&primary) || entry.debt.is_some() {
            entry.debt = Some(Debt { settled: arming.is_empty(), ..Debt::default() });
        }
        entry.sources = arming;
    }
    ackers.tidy();
}

/// A node is seen to acknowledge to the primary without having been entered: somebody else has told it to.
pub(crate) fn discovered(core: &mut Core, node: &NodeName) {
    let primary = core.journal.primary.clone();
    if core.lossless() && !core.journal.ackers.get(node).is_some_and(|entry| entry.acks_for(&primary)) {
        core.journal.edit().ackers.entries.entry(node.clone()).or_default().sources.insert(primary);
    }
}

/// Pays debts, step by step (rule 3), and strikes who may leave (rule 4).
pub(crate) fn pay(core: &mut Core) {
    let indebted: Vec<(NodeName, Acker)> = core
        .journal
        .ackers
        .iter()
        .filter(|(_, entry)| entry.debt.is_some())
        .map(|(node, entry)| (node.clone(), entry.clone()))
        .collect();
    ask_barrier(core, &indebted);
    for (_, entry) in &indebted {
        if let Some(barrier) = entry.debt.as_ref().and_then(|debt| debt.barrier.clone()) {
            ask_holders(core, &barrier);
        }
    }
}

/// The outcome of a restart of this acker is not known. Once another restart was answered, the first is over too.
pub(crate) fn unsettled(core: &Core, node: &NodeName) -> bool {
    let debt = core.journal.ackers.get(node).and_then(|entry| entry.debt.as_ref());
    debt.is_some_and(|debt| !debt.settled)
}

fn ask_barrier(core: &mut Core, indebted: &[(NodeName, Acker)]) {
    let due: Vec<&NodeName> = indebted
        .iter()
        .filter(|(_, entry)| {
            entry.debt.as_ref().is_some_and(|debt| {
                let asked = debt.asked.is_some_and(|call| core.calls.contains_key(&crate::CallId(call)));
                debt.settled && debt.barrier.is_none() && !asked
            })
        })
        .map(|(node, _)| node)
        .collect();
    let primary = core.journal.primary.clone();
    if due.is_empty() || !core.reachable(&primary) || !rested(core, &primary) {
        return;
    }
    let command = NodeCommand::AwaitPosition { node: primary.clone(), until: GtidPos::default() };
    let within = core.policy().silent_after;
    core.perform(Owner::Barrier, command, within);
    let Some(call) = core.calls.keys().next_back().map(|call| call.0) else { return };
    let due: Vec<NodeName> = due.into_iter().cloned().collect();
    for node in due {
        if let Some(debt) = core.journal.edit().ackers.entries.get_mut(&node).and_then(|entry| entry.debt.as_mut()) {
            debt.asked = Some(call);
        }
    }
}

/// The primary has said where it is.
pub(crate) fn barrier_answered(core: &mut Core, call: u64, result: &Result<NodeReply, CommandFailure>) {
    let Ok(NodeReply::Position { received, applied }) = result else {
        let primary = core.journal.primary.clone();
        rest(core, &primary);
        return;
    };
    let barrier = received.clone().union(applied);
    for entry in core.journal.edit().ackers.entries.values_mut() {
        if let Some(debt) = entry.debt.as_mut().filter(|debt| debt.asked == Some(call)) {
            debt.asked = None;
            debt.barrier = Some(barrier.clone());
        }
    }
}

fn ask_holders(core: &mut Core, barrier: &GtidPos) {
    let primary = core.journal.primary.clone();
    let acking = core.journal.ackers.iter().filter(|(_, entry)| entry.acks_for(&primary));
    let holders: Vec<NodeName> = acking.map(|(node, _)| node.clone()).collect();
    for node in holders {
        let command = NodeCommand::AwaitPosition { node: node.clone(), until: barrier.clone() };
        let asked = core.calls.values().any(|call| call.owner == Owner::Holder && call.command == command);
        let settled =
            core.journal.ackers.get(&node).is_some_and(|entry| entry.debt.as_ref().is_none_or(|debt| debt.settled));
        if !asked && settled && core.reachable(&node) && rested(core, &node) {
            core.perform(Owner::Holder, command, HOLDER_WITHIN);
        }
    }
}

/// A holder has applied `until`, or not.
pub(crate) fn holder_answered(core: &mut Core, node: &NodeName, until: &GtidPos, done: bool) {
    if !done {
        rest(core, node);
        return;
    }
    let primary = core.journal.primary.clone();
    if !core.journal.ackers.get(node).is_some_and(|entry| entry.acks_for(&primary)) {
        return;
    }
    let ackers = &mut core.journal.edit().ackers;
    for entry in ackers.entries.values_mut() {
        let paid =
            entry.debt.as_ref().and_then(|debt| debt.barrier.as_ref()).is_some_and(|barrier| until.covers(barrier));
        if paid {
            entry.debt = None;
        }
    }
    ackers.tidy();
}

fn rest(core: &mut Core, node: &NodeName) {
    let until = core.now + RETRY_PAUSE;
    core.upkeep_after.insert(node.clone(), until);
}

fn rested(core: &Core, node: &NodeName) -> bool {
    core.upkeep_after.get(node).is_none_or(|until| core.now >= *until)
}
