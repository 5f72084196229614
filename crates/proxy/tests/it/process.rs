//! The gateway as a process of its own: killed, started again, in somebody's way.

use crate::support::{Backend, Lab, SOON, cluster, config_in, greeting, to};
use firedrill_host::process::{Child, Signal, Spawn, Stream};
use firedrill_model::Generation;
use firedrill_model::command::Route;
use firedrill_proxy::control::{Client, ControlError, Refusal};
use firedrill_proxy::gateway::{self, Gateway, GatewayConfig, GatewayError};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

/// Names the configuration file in the environment of a gateway started by a test.
const CONFIG: &str = "FIREDRILL_TEST_GATEWAY_CONFIG";

/// Not a test by itself: the body of the gateway processes that the tests below start from this same program.
#[test]
fn gateway_process() {
    if let Ok(file) = std::env::var(CONFIG) {
        let text = std::fs::read_to_string(file).expect("the configuration is there");
        let ended = gateway::run(serde_json::from_str(&text).expect("the configuration reads"));
        panic!("the gateway ended: {ended:?}");
    }
}

/// A gateway process; killed with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already: that is what some tests are about.
        let _ = self.0.signal(Signal::SIGKILL);
    }
}

async fn start(config: &GatewayConfig, directory: &Path) -> (Process, Client) {
    let file = directory.join("gateway.json");
    std::fs::write(&file, serde_json::to_vec(config).expect("serialises")).expect("writes");
    let child = Spawn::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "process::gateway_process", "--nocapture"])
        .env(CONFIG, &file)
        .stdout(Stream::Append(directory.join("log")))
        .stderr(Stream::Append(directory.join("log")))
        .new_session()
        .spawn()
        .expect("starts");
    let process = Process(child);
    let begun = Instant::now();
    loop {
        if let Ok(mut control) = Client::connect(&config.control).await
            && let Ok(status) = control.status().await
            && status.pid == process.0.pid()
        {
            return (process, control);
        }
        let log = std::fs::read_to_string(directory.join("log")).unwrap_or_default();
        assert!(begun.elapsed() < SOON, "the gateway process does not answer: {log}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_gateway_comes_back_on_the_same_port_and_holds() {
    let backend = Backend::greeter().await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut config = config_in(&directory);
    let (first, mut control) = start(&config, directory.path()).await;
    let listen = control.status().await.expect("a status").listen;
    config.listen = listen;
    let address = SocketAddr::from((listen.address, listen.port));
    control.set_route(&cluster(), Generation(4), &to(backend.address)).await.expect("routes");
    let mut client = TcpStream::connect(address).await.expect("connects");
    assert_eq!(greeting(&mut client).await, backend.address);

    first.0.kill().await.expect("killed");
    let (_second, mut fresh) = start(&config, directory.path()).await;
    let status = fresh.status().await.expect("a status");
    assert_eq!((status.route, status.generation), (Route::Hold, Generation(4)), "holds, and remembers the authority");
    let mut held = TcpStream::connect(address).await.expect("connects");
    let stale = fresh.set_route(&cluster(), Generation(3), &to(backend.address)).await;
    assert!(matches!(stale, Err(ControlError::Refused(Refusal::Stale { .. }))), "{stale:?}");
    // The connection from before the restart is replaced by itself.
    control.set_route(&cluster(), Generation(4), &to(backend.address)).await.expect("told again");
    assert_eq!(greeting(&mut held).await, backend.address);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named_with_what_to_look_for() {
    let lab = Lab::start().await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut config = config_in(&directory);
    config.listen = lab.gateway.address();
    let refused = Gateway::start(config.clone()).expect_err("the address is taken");
    assert!(matches!(refused, GatewayError::InUse { .. }), "{refused:?}");
    let text = refused.to_string();
    let port = config.listen.port;
    assert!(
        text.contains(&format!("127.0.0.1:{port}")) && text.contains(&format!("ss -ltnp 'sport = :{port}'")),
        "{text}"
    );
    assert!(!config.control.exists(), "nothing is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_of_another_host_and_a_missing_directory_are_named() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut foreign = config_in(&directory);
    foreign.listen.address = [192, 0, 2, 1].into();
    let refused = Gateway::start(foreign).expect_err("not our address").to_string();
    assert!(refused.contains("192.0.2.1") && refused.contains("ip address"), "{refused}");

    let mut nowhere = config_in(&directory);
    nowhere.control = directory.path().join("missing/control");
    let refused = Gateway::start(nowhere).expect_err("no such directory").to_string();
    assert!(refused.contains("missing/control") && refused.contains("directory"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_cannot_be_stored_does_not_stop_a_switch() {
    let backend = Backend::greeter().await;
    let mut lab = Lab::with(|config| config.state = config.state.join("not-a-directory/state")).await;
    lab.set(3, &to(backend.address)).await;
    assert_eq!(greeting(&mut lab.connect().await).await, backend.address);
    let problem = lab.status().await.problem.expect("the status tells");
    assert!(problem.contains("could not be stored") && problem.contains("not-a-directory"), "{problem}");
    let stale = lab.control.set_route(&cluster(), Generation(2), &Route::Hold).await;
    assert!(matches!(stale, Err(ControlError::Refused(Refusal::Stale { .. }))), "memory still guards it");
}

#[tokio::test]
async fn a_missing_gateway_is_named() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let refused = Client::connect(directory.path().join("control")).await.expect_err("nobody is there").to_string();
    assert!(refused.contains("no gateway answers at") && refused.contains("is it running"), "{refused}");
}
