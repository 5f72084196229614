//! The data layer between applications and a cluster's database servers. Today: the **gateway**, one address per
//! cluster behind which the current primary may change without an application noticing more than a short pause.
//!
//! **What it never does**: decide who the primary is (it is told, and refuses to be told by an older authority),
//! speak SQL, read passwords or look into a session's bytes (the one thing it knows of MySQL is how to word an error
//! before the handshake), spawn processes, or keep a session to a primary that it has been told to leave.
//!
//! **Where to begin**: [`gateway::GatewayConfig`] and [`gateway::run`] are the process; [`control::Client`] is how an
//! agent tells it where to go. Inside, `gateway::switch` holds the rule that matters (cut everywhere, only then
//! connect anywhere) and `gateway::worker` the event loop that carries it out.

pub mod control;
pub mod gateway;
