//! Instructions: taken or refused, carried out once, answered.

use crate::answers::{Answers, Outcome};
use crate::attacks::{Attacks, NOT_ALLOWED};
use crate::gateway::Gateway;
use crate::generations::Generations;
use crate::nodes::Nodes;
use crate::outbox::Outbox;
use crate::presence::Presence;
use crate::probes::Probes;
use crate::workload::Workloads;
use firedrill_api::link::{Answer, Instruction, Order, Upward};
use firedrill_model::command::FailureKind;
use firedrill_model::{
    ClusterName, CommandFailure, Generation, InstructionId, NodeCommand, NodeReply, Span, Timestamp,
};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::task::TaskTracker;

/// Most instructions under way at once. A failover needs about five at one host.
const UNDER_WAY_MAX: usize = 64;
/// A fence is answered this long after the kill at the latest, though the disk may hang and the generation may not be
/// recorded: it is the one command that must work without a disk.
const FENCE_RECORD_WITHIN: Duration = Duration::from_millis(100);

/// Everything an instruction may need.
pub(crate) struct Dispatcher {
    /// Answers given before.
    pub(crate) answers: Arc<Answers>,
    /// Newest generations.
    pub(crate) generations: Arc<Generations>,
    /// Knows the server's clock.
    pub(crate) presence: Arc<Presence>,
    /// Takes the answers.
    pub(crate) outbox: Arc<Outbox>,
    /// Database nodes.
    pub(crate) nodes: Arc<Nodes>,
    /// The gateway, when it runs here.
    pub(crate) gateway: Option<Arc<Gateway>>,
    /// Faults.
    pub(crate) attacks: Arc<Attacks>,
    /// Questions about this host.
    pub(crate) probes: Arc<Probes>,
    /// Keepers may change the nodes and the gateway of this host.
    pub(crate) node_commands: bool,
    /// Live loads.
    pub(crate) workloads: Arc<Workloads>,
    /// Instructions that were begun and not answered yet.
    pub(crate) under_way: Mutex<BTreeSet<InstructionId>>,
    /// Their tasks.
    pub(crate) tasks: TaskTracker,
}

impl Dispatcher {
    /// Takes an instruction; the answer goes to the outbox, now or later.
    pub(crate) fn take(self: &Arc<Self>, instruction: Instruction) {
        if let Some(result) = self.answers.recall(&instruction.id) {
            self.outbox.push(Upward::Answer { id: instruction.id, result });
            return;
        }
        let full = {
            let mut under_way = self.lock();
            if under_way.contains(&instruction.id) {
                return;
            }
            let full = under_way.len() >= UNDER_WAY_MAX;
            if !full {
                under_way.insert(instruction.id.clone());
            }
            full
        };
        if full {
            let message = format!("{UNDER_WAY_MAX} instructions are under way at this agent already; nothing was done");
            let result = Err(CommandFailure { kind: FailureKind::Failed, message });
            self.outbox.push(Upward::Answer { id: instruction.id, result });
            return;
        }
        let pending = Pending { id: instruction.id.clone(), dispatcher: Arc::clone(self), outcome: None };
        let dispatcher = Arc::clone(self);
        self.tasks.spawn(async move { pending.ended(dispatcher.carry_out(instruction).await) });
    }

    async fn carry_out(&self, instruction: Instruction) -> Done {
        let Instruction { id: _, cluster, generation, deadline, order } = instruction;
        if let Some(failure) = self.not_allowed(&order) {
            return Done::refused(failure);
        }
        let within = match self.presence.until(deadline, Instant::now()) {
            Some(within) => within,
            None => return Done::refused(too_late(deadline)),
        };
        if let Err(failure) = self.admit(cluster.as_ref(), generation) {
            return Done::refused(failure);
        }
        if let Order::Probe { probe, within: patience } = order {
            // It has no effect that a repetition could double, and would push answers out that matter.
            return Done { recorded: false, result: self.probes.ask(probe, patience.min(within)).await };
        }
        if matches!(order, Order::Node { command: NodeCommand::Fence { .. } }) {
            return self.fence(cluster, generation, order, within).await;
        }
        if let Some(cluster) = &cluster
            && let Err(error) = self.generations.keep(cluster, generation).await
        {
            let message = format!("nothing was done: cannot record {generation} of cluster {cluster}: {error}");
            return Done::refused(CommandFailure { kind: FailureKind::Failed, message });
        }
        // Once more: a newer one may have come while the disk wrote, and its effect must be the last.
        if let Err(failure) = self.admit(cluster.as_ref(), generation) {
            return Done::refused(failure);
        }
        Done { recorded: true, result: self.order(order, generation, within).await }
    }

    /// Commands that change a node or the gateway, where the host's owner allows none. Attacks say it in their report.
    fn not_allowed(&self, order: &Order) -> Option<CommandFailure> {
        let Order::Node { command } = order else { return None };
        (!self.node_commands && !command.only_looks()).then(|| CommandFailure {
            kind: FailureKind::Invalid,
            message: format!(
                "{NOT_ALLOWED}: nothing was done: the owner of this host allows keepers no commands here (\"node_commands\" \
                 in `allow` of the agent's configuration)"
            ),
        })
    }

    fn admit(&self, cluster: Option<&ClusterName>, generation: Generation) -> Result<(), CommandFailure> {
        let Some(cluster) = cluster else { return Ok(()) };
        self.generations.admit(cluster, generation).map_err(|stale| CommandFailure {
            kind: FailureKind::Stale,
            message: format!(
                "nothing was done: {generation} is older than {} of cluster {cluster}, which this agent has seen; \
                 another server has taken over",
                stale.known
            ),
        })
    }

    /// A fence does not wait for the disk.
    async fn fence(&self, cluster: Option<ClusterName>, generation: Generation, order: Order, within: Span) -> Done {
        let record = async {
            let Some(cluster) = &cluster else { return };
            match tokio::time::timeout(FENCE_RECORD_WITHIN, self.generations.keep(cluster, generation)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%cluster, %generation, %error, "a generation was not recorded"),
                Err(_) => {
                    tracing::error!(%cluster, %generation, "a generation was not recorded in time; is the disk slow?")
                }
            }
        };
        let (result, ()) = tokio::join!(self.order(order, generation, within), record);
        Done { recorded: true, result }
    }

    async fn order(&self, order: Order, generation: Generation, within: Span) -> Outcome {
        match order {
            Order::Node { command: NodeCommand::Route { cluster, route } } => {
                let Some(gateway) = &self.gateway else {
                    let message = format!("this host runs no gateway, so not that of {cluster} either");
                    return Err(CommandFailure { kind: FailureKind::Invalid, message });
                };
                gateway.set_route(&cluster, generation, route, within.duration()).await?;
                Ok(Answer::Node { result: NodeReply::Done })
            }
            Order::Node { command } => {
                self.nodes.carry_out(command, within).await.map(|result| Answer::Node { result })
            }
            Order::Inject { attack } => Ok(Answer::Attack { report: self.attacks.inject(attack).await }),
            Order::Undo { attack } => self.attacks.undo(&attack).await.map(|report| Answer::Attack { report }),
            Order::Halt { reason } => Ok(Answer::Halted { reports: self.attacks.halt(&reason).await }),
            Order::Probe { probe, within: patience } => self.probes.ask(probe, patience.min(within)).await,
            Order::Resume => self.attacks.resume().await.map(|()| Answer::Done),
            Order::StartWorkload { workload } => self.workloads.start(&workload).map(|()| Answer::Done),
            Order::StopWorkload { run } => self.workloads.stop(&run).map(|()| Answer::Done),
            Order::DropWorkload { run } => self.workloads.discard(&run).await.map(|()| Answer::Done),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<InstructionId>> {
        // Only whole entries are inserted and removed.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn too_late(deadline: Timestamp) -> CommandFailure {
    let message = format!("nothing was done: the deadline ({} ms since the epoch) has passed", deadline.millis());
    CommandFailure { kind: FailureKind::TimedOut, message }
}

/// How an instruction ended.
struct Done {
    /// Something may have been done, so that a repetition must get this answer.
    recorded: bool,
    result: Outcome,
}

impl Done {
    /// Nothing was done, and a repetition is judged anew.
    fn refused(failure: CommandFailure) -> Self {
        Self { recorded: false, result: Err(failure) }
    }
}

/// An instruction under way. However its task ends, it is answered.
struct Pending {
    id: InstructionId,
    dispatcher: Arc<Dispatcher>,
    outcome: Option<Done>,
}

impl Pending {
    fn ended(mut self, done: Done) {
        self.outcome = Some(done);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let done = self.outcome.take().unwrap_or_else(|| {
            let message = format!("instruction {} broke off inside the agent; it may have had an effect", self.id);
            Done::refused(CommandFailure { kind: FailureKind::Failed, message })
        });
        if done.recorded {
            self.dispatcher.answers.remember(self.id.clone(), done.result.clone());
        }
        self.dispatcher.lock().remove(&self.id);
        self.dispatcher.outbox.push(Upward::Answer { id: self.id.clone(), result: done.result });
    }
}
