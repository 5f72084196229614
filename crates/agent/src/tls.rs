//! Whom the agent trusts: one authority, its own, and nothing that the system trusts.

use crate::identity::Identity;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// SHA-256 of a certificate in DER form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of this certificate.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(certificate.as_ref()).into())
    }

    /// Reads 64 hexadecimal digits; colons, as openssl prints them, are allowed.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(|character| *character != ':').collect();
        if digits.len() != 64 || !digits.is_ascii() {
            return None;
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }
}

/// What the server must prove.
#[derive(Debug, Clone)]
pub(crate) enum Trust {
    /// Before enrolment: that it shows the authority with this fingerprint, and chains to it.
    Pinned(Fingerprint),
    /// Afterwards: that it chains to this authority.
    Authority(CertificateDer<'static>),
}

/// The name in every firedrill server's certificate. The address by which a server is reached is not compared: it may
/// be any that is routed to it.
pub(crate) const SERVER_NAME: &str = "firedrill";

/// Accepts a server whose certificate is for servers, has the name [`SERVER_NAME`] and chains to the trusted authority.
#[derive(Debug)]
struct AuthorityVerifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

impl AuthorityVerifier {
    fn authority<'a>(&'a self, shown: &'a [CertificateDer<'_>]) -> Result<CertificateDer<'a>, Error> {
        match &self.trust {
            Trust::Authority(authority) => Ok(CertificateDer::from(authority.as_ref())),
            Trust::Pinned(pin) => shown
                .iter()
                .find(|certificate| Fingerprint::of(certificate) == *pin)
                .map(|certificate| CertificateDer::from(certificate.as_ref()))
                .ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        }
    }
}

impl ServerCertVerifier for AuthorityVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority(intermediates)?.into_owned())?;
        let certificate = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        verify_server_name(&certificate, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The configuration of every connection to the server. Without an identity it is good for enrolment only.
///
/// # Errors
/// When TLS cannot be set up at all.
pub(crate) fn client_config(trust: Trust, identity: Option<Arc<Identity>>) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(AuthorityVerifier { trust, provider: Arc::clone(&provider) });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(identity),
        None => builder.with_no_client_auth(),
    };
    // A resumed connection would stand for the certificate of its first one.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_strictly() {
        let certificate = CertificateDer::from(b"any bytes".to_vec());
        let hex: String = Fingerprint::of(&certificate).0.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(Fingerprint::parse(&hex), Some(Fingerprint::of(&certificate)));
        assert_eq!(Fingerprint::parse(&hex.to_uppercase()), Some(Fingerprint::of(&certificate)));
        for bad in [&hex[1..], "", &format!("{hex}00"), &"zz".repeat(32), &"é".repeat(32)] {
            assert_eq!(Fingerprint::parse(bad), None, "{bad:?}");
        }
    }
}
