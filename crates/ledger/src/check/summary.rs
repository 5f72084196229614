//! From what was found to the verdict and its reasons.

use super::{ACKNOWLEDGED_MIN, Replay, divergence, findings, forks, loss, skipped};
use crate::history::Trailer;
use crate::interval::TokenSet;
use firedrill_model::Verdict;
use firedrill_model::report::{Findings, LedgerSummary};

/// What the final content of the primary says of writes that are not lost.
struct Oddities {
    unknown_present: u64,
    failed_but_present: Findings,
    duplicates: Findings,
    vanished: Findings,
    /// Unknown writes that were seen on nodes only and are gone.
    retracted: u64,
}

pub(super) fn summarise(
    replay: &Replay,
    operations: u64,
    trailer: Trailer,
    cut_short: Option<String>,
) -> LedgerSummary {
    let (writes, finals) = (&replay.writes, &replay.finals);
    let oddities = oddities(replay);
    let comparison = divergence::compare(writes, finals);
    let retracted = oddities.retracted;
    let (reads_ok, reads_failed) = replay.reads.totals();
    let mut summary = LedgerSummary {
        verdict: Verdict::Passed,
        reasons: Vec::new(),
        operations,
        writes_acknowledged: writes.acks.len() as u64,
        writes_failed: writes.failed_tokens().count(),
        writes_unknown: writes.unknown().count(),
        unknown_present: oddities.unknown_present,
        lost: loss::lost(writes, finals),
        failed_but_present: oddities.failed_but_present,
        duplicates: oddities.duplicates,
        vanished: oddities.vanished,
        reads_ok,
        reads_failed,
        stale: replay.reads.stale(&replay.header, writes, finals),
        forks: forks::forks(writes, finals),
        divergence: comparison.findings.clone(),
        write_outages: replay.write_gaps.outages(replay.header.origin),
        read_outages: replay.read_gaps.outages(replay.header.origin),
        resolution: replay.header.write_resolution,
    };
    let broken = broken(&summary);
    let doubts = doubts(&summary, replay, &comparison, cut_short);
    summary.verdict = match (broken.is_empty(), doubts.is_empty()) {
        (false, _) => Verdict::Failed,
        (true, false) => Verdict::Inconclusive,
        (true, true) => Verdict::Passed,
    };
    if broken.is_empty() && doubts.is_empty() {
        summary.reasons.push(format!("0 of {} acknowledged writes were lost", summary.writes_acknowledged));
    }
    summary.reasons.extend(broken);
    summary.reasons.extend(doubts);
    summary.reasons.extend(comparison.not_known.iter().map(|what| format!("not known: {what}")));
    summary.reasons.extend(comparison.left_behind);
    summary.reasons.extend(notes(&summary, replay, trailer, retracted));
    summary
}

fn oddities(replay: &Replay) -> Oddities {
    let (writes, finals) = (&replay.writes, &replay.finals);
    let (failed, unknown) = (writes.failed_tokens(), writes.unknown());
    let (served, direct) = (writes.seen_served(), writes.seen_direct());
    let nothing = TokenSet::default();
    let primary = finals.primary_read();
    let (name, present) = primary.map_or(("", &nothing), |(name, state)| (name, &state.present));
    let there = failed.and(present);
    let mut only_seen = failed.and(&served).minus(present);
    failed.and(&direct).minus(present).writers().for_each(|(writer, tokens)| only_seen.add(writer, tokens));
    let said_failed = there.iter().map(|token| format!("{token} is there on {name}"));
    let said_failed = said_failed.chain(only_seen.iter().map(|token| format!("{token} was seen by a read")));
    let twice = primary.map_or_else(TokenSet::default, |(_, state)| state.duplicates.clone());
    let gone = |seen: &TokenSet| if primary.is_some() { unknown.and(seen).minus(present) } else { nothing.clone() };
    let vanished = gone(&served);
    Oddities {
        unknown_present: unknown.and(present).count(),
        failed_but_present: findings(said_failed),
        duplicates: findings(twice.iter().map(|token| format!("{token} is there more than once on {name}"))),
        retracted: gone(&direct).minus(&vanished).count(),
        vanished: findings(
            vanished.iter().map(|token| format!("{token} was seen through the gateway and is not on {name}")),
        ),
    }
}

/// What must not be, one sentence each.
fn broken(summary: &LedgerSummary) -> Vec<String> {
    let acknowledged = summary.writes_acknowledged;
    let lost = summary.lost.iter().map(|class| {
        format!("{} of {acknowledged} acknowledged writes are lost: {}", class.findings.count, class.class)
    });
    let others = [
        (&summary.failed_but_present, "writes were said to have failed and took effect"),
        (&summary.duplicates, "writes are there more than once"),
        (&summary.vanished, "writes were seen by a read and vanished"),
        (&summary.forks, "writes were acknowledged by one server while another had gone on without it (fork)"),
        (&summary.divergence, "differences between nodes and the primary (divergence)"),
    ];
    let others = others.into_iter().filter(|(found, _)| found.count > 0);
    lost.chain(others.map(|(found, what)| format!("{} {what}", found.count))).collect()
}

/// Why nothing can be concluded, one sentence each; empty when enough is known.
fn doubts(
    summary: &LedgerSummary,
    replay: &Replay,
    comparison: &divergence::Comparison,
    cut_short: Option<String>,
) -> Vec<String> {
    let mut doubts: Vec<String> = cut_short.into_iter().collect();
    if doubts.is_empty()
        && let Some(why) = replay.finals.primary_unknown()
    {
        doubts.push(format!("it cannot be told whether acknowledged writes were lost: {why}"));
    }
    if summary.writes_acknowledged < ACKNOWLEDGED_MIN {
        let count = summary.writes_acknowledged;
        doubts.push(format!("only {count} writes were acknowledged; fewer than {ACKNOWLEDGED_MIN} prove nothing"));
    }
    let alone = replay.header.nodes.len() > 1 && comparison.compared == 0;
    if doubts.is_empty() && alone {
        doubts.push("it cannot be told whether nodes diverged: none could be compared with the primary".to_owned());
    }
    doubts
}

/// What a reader should know and what changes no verdict.
fn notes(summary: &LedgerSummary, replay: &Replay, trailer: Trailer, retracted: u64) -> Vec<String> {
    let mut notes: Vec<String> = skipped(trailer).into_iter().collect();
    if summary.writes_unknown > 0 {
        notes.push(format!(
            "{} writes had no answer, of which {} took effect (both are allowed)",
            summary.writes_unknown, summary.unknown_present
        ));
    }
    if retracted > 0 {
        notes.push(format!(
            "{retracted} writes without an answer were seen on a replica and are gone (a replica may be ahead of an \
             acknowledgement)"
        ));
    }
    if let Some(stale) = summary.stale.iter().find(|stale| stale.node == "gateway") {
        notes.push(format!(
            "{} of {} reads through the gateway missed a write acknowledged before they began (by up to {})",
            stale.count, stale.of, stale.max
        ));
    }
    notes.push(format!(
        "write outages are told to {}, read outages to {}; connections that hang without an error add up to {}",
        replay.header.write_resolution, replay.header.read_resolution, replay.header.timeout
    ));
    notes
}
