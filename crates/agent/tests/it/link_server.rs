//! A link server that says what the test tells it and remembers what it hears. It can be stopped as if it were killed
//! and started again on the same port with the same authority.

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post, put};
use axum::{Extension, Json, Router};
use firedrill_api::http::Problem;
use firedrill_api::link::Answer;
use firedrill_api::link::{
    Downward, Enrol, Enrolled, Hello, Instruction, Order, Renew, Renewed, Report, Upward, Welcome,
};
use firedrill_model::{ClusterName, CommandFailure, Generation, InstructionId, RunId, Timestamp};
use futures_util::StreamExt;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);
/// The lease that is given out.
pub(crate) const LEASE_MS: u64 = 10_000;

pub(crate) struct Authority {
    der: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("self-signed");
        let (der, pem) = (certificate.der().clone(), certificate.pem());
        Self { issuer: Issuer::from_ca_cert_der(&der, key).expect("an issuer"), der, pem }
    }

    pub(crate) fn fingerprint(&self) -> String {
        hex(&self.der)
    }

    /// PEM and fingerprint. `expired`: it was good until a year ago.
    fn sign(&self, signing_request: &str, expired: bool) -> (String, String) {
        let mut signing = CertificateSigningRequestParams::from_pem(signing_request).expect("a request");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, crate::agent::HOST);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if expired {
            params.not_after = rcgen::date_time_ymd(2025, 1, 1);
        }
        signing.params = params;
        let certificate = signing.signed_by(&self.issuer).expect("signed");
        (certificate.pem(), hex(certificate.der()))
    }

    /// What a server of this authority shows; `usage` and `name` can be wrong on purpose.
    pub(crate) fn tls(&self, usage: ExtendedKeyUsagePurpose, name: &str) -> Arc<ServerConfig> {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("params");
        params.extended_key_usages = vec![usage];
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("a root");
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .expect("a verifier");
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_client_cert_verifier(clients)
            .with_single_cert(
                vec![certificate.der().clone(), self.der.clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .expect("a certificate");
        Arc::new(config)
    }
}

fn hex(certificate: &CertificateDer<'_>) -> String {
    Sha256::digest(certificate).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) hellos: Vec<Hello>,
    /// The certificate of each hello.
    pub(crate) shown: Vec<String>,
    /// Certificates that were given out to go on with.
    pub(crate) renewals: Vec<String>,
    /// Those of them that the agent said it keeps.
    pub(crate) confirmed: Vec<String>,
    pub(crate) items: Vec<Upward>,
    pub(crate) reports: usize,
    pub(crate) histories: BTreeMap<String, Vec<u8>>,
    pub(crate) without_certificate: usize,
}

pub(crate) struct Shared {
    pub(crate) authority: Authority,
    pub(crate) heard: Mutex<Heard>,
    changed: Notify,
    token: Mutex<Option<String>>,
    session: Mutex<(u64, Option<mpsc::UnboundedSender<Downward>>)>,
    /// Reports wait this long for their answer.
    pub(crate) report_delay: Mutex<Duration>,
    /// Certificates in force, as with the real server: the present one and perhaps the next.
    pub(crate) in_force: Mutex<Vec<String>>,
    /// Certificates are made that expired long ago.
    pub(crate) expired: Mutex<bool>,
    /// When certificates are to be renewed; `None`: never.
    pub(crate) renew_at: Mutex<Option<Timestamp>>,
    /// So many calls for a renewal fail first.
    pub(crate) refuse_renewals: Mutex<usize>,
    /// Hello is answered with this.
    pub(crate) refuse_hello: Mutex<Option<(StatusCode, String)>>,
    /// No pings and no answers to hello: as if the server hung.
    pub(crate) mute: Mutex<bool>,
}

/// One server; dropped or stopped, all its connections are cut.
pub(crate) struct LinkServer {
    pub(crate) address: SocketAddr,
    pub(crate) shared: Arc<Shared>,
    running: JoinSet<()>,
}

impl LinkServer {
    pub(crate) async fn start() -> Self {
        let authority = Authority::new();
        let tls = authority.tls(ExtendedKeyUsagePurpose::ServerAuth, "firedrill");
        Self::start_with(authority, tls).await
    }

    pub(crate) async fn start_with(authority: Authority, tls: Arc<ServerConfig>) -> Self {
        let shared = Arc::new(Shared {
            authority,
            heard: Mutex::default(),
            changed: Notify::new(),
            token: Mutex::new(Some("a-good-token".to_owned())),
            session: Mutex::default(),
            report_delay: Mutex::default(),
            in_force: Mutex::default(),
            expired: Mutex::default(),
            renew_at: Mutex::default(),
            refuse_renewals: Mutex::default(),
            refuse_hello: Mutex::default(),
            mute: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut running = JoinSet::new();
        running.spawn(serve(listener, tls, Arc::clone(&shared)));
        Self { address, shared, running }
    }

    /// Cuts everything, as SIGKILL would.
    pub(crate) async fn kill(&mut self) {
        self.running.shutdown().await;
        *self.shared.session.lock().expect("lock") = (self.session() + 100, None);
    }

    pub(crate) async fn start_again(&mut self) {
        let tls = self.shared.authority.tls(ExtendedKeyUsagePurpose::ServerAuth, "firedrill");
        let listener = TcpListener::bind(self.address).await.expect("the same port");
        self.running.spawn(serve(listener, tls, Arc::clone(&self.shared)));
    }

    pub(crate) fn session(&self) -> u64 {
        self.shared.session.lock().expect("lock").0
    }

    pub(crate) fn send(&self, instruction: Instruction) {
        let session = self.shared.session.lock().expect("lock");
        let stream = session.1.as_ref().expect("an open stream");
        stream.send(Downward::Instruction(Box::new(instruction))).expect("an open stream");
    }

    /// Waits until `find` finds something in what was heard.
    pub(crate) async fn until<T>(&self, what: &str, find: impl Fn(&Heard) -> Option<T>) -> T {
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let changed = self.shared.changed.notified();
                if let Some(found) = find(&self.shared.heard.lock().expect("lock")) {
                    return found;
                }
                changed.await;
            }
        });
        found.await.unwrap_or_else(|_| {
            panic!("{what} did not come; heard: {:?}", self.shared.heard.lock().expect("lock").items)
        })
    }

    /// Waits for an open session with its stream.
    pub(crate) async fn connected(&self) {
        let open = tokio::time::timeout(PATIENCE, async {
            while self.shared.session.lock().expect("lock").1.as_ref().is_none_or(mpsc::UnboundedSender::is_closed) {
                self.shared.changed.notified().await;
            }
        });
        open.await.expect("the agent connects");
    }

    /// Waits for the `count`th answer to this id.
    pub(crate) async fn answer(&self, id: &str, count: usize) -> Result<Answer, CommandFailure> {
        self.until(&format!("answer {count} to {id}"), |heard| answers(heard, id).into_iter().nth(count - 1)).await
    }
}

pub(crate) fn answers(heard: &Heard, id: &str) -> Vec<Result<Answer, CommandFailure>> {
    let answer = |item: &Upward| match item {
        Upward::Answer { id: of, result } if of.0 == id => Some(result.clone()),
        _ => None,
    };
    heard.items.iter().filter_map(answer).collect()
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    Timestamp(i64::try_from(since.as_micros()).expect("in range"))
}

/// An instruction for cluster `shop` with ten seconds to go.
pub(crate) fn instruction(id: &str, generation: u64, order: Order) -> Instruction {
    let cluster: ClusterName = "shop".parse().expect("a name");
    Instruction {
        id: InstructionId(id.to_owned()),
        cluster: Some(cluster),
        generation: Generation(generation),
        deadline: now() + firedrill_model::Span::secs(10),
        order,
    }
}

async fn serve(listener: TcpListener, tls: Arc<ServerConfig>, shared: Arc<Shared>) {
    let router = Router::new()
        .route("/link/v1/enrol", post(enrol))
        .route("/link/v1/renew", post(renew))
        .route("/link/v1/renewed", post(renewed))
        .route("/link/v1/hello", post(hello))
        .route("/link/v1/stream", get(stream))
        .route("/link/v1/report", post(report))
        .route("/link/v1/history/{run}", put(history))
        .with_state(shared);
    let acceptor = TlsAcceptor::from(tls);
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(connection(stream, acceptor.clone(), router.clone()));
    }
}

/// The fingerprint of the certificate that was shown.
#[derive(Clone)]
struct HasCertificate(Option<String>);

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, router: Router) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let certified = HasCertificate(stream.get_ref().1.peer_certificates().map(|chain| hex(&chain[0])));
    let service = TowerToHyperService::new(router.layer(Extension(certified)));
    // The agent cuts connections when a test ends.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

type Refused = (StatusCode, Json<Problem>);

fn refused(status: StatusCode, message: &str) -> Refused {
    (status, Json(Problem { code: "T001".to_owned(), message: message.to_owned(), refused: false }))
}

async fn enrol(State(shared): State<Arc<Shared>>, Json(request): Json<Enrol>) -> Result<Json<Enrolled>, Refused> {
    let mut token = shared.token.lock().expect("lock");
    match token.take() {
        Some(good) if good == request.token => {
            let expired = *shared.expired.lock().expect("lock");
            let (certificate, fingerprint) = shared.authority.sign(&request.signing_request, expired);
            *shared.in_force.lock().expect("lock") = vec![fingerprint];
            Ok(Json(Enrolled { certificate, authority: shared.authority.pem.clone() }))
        }
        unused => {
            let used = unused.is_none();
            *token = unused;
            let message = if used {
                "this enrolment token was used before"
            } else {
                "this server has not given out this enrolment token"
            };
            Err(refused(StatusCode::FORBIDDEN, message))
        }
    }
}

/// The shown certificate, which from now on is the only one when it is `used`.
fn in_force(shared: &Shared, certified: HasCertificate, used: bool) -> Result<String, Refused> {
    let shown = certified.0.ok_or_else(|| refused(StatusCode::FORBIDDEN, "no client certificate"))?;
    let mut in_force = shared.in_force.lock().expect("lock");
    if !in_force.contains(&shown) {
        return Err(refused(StatusCode::FORBIDDEN, "the certificate is not in force"));
    }
    if used && in_force.last() == Some(&shown) {
        in_force.retain(|one| *one == shown);
    }
    Ok(shown)
}

async fn renew(
    State(shared): State<Arc<Shared>>,
    Extension(certified): Extension<HasCertificate>,
    Json(request): Json<Renew>,
) -> Result<Json<Renewed>, Refused> {
    let present = in_force(&shared, certified, false)?;
    let refusals = {
        let mut refusals = shared.refuse_renewals.lock().expect("lock");
        let left = refusals.saturating_sub(1);
        std::mem::replace(&mut *refusals, left)
    };
    if refusals > 0 {
        return Err(refused(StatusCode::SERVICE_UNAVAILABLE, "not now"));
    }
    let (certificate, next) = shared.authority.sign(&request.signing_request, false);
    *shared.in_force.lock().expect("lock") = vec![present, next.clone()];
    shared.heard.lock().expect("lock").renewals.push(next);
    shared.changed.notify_waiters();
    Ok(Json(Renewed { certificate, renew_at: now() + firedrill_model::Span::secs(3600) }))
}

async fn renewed(
    State(shared): State<Arc<Shared>>,
    Extension(certified): Extension<HasCertificate>,
) -> Result<Json<serde_json::Value>, Refused> {
    let kept = in_force(&shared, certified, true)?;
    shared.heard.lock().expect("lock").confirmed.push(kept);
    shared.changed.notify_waiters();
    Ok(Json(serde_json::json!({})))
}

async fn hello(
    State(shared): State<Arc<Shared>>,
    Extension(certified): Extension<HasCertificate>,
    Json(hello): Json<Hello>,
) -> Result<Json<Welcome>, Refused> {
    if *shared.mute.lock().expect("lock") {
        std::future::pending::<()>().await;
    }
    if certified.0.is_none() {
        shared.heard.lock().expect("lock").without_certificate += 1;
        return Err(refused(StatusCode::UNAUTHORIZED, "no client certificate"));
    }
    if let Some((status, message)) = &*shared.refuse_hello.lock().expect("lock") {
        return Err(refused(*status, message));
    }
    let shown = in_force(&shared, certified, true)?;
    let mut session = shared.session.lock().expect("lock");
    *session = (session.0 + 1, None);
    {
        let mut heard = shared.heard.lock().expect("lock");
        heard.hellos.push(hello);
        heard.shown.push(shown);
    }
    shared.changed.notify_waiters();
    let renew_at = *shared.renew_at.lock().expect("lock");
    Ok(Json(Welcome { session: session.0, at: now(), lease_ms: LEASE_MS, beat_ms: 500, epoch: 0, renew_at }))
}

#[derive(Deserialize)]
struct OfSession {
    session: u64,
}

async fn stream(State(shared): State<Arc<Shared>>, Query(of): Query<OfSession>) -> Result<Body, Refused> {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    {
        let mut session = shared.session.lock().expect("lock");
        if session.0 != of.session {
            return Err(refused(StatusCode::CONFLICT, "an old session"));
        }
        session.1 = Some(sender);
    }
    shared.changed.notify_waiters();
    let lines = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
    let pings = futures_util::stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        Some((Downward::Ping { at: now() }, ()))
    });
    let muted = Arc::clone(&shared);
    let lines = futures_util::stream::select(lines, Box::pin(pings)).filter_map(move |message| {
        let mute = *muted.mute.lock().expect("lock");
        let line = format!("{}\n", serde_json::to_string(&message).expect("serialises"));
        std::future::ready((!mute).then(|| Ok::<_, std::convert::Infallible>(Bytes::from(line))))
    });
    Ok(Body::from_stream(lines))
}

async fn report(
    State(shared): State<Arc<Shared>>,
    Query(of): Query<OfSession>,
    Json(report): Json<Report>,
) -> Result<impl IntoResponse, Refused> {
    if shared.session.lock().expect("lock").0 != of.session {
        return Err(refused(StatusCode::CONFLICT, "an old session"));
    }
    {
        let mut heard = shared.heard.lock().expect("lock");
        heard.reports += 1;
        heard.items.extend(report.items);
    }
    shared.changed.notify_waiters();
    let delay = *shared.report_delay.lock().expect("lock");
    tokio::time::sleep(delay).await;
    Ok(Json(serde_json::json!({})))
}

async fn history(
    State(shared): State<Arc<Shared>>,
    Extension(certified): Extension<HasCertificate>,
    Path(run): Path<String>,
    body: Bytes,
) -> StatusCode {
    assert!(certified.0.is_some(), "a history without a certificate");
    shared.heard.lock().expect("lock").histories.insert(RunId(run).0, body.to_vec());
    shared.changed.notify_waiters();
    StatusCode::OK
}
