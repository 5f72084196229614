//! Continuous chaos: when experiments start without anybody pushing a button. A schedule says what, where and when;
//! here it becomes the plan of a week, a decision at each due time, a calendar and the message of the day.
//!
//! **What it never does**: read a clock, start anything, store anything, ask for randomness. Moments, seeds and facts
//! are handed in; the database of time zones is built in, so that a plan is the same on every machine.
//!
//! **Where to begin**: [`Schedule`] (what a person writes), then [`plan()`] (the due times of a week), [`obstacle`]
//! (whether a due time counts), [`programme`] (which rung of the ladder) and [`Today`] (the message of the day).
//!
//! # Days on which the clock is changed
//!
//! Everything is written in wall-clock time of the schedule's zone. A time that does not exist (the clock jumps over
//! it) means the moment of the jump; several that are jumped over are one. A time that comes twice means its first
//! coming; a window that ends at such a time ends at its second. So a cron line comes at most once for each time on
//! the wall, in order, and never in an hour that its windows do not show.

mod cron;
mod decide;
mod draw;
mod message;
mod occurrence;
mod plan;
mod problem;
pub mod programme;
mod spec;
mod week;
mod zone;

pub use decide::{Circumstances, Closure, PRESENT_FOR, Presence, START_WITHIN, Scope, obstacle};
pub use message::{Paused, PlannedStart, Recap, Today};
pub use occurrence::{Obstacle, Occurrence, Outcome, pause_reason};
pub use plan::{PLANNED_MAX, Planned, WeekPlan, plan};
pub use problem::{Code, Problem, check};
pub use spec::{Blackout, DayName, Group, PROGRAMME, Random, Schedule, TemplateUse, TimeOfDay, Timing, Window};
pub use week::{Opening, Week, openings};
pub use zone::{Day, UnknownZone, Zone};
