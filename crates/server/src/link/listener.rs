//! Accepts agents over TLS and finds out who they are.

use super::Peer;
use crate::authority::{Authority, AuthorityError, ServerIdentity, fingerprint};
use axum::Router;
use firedrill_model::HostName;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Two round trips at 200 ms with repeated segments; a port scanner is not waited for any longer.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// The head of the next request on a connection; agents report every 500 ms, so that an idle one is dead.
const NEXT_REQUEST_WITHIN: Duration = Duration::from_secs(30);
/// After `accept` failed for want of file descriptors or memory.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// TLS with client certificates of the authority, which are asked for but not demanded: enrolment has none yet.
pub(crate) fn tls_config(authority: &Authority, identity: ServerIdentity) -> Result<Arc<ServerConfig>, AuthorityError> {
    let malformed = |source| AuthorityError::Malformed { what: "the server's certificate", source };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).map_err(|error| malformed(error.into()))?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| malformed(error.into()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| malformed(error.into()))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain, identity.key)
        .map_err(|error| malformed(error.into()))?;
    // A resumed connection would be taken for what its first one was, also after that certificate has expired.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// Serves the link until the shutdown.
pub(crate) async fn listen(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    router: Router,
    connections_max: usize,
    shutdown: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(tls);
    let connections = Arc::new(Semaphore::new(connections_max));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection on the link");
                tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else {
            tracing::warn!(%address, "refused a connection on the link: {connections_max} are open; more need a higher limit on open files");
            continue;
        };
        let (acceptor, router, shutdown) = (acceptor.clone(), router.clone(), shutdown.clone());
        tokio::spawn(async move {
            if let Err(error) = serve(stream, acceptor, router, shutdown).await {
                // Agents come and go; what it means for a session is said where the session ends.
                tracing::debug!(%address, %error, "a connection on the link ended");
            }
            drop(permit);
        });
    }
}

type ConnectionError = Box<dyn std::error::Error + Send + Sync>;

async fn serve(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    router: Router,
    shutdown: CancellationToken,
) -> Result<(), ConnectionError> {
    // Instructions are small and urgent.
    stream.set_nodelay(true)?;
    let stream = tokio::time::timeout(HANDSHAKE_WITHIN, acceptor.accept(stream)).await??;
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    // A session that ends closes its connection in this way; the shutdown closes all.
    let close = shutdown.child_token();
    let peer = Peer { certificate: certificate.and_then(name), close: close.clone() };
    let service = TowerToHyperService::new(router);
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        hyper::service::Service::call(&service, request)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(NEXT_REQUEST_WITHIN)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        served = connection => Ok(served?),
        () = close.cancelled() => Ok(()),
    }
}

/// The host name in a certificate that the authority signed, with the certificate's fingerprint.
fn name(certificate: &CertificateDer<'_>) -> Option<(HostName, String)> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let name = parsed.subject().iter_common_name().next()?.as_str().ok()?;
    Some((name.parse().ok()?, fingerprint(certificate)))
}
