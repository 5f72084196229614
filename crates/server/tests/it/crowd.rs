//! Many attacks at once.

use crate::agent::{Agent, hello};
use crate::fixture::Fixture;
use crate::keeper::{register, shop};
use firedrill_api::http::StartAttack;
use firedrill_model::attack::AttackState;
use firedrill_model::experiment::AttackStep;
use firedrill_model::guard::GuardPolicy;
use firedrill_model::{Fault, Selector, Span};
use firedrill_played::willing;
use futures_util::future::join_all;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const HOSTS: usize = 20;
/// On each host, in turn: that makes 100 attacks.
const ROUNDS: usize = 5;
/// On a machine that does ten other things; it takes some tens of milliseconds by itself.
const HALT_MAX: Duration = Duration::from_secs(3);

async fn crowd(fixture: &Fixture) -> Vec<Agent> {
    fixture.client.register_cluster(&register()).await.expect("registered");
    fixture.client.set_guards(&GuardPolicy::all_off()).await.expect("set");
    let connect = async |number: usize| {
        let identity = fixture.enrolled(&format!("crowd-{number}")).await;
        let (host, greeting) = (identity.host.clone(), hello(&identity.host));
        Agent::connect_as(fixture, identity, greeting, willing(host, |_| {})).await
    };
    join_all((0..HOSTS).map(connect)).await
}

fn everywhere() -> StartAttack {
    let target = Selector { tags: [("kind".to_owned(), "played".to_owned())].into(), ..Selector::default() };
    StartAttack::new(
        shop(),
        AttackStep { name: None, fault: Fault::new("cpu").with("load", 10), target, duration: Span::secs(60) },
    )
}

#[tokio::test]
async fn a_halt_of_a_hundred_attacks_takes_each_out_and_tells_how_long_it_took() {
    let fixture = Fixture::new().await;
    let _agents = crowd(&fixture).await;
    let mut started = BTreeSet::new();
    for _ in 0..ROUNDS {
        let reports = fixture.client.start_attack(&everywhere()).await.expect("started");
        assert!(reports.iter().all(|report| report.state == AttackState::Active), "{reports:?}");
        started.extend(reports.into_iter().map(|report| report.id));
    }
    assert_eq!(started.len(), HOSTS * ROUNDS);
    assert_eq!(fixture.server().store.open_attacks().await.expect("read").len(), HOSTS * ROUNDS);

    // While others ask and start.
    let load = async {
        while fixture.client.start_attack(&everywhere()).await.is_ok() {}
        Instant::now()
    };
    let halting = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let began = Instant::now();
        (fixture.client.halt("enough").await.expect("halted"), began)
    };
    let ((halted, began), refused) = tokio::join!(halting, load);
    assert!(began.elapsed() < HALT_MAX && halted.took.duration() <= began.elapsed(), "{}", halted.took);
    assert!(refused >= began, "starts are refused from the halt on");
    let out: BTreeSet<_> = halted.attacks.iter().map(|report| report.id.clone()).collect();
    assert!(out.is_superset(&started) && halted.attacks.iter().all(|report| report.state == AttackState::Undone));
    let open = fixture.server().store.open_attacks().await.expect("read");
    assert!(open.is_empty(), "{} are left, the first is {:?}", open.len(), open.first());

    let lines = fixture.client.timeline(&Default::default()).await.expect("lines");
    let told = format!("{0} of {0} attacks taken out in {1}", halted.attacks.len(), halted.took);
    assert!(lines.iter().any(|line| line.text.contains(&told)), "{told}");
    // An attack that was under way when the halt came was refused by its agent or is out as well.
    let list = fixture.client.attacks().await.expect("a list");
    assert!(list.iter().all(|report| matches!(report.state, AttackState::Undone | AttackState::Refused)));
}
