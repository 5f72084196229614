//! The service manager is told that the agent works, as long as it does.

use crate::agent::{AgentProcess, config};
use crate::link_server::LinkServer;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// The next message to the service manager; `None` when none comes.
fn next(manager: &UnixDatagram, within: Duration) -> Option<String> {
    manager.set_read_timeout(Some(within)).expect("sets");
    let mut buffer = [0; 256];
    let size = manager.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..size]).trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_tells_its_service_manager_that_it_works_until_it_hangs() {
    let dir = tempfile::tempdir().expect("temp dir");
    let server = LinkServer::start().await;
    let socket = dir.path().join("notify");
    let manager = UnixDatagram::bind(&socket).expect("binds");
    let environment = [("NOTIFY_SOCKET", socket.display().to_string()), ("WATCHDOG_USEC", "300000".to_owned())];
    let agent = AgentProcess::start_with(&config(&server, dir.path()), dir.path(), &environment);
    let long = Duration::from_secs(10);
    assert_eq!(next(&manager, long).as_deref(), Some("READY=1"));
    for _ in 0..3 {
        assert_eq!(next(&manager, long).as_deref(), Some("WATCHDOG=1"));
    }
    agent.0.signal(firedrill_host::process::Signal::SIGSTOP).expect("runs");
    // What was sent before it stopped may still be there.
    while next(&manager, Duration::from_millis(1)).is_some() {}
    assert_eq!(next(&manager, Duration::from_millis(900)), None, "three intervals without a sign");
}
