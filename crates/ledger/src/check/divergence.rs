//! Nodes that differ from the primary at one position.

use super::finals::Finals;
use super::findings;
use super::writes::Writes;
use crate::history::{NodeState, TableFingerprint};
use crate::interval::TokenSet;
use firedrill_model::Gtid;
use firedrill_model::report::Findings;
use std::collections::BTreeMap;

/// What comparing the nodes came to.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub(super) findings: Findings,
    /// What could not be told, one sentence each.
    pub(super) not_known: Vec<String>,
    /// Transactions of a former primary that never came to the present one, on nodes that have not rejoined: what a
    /// failover leaves behind. Those that were acknowledged are counted as lost; the others had no answer.
    pub(super) left_behind: Vec<String>,
    /// Nodes beside the primary whose contents were compared as a whole.
    pub(super) compared: usize,
}

/// Compares every node that was read with the primary.
pub(super) fn compare(writes: &Writes, finals: &Finals) -> Comparison {
    let Some((primary_name, primary)) = finals.primary_read() else { return Comparison::default() };
    let mut comparison = Comparison::default();
    let unread = finals.unread().map(|(node, why)| format!("whether {node} differs: it could not be read ({why})"));
    comparison.not_known.extend(unread);
    // What a primary could not hand on before it lost its role is no more than what is lost or had no answer.
    let unresolved = writes.unknown().count() + writes.acked().minus(&primary.present).count();
    let mut differences = Vec::new();
    for (node, state) in finals.others() {
        let mut of_content = Vec::new();
        if !primary.converged {
            let why = format!("whether {node} differs: {primary_name} was written to during the final reads");
            comparison.not_known.push(why);
        } else if state.converged {
            let mut unsure = Vec::new();
            of_content = content((primary_name, primary), (node, state), &mut unsure);
            comparison.compared += usize::from(unsure.is_empty());
            comparison.not_known.append(&mut unsure);
        } else {
            let (theirs, ours) = (&state.position, &primary.position);
            let why = format!("whether {node} differs: it is at {theirs} and did not reach {ours} in time");
            comparison.not_known.push(why);
        }
        let same = state.converged && primary.converged && of_content.is_empty();
        for (first, last) in errant(state, primary, finals, same) {
            // Sequences are shared by all servers of a domain, so only after a known one do they say where it begins.
            let which = if first.sequence == 1 { format!("up to {last}") } else { format!("{first} to {last}") };
            let sentence = format!("{node} has transactions {which} that {primary_name} never had");
            if !state.converged && last.sequence - first.sequence < unresolved && writes.was_primary(last.server) {
                comparison.left_behind.push(format!("{sentence}: what a failover left behind, not rejoined yet"));
            } else {
                differences.push(sentence);
            }
        }
        differences.append(&mut of_content);
    }
    comparison.findings = findings(differences.into_iter());
    comparison
}

/// Transactions of this run in a node's binary log that the primary never had.
///
/// A binary log's state says the last sequence of each server. Where the primary's state does not name a server at all
/// it may just have been cloned after that server's time, so equal contents speak for the node then.
fn errant(state: &NodeState, primary: &NodeState, finals: &Finals, same_content: bool) -> Vec<(Gtid, Gtid)> {
    let last_of = |gtids: &mut dyn Iterator<Item = Gtid>, of: Gtid| {
        gtids.filter(|gtid| (gtid.domain, gtid.server) == (of.domain, of.server)).map(|gtid| gtid.sequence).max()
    };
    let beyond = |last: Gtid| {
        let theirs = last_of(&mut primary.binlog_state.iter().chain(primary.position.iter()), last);
        let before = last_of(&mut finals.known.iter().flat_map(|known| known.binlog_state.iter()), last).unwrap_or(0);
        let first = theirs.unwrap_or(0).max(before) + 1;
        let claimed = last.sequence >= first && (theirs.is_some() || !same_content);
        claimed.then_some((Gtid { sequence: first, ..last }, last))
    };
    state.binlog_state.iter().filter_map(beyond).collect()
}

fn content(primary: (&str, &NodeState), node: (&str, &NodeState), not_known: &mut Vec<String>) -> Vec<String> {
    let mut differences = Vec::new();
    differences.extend(tokens(primary.0, node.0, &node.1.present.minus(&primary.1.present), "holds"));
    differences.extend(tokens(primary.0, node.0, &primary.1.present.minus(&node.1.present), "misses"));
    let by_name = |state: &'_ NodeState| -> BTreeMap<String, TableFingerprint> {
        state.tables.iter().map(|table| (table.table.clone(), table.clone())).collect()
    };
    let (ours, theirs) = (by_name(primary.1), by_name(node.1));
    let at = &node.1.position;
    for (table, theirs) in &theirs {
        match (ours.get(table).map(|table| &table.content), &theirs.content) {
            (None, _) => {
                differences.push(format!("{} has a table {table} that {} has not, at {at}", node.0, primary.0))
            }
            (Some(Ok((rows, hash))), Ok((their_rows, their_hash))) if (rows, hash) != (their_rows, their_hash) => {
                differences.push(format!(
                    "{} differs from {} in table {table} at {at}: {their_rows} rows against {rows}",
                    node.0, primary.0
                ));
            }
            (Some(Ok(_)), Ok(_)) => {}
            (Some(Err(why)), _) | (_, Err(why)) => {
                not_known.push(format!("whether {} differs in table {table}: no fingerprint ({why})", node.0));
            }
        }
    }
    let missing = ours.keys().filter(|table| !theirs.contains_key(*table));
    differences.extend(missing.map(|table| format!("{} misses the table {table} of {}, at {at}", node.0, primary.0)));
    differences
}

/// A sentence about tokens that only one of two nodes has.
fn tokens(primary: &str, node: &str, only: &TokenSet, verb: &str) -> Option<String> {
    let first = only.iter().next()?;
    let rest = only.count() - 1;
    let more = if rest == 0 { String::new() } else { format!(" and {rest} more") };
    let tail = if verb == "holds" { "has not" } else { "has" };
    Some(format!("{node} {verb} {first}{more} that {primary} {tail}"))
}
