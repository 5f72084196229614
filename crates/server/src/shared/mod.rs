//! Several servers on one PostgreSQL: one acts, the others stand by and take over when it does not say any more that it
//! acts.
//!
//! Who acts, and since which *epoch*, is one row there ([`Lease`]). A server that takes over starts as after a kill:
//! everything that it needs is in the store, and what the one before has left behind (attacks in place, an operation in
//! its third step, a run under way) is settled as always. It is kept from acting twice by three things, each enough
//! by itself while the others hold: the one that acts stops by its own clock before the row is over; the store refuses
//! what an older epoch writes, and nothing is done that is not stored first; agents refuse a server of an older epoch.
//!
//! **Where to begin**: [`contend`], then `front` for what callers of a server that stands by are told.

mod front;
mod identity;
mod keep;

use crate::config::ServerConfig;
use crate::error::StartError;
use crate::http;
use crate::problem::chain;
use crate::server::Server;
use crate::start::{Begun, SHUTDOWN_WITHIN, begin, listen, local_address, prepare, serve_http};
use firedrill_store::{Acting, Contender, Epoch, Lease, PostgresUrl, Store, StoreError};
use front::{Front, Phase};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a server acts after it has last said so. Two losses of a packet on the way to the database and their
/// repetition fit in; and with all that follows another one acts within 5 s.
pub(crate) const LASTING: Duration = Duration::from_secs(2);
/// How often a server that stands by looks whether another one acts.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A server that acts or stands by.
#[derive(Debug)]
pub struct Contending {
    /// Where people and scripts connect, also while it stands by.
    pub http: SocketAddr,
    acting: watch::Receiver<Option<Arc<Server>>>,
    task: JoinHandle<Result<(), StartError>>,
}

impl Contending {
    /// The server while it acts.
    #[must_use]
    pub fn acting(&self) -> watch::Receiver<Option<Arc<Server>>> {
        self.acting.clone()
    }

    /// Resolves when it has stopped, after its shutdown was asked for.
    ///
    /// # Errors
    /// It took over and could not start; another one may.
    pub async fn finished(self) -> Result<(), StartError> {
        match self.task.await {
            Ok(ended) => ended,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}

/// Starts a server that stands by until it may act.
///
/// # Errors
/// Why it did not start: also when the database does not answer now, or belongs to servers with other keys.
pub async fn contend(
    config: ServerConfig,
    url: PostgresUrl,
    shutdown: CancellationToken,
) -> Result<Contending, StartError> {
    let lock = prepare(&config)?;
    let lease = Lease::connect(&url).await?;
    let identity = identity::of(&config, lease.acting().await?.as_ref())?;
    let listener = listen(config.http, "--http").await?;
    let http = local_address(&listener, config.http, "--http")?;
    let advertised = config.http_advertised.clone().unwrap_or_else(|| format!("http://{http}"));
    let this = Contender { id: uuid::Uuid::now_v7().to_string(), http: advertised, identity };
    let front = Front::new();
    let serving = CancellationToken::new();
    let served = tokio::spawn(serve_http(listener, front.router(), serving.clone()));
    let (sender, acting) = watch::channel(None);
    let contest = Contest { config, url, lease, this, front, acting: sender, shutdown };
    tracing::info!(%http, place = %contest.url, "server stands by");
    let task = tokio::spawn(async move {
        let _lock = lock;
        let ended = contest.run().await;
        serving.cancel();
        // Callers that never end theirs must not keep the process.
        if tokio::time::timeout(SHUTDOWN_WITHIN, served).await.is_err() {
            tracing::warn!("not every caller was done within {SHUTDOWN_WITHIN:?} of the shutdown; cut off");
        }
        ended
    });
    Ok(Contending { http, acting, task })
}

struct Contest {
    config: ServerConfig,
    url: PostgresUrl,
    lease: Lease,
    this: Contender,
    front: Front,
    acting: watch::Sender<Option<Arc<Server>>>,
    shutdown: CancellationToken,
}

impl Contest {
    async fn run(self) -> Result<(), StartError> {
        loop {
            let taken = tokio::select! {
                () = self.shutdown.cancelled() => return Ok(()),
                taken = self.take() => taken?,
            };
            let (epoch, before, until) = taken;
            tracing::info!(%epoch, "this server acts");
            let ended = self.act(epoch, before, until).await;
            self.acting.send_replace(None);
            self.front.show(Phase::StandingBy(None));
            // At its end, or because it cannot start: another one need not wait.
            if let Err(error) = self.lease.release(epoch).await {
                tracing::debug!(error = %chain(&error), "the lease is not given back; it ends by itself");
            }
            ended?;
            if self.shutdown.is_cancelled() {
                return Ok(());
            }
            tracing::warn!(%epoch, "this server stands by again");
        }
    }

    /// Waits until nobody acts, and takes over. Gives the epoch, who acted before, and until when it may act.
    async fn take(&self) -> Result<(Epoch, Option<Acting>, Instant), StartError> {
        let mut away = false;
        loop {
            let asked = Instant::now();
            match self.look().await {
                Ok(Some((epoch, before))) => return Ok((epoch, before, asked + LASTING)),
                Ok(None) if away => {
                    tracing::info!("the database answers again");
                    away = false;
                }
                Ok(None) => {}
                Err(error @ StoreError::OtherVersion { .. }) => return Err(error.into()),
                Err(error) if !away => {
                    tracing::error!(error = %chain(&error), "the database does not answer; trying again");
                    away = true;
                }
                Err(error) => tracing::debug!(error = %chain(&error), "the database still does not answer"),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn look(&self) -> Result<Option<(Epoch, Option<Acting>)>, StoreError> {
        // Looking first: asking to act locks the row for a moment, and whoever acts writes by it.
        let before = self.lease.acting().await?;
        let over = before.as_ref().is_none_or(|acting| acting.remaining.is_zero());
        self.front.show(Phase::StandingBy(before.clone().filter(|_| !over)));
        if !over {
            return Ok(None);
        }
        self.lease.version().await?;
        Ok(self.lease.take(&self.this, LASTING).await?.map(|epoch| (epoch, before)))
    }

    /// Acts until the shutdown, or until another server may act.
    async fn act(&self, epoch: Epoch, before: Option<Acting>, until: Instant) -> Result<(), StartError> {
        let acting = self.shutdown.child_token();
        let keeping = tokio::spawn(keep::keep(self.lease.clone(), epoch, until, acting.clone()));
        let began = async {
            let store = Store::open_shared(&self.url, epoch).await?;
            begin(self.config.clone(), store, epoch, acting.clone()).await
        };
        let begun = tokio::select! {
            begun = began => begun,
            // Not a failure of this server: it could not say in time that it acts.
            () = acting.cancelled() => return Ok(()),
        };
        let ended = match begun {
            Ok(Begun { server, tasks, .. }) => {
                server.say_started(before.map(|before| before.server.http).as_deref()).await;
                self.front.show(Phase::Acting(http::router(Arc::clone(&server))));
                self.acting.send_replace(Some(Arc::clone(&server)));
                crate::start::finished(&server, tasks).await;
                Ok(())
            }
            // A database that goes away in the middle of a start comes back.
            Err(StartError::Store(error)) if error.may_pass() || matches!(error, StoreError::Deposed { .. }) => {
                tracing::error!(error = %chain(&error), "taking over failed; trying again");
                Ok(())
            }
            Err(error) => Err(error),
        };
        acting.cancel();
        // It ends with the token; nothing is left undone by it.
        drop(keeping.await);
        ended
    }
}
