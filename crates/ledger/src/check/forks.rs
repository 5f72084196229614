//! Two servers that acknowledge writes in overlapping time.
//!
//! Time alone does not tell a fork from a failover: after a clean promotion the old server's acknowledgements lie
//! before the new one's, and after a switch back they alternate again. GTIDs do: in one line of history a domain's
//! sequence grows by one with each transaction, so a write that descends from another has a greater sequence. With
//! `y` acknowledged by server Q strictly before `x` was begun on server P, there was a fork when
//!
//! 1. `y` survives on the final primary and `x` has no greater sequence: P took a write while the line that survived
//!    was already ahead elsewhere; or
//! 2. `y` survives, `x` was lost, and P's lost line was ahead of `y` before `y` was begun: P went on with a line that
//!    `y` does not descend from and that does not descend from `y`.
//!
//! A failover that lost writes shows neither: what it lost was acknowledged before the new primary's first write.

use super::finals::Finals;
use super::findings;
use super::loss::gtid_of;
use super::writes::{Ack, Writes};
use crate::interval::TokenSet;
use crate::token::Nanos;
use firedrill_model::report::Findings;
use std::collections::BTreeMap;

/// What one server acknowledged in one domain, in the order of completion, with running maxima.
#[derive(Debug, Default)]
struct Line<'a> {
    acks: Vec<(&'a Ack, bool)>,
    /// For each prefix of `acks`: index of the surviving one with the greatest sequence.
    survivor: Vec<Option<usize>>,
    /// For each prefix of `acks`: the greatest sequence that was lost.
    lost: Vec<u64>,
}

impl<'a> Line<'a> {
    fn push(&mut self, ack: &'a Ack, survives: bool) {
        let best = self.survivor.last().copied().flatten();
        let better = survives && best.is_none_or(|best| self.acks[best].0.gtid <= ack.gtid);
        self.survivor.push(if better { Some(self.acks.len()) } else { best });
        let most = self.lost.last().copied().unwrap_or(0);
        self.lost.push(if survives { most } else { most.max(ack.gtid) });
        self.acks.push((ack, survives));
    }

    /// How many were answered before `moment`.
    fn before(&self, moment: Nanos) -> usize {
        self.acks.partition_point(|(ack, _)| ack.at < moment)
    }

    /// The greatest surviving one that was answered before `moment`.
    fn survivor_before(&self, moment: Nanos) -> Option<&'a Ack> {
        let last = self.before(moment).checked_sub(1)?;
        self.survivor[last].map(|index| self.acks[index].0)
    }

    /// The greatest lost sequence that was answered before `moment`.
    fn lost_before(&self, moment: Nanos) -> u64 {
        self.before(moment).checked_sub(1).map_or(0, |last| self.lost[last])
    }
}

/// The writes that prove a fork. Without the primary's final read, or without GTIDs, nothing is claimed.
pub(super) fn forks(writes: &Writes, finals: &Finals) -> Findings {
    let several = writes.sources.iter().filter_map(|source| source.origin).collect::<std::collections::BTreeSet<_>>();
    let (Some(primary), true) = (finals.primary_state(), several.len() > 1) else { return Findings::default() };
    let lines = lines(writes, &primary.present);
    let proofs = lines.iter().flat_map(|(&(domain, server), line)| {
        let others: Vec<&Line<'_>> = lines
            .iter()
            .filter(|&(&(other_domain, other), _)| other_domain == domain && other != server)
            .map(|(_, line)| line)
            .collect();
        line.acks.iter().filter_map(move |&(ack, survives)| {
            let began = ack.began();
            let proof = others
                .iter()
                .filter_map(|other| other.survivor_before(began))
                .find(|ahead| ack.gtid <= ahead.gtid || (!survives && line.lost_before(ahead.began()) >= ahead.gtid))?;
            Some((ack, proof))
        })
    });
    findings(proofs.map(|(ack, ahead)| describe(ack, ahead, writes, finals)))
}

fn lines<'a>(writes: &'a Writes, present: &TokenSet) -> BTreeMap<(u32, u32), Line<'a>> {
    let mut lines: BTreeMap<(u32, u32), Line<'_>> = BTreeMap::new();
    for ack in &writes.acks {
        if let Some(origin) = writes.source_of(ack).origin {
            lines.entry(origin).or_default().push(ack, present.contains(ack.token));
        }
    }
    lines
}

fn describe(ack: &Ack, ahead: &Ack, writes: &Writes, finals: &Finals) -> String {
    let name = |ack: &Ack| {
        let source = writes.source_of(ack);
        let server = source.server.or(source.origin.map(|(_, server)| server));
        let gtid = gtid_of(ack, writes).map_or_else(String::new, |gtid| format!(" ({gtid})"));
        format!("{}{gtid}", server.map_or_else(|| "an unknown server".to_owned(), |server| finals.name(server)))
    };
    format!(
        "{} was acknowledged by {} and begun {} after {} had acknowledged {}, from which it does not descend",
        ack.token,
        name(ack),
        ack.began().since(ahead.at),
        name(ahead),
        ahead.token
    )
}
