//! A real server behind the gateway and the real client in front of it.

use crate::support::{Lab, SOON};
use firedrill_host::HostError;
use firedrill_host::process::{self, Child, Output, Signal, Spawn, Stream};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A server with an empty data directory; killed with the test.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing in its data directory is needed afterwards.
        let _ = self.child.signal(Signal::SIGKILL);
    }
}

impl Server {
    async fn start(directory: &Path) -> Self {
        let data = directory.join("data");
        let install = Spawn::new("mariadb-install-db")
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", "--user=root"])
            .arg(format!("--datadir={}", data.display()))
            // Not a shared place: every server that starts removes the temporary tables that it finds there.
            .arg(format!("--tmpdir={}", directory.display()));
        process::run(install, SOON * 6).await.expect("mariadb-install-db works (package mariadb-server)");
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
        let log = directory.join("mariadbd.log");
        let child = Spawn::new("mariadbd")
            .args(["--no-defaults", "--user=root", "--bind-address=127.0.0.1", "--skip-name-resolve"])
            .args(["--max-allowed-packet=64M", "--innodb-buffer-pool-size=16M"])
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--tmpdir={}", directory.display()))
            .arg(format!("--socket={}", directory.join("mariadbd.sock").display()))
            .arg(format!("--port={}", port.port()))
            .stdout(Stream::Append(log.clone()))
            .stderr(Stream::Append(log.clone()))
            .new_session()
            .spawn()
            .expect("mariadbd starts");
        let server = Self { child, address: port };
        let begun = Instant::now();
        while query(server.address, "SELECT 1").await.is_err() {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            assert!(begun.elapsed() < SOON * 3, "mariadbd does not answer: {log}");
            sleep(Duration::from_millis(50)).await;
        }
        server
    }
}

async fn query(at: SocketAddr, sql: &str) -> Result<Output, HostError> {
    let client = Spawn::new("mariadb")
        .args([
            "--no-defaults",
            "--user=root",
            "--protocol=tcp",
            "--batch",
            "--skip-column-names",
            "--connect-timeout=20",
        ])
        .args([
            "--max-allowed-packet=64M",
            &format!("--host={}", at.ip()),
            &format!("--port={}", at.port()),
            "--execute",
            sql,
        ]);
    process::run(client, SOON * 3).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_client_speaks_to_a_real_server_and_reads_our_refusals() {
    let mut lab = Lab::with(|config| {
        config.max_held = 1;
        config.hold_for = SOON.into();
    })
    .await;
    let server = Server::start(lab.directory.path()).await;

    let held = tokio::spawn({
        let address = lab.address();
        async move { query(address, "SELECT 'held and let through'").await }
    });
    lab.until("one held", |status| status.held == 1).await;
    let refused = query(lab.address(), "SELECT 1").await.expect_err("one more is refused").to_string();
    assert!(refused.contains("1040") && refused.contains("try again in some seconds"), "{refused}");

    lab.route_to(server.address).await;
    let answer = held.await.expect("no panic").expect("answers");
    assert_eq!(answer.text().trim(), "held and let through");

    let long = query(lab.address(), "SELECT MD5(REPEAT('x', 20000000)), LENGTH(REPEAT('x', 20000000))").await;
    assert!(long.expect("answers").text().contains("20000000"));
    let result = query(lab.address(), "SELECT REPEAT('firedrill ', 90000)").await.expect("answers");
    assert_eq!(result.text().trim_end(), "firedrill ".repeat(90_000).trim_end());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_client_reads_that_it_waited_in_vain() {
    let lab = Lab::with(|config| config.hold_for = firedrill_model::Span::millis(200)).await;
    let refused = query(lab.address(), "SELECT 1").await.expect_err("no primary").to_string();
    assert!(refused.contains("1053") && refused.contains("no primary could be reached"), "{refused}");
}
