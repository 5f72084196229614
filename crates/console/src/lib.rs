//! Everything that people look at: the live pages, the self-contained report, the summary in the terminal.
//!
//! **What it never does**: fetch, store or decide. Values of `model` and `api` come in, text goes out.
//!
//! **Where to begin**: [`report::html`] for what is sent to colleagues, [`pages`] for the live console.

pub mod account;
pub mod act;
pub mod approvals;
pub mod assets;
pub mod attacks;
pub mod audit;
pub mod calendar;
mod chart;
pub mod cluster;
mod course;
pub mod durations;
pub mod editor;
pub mod evidence;
pub mod evidence_page;
pub mod experiments;
mod fleet;
mod format;
mod frame;
pub mod grants;
pub mod guard_limits;
pub mod hosts;
pub mod messages;
pub mod pages;
pub mod people;
mod phases;
mod plan;
pub mod register;
pub mod report;
pub mod run;
pub mod schedule;
pub mod schedule_fields;
pub mod schedules;
pub mod settings;
pub mod start;
pub mod summary;
pub mod templates;
mod topology;
mod typed;

pub(crate) use firedrill_model::access::Action;
pub use frame::{Frame, Place};
pub use typed::Typed;
