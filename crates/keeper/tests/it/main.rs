//! The keeper from outside: events in, actions out. What happens over time is the simulation's subject.

mod fleet;
mod foresee;
mod promotion;
mod recovery;
mod requests;
mod restart;
