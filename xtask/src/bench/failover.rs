//! How long writes are out when the primary is lost, and where the time goes.

use super::Runs;
use super::figures::{Section, Spread, digits};
use super::fleet::{Fleet, Ground};
use anyhow::{Context, Result, bail};
use firedrill_model::operation::Phase;
use firedrill_model::report::{Outage, RunReport};
use firedrill_model::workload::Sample;
use firedrill_model::{Operation, OperationKind, Timestamp};

/// Load of the kill: asked for is a little more than the thousand acknowledged that count.
const KILL_WRITES_PER_SECOND: u32 = 1100;
/// The rate below which the figure of the kill does not count.
const KILL_RATE_MIN: f64 = 1000.0;
/// Load where the rate does not matter.
const WRITES_PER_SECOND: u32 = 500;
/// The first second of a load opens connections and says nothing of its rate.
const RAMP_MICROS: i64 = 1_000_000;

/// The phases that a promotion goes through, in order.
const PHASES: [Phase; 6] = [Phase::Detect, Phase::Confirm, Phase::Fence, Phase::Drain, Phase::Open, Phase::Repoint];

pub(super) fn kill_primary(ground: &Ground, runs: Runs) -> Result<Section> {
    let attack = "{kind: kill, signal: SIGKILL, target: {role: primary}}";
    let losses = repeat(&ground.up()?, attack, KILL_WRITES_PER_SECOND, runs.or(20))?;
    let mut section = Section::default();
    outages(&mut section, &losses, "median ≤ 250 ms, worst ≤ 600 ms", |spread| {
        spread.median <= 250.0 && spread.max <= 600.0
    });
    let rates = spread(&losses, |loss| Some(loss.rate))?;
    section.judged(
        "acknowledged writes/s before (min / median / max)",
        "≥ 1,000",
        rates.text("per second"),
        rates.min >= KILL_RATE_MIN,
    );
    where_the_time_goes(&mut section, &losses)?;
    Ok(section)
}

pub(super) fn silent_host(ground: &Ground, runs: Runs) -> Result<Section> {
    unanswering(ground, "{kind: partition, spare: [], target: {role: primary}, duration: 12s}", runs)
}

pub(super) fn hung_primary(ground: &Ground, runs: Runs) -> Result<Section> {
    unanswering(ground, "{kind: pause, target: {role: primary}, duration: 12s}", runs)
}

fn unanswering(ground: &Ground, attack: &str, runs: Runs) -> Result<Section> {
    let losses = repeat(&ground.up()?, attack, WRITES_PER_SECOND, runs.or(5))?;
    let mut section = Section::default();
    outages(&mut section, &losses, "≤ 3 s", |spread| spread.max <= 3000.0);
    where_the_time_goes(&mut section, &losses)?;
    Ok(section)
}

/// One loss of a primary, in numbers; times in milliseconds.
pub(super) struct Loss {
    /// Longest time without an acknowledged write in the whole run.
    pub(super) outage: f64,
    /// That of the promotion; `None` when the longest is not the promotion's and that one was too short to be listed.
    at_promotion: Option<f64>,
    lost: u64,
    acknowledged: u64,
    /// Acknowledged writes per second before.
    pub(super) rate: f64,
    /// From the last acknowledged write to the failure as the agent or the keeper dates it; below zero when writes
    /// that were under way still got their answer.
    unnoticed: Option<f64>,
    phases: [Option<f64>; PHASES.len()],
    /// From the gateway being told to the first acknowledged write.
    first_good_write: Option<f64>,
}

pub(super) fn repeat(fleet: &Fleet<'_>, attack: &str, writes_per_second: u32, runs: u32) -> Result<Vec<Loss>> {
    let yaml = experiment(attack, writes_per_second);
    let mut losses = Vec::new();
    for run in 1..=runs {
        let report = fleet.run(&yaml)?;
        let loss = loss(&report).with_context(|| format!("run {run} ({}): {}", report.run, reasons(&report)))?;
        eprintln!(
            "   run {run} of {runs}: outage {} ms, {} lost of {}, {} writes/s before; {}",
            digits(loss.outage),
            loss.lost,
            loss.acknowledged,
            digits(loss.rate),
            reasons(&report),
        );
        losses.push(loss);
    }
    Ok(losses)
}

fn experiment(attack: &str, writes_per_second: u32) -> String {
    format!(
        "name: bench-failover\n\
         title: The primary is lost\n\
         hypothesis: Another node takes the writes, and nothing that was acknowledged is lost.\n\
         workload: {{writers: 16, writes_per_second: {writes_per_second}, readers: 2, reads_per_second: 20, timeout: 5s}}\n\
         steps:\n\
         \x20 - attack: {attack}\n\
         \x20 - wait-until: {{condition: {{finished: promotion}}, within: 30s}}\n\
         \x20 - wait-until: {{condition: redundancy-restored, within: 240s}}\n\
         expect:\n\
         \x20 - lost-acknowledged-writes-at-most: 0\n\
         \x20 - no-fork\n\
         \x20 - no-divergence\n"
    )
}

fn reasons(report: &RunReport) -> String {
    let verdict = report.verdict.map_or_else(|| "no verdict".to_owned(), |verdict| verdict.to_string());
    [verdict].into_iter().chain(report.reasons.iter().take(2).cloned()).collect::<Vec<_>>().join("; ")
}

fn loss(report: &RunReport) -> Result<Loss> {
    let ledger = report.ledger.as_ref().context("there is no ledger")?;
    let finished = |operation: &&Operation| operation.kind == OperationKind::Promotion && operation.ended.is_some();
    let Some(promotion) = report.operations.iter().find(finished) else { bail!("nothing was promoted") };
    let opened = promotion.phase(Phase::Open).map(|(_, ended)| ended).context("nothing was opened")?;
    let failure = promotion.failure_at.unwrap_or(promotion.began);
    let gap = gap_around(&ledger.write_outages, opened);
    Ok(Loss {
        outage: ledger.longest_write_outage().as_millis_f64(),
        at_promotion: gap.map(|gap| gap.length.as_millis_f64()),
        lost: ledger.lost_total(),
        acknowledged: ledger.writes_acknowledged,
        rate: rate_before(&report.samples, failure).context("no load was sampled before the failure")?,
        unnoticed: gap.map(|gap| millis_between(gap.began, failure)),
        phases: PHASES.map(|phase| promotion.phase(phase).map(|(began, ended)| millis_between(began, ended))),
        first_good_write: gap.map(|gap| millis_between(opened, gap.began + gap.length)),
    })
}

/// The time without an acknowledged write in which this moment lies.
fn gap_around(outages: &[Outage], moment: Timestamp) -> Option<&Outage> {
    outages.iter().find(|outage| outage.began <= moment && moment <= outage.began + outage.length)
}

/// Signed, unlike a span.
fn millis_between(from: Timestamp, to: Timestamp) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "differences of a run are far below 2^52 microseconds")]
    let micros = (to.0 - from.0) as f64;
    micros / 1000.0
}

/// Acknowledged writes per second from the end of the ramp to the failure.
fn rate_before(samples: &[Sample], failure: Timestamp) -> Option<f64> {
    let begin = samples.first()?.at.0 + RAMP_MICROS;
    let steady = samples.iter().filter(|sample| sample.at.0 >= begin && sample.at <= failure);
    let (writes, seconds) = steady.fold((0, 0.0), |(writes, seconds), sample| {
        (writes + u64::from(sample.writes_ok), seconds + sample.over.duration().as_secs_f64())
    });
    #[allow(clippy::cast_precision_loss, reason = "a few thousand")]
    (seconds > 0.0).then(|| writes as f64 / seconds)
}

fn spread(losses: &[Loss], measure: impl Fn(&Loss) -> Option<f64>) -> Result<Spread> {
    Spread::of(losses.iter().filter_map(measure)).context("nothing was measured")
}

fn outages(section: &mut Section, losses: &[Loss], target: &str, held: impl Fn(&Spread) -> bool) {
    if let Some(spread) = Spread::of(losses.iter().map(|loss| loss.outage)) {
        let what = format!("longest write outage of a run (min / median / max of {})", losses.len());
        section.judged(what, target, spread.text("ms"), held(&spread));
    }
    let (lost, acknowledged) =
        losses.iter().fold((0, 0), |(lost, all), loss| (lost + loss.lost, all + loss.acknowledged));
    section.judged("acknowledged writes lost", "0", format!("{lost} of {acknowledged}"), lost == 0);
    let elsewhere = losses.iter().filter(|loss| loss.at_promotion.is_none_or(|gap| gap < loss.outage)).count();
    if elsewhere > 0 {
        section.told("runs whose longest outage was not that of the promotion", elsewhere.to_string());
    }
    let all: Vec<String> = losses.iter().map(|loss| digits(loss.outage)).collect();
    section.note(format!("Outages in order, ms: {}.", all.join(", ")));
}

fn where_the_time_goes(section: &mut Section, losses: &[Loss]) -> Result<()> {
    let mut row = |what: &str, measure: &dyn Fn(&Loss) -> Option<f64>| {
        if let Some(spread) = Spread::of(losses.iter().filter_map(measure)) {
            section.told(format!("{what} (min / median / max)"), spread.text("ms"));
        }
    };
    row("last acknowledged write to failure", &|loss| loss.unnoticed);
    for (index, phase) in PHASES.iter().enumerate() {
        row(&phase.to_string(), &|loss| loss.phases[index]);
    }
    row("gateway told to first acknowledged write", &|loss| loss.first_good_write);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use firedrill_model::Span;

    fn sample(at: i64, writes_ok: u32) -> Sample {
        Sample {
            at: Timestamp(at),
            over: Span::millis(500),
            writes_ok,
            writes_failed: 0,
            writes_unknown: 0,
            reads_ok: 0,
            reads_failed: 0,
            write_p50: None,
            write_p99: None,
            acknowledged_total: 0,
        }
    }

    #[test]
    fn the_rate_leaves_out_the_ramp_and_what_comes_after_the_failure() {
        let samples =
            [sample(0, 1), sample(500_000, 100), sample(1_000_000, 550), sample(1_500_000, 450), sample(2_000_000, 0)];
        assert_eq!(rate_before(&samples, Timestamp(1_700_000)), Some(1000.0));
        assert_eq!(rate_before(&samples, Timestamp(700_000)), None);
        assert_eq!(rate_before(&[], Timestamp(0)), None);
    }

    #[test]
    fn the_gap_of_the_promotion_is_the_one_around_its_opening() {
        let outage = |began, millis| Outage { began: Timestamp(began), length: Span::millis(millis) };
        let outages = [outage(9_000_000, 900), outage(1_000_000, 200)];
        assert_eq!(gap_around(&outages, Timestamp(1_150_000)), Some(&outages[1]));
        assert_eq!(gap_around(&outages, Timestamp(1_300_000)), None);
        assert!((millis_between(Timestamp(1500), Timestamp(1000)) - -0.5).abs() < f64::EPSILON);
    }
}
