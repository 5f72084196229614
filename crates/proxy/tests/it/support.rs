//! A gateway in this process, servers behind it, and what clients see.

use firedrill_model::command::Route;
use firedrill_model::{ClusterName, Endpoint, Generation, Span};
use firedrill_proxy::control::{Client, Routed, Status};
use firedrill_proxy::gateway::{Gateway, GatewayConfig};
use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// Longest that a test waits for anything that should happen at once; generous, because machines are shared.
pub(crate) const SOON: Duration = Duration::from_secs(10);

pub(crate) fn cluster() -> ClusterName {
    "shop".parse().expect("a name")
}

/// A gateway and a control connection to it.
pub(crate) struct Lab {
    pub(crate) directory: TempDir,
    pub(crate) gateway: Gateway,
    pub(crate) control: Client,
}

impl Lab {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(adjust: impl FnOnce(&mut GatewayConfig)) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut config = config_in(&directory);
        adjust(&mut config);
        let control = config.control.clone();
        let gateway = Gateway::start(config).expect("the gateway starts");
        let control = Client::connect(control).await.expect("the control socket answers");
        Self { directory, gateway, control }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let Endpoint { address, port } = self.gateway.address();
        SocketAddr::from((address, port))
    }

    pub(crate) fn control_path(&self) -> PathBuf {
        self.directory.path().join("control")
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.expect("the gateway accepts")
    }

    pub(crate) async fn route_to(&mut self, backend: SocketAddr) -> Routed {
        self.set(1, &to(backend)).await
    }

    pub(crate) async fn set(&mut self, generation: u64, route: &Route) -> Routed {
        self.control.set_route(&cluster(), Generation(generation), route).await.expect("the route is taken")
    }

    pub(crate) async fn status(&mut self) -> Status {
        self.control.status().await.expect("a status")
    }

    /// Waits until the status is as wanted.
    pub(crate) async fn until(&mut self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        let begun = Instant::now();
        loop {
            let status = self.status().await;
            if wanted(&status) {
                return status;
            }
            assert!(begun.elapsed() < SOON, "never {what}: {status:?}");
            sleep(Duration::from_millis(2)).await;
        }
    }
}

pub(crate) fn config_in(directory: &TempDir) -> GatewayConfig {
    let listen = Endpoint { address: [127, 0, 0, 1].into(), port: 0 };
    let path = |name| directory.path().join(name);
    let mut config = GatewayConfig::new(cluster(), listen, path("control"), path("state"));
    config.hold_for = Span(SOON * 2);
    config.threads = 2;
    config
}

pub(crate) fn to(backend: SocketAddr) -> Route {
    let endpoint = Endpoint { address: backend.ip(), port: backend.port() };
    Route::Primary { node: format!("node-{}", backend.port()).parse().expect("a name"), endpoint }
}

/// A server whose sessions are all treated alike; it ends with the test.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    pub(crate) accepted: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Backend {
    pub(crate) async fn serve<F: Future<Output = ()> + Send + 'static>(
        session: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self::serve_on(listener, session)
    }

    pub(crate) fn serve_on<F: Future<Output = ()> + Send + 'static>(
        listener: TcpListener,
        session: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("an address");
        let accepted = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&accepted);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(session(stream));
            }
        });
        Self { address, accepted, task }
    }

    /// Sends back what it gets, and ends when the client ends.
    pub(crate) async fn echo() -> Self {
        Self::serve(|mut stream| async move {
            let (mut reader, mut writer) = stream.split();
            // A session that is cut in the middle is what some tests are about.
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
            let _ = writer.shutdown().await;
        })
        .await
    }

    /// Greets with its own address, as a database server does, then echoes.
    pub(crate) async fn greeter() -> Self {
        Self::serve(|mut stream| async move {
            let name = stream.local_addr().expect("an address").to_string();
            let (mut reader, mut writer) = stream.split();
            if writer.write_all(format!("{name:<24}").as_bytes()).await.is_ok() {
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
                let _ = writer.shutdown().await;
            }
        })
        .await
    }
}

/// Reads a greeter's greeting: which server is it?
pub(crate) async fn greeting(client: &mut TcpStream) -> SocketAddr {
    let mut text = [0; 24];
    timeout(SOON, client.read_exact(&mut text)).await.expect("a greeting in time").expect("a greeting");
    String::from_utf8_lossy(&text).trim().parse().expect("an address")
}

/// One message there and back.
pub(crate) async fn ping(client: &mut TcpStream, message: &[u8]) {
    client.write_all(message).await.expect("sends");
    let mut answer = vec![0; message.len()];
    timeout(SOON, client.read_exact(&mut answer)).await.expect("an answer in time").expect("an answer");
    assert_eq!(answer, message);
}

/// Reads until the connection is reset; anything else fails the test.
pub(crate) async fn expect_reset(stream: &mut TcpStream) {
    let mut buffer = vec![0; 65536];
    loop {
        match timeout(SOON, stream.read(&mut buffer)).await.expect("a reset in time") {
            Ok(0) => panic!("the connection was closed in good order, not reset"),
            Ok(_) => {}
            Err(problem) => return assert_eq!(problem.kind(), ErrorKind::ConnectionReset),
        }
    }
}

/// Reads a MySQL error packet and the end of the stream behind it.
pub(crate) async fn error_packet(client: &mut TcpStream) -> (u16, String) {
    let mut packet = Vec::new();
    timeout(SOON, client.read_to_end(&mut packet)).await.expect("an error in time").expect("an error packet");
    assert!(packet.len() > 7, "{packet:?}");
    assert_eq!(usize::from(packet[0]) + 256 * usize::from(packet[1]), packet.len() - 4, "length");
    assert_eq!((packet[3], packet[4]), (0, 0xff), "the first packet, and an error");
    (u16::from_le_bytes([packet[5], packet[6]]), String::from_utf8_lossy(&packet[7..]).into_owned())
}
