//! What became of each write, as its client saw it.

use crate::history::Via;
use crate::interval::{Intervals, TokenSet};
use crate::token::{Nanos, Token};
use firedrill_model::Gtid;
use std::collections::{BTreeMap, HashMap};

/// One acknowledgement, 32 bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ack {
    pub(super) at: Nanos,
    /// Sequence of the GTID; 0 when it is not known.
    pub(super) gtid: u64,
    pub(super) token: Token,
    /// Microseconds from invocation to answer, rounded up, so that "began after" is never claimed wrongly.
    took_us: u32,
    /// Index in [`Writes::sources`].
    source: u32,
}

impl Ack {
    /// When the write was begun; up to a microsecond early.
    pub(super) fn began(&self) -> Nanos {
        Nanos(self.at.0.saturating_sub(u64::from(self.took_us) * 1000))
    }
}

/// Who acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Source {
    /// The serving `server_id`.
    pub(super) server: Option<u32>,
    /// Domain and server of the GTID.
    pub(super) origin: Option<(u32, u32)>,
}

/// Stands for "not acknowledged" in [`WriterLog::ack_of`].
const NONE: u32 = u32::MAX;

#[derive(Debug, Default)]
struct WriterLog {
    acked: Intervals,
    failed: Intervals,
    /// What reads through the gateway have seen.
    seen_served: Intervals,
    /// What reads on nodes have seen.
    seen_direct: Intervals,
    /// For each sequence from 1, its index in [`Writes::acks`]; its length is the number of writes begun.
    ack_of: Vec<u32>,
    /// Its newest write has not ended yet.
    under_way: bool,
}

/// All writes of a history.
#[derive(Debug, Default)]
pub(super) struct Writes {
    /// In the order of their completion.
    pub(super) acks: Vec<Ack>,
    pub(super) sources: Vec<Source>,
    source_index: HashMap<Source, u32>,
    writers: BTreeMap<u32, WriterLog>,
}

impl Writes {
    pub(super) fn begin(&mut self, token: Token) -> Result<(), String> {
        let log = self.writers.entry(token.writer).or_default();
        let expected = log.ack_of.len() + 1;
        if token.sequence as usize != expected {
            return Err(format!("{token} is begun where w{}:{expected} is due", token.writer));
        }
        if std::mem::replace(&mut log.under_way, true) {
            return Err(format!("{token} is begun before the writer's last one has ended"));
        }
        log.ack_of.push(NONE);
        Ok(())
    }

    pub(super) fn acknowledged(
        &mut self,
        token: Token,
        began: Nanos,
        at: Nanos,
        server: Option<u32>,
        gtid: Option<Gtid>,
    ) {
        let source = self.source(Source { server, origin: gtid.map(|gtid| (gtid.domain, gtid.server)) });
        let took_us = u32::try_from(at.0.saturating_sub(began.0).div_ceil(1000)).unwrap_or(u32::MAX);
        let Some(log) = self.writers.get_mut(&token.writer) else { return };
        if let Some(slot) = log.ack_of.get_mut(token.sequence as usize - 1) {
            *slot = u32::try_from(self.acks.len()).unwrap_or(NONE);
            log.under_way = false;
            log.acked.insert(token.sequence);
            self.acks.push(Ack { at, gtid: gtid.map_or(0, |gtid| gtid.sequence), token, took_us, source });
        }
    }

    fn source(&mut self, source: Source) -> u32 {
        // Nearly always the same as the last time.
        if let Some(last) = self.acks.last()
            && self.sources[last.source as usize] == source
        {
            return last.source;
        }
        let sources = &mut self.sources;
        *self.source_index.entry(source).or_insert_with(|| {
            sources.push(source);
            (sources.len() - 1) as u32
        })
    }

    pub(super) fn failed(&mut self, token: Token) {
        if let Some(log) = self.writers.get_mut(&token.writer) {
            log.failed.insert(token.sequence);
            log.under_way = false;
        }
    }

    pub(super) fn no_answer(&mut self, token: Token) {
        if let Some(log) = self.writers.get_mut(&token.writer) {
            log.under_way = false;
        }
    }

    pub(super) fn seen(&mut self, via: Via, writer: u32, seen: &Intervals) {
        let log = self.writers.entry(writer).or_default();
        if via == Via::Gateway { &mut log.seen_served } else { &mut log.seen_direct }.add(seen);
    }

    pub(super) fn source_of(&self, ack: &Ack) -> Source {
        self.sources[ack.source as usize]
    }

    pub(super) fn ack_of(&self, token: Token) -> Option<&Ack> {
        let index = *self.writers.get(&token.writer)?.ack_of.get((token.sequence as usize).checked_sub(1)?)?;
        self.acks.get(index as usize)
    }

    /// The acknowledged sequences of a writer.
    pub(super) fn acked_of(&self, writer: u32) -> Option<&Intervals> {
        self.writers.get(&writer).map(|log| &log.acked)
    }

    /// The highest sequence of a writer that was acknowledged before `moment`.
    pub(super) fn acked_before(&self, writer: u32, moment: Nanos) -> Option<u32> {
        let log = self.writers.get(&writer)?;
        // A writer's acknowledgements are in the order of its sequence, so the ones after `moment` are at the end.
        let mut candidates = log.acked.ranges().rev().flat_map(|(first, last)| (first..=last).rev());
        candidates.find(|&sequence| {
            let index = log.ack_of[sequence as usize - 1];
            self.acks[index as usize].at < moment
        })
    }

    pub(super) fn acked(&self) -> TokenSet {
        self.collect(|log| log.acked.clone())
    }

    pub(super) fn failed_tokens(&self) -> TokenSet {
        self.collect(|log| log.failed.clone())
    }

    /// Begun, and neither acknowledged nor failed.
    pub(super) fn unknown(&self) -> TokenSet {
        self.collect(|log| {
            let mut begun = Intervals::new();
            begun.insert_range(1, log.ack_of.len() as u32);
            begun.minus(&log.acked).minus(&log.failed)
        })
    }

    /// What reads through the gateway have seen.
    pub(super) fn seen_served(&self) -> TokenSet {
        self.collect(|log| log.seen_served.clone())
    }

    /// What reads on nodes have seen.
    pub(super) fn seen_direct(&self) -> TokenSet {
        self.collect(|log| log.seen_direct.clone())
    }

    /// True when the server acknowledged a write as its own: it was the primary at some time.
    pub(super) fn was_primary(&self, server: u32) -> bool {
        self.sources.iter().any(|source| source.server == Some(server))
    }

    fn collect(&self, part: impl Fn(&WriterLog) -> Intervals) -> TokenSet {
        let mut all = TokenSet::default();
        self.writers.iter().for_each(|(&writer, log)| all.add(writer, &part(log)));
        all
    }
}
