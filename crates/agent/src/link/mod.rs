//! The agent's end of the link to the server (`firedrill_api::link`): it dials out, opens a session, listens to the
//! stream of instructions and reports.

mod connection;
mod history;
mod lines;
mod renewal;
mod session;
mod uplink;

pub(crate) use connection::{Connection, LinkError, Server, post};
pub(crate) use history::upload;
pub(crate) use session::{Link, Session, run};
