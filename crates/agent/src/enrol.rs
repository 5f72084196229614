//! How an agent gets its certificate: once, with a token, from a server that proves to be the one that gave it out.

use crate::backoff::Backoff;
use crate::config::AgentConfig;
use crate::error::AgentError;
use crate::identity::{self, Identity, signing_request};
use crate::link::{Connection, LinkError, Server, post};
use crate::storage;
use crate::tls::{Fingerprint, Trust, client_config};
use firedrill_api::link::{Enrol, Enrolled};
use rcgen::KeyPair;
use rustls::ClientConfig;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// The server signs within this.
const ENROL_WITHIN: Duration = Duration::from_secs(5);

/// Where the newest epoch of its servers is kept.
pub(crate) fn epochs_file(config: &AgentConfig) -> PathBuf {
    config.data_dir.join("epoch")
}

/// The TLS configuration of an enrolled agent; enrols it when it is not.
///
/// # Errors
/// When there is no token, the token or the server is refused, or the file cannot be read or written. An unreachable
/// server is waited for.
pub(crate) async fn enrolled(
    config: &AgentConfig,
    servers: &[Server],
) -> Result<(Arc<ClientConfig>, Arc<Identity>), AgentError> {
    let path = identity::file(config);
    let content = match storage::read_if_there(&path).map_err(AgentError::storage("read", &path))? {
        Some(content) => content,
        None => {
            let content = enrol(config, servers, &path).await?;
            // Epochs of the servers of another store mean nothing now.
            let epochs = epochs_file(config);
            storage::remove_if_there(&epochs).map_err(AgentError::storage("remove", &epochs))?;
            storage::replace(&path, &content).map_err(AgentError::storage("write", &path))?;
            tracing::info!(host = %config.host, path = %path.display(), "enrolled; the token is used up");
            content
        }
    };
    let unusable = |problem: String| AgentError::Storage {
        action: "use the certificate in",
        path: path.clone(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidData, problem),
    };
    let identity = Arc::new(Identity::new(&path, &content).map_err(unusable)?);
    let tls = client_config(Trust::Authority(identity.authority()), Some(Arc::clone(&identity)));
    Ok((tls.map_err(|error| unusable(error.to_string()))?, identity))
}

async fn enrol(config: &AgentConfig, servers: &[Server], path: &Path) -> Result<Vec<u8>, AgentError> {
    let host = &config.host;
    let Some(enrolment) = &config.enrolment else {
        return Err(AgentError::NotEnrolled { host: host.clone(), identity: path.to_owned() });
    };
    let part = |problem: String| AgentError::Part { part: "enrolment", problem };
    let pin = enrolment.fingerprint().map_err(part)?;
    let tls = client_config(Trust::Pinned(pin), None).map_err(|error| part(error.to_string()))?;
    let key = KeyPair::generate().map_err(|error| part(error.to_string()))?;
    let request = Enrol {
        token: enrolment.token.clone(),
        host: host.clone(),
        signing_request: signing_request(host.as_str(), &key).map_err(|error| part(error.to_string()))?,
    };
    let mut backoff = Backoff::link();
    let mut told = false;
    for server in servers.iter().cycle() {
        let refused = match ask(server, &tls, &request).await {
            Ok(enrolled) => return checked(config, server, pin, &key, &enrolled),
            Err(error @ LinkError::NotTrusted(_)) => {
                let (server, reason) = (server.to_string(), error.to_string());
                return Err(AgentError::ServerNotTrusted {
                    host: host.clone(),
                    server,
                    reason,
                    identity: path.to_owned(),
                });
            }
            Err(error @ LinkError::Refused { status, .. }) if status.is_client_error() => {
                let (server, reason) = (server.to_string(), error.to_string());
                return Err(AgentError::EnrolmentRefused { host: host.clone(), server, reason });
            }
            Err(error) => error,
        };
        if !told {
            tracing::warn!(%server, reason = %refused, "cannot enrol yet; trying again");
            told = true;
        }
        sleep(backoff.next()).await;
    }
    Err(part("no server is configured".to_owned()))
}

async fn ask(server: &Server, tls: &Arc<ClientConfig>, request: &Enrol) -> Result<Enrolled, LinkError> {
    let mut connection = Connection::open(server, tls).await?;
    post(&mut connection, "enrolling", "/link/v1/enrol", request, ENROL_WITHIN).await
}

/// The answer must be by the pinned authority; returns the content of the identity file.
fn checked(
    config: &AgentConfig,
    server: &Server,
    pin: Fingerprint,
    key: &KeyPair,
    enrolled: &Enrolled,
) -> Result<Vec<u8>, AgentError> {
    let content = identity::content(key, &enrolled.certificate, &enrolled.authority);
    let not_trusted = |reason: String| AgentError::ServerNotTrusted {
        host: config.host.clone(),
        server: server.to_string(),
        reason,
        identity: identity::file(config),
    };
    let parsed = identity::parse(content.as_bytes()).map_err(not_trusted)?;
    if Fingerprint::of(&parsed.authority) != pin {
        return Err(not_trusted("the authority in its answer is not the one of authority_sha256".to_owned()));
    }
    Ok(content.into_bytes())
}
