//! The agent's certificate is renewed long before it expires, over a connection of its own, while the session goes on.
//!
//! At each point at which the agent may be killed the certificate on its disk is good: the server keeps the present one
//! in force until the next one is used, and the file is replaced as a whole.

use super::connection::{Connection, Full, LinkError, Server, post};
use super::session::{Link, Session};
use crate::backoff::Backoff;
use crate::identity::signing_request;
use bytes::Bytes;
use firedrill_api::link::{Renew, Renewed};
use firedrill_model::Timestamp;
use rcgen::KeyPair;
use serde::de::IgnoredAny;
use std::convert::Infallible;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// The server signs, or takes note, within this.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// A clock of the server that was set forward is noticed after this long.
const LOOK_EVERY: Duration = Duration::from_secs(600);

/// Why the certificate was not renewed. The present one is good for days yet, so it is tried again.
#[derive(Debug, thiserror::Error)]
enum NotRenewed {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("no key can be made: {0}")]
    Key(#[from] rcgen::Error),
    #[error("the next certificate cannot be kept: {0}")]
    Kept(#[from] std::io::Error),
}

/// Renews whenever it is due, for as long as the session lasts. Without a moment the server does not renew.
pub(super) async fn keep<S: Session>(link: &Link<S>, server: &Server, due: Option<Timestamp>) -> Infallible {
    let Some(mut due) = due else { return std::future::pending().await };
    let mut backoff = Backoff::renewal();
    loop {
        // By the server's clock: this host's own may be wrong, and an experiment may even shift it.
        while let Some(left) = link.agent.presence().until(due, Instant::now()) {
            sleep(left.duration().min(LOOK_EVERY)).await;
        }
        match renew(link, server).await {
            Ok(next) => {
                backoff.reset();
                due = next;
                tracing::info!(host = %link.agent.host(), "the certificate is renewed");
            }
            Err(error) => {
                tracing::warn!(%server, %error, "the certificate is not renewed yet; trying again");
                sleep(backoff.next()).await;
            }
        }
    }
}

/// Gets the next certificate, for a new key; gives when that one is to be renewed.
async fn renew<S: Session>(link: &Link<S>, server: &Server) -> Result<Timestamp, NotRenewed> {
    let key = KeyPair::generate()?;
    let request = Renew { signing_request: signing_request(link.agent.host().as_str(), &key)? };
    let mut connection: Connection<Full<Bytes>> = Connection::open(server, &link.tls).await?;
    let renewed: Renewed =
        post(&mut connection, "renewing the certificate", "/link/v1/renew", &request, ANSWER_WITHIN).await?;
    drop(connection);
    link.identity.replace(&key, &renewed.certificate).await?;
    if let Err(error) = confirm(link, server).await {
        // It is on disk and in use; the next connection tells the server.
        tracing::warn!(%server, %error, "the server was not told that the next certificate is kept");
    }
    Ok(renewed.renew_at)
}

async fn confirm<S: Session>(link: &Link<S>, server: &Server) -> Result<(), LinkError> {
    let mut connection: Connection<Full<Bytes>> = Connection::open(server, &link.tls).await?;
    let nothing = serde_json::Map::new();
    let _answer: IgnoredAny =
        post(&mut connection, "using the next certificate", "/link/v1/renewed", &nothing, ANSWER_WITHIN).await?;
    Ok(())
}
