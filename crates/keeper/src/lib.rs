//! The decision core of one cluster: observations in, actions out.
//!
//! **What it never does**: I/O, clocks, randomness, threads, waiting. Time comes in with each event; what is to be
//! done comes out as [`Action`]s; what must survive a crash is in [`KeeperState`].
//!
//! **Where to begin**: [`Keeper::on`], then the module `turn` (what is looked at in which order), `ackers` (why a
//! promotion loses nothing) and `promotion` (how it is done).
//!
//! **How it is run.** Whenever [`KeeperState::revision`] has changed, the caller stores [`Keeper::state`] before it
//! carries out the actions of that turn; it answers every [`Action::Perform`]; it sends [`Event::Tick`] at least
//! every 50 ms. The commands to one node are carried out one after the other in the order in which they were sent
//! (`Fence` overtakes); a command whose bound has passed is over before the next one begins.

mod ackers;
mod candidate;
mod clone;
mod core;
mod event;
mod evidence;
mod foresee;
mod health;
mod promotion;
mod pseudo;
mod recovery;
mod rejoin;
mod requests;
mod saga;
mod state;
mod switchover;
mod text;
mod turn;
mod upkeep;
mod view;

pub use event::{Action, CallId, Event, Refusal, Request};
pub use state::KeeperState;

use crate::core::Core;
use crate::state::Journal;
use firedrill_model::cluster::ClusterError;
use firedrill_model::{ClusterSpec, ClusterView, Foreseen, OperationId, Timestamp};

/// The keeper of one cluster.
#[derive(Debug)]
pub struct Keeper {
    core: Core,
}

impl Keeper {
    /// The keeper of a newly registered cluster. It brings the cluster to the registered roles, whether or not
    /// replication is set up already: the primary open, the replicas following, the ackers journalled and armed.
    ///
    /// # Errors
    /// The first rule of [`ClusterSpec::validate`] that the registration breaks.
    pub fn new(spec: ClusterSpec, now: Timestamp) -> Result<Self, ClusterError> {
        spec.validate()?;
        let cluster = spec.name.clone();
        let Some(state) = KeeperState::new(spec) else {
            return Err(ClusterError::Primaries { cluster, count: 0 });
        };
        let mut core = Core::new(Journal::new(state), now);
        ackers::distrust_all(&mut core);
        core.journal.edit();
        core.journal.seal();
        Ok(Self { core })
    }

    /// Goes on from a stored state. The actions ask again for everything that was not answered, under new call
    /// numbers, and hand out every running and recently ended operation once more.
    #[must_use]
    pub fn restore(state: KeeperState, now: Timestamp) -> (Self, Vec<Action>) {
        let mut keeper = Self { core: Core::resumed(Journal::new(state), now) };
        let actions = turn::resume(&mut keeper.core);
        (keeper, actions)
    }

    /// Takes an event in and says what is to be done, in order.
    pub fn on(&mut self, now: Timestamp, event: Event) -> Vec<Action> {
        turn::take(&mut self.core, now, event)
    }

    /// Takes a person's request in; gives the operation that it began or joined, when it is one.
    ///
    /// # Errors
    /// Why it is refused; nothing has changed then.
    pub fn ask(&mut self, now: Timestamp, request: Request) -> Result<(Option<OperationId>, Vec<Action>), Refusal> {
        requests::ask(&mut self.core, now, request)
    }

    /// What a request would come to if it were made now; nothing is begun. `None`: it begins no operation.
    #[must_use]
    pub fn foresee(&self, now: Timestamp, request: &Request) -> Option<Foreseen> {
        foresee::foresee(&self.core, now, request)
    }

    /// What must be stored.
    #[must_use]
    pub fn state(&self) -> &KeeperState {
        &self.core.journal
    }

    /// The cluster as the keeper sees it.
    #[must_use]
    pub fn view(&self, now: Timestamp) -> ClusterView {
        view::view(&self.core, now)
    }
}
