//! Guards between a wish and a played cluster: what is refused, overridden, approved and only planned.

use crate::fixture::{Fixture, until};
use crate::keeper::{Crew, Played, healthy, redundant, register, shop};
use firedrill_api::client::{Client, ClientError};
use firedrill_api::http::{StartAttack, StartRun};
use firedrill_model::attack::AttackState;
use firedrill_model::experiment::AttackStep;
use firedrill_model::guard::{Guard, GuardPolicy, Override};
use firedrill_model::report::RunReport;
use firedrill_model::{AllowList, Fault, Percent, Span, Verdict};

fn pause(target: &str) -> StartAttack {
    let target = target.parse().expect("a selector");
    StartAttack::new(shop(), AttackStep { name: None, fault: Fault::new("pause"), target, duration: Span::secs(30) })
}

fn overriding(start: StartAttack, guards: &[Guard]) -> StartAttack {
    let reason = "a drill in the lab".to_owned();
    let overrides = guards.iter().map(|guard| Override { guard: *guard, reason: reason.clone() }).collect();
    StartAttack { overrides, ..start }
}

fn code(error: &ClientError) -> &str {
    match error {
        ClientError::Problem(problem) => &problem.code,
        other => panic!("not a problem: {other}"),
    }
}

async fn cluster() -> (Fixture, Crew) {
    let fixture = Fixture::new().await;
    let crew = healthy(&fixture, &Played::default()).await;
    (fixture, crew)
}

fn person(fixture: &Fixture, name: &str) -> Client {
    fixture.client.clone().in_the_name_of(Some(name.to_owned()))
}

#[tokio::test]
async fn a_plan_shows_hosts_parameters_radius_and_guards_and_begins_nothing() {
    let (fixture, _crew) = cluster().await;
    let plan = fixture.client.plan_attack(&pause("role=replica,choose=1")).await.expect("a plan");
    assert_eq!(plan.hosts.len(), 1);
    let host = &plan.hosts[0];
    assert_eq!((host.host.as_str(), host.connected, host.fault.kind()), ("east-2", true, "pause"));
    assert_eq!((plan.radius.cluster.hit, plan.radius.cluster.of, plan.radius.primary), (1, 3, false));
    assert_eq!(plan.radius.replicas_left.iter().map(|node| node.as_str()).collect::<Vec<_>>(), ["east-3"]);
    assert_eq!(plan.radius.ackers_left.len(), 1);
    assert!(plan.guards.iter().all(|answer| !answer.stands()), "{:#?}", plan.guards);

    let both = fixture.client.plan_attack(&pause("role=replica")).await.expect("a plan");
    let refusing: Vec<_> = both.guards.iter().filter(|answer| answer.stands()).map(|answer| answer.guard).collect();
    assert_eq!(refusing, [Guard::LastReplica, Guard::ClusterShare]);
    assert!(fixture.client.attacks().await.expect("a list").is_empty());
}

#[tokio::test]
async fn the_last_replica_stays_unless_somebody_says_why() {
    let (fixture, _crew) = cluster().await;
    let ann = person(&fixture, "ann");
    let refused = ann.start_attack(&pause("role=replica")).await.expect_err("a guard refuses");
    assert!(refused.refused() && code(&refused) == "S071", "{refused}");
    for said in ["guard last-replica: 0 healthy replicas", "the limit: at least 1", "an administrator may override it"]
    {
        assert!(refused.to_string().contains(said), "{refused}");
    }
    assert!(fixture.client.attacks().await.expect("a list").is_empty());
    assert!(fixture.client.overrides().await.expect("a list").is_empty());

    let both = overriding(pause("role=replica"), &[Guard::LastReplica, Guard::ClusterShare, Guard::Window]);
    let reports = ann.start_attack(&both).await.expect("begun");
    assert_eq!(reports.iter().map(|report| report.state).collect::<Vec<_>>(), [AttackState::Active; 2]);
    let overridden = fixture.client.overrides().await.expect("a list");
    // What did not refuse was not overridden.
    let mut guards: Vec<_> = overridden.iter().map(|one| (one.by.as_str(), one.refusal.guard)).collect();
    guards.sort_unstable();
    assert_eq!(guards, [("ann", Guard::LastReplica), ("ann", Guard::ClusterShare)]);
    let lines = fixture.client.timeline(&Default::default()).await.expect("lines");
    let told =
        lines.iter().any(|line| line.text.contains("ann overrides guard last-replica for attack pause: a drill"));
    assert!(told, "{lines:#?}");

    // What is in place counts: nothing healthy is left that could replace the primary.
    let refused = ann.start_attack(&pause("role=primary")).await.expect_err("a guard refuses");
    assert!(refused.to_string().contains("guard last-replica"), "{refused}");
}

#[tokio::test]
async fn a_cluster_that_is_not_whole_is_left_alone() {
    let fixture = Fixture::new().await;
    let _crew = Crew::connect(&fixture, &Played::default()).await;
    let mut spec = register();
    spec.spec.nodes[2].name = "east-9".parse().expect("a name");
    fixture.client.register_cluster(&spec).await.expect("registered");
    let refused = fixture.client.start_attack(&pause("role=primary")).await.expect_err("a guard refuses");
    assert!(refused.refused() && refused.to_string().contains("guard degraded: cluster shop is degraded"), "{refused}");
}

#[tokio::test]
async fn what_is_marked_waits_for_a_second_person() {
    let (fixture, _crew) = cluster().await;
    let (ann, bob) = (person(&fixture, "ann"), person(&fixture, "bob"));
    let limits = GuardPolicy { approval_kinds: vec!["pause".to_owned()], ..GuardPolicy::default() };
    ann.set_guards(&limits).await.expect("set");
    let start = pause("role=replica,choose=1");
    let waits = ann.start_attack(&start).await.expect_err("it waits");
    assert!(waits.refused() && code(&waits) == "S072", "{waits}");
    let waiting = fixture.client.approvals().await.expect("a list").remove(0);
    assert!(waits.to_string().contains(&format!("firedrill attack approve {}", waiting.id)), "{waits}");
    assert!(fixture.client.attacks().await.expect("a list").is_empty());

    let alone = ann.start_attack(&overriding(start, &[Guard::Approval])).await.expect_err("not alone");
    assert_eq!(code(&alone), "S073", "{alone}");
    let own = ann.approve(&waiting.id).await.expect_err("her own");
    assert!(own.refused() && code(&own) == "S074", "{own}");
    let nameless = fixture.client.approve(&waiting.id).await.expect_err("nobody");
    assert_eq!(code(&nameless), "S074", "{nameless}");

    let approved = bob.approve(&waiting.id).await.expect("begun");
    assert_eq!(approved.attacks.len(), 1);
    let chosen = fixture.server().store.choice(&approved.attacks[0].id).await.expect("read").expect("kept");
    assert_eq!((chosen.by.as_str(), chosen.approved_by.as_deref()), ("ann", Some("bob")));
    let again = bob.approve(&waiting.id).await.expect_err("once");
    assert_eq!(code(&again), "S074", "{again}");
    assert_eq!(code(&bob.approve("none").await.expect_err("none")), "S001");
}

#[tokio::test]
async fn limits_are_kept_and_contradictions_are_not_taken() {
    let mut fixture = Fixture::new().await;
    assert_eq!(fixture.client.guards().await.expect("limits"), GuardPolicy::default());
    let strict = GuardPolicy { concurrent_all_max: 20, ..GuardPolicy::default() };
    person(&fixture, "ann").set_guards(&strict).await.expect("set");
    fixture.restart().await;
    assert_eq!(fixture.client.guards().await.expect("limits"), strict);
    for (wrong, said) in [
        (GuardPolicy { concurrent_cluster_max: 0, ..strict.clone() }, "allows no attack at all"),
        (GuardPolicy { approval_kinds: vec!["tickle".to_owned()], ..strict.clone() }, "tickle"),
    ] {
        let error = fixture.client.set_guards(&wrong).await.expect_err("contradiction");
        assert!(code(&error) == "S075" && error.to_string().contains(said), "{error}");
    }
    assert_eq!(fixture.client.guards().await.expect("limits"), strict);
    let lines = fixture.client.timeline(&Default::default()).await.expect("lines");
    assert!(lines.iter().any(|line| line.text.contains("ann set the limits")), "{lines:#?}");
}

#[tokio::test]
async fn a_random_choice_is_recorded_and_can_be_made_again() {
    let (fixture, _crew) = cluster().await;
    let random = pause("cluster=shop,choose=random");
    let plan = fixture.client.plan_attack(&random).await.expect("a plan");
    let again = StartAttack { seed: Some(plan.seed), ..random };
    let reports = fixture.client.start_attack(&again).await.expect("begun");
    assert_eq!(reports[0].host, plan.hosts[0].host);
    let chosen = fixture.server().store.choice(&reports[0].id).await.expect("read").expect("kept");
    assert_eq!((chosen.seed, chosen.target.as_str()), (plan.seed, "cluster=shop,choose=random"));
    let lines = fixture.client.timeline(&Default::default()).await.expect("lines");
    assert!(lines.iter().any(|line| line.text.contains(&format!("with seed {}", plan.seed))), "{lines:#?}");
}

fn two_attacks(overlap: bool) -> StartRun {
    let yaml = format!(
        "name: twice\ntitle: t\nhypothesis: h\noverlap: {overlap}\nwarm_up: 1ms\ncool_down: 1ms\nsteps:\n\
         \x20 - attack: {{kind: pause, target: {{role: replica, choose: 1}}, duration: 30s}}\n\
         \x20 - attack: {{kind: pause, name: second, target: {{role: primary}}, duration: 30s}}\n\
         expect: [no-promotion]\n"
    );
    StartRun { yaml, ..StartRun::default() }
}

async fn ended(fixture: &Fixture, start: &StartRun) -> RunReport {
    let run = fixture.client.start_run(start).await.expect("begun").run;
    until("the end of the run", async || fixture.client.run(&run).await.ok().filter(|report| report.ended.is_some()))
        .await
}

#[tokio::test]
async fn a_run_overlaps_its_own_attacks_only_when_its_file_says_so() {
    let (fixture, _crew) = cluster().await;
    let report = ended(&fixture, &two_attacks(false)).await;
    assert_eq!(report.verdict, Some(Verdict::Inconclusive), "{:?}", report.reasons);
    assert!(
        report.reasons.iter().any(|reason| reason.contains("guard overlap: pause on east-2")),
        "{:?}",
        report.reasons
    );
    assert_eq!(report.attacks.len(), 1);
    // Two of three nodes at once are more than the share that is allowed by default, whatever the file says.
    let wide = GuardPolicy { cluster_share_max: Percent::whole(100), ..GuardPolicy::default() };
    fixture.client.set_guards(&wide).await.expect("set");
    let report = ended(&fixture, &two_attacks(true)).await;
    assert_eq!((report.verdict, report.attacks.len()), (Some(Verdict::Passed), 2), "{:?}", report.reasons);
}

#[tokio::test]
async fn a_run_is_planned_refused_and_approved_like_an_attack() {
    let (fixture, _crew) = cluster().await;
    let plan = fixture.client.plan_run(&two_attacks(true)).await.expect("a plan");
    assert_eq!((plan.refused, plan.attacks.len(), plan.attacks[1].step), (None, 2, 1));
    let limits = GuardPolicy {
        approval_kinds: vec!["pause".to_owned()],
        cluster_share_max: Percent::whole(100),
        ..GuardPolicy::default()
    };
    fixture.client.set_guards(&limits).await.expect("set");
    let waits = person(&fixture, "ann").start_run(&two_attacks(true)).await.expect_err("it waits");
    assert_eq!(code(&waits), "S072", "{waits}");
    assert!(fixture.client.runs().await.expect("a list").is_empty());
    let waiting = fixture.client.approvals().await.expect("a list").remove(0);
    let run = person(&fixture, "bob").approve(&waiting.id).await.expect("begun").run.expect("a run");
    let report = until("the end of the run", async || {
        fixture.client.run(&run).await.ok().filter(|report| report.ended.is_some())
    })
    .await;
    assert_eq!(report.verdict, Some(Verdict::Passed), "{:?}", report.reasons);
}

#[tokio::test]
async fn what_a_hosts_owner_does_not_allow_is_shown_in_the_plan_and_begins_nowhere() {
    let fixture = Fixture::new().await;
    let allow = AllowList { except: vec!["pause".to_owned()], ..AllowList::default() };
    let restricted = allow.clone();
    let _crew = Crew::allowing(&fixture, &Played::default(), Some(allow)).await;
    fixture.client.register_cluster(&register()).await.expect("registered");
    redundant(&fixture).await;
    let east: firedrill_model::HostName = "east-2".parse().expect("a name");
    assert_eq!(fixture.client.host(&east).await.expect("shown").allowed, Some(restricted));

    let plan = fixture.client.plan_attack(&pause("role=replica,choose=1")).await.expect("a plan");
    let refusing: Vec<_> = plan.guards.iter().filter(|answer| answer.stands()).map(|answer| answer.guard).collect();
    assert_eq!(refusing, [Guard::HostOwner]);
    let refused = fixture.client.start_attack(&pause("role=replica,choose=1")).await.expect_err("a guard refuses");
    assert!(refused.refused() && refused.to_string().contains("the owner of host east-2 does not allow"), "{refused}");
    let anyway = overriding(pause("role=replica,choose=1"), &[Guard::HostOwner]);
    assert_eq!(code(&fixture.client.start_attack(&anyway).await.expect_err("nobody overrides it")), "S073");
    let off = GuardPolicy { off: vec![Guard::HostOwner], ..GuardPolicy::default() };
    assert_eq!(code(&fixture.client.set_guards(&off).await.expect_err("it stays on")), "S075");
    assert!(fixture.client.attacks().await.expect("a list").is_empty());
}
