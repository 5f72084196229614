//! Records into frames.

use super::record::{Header, Record, Trailer};
use super::{FRAME_HEAD_BYTES, KIND_HEADER, KIND_RECORDS, KIND_TRAILER, MAGIC, wire};
use crate::token::Nanos;
use serde::Serialize;
use std::io::{self, Write};

/// A block of records is closed at this size: small enough that a crash costs little, large enough that checksums and
/// heads do not count.
pub(super) const BLOCK_BYTES: usize = 64 << 10;

/// Turns records into the bytes of a history, in memory; the caller decides when and where they are written.
#[derive(Debug)]
pub struct Encoder {
    /// Whole frames that were not taken yet.
    ready: Vec<u8>,
    /// Records of the open block.
    block: Vec<u8>,
    /// Time of the last record of the open block.
    last: Nanos,
    operations: u64,
}

impl Encoder {
    /// Begins a history.
    #[must_use]
    pub fn new(header: &Header) -> Self {
        let mut ready = MAGIC.to_vec();
        put_frame(&mut ready, KIND_HEADER, &json(header));
        Self { ready, block: Vec::new(), last: Nanos(0), operations: 0 }
    }

    /// Adds one record. The caller keeps the rules of a good history (see [`crate::history`]).
    pub fn append(&mut self, record: &Record) {
        self.operations += u64::from(matches!(record, Record::Invoke { .. }));
        wire::encode(&mut self.block, record, &mut self.last);
        if self.block.len() >= BLOCK_BYTES {
            self.close_block();
        }
    }

    /// Operations begun so far.
    #[must_use]
    pub const fn operations(&self) -> u64 {
        self.operations
    }

    /// All bytes since the last call, as whole frames.
    pub fn take(&mut self) -> Vec<u8> {
        self.close_block();
        std::mem::take(&mut self.ready)
    }

    /// Ends the history; answers the rest of its bytes. [`Trailer::operations`] is filled in here.
    #[must_use]
    pub fn finish(mut self, trailer: Trailer) -> Vec<u8> {
        self.close_block();
        put_frame(&mut self.ready, KIND_TRAILER, &json(&Trailer { operations: self.operations, ..trailer }));
        self.ready
    }

    fn close_block(&mut self) {
        if !self.block.is_empty() {
            put_frame(&mut self.ready, KIND_RECORDS, &self.block);
            self.block.clear();
            self.last = Nanos(0);
        }
    }
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    // Plain data with string keys: there is no failing path.
    serde_json::to_vec(value).unwrap_or_default()
}

fn put_frame(out: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&[kind]);
    checksum.update(payload);
    // A block is closed long before 4 GiB; a longer frame would be refused by the reader's own limit.
    let length = u32::try_from(payload.len() + 1).unwrap_or(u32::MAX);
    out.reserve(FRAME_HEAD_BYTES + payload.len() + 1);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&checksum.finalize().to_le_bytes());
    out.push(kind);
    out.extend_from_slice(payload);
}

/// Writes a history to a stream, a block at a time.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: W,
    encoder: Encoder,
}

impl<W: Write> Writer<W> {
    /// Begins a history; the header is written at once.
    ///
    /// # Errors
    /// The stream's.
    pub fn new(mut out: W, header: &Header) -> io::Result<Self> {
        let mut encoder = Encoder::new(header);
        out.write_all(&encoder.take())?;
        Ok(Self { out, encoder })
    }

    /// Adds one record; written with its block.
    ///
    /// # Errors
    /// The stream's; the history is cut short then.
    pub fn append(&mut self, record: &Record) -> io::Result<()> {
        self.encoder.append(record);
        if self.encoder.ready.is_empty() { Ok(()) } else { self.flush() }
    }

    /// Writes all that was added so far.
    ///
    /// # Errors
    /// The stream's.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.encoder.take())?;
        self.out.flush()
    }

    /// Ends the history and gives the stream back (a file wants an fsync).
    ///
    /// # Errors
    /// The stream's.
    pub fn finish(mut self, trailer: Trailer) -> io::Result<W> {
        self.out.write_all(&self.encoder.finish(trailer))?;
        self.out.flush()?;
        Ok(self.out)
    }
}
