//! Acknowledged and absent from the primary in the end.

use super::finals::Finals;
use super::findings;
use super::writes::{Ack, Writes};
use crate::history::NodeState;
use crate::token::Token;
use firedrill_model::report::LossClass;
use firedrill_model::{Gtid, GtidState};

/// Why an acknowledged write is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// The present primary was promoted without it.
    Failover,
    /// The server that acknowledged it lost it itself.
    Crash,
}

impl Class {
    const ALL: [Self; 2] = [Self::Failover, Self::Crash];

    const fn name(self) -> &'static str {
        match self {
            Self::Failover => "failover loss",
            Self::Crash => "crash loss",
        }
    }
}

/// The lost writes by class; classes without one are left out. Nothing can be said without the primary's final read.
pub(super) fn lost(writes: &Writes, finals: &Finals) -> Vec<LossClass> {
    let Some((_, primary)) = finals.primary_read() else { return Vec::new() };
    let lost = writes.acked().minus(&primary.present);
    let of = |class| {
        let members = lost.iter().filter(move |&token| classify(token, writes, primary, finals) == class);
        let found = findings(members.map(|token| describe(token, writes, finals)));
        (found.count > 0).then(|| LossClass { class: class.name().to_owned(), findings: found })
    };
    Class::ALL.into_iter().filter_map(of).collect()
}

fn classify(token: Token, writes: &Writes, primary: &NodeState, finals: &Finals) -> Class {
    if finals.others().any(|(_, state)| state.present.contains(token)) {
        return Class::Failover;
    }
    // Nobody that was read holds it. When another server acknowledged it and the present primary never got the
    // transaction, the promotion lost it, even if the old primary was rebuilt since.
    let other = writes.ack_of(token).is_some_and(|ack| {
        let source = writes.source_of(ack);
        let from_another = source.server.is_some_and(|server| server != primary.server);
        from_another && !gtid_of(ack, writes).is_some_and(|gtid| has(&primary.binlog_state, gtid))
    });
    if other { Class::Failover } else { Class::Crash }
}

fn has(state: &GtidState, gtid: Gtid) -> bool {
    state.iter().any(|last| (last.domain, last.server) == (gtid.domain, gtid.server) && last.sequence >= gtid.sequence)
}

pub(super) fn gtid_of(ack: &Ack, writes: &Writes) -> Option<Gtid> {
    let (domain, server) = writes.source_of(ack).origin?;
    Some(Gtid { domain, server, sequence: ack.gtid })
}

/// One acknowledged write in a sentence.
fn describe(token: Token, writes: &Writes, finals: &Finals) -> String {
    let holders: Vec<&str> =
        finals.others().filter(|(_, state)| state.present.contains(token)).map(|(name, _)| name).collect();
    let held = match holders.as_slice() {
        [] => "held by no node that was read".to_owned(),
        names => format!("held by {}", names.join(", ")),
    };
    let Some(ack) = writes.ack_of(token) else { return format!("{token}, {held}") };
    let by = writes.source_of(ack).server.map_or_else(|| "an unknown server".to_owned(), |server| finals.name(server));
    let gtid = gtid_of(ack, writes).map_or_else(String::new, |gtid| format!(" as {gtid}"));
    format!("{token} acknowledged by {by}{gtid} at {}, {held}", ack.at)
}
