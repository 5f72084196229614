//! How an agent gets its certificate: once, with a token, from a server that proves to be the one that gave it out.

use crate::backoff::Backoff;
use crate::config::AgentConfig;
use crate::error::AgentError;
use crate::link::{Connection, LinkError, Server, post};
use crate::storage;
use crate::tls::{ClientIdentity, Fingerprint, Trust, client_config};
use firedrill_api::link::{Enrol, Enrolled};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// The server signs within this.
const ENROL_WITHIN: Duration = Duration::from_secs(5);
/// Where the certificate lives.
pub(crate) fn identity_file(config: &AgentConfig) -> PathBuf {
    // Key, own certificate and authority in one file: all are there or none.
    config.data_dir.join("identity.pem")
}

/// Where the newest epoch of its servers is kept.
pub(crate) fn epochs_file(config: &AgentConfig) -> PathBuf {
    config.data_dir.join("epoch")
}

/// The TLS configuration of an enrolled agent; enrols it when it is not.
///
/// # Errors
/// When there is no token, the token or the server is refused, or the file cannot be read or written. An unreachable
/// server is waited for.
pub(crate) async fn enrolled(config: &AgentConfig, servers: &[Server]) -> Result<Arc<ClientConfig>, AgentError> {
    let path = identity_file(config);
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
    let (identity, authority) = parse(&content).map_err(unusable)?;
    client_config(Trust::Authority(authority), Some(identity)).map_err(|error| unusable(error.to_string()))
}

fn parse(content: &[u8]) -> Result<(ClientIdentity, CertificateDer<'static>), String> {
    let key = PrivateKeyDer::from_pem_slice(content).map_err(|error| format!("its key: {error}"))?;
    let mut chain = CertificateDer::pem_slice_iter(content)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("its certificates: {error}"))?;
    match chain.pop() {
        Some(authority) if !chain.is_empty() => Ok((ClientIdentity { chain, key }, authority)),
        _ => Err("it holds fewer than two certificates (own and authority)".to_owned()),
    }
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
        signing_request: signing_request(config, &key).map_err(|error| part(error.to_string()))?,
    };
    let mut backoff = Backoff::link();
    let mut told = false;
    for server in servers.iter().cycle() {
        let refused = match ask(server, &tls, &request).await {
            Ok(enrolled) => return checked(config, server, pin, &key, &enrolled),
            Err(LinkError::NotTrusted(reason)) => {
                let (server, reason) = (server.to_string(), reason.to_string());
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

fn signing_request(config: &AgentConfig, key: &KeyPair) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, config.host.as_str());
    params.serialize_request(key)?.pem()
}

/// The answer must be by the pinned authority; returns the content of the identity file.
fn checked(
    config: &AgentConfig,
    server: &Server,
    pin: Fingerprint,
    key: &KeyPair,
    enrolled: &Enrolled,
) -> Result<Vec<u8>, AgentError> {
    let content = format!("{}{}{}", key.serialize_pem(), ended(&enrolled.certificate), ended(&enrolled.authority));
    let not_trusted = |reason: String| AgentError::ServerNotTrusted {
        host: config.host.clone(),
        server: server.to_string(),
        reason,
        identity: identity_file(config),
    };
    let (_, authority) = parse(content.as_bytes()).map_err(not_trusted)?;
    if Fingerprint::of(&authority) != pin {
        return Err(not_trusted("the authority in its answer is not the one of authority_sha256".to_owned()));
    }
    Ok(content.into_bytes())
}

fn ended(pem: &str) -> String {
    format!("{}\n", pem.trim_end())
}
