//! Spans on the wire.

use super::span::{Span, document};
use super::{Collector, Traces};
use reqwest::header::CONTENT_TYPE;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Spans of one export: some hundred kilobytes, less than what collectors take.
const TOGETHER_MAX: usize = 512;
/// How long the first span of an export waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// Longest try of one export.
const SEND_WITHIN: Duration = Duration::from_secs(10);
/// After a try that failed; then the next one, the last of an export. Meanwhile the queue fills, and loses what is newer.
const AGAIN_AFTER: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];
/// What waits at the shutdown is sent within this; the server cuts everything off two seconds later.
const FLUSH_WITHIN: Duration = Duration::from_secs(3);

/// The sender of spans.
pub(super) struct Export {
    collector: Collector,
    receiver: mpsc::Receiver<Span>,
    http: Option<reqwest::Client>,
    /// The last export did not get through, and that was said.
    failing: bool,
}

impl Export {
    pub(super) fn new(collector: Collector, receiver: mpsc::Receiver<Span>) -> Self {
        Self { collector, receiver, http: None, failing: false }
    }

    /// Sends what comes, until the shutdown.
    pub(super) async fn carry_on(mut self, traces: &Traces, shutdown: &CancellationToken) {
        let mut batch = Vec::new();
        while !shutdown.is_cancelled() {
            if batch.is_empty() {
                let gathered = tokio::select! {
                    came = self.receiver.recv_many(&mut batch, TOGETHER_MAX) => came,
                    () = shutdown.cancelled() => break,
                };
                if gathered == 0 {
                    break;
                }
                self.gather(&mut batch, shutdown).await;
            }
            let sent = tokio::select! {
                sent = self.try_all(&batch) => sent,
                // What was on its way is sent once more below: a collector knows a span by its id.
                () = shutdown.cancelled() => break,
            };
            self.note(traces, batch.len(), sent);
            batch.clear();
        }
        self.flush(traces, batch).await;
    }

    /// Waits a little for more.
    async fn gather(&mut self, batch: &mut Vec<Span>, shutdown: &CancellationToken) {
        let receiver = &mut self.receiver;
        let more = async {
            while batch.len() < TOGETHER_MAX && receiver.recv_many(batch, TOGETHER_MAX - batch.len()).await > 0 {}
        };
        tokio::select! {
            _ = tokio::time::timeout(GATHER, more) => {}
            () = shutdown.cancelled() => {}
        }
    }

    async fn try_all(&mut self, batch: &[Span]) -> Result<(), String> {
        let mut sent = self.send(batch).await;
        for pause in AGAIN_AFTER {
            if !matches!(sent, Err(Failed::Later(_))) {
                break;
            }
            tokio::time::sleep(pause).await;
            sent = self.send(batch).await;
        }
        sent.map_err(Failed::why)
    }

    async fn send(&mut self, batch: &[Span]) -> Result<(), Failed> {
        let http = match &self.http {
            Some(http) => http.clone(),
            None => self.http.insert(client().map_err(|error| Failed::Later(error.to_string()))?).clone(),
        };
        let body = document(batch).to_string();
        let asked = http.post(self.collector.traces()).header(CONTENT_TYPE, "application/json").body(body).send();
        let answer = asked.await.map_err(|error| Failed::Later(error.without_url().to_string()))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            // Those that the protocol says may be tried again.
            status if [429, 502, 503, 504].contains(&status.as_u16()) => Err(Failed::Later(status.to_string())),
            status => Err(Failed::Never(status.to_string())),
        }
    }

    /// Says it when exports begin to fail and when they get through again, not each time.
    fn note(&mut self, traces: &Traces, spans: usize, sent: Result<(), String>) {
        match sent {
            Ok(()) if self.failing => {
                let lost = traces.lost().unwrap_or_default();
                tracing::info!(collector = %self.collector, lost, "traces get through again; spans lost since the start");
                self.failing = false;
            }
            Ok(()) => {}
            Err(why) => {
                traces.lose(spans);
                if !self.failing {
                    tracing::warn!(collector = %self.collector, why, "traces do not get through; nothing waits for them");
                }
                self.failing = true;
            }
        }
    }

    /// What waits, once and quickly.
    async fn flush(mut self, traces: &Traces, mut batch: Vec<Span>) {
        self.receiver.close();
        let mut left = batch.len() + self.receiver.len();
        let all = async {
            loop {
                if batch.is_empty() && self.receiver.recv_many(&mut batch, TOGETHER_MAX).await == 0 {
                    return;
                }
                if self.send(&batch).await.is_err() {
                    return;
                }
                left = left.saturating_sub(batch.len());
                batch.clear();
            }
        };
        let _in_time = tokio::time::timeout(FLUSH_WITHIN, all).await;
        if left > 0 {
            traces.lose(left);
            tracing::warn!(collector = %self.collector, left, "spans were not sent before the end");
        }
    }
}

/// Why an export did not get through.
enum Failed {
    /// It may be tried again.
    Later(String),
    /// The collector does not want it.
    Never(String),
}

impl Failed {
    fn why(self) -> String {
        match self {
            Self::Later(why) | Self::Never(why) => why,
        }
    }
}

fn client() -> Result<reqwest::Client, reqwest::Error> {
    firedrill_api::client::install_crypto();
    reqwest::Client::builder()
        .timeout(SEND_WITHIN)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("firedrill/", env!("CARGO_PKG_VERSION")))
        .build()
}
