//! The task around one keeper: events in, decisions stored, then carried out.
//!
//! The order is the point: whatever a decision changed in the keeper's state is on the disk before any of its calls
//! leaves. A server that is killed between the two finds a decision that was not carried out, and asks again; it never
//! finds an effect that it does not know of.

use super::{Asked, Message, Surroundings};
use crate::clock::now;
use crate::fleet::Call;
use crate::problem::chain;
use firedrill_api::http::Live;
use firedrill_api::link::{Answer, Order};
use firedrill_keeper::{Action, CallId, Event, Keeper};
use firedrill_model::command::FailureKind;
use firedrill_model::{
    ClusterName, ClusterView, CommandFailure, Generation, HostName, NodeCommand, Operation, Span, TimelineEvent,
};
use firedrill_store::{KeeperCommit, StoreError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};

/// How often a keeper is told that time passed; its contract asks for no less.
const TICK_EVERY: Duration = Duration::from_millis(50);
/// Messages handled before one commit. They come in bursts when a primary dies, and an fsync for each would be the
/// larger part of the outage.
const BATCH_MAX: usize = 64;
/// A watcher gets a cluster's view at most this often.
const VIEW_EVERY: Duration = Duration::from_millis(200);
/// After the store could not be written (a full disk) it is tried again; meanwhile nothing is carried out.
const STORE_AGAIN_AFTER: Duration = Duration::from_millis(250);

/// One keeper with everything around it.
pub(super) struct Runner {
    cluster: ClusterName,
    keeper: Keeper,
    around: Surroundings,
    view: watch::Sender<ClusterView>,
    /// For the answers to its own calls. Weak: the task ends when nobody else can send any more.
    inbox: mpsc::WeakSender<Message>,
    stored_revision: Option<u64>,
    shown_at: Option<Instant>,
    unshown: bool,
}

/// What a batch of messages came to.
#[derive(Default)]
struct Batch {
    calls: Vec<(CallId, HostName, NodeCommand, Generation, Span)>,
    operations: Vec<Operation>,
    notes: Vec<TimelineEvent>,
    answers: Vec<(oneshot::Sender<Asked>, Asked)>,
}

impl Batch {
    fn add(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Perform { call, host, command, generation, within } => {
                    self.calls.push((call, host, command, generation, within));
                }
                Action::Operation(operation) => {
                    // Each is whole: the newest replaces what came before it in the batch.
                    self.operations.retain(|earlier| earlier.id != operation.id);
                    self.operations.push(operation);
                }
                Action::Note(note) => self.notes.push(note),
            }
        }
    }
}

impl Runner {
    pub(super) fn new(
        cluster: ClusterName,
        keeper: Keeper,
        around: Surroundings,
        view: watch::Sender<ClusterView>,
        inbox: mpsc::WeakSender<Message>,
    ) -> Self {
        Self { cluster, keeper, around, view, inbox, stored_revision: None, shown_at: None, unshown: true }
    }

    /// Runs until the shutdown.
    pub(super) async fn run(mut self, first: Vec<Action>, mut inbox: mpsc::Receiver<Message>) {
        let shutdown = self.around.shutdown.clone();
        let mut ticks = interval(TICK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Batch::default();
        batch.add(first);
        loop {
            if !self.carry_out(std::mem::take(&mut batch)).await {
                return;
            }
            tokio::select! {
                // First: links that close because the server stops are no failures to react to.
                biased;
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => batch.add(self.keeper.on(now(), Event::Tick)),
                message = inbox.recv() => {
                    let Some(message) = message else { return };
                    self.take(message, &mut batch);
                    for _ in 1..BATCH_MAX {
                        let Ok(message) = inbox.try_recv() else { break };
                        self.take(message, &mut batch);
                    }
                    self.unshown = true;
                }
            }
        }
    }

    fn take(&mut self, message: Message, batch: &mut Batch) {
        match message {
            Message::Event(event) => batch.add(self.keeper.on(now(), *event)),
            Message::Ask(request, answer) => match self.keeper.ask(now(), request) {
                Ok((operation, actions)) => {
                    batch.add(actions);
                    batch.answers.push((answer, Ok(operation)));
                }
                Err(refusal) => batch.answers.push((answer, Err(refusal))),
            },
            Message::Foresee(request, answer) => {
                // An error says that the asker has gone.
                let _ = answer.send(self.keeper.foresee(now(), &request));
            }
        }
    }

    /// Stores what was decided, then does it. False when the server stops or must not act any more.
    async fn carry_out(&mut self, batch: Batch) -> bool {
        let Some(notes) = self.commit(&batch).await else { return false };
        for (call, host, command, generation, within) in batch.calls {
            self.perform(call, host, command, generation, within);
        }
        for (asker, answer) in batch.answers {
            // An error says that the asker has gone; the request stands.
            let _ = asker.send(answer);
        }
        self.unshown |= !batch.operations.is_empty() || !notes.is_empty();
        // The view first: who hears that a promotion has finished and then asks, must hear of the new primary.
        self.show();
        for operation in batch.operations {
            self.around.live.send(Live::Operation { operation: Box::new(operation) });
        }
        for note in notes {
            self.around.timeline.stored(note);
        }
        true
    }

    /// Stores until it is stored. `None`: the server stops, or another one has taken over.
    async fn commit(&mut self, batch: &Batch) -> Option<Vec<TimelineEvent>> {
        let revision = self.keeper.state().revision;
        let changed = self.stored_revision != Some(revision);
        if !changed && batch.operations.is_empty() && batch.notes.is_empty() {
            return Some(Vec::new());
        }
        let state = if changed { Some(self.state_text()?) } else { None };
        let commit = KeeperCommit {
            cluster: &self.cluster,
            state: state.as_deref().map(|state| (revision, state)),
            operations: &batch.operations,
            notes: &batch.notes,
        };
        let mut said = false;
        loop {
            match self.around.store.commit_keeper(commit).await {
                Ok(notes) => {
                    self.stored_revision = Some(revision);
                    return Some(notes);
                }
                Err(error @ StoreError::Superseded { .. }) => {
                    tracing::error!(cluster = %self.cluster, error = %chain(&error), "this keeper stops");
                    self.show_problem(&error);
                    return None;
                }
                Err(error) => {
                    if !said {
                        tracing::error!(
                            cluster = %self.cluster, error = %chain(&error),
                            "a decision cannot be stored, so nothing is done; trying again"
                        );
                        said = true;
                        self.show_problem(&error);
                    }
                }
            }
            tokio::select! {
                () = self.around.shutdown.cancelled() => return None,
                () = tokio::time::sleep(STORE_AGAIN_AFTER) => {}
            }
        }
    }

    /// `None` cannot happen with the keeper's own types; if it does, acting unstored would be worse than not acting.
    fn state_text(&self) -> Option<String> {
        serde_json::to_string(self.keeper.state())
            .inspect_err(|error| {
                tracing::error!(cluster = %self.cluster, %error, "the keeper's state cannot be written as JSON; it stops");
            })
            .ok()
    }

    /// Asks an agent; the answer comes back as an event, always. What is sent to one agent arrives in this order.
    fn perform(&self, call: CallId, host: HostName, command: NodeCommand, generation: Generation, within: Span) {
        let order = Order::Node { command };
        let request = Call { cluster: Some(self.cluster.clone()), generation, within, order };
        let sent = self.around.fleet.send(&host, request);
        let inbox = self.inbox.clone();
        self.around.tasks.spawn(async move {
            let answered = match sent {
                Ok(pending) => pending.answer().await,
                Err(failure) => Err(failure),
            };
            let result = answered.and_then(|answer| match answer {
                Answer::Node { result } => Ok(result),
                other => Err(CommandFailure {
                    kind: FailureKind::Invalid,
                    message: format!("the agent of host {host} gave an answer of another kind: {other:?}"),
                }),
            });
            if let Some(inbox) = inbox.upgrade() {
                super::deliver(&inbox, Event::Answered { call, result }).await;
            }
        });
    }

    /// Publishes the view, and tells watchers now and then.
    fn show(&mut self) {
        let due = self.shown_at.is_none_or(|at| at.elapsed() >= VIEW_EVERY);
        if !self.unshown && !due {
            return;
        }
        let view = self.keeper.view(now());
        self.view.send_replace(view.clone());
        if due {
            self.around.live.send(Live::Cluster { view: Box::new(view) });
            self.shown_at = Some(Instant::now());
            self.unshown = false;
        }
    }

    /// What is wrong with the store is also wrong with the cluster: nothing would be done for it now.
    fn show_problem(&self, error: &StoreError) {
        let mut view = self.keeper.view(now());
        view.problems.insert(0, format!("no decision can be carried out: {error}"));
        self.view.send_replace(view.clone());
        self.around.live.send(Live::Cluster { view: Box::new(view) });
    }
}
