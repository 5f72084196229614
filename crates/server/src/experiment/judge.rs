//! From evidence to a verdict. Pure: everything that was seen comes in, the verdict and its reasons come out.

use firedrill_model::attack::{AttackReport, AttackState};
use firedrill_model::experiment::{Expectation, Experiment, When};
use firedrill_model::report::{ExpectationResult, LedgerSummary, ProbeResult};
use firedrill_model::{Operation, OperationKind, OperationState, Span, Timestamp, Verdict};

/// What was seen of one run.
pub(crate) struct Evidence<'a> {
    /// What was to be done.
    pub(crate) experiment: &'a Experiment,
    /// The last state of each attack on each host.
    pub(crate) attacks: &'a [AttackReport],
    /// Operations that began during the run.
    pub(crate) operations: &'a [Operation],
    /// When the first attack's effect was measured.
    pub(crate) effect_at: Option<Timestamp>,
    /// When full redundancy was seen again after it.
    pub(crate) redundant_at: Option<Timestamp>,
    /// The probes' answers.
    pub(crate) probes: &'a [ProbeResult],
    /// Waits that ran out and checks that did not hold.
    pub(crate) broken_steps: &'a [String],
    /// What the tool itself could not do.
    pub(crate) tool_errors: &'a [String],
    /// Attacks that a guard refused: nothing was learnt of them.
    pub(crate) refusals: &'a [String],
    /// Checks that could not be told.
    pub(crate) doubts: &'a [String],
    /// The ledger's numbers.
    pub(crate) ledger: Option<&'a LedgerSummary>,
    /// Why the run was stopped early.
    pub(crate) halted: Option<&'a str>,
}

/// The outcome of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    pub(crate) reasons: Vec<String>,
    pub(crate) expectations: Vec<ExpectationResult>,
}

/// Weighs the evidence. A broken expectation outweighs a broken tool, which outweighs doubt; only a run in which every
/// attack landed, every expectation held and nothing is in doubt has passed.
pub(crate) fn judge(evidence: &Evidence<'_>) -> Judgement {
    let expectations: Vec<_> = evidence.experiment.expect.iter().map(|expected| weigh(expected, evidence)).collect();
    let mut findings: Vec<(Verdict, String)> = Vec::new();
    for result in expectations.iter().filter(|result| result.verdict != Verdict::Passed) {
        findings.push((result.verdict, format!("expected {}; came: {}", result.expected, result.observed)));
    }
    findings.extend(evidence.tool_errors.iter().map(|error| (Verdict::Error, error.clone())));
    findings.extend(evidence.refusals.iter().map(|refusal| (Verdict::Inconclusive, refusal.clone())));
    findings.extend(evidence.doubts.iter().map(|doubt| (Verdict::Inconclusive, doubt.clone())));
    findings.extend(evidence.broken_steps.iter().map(|step| (Verdict::Failed, step.clone())));
    // Before what comes of it: without a steady state no attack lands.
    findings.extend(probe_findings(evidence.probes));
    findings.extend(attack_findings(evidence));
    if let Some(ledger) = evidence.ledger {
        let known: Vec<_> = findings.iter().map(|(_, text)| text.clone()).collect();
        let unsaid = ledger.reasons.iter().filter(|reason| !known.contains(reason));
        match ledger.verdict {
            Verdict::Passed => {}
            verdict => findings.extend(unsaid.map(|reason| (verdict, format!("ledger: {reason}")))),
        }
    } else if evidence.experiment.workload.is_some() {
        findings.push((Verdict::Inconclusive, "there is no ledger, so nothing is known of the writes".into()));
    }
    if let Some(reason) = evidence.halted {
        findings.push((Verdict::Inconclusive, format!("stopped early: {reason}")));
    }
    let verdict = findings.iter().fold(Verdict::Passed, |verdict, (finding, _)| verdict.and(*finding));
    // Stable: within one weight the order above is kept.
    findings.sort_by_key(|(finding, _)| match finding {
        Verdict::Failed => 0,
        Verdict::Error => 1,
        Verdict::Inconclusive => 2,
        Verdict::Passed => 3,
    });
    let reasons = findings.into_iter().map(|(_, text)| text).collect();
    Judgement { verdict, reasons, expectations }
}

fn attack_findings(evidence: &Evidence<'_>) -> Vec<(Verdict, String)> {
    let planned =
        evidence.experiment.steps.iter().any(|step| matches!(step, firedrill_model::experiment::StepSpec::Attack(_)));
    let mut findings: Vec<_> = evidence
        .attacks
        .iter()
        .filter_map(|attack| {
            let on = format!("{} on {}", attack.fault, attack.host);
            match attack.state {
                AttackState::Refused => Some((Verdict::Inconclusive, format!("{on} was refused: {}", attack.evidence))),
                AttackState::NoEffect => {
                    Some((Verdict::Inconclusive, format!("{on} had no measurable effect: {}", attack.evidence)))
                }
                AttackState::UndoFailed => {
                    Some((Verdict::Error, format!("{on} could NOT be taken out: {}", attack.evidence)))
                }
                AttackState::Preparing => {
                    Some((Verdict::Inconclusive, format!("whether {on} landed is not known: {}", attack.evidence)))
                }
                AttackState::Active | AttackState::Undone => None,
            }
        })
        .collect();
    if planned && evidence.effect_at.is_none() && findings.is_empty() {
        findings.push((Verdict::Inconclusive, "no attack landed".into()));
    }
    findings
}

fn probe_findings(probes: &[ProbeResult]) -> Vec<(Verdict, String)> {
    probes
        .iter()
        .filter(|probe| !probe.held)
        .map(|probe| match probe.when {
            _ if probe.unknown => {
                let when = match probe.when {
                    When::Before => "before",
                    When::During => "during",
                    When::After => "after",
                };
                (
                    Verdict::Inconclusive,
                    format!("probe {} could not be told {when} the steps: {}", probe.name, probe.observed),
                )
            }
            When::Before => {
                (Verdict::Inconclusive, format!("not in steady state before: {}: {}", probe.name, probe.observed))
            }
            When::During => (Verdict::Failed, format!("probe {} broke during the run: {}", probe.name, probe.observed)),
            When::After => (Verdict::Failed, format!("not in steady state after: {}: {}", probe.name, probe.observed)),
        })
        .collect()
}

fn weigh(expected: &Expectation, evidence: &Evidence<'_>) -> ExpectationResult {
    let (text, observed, verdict) = match expected {
        Expectation::WriteOutageBelow(limit) => {
            let text = format!("write outage below {limit}");
            match evidence.ledger {
                None => (text, "no ledger".to_owned(), Verdict::Inconclusive),
                Some(ledger) => {
                    let (observed, verdict) = weigh_outage(*limit, ledger);
                    (text, observed, verdict)
                }
            }
        }
        Expectation::LostAcknowledgedWritesAtMost(limit) => {
            let text = format!("at most {limit} acknowledged writes lost");
            count_at_most(text, *limit, evidence.ledger, |ledger| {
                let observed = format!("{} of {} lost", ledger.lost_total(), ledger.writes_acknowledged);
                (ledger.lost_total(), observed)
            })
        }
        Expectation::NoFork => count_at_most("no fork".into(), 0, evidence.ledger, |ledger| {
            (ledger.forks.count, format!("{} forks", ledger.forks.count))
        }),
        Expectation::NoDivergence => {
            count_at_most("no divergence between nodes".into(), 0, evidence.ledger, |ledger| {
                (ledger.divergence.count, format!("{} differences", ledger.divergence.count))
            })
        }
        Expectation::Operation { kind, within } => weigh_operation(*kind, *within, evidence),
        Expectation::RedundancyWithin(within) => {
            let took = evidence.effect_at.zip(evidence.redundant_at).map(|(effect, end)| end.since(effect));
            let text = format!("full redundancy within {within}");
            within_bound(text, *within, took, evidence.effect_at.is_some(), "not restored")
        }
        Expectation::NoPromotion => {
            let promoted: Vec<_> = evidence
                .operations
                .iter()
                .filter(|operation| operation.kind == OperationKind::Promotion)
                .map(|operation| format!("{} ({})", operation.id, operation.cause))
                .collect();
            let verdict = if promoted.is_empty() { Verdict::Passed } else { Verdict::Failed };
            let observed = if promoted.is_empty() { "none".to_owned() } else { promoted.join("; ") };
            ("no promotion".to_owned(), observed, verdict)
        }
    };
    ExpectationResult { expected: text, observed, verdict }
}

fn weigh_outage(limit: Span, ledger: &LedgerSummary) -> (String, Verdict) {
    let outage = ledger.longest_write_outage();
    let observed = format!("{outage} (resolution {})", ledger.resolution);
    let verdict = if outage >= limit {
        Verdict::Failed
    } else if ledger.resolution > limit || ledger.writes_acknowledged == 0 {
        Verdict::Inconclusive
    } else {
        Verdict::Passed
    };
    (observed, verdict)
}

/// A count from the ledger: too many is certain whatever else is missing; few enough is only as certain as the ledger.
fn count_at_most(
    text: String,
    limit: u64,
    ledger: Option<&LedgerSummary>,
    count: impl Fn(&LedgerSummary) -> (u64, String),
) -> (String, String, Verdict) {
    let Some(ledger) = ledger else { return (text, "no ledger".into(), Verdict::Inconclusive) };
    let (count, observed) = count(ledger);
    let verdict = match ledger.verdict {
        _ if count > limit => Verdict::Failed,
        Verdict::Inconclusive | Verdict::Error => Verdict::Inconclusive,
        Verdict::Passed | Verdict::Failed => Verdict::Passed,
    };
    (text, observed, verdict)
}

fn weigh_operation(kind: OperationKind, within: Span, evidence: &Evidence<'_>) -> (String, String, Verdict) {
    let text = format!("a {kind} within {within}");
    let of_kind = || evidence.operations.iter().filter(|operation| operation.kind == kind);
    let ended = of_kind()
        .filter(|operation| operation.state == OperationState::Finished)
        .filter_map(|operation| operation.ended)
        .min();
    let took = evidence.effect_at.zip(ended).map(|(effect, end)| end.since(effect));
    let missing = match of_kind().find_map(|operation| operation.reason.clone()) {
        Some(reason) => reason,
        None if of_kind().next().is_some() => "begun, not finished".to_owned(),
        None => "none began".to_owned(),
    };
    within_bound(text, within, took, evidence.effect_at.is_some(), &missing)
}

fn within_bound(
    text: String,
    within: Span,
    took: Option<Span>,
    landed: bool,
    missing: &str,
) -> (String, String, Verdict) {
    match took {
        Some(took) if took <= within => (text, format!("after {took}"), Verdict::Passed),
        Some(took) => (text, format!("after {took}"), Verdict::Failed),
        None if landed => (text, missing.to_owned(), Verdict::Failed),
        None => (text, missing.to_owned(), Verdict::Inconclusive),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firedrill_model::report::{Findings, LossClass, Outage};
    use std::collections::BTreeMap;

    fn experiment() -> Experiment {
        let yaml = include_str!("../../../../experiments/3-kill-primary.yaml");
        firedrill_api::experiment_file::read(yaml, &BTreeMap::new(), firedrill_fault::check).expect("the ladder reads")
    }

    fn ledger() -> LedgerSummary {
        LedgerSummary {
            verdict: Verdict::Passed,
            reasons: vec![],
            operations: 2000,
            writes_acknowledged: 1000,
            writes_failed: 0,
            writes_unknown: 3,
            unknown_present: 1,
            lost: vec![],
            failed_but_present: Findings::default(),
            duplicates: Findings::default(),
            vanished: Findings::default(),
            reads_ok: 900,
            reads_failed: 0,
            stale: vec![],
            forks: Findings::default(),
            divergence: Findings::default(),
            write_outages: vec![Outage { began: Timestamp(0), length: Span::millis(94) }],
            read_outages: vec![],
            resolution: Span::millis(2),
        }
    }

    fn promotion() -> Operation {
        serde_json::from_value(serde_json::json!({
            "id": "demo-1", "cluster": "demo", "kind": "promotion", "subject": "east-1", "partner": "east-2",
            "cause": "process exited", "state": "finished", "reason": null, "failure_at": 1_000_000,
            "began": 1_010_000, "ended": 1_200_000, "steps": []
        }))
        .expect("an operation")
    }

    fn attack(state: AttackState) -> AttackReport {
        serde_json::from_value(serde_json::json!({
            "id": "a", "host": "east-1", "state": state, "at": 1_000_000, "mechanism": "pidfd", "evidence": "gone",
            "fault": {"kind": "kill", "signal": "SIGKILL", "process": {"select": "database", "node": "east-1"}}
        }))
        .expect("a report")
    }

    struct Case {
        attacks: Vec<AttackReport>,
        operations: Vec<Operation>,
        ledger: Option<LedgerSummary>,
        probes: Vec<ProbeResult>,
        effect: bool,
        halted: Option<&'static str>,
    }

    impl Default for Case {
        fn default() -> Self {
            Self {
                attacks: vec![attack(AttackState::Active)],
                operations: vec![promotion()],
                ledger: Some(ledger()),
                probes: vec![],
                effect: true,
                halted: None,
            }
        }
    }

    fn verdict(case: &Case) -> Judgement {
        let experiment = experiment();
        judge(&Evidence {
            experiment: &experiment,
            attacks: &case.attacks,
            operations: &case.operations,
            effect_at: case.effect.then_some(Timestamp(1_000_000)),
            redundant_at: Some(Timestamp(9_000_000)),
            probes: &case.probes,
            broken_steps: &[],
            tool_errors: &[],
            refusals: &[],
            doubts: &[],
            ledger: case.ledger.as_ref(),
            halted: case.halted,
        })
    }

    #[test]
    fn all_well_passes() {
        let judgement = verdict(&Case::default());
        assert_eq!(judgement.verdict, Verdict::Passed, "{:?}", judgement.reasons);
        assert_eq!(judgement.reasons, Vec::<String>::new());
    }

    #[test]
    fn a_lost_write_fails_even_with_doubt_about_the_rest() {
        let mut doubtful = ledger();
        doubtful.verdict = Verdict::Inconclusive;
        let findings = Findings { count: 2, examples: vec!["3/17".into()] };
        doubtful.lost = vec![LossClass { class: "crash loss".into(), findings }];
        let judgement = verdict(&Case { ledger: Some(doubtful), ..Case::default() });
        assert_eq!(judgement.verdict, Verdict::Failed);
        assert!(judgement.reasons[0].contains("2 of 1000 lost"), "{:?}", judgement.reasons);
    }

    #[test]
    fn an_attack_without_effect_never_passes() {
        let case = Case { attacks: vec![attack(AttackState::NoEffect)], effect: false, ..Case::default() };
        assert_eq!(verdict(&case).verdict, Verdict::Inconclusive);
        assert_eq!(verdict(&Case { attacks: vec![], effect: false, ..Case::default() }).verdict, Verdict::Inconclusive);
    }

    #[test]
    fn a_second_attack_without_an_answer_never_passes() {
        let case =
            Case { attacks: vec![attack(AttackState::Active), attack(AttackState::Preparing)], ..Case::default() };
        assert_eq!(verdict(&case).verdict, Verdict::Inconclusive);
    }

    #[test]
    fn a_fault_that_stays_is_an_error_and_a_missing_ledger_is_doubt() {
        let case = Case { attacks: vec![attack(AttackState::UndoFailed)], ..Case::default() };
        assert_eq!(verdict(&case).verdict, Verdict::Error);
        assert_eq!(verdict(&Case { ledger: None, ..Case::default() }).verdict, Verdict::Inconclusive);
        assert_eq!(verdict(&Case { halted: Some("halt"), ..Case::default() }).verdict, Verdict::Inconclusive);
    }

    #[test]
    fn a_missing_or_late_promotion_fails() {
        assert_eq!(verdict(&Case { operations: vec![], ..Case::default() }).verdict, Verdict::Failed);
        let late = Operation { ended: Some(Timestamp(60_000_000)), ..promotion() };
        assert_eq!(verdict(&Case { operations: vec![late], ..Case::default() }).verdict, Verdict::Failed);
    }

    #[test]
    fn an_outage_must_be_measurable() {
        let mut coarse = ledger();
        coarse.resolution = Span::secs(5);
        assert_eq!(verdict(&Case { ledger: Some(coarse), ..Case::default() }).verdict, Verdict::Inconclusive);
        let mut long = ledger();
        long.write_outages[0].length = Span::secs(4);
        assert_eq!(verdict(&Case { ledger: Some(long), ..Case::default() }).verdict, Verdict::Failed);
    }
}
