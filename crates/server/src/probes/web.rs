//! Questions over HTTP: pages, and Prometheus.

use super::destination::Destinations;
use crate::problem::chain;
use firedrill_model::probe::{BODY_BYTES_MAX, PrometheusQuestion, Seen};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Response, Url, redirect};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// A name is looked up within a probe's patience; the client, which does not know that, gives up after this.
const RESOLVE_WITHIN: Duration = firedrill_model::probe::TIMEOUT_MAX.duration();

/// The client that asks.
pub(super) struct Web {
    destinations: Arc<Destinations>,
    /// Made at the first question: few servers have such probes, and reading the system's authorities takes time.
    client: OnceLock<Result<Client, String>>,
}

/// Looks names up, and gives only addresses that may be asked, so that a name cannot lead elsewhere between the look
/// and the connection.
struct Guarded(Arc<Destinations>);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let destinations = Arc::clone(&self.0);
        Box::pin(async move {
            let end = Instant::now() + RESOLVE_WITHIN;
            let addresses = destinations.resolve(name.as_str(), 0, end).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

impl Web {
    pub(super) fn new(destinations: Arc<Destinations>) -> Self {
        Self { destinations, client: OnceLock::new() }
    }

    fn client(&self) -> Result<&Client, String> {
        let make = || {
            firedrill_api::client::install_crypto();
            Client::builder()
                .dns_resolver(Arc::new(Guarded(Arc::clone(&self.destinations))))
                // A redirect is an answer; followed, it could lead anywhere.
                .redirect(redirect::Policy::none())
                .no_proxy()
                // Each question is that of a new visitor: an old connection says nothing of a listener that is gone.
                .pool_max_idle_per_host(0)
                .user_agent(concat!("firedrill/", env!("CARGO_PKG_VERSION")))
                .build()
                .map_err(|error| format!("no HTTP client could be made: {}", chain(&error)))
        };
        self.client.get_or_init(make).as_ref().map_err(Clone::clone)
    }

    /// Asks for a page.
    pub(super) async fn get(&self, url: &str, with_body: bool, end: Instant) -> Seen {
        match Url::parse(url) {
            Ok(url) => self.fetch(url, with_body, end).await,
            Err(error) => Seen::NotAsked(format!("{url:?} is not an address: {error}")),
        }
    }

    /// Puts an instant query to Prometheus.
    pub(super) async fn query(&self, question: &PrometheusQuestion, end: Instant) -> Seen {
        let base = question.url.trim_end_matches('/');
        let left = end.saturating_duration_since(Instant::now());
        let parameters = [("query", question.query.clone()), ("timeout", format!("{}ms", left.as_millis().max(1)))];
        match Url::parse_with_params(&format!("{base}/api/v1/query"), parameters) {
            Ok(url) => self.fetch(url, true, end).await,
            Err(error) => Seen::NotAsked(format!("{base:?} is not an address: {error}")),
        }
    }

    async fn fetch(&self, url: Url, with_body: bool, end: Instant) -> Seen {
        let client = match self.client() {
            Ok(client) => client,
            Err(why) => return Seen::NotAsked(why),
        };
        if let Err(why) = self.may_ask(&url, end).await {
            return Seen::NotAsked(why);
        }
        let began = Instant::now();
        let mut response = match timeout_at(end, client.get(url).send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Seen::Failed(chain(&error.without_url())),
            Err(_) => return Seen::Failed("there was no answer in time".to_owned()),
        };
        let (status, took) = (response.status().as_u16(), began.elapsed().into());
        let body = if with_body { Some(body(&mut response, end).await) } else { None };
        Seen::Http { status, took, body }
    }

    /// The client asks the same of names; addresses it takes as they are.
    async fn may_ask(&self, url: &Url, end: Instant) -> Result<(), String> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("{url} does not begin with http:// or https://"));
        }
        let host = url.host_str().ok_or_else(|| format!("{url} names no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = url.port_or_known_default().unwrap_or_default();
        self.destinations.resolve(host, port, end).await.map(drop)
    }
}

async fn body(response: &mut Response, end: Instant) -> Result<String, String> {
    let mut body = Vec::new();
    loop {
        match timeout_at(end, response.chunk()).await {
            Ok(Ok(Some(piece))) if body.len() + piece.len() > BODY_BYTES_MAX => {
                return Err(format!("it has more than {BODY_BYTES_MAX} bytes"));
            }
            Ok(Ok(Some(piece))) => body.extend_from_slice(&piece),
            Ok(Ok(None)) => break,
            Ok(Err(error)) => return Err(chain(&error.without_url())),
            Err(_) => return Err("its end did not come in time".to_owned()),
        }
    }
    String::from_utf8(body).map_err(|_| "it is not text".to_owned())
}
