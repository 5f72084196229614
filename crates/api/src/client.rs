//! The typed client of the HTTP API: one method per line of the table in [`crate::http`].

mod access;
mod call;
mod evidence;
mod guards;
mod messages;
mod schedules;
mod servers;

pub use evidence::{EvidenceFormat, EvidenceQuery};
pub use schedules::CalendarQuery;

use crate::chaos_toolkit::Import;
use crate::http::{
    Accepted, Done, ExperimentEntry, FillTemplate, Halted, HostView, ImportExperiment, Live, NodeFingerprint, Problem,
    Reason, RegisterCluster, RunEntry, RunStarted, SaveTemplate, StartAttack, StartRun, Status, TemplateEntry,
    TemplatePreview, Token,
};
use crate::sse::{Parser, ServerEvent, TooLong};
use bytes::Bytes;
use call::ANSWER_WITHIN;
use firedrill_model::attack::AttackReport;
use firedrill_model::report::RunReport;
use firedrill_model::{AttackId, ClusterName, ClusterView, HostName, Operation, OperationId, RunId, TimelineEvent};
use futures_util::{Stream, StreamExt, stream};
use reqwest::{Method, Response};
use serde::Serialize;
use servers::Servers;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// The server listens on the same machine: a connection that takes longer than this will not come.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// The live stream says something at least every 15 s; twice that in silence means that it is gone.
const STREAM_SILENT_AFTER: Duration = Duration::from_secs(30);
/// Longest event of the live stream: an operation with all its logs, with room to spare.
const EVENT_BYTES_MAX: usize = 16 << 20;

/// Why a call gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is nobody at that address.
    #[error(
        "no firedrill server answers at {url}; start one (`firedrill server` or `firedrill sandbox up`), or name another with --server URL"
    )]
    Unreachable {
        /// Where it was looked for.
        url: String,
        /// What the network said.
        source: reqwest::Error,
    },
    /// The server says no, or that something is wrong.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// The answer is not what this version understands.
    #[error(
        "{url} answered with something that is not understood ({seen}); is it a firedrill server of the same version as this client?"
    )]
    NotUnderstood {
        /// What was called.
        url: String,
        /// What came.
        seen: String,
    },
    /// The connection broke, or no answer came in time. What was asked for may or may not have happened.
    #[error("the connection to {url} broke before the answer was there; what was asked for may have happened")]
    Broken {
        /// What was called.
        url: String,
        /// What the network said.
        source: reqwest::Error,
    },
    /// The address of the server is not a URL such as `http://127.0.0.1:7070`.
    #[error("{url:?} is not the address of a server; give one such as http://127.0.0.1:7070")]
    Address {
        /// What was given.
        url: String,
    },
}

impl ClientError {
    /// Refused by a guard: exit status 4.
    #[must_use]
    pub fn refused(&self) -> bool {
        matches!(self, Self::Problem(problem) if problem.refused)
    }
}

/// Which part of the timeline or of the live stream is meant.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TimelineQuery {
    /// Only lines with a higher sequence. Absent: the newest lines, or, for the live stream, only what is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Only of this cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterName>,
    /// Only of this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// At most so many lines; not for the live stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// One message of the live stream, with its place in the timeline when it has one.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveMessage {
    /// The sequence to go on from after a break; only lines of the timeline have one.
    pub sequence: Option<u64>,
    /// What happened.
    pub live: Live,
}

/// Calls one server. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    servers: Servers,
    http: reqwest::Client,
    person: Option<String>,
    credential: Option<Arc<str>>,
}

impl std::fmt::Debug for Client {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("servers", &self.servers).finish_non_exhaustive()
    }
}

impl Client {
    /// For the server at that address (`http://127.0.0.1:7070`), or for several that share a store, separated by commas:
    /// what one cannot be asked, because it is not there or stands by, the next one is. Nothing is sent yet.
    ///
    /// # Errors
    /// One of them is not an `http://` or `https://` address.
    pub fn new(addresses: &str) -> Result<Self, ClientError> {
        let mut bases = Vec::new();
        let mut plain = true;
        for base in addresses.split(',') {
            let address = || ClientError::Address { url: base.to_owned() };
            let url = reqwest::Url::parse(base).map_err(|_| address())?;
            if !["http", "https"].contains(&url.scheme()) || url.host().is_none() {
                return Err(address());
            }
            plain &= url.scheme() == "http";
            bases.push(base.trim_end_matches('/').to_owned());
        }
        install_crypto();
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_WITHIN)
            .tcp_nodelay(true)
            // A server is reached directly: a proxy of the environment must not come between.
            .no_proxy();
        // Without TLS the certificates that this system trusts need not be there.
        let http = if plain { http.tls_certs_only(Vec::new()) } else { http };
        let http = http.build().map_err(|_| ClientError::Address { url: addresses.to_owned() })?;
        Ok(Self { servers: Servers::new(bases), http, person: None, credential: None })
    }

    /// Calls in the name of that person, which counts as long as a server has no users; a name that no header can carry
    /// is left out.
    #[must_use]
    pub fn in_the_name_of(mut self, person: Option<String>) -> Self {
        self.person = person.filter(|name| name.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        self
    }

    /// Shows that secret, of an API token or a session, with each call.
    #[must_use]
    pub fn with_credential(self, secret: &str) -> Self {
        Self { credential: Some(secret.into()), ..self }
    }

    /// The first address that it was made with, without a slash at the end.
    #[must_use]
    pub fn base_url(&self) -> &str {
        self.servers.first()
    }

    /// The server itself.
    ///
    /// # Errors
    /// As for every call: [`ClientError`].
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get("/api/v1/status").await
    }

    /// All clusters.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn clusters(&self) -> Result<Vec<ClusterView>, ClientError> {
        self.get("/api/v1/clusters").await
    }

    /// One cluster.
    ///
    /// # Errors
    /// [`ClientError`]; there is no such cluster.
    pub async fn cluster(&self, cluster: &ClusterName) -> Result<ClusterView, ClientError> {
        self.get(&format!("/api/v1/clusters/{cluster}")).await
    }

    /// Registers a cluster, or changes its login or policy.
    ///
    /// # Errors
    /// [`ClientError`]; the cluster is malformed, or is there with other nodes.
    pub async fn register_cluster(&self, register: &RegisterCluster) -> Result<ClusterView, ClientError> {
        self.put(&format!("/api/v1/clusters/{}", register.spec.name), register).await
    }

    /// Asks a cluster's keeper for something; `request` is the keeper's `Request`.
    ///
    /// # Errors
    /// [`ClientError`]; the keeper refuses and says why.
    pub async fn request<R: Serialize + Sync>(
        &self,
        cluster: &ClusterName,
        request: &R,
    ) -> Result<Accepted, ClientError> {
        self.post(&format!("/api/v1/clusters/{cluster}/requests"), request).await
    }

    /// Takes a fingerprint of every node's data.
    ///
    /// # Errors
    /// [`ClientError`]; nodes that cannot be read are in the answer.
    pub async fn fingerprint(&self, cluster: &ClusterName) -> Result<Vec<NodeFingerprint>, ClientError> {
        self.post(&format!("/api/v1/clusters/{cluster}/fingerprint"), &Done {}).await
    }

    /// All hosts.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn hosts(&self) -> Result<Vec<HostView>, ClientError> {
        self.get("/api/v1/hosts").await
    }

    /// A one-time token with which the agent of that host enrols.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn token(&self, host: &HostName) -> Result<Token, ClientError> {
        self.post(&format!("/api/v1/hosts/{host}/token"), &Done {}).await
    }

    /// One host.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn host(&self, host: &HostName) -> Result<HostView, ClientError> {
        self.get(&format!("/api/v1/hosts/{host}")).await
    }

    /// Keeps a host out until it is enrolled anew: its certificate, and tokens given out for it, are not accepted any more.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn revoke_host(&self, host: &HostName, reason: &str) -> Result<HostView, ClientError> {
        self.post(&format!("/api/v1/hosts/{host}/revoke"), &Reason { reason: reason.to_owned() }).await
    }

    /// Operations, newest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn operations(&self, cluster: Option<&ClusterName>) -> Result<Vec<Operation>, ClientError> {
        let query: Vec<_> = cluster.iter().map(|cluster| ("cluster", cluster.as_str())).collect();
        self.send("/api/v1/operations", self.call(Method::GET, "/api/v1/operations").query(&query)).await
    }

    /// One operation.
    ///
    /// # Errors
    /// [`ClientError`]; there is no such operation.
    pub async fn operation(&self, operation: &OperationId) -> Result<Operation, ClientError> {
        self.get(&format!("/api/v1/operations/{operation}")).await
    }

    /// The library of experiments.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn experiments(&self) -> Result<Vec<ExperimentEntry>, ClientError> {
        self.get("/api/v1/experiments").await
    }

    /// All templates.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn templates(&self) -> Result<Vec<TemplateEntry>, ClientError> {
        self.get("/api/v1/templates").await
    }

    /// One template.
    ///
    /// # Errors
    /// [`ClientError`]; there is none of that name.
    pub async fn template(&self, name: &str) -> Result<TemplateEntry, ClientError> {
        self.get(&format!("/api/v1/templates/{name}")).await
    }

    /// Keeps a template of one's own.
    ///
    /// # Errors
    /// [`ClientError`]; it is not well-formed.
    pub async fn save_template(&self, save: &SaveTemplate) -> Result<TemplateEntry, ClientError> {
        self.post("/api/v1/templates", save).await
    }

    /// Imports an experiment of the Chaos Toolkit as a template.
    ///
    /// # Errors
    /// [`ClientError`]; it cannot be imported wholly, or its name is taken.
    pub async fn import_experiment(&self, import: &ImportExperiment) -> Result<Import, ClientError> {
        self.post("/api/v1/imports/chaos-toolkit", import).await
    }

    /// Forgets a saved template.
    ///
    /// # Errors
    /// [`ClientError`]; there is none of that name, or it ships.
    pub async fn remove_template(&self, name: &str) -> Result<Done, ClientError> {
        let path = format!("/api/v1/templates/{name}");
        self.send(&path, self.call(Method::DELETE, &path)).await
    }

    /// What a template would do now.
    ///
    /// # Errors
    /// [`ClientError`]; values do not fit.
    pub async fn preview_template(&self, name: &str, fill: &FillTemplate) -> Result<TemplatePreview, ClientError> {
        self.post(&format!("/api/v1/templates/{name}/preview"), fill).await
    }

    /// Starts a template.
    ///
    /// # Errors
    /// [`ClientError`]; values do not fit, or a guard refuses.
    pub async fn start_template(&self, name: &str, fill: &FillTemplate) -> Result<RunStarted, ClientError> {
        self.post(&format!("/api/v1/templates/{name}/start"), fill).await
    }

    /// Starts a run.
    ///
    /// # Errors
    /// [`ClientError`]; the file is wrong, or a guard refuses.
    pub async fn start_run(&self, start: &StartRun) -> Result<RunStarted, ClientError> {
        self.post("/api/v1/runs", start).await
    }

    /// Runs, newest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn runs(&self) -> Result<Vec<RunEntry>, ClientError> {
        self.get("/api/v1/runs").await
    }

    /// One run's report.
    ///
    /// # Errors
    /// [`ClientError`]; there is no such run.
    pub async fn run(&self, run: &RunId) -> Result<RunReport, ClientError> {
        self.get(&format!("/api/v1/runs/{run}")).await
    }

    /// One run's self-contained page.
    ///
    /// # Errors
    /// [`ClientError`]; there is no such run.
    pub async fn report_html(&self, run: &RunId) -> Result<String, ClientError> {
        let path = format!("/api/v1/runs/{run}/report.html");
        let response = self.answer(&path, self.call(Method::GET, &path).timeout(ANSWER_WITHIN)).await?;
        response.text().await.map_err(|source| self.broken(&path, source))
    }

    /// One run's recorded history, piece by piece.
    ///
    /// # Errors
    /// [`ClientError`]; the run has no history (yet).
    pub async fn history(
        &self,
        run: &RunId,
    ) -> Result<impl Stream<Item = Result<Bytes, ClientError>> + Send + use<>, ClientError> {
        let path = format!("/api/v1/runs/{run}/history");
        let response = self.answer(&path, self.call(Method::GET, &path)).await?;
        let url = self.url(&path);
        Ok(response
            .bytes_stream()
            .map(move |piece| piece.map_err(|source| ClientError::Broken { url: url.clone(), source })))
    }

    /// Stops one run.
    ///
    /// # Errors
    /// [`ClientError`]; there is no such run under way.
    pub async fn halt_run(&self, run: &RunId, reason: &str) -> Result<Done, ClientError> {
        self.post(&format!("/api/v1/runs/{run}/halt"), &Reason { reason: reason.to_owned() }).await
    }

    /// Attacks with their last state, newest change first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn attacks(&self) -> Result<Vec<AttackReport>, ClientError> {
        self.get("/api/v1/attacks").await
    }

    /// Starts an attack by hand; answers when each host has measured its effect.
    ///
    /// # Errors
    /// [`ClientError`]; nothing is selected, or a guard refuses.
    pub async fn start_attack(&self, start: &StartAttack) -> Result<Vec<AttackReport>, ClientError> {
        self.post("/api/v1/attacks", start).await
    }

    /// Takes an attack out before its time.
    ///
    /// # Errors
    /// [`ClientError`]; there is no such attack, or its host cannot be reached.
    pub async fn undo_attack(&self, attack: &AttackId) -> Result<AttackReport, ClientError> {
        self.post(&format!("/api/v1/attacks/{attack}/undo"), &Done {}).await
    }

    /// Stops everything and blocks starts.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn halt(&self, reason: &str) -> Result<Halted, ClientError> {
        self.post("/api/v1/halt", &Reason { reason: reason.to_owned() }).await
    }

    /// Allows starts again.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn resume(&self, reason: &str) -> Result<Done, ClientError> {
        self.post("/api/v1/resume", &Reason { reason: reason.to_owned() }).await
    }

    /// Lines of the timeline, oldest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn timeline(&self, query: &TimelineQuery) -> Result<Vec<TimelineEvent>, ClientError> {
        self.send("/api/v1/timeline", self.call(Method::GET, "/api/v1/timeline").query(query)).await
    }

    /// What happens, as it happens. The stream ends with an error when the connection breaks or the server stops; go
    /// on with `after` set to the last sequence seen. Dropping it closes the connection.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn events(
        &self,
        query: &TimelineQuery,
    ) -> Result<impl Stream<Item = Result<LiveMessage, ClientError>> + Send + Unpin + use<>, ClientError> {
        let path = "/api/v1/events";
        let request = self.call(Method::GET, path).query(query).header("accept", "text/event-stream");
        let response = self.answer(path, request).await?;
        Ok(messages(response, self.url(path)).boxed())
    }
}

/// What is left of a live stream.
struct Reading {
    response: Response,
    parser: Parser,
    ready: VecDeque<ServerEvent>,
    url: String,
}

impl Reading {
    /// The next event; `None` when the server ended the stream.
    async fn next(&mut self) -> Result<Option<LiveMessage>, ClientError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return self.understand(&event).map(Some);
            }
            let piece = match tokio::time::timeout(STREAM_SILENT_AFTER, self.response.chunk()).await {
                Ok(piece) => piece.map_err(|source| ClientError::Broken { url: self.url.clone(), source })?,
                Err(_) => return Err(self.not_understood("nothing for 30 s, not even a sign of life")),
            };
            let Some(piece) = piece else { return Ok(None) };
            let events = self.parser.push(&piece).map_err(|TooLong| self.not_understood("an endless event"))?;
            self.ready.extend(events);
        }
    }

    fn understand(&self, event: &ServerEvent) -> Result<LiveMessage, ClientError> {
        let live = serde_json::from_str(&event.data).map_err(|error| self.not_understood(&error.to_string()))?;
        Ok(LiveMessage { sequence: event.id.as_deref().and_then(|id| id.parse().ok()), live })
    }

    fn not_understood(&self, seen: &str) -> ClientError {
        ClientError::NotUnderstood { url: self.url.clone(), seen: seen.to_owned() }
    }
}

/// Ends after the first error.
fn messages(response: Response, url: String) -> impl Stream<Item = Result<LiveMessage, ClientError>> + Send {
    let reading = Reading { response, parser: Parser::new(EVENT_BYTES_MAX), ready: VecDeque::new(), url };
    stream::unfold(Some(reading), |reading| async move {
        let mut reading = reading?;
        match reading.next().await {
            Ok(message) => message.map(|message| (Ok(message), Some(reading))),
            Err(error) => Some((Err(error), None)),
        }
    })
}

/// Makes TLS work for clients of this process: reqwest wants to know who does the cryptography, also for plain HTTP.
/// Asking again changes nothing.
pub fn install_crypto() {
    // An error means that somebody chose before, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
