//! Starting and stopping.

use crate::access::AccessControl;
use crate::attacks::{self, Change, Changes};
use crate::authority::Authority;
use crate::config::{DATABASE_FILE, ServerConfig};
use crate::error::StartError;
use crate::fleet::{Fleet, Presence};
use crate::keepers::{Keepers, Surroundings};
use crate::live::LiveFeed;
use crate::lock::DataDirLock;
use crate::messages::Messages;
use crate::openid::OpenId;
use crate::server::{Parts, Server};
use crate::timeline::Timeline;
use crate::{http, interrupted, link, messages, schedules, series, shared, traces};
use axum::serve::ListenerExt;
use firedrill_store::{Epoch, Store};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// After the shutdown was asked for, what has not ended by itself is cut off.
pub(crate) const SHUTDOWN_WITHIN: Duration = Duration::from_secs(5);

/// Runs a server until the shutdown.
///
/// # Errors
/// Why it did not start; nothing was begun then.
pub async fn run(config: ServerConfig, shutdown: CancellationToken) -> Result<(), StartError> {
    match config.shared.clone() {
        Some(url) => shared::contend(config, url, shutdown).await?.finished().await?,
        None => start(config, shutdown).await?.finished().await,
    }
    Ok(())
}

/// A server that has started: both addresses answer.
#[derive(Debug)]
pub struct Running {
    /// What its parts share.
    pub server: Arc<Server>,
    /// Where people and scripts connect, with the port that was chosen when 0 was asked for.
    pub http: SocketAddr,
    /// Where agents connect, likewise.
    pub link: SocketAddr,
    tasks: TaskTracker,
    _lock: DataDirLock,
}

impl Running {
    /// Resolves when the server has stopped, after its shutdown was asked for.
    pub async fn finished(self) {
        finished(&self.server, self.tasks).await;
    }
}

/// Resolves when a server has stopped, after its shutdown was asked for.
pub(crate) async fn finished(server: &Server, tasks: TaskTracker) {
    server.shutdown.cancelled().await;
    tasks.close();
    if tokio::time::timeout(SHUTDOWN_WITHIN, tasks.wait()).await.is_err() {
        tracing::warn!("not everything ended within {SHUTDOWN_WITHIN:?} of the shutdown; cut off");
    }
    if tokio::time::timeout(SHUTDOWN_WITHIN, server.store.close()).await.is_err() {
        tracing::warn!("the store did not close within {SHUTDOWN_WITHIN:?}; its connections are left to it");
    }
}

/// Starts a server on a file of its own; [`ServerConfig::shared`] is not looked at.
///
/// # Errors
/// Why it did not start; nothing was begun then.
pub async fn start(config: ServerConfig, shutdown: CancellationToken) -> Result<Running, StartError> {
    let lock = prepare(&config)?;
    let listener = listen(config.http, "--http").await?;
    let http = local_address(&listener, config.http, "--http")?;
    let store = Store::open(&config.data_dir.join(DATABASE_FILE)).await?;
    let Begun { server, link, tasks } = begin(config, store, Epoch(0), shutdown.clone()).await?;
    server.say_started(None).await;
    tasks.spawn(serve_http(listener, http::router(Arc::clone(&server)), shutdown));
    tracing::info!(%http, %link, data_dir = %server.config.data_dir.display(), "server started");
    Ok(Running { server, http, link, tasks, _lock: lock })
}

/// The data directory is there, and no other server's.
pub(crate) fn prepare(config: &ServerConfig) -> Result<DataDirLock, StartError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config.data_dir)
        .map_err(|error| StartError::data_dir(&config.data_dir, error))?;
    DataDirLock::take(&config.data_dir)
}

/// A server that does all it is there for, but does not answer people and scripts yet.
pub(crate) struct Begun {
    pub(crate) server: Arc<Server>,
    pub(crate) link: SocketAddr,
    pub(crate) tasks: TaskTracker,
}

/// Goes on with everything that is in the store, as the server of that epoch.
pub(crate) async fn begin(
    config: ServerConfig,
    store: Store,
    epoch: Epoch,
    shutdown: CancellationToken,
) -> Result<Begun, StartError> {
    let link_listener = listen(config.link, "--link").await?;
    let link = local_address(&link_listener, config.link, "--link")?;
    let link_address = config.link_advertised.unwrap_or(link);
    if link_address.ip().is_unspecified() {
        tracing::warn!(%link_address, "agents cannot connect to what tokens name as the server; say so with --link-advertised");
    }

    let directory = config.data_dir.join("authority");
    let authority_failed = |source| StartError::Authority { path: directory.clone(), source };
    let authority = Authority::open(&directory).map_err(authority_failed)?;
    let identity = authority.server_identity(&addresses(link, link_address)).map_err(authority_failed)?;
    let tls = link::tls_config(&authority, identity).map_err(authority_failed)?;

    let tasks = TaskTracker::new();
    let place = Placed { authority, link_address, store, epoch };
    let (server, presence, changes) = assemble(config, place, &tasks, shutdown.clone()).await?;
    let server = Arc::new(server);
    tasks.spawn(attacks::follow_changes(Arc::clone(&server), changes, shutdown.clone()));
    interrupted::settle(&server).await;

    tasks.spawn(link::follow_presence(Arc::clone(&server), presence, shutdown.clone()));
    let most = server.config.link_connections;
    tasks.spawn(link::listen(link_listener, tls, link::router(Arc::clone(&server)), most, shutdown.clone()));
    tasks.spawn(series::follow(Arc::clone(&server), shutdown.clone()));
    tasks.spawn(schedules::follow(Arc::clone(&server), shutdown.clone()));
    tasks.spawn(messages::follow(Arc::clone(&server), shutdown.clone()));
    tasks.spawn(traces::follow(Arc::clone(&server), shutdown));
    Ok(Begun { server, link, tasks })
}

/// Where a server is and what it stands on.
struct Placed {
    authority: Authority,
    link_address: SocketAddr,
    store: Store,
    epoch: Epoch,
}

async fn assemble(
    config: ServerConfig,
    placed: Placed,
    tasks: &TaskTracker,
    shutdown: CancellationToken,
) -> Result<(Server, mpsc::Receiver<Presence>, mpsc::Receiver<Change>), StartError> {
    let Placed { authority, link_address, store, epoch } = placed;
    let live = LiveFeed::new();
    let timeline = Timeline::new(store.clone(), store.newest_sequence().await?, live.clone());
    let (fleet, presence) = Fleet::new(store.hosts().await?);
    let fleet = Arc::new(fleet);
    let halted = store.halt().await?.map(|halt| halt.reason);
    let has_users = store.has_users().await?;
    if !has_users && !config.http.ip().is_loopback() {
        return Err(StartError::NotLoopback { address: config.http });
    }
    let openid = OpenId::load(&config.data_dir).map_err(StartError::OpenId)?;
    let access = AccessControl::open(&config.data_dir, has_users, openid).map_err(StartError::Secrets)?;
    let messages = Messages::open(&config.data_dir).map_err(StartError::Secrets)?;
    let keepers = Keepers::restore(Surroundings {
        store: store.clone(),
        fleet: Arc::clone(&fleet),
        timeline: timeline.clone(),
        live: live.clone(),
        tasks: tasks.clone(),
        shutdown: shutdown.clone(),
    })
    .await?;
    let (attack_changes, changes) = Changes::new();
    let parts = Parts {
        config,
        store,
        epoch,
        fleet,
        keepers,
        timeline,
        live,
        shutdown,
        authority,
        link_address,
        halted,
        access,
        messages,
        attack_changes,
    };
    Ok((Server::new(parts), presence, changes))
}

pub(crate) async fn listen(address: SocketAddr, setting: &'static str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        std::io::ErrorKind::AddrInUse => StartError::PortInUse { address, setting },
        _ => StartError::Listen { address, setting, source },
    })
}

pub(crate) fn local_address(
    listener: &TcpListener,
    address: SocketAddr,
    setting: &'static str,
) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|source| StartError::Listen { address, setting, source })
}

/// The addresses that the link's certificate is good for.
fn addresses(link: SocketAddr, advertised: SocketAddr) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> =
        [link.ip(), advertised.ip()].into_iter().filter(|address| !address.is_unspecified()).collect();
    addresses.dedup();
    addresses
}

pub(crate) async fn serve_http(listener: TcpListener, router: axum::Router, shutdown: CancellationToken) {
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection of the API stays with delayed small packets");
        }
    });
    let served = axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the HTTP listener ended");
    }
}
