//! The simulation's own promises: it repeats, it holds, and it can fail.

mod harmless;
mod ladder;
mod repeats;
mod sabotage;
