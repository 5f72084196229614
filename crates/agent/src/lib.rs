//! The agent of one host: dials out to the server, says what it sees, does what it is told, and takes every fault out
//! again.
//!
//! It looks at the host and its database servers several times a second and reports the end of a server process the
//! moment it happens; it carries instructions out once each and answers them; it keeps the gateway and live loads of
//! its host running as processes of their own, which outlive it; and when the server is not heard for the length of a
//! lease it takes the faults out by itself.
//!
//! **What it never does**: decide anything about a cluster. It starts no database that died, promotes nobody, routes
//! nothing by itself; it refuses what an outdated server asks ([`firedrill_model::Generation`]) and repeats what the
//! newest one said. It listens on no port.
//!
//! **Where to begin**: [`run`] puts the parts together; `link` holds the session with the server; `dispatch` is the
//! way of one instruction; `outbox` is what waits to be reported.
//!
//! It runs on one thread ([`runtime`]) and must never block it: whatever touches a disk that may hang is done on a
//! short-lived second one.

mod answers;
mod attacks;
mod backoff;
mod clock;
mod config;
mod dispatch;
mod enrol;
mod epoch;
mod error;
mod gateway;
mod generations;
mod identity;
mod link;
mod nodes;
mod observe;
mod outbox;
mod presence;
mod probes;
mod run;
mod storage;
mod tls;
mod watchdog;
mod workload;

pub use config::{AgentConfig, AllowedCommand, Enrolment};
pub use error::AgentError;
pub use run::{run, runtime};
