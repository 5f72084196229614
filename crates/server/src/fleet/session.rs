//! One session of one agent: the queue towards it and the instructions that wait for an answer.

use super::{Call, Presence};
use crate::clock::now;
use firedrill_api::link::{Answer, Downward, Hello, Instruction};
use firedrill_model::attack::AttackReport;
use firedrill_model::command::FailureKind;
use firedrill_model::{CommandFailure, HostName, InstructionId, Span, Timestamp};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// How often agent and server show that they are there; the agent's lease is many times that.
const BEAT: Duration = Duration::from_millis(500);
/// The longest beat: five of them make the usual lease.
const BEAT_MAX: Duration = Duration::from_secs(2);
/// With so many hosts more the beat of those without a database is longer by one: the beats of all of them then cost
/// the server the same.
const HOSTS_PER_BEAT: usize = 1000;
/// So many missed reports end the link. Below 1.5 s a link with 200 ms latency and 5 % loss would be given up now and
/// then.
const SILENT_BEATS: u32 = 4;
/// Instructions on their way to one agent. A promotion needs a handful per host; a full queue means a dead link.
const QUEUE_MAX: usize = 256;
/// Instructions without an answer. Each has a deadline, so that the number falls by itself.
const PENDING_MAX: usize = 1024;

/// What becomes of an instruction.
pub(crate) type Answered = Result<Answer, CommandFailure>;

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    number: u64,
    host: HostName,
    hello: Hello,
    unaccounted: Vec<AttackReport>,
    beat: Duration,
    queue: mpsc::Sender<Downward>,
    /// Taken by the request that holds the stream open.
    stream: Mutex<Option<mpsc::Receiver<Downward>>>,
    pending: Mutex<HashMap<InstructionId, oneshot::Sender<Answered>>>,
    heard: AtomicI64,
    /// When the certificate behind it ends.
    good_until: AtomicI64,
    live: AtomicBool,
    ended: CancellationToken,
    presence: mpsc::Sender<Presence>,
}

impl Session {
    pub(super) fn new(
        number: u64,
        host: HostName,
        (hello, unaccounted): (Hello, Vec<AttackReport>),
        beat: Duration,
        presence: mpsc::Sender<Presence>,
    ) -> Arc<Self> {
        let (queue, stream) = mpsc::channel(QUEUE_MAX);
        Arc::new(Self {
            number,
            host,
            hello,
            unaccounted,
            beat,
            queue,
            stream: Mutex::new(Some(stream)),
            pending: Mutex::default(),
            heard: AtomicI64::new(now().0),
            good_until: AtomicI64::new(i64::MAX),
            live: AtomicBool::new(false),
            ended: CancellationToken::new(),
            presence,
        })
    }

    /// Its number, unique over all hosts and starts of the server.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Whose.
    pub(crate) fn host(&self) -> &HostName {
        &self.host
    }

    /// How it was opened.
    pub(crate) fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Attacks that should have been in place on the host when it was opened, and of which the hello says nothing.
    pub(crate) fn unaccounted(&self) -> &[AttackReport] {
        &self.unaccounted
    }

    /// How often either side says something.
    pub(crate) fn beat(&self) -> Duration {
        self.beat
    }

    /// Its silence is noticed later than that of others.
    pub(crate) fn is_slow(&self) -> bool {
        self.beat > BEAT
    }

    /// The stream is open and the session has not ended.
    pub(crate) fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire) && !self.has_ended()
    }

    /// It is over.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Resolves when it is over.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// When the agent was heard last.
    pub(crate) fn heard(&self) -> Timestamp {
        Timestamp(self.heard.load(Ordering::Relaxed))
    }

    /// The agent was heard now.
    pub(crate) fn hear(&self) {
        self.heard.fetch_max(now().0, Ordering::Relaxed);
    }

    /// Until when the certificate behind it is good, once that is known or has changed.
    pub(crate) fn good_until(&self, end: Option<Timestamp>) {
        self.good_until.store(end.map_or(i64::MAX, |end| end.0), Ordering::Relaxed);
    }

    /// Hands out what goes to the agent, once; from then on the link is live.
    pub(crate) fn open_stream(self: &Arc<Self>) -> Option<mpsc::Receiver<Downward>> {
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        // Under the lock of `end`: the coming is announced before the going, or neither is.
        let _pending = self.pending();
        if self.has_ended() {
            return None;
        }
        self.hear();
        self.live.store(true, Ordering::Release);
        self.announce(Presence::Connected(Arc::clone(self)));
        Some(stream)
    }

    /// Ends it: what waits for an answer fails as unreachable. Nothing happens the second time.
    pub(crate) fn end(self: &Arc<Self>, why: &str) {
        let mut pending = self.pending();
        if self.ended.is_cancelled() {
            return;
        }
        self.ended.cancel();
        let unanswered = pending.len();
        pending.clear();
        if self.live.load(Ordering::Acquire) {
            tracing::warn!(host = %self.host, session = self.number, unanswered, why, "lost the link to an agent");
            self.announce(Presence::Lost(Arc::clone(self)));
        }
    }

    /// Ends it when the agent is silent for too long, or its certificate has expired.
    pub(super) fn watch_silence(self: &Arc<Self>) {
        let session = Arc::clone(self);
        tokio::spawn(async move {
            let silent_after = session.beat * SILENT_BEATS;
            while let Some(left) = silent_after.checked_sub(now().since(session.heard()).duration()) {
                if left.is_zero() {
                    break;
                }
                // An agent that is there is looked at several times in each of its silences.
                if now().0 >= session.good_until.load(Ordering::Relaxed) {
                    return session.end("its certificate has expired");
                }
                tokio::select! {
                    () = session.ended() => return,
                    () = tokio::time::sleep(left) => {}
                }
            }
            session.end(&format!("no report for {silent_after:?}"));
        });
    }

    /// Sends an instruction: on return it is in the queue, behind those that were sent before.
    pub(crate) fn send(self: &Arc<Self>, call: Call) -> Result<Pending, CommandFailure> {
        let within = call.within;
        let instruction = Instruction {
            id: InstructionId(uuid::Uuid::now_v7().to_string()),
            cluster: call.cluster,
            generation: call.generation,
            deadline: now() + within,
            order: call.order,
        };
        let id = instruction.id.clone();
        let pending = Pending { answer: self.expect(&id)?, session: Arc::clone(self), id, within };
        self.queue.try_send(Downward::Instruction(Box::new(instruction))).map_err(|_| {
            let waiting = QUEUE_MAX - self.queue.capacity();
            self.unreachable(&format!("does not take instructions any more ({waiting} are on their way)"))
        })?;
        Ok(pending)
    }

    /// Sends an instruction and waits for its answer.
    pub(crate) async fn call(self: &Arc<Self>, call: Call) -> Answered {
        self.send(call)?.answer().await
    }

    /// Takes an answer in. Late ones, whose caller has gone, are dropped.
    pub(crate) fn answer(&self, id: &InstructionId, answered: Answered) {
        let waiting = self.pending().remove(id);
        if waiting.is_none_or(|caller| caller.send(answered).is_err()) {
            tracing::debug!(host = %self.host, instruction = %id, "an answer came when nobody waited for it any more");
        }
    }

    fn expect(&self, id: &InstructionId) -> Result<oneshot::Receiver<Answered>, CommandFailure> {
        let mut pending = self.pending();
        // Under the lock under which `end` empties the map: nothing is added after that.
        if self.has_ended() {
            return Err(self.unreachable("was lost"));
        }
        if pending.len() >= PENDING_MAX {
            return Err(self.unreachable("has too many instructions without an answer"));
        }
        let (sender, receiver) = oneshot::channel();
        pending.insert(id.clone(), sender);
        Ok(receiver)
    }

    fn unreachable(&self, what: &str) -> CommandFailure {
        CommandFailure {
            kind: FailureKind::Unreachable,
            message: format!("the link to the agent of host {} {what}", self.host),
        }
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<InstructionId, oneshot::Sender<Answered>>> {
        // Changed by single inserts and removes only; a panic elsewhere leaves it whole.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self, presence: Presence) {
        if self.presence.try_send(presence).is_err() {
            // The receiver lives as long as the server, and the queue holds far more than there are hosts.
            tracing::error!(host = %self.host, "the keepers could not be told that a link came or went");
        }
    }
}

/// The beat of a host in a fleet of that size. A keeper is told at once of the silence of a host that is its concern;
/// another host may be a little slower to be missed.
pub(super) fn beat(concerns_a_keeper: bool, hosts: usize) -> Duration {
    if concerns_a_keeper {
        return BEAT;
    }
    let beats = u32::try_from(hosts.div_ceil(HOSTS_PER_BEAT)).unwrap_or(u32::MAX).max(1);
    BEAT.saturating_mul(beats).min(BEAT_MAX)
}

/// An instruction on its way. Dropped, nobody waits for its answer any more; the agent may still carry it out.
#[derive(Debug)]
pub(crate) struct Pending {
    session: Arc<Session>,
    id: InstructionId,
    within: Span,
    answer: oneshot::Receiver<Answered>,
}

impl Pending {
    /// Waits for the answer, until the link breaks, or until the time is over (counted from now).
    pub(crate) async fn answer(mut self) -> Answered {
        match tokio::time::timeout(self.within.duration(), &mut self.answer).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(_)) => {
                Err(self.session.unreachable("was lost before the answer came; it may have been carried out"))
            }
            Err(_) => Err(CommandFailure {
                kind: FailureKind::TimedOut,
                message: format!("no answer from the agent of host {} within {}", self.session.host, self.within),
            }),
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.session.pending().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_of_no_cluster_in_a_large_fleet_are_slow() {
        for (concerns, hosts, beat_ms) in
            [(false, 0, 500), (false, 1000, 500), (false, 1001, 1000), (false, 1_000_000, 2000), (true, 10_000, 500)]
        {
            assert_eq!(beat(concerns, hosts), Duration::from_millis(beat_ms), "{concerns} {hosts}");
        }
    }
}
