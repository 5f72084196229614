//! Who this agent is to a server: a key and a certificate, in one file with the authority that signed it. All are there
//! or none, and after a crash the file holds either the present ones or the next ones.

use crate::config::AgentConfig;
use crate::storage;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

const CERTIFICATE_BEGINS: &str = "-----BEGIN CERTIFICATE-----";

/// Where it is kept.
pub(crate) fn file(config: &AgentConfig) -> PathBuf {
    config.data_dir.join("identity.pem")
}

/// The content of the file.
pub(crate) fn content(key: &KeyPair, certificate: &str, authority: &str) -> String {
    format!("{}{}\n{}\n", key.serialize_pem(), certificate.trim_end(), authority.trim_end())
}

/// What a file holds.
#[derive(Debug)]
pub(crate) struct Parsed {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// The authority that signed it and the servers.
    pub(crate) authority: CertificateDer<'static>,
    authority_pem: String,
}

/// Reads a file's content; what is wrong with it, if something is.
pub(crate) fn parse(content: &[u8]) -> Result<Parsed, String> {
    let text = std::str::from_utf8(content).map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::from_pem_slice(content).map_err(|error| format!("its key: {error}"))?;
    let mut chain = CertificateDer::pem_slice_iter(content)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("its certificates: {error}"))?;
    let authority_pem = text.rfind(CERTIFICATE_BEGINS).map(|at| text[at..].to_owned()).unwrap_or_default();
    match chain.pop() {
        Some(authority) if !chain.is_empty() => Ok(Parsed { chain, key, authority, authority_pem }),
        _ => Err("it holds fewer than two certificates (own and authority)".to_owned()),
    }
}

/// A request for a certificate for that key, PEM. The server takes the key from it and decides the rest.
pub(crate) fn signing_request(host: &str, key: &KeyPair) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, host);
    params.serialize_request(key)?.pem()
}

/// The present identity. Connections that are opened from now on show it.
#[derive(Debug)]
pub(crate) struct Identity {
    path: PathBuf,
    authority: CertificateDer<'static>,
    authority_pem: String,
    provider: Arc<CryptoProvider>,
    shown: Mutex<Arc<CertifiedKey>>,
}

impl Identity {
    /// From a file's content.
    pub(crate) fn new(path: &Path, content: &[u8]) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let Parsed { chain, key, authority, authority_pem } = parse(content)?;
        let shown = CertifiedKey::from_der(chain, key, &provider).map_err(|error| error.to_string())?;
        Ok(Self { path: path.to_owned(), authority, authority_pem, provider, shown: Mutex::new(Arc::new(shown)) })
    }

    /// The authority that servers must chain to.
    pub(crate) fn authority(&self) -> CertificateDer<'static> {
        self.authority.clone()
    }

    /// Takes the next key and certificate: first on disk, then for new connections. What is wrong with them is found
    /// before anything is changed.
    pub(crate) async fn replace(&self, key: &KeyPair, certificate: &str) -> io::Result<()> {
        let malformed = |problem: String| io::Error::new(io::ErrorKind::InvalidData, problem);
        let content = content(key, certificate, &self.authority_pem);
        let Parsed { chain, key, .. } = parse(content.as_bytes()).map_err(malformed)?;
        let next = CertifiedKey::from_der(chain, key, &self.provider).map_err(|error| malformed(error.to_string()))?;
        let path = self.path.clone();
        // Off the event loop: a disk that hangs (an experiment may see to that) must not hang the agent.
        let written = tokio::task::spawn_blocking(move || storage::replace(&path, content.as_bytes()));
        written.await.map_err(io::Error::other)??;
        // A single assignment; a panic elsewhere leaves it whole.
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        Ok(())
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _root_hint_subjects: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.shown.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certified(name: &str) -> (KeyPair, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("params");
        let certificate = params.self_signed(&key).expect("signed").pem();
        (key, certificate)
    }

    #[tokio::test]
    async fn the_next_one_is_taken_whole_or_not_at_all() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("identity.pem");
        let (authority, (key, certificate)) = (certified("authority").1, certified("first"));
        let first = content(&key, &certificate, &authority);
        std::fs::write(&path, &first).expect("written");
        let identity = Identity::new(&path, first.as_bytes()).expect("usable");
        let before = identity.resolve(&[], &[]).expect("one");

        let ((next_key, next), (other_key, _)) = (certified("next"), certified("other"));
        identity.replace(&other_key, &next).await.expect_err("a certificate for another key");
        identity.replace(&next_key, "nonsense").await.expect_err("no certificate");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), first);
        assert!(Arc::ptr_eq(&before, &identity.resolve(&[], &[]).expect("one")));

        identity.replace(&next_key, &next).await.expect("taken");
        assert_ne!(before.cert, identity.resolve(&[], &[]).expect("one").cert);
        let again = Identity::new(&path, &std::fs::read(&path).expect("read")).expect("usable");
        assert_eq!(again.resolve(&[], &[]).expect("one").cert, identity.resolve(&[], &[]).expect("one").cert);
        assert_eq!(again.authority(), identity.authority());
    }

    #[test]
    fn a_file_without_the_authority_is_refused() {
        let (key, certificate) = certified("first");
        let half = format!("{}{certificate}", key.serialize_pem());
        assert!(parse(half.as_bytes()).expect_err("half a file").contains("fewer than two"));
    }
}
