//! The gateway process: takes connections on one address and carries each to the current primary.
//!
//! One acceptor thread hands connections to event loops (`worker`), one per core, each with its own sessions. One
//! control thread takes orders (`serve`) and changes the route (`switch`): all loops cut and hold first, and only when
//! every one has said so, all loops are told the new primary. So there is no moment at which two primaries have
//! sessions, and none at which a primary that was left can still be written to.
//!
//! It starts in [`Route::Hold`](firedrill_model::command::Route::Hold), always: what it was told before it died may no
//! longer be true.

mod acceptor;
mod config;
mod error_packet;
mod poll;
mod pump;
mod serve;
mod session;
mod socket;
mod state_file;
mod stats;
mod switch;
mod timers;
mod worker;

pub use config::{GatewayConfig, GatewayError};

use acceptor::Acceptor;
use firedrill_model::Endpoint;
use serve::ControlServer;
use stats::Stats;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use switch::Switchboard;
use worker::Worker;

/// A running gateway inside this process; ends when stopped or dropped.
#[derive(Debug)]
pub struct Gateway {
    listen: Endpoint,
    stop: Arc<poll::Bell>,
    workers: Vec<worker::Handle>,
    threads: Vec<JoinHandle<()>>,
    ended: mpsc::Receiver<&'static str>,
}

/// Says which thread ended, also when it panicked.
struct Farewell {
    thread: &'static str,
    to: mpsc::Sender<&'static str>,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        // Nobody listening means that the whole gateway is being dropped.
        let _ = self.to.send(self.thread);
    }
}

impl Gateway {
    /// Opens the listening and the control socket and starts the threads. The route is Hold until told otherwise.
    ///
    /// # Errors
    /// When an address, a path or a limit does not allow it; nothing is left behind.
    pub fn start(config: GatewayConfig) -> Result<Self, GatewayError> {
        config.validate()?;
        let generation = state_file::read(&config.state, &config.cluster)?;
        let descriptors = config.descriptors_needed();
        socket::allow_descriptors(descriptors)
            .map_err(|allowed| GatewayError::Descriptors { needed: descriptors, allowed })?;
        // The listening socket is also what makes a second gateway on this host impossible, so it comes first: only
        // its owner may replace the control socket's file.
        let listener = socket::listen(config.listen).map_err(|source| GatewayError::listen(config.listen, source))?;
        let listen = socket::local_endpoint(&listener).map_err(GatewayError::Kernel)?;
        let control = serve::bind(&config.control)?;

        let config = Arc::new(config);
        let stats = Arc::new(Stats::default());
        let stop = Arc::new(poll::Bell::new().map_err(GatewayError::Kernel)?);
        let (farewell, ended) = mpsc::channel();
        let mut gateway = Self { listen, stop: Arc::clone(&stop), workers: Vec::new(), threads: Vec::new(), ended };
        for _ in 0..config.thread_count() {
            let (handle, worker) = Worker::new(&config, &stats).map_err(GatewayError::Kernel)?;
            gateway.workers.push(handle);
            gateway.spawn("gateway-loop", &farewell, move || worker.run())?;
        }
        let switchboard = Switchboard::new(&config, listen, generation, gateway.workers.clone(), Arc::clone(&stats));
        let acceptor = Acceptor::new(listener, &config, gateway.workers.clone(), stats, Arc::clone(&stop));
        gateway.spawn("gateway-accept", &farewell, move || acceptor.run())?;
        let server = ControlServer::new(control, Arc::new(Mutex::new(switchboard)), stop);
        gateway.spawn("gateway-control", &farewell, move || server.run())?;
        tracing::info!(cluster = %config.cluster, %listen, %generation, "gateway holds until it is told the primary");
        Ok(gateway)
    }

    fn spawn(
        &mut self,
        name: &'static str,
        farewell: &mpsc::Sender<&'static str>,
        body: impl FnOnce() + Send + 'static,
    ) -> Result<(), GatewayError> {
        let farewell = Farewell { thread: name, to: farewell.clone() };
        let run = move || {
            let _farewell = farewell;
            body();
        };
        self.threads.push(thread::Builder::new().name(name.to_owned()).spawn(run).map_err(GatewayError::Kernel)?);
        Ok(())
    }

    /// Where it takes connections; the port is the kernel's choice when the configuration left it open.
    #[must_use]
    pub fn address(&self) -> Endpoint {
        self.listen
    }

    /// Waits until a thread ends by itself, which none does unless it failed.
    #[must_use]
    pub fn wait(&self) -> GatewayError {
        // The channel cannot be closed without a message: each sender speaks when it is dropped.
        GatewayError::Ended { thread: self.ended.recv().unwrap_or("gateway") }
    }

    /// Stops all threads and cuts all sessions.
    pub fn stop(mut self) {
        self.shut_down();
    }

    fn shut_down(&mut self) {
        self.stop.ring();
        for worker in &self.workers {
            worker.stop();
        }
        for thread in self.threads.drain(..) {
            // A thread that panicked has reported through the panic hook; there is nothing more to do here.
            let _ = thread.join();
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// Runs a gateway until the process is killed. Killing it is the way to stop it: the kernel cuts its sessions, and the
/// next one starts in Hold.
///
/// # Errors
/// When it cannot start, or one of its threads failed.
pub fn run(config: GatewayConfig) -> Result<(), GatewayError> {
    let gateway = Gateway::start(config)?;
    Err(gateway.wait())
}
