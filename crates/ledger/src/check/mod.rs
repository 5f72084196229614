//! Replays a history once, front to back, and judges it at its end.
//!
//! While it is read only intervals, one entry of 32 bytes per acknowledged write and the reads that missed something
//! are kept. What those mean depends on the final reads, which come last.

mod divergence;
mod finals;
mod forks;
mod loss;
mod outage;
mod reads;
mod summary;
mod writes;

use crate::history::{Header, HistoryError, Mark, Operation, Outcome, Reader, Record, Trailer, Via};
use crate::token::Nanos;
use finals::Finals;
use firedrill_model::report::{EXAMPLES_MAX, Findings, LedgerSummary};
use outage::Gaps;
use reads::Reads;
use std::collections::{HashMap, HashSet};
use std::io::Read;
use writes::Writes;

/// Fewest acknowledged writes from which anything is concluded: a load that hardly wrote proves nothing.
pub const ACKNOWLEDGED_MIN: u64 = 100;

/// Checks a history and sums up what became of its writes.
///
/// A history that was cut short is summed up too, as far as it goes; its verdict is inconclusive and its first reason
/// says how many operations were readable.
///
/// # Errors
/// No history, a damaged one, one that breaks its own rules (see [`crate::history`]), or the stream's own error.
pub fn check<R: Read>(input: R) -> Result<LedgerSummary, HistoryError> {
    let mut reader = Reader::open(input)?;
    let mut replay = Replay::new(reader.header().clone());
    let cut_short = loop {
        match reader.next() {
            Ok(Some(record)) => {
                replay.on(record).map_err(|what| HistoryError::Disorder { operations: reader.operations(), what })?
            }
            Ok(None) => break None,
            Err(cut @ HistoryError::CutShort { .. }) => break Some(cut.to_string()),
            Err(other) => return Err(other),
        }
    };
    replay.end();
    Ok(summary::summarise(&replay, reader.operations(), reader.trailer().unwrap_or_default(), cut_short))
}

/// Everything that is known after the records so far.
struct Replay {
    header: Header,
    writes: Writes,
    reads: Reads,
    write_gaps: Gaps,
    read_gaps: Gaps,
    finals: Finals,
    /// Operations under way, by process.
    open: HashMap<u32, (Nanos, Operation)>,
    /// Processes that ended with an unknown outcome.
    dead: HashSet<u32>,
    last: Nanos,
    load_ended: bool,
}

impl Replay {
    fn new(header: Header) -> Self {
        Self {
            writes: Writes::default(),
            reads: Reads::default(),
            write_gaps: Gaps::new(header.write_resolution),
            read_gaps: Gaps::new(header.read_resolution),
            finals: Finals::default(),
            open: HashMap::new(),
            dead: HashSet::new(),
            last: Nanos(0),
            load_ended: false,
            header,
        }
    }

    /// Takes one record in; answers which rule of a good history it breaks.
    fn on(&mut self, record: Record) -> Result<(), String> {
        match record {
            Record::Invoke { process, at, operation } => self.invoke(process, at, operation),
            Record::Complete { process, at, outcome } => self.complete(process, at, outcome),
            Record::Known(known) => {
                self.finals.known.push(*known);
                Ok(())
            }
            Record::Mark { at, mark } => {
                if mark == Mark::LoadEnded {
                    self.end_load(at);
                }
                Ok(())
            }
            Record::Primary(primary) => {
                self.finals.primary = Some(*primary);
                Ok(())
            }
            Record::Final(read) => {
                self.finals.nodes.push(*read);
                Ok(())
            }
        }
    }

    fn advance(&mut self, at: Nanos) -> Result<(), String> {
        if at < self.last {
            return Err(format!("time goes back from {} to {}", self.last, at));
        }
        self.last = at;
        Ok(())
    }

    fn invoke(&mut self, process: u32, at: Nanos, operation: Operation) -> Result<(), String> {
        self.advance(at)?;
        if self.dead.contains(&process) {
            return Err(format!("process {process} goes on after an unknown outcome"));
        }
        if self.open.insert(process, (at, operation)).is_some() {
            return Err(format!("process {process} begins an operation before its last one has ended"));
        }
        match operation {
            Operation::Write(token) => {
                self.write_gaps.begin(at);
                self.writes.begin(token)
            }
            Operation::Read { via, .. } => {
                if let Via::Node(node) = via
                    && usize::from(node) >= self.header.nodes.len()
                {
                    return Err(format!("a read goes to node {node} of {}", self.header.nodes.len()));
                }
                if via == Via::Gateway {
                    self.read_gaps.begin(at);
                }
                Ok(())
            }
        }
    }

    fn complete(&mut self, process: u32, at: Nanos, outcome: Outcome) -> Result<(), String> {
        self.advance(at)?;
        let Some((began, operation)) = self.open.remove(&process) else {
            return Err(format!("process {process} ends an operation that it did not begin"));
        };
        match (operation, outcome) {
            (Operation::Write(token), Outcome::Written { server, gtid }) => {
                self.write_gaps.served(at);
                self.writes.acknowledged(token, began, at, server, gtid);
            }
            (Operation::Write(token), Outcome::Failed { .. }) => self.writes.failed(token),
            (Operation::Read { via, writer }, Outcome::Seen { from, seen, .. }) => {
                if via == Via::Gateway {
                    self.read_gaps.served(at);
                }
                self.writes.seen(via, writer, &seen);
                self.reads.answered(via, writer, began, from, &seen, &self.writes);
            }
            (Operation::Read { via, .. }, Outcome::Failed { .. }) => self.reads.failed(via),
            (Operation::Read { via, .. }, Outcome::Unknown { .. }) => {
                self.reads.failed(via);
                self.dead.insert(process);
            }
            (Operation::Write(token), Outcome::Unknown { .. }) => {
                self.writes.no_answer(token);
                self.dead.insert(process);
            }
            (Operation::Write(_), Outcome::Seen { .. }) | (Operation::Read { .. }, Outcome::Written { .. }) => {
                return Err(format!("process {process} gets a read's answer to a write, or the other way round"));
            }
        }
        Ok(())
    }

    fn end_load(&mut self, at: Nanos) {
        self.load_ended = true;
        self.write_gaps.end(at);
        self.read_gaps.end(at);
    }

    fn end(&mut self) {
        if !self.load_ended {
            self.end_load(self.last);
        }
        // What is still under way has no answer; a read without one has failed.
        for (_, operation) in self.open.values() {
            if let Operation::Read { via, .. } = operation {
                self.reads.failed(*via);
            }
        }
    }
}

/// Collects findings: all are counted, the first few kept.
fn findings(sentences: impl Iterator<Item = String>) -> Findings {
    let mut found = Findings::default();
    for sentence in sentences {
        found.count += 1;
        if found.examples.len() < EXAMPLES_MAX {
            found.examples.push(sentence);
        }
    }
    found
}

/// The trailer's counts that are worth a sentence.
fn skipped(trailer: Trailer) -> Option<String> {
    (trailer.writes_skipped + trailer.reads_skipped > 0).then(|| {
        format!(
            "{} writes and {} reads were due and not begun, because the ones before them had no answer for too long",
            trailer.writes_skipped, trailer.reads_skipped
        )
    })
}
