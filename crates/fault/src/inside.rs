//! Network faults inside a container: prepared, put in place, measured and held by a thread that has entered the
//! container's network namespace, so that every kind works there as it does on a host, and strikes nobody else.

use crate::FaultError;
use crate::attack::undo_once;
use crate::container;
use crate::journal::Undo;
use crate::kinds::{Asked, Checking, Effect, Failure, Family, Kind, Mechanism, Pending, Refusal};
use firedrill_host::HostError;
use firedrill_host::container::{Container, find};
use firedrill_host::netns::{self, Namespace};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::File;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// The parameters of network faults that say where.
const CONTAINER: &str = "container";
const CGROUP: &str = "cgroup";
/// One call at a time is under way; room for it and for one that was given up.
const CALLS_MAX: usize = 2;
/// A renewal is one exchange with the kernel. A thread that takes longer hangs.
const RENEWED_WITHIN: Duration = Duration::from_secs(2);

/// In which network namespace an attack is, for its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inside {
    /// The container, for people.
    container: String,
    namespace: Namespace,
}

/// The preflight of a kind: of a network fault that is aimed at a container, inside it.
pub(crate) fn preflight(kind: &'static Kind, asked: Asked) -> Checking {
    match asked.fault.parameters.get(CONTAINER) {
        Some(Value::String(name)) if kind.family == Family::Network => {
            let name = name.clone();
            Box::pin(prepare(kind, asked, name))
        }
        _ => (kind.preflight)(asked),
    }
}

async fn prepare(kind: &'static Kind, mut asked: Asked, name: String) -> Result<Box<dyn Mechanism>, Refusal> {
    kind.shape.check(&asked.fault.parameters).map_err(|problem| Refusal(format!("{}: {problem}", kind.name)))?;
    let container = find(&name)?;
    let namespace = container.network()?;
    if namespace == netns::own()? {
        let group = group_on_host(&container)?;
        asked.fault.parameters.remove(CONTAINER);
        asked.fault.parameters.insert(CGROUP.to_owned(), Value::String(group));
        return (kind.preflight)(asked).await;
    }
    let gone = || Refusal(format!("the container {} has ended", container.title()));
    let file = netns::open(namespace)?.ok_or_else(gone)?;
    Ok(Box::new(Housed::start(kind, asked, container, namespace, file).await?))
}

/// A container that shares the network of the host is known by its cgroup alone.
fn group_on_host(container: &Container) -> Result<String, Refusal> {
    let title = container.title();
    let member = container.membership_of_version_2()?.filter(|member| !member.is_root());
    let path = member.as_ref().and_then(|member| member.group.dir().strip_prefix(&member.mount).ok());
    path.map(|path| path.display().to_string()).ok_or_else(|| {
        Refusal(format!(
            "the container {title} shares the network of this host, and is in no cgroup of version 2, by which its packets \
             could be told apart; run it with a network of its own, or mount -t cgroup2 none /sys/fs/cgroup"
        ))
    })
}

/// What the thread is asked to do.
enum Call {
    Inject(Duration, oneshot::Sender<Result<(), Failure>>),
    Verify(oneshot::Sender<Effect>),
    Renew(Duration, std::sync::mpsc::SyncSender<Result<(), String>>),
}

/// What is known of a mechanism once it is ready.
struct Ready {
    description: String,
    undo: Undo,
}

/// A mechanism on a thread inside a container. Dropping it ends the thread, and the mechanism with it.
struct Housed {
    container: Container,
    namespace: Namespace,
    ready: Ready,
    /// `None` only while it is dropped.
    calls: Option<mpsc::Sender<Call>>,
    thread: Option<JoinHandle<Result<(), HostError>>>,
}

impl Housed {
    async fn start(
        kind: &'static Kind,
        asked: Asked,
        container: Container,
        namespace: Namespace,
        file: File,
    ) -> Result<Self, Refusal> {
        let (calls, called) = mpsc::channel(CALLS_MAX);
        let (answer, prepared) = oneshot::channel();
        let title = container.title();
        let thread = netns::start_inside(file, &title, move || live(kind, asked, called, answer))?;
        let lost = || Refusal(format!("the network namespace of the container {title} could not be entered"));
        // Without an answer the thread has ended, and says why.
        let ready = match prepared.await {
            Ok(ready) => ready?,
            Err(_) => return Err(thread.join().ok().and_then(Result::err).map_or_else(lost, Refusal::from)),
        };
        Ok(Self { container, namespace, ready, calls: Some(calls), thread: Some(thread) })
    }

    async fn call<T>(&self, call: impl FnOnce(oneshot::Sender<T>) -> Call) -> Result<T, String> {
        let ended = || format!("the thread inside the container {} has ended", self.container.title());
        let (answer, answered) = oneshot::channel();
        let calls = self.calls.as_ref().ok_or_else(ended)?;
        calls.send(call(answer)).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())
    }
}

impl Drop for Housed {
    fn drop(&mut self) {
        self.calls = None;
        // What the kernel holds for the thread must be let go of before anybody looks whether it is.
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!(container = self.container.title(), "the thread inside a container failed");
        }
    }
}

impl Mechanism for Housed {
    fn describe(&self) -> String {
        format!("{}, inside the network namespace of the container {}", self.ready.description, self.container.title())
    }

    fn undo(&self) -> Result<Undo, FaultError> {
        Ok(self.ready.undo.clone())
    }

    fn inside(&self) -> Option<Inside> {
        Some(Inside { container: self.container.title(), namespace: self.namespace })
    }

    fn inject(&mut self, lease: Duration) -> Pending<'_, Result<(), Failure>> {
        Box::pin(async move { self.call(|answer| Call::Inject(lease, answer)).await.map_err(Failure)? })
    }

    fn verify(&mut self) -> Pending<'_, Effect> {
        Box::pin(async { self.call(Call::Verify).await.unwrap_or_else(Effect::NotSeen) })
    }

    fn renew(&mut self, lease: Duration) -> Result<(), String> {
        container::still_runs(&self.container)?;
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        let sent = self.calls.as_ref().map(|calls| calls.try_send(Call::Renew(lease, answer)));
        match sent {
            Some(Ok(())) => answered
                .recv_timeout(RENEWED_WITHIN)
                .unwrap_or_else(|_| Err("the thread inside the container does not answer".to_owned())),
            _ => Err("the thread inside the container has ended".to_owned()),
        }
    }
}

/// The thread's life: it prepares the mechanism and does what it is asked until nobody can ask any more.
fn live(
    kind: &'static Kind,
    asked: Asked,
    mut called: mpsc::Receiver<Call>,
    mut answer: oneshot::Sender<Result<Ready, Refusal>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(problem) => {
            // Nobody waits any more: then nothing was asked for.
            let _unheard = answer.send(Err(Refusal(format!("no thread could be prepared: {problem}"))));
            return;
        }
    };
    runtime.block_on(async {
        let prepared = tokio::select! {
            prepared = (kind.preflight)(asked) => prepared,
            () = answer.closed() => return,
        };
        let ready = prepared.and_then(|mechanism| {
            let ready = Ready { description: mechanism.describe(), undo: mechanism.undo()? };
            Ok((mechanism, ready))
        });
        let mut mechanism = match ready {
            Ok((mechanism, ready)) => {
                if answer.send(Ok(ready)).is_err() {
                    return;
                }
                mechanism
            }
            Err(refusal) => {
                let _unheard = answer.send(Err(refusal));
                return;
            }
        };
        while let Some(call) = called.recv().await {
            serve(mechanism.as_mut(), call).await;
        }
    });
}

/// Whoever asked may have given up meanwhile: then the answer is of no use, and the work neither.
async fn serve(mechanism: &mut dyn Mechanism, call: Call) {
    match call {
        Call::Inject(lease, answer) => {
            let _unheard = answer.send(mechanism.inject(lease).await);
        }
        Call::Verify(mut answer) => {
            tokio::select! {
                effect = mechanism.verify() => { let _unheard = answer.send(effect); }
                () = answer.closed() => {}
            }
        }
        Call::Renew(lease, answer) => {
            let _unheard = answer.send(mechanism.renew(lease));
        }
    }
}

impl Inside {
    /// Undoes an attack by its record, in that namespace, and looks that it is out. A namespace that is gone has taken
    /// all that was in it with it.
    pub(crate) async fn undo(&self, kind: &'static Kind, undo: &Undo) -> Result<String, String> {
        let gone =
            || format!("the network namespace of the container {} is gone, and all that was in it", self.container);
        let Some(file) = netns::open(self.namespace).map_err(|problem| problem.full())? else { return Ok(gone()) };
        let (undo, (answer, answered)) = (undo.clone(), oneshot::channel());
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let done = runtime.map_err(|problem| format!("no thread could be prepared: {problem}"));
            // Nobody waits for it any more when the attempt as a whole was given up.
            let _unheard = answer.send(done.and_then(|runtime| runtime.block_on(undo_once(kind, &undo))));
        };
        let thread = netns::start_inside(file, &self.container, work).map_err(|problem| problem.full())?;
        match answered.await {
            Ok(done) => done.map(|seen| format!("{seen}, inside the container {}", self.container)),
            Err(_) => Err(thread.join().ok().and_then(Result::err).map_or_else(
                || format!("the thread inside the container {} failed", self.container),
                |problem| problem.full(),
            )),
        }
    }
}
