//! A keeper between a played cluster and the store: observations in, instructions out, everything kept.

use crate::agent::{Agent, Link, hello};
use crate::fixture::{Fixture, until};
use firedrill_api::http::{Live, RegisterCluster};
use firedrill_api::link::{Hello, Upward};
use firedrill_model::cluster::{Endpoint, NodeSpec, Policy};
use firedrill_model::operation::OperationState;
use firedrill_model::workload::Login;
use firedrill_model::{AllowList, ClusterName, ClusterSpec, NodeName, OperationKind, Role};
pub(crate) use firedrill_played::Databases as Played;
use firedrill_store::KeeperCommit;
use futures_util::StreamExt;
use std::time::Duration;

const HOSTS: [&str; 4] = ["east-1", "east-2", "east-3", "gateway"];

pub(crate) fn shop() -> ClusterName {
    "shop".parse().expect("a name")
}

pub(crate) fn spec() -> ClusterSpec {
    let node = |number: u32| {
        let name = format!("east-{number}");
        NodeSpec {
            name: name.parse().expect("a name"),
            host: name.parse().expect("a name"),
            region: "east".parse().expect("a name"),
            endpoint: endpoint(number),
            initial_role: if number == 1 { Role::Primary } else { Role::Replica },
            server_id: number,
        }
    };
    ClusterSpec {
        name: shop(),
        nodes: (1..=3).map(node).collect(),
        gateway_host: Some("gateway".parse().expect("a name")),
        gateway: None,
        application_host: None,
        policy: Policy::default(),
    }
}

fn endpoint(number: u32) -> Endpoint {
    Endpoint { address: format!("10.9.0.{number}").parse().expect("an address"), port: 3306 }
}

pub(crate) fn register() -> RegisterCluster {
    let login = Login { user: "app".to_owned(), password: "secret".to_owned(), database: "shop".to_owned() };
    RegisterCluster { spec: spec(), login: Some(login) }
}

/// The agents of all hosts of the cluster, looking at their databases ten times a second.
pub(crate) struct Crew {
    pub(crate) agents: Vec<Agent>,
    looking: Vec<tokio::task::JoinHandle<()>>,
}

impl Crew {
    pub(crate) async fn connect(fixture: &Fixture, played: &Played) -> Self {
        Self::allowing(fixture, played, None).await
    }

    /// With hosts whose owner allows only this.
    pub(crate) async fn allowing(fixture: &Fixture, played: &Played, allowed: Option<AllowList>) -> Self {
        let mut crew = Self { agents: Vec::new(), looking: Vec::new() };
        for host in HOSTS {
            let identity = fixture.enrolled(host).await;
            let greeting = Hello { allowed: allowed.clone(), ..hello(&identity.host) };
            let script = played.script(identity.host.clone());
            let agent = Agent::connect_as(fixture, identity, greeting, script).await;
            if host != "gateway" {
                crew.looking.push(tokio::spawn(look(agent.link(), played.clone(), host.parse().expect("a name"))));
            }
            crew.agents.push(agent);
        }
        crew
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.looking.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

async fn look(link: Link, played: Played, node: NodeName) {
    let seen = || vec![Upward::Observation { observation: Box::new(firedrill_played::look(&played, &node)) }];
    while link.report(seen()).await.is_success() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A cluster that its keeper has brought up.
pub(crate) async fn healthy(fixture: &Fixture, played: &Played) -> Crew {
    let crew = Crew::connect(fixture, played).await;
    fixture.client.register_cluster(&register()).await.expect("registered");
    redundant(fixture).await;
    crew
}

pub(crate) async fn redundant(fixture: &Fixture) {
    until("full redundancy", async || {
        let view = fixture.client.cluster(&shop()).await.expect("a view");
        view.fully_redundant.then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_dead_primary_is_replaced_and_all_of_it_is_kept_and_told() {
    let mut fixture = Fixture::new().await;
    let played = Played::default();
    let crew = healthy(&fixture, &played).await;
    let east_1: NodeName = "east-1".parse().expect("a name");
    let view = fixture.client.cluster(&shop()).await.expect("a view");
    assert_eq!((view.primary.as_ref(), view.route.as_ref()), (Some(&east_1), Some(&east_1)));

    let live = fixture.client.events(&Default::default()).await.expect("a stream");
    played.kill(&east_1);
    let done = async |live: Live| match live {
        Live::Operation { operation }
            if operation.kind == OperationKind::Promotion && operation.state == OperationState::Finished =>
        {
            Some(operation)
        }
        _ => None,
    };
    let mut promotions = Box::pin(live.filter_map(|message| done(message.expect("a message").live)));
    let told = tokio::time::timeout(crate::fixture::WITHIN, promotions.next()).await.expect("in time").expect("told");
    assert_eq!(told.subject, east_1);

    let view = fixture.client.cluster(&shop()).await.expect("a view");
    let primary = view.primary.clone().expect("a primary");
    assert!(["east-2", "east-3"].contains(&primary.as_str()), "{primary}");
    assert_eq!(view.route.as_ref(), Some(&primary));
    let kept = fixture.client.operation(&told.id).await.expect("kept");
    assert_eq!(kept.kind, OperationKind::Promotion);
    let lines = fixture.client.timeline(&Default::default()).await.expect("lines");
    assert!(lines.iter().any(|line| line.scope.operation.as_ref() == Some(&told.id)), "{lines:#?}");

    // A restart knows who the primary is before any agent is back.
    drop((promotions, crew));
    fixture.restart().await;
    let after = fixture.client.cluster(&shop()).await.expect("a view");
    assert_eq!(after.primary, Some(primary));
    assert!(after.generation >= view.generation);
    assert_eq!(fixture.client.operation(&told.id).await.expect("kept").kind, OperationKind::Promotion);
}

#[tokio::test]
async fn a_request_moves_the_primary_and_a_bad_one_is_refused() {
    let fixture = Fixture::new().await;
    let played = Played::default();
    let _crew = healthy(&fixture, &played).await;
    let request = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    let refused = fixture
        .client
        .request(&shop(), &request(r#"{"request":"switchover","to":"nobody"}"#))
        .await
        .expect_err("no such node");
    assert!(refused.refused(), "{refused}");
    let accepted = fixture.client.request(&shop(), &request(r#"{"request":"switchover","to":"east-3"}"#)).await;
    let operation = accepted.expect("accepted").operation.expect("an operation");
    until("the switchover", async || {
        let operation = fixture.client.operation(&operation).await.ok()?;
        (operation.state == OperationState::Finished).then_some(())
    })
    .await;
    let view = fixture.client.cluster(&shop()).await.expect("a view");
    assert_eq!(view.primary.expect("a primary").as_str(), "east-3");
}

#[tokio::test]
async fn nothing_leaves_that_is_not_stored() {
    let fixture = Fixture::new().await;
    let played = Played::default();
    let crew = healthy(&fixture, &played).await;
    // As if another server had gone on from the same directory.
    let shop = shop();
    let newer = KeeperCommit { cluster: &shop, state: Some((1 << 40, "{}")), operations: &[], notes: &[] };
    fixture.server().store.commit_keeper(newer).await.expect("stored");
    let commands = || {
        let told = crew.agents.iter().map(|agent| agent.instructions.lock().expect("whole").len());
        told.sum::<usize>()
    };
    let before = commands();
    let request = serde_json::json!({ "request": "switchover", "to": "east-3" });
    let error = fixture.client.request(&shop, &request).await.expect_err("its keeper has stopped");
    assert!(error.to_string().contains("has stopped"), "{error}");
    assert_eq!(commands(), before);
    let problems = fixture.client.cluster(&shop).await.expect("a view").problems;
    assert!(problems[0].contains("another server"), "{problems:?}");
    assert!(fixture.client.operations(None).await.expect("a list").is_empty());
}

#[tokio::test]
async fn an_agent_speaks_for_the_nodes_of_its_own_host_only() {
    let fixture = Fixture::new().await;
    let liar = Agent::connect(&fixture, "east-2", Played::default().script("east-2".parse().expect("a name"))).await;
    fixture.client.register_cluster(&register()).await.expect("registered");
    let seen = Played::default();
    let look = |node: &str| Upward::Observation {
        observation: Box::new(firedrill_played::look(&seen, &node.parse().expect("a name"))),
    };
    liar.report(vec![look("east-1"), look("east-2")]).await;
    let view = until("the observation", async || {
        let view = fixture.client.cluster(&shop()).await.expect("a view");
        view.nodes.iter().any(|node| node.name.as_str() == "east-2" && node.observation.is_some()).then_some(view)
    })
    .await;
    let lied = view.nodes.iter().find(|node| node.name.as_str() == "east-1").expect("a node");
    assert_eq!(lied.observation, None);
}
