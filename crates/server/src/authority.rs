//! The server's own certificate authority: it signs the certificate of the link listener and those of agents, and
//! nobody trusts it but they.

use firedrill_model::HostName;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// The authority outlives every installation; replacing it means enrolling every agent anew.
const AUTHORITY_DAYS: u32 = 30 * 365;
/// The server's is made at each start and never stored.
const SERVER_DAYS: u32 = 5 * 365;

/// Why the authority cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file cannot be read or written.
    #[error("{path} cannot be read or written")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A key, certificate or request is not what it should be.
    #[error("{what} is not valid")]
    Malformed {
        /// Which one.
        what: &'static str,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn malformed<E: std::error::Error + Send + Sync + 'static>(what: &'static str) -> impl FnOnce(E) -> AuthorityError {
    move |source| AuthorityError::Malformed { what, source: Box::new(source) }
}

/// So far the clocks of server and agents may be apart: what is signed now was good that long ago already. An agent whose
/// clock is behind by more does not believe the server's certificate; that of the agent is judged by the server's clock
/// alone, which made it.
pub(crate) const CLOCK_SKEW: Duration = DAY;

/// A certificate for an agent.
pub(crate) struct Signed {
    /// For the agent.
    pub(crate) pem: String,
    /// SHA-256 of the DER form, hex: kept in the store, compared at each hello.
    pub(crate) fingerprint: String,
}

/// A certificate chain with the key of its first certificate.
pub(crate) struct ServerIdentity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

/// The authority.
pub(crate) struct Authority {
    pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Reads it from the directory, or makes it there when there is no certificate yet.
    pub(crate) fn open(directory: &Path) -> Result<Self, AuthorityError> {
        let (certificate, key) = (directory.join("authority.pem"), directory.join("authority.key"));
        if !certificate.exists() {
            let made = make()?;
            std::fs::create_dir_all(directory)
                .map_err(|source| AuthorityError::File { path: directory.to_owned(), source })?;
            // The certificate comes last: without it everything is made anew.
            write_secret(&key, &made.1)?;
            write_secret(&certificate, &made.0)?;
        }
        let read = |path: &Path| {
            std::fs::read_to_string(path).map_err(|source| AuthorityError::File { path: path.to_owned(), source })
        };
        let pem = read(&certificate)?;
        let key = KeyPair::from_pem(&read(&key)?).map_err(malformed("the authority's key"))?;
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(malformed("the authority's certificate"))?;
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(malformed("the authority's certificate"))?;
        Ok(Self { pem, der, issuer })
    }

    /// Its certificate, PEM.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// Its certificate, DER.
    pub(crate) fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// SHA-256 of its certificate (DER), hex.
    pub(crate) fn fingerprint(&self) -> String {
        fingerprint(&self.der)
    }

    /// A new key and certificate for the link listener, good for these addresses.
    pub(crate) fn server_identity(&self, addresses: &[IpAddr]) -> Result<ServerIdentity, AuthorityError> {
        const WHAT: &str = "the server's certificate";
        let key = KeyPair::generate().map_err(malformed(WHAT))?;
        let mut params = CertificateParams::new(vec!["firedrill".to_owned()]).map_err(malformed(WHAT))?;
        params.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
        params.distinguished_name = named("firedrill server");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        valid_for(&mut params, DAY * SERVER_DAYS);
        let certificate = params.signed_by(&key, &self.issuer).map_err(malformed(WHAT))?;
        // The authority goes along: an agent that enrols knows only its fingerprint.
        let chain = vec![certificate.der().clone(), self.der.clone()];
        Ok(ServerIdentity { chain, key: PrivatePkcs8KeyDer::from(key.serialize_der()).into() })
    }

    /// Signs an agent's request. Only the public key is taken from it: name, purpose and validity are the server's
    /// decision.
    pub(crate) fn sign_agent(
        &self,
        signing_request: &str,
        host: &HostName,
        life: Duration,
    ) -> Result<Signed, AuthorityError> {
        const WHAT: &str = "the certificate signing request";
        let mut request = CertificateSigningRequestParams::from_pem(signing_request).map_err(malformed(WHAT))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named(host.as_str());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.is_ca = IsCa::ExplicitNoCa;
        valid_for(&mut params, life);
        request.params = params;
        let certificate = request.signed_by(&self.issuer).map_err(malformed(WHAT))?;
        Ok(Signed { pem: certificate.pem(), fingerprint: fingerprint(certificate.der()) })
    }
}

/// SHA-256 of a certificate (DER), hex.
pub(crate) fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    sha256_hex(certificate)
}

/// SHA-256, hex.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A new authority: certificate and key, PEM.
fn make() -> Result<(String, String), AuthorityError> {
    const WHAT: &str = "the new authority";
    let key = KeyPair::generate().map_err(malformed(WHAT))?;
    let mut params = CertificateParams::default();
    params.distinguished_name = named("firedrill authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_for(&mut params, DAY * AUTHORITY_DAYS);
    let certificate = params.self_signed(&key).map_err(malformed(WHAT))?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// From a while ago, because clocks differ, for so long from now.
fn valid_for(params: &mut CertificateParams, life: Duration) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(CLOCK_SKEW);
    params.not_after = epoch + now + life;
}

/// Writes a file for the owner only, whole or not at all.
fn write_secret(path: &Path, text: &str) -> Result<(), AuthorityError> {
    let write = || {
        let temporary = path.with_extension("new");
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(|source| AuthorityError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_made_once_and_for_the_owner_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = Authority::open(dir.path()).expect("made").fingerprint();
        assert_eq!(Authority::open(dir.path()).expect("read").fingerprint(), first);
        let mode = std::fs::metadata(dir.path().join("authority.key")).expect("a key").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_crash_between_key_and_certificate_is_mended() {
        let dir = tempfile::tempdir().expect("a directory");
        Authority::open(dir.path()).expect("made");
        std::fs::remove_file(dir.path().join("authority.pem")).expect("removed");
        Authority::open(dir.path()).expect("made anew");
    }

    #[test]
    fn the_name_is_the_servers_decision() {
        let dir = tempfile::tempdir().expect("a directory");
        let authority = Authority::open(dir.path()).expect("made");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name = named("another-host");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let request = params.serialize_request(&key).expect("a request").pem().expect("PEM");
        let host: HostName = "east-1".parse().expect("a name");
        let signed = authority.sign_agent(&request, &host, DAY).expect("signed");
        let der = CertificateDer::from_pem_slice(signed.pem.as_bytes()).expect("PEM");
        let (_, read) = x509_parser::parse_x509_certificate(&der).expect("a certificate");
        assert_eq!(read.subject().to_string(), "CN=east-1");
        assert!(!read.is_ca());
        assert!(authority.sign_agent("nonsense", &host, DAY).is_err());
    }
}
