//! The emergency promotion from the page, and a primary that dies while somebody looks.

use super::{RECOVERED, SOON, visit};
use crate::fleet::{Fleet, block_on};
use firedrill_model::OperationKind;
use firedrill_model::operation::OperationState;
use firedrill_sandbox::Profile;

#[test]
fn the_topology_moves_with_a_promotion_and_with_a_death() {
    block_on(async {
        let fleet = Fleet::up("t-moves", Profile::Safe).await;
        fleet.until_redundant().await;
        let browser = visit(&fleet).await.expect("a browser");
        let server = &fleet.status.server.url;
        browser.go(&format!("{server}/clusters/{}", fleet.cluster)).await.expect("a page");
        browser.read("#link", "live", SOON).await.expect("it is live");
        let before = fleet.primary().await;

        // The emergency promotion: what would happen, then one question.
        browser.click("a[href$='/act/promote']").await.expect("the button");
        let foreseen = browser.read("#foreseen", "What could be lost", SOON).await.expect("what would happen");
        assert!(foreseen.contains("Step by step"), "{foreseen}");
        browser.click("form[method=post] button.danger").await.expect("the question");
        let promoted = async || {
            let operations = fleet.client.operations(None).await.ok()?;

            operations
                .into_iter()
                .find(|one| one.kind == OperationKind::Promotion && one.state == OperationState::Finished)
        };
        fleet.until("a promotion", RECOVERED, promoted).await;
        let after = fleet.primary().await;
        assert_ne!(before, after);
        browser.go(&format!("{server}/clusters/{}", fleet.cluster)).await.expect("a page");
        browser.read("#topology", &format!("primary {after}"), SOON).await.expect("the new primary");
        fleet.until_redundant().await;

        // A primary that dies by itself, with the page open.
        let pid = fleet.database_pid(&after).await.expect("a database");
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("killed");
        let next = async || {
            let view = fleet.client.cluster(&fleet.cluster).await.ok()?;
            view.primary.map(|node| node.to_string()).filter(|node| *node != after)
        };
        let next = fleet.until("another primary", RECOVERED, next).await;
        browser.read("#topology", &format!("primary {next}"), SOON).await.expect("the page shows it");
        fleet.until_redundant().await;
        browser.close().await.expect("closed");
    });
}
