//! Faults on one host: put in place, measured, held, and always taken out again.
//!
//! One module per fault, each with the same five steps: *preflight* (why not), *inject*, *verify* (what was measured),
//! *undo*, *verify undone*. Around them stand the [`journal`] (a record on disk, synced before a fault goes in), a
//! task per attack that holds it until its deadline, and the [`rescue`] process, which undoes what a dead agent left.
//! Network faults are kernel objects that die with the process that holds them and whose rules stop matching when a
//! hung holder does not renew them. Faults inside a database server are held by its sessions, which end in the same two
//! ways, or are settings that are put back unless the keeper has commanded the server since.
//!
//! **What it never does**: speak to a server, choose targets, decide whether an attack is wise. It does not report an
//! effect that it has not measured, and it never forgets an attack before it was seen to be out.
//!
//! **Where to begin**: [`Faults`] is what an agent holds; [`kinds`] is the table of faults; `kill.rs` is the shortest
//! fault and `network/partition.rs` the typical one.

mod attack;
mod availability;
mod claim;
mod container;
mod engine;
mod error;
mod faults;
mod inside;
pub mod journal;
mod kill;
pub mod kinds;
mod last_resort;
mod network;
mod pause;
mod probe;
mod pulse;
pub mod rescue;
mod resource;
mod shape;
mod state;
pub mod storage;
mod target;
mod text;
pub mod worker;

pub use attack::Step;
pub use availability::{AT_CGROUPS, AT_CONTAINERS, Availability, check_host, check_scopes};
pub use error::FaultError;
pub use faults::{ATTACKS_MAX, Context, Faults, FindAdmin, FindDatabase, OnStep, TakeDown};
pub use inside::Inside;
pub use last_resort::{Undone, undo_everything};
pub use rescue::rescue;
pub use shape::{Input, Parameter, Shape, check_fault as check};
pub use state::host_down::Down;

/// Whether a fault cuts what it matches off so surely that leases of that length run out. False for one that is not
/// well-formed.
#[must_use]
pub fn cuts_off(fault: &firedrill_model::Fault, lease: firedrill_model::Span) -> bool {
    kinds::find(&fault.kind).is_some_and(|kind| kind.shape.cuts_off(&fault.parameters, lease))
}
