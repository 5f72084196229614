//! Percentiles and re-tests by properties, the document by example.

use super::*;
use proptest::prelude::*;

const HOUR: i64 = 3_600_000_000;

fn wall(at: Timestamp) -> Wall {
    let hours = at.0.div_euclid(HOUR);
    let weekday = Weekday::ALL[usize::try_from(hours.div_euclid(24).rem_euclid(7)).expect("a weekday")];
    Wall { weekday, hour: u8::try_from(hours.rem_euclid(24)).expect("an hour") }
}

fn name(name: &str) -> ClusterName {
    name.parse().expect("a name")
}

fn run(id: usize, experiment: &str, cluster: &str, began: i64, verdict: Option<Verdict>) -> RunFact {
    let (experiment, title) = (experiment.to_owned(), format!("The {experiment}"));
    RunFact {
        run: RunId(format!("run-{id}")),
        experiment: ExperimentFact { name: experiment, title },
        cluster: name(cluster),
        state: if verdict.is_some() { RunState::Finished } else { RunState::Running },
        began: Timestamp(began),
        ended: verdict.map(|_| Timestamp(began + 1)),
        verdict,
        reasons: vec!["because".to_owned()],
        attacks: vec![],
        operations: vec![],
        by: Some("ann".to_owned()),
        approved_by: None,
    }
}

fn operation(id: &str, kind: OperationKind, began: i64, length: i64, partner: &str) -> Operation {
    Operation {
        id: OperationId(id.to_owned()),
        cluster: name("shop"),
        kind,
        subject: "east-1".parse().expect("a name"),
        partner: Some(partner.parse().expect("a name")),
        cause: String::new(),
        state: OperationState::Finished,
        reason: None,
        failure_at: None,
        began: Timestamp(began),
        ended: Some(Timestamp(began + length)),
        steps: vec![],
    }
}

fn facts(runs: Vec<RunFact>, operations: Vec<Operation>) -> Facts<'static> {
    let region = |node: &str, region: &str| (node.parse().expect("a name"), region.parse().expect("a name"));
    Facts {
        from: Timestamp(100),
        until: Timestamp(200),
        now: Timestamp(1000),
        cluster: None,
        zone: "UTC".to_owned(),
        wall: &wall,
        clusters: vec![name("shop"), name("bank")],
        regions: [region("east-1", "east"), region("east-2", "east"), region("west-1", "west")].into(),
        runs,
        operations,
    }
}

#[test]
fn only_the_period_is_shown_and_what_came_later_counts_as_re_test() {
    let runs = vec![
        run(1, "kill", "shop", 99, Some(Verdict::Failed)),
        run(2, "kill", "shop", 100, Some(Verdict::Failed)),
        run(3, "kill", "bank", 120, Some(Verdict::Passed)),
        run(4, "pause", "shop", 150, Some(Verdict::Inconclusive)),
        run(5, "pause", "shop", 199, Some(Verdict::Error)),
        run(6, "kill", "shop", 200, Some(Verdict::Passed)),
        run(7, "kill", "shop", 160, None),
    ];
    let evidence = Evidence::of(&facts(runs, vec![]));
    let shown: Vec<&str> = evidence.runs.iter().map(|run| run.run.0.as_str()).collect();
    assert_eq!(shown, ["run-2", "run-3", "run-4", "run-7", "run-5"]);
    let retests: Vec<_> = evidence.findings().map(|(run, finding)| (run.run.0.as_str(), &finding.retest)).collect();
    let passed = Retest::Passed { run: RunId("run-6".to_owned()), at: Timestamp(201) };
    assert_eq!(retests, [("run-2", &passed), ("run-4", &Retest::NotPassed { runs: 1 }), ("run-5", &Retest::NotYet)]);
    assert_eq!((evidence.count(Verdict::Passed), evidence.count(Verdict::Failed)), (1, 1));
}

#[test]
fn a_promotion_is_proven_by_a_run_that_passed_and_a_clone_by_itself() {
    let promotion = |id, at, partner| operation(id, OperationKind::Promotion, at, 5, partner);
    let with = |run: RunFact, operation| RunFact { operations: vec![operation], ..run };
    let runs = vec![
        with(run(1, "kill", "shop", 10, Some(Verdict::Passed)), promotion("shop-1", 11, "west-1")),
        with(run(2, "kill", "shop", 20, Some(Verdict::Passed)), promotion("shop-2", 21, "east-2")),
        with(run(3, "kill", "shop", 30, Some(Verdict::Failed)), promotion("shop-3", 31, "west-1")),
    ];
    let clone = operation("shop-4", OperationKind::Clone, 40, 5, "east-2");
    let unfinished =
        Operation { state: OperationState::Undone, ..operation("shop-5", OperationKind::Clone, 50, 5, "east-2") };
    let evidence = Evidence::of(&facts(runs, vec![clone, unfinished]));
    let of =
        |at: usize, ability| evidence.proven[at].abilities[&ability].as_ref().map(|proof| proof.operation.0.as_str());
    assert_eq!(of(0, Ability::Promotion), Some("shop-2"));
    assert_eq!(of(0, Ability::RegionFailover), Some("shop-1"));
    assert_eq!(of(0, Ability::Clone), Some("shop-4"));
    assert_eq!(of(0, Ability::Restore), None);
    assert!(evidence.proven[1].abilities.values().all(Option::is_none), "nothing is on record of bank");
    let proof = evidence.proven[0].abilities[&Ability::Promotion].as_ref().expect("proven");
    assert_eq!((proof.at, proof.ago), (Timestamp(26), Timestamp(1000).since(Timestamp(26))));
}

#[test]
fn without_data_there_are_no_figures() {
    let evidence = Evidence::of(&facts(vec![], vec![]));
    for duration in &evidence.durations {
        assert_eq!(duration.spread.all, None, "{}", duration.what);
        assert!(duration.spread.by_hour.is_empty() && duration.spread.by_weekday.is_empty());
    }
    let text = serde_json::to_string(&evidence).expect("text");
    assert_eq!(serde_json::from_str::<Evidence>(&text).expect("read"), evidence);
}

#[test]
fn nearest_rank_gives_values_that_were_measured() {
    let of = |lengths: &[u64]| Percentiles::of(&lengths.iter().map(|at| Span::millis(*at)).collect::<Vec<_>>());
    // The example of the textbook: 15, 20, 35, 40, 50.
    let five = of(&[35, 20, 15, 50, 40]).expect("data");
    assert_eq!((five.count, five.min, five.p50, five.p90), (5, Span::millis(15), Span::millis(35), Span::millis(50)));
    let one = of(&[7]).expect("data");
    assert_eq!(
        (one.min, one.p50, one.p99, one.max),
        (Span::millis(7), Span::millis(7), Span::millis(7), Span::millis(7))
    );
    let hundred = of(&(1..=100).collect::<Vec<_>>()).expect("data");
    assert_eq!((hundred.p50, hundred.p90, hundred.p99), (Span::millis(50), Span::millis(90), Span::millis(99)));
    assert_eq!(of(&[]), None);
}

proptest! {
    #[test]
    fn a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(lengths in prop::collection::vec(0_u64..500, 1..60)) {
        let spans: Vec<Span> = lengths.iter().map(|at| Span::millis(*at)).collect();
        let percentiles = Percentiles::of(&spans).expect("data");
        let not_above = |limit: Span| spans.iter().filter(|span| **span <= limit).count();
        let below = |limit: Span| spans.iter().filter(|span| **span < limit).count();
        for (percent, value) in [(50, percentiles.p50), (90, percentiles.p90), (99, percentiles.p99)] {
            prop_assert!(spans.contains(&value));
            prop_assert!(not_above(value) * 100 >= percent * spans.len());
            prop_assert!(below(value) * 100 < percent * spans.len());
        }
        prop_assert!(percentiles.min <= percentiles.p50 && percentiles.p99 <= percentiles.max);
        prop_assert_eq!(percentiles.count, spans.len());
    }

    #[test]
    fn each_duration_is_in_one_hour_and_one_weekday(
        began in prop::collection::vec((0_i64..(14 * 24), 1_u64..100), 0..50),
    ) {
        let durations: Vec<(Timestamp, Span)> =
            began.iter().map(|(hour, length)| (Timestamp(hour * HOUR), Span::secs(*length))).collect();
        let spread = Spread::of(&durations, &wall);
        let all = spread.all.map_or(0, |all| all.count);
        prop_assert_eq!(all, durations.len());
        prop_assert_eq!(spread.by_hour.values().map(|one| one.count).sum::<usize>(), all);
        prop_assert_eq!(spread.by_weekday.values().map(|one| one.count).sum::<usize>(), all);
        prop_assert!(spread.by_hour.values().chain(spread.by_weekday.values()).all(|one| one.count > 0));
    }

    #[test]
    fn a_finding_is_re_tested_when_a_later_run_of_the_same_has_passed(
        history in prop::collection::vec((0_usize..2, 0_usize..2, 0_i64..1000, 0_usize..5), 0..25),
        shuffle in any::<prop::sample::Index>(),
    ) {
        let verdicts = [
            Some(Verdict::Passed), Some(Verdict::Failed), Some(Verdict::Inconclusive), Some(Verdict::Error), None,
        ];
        let mut runs: Vec<RunFact> = history.iter().enumerate().map(|(id, (experiment, cluster, began, verdict))| {
            run(id, ["kill", "pause"][*experiment], ["shop", "bank"][*cluster], *began, verdicts[*verdict])
        }).collect();
        let evidence = Evidence::of(&facts(runs.clone(), vec![]));
        for tested in &evidence.runs {
            let finding = tested.verdict.is_some_and(|verdict| verdict != Verdict::Passed);
            prop_assert_eq!(tested.finding.is_some(), finding);
            let Some(found) = &tested.finding else { continue };
            let later = |verdict: fn(Verdict) -> bool| runs.iter().filter(|other| {
                other.experiment.name == tested.experiment && other.cluster == tested.cluster
                    && other.began > tested.began && other.verdict.is_some_and(verdict)
            }).count();
            match &found.retest {
                Retest::Passed { run, .. } => {
                    let passed = runs.iter().find(|other| other.run == *run).expect("a run");
                    prop_assert!(passed.verdict == Some(Verdict::Passed) && passed.began > tested.began);
                }
                Retest::NotPassed { runs } => {
                    prop_assert_eq!((later(|verdict| verdict == Verdict::Passed), later(|_| true)), (0, *runs));
                    prop_assert!(*runs > 0);
                }
                Retest::NotYet => prop_assert_eq!(later(|_| true), 0),
            }
        }
        // The order in which facts come does not matter.
        if !runs.is_empty() {
            let at = shuffle.index(runs.len());
            runs.rotate_left(at);
        }
        prop_assert_eq!(Evidence::of(&facts(runs, vec![])), evidence);
    }
}
