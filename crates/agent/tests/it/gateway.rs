//! The gateway process: started, told, found again, started anew.

use crate::agent::{Agent, config};
use crate::link_server::{LinkServer, instruction};
use firedrill_agent::AgentConfig;
use firedrill_api::link::{Answer, Order};
use firedrill_host::process::{Identity, Signal};
use firedrill_model::command::Route;
use firedrill_model::{Endpoint, Generation, NodeCommand, NodeReply};
use firedrill_proxy::control::{Client, Status};
use firedrill_proxy::gateway::GatewayConfig;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

/// Kills the gateway when the test ends, however it ends: agents leave it running.
struct Cleanup(AgentConfig);

impl Drop for Cleanup {
    fn drop(&mut self) {
        if let Ok(Some(identity)) = Identity::load(&self.0.data_dir.join("gateway/identity"))
            && let Ok(Some(process)) = identity.open()
        {
            let _ = process.signal(Signal::SIGKILL);
        }
    }
}

fn gateway_config(server: &LinkServer, dir: &Path) -> AgentConfig {
    let listen = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let endpoint = Endpoint { address: listen.ip(), port: listen.port() };
    let cluster = "shop".parse().expect("a name");
    let mut gateway = GatewayConfig::new(cluster, endpoint, dir.join("control.sock"), dir.join("gateway.state"));
    gateway.threads = 1;
    AgentConfig { gateway: Some(gateway), ..config(server, dir) }
}

fn primary() -> Route {
    let endpoint = Endpoint { address: "127.0.0.1".parse().expect("an address"), port: 9 };
    Route::Primary { node: "east-1".parse().expect("a name"), endpoint }
}

fn order(route: Route) -> Order {
    Order::Node { command: NodeCommand::Route { cluster: "shop".parse().expect("a name"), route } }
}

async fn status(config: &AgentConfig) -> Option<Status> {
    let control = &config.gateway.as_ref().expect("a gateway").control;
    Client::connect(control).await.ok()?.status().await.ok()
}

async fn until(config: &AgentConfig, what: &str, good: impl Fn(&Status) -> bool) -> Status {
    for _ in 0..1000 {
        if let Some(status) = status(config).await
            && good(&status)
        {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not come; last: {:?}", status(config).await)
}

fn pid(config: &AgentConfig) -> Identity {
    Identity::load(&config.data_dir.join("gateway/identity")).expect("read").expect("there")
}

#[tokio::test]
async fn it_is_told_found_again_and_told_again() {
    let dir = tempfile::tempdir().expect("temp dir");
    let server = LinkServer::start().await;
    let config = gateway_config(&server, dir.path());
    let _cleanup = Cleanup(config.clone());
    let agent = Agent::start(config.clone());
    server.connected().await;
    // At once, though the gateway is just being started.
    server.send(instruction("go", 3, order(primary())));
    assert_eq!(server.answer("go", 1).await, Ok(Answer::Node { result: NodeReply::Done }));
    let first = pid(&config);
    assert_eq!(until(&config, "the route", |status| status.route == primary()).await.generation, Generation(3));

    agent.kill().await;
    assert!(first.alive(), "it outlives the agent");
    let agent = Agent::start(config.clone());
    server.until("another hello", |heard| heard.hellos.get(1).map(|_| ())).await;
    server.connected().await;
    server.send(instruction("go on", 3, order(primary())));
    assert_eq!(server.answer("go on", 1).await, Ok(Answer::Node { result: NodeReply::Done }));
    assert_eq!(pid(&config), first, "it is adopted");

    first.open().expect("no error").expect("alive").signal(Signal::SIGKILL).expect("killed");
    until(&config, "the same route in a new process", |status| status.route == primary()).await;
    assert_ne!(pid(&config), first);
    agent.stop().await;
    assert!(pid(&config).alive(), "it outlives a peaceful end too");
}

#[tokio::test]
async fn an_outdated_route_is_not_repeated() {
    let dir = tempfile::tempdir().expect("temp dir");
    let server = LinkServer::start().await;
    let config = gateway_config(&server, dir.path());
    let _cleanup = Cleanup(config.clone());
    let agent = Agent::start(config.clone());
    server.connected().await;
    server.send(instruction("go", 3, order(primary())));
    server.answer("go", 1).await.expect("routed");
    // Somebody of generation 4 has asked for something: a failover is under way.
    server.send(instruction("newer", 4, Order::Resume));
    server.answer("newer", 1).await.expect("done");
    let first = pid(&config);
    first.open().expect("no error").expect("alive").signal(Signal::SIGKILL).expect("killed");
    for _ in 0..500 {
        if pid(&config) != first && status(&config).await.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(status(&config).await.expect("it runs again").route, Route::Hold);
    server.send(instruction("go there", 4, order(primary())));
    server.answer("go there", 1).await.expect("routed");
    assert_eq!(status(&config).await.expect("it runs").route, primary());
    agent.stop().await;
}
