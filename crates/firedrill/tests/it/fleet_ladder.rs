//! The ladder on a safe fleet passes; on one that is set up to lose writes it fails, with the lost tokens named.

use crate::fleet::{Fleet, block_on, told};
use firedrill_model::Verdict;
use firedrill_model::attack::AttackState;
use firedrill_model::operation::{OperationKind, OperationState};
use firedrill_sandbox::Profile;

const RUNGS: [&str; 6] =
    ["kill-replica", "kill-pseudo-primary", "kill-primary", "pause-primary", "isolate-primary", "cut-region-link"];

#[test]
fn the_safe_fleet_holds_on_every_rung() {
    block_on(async {
        let fleet = Fleet::up("t-ladder", Profile::Safe).await;
        for rung in RUNGS {
            let report = fleet.run(&fleet.library(rung).await).await;
            assert_eq!(report.verdict, Some(Verdict::Passed), "{}", told(&report));
            let ledger = report.ledger.as_ref().expect("a ledger");
            assert_eq!(ledger.lost_total(), 0, "{}", told(&report));
            assert!(ledger.writes_acknowledged > 1000, "{}", told(&report));
            let stuck = report.attacks.iter().filter(|attack| attack.state == AttackState::UndoFailed).count();
            assert_eq!(stuck, 0, "{}", told(&report));
        }
    });
}

#[test]
fn the_unsafe_fleet_loses_writes_and_the_run_says_so() {
    block_on(async {
        let fleet = Fleet::up("t-unsafe", Profile::Unsafe).await;
        let report = fleet.run(&fleet.library("kill-primary").await).await;
        assert_eq!(report.verdict, Some(Verdict::Failed), "{}", told(&report));
        let ledger = report.ledger.as_ref().expect("a ledger");
        assert!(ledger.lost_total() > 0, "{}", told(&report));
        assert!(ledger.lost.iter().any(|class| !class.findings.examples.is_empty()), "{}", told(&report));
        let promoted = report
            .operations
            .iter()
            .any(|operation| operation.kind == OperationKind::Promotion && operation.state == OperationState::Finished);
        assert!(promoted, "{}", told(&report));
    });
}
