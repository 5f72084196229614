//! What travels between server, agents, command line and pages, and the typed client.
//!
//! **What it never does**: decide anything, or touch a host. It knows HTTP only as a client.
//!
//! **Where to begin**: [`link`] for the agent's side, [`http`] for what people and scripts use, [`client`] to call it.

pub mod access;
pub mod chaos_toolkit;
pub mod client;
pub mod cluster_file;
pub mod experiment_file;
pub mod guards;
pub mod http;
pub mod link;
pub mod messages;
pub mod schedules;
mod sse;
pub mod template_file;

/// The version of the agent link; an agent of another version is refused with a clear message.
pub const LINK_VERSION: u32 = 2;
