//! Hosts, disks and whole regions that fail. A region that loses power loses nothing with safe settings; with others a
//! kill loses nothing either, and a loss of power does.

use crate::fleet::{Fleet, block_on, told};
use firedrill_model::report::RunReport;
use firedrill_model::{OperationKind, OperationState, Verdict};
use firedrill_sandbox::Profile;

async fn run(fleet: &Fleet, name: &str) -> RunReport {
    fleet.until_redundant().await;
    fleet.run(&fleet.library(name).await).await
}

fn lost(report: &RunReport) -> u64 {
    report.ledger.as_ref().map_or(0, |ledger| ledger.lost.iter().map(|class| class.findings.count).sum())
}

#[test]
fn a_region_that_loses_power_comes_back_with_every_acknowledged_write() {
    block_on(async {
        let fleet = Fleet::up_on_layers("region", &[]).await;
        for name in ["kill-region", "power-loss-region"] {
            let report = run(&fleet, name).await;
            assert_eq!(report.verdict, Some(Verdict::Passed), "{}", told(&report));
        }
    });
}

#[test]
fn hosts_that_go_down_come_back_and_the_fleet_with_them() {
    block_on(async {
        let fleet = Fleet::up("hosts", Profile::Safe).await;
        for name in ["reboot-primary", "power-off-region"] {
            let report = run(&fleet, name).await;
            assert_eq!(report.verdict, Some(Verdict::Passed), "{}", told(&report));
        }
    });
}

#[test]
fn a_primary_whose_disk_hangs_or_is_full_is_replaced() {
    block_on(async {
        let fleet = Fleet::up_on_layers("disk", &[]).await;
        for name in ["hung-disk-primary", "full-disk-primary"] {
            let report = run(&fleet, name).await;
            assert_eq!(report.verdict, Some(Verdict::Passed), "{}", told(&report));
        }
    });
}

#[test]
fn a_redo_log_that_is_not_flushed_passes_a_kill_and_fails_a_power_loss() {
    block_on(async {
        let fleet = Fleet::up_on_layers("flush", &["innodb-flush-log-at-trx-commit=2"]).await;
        let report = run(&fleet, "kill-region").await;
        assert_eq!(report.verdict, Some(Verdict::Passed), "{}", told(&report));
        let report = run(&fleet, "power-loss-region").await;
        assert_eq!(report.verdict, Some(Verdict::Failed), "{}", told(&report));
        assert!(lost(&report) > 0, "{}", told(&report));
    });
}

#[test]
fn a_binary_log_that_is_not_synced_is_told_by_who_holds_more_and_waits_for_a_person() {
    block_on(async {
        let settings = ["innodb-flush-log-at-trx-commit=2", "sync-binlog=0"];
        let fleet = Fleet::up_on_layers("binlog", &settings).await;
        let report = run(&fleet, "kill-region").await;
        assert_eq!(report.verdict, Some(Verdict::Passed), "{}", told(&report));
        let report = run(&fleet, "power-loss-region").await;
        assert_eq!(report.verdict, Some(Verdict::Failed), "{}", told(&report));
        let waits = report.operations.iter().find(|operation| operation.kind == OperationKind::Recovery);
        let waits = waits.expect("a recovery was tried");
        assert_eq!(waits.state, OperationState::NeedsPerson, "{}", told(&report));
        let reason = waits.reason.as_deref().unwrap_or_default();
        assert!(reason.contains("came back without"), "{reason}");
    });
}
