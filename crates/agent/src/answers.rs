//! The answers of the last instructions: an instruction that comes a second time gets its answer again and has no
//! second effect, also after the agent was killed.
//!
//! The file survives the end of the process, not of the machine (it is not synced): after a power cut a repeated
//! instruction is carried out again, which every one allows, being idempotent.

use crate::error::AgentError;
use crate::storage;
use firedrill_api::link::Answer;
use firedrill_model::{CommandFailure, InstructionId};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Answers kept: a server that was killed repeats what was open then, a few dozen at most.
const ANSWERS_MAX: usize = 256;
/// Bytes of answers kept, as JSON. The largest (1000 transactions) is about 200 KiB.
const BYTES_MAX: usize = 512 * 1024;
/// Lines in the file after which it is written anew.
const LINES_MAX: usize = 2 * ANSWERS_MAX;

/// How an instruction came out.
pub(crate) type Outcome = Result<Answer, CommandFailure>;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    id: InstructionId,
    result: Outcome,
}

/// The record.
#[derive(Debug)]
pub(crate) struct Answers {
    recent: Mutex<Recent>,
    lines: Mutex<Option<mpsc::UnboundedSender<Arc<[u8]>>>>,
}

#[derive(Debug, Default)]
struct Recent {
    entries: VecDeque<(Entry, Arc<[u8]>)>,
    bytes: usize,
}

impl Recent {
    fn push(&mut self, entry: Entry, line: Arc<[u8]>) {
        self.bytes += line.len();
        self.entries.push_back((entry, line));
        while self.entries.len() > ANSWERS_MAX || (self.bytes > BYTES_MAX && self.entries.len() > 1) {
            if let Some((_, line)) = self.entries.pop_front() {
                self.bytes -= line.len();
            }
        }
    }
}

/// Writes the record to its file; ends when [`Answers::close`] was called and everything is written.
pub(crate) type Writer = JoinHandle<()>;

impl Answers {
    /// Reads the record, or begins it, and starts writing. Lines that are not understood are left out: they would
    /// only be instructions that are carried out once more.
    ///
    /// # Errors
    /// [`AgentError::Storage`] when the file cannot be read or written.
    pub(crate) fn open(path: PathBuf) -> Result<(Arc<Self>, Writer), AgentError> {
        let content = storage::read_if_there(&path).map_err(AgentError::storage("read", &path))?.unwrap_or_default();
        let mut recent = Recent::default();
        for line in storage::whole_lines(&content) {
            match serde_json::from_slice::<Entry>(line) {
                Ok(entry) => recent.push(entry, [line, b"\n"].concat().into()),
                Err(error) => tracing::warn!(path = %path.display(), %error, "a recorded answer is left out"),
            }
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        let answers = Arc::new(Self { recent: Mutex::new(recent), lines: Mutex::new(Some(sender)) });
        rewrite(&path, &answers.all_lines()).map_err(AgentError::storage("write", &path))?;
        let writer = tokio::spawn(write(Arc::clone(&answers), path, receiver));
        Ok((answers, writer))
    }

    /// The answer that this instruction got before.
    pub(crate) fn recall(&self, id: &InstructionId) -> Option<Outcome> {
        self.lock().entries.iter().rev().find(|(entry, _)| entry.id == *id).map(|(entry, _)| entry.result.clone())
    }

    /// Keeps an answer. It is on its way to the file when this returns.
    pub(crate) fn remember(&self, id: InstructionId, result: Outcome) {
        let entry = Entry { id, result };
        let line: Arc<[u8]> = match serde_json::to_vec(&entry) {
            Ok(mut line) => {
                line.push(b'\n');
                line.into()
            }
            Err(error) => {
                tracing::error!(id = %entry.id, %error, "an answer cannot be recorded");
                return;
            }
        };
        self.lock().push(entry, Arc::clone(&line));
        // Bounded in effect: the number of instructions under way is, and each adds one line.
        if let Some(lines) = &*self.lines.lock().unwrap_or_else(PoisonError::into_inner) {
            // The writer ends only after `close`, when nothing is recorded any more.
            let _ = lines.send(line);
        }
    }

    /// Nothing more comes.
    pub(crate) fn close(&self) {
        *self.lines.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn all_lines(&self) -> Vec<Arc<[u8]>> {
        self.lock().entries.iter().map(|(_, line)| Arc::clone(line)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Recent> {
        // A panic between two statements could at worst miscount bytes.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Appends lines off the event loop: a disk that hangs (an experiment may see to that) must not hang the agent.
async fn write(answers: Arc<Answers>, path: PathBuf, mut receiver: mpsc::UnboundedReceiver<Arc<[u8]>>) {
    let mut lines_in_file = answers.all_lines().len();
    let mut batch = Vec::new();
    while receiver.recv_many(&mut batch, ANSWERS_MAX).await > 0 {
        lines_in_file += batch.len();
        let anew = lines_in_file > LINES_MAX;
        let lines = if anew { answers.all_lines() } else { std::mem::take(&mut batch) };
        batch.clear();
        if anew {
            lines_in_file = lines.len();
        }
        let file = path.clone();
        let written =
            tokio::task::spawn_blocking(move || if anew { rewrite(&file, &lines) } else { append(&file, &lines) });
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(path = %path.display(), %error, "answers are not recorded"),
            Err(error) => tracing::warn!(path = %path.display(), %error, "answers are not recorded"),
        }
    }
}

fn rewrite(path: &Path, lines: &[Arc<[u8]>]) -> io::Result<()> {
    storage::replace_unsynced(path, &lines.concat())
}

fn append(path: &Path, lines: &[Arc<[u8]>]) -> io::Result<()> {
    storage::open_append(path)?.write_all(&lines.concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use firedrill_model::command::FailureKind;

    fn id(number: usize) -> InstructionId {
        InstructionId(number.to_string())
    }

    fn failure(text: &str) -> Outcome {
        Err(CommandFailure { kind: FailureKind::Failed, message: text.to_owned() })
    }

    async fn finish(answers: &Answers, writer: Writer) {
        answers.close();
        writer.await.expect("the writer ends");
    }

    #[tokio::test]
    async fn an_answer_is_there_after_a_restart() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("answers.ndjson");
        let (answers, writer) = Answers::open(path.clone()).expect("opens");
        answers.remember(id(1), Ok(Answer::Done));
        answers.remember(id(2), failure("no"));
        assert_eq!(answers.recall(&id(3)), None);
        finish(&answers, writer).await;
        std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(b"{\"id\":\"cut sho"))
            .expect("a crash in the middle of a line");
        let (answers, writer) = Answers::open(path).expect("opens again");
        assert_eq!(answers.recall(&id(1)), Some(Ok(Answer::Done)));
        assert_eq!(answers.recall(&id(2)), Some(failure("no")));
        finish(&answers, writer).await;
    }

    #[tokio::test]
    async fn the_record_is_bounded_in_number_and_bytes() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("answers.ndjson");
        let (answers, writer) = Answers::open(path.clone()).expect("opens");
        for number in 0..3 * LINES_MAX {
            answers.remember(id(number), Ok(Answer::Done));
        }
        assert_eq!(answers.recall(&id(3 * LINES_MAX - ANSWERS_MAX - 1)), None);
        assert_eq!(answers.recall(&id(3 * LINES_MAX - ANSWERS_MAX)), Some(Ok(Answer::Done)));
        for number in 0..4 {
            answers.remember(id(number), failure(&"x".repeat(BYTES_MAX / 3)));
        }
        finish(&answers, writer).await;
        let (answers, writer) = Answers::open(path.clone()).expect("opens again");
        assert!(std::fs::metadata(&path).expect("there").len() <= BYTES_MAX as u64);
        assert!(answers.recall(&id(3)).is_some());
        assert!(answers.recall(&id(0)).is_none());
        finish(&answers, writer).await;
    }
}
