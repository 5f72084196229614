//! Questions put again and again, each on a beat of its own.

use super::{Question, ask};
use crate::Server;
use crate::clock::now;
use firedrill_model::probe::Finding;
use firedrill_model::{Span, Timestamp};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Answers that wait to be taken in. A run takes them twenty times a second; whoever finds no room waits.
const WAITING_MAX: usize = 256;

/// What came of a question.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Of which, by its place among those that were given.
    pub(crate) index: usize,
    /// When the answer was there.
    pub(crate) at: Timestamp,
    /// How long after the question.
    pub(crate) took: Span,
    /// What it comes to.
    pub(crate) finding: Finding,
}

/// Questions under way; dropped, no more are put.
#[derive(Debug)]
pub(crate) struct Tickers {
    answers: mpsc::Receiver<Asked>,
    _tasks: JoinSet<()>,
}

impl Tickers {
    /// Begins at once. A question that takes longer than its interval is waited for: of each probe one is under way.
    pub(crate) fn start(server: &Arc<Server>, questions: Vec<(usize, Question)>) -> Self {
        let (sender, answers) = mpsc::channel(WAITING_MAX);
        let mut tasks = JoinSet::new();
        for (index, question) in questions {
            tasks.spawn(tick(Arc::clone(server), index, question, sender.clone()));
        }
        Self { answers, _tasks: tasks }
    }

    /// The next answer that is there.
    pub(crate) fn take(&mut self) -> Option<Asked> {
        self.answers.try_recv().ok()
    }
}

async fn tick(server: Arc<Server>, index: usize, question: Question, answers: mpsc::Sender<Asked>) {
    let mut beat = interval(question.probe.every.duration());
    beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        beat.tick().await;
        let began = Instant::now();
        let finding = ask(&server, &question).await;
        let asked = Asked { index, at: now(), took: began.elapsed().into(), finding };
        if answers.send(asked).await.is_err() {
            return;
        }
    }
}
