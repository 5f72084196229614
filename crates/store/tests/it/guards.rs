//! Guards, as the store keeps them.

use crate::{Fixture, cluster};
use firedrill_api::guards::{Approval, ApprovalState, Chosen, Overridden, Wish};
use firedrill_model::attack::AttackState;
use firedrill_model::guard::{Authority, Guard, GuardPolicy, Refusal};
use firedrill_model::{AttackId, Timestamp};

#[tokio::test]
pub(crate) async fn limits_stay_as_they_were_set() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.store.guard_policy().await.expect("read"), None);
    for most in [3, 4] {
        let policy = GuardPolicy { concurrent_cluster_max: most, ..GuardPolicy::default() };
        fixture.store.set_guard_policy(&policy, "ann", Timestamp(1)).await.expect("stored");
        assert_eq!(fixture.reopened().await.guard_policy().await.expect("read"), Some(policy));
    }
}

#[tokio::test]
pub(crate) async fn overrides_and_choices_are_kept() {
    let fixture = Fixture::new().await;
    let refusal = Refusal {
        guard: Guard::Degraded,
        figure: "one is dead".to_owned(),
        limit: "none".to_owned(),
        authority: Authority::Operator,
    };
    let overridden = |id: &str, at| Overridden {
        id: id.to_owned(),
        at: Timestamp(at),
        cluster: cluster("shop"),
        by: "ann".to_owned(),
        reason: "a drill".to_owned(),
        attack: "kill".to_owned(),
        run: None,
        refusal: refusal.clone(),
    };
    for one in [overridden("a", 1), overridden("b", 2)] {
        fixture.store.add_override(&one).await.expect("stored");
    }
    let kept = fixture.reopened().await.overrides(10).await.expect("read");
    assert_eq!(kept, [overridden("b", 2), overridden("a", 1)]);
    let id = AttackId("one".to_owned());
    assert_eq!(fixture.store.choice(&id).await.expect("read"), None);
    let chosen = Chosen { target: "role=replica".to_owned(), seed: 7, by: "ann".to_owned(), approved_by: None };
    let begun = crate::records::attack("one", AttackState::Preparing, 1);
    fixture.store.begin_attacks(std::slice::from_ref(&begun), &chosen).await.expect("stored");
    assert_eq!(fixture.store.open_attacks().await.expect("read"), [begun]);
    assert_eq!(fixture.reopened().await.choice(&id).await.expect("read"), Some(chosen));
}

#[tokio::test]
pub(crate) async fn a_request_is_approved_once() {
    let fixture = Fixture::new().await;
    let waiting = Approval {
        id: "one".to_owned(),
        at: Timestamp(1),
        expires: Timestamp(2),
        by: "ann".to_owned(),
        text: "kill".to_owned(),
        state: ApprovalState::Waiting,
        approved_by: None,
        wish: Wish::Run(Box::default()),
    };
    fixture.store.add_approval(&waiting).await.expect("stored");
    let approved = Approval { state: ApprovalState::Approved, approved_by: Some("bob".to_owned()), ..waiting.clone() };
    assert!(fixture.store.settle_approval(&approved).await.expect("stored"));
    assert!(!fixture.store.settle_approval(&approved).await.expect("nothing to do"));
    assert_eq!(fixture.reopened().await.approval("one").await.expect("read"), Some(approved.clone()));
    assert_eq!(fixture.store.approvals(10).await.expect("read"), [approved]);
}
