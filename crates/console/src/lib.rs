//! Everything that people look at: the live pages, the self-contained report, the summary in the terminal.
//!
//! **What it never does**: fetch, store or decide. Values of `model` and `api` come in, text goes out.
//!
//! **Where to begin**: [`report::html`] for what is sent to colleagues, [`pages`] for the live console.

pub mod act;
pub mod approvals;
pub mod assets;
pub mod attacks;
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
pub mod hosts;
pub mod pages;
mod phases;
mod plan;
pub mod register;
pub mod report;
pub mod run;
pub mod schedule;
pub mod schedule_fields;
pub mod schedules;
pub mod start;
pub mod summary;
pub mod templates;
mod topology;
mod typed;

pub(crate) use firedrill_model::access::Action;
pub use frame::{Frame, Place};
pub use typed::Typed;
