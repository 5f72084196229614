//! Who a played agent is: a host name, a key, and a certificate that the server's authority has signed.

use crate::connection::{Connection, Refused};
use anyhow::Context;
use firedrill_api::link::{Enrol, Enrolled};
use firedrill_model::HostName;
use rcgen::{CertificateParams, KeyPair};
use rustls::client::{ClientConfig, Resumption};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, crypto};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

/// A certificate with its key.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The host that it is good for.
    pub host: HostName,
    /// Certificate and key, PEM.
    pub pem: String,
    /// The authority that signed it and the server's, PEM.
    pub authority: String,
}

impl Identity {
    /// How the link is encrypted with this identity.
    ///
    /// # Errors
    /// The PEM is not what it should be.
    pub fn tls(&self) -> anyhow::Result<Arc<ClientConfig>> {
        tls(&self.authority, Some(&self.pem))
    }
}

/// A client that trusts one authority, with an identity or without.
pub(crate) fn tls(authority: &str, identity: Option<&str>) -> anyhow::Result<Arc<ClientConfig>> {
    // One provider for all: thousands of agents live in one process.
    static PROVIDER: OnceLock<Arc<crypto::CryptoProvider>> = OnceLock::new();
    let provider = PROVIDER.get_or_init(|| Arc::new(crypto::aws_lc_rs::default_provider()));
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).context("the authority's certificate")?)?;
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots);
    let mut config = match identity {
        Some(pem) => {
            let chain = vec![CertificateDer::from_pem_slice(pem.as_bytes()).context("an agent's certificate")?];
            let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).context("an agent's key")?;
            builder.with_client_auth_cert(chain, key)?
        }
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Enrols a host with a token.
///
/// # Errors
/// The server refuses (a [`Refused`] with its words), or cannot be reached.
pub async fn enrol(link: SocketAddr, authority: &str, host: &HostName, token: &str) -> anyhow::Result<Identity> {
    let key = KeyPair::generate()?;
    let signing_request = CertificateParams::default().serialize_request(&key)?.pem()?;
    let body = Enrol { token: token.to_owned(), host: host.clone(), signing_request };
    let mut connection = Connection::open(link, None, &tls(authority, None)?).await?;
    let answer = connection.post("/link/v1/enrol", &body).await?;
    let Enrolled { certificate, authority } = Refused::unless(answer)?;
    Ok(Identity { host: host.clone(), pem: format!("{certificate}{}", key.serialize_pem()), authority })
}
