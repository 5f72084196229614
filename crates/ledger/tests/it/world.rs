//! A cluster that exists only as a history: servers that hold tokens, clients that write and read them.

use firedrill_ledger::history::{
    FinalRead, Header, Known, Mark, NodeState, Operation, Outcome, Primary, Record, TableFingerprint, Trailer, Via,
    Writer,
};
use firedrill_ledger::interval::Intervals;
use firedrill_ledger::interval::TokenSet;
use firedrill_ledger::{Nanos, Token, check};
use firedrill_model::report::LedgerSummary;
use firedrill_model::{Gtid, GtidState, NodeName, RunId, Span, Timestamp};
use std::collections::BTreeMap;

/// What becomes of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Acknowledged,
    Failed,
    /// No answer; it took effect.
    UnknownDone,
    /// No answer; it did not happen.
    UnknownLost,
}

/// What one server holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Server {
    pub(crate) present: TokenSet,
    pub(crate) duplicates: TokenSet,
    pub(crate) last: BTreeMap<u32, u64>,
    pub(crate) hash: u64,
    pub(crate) converged: bool,
    pub(crate) unread: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) records: Vec<Record>,
    /// Servers 1, 2, … are the nodes n1, n2, ….
    pub(crate) servers: BTreeMap<u32, Server>,
    pub(crate) primary: u32,
    pub(crate) now: u64,
    /// The newest transaction of the line that the primary is on.
    pub(crate) transaction: u64,
    process_next: u32,
    /// For each writer: its process, its next sequence, and the write under way.
    writers: BTreeMap<u32, (u32, u32, Option<Token>)>,
}

impl World {
    pub(crate) fn new(servers: u32) -> Self {
        let server = Server { hash: 7, converged: true, ..Server::default() };
        let records = (1..=servers)
            .map(|id| {
                let known = Known { node: node(id), server: id, binlog_state: GtidState::default() };
                Record::Known(Box::new(known))
            })
            .collect();
        Self {
            records,
            servers: (1..=servers).map(|id| (id, server.clone())).collect(),
            primary: 1,
            now: 0,
            transaction: 0,
            process_next: 0,
            writers: BTreeMap::new(),
        }
    }

    pub(crate) fn wait(&mut self, millis: u64) {
        self.now += millis * 1_000_000;
    }

    fn process(&mut self) -> u32 {
        self.process_next += 1;
        self.process_next
    }

    pub(crate) fn is_writing(&self, writer: u32) -> bool {
        self.writers.get(&writer).is_some_and(|(_, _, open)| open.is_some())
    }

    /// A writer begins its next write.
    pub(crate) fn begin(&mut self, writer: u32) -> Token {
        if !self.writers.contains_key(&writer) {
            let process = self.process();
            self.writers.insert(writer, (process, 1, None));
        }
        let entry = self.writers.get_mut(&writer).expect("just made");
        let token = Token { writer, sequence: entry.1 };
        entry.1 += 1;
        entry.2 = Some(token);
        let process = entry.0;
        self.now += 1_000;
        let invoke = Record::Invoke { process, at: Nanos(self.now), operation: Operation::Write(token) };
        self.records.push(invoke);
        token
    }

    /// The write under way ends; where it took effect it is on all of `holders`.
    pub(crate) fn end(&mut self, writer: u32, fate: Fate, by: u32, holders: &[u32]) {
        let (process, _, open) = *self.writers.get(&writer).expect("a writer");
        let token = open.expect("a write under way");
        self.now += 1_000;
        let mut gtid = None;
        if matches!(fate, Fate::Acknowledged | Fate::UnknownDone) {
            self.transaction += 1;
            gtid = Some(Gtid { domain: 0, server: by, sequence: self.transaction });
            for holder in holders {
                let server = self.servers.get_mut(holder).expect("a server");
                server.present.insert(token);
                server.last.insert(by, self.transaction);
            }
        }
        let outcome = match fate {
            Fate::Acknowledged => Outcome::Written { server: Some(by), gtid },
            Fate::Failed => Outcome::Failed { reason: "read-only".to_owned() },
            Fate::UnknownDone | Fate::UnknownLost => Outcome::Unknown { reason: "no answer".to_owned() },
        };
        let dead = matches!(outcome, Outcome::Unknown { .. });
        self.records.push(Record::Complete { process, at: Nanos(self.now), outcome });
        let next = if dead { self.process() } else { process };
        let entry = self.writers.get_mut(&writer).expect("a writer");
        (entry.0, entry.2) = (next, None);
    }

    /// A whole write through the primary to every server.
    pub(crate) fn write(&mut self, writer: u32, fate: Fate) -> Token {
        let all: Vec<u32> = self.servers.keys().copied().collect();
        self.write_to(writer, fate, self.primary, &all)
    }

    pub(crate) fn write_to(&mut self, writer: u32, fate: Fate, by: u32, holders: &[u32]) -> Token {
        let token = self.begin(writer);
        self.end(writer, fate, by, holders);
        token
    }

    /// A read that is told what `seen` holds of a writer from `from` on.
    pub(crate) fn read(&mut self, via: Via, writer: u32, from: u32, seen: &TokenSet) {
        let process = self.process();
        self.now += 1_000;
        self.records.push(Record::Invoke { process, at: Nanos(self.now), operation: Operation::Read { via, writer } });
        self.now += 1_000;
        let all = seen.of(writer).cloned().unwrap_or_default();
        let seen: Intervals = all.iter().filter(|&sequence| sequence >= from).collect();
        let outcome = Outcome::Seen { server: self.primary, from, seen };
        self.records.push(Record::Complete { process, at: Nanos(self.now), outcome });
    }

    pub(crate) fn server(&mut self, id: u32) -> &mut Server {
        self.servers.get_mut(&id).expect("a server")
    }

    /// Takes a token away from a server.
    pub(crate) fn drop_from(&mut self, id: u32, token: Token) {
        let server = self.server(id);
        server.present = server.present.minus(&[token].into_iter().collect());
    }

    fn header(&self) -> Header {
        Header {
            run: RunId("made-up".to_owned()),
            origin: Timestamp(0),
            nodes: self.servers.keys().map(|&id| node(id)).collect(),
            write_resolution: Span::millis(1),
            read_resolution: Span::millis(1),
            timeout: Span::secs(1),
        }
    }

    /// The whole history as bytes.
    pub(crate) fn history(&self) -> Vec<u8> {
        let mut history = Writer::new(Vec::new(), &self.header()).expect("memory");
        let ended = Record::Mark { at: Nanos(self.now + 1_000), mark: Mark::LoadEnded };
        let primary = Record::Primary(Box::new(Primary::Server(self.primary)));
        let finals = self.servers.iter().map(|(&id, server)| {
            let state = if server.unread { Err("connection refused".to_owned()) } else { Ok(state(id, server)) };
            Record::Final(Box::new(FinalRead { node: node(id).to_string(), state }))
        });
        for record in self.records.iter().cloned().chain([ended, primary]).chain(finals) {
            history.append(&record).expect("memory");
        }
        history.finish(Trailer::default()).expect("memory")
    }

    pub(crate) fn check(&self) -> LedgerSummary {
        check(self.history().as_slice()).expect("a good history")
    }
}

fn state(id: u32, server: &Server) -> NodeState {
    let binlog_state: GtidState =
        server.last.iter().map(|(&server, &sequence)| Gtid { domain: 0, server, sequence }).collect();
    NodeState {
        server: id,
        position: binlog_state.position(),
        binlog_state,
        converged: server.converged,
        present: server.present.clone(),
        duplicates: server.duplicates.clone(),
        tables: vec![TableFingerprint { table: "load".to_owned(), content: Ok((server.present.count(), server.hash)) }],
    }
}

pub(crate) fn node(id: u32) -> NodeName {
    format!("n{id}").parse().expect("a name")
}
