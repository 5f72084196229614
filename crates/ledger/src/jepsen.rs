//! A history in the form that Jepsen's tools read, so that an outsider can check it again.
//!
//! The form is that of the `set` workload: one JSON array of operations with `index`, `process`, `type`, `f`, `value`
//! and `time` (nanoseconds); `add` for every write and one final `read` of everything on the primary. `elle-cli`
//! checks it with `--model set` or `--model set-full`. Values are plain integers, because that tool takes a pair for
//! another workload. Reads during the load see a part of the set only and have no counterpart there.

use crate::history::{HistoryError, NodeState, Operation, Outcome, Primary, Reader, Record};
use crate::token::{Nanos, Token};
use std::collections::HashMap;
use std::io::{self, Read, Write};

/// Why a history could not be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The history cannot be read to its end; what was written so far is no valid JSON.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The output's own error.
    #[error("the exported history cannot be written")]
    Output(#[from] io::Error),
}

/// A token as one integer; below 2^53, which JSON readers keep exact, for up to two million writers.
#[must_use]
pub fn value(token: Token) -> u64 {
    (u64::from(token.writer) << 32) | u64::from(token.sequence)
}

/// Writes a history as JSON, one operation per line, reading and writing as it goes. Returns how many operations were
/// written; an invocation and its end count as two.
///
/// # Errors
/// [`ExportError`].
pub fn export<R: Read, W: Write>(input: R, out: W) -> Result<u64, ExportError> {
    let mut reader = Reader::open(input)?;
    let mut export = Export { out, index: 0, open: HashMap::new(), process_next: 0, last: Nanos(0) };
    let (mut primary, mut states) = (None, Vec::new());
    export.out.write_all(b"[")?;
    while let Some(record) = reader.next()? {
        match record {
            Record::Primary(found) => primary = Some(*found),
            Record::Final(read) => states.extend(read.state.ok()),
            record => export.operation(&record)?,
        }
    }
    let of_primary = states.iter().find(|state| primary == Some(Primary::Server(state.server)));
    if let Some(state) = of_primary {
        export.final_read(state)?;
    }
    export.out.write_all(b"\n]\n")?;
    export.out.flush()?;
    Ok(export.index)
}

struct Export<W> {
    out: W,
    index: u64,
    /// The token that each process is writing.
    open: HashMap<u32, Token>,
    /// Above every process seen.
    process_next: u64,
    last: Nanos,
}

impl<W: Write> Export<W> {
    fn operation(&mut self, record: &Record) -> io::Result<()> {
        let (process, at, kind, token) = match record {
            Record::Invoke { process, at, operation: Operation::Write(token) } => {
                self.open.insert(*process, *token);
                (*process, *at, "invoke", *token)
            }
            Record::Complete { process, at, outcome } => {
                let Some(token) = self.open.remove(process) else { return Ok(()) };
                let kind = match outcome {
                    Outcome::Written { .. } => "ok",
                    Outcome::Failed { .. } => "fail",
                    Outcome::Unknown { .. } | Outcome::Seen { .. } => "info",
                };
                (*process, *at, kind, token)
            }
            _ => return Ok(()),
        };
        self.process_next = self.process_next.max(u64::from(process) + 1);
        self.last = at;
        self.begin(process.into(), kind, "add", at)?;
        write!(self.out, "{}}}", value(token))
    }

    fn final_read(&mut self, state: &NodeState) -> io::Result<()> {
        let process = self.process_next;
        self.begin(process, "invoke", "read", self.last)?;
        self.out.write_all(b"null}")?;
        self.begin(process, "ok", "read", self.last)?;
        for (position, token) in state.present.iter().enumerate() {
            write!(self.out, "{}{}", if position == 0 { '[' } else { ',' }, value(token))?;
        }
        self.out.write_all(if state.present.is_empty() { b"[]}" } else { b"]}" })
    }

    fn begin(&mut self, process: u64, kind: &str, function: &str, at: Nanos) -> io::Result<()> {
        let comma = if self.index == 0 { "" } else { "," };
        let index = self.index;
        self.index += 1;
        write!(
            self.out,
            "{comma}\n{{\"index\":{index},\"process\":{process},\"type\":\"{kind}\",\"f\":\"{function}\",\
             \"time\":{},\"value\":",
            at.0
        )
    }
}
