//! Trouble between the server and the primary alone must move nobody.

use super::Runs;
use super::figures::{Section, Spread};
use super::fleet::Ground;
use anyhow::{Context, Result};
use firedrill_model::OperationKind;

/// What is done to the primary's link to the server, and for how long.
const TROUBLES: [(&str, &str, u32); 2] = [
    (
        "200 ms latency and 5 % loss between server and primary for 20 s",
        "{kind: latency, delay: 200ms, loss_percent: 5, spare: [], target: {role: primary}, peers: {server: true}, duration: 20s}",
        20,
    ),
    (
        "server alone cut off from the primary for 10 s",
        "{kind: partition, spare: [], target: {role: primary}, peers: {server: true}, duration: 10s}",
        10,
    ),
];

pub(super) fn no_failover(ground: &Ground, runs: Runs) -> Result<Section> {
    let fleet = ground.up()?;
    let mut section = Section::default();
    for (what, attack, seconds) in TROUBLES {
        let (mut promotions, mut lost, mut longest, mut verdicts) = (0, 0, Vec::new(), Vec::new());
        for _ in 0..runs.or(3) {
            let report = fleet.run(&experiment(attack, seconds))?;
            let ledger = report.ledger.as_ref().with_context(|| format!("no ledger: {:?}", report.reasons))?;
            promotions += report.operations.iter().filter(|one| one.kind == OperationKind::Promotion).count();
            lost += ledger.lost_total();
            longest.push(ledger.longest_write_outage().as_millis_f64());
            verdicts.push(report.verdict.map_or_else(|| "none".to_owned(), |verdict| verdict.to_string()));
            eprintln!("   {what}: {} {:?}", verdicts.join(", "), report.reasons);
        }
        let passed = verdicts.iter().all(|verdict| verdict == "passed");
        let measured = format!("{promotions}, {lost} writes lost; verdicts {}", verdicts.join(", "));
        section.judged(format!("promotions: {what}"), "0", measured, promotions == 0 && lost == 0 && passed);
        if let Some(spread) = Spread::of(longest) {
            section.told("longest write outage meanwhile (min / median / max)", spread.text("ms"));
        }
    }
    Ok(section)
}

fn experiment(attack: &str, seconds: u32) -> String {
    format!(
        "name: bench-no-failover\n\
         title: The server hears little of the primary\n\
         hypothesis: The replicas still follow the primary, so nobody is promoted.\n\
         workload: {{writers: 16, writes_per_second: 500, readers: 2, reads_per_second: 20}}\n\
         steps:\n\
         \x20 - attack: {attack}\n\
         \x20 - wait: {seconds}s\n\
         \x20 - wait-until: {{condition: redundancy-restored, within: 60s}}\n\
         expect:\n\
         \x20 - no-promotion\n\
         \x20 - lost-acknowledged-writes-at-most: 0\n\
         \x20 - no-fork\n\
         \x20 - no-divergence\n"
    )
}
