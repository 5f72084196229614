//! Connections to the gateway and to nodes.

use firedrill_model::Endpoint;
use firedrill_model::workload::Login;
use mysql_async::{Conn, Opts, OptsBuilder};
use rand::Rng;
use std::time::Duration;
use tokio::time::Instant;

/// Pause between two attempts to connect, chosen at random between these: short, so that the outage that is measured is
/// the platform's and not the client's; random, so that clients do not come in step.
const RETRY_MIN: Duration = Duration::from_millis(10);
/// See [`RETRY_MIN`].
pub(crate) const RETRY_MAX: Duration = Duration::from_millis(50);

/// Largest packet; said here because asking the server would cost a round trip on every connection.
const PACKET_BYTES_MAX: usize = 16 << 20;

/// The seconds that an idle connection may last, likewise.
const IDLE_SECONDS_MAX: usize = 28_800;

/// How to log in at one endpoint.
pub(crate) fn opts(endpoint: Endpoint, login: &Login) -> Opts {
    OptsBuilder::default()
        .ip_or_hostname(endpoint.address.to_string())
        .tcp_port(endpoint.port)
        .user(Some(login.user.clone()))
        .pass(Some(login.password.clone()))
        .db_name(Some(login.database.clone()))
        .prefer_socket(Some(false))
        .max_allowed_packet(Some(PACKET_BYTES_MAX))
        .wait_timeout(Some(IDLE_SECONDS_MAX))
        .into()
}

/// Connects once, by a moment at the latest.
pub(crate) async fn connect(opts: &Opts, by: Instant) -> Result<Conn, String> {
    match tokio::time::timeout_at(by, Conn::new(opts.clone())).await {
        Ok(Ok(conn)) => Ok(conn),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer to the attempt to connect".to_owned()),
    }
}

/// Connects, again and again, by a moment at the latest; answers the last error.
pub(crate) async fn connect_retrying(opts: &Opts, by: Instant) -> Result<Conn, String> {
    loop {
        match connect(opts, by).await {
            Ok(conn) => return Ok(conn),
            Err(problem) if Instant::now() + RETRY_MAX >= by => return Err(problem),
            Err(_) => tokio::time::sleep(pause()).await,
        }
    }
}

/// The pause before the next attempt to connect.
pub(crate) fn pause() -> Duration {
    rand::rng().random_range(RETRY_MIN..=RETRY_MAX)
}
