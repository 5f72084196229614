//! Packets that are held in user space: a rule sends them to a queue, and a thread decides on each and lets it go when
//! its time has come. It works without `sch_netem`, and ends with the process that holds it; a queue that nobody serves
//! lets packets pass.
//!
//! What arrives waits in the kernel. What leaves may not: it would count against the sockets that sent it and throttle
//! them to a few megabits; it is taken off the kernel and sent again ([`firedrill_host::resend`]).

mod schedule;
mod server;

pub(super) use server::{Counts, Decide, Fate};

use super::{fnv1a, holds};
use crate::kinds::{Failure, Refusal};
use firedrill_host::nft::{self, Definition, Filter, Hook, OwnerTable, QueueExpression, Verdict};
use firedrill_host::queue::{Announce, Queue};
use firedrill_host::resend::{Place, Resender};
use server::Server;
use std::time::Duration;

/// Which packets are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Those that arrive, before programs of this host get them.
    Arriving,
    /// Those that leave, before anything else looks at them.
    Leaving,
}

/// Packets that are held, planned or in force. Fields are dropped in this order: first no packet comes any more, then
/// those that wait are let go.
#[derive(Debug)]
pub(super) struct Holding {
    way: Way,
    name: String,
    filter: Filter,
    announce: Announce,
    through: QueueExpression,
    table: Option<OwnerTable>,
    server: Option<Server>,
}

impl Holding {
    /// Checks that it can be done here. What leaves is always announced with its contents.
    pub(super) fn prepare(way: Way, name: String, filter: Filter, announce: Announce) -> Result<Self, Refusal> {
        holds().map_err(Refusal)?;
        let through = nft::queue_expression()?;
        let announce = match way {
            Way::Arriving => announce,
            Way::Leaving => {
                Resender::open(place(&name))?;
                Announce::Contents
            }
        };
        Ok(Self { way, name, filter, announce, through, table: None, server: None })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Where and by what, for reports.
    pub(super) fn describe(&self) -> String {
        let rule = match self.through {
            QueueExpression::Native => "nftables' queue",
            QueueExpression::Xtables => "the NFQUEUE target",
        };
        match self.way {
            Way::Arriving => format!("at the input through {rule}"),
            Way::Leaving => format!("at the output through {rule}, and sent again"),
        }
    }

    /// From now on packets come to `decide`.
    pub(super) fn inject(&mut self, lease: Duration, decide: Decide) -> Result<(), Failure> {
        // Any number will do; different attacks begin to look at different ones.
        let [high, low, ..] = fnv1a(self.name.as_bytes()).to_be_bytes();
        let queue = Queue::bind_free(u16::from_be_bytes([high, low]), self.announce)?;
        let number = queue.number();
        let (hook, resender) = match self.way {
            Way::Arriving => (Hook::Input, None),
            Way::Leaving => {
                let place = place(&self.name);
                (Hook::Departure(place), Some(Resender::open(place)?))
            }
        };
        self.server = Some(Server::start(queue, resender, decide)?);
        let definition = Definition {
            name: self.name.clone(),
            hooks: vec![hook],
            filter: self.filter.clone(),
            verdict: Verdict::Queue { number, through: self.through },
        };
        self.table = Some(OwnerTable::create(definition, lease)?);
        Ok(())
    }

    /// What was seen; `None` before it is in place.
    pub(super) fn counts(&self) -> Option<Counts> {
        self.server.as_ref().map(Server::counts)
    }

    pub(super) fn renew(&mut self, lease: Duration) -> Result<(), String> {
        if let Some(problem) = self.server.as_ref().and_then(Server::failure) {
            return Err(format!("packets are not held any more: {problem}"));
        }
        self.table.as_mut().map_or(Ok(()), |table| table.renew(lease).map_err(|problem| problem.to_string()))
    }
}

/// Of several attacks on what leaves, each stands somewhere else in the row. Two of the same place would not add up; of
/// ten attacks that are two in a thousand.
fn place(name: &str) -> Place {
    let [.., high, low] = fnv1a(name.as_bytes()).to_be_bytes();
    Place(u16::from_be_bytes([high, low]))
}
