//! Frames back into records.

use super::record::{Header, Record, Trailer};
use super::{FRAME_BYTES_MAX, FRAME_HEAD_BYTES, KIND_HEADER, KIND_RECORDS, KIND_TRAILER, MAGIC, wire};
use crate::token::Nanos;
use serde::de::DeserializeOwned;
use std::io::{self, Read};

/// Why a history cannot be read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The stream's own error.
    #[error("the history cannot be read after {operations} operations")]
    Io {
        /// Operations read before.
        operations: u64,
        /// What the stream said.
        #[source]
        source: io::Error,
    },
    /// The first bytes are not those of a history.
    #[error("this is no history: it begins with {found:02x?}; give the history.fdh that a workload wrote")]
    NotAHistory {
        /// The first bytes.
        found: Vec<u8>,
    },
    /// The history ends before its trailer: the workload was killed, or the file was copied too early.
    #[error(
        "the history is cut short at byte {offset}: {operations} operations are readable, the final reads are not \
         whole; nothing can be said of what was lost, so run the workload again to its end"
    )]
    CutShort {
        /// Operations read before.
        operations: u64,
        /// Where it ends.
        offset: u64,
    },
    /// The bytes were changed after they were written, or were never a history.
    #[error("the history is damaged at byte {offset}, after {operations} operations: {what}")]
    Damaged {
        /// Operations read before.
        operations: u64,
        /// Where the bad frame begins.
        offset: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The records are readable and contradict each other.
    #[error("the history breaks its own rules after {operations} operations: {what}")]
    Disorder {
        /// Operations read before.
        operations: u64,
        /// Which rule, and where.
        what: String,
    },
}

/// Reads a history record by record, in memory of one block.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    header: Header,
    block: Vec<u8>,
    /// How far the block has been read.
    at: usize,
    last: Nanos,
    /// Bytes of the input that were read.
    offset: u64,
    operations: u64,
    trailer: Option<Trailer>,
}

impl<R: Read> Reader<R> {
    /// Reads the beginning. The input need not be buffered: it is read a frame at a time.
    ///
    /// # Errors
    /// [`HistoryError::NotAHistory`], or as [`Reader::next`].
    pub fn open(mut input: R) -> Result<Self, HistoryError> {
        let mut magic = Vec::new();
        read_up_to(&mut input, MAGIC.len() as u64, &mut magic)
            .map_err(|source| HistoryError::Io { operations: 0, source })?;
        if !MAGIC.starts_with(&magic) {
            return Err(HistoryError::NotAHistory { found: magic });
        }
        let mut offset = magic.len() as u64;
        if magic.len() < MAGIC.len() {
            return Err(HistoryError::CutShort { operations: 0, offset });
        }
        let mut frame = Vec::new();
        let Some(kind) = read_frame(&mut input, &mut frame, &mut offset, 0)? else {
            return Err(HistoryError::CutShort { operations: 0, offset });
        };
        if kind != KIND_HEADER {
            let what = "the first frame is not a header".to_owned();
            return Err(HistoryError::Damaged { operations: 0, offset: MAGIC.len() as u64, what });
        }
        let header = from_json(&frame[1..], 0, offset, "header")?;
        Ok(Self { input, header, block: Vec::new(), at: 0, last: Nanos(0), offset, operations: 0, trailer: None })
    }

    /// What the history began with.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Operations begun in the records read so far.
    #[must_use]
    pub const fn operations(&self) -> u64 {
        self.operations
    }

    /// What the history ended with; known after [`Reader::next`] answered `None`.
    #[must_use]
    pub const fn trailer(&self) -> Option<Trailer> {
        self.trailer
    }

    /// The next record; `None` after the trailer.
    ///
    /// # Errors
    /// [`HistoryError::CutShort`] when the input ends without a trailer, [`HistoryError::Damaged`] when bytes are not
    /// what was written, [`HistoryError::Io`].
    #[expect(clippy::should_implement_trait, reason = "an error must not be mistaken for one item among others")]
    pub fn next(&mut self) -> Result<Option<Record>, HistoryError> {
        while self.at >= self.block.len() {
            if self.trailer.is_some() || !self.next_block()? {
                return Ok(None);
            }
        }
        let mut cursor = wire::Cursor::new(&self.block[self.at..]);
        let before = cursor.left();
        let record = wire::decode(&mut cursor, &mut self.last).map_err(|what| self.damaged(what.to_owned()))?;
        self.at += before - cursor.left();
        self.operations += u64::from(matches!(record, Record::Invoke { .. }));
        Ok(Some(record))
    }

    /// Reads the next frame: true for records, false for the trailer.
    fn next_block(&mut self) -> Result<bool, HistoryError> {
        let began = self.offset;
        let kind = read_frame(&mut self.input, &mut self.block, &mut self.offset, self.operations)?;
        self.at = 1;
        self.last = Nanos(0);
        match kind {
            Some(KIND_RECORDS) => Ok(true),
            Some(KIND_TRAILER) => {
                let trailer: Trailer = from_json(&self.block[1..], self.operations, began, "trailer")?;
                self.block.clear();
                self.finish(trailer)?;
                Ok(false)
            }
            None => Err(HistoryError::CutShort { operations: self.operations, offset: began }),
            Some(kind) => Err(self.damaged(format!("a frame of unknown kind {kind:#04x}"))),
        }
    }

    fn finish(&mut self, trailer: Trailer) -> Result<(), HistoryError> {
        if trailer.operations != self.operations {
            return Err(self.damaged(format!("the trailer counts {} operations", trailer.operations)));
        }
        let mut more = Vec::new();
        read_up_to(&mut self.input, 1, &mut more)
            .map_err(|source| HistoryError::Io { operations: self.operations, source })?;
        if !more.is_empty() {
            return Err(self.damaged("there are bytes after the trailer".to_owned()));
        }
        self.trailer = Some(trailer);
        Ok(())
    }

    fn damaged(&self, what: String) -> HistoryError {
        HistoryError::Damaged { operations: self.operations, offset: self.offset, what }
    }
}

fn from_json<T: DeserializeOwned>(json: &[u8], operations: u64, offset: u64, what: &str) -> Result<T, HistoryError> {
    serde_json::from_slice(json).map_err(|problem| HistoryError::Damaged {
        operations,
        offset,
        what: format!("the {what} is not readable ({problem})"),
    })
}

fn read_up_to(input: &mut impl Read, length: u64, into: &mut Vec<u8>) -> io::Result<()> {
    into.clear();
    input.take(length).read_to_end(into).map(|_| ())
}

/// Reads one frame and answers its kind; `None` at the exact end of the input.
fn read_frame(
    input: &mut impl Read,
    frame: &mut Vec<u8>,
    offset: &mut u64,
    operations: u64,
) -> Result<Option<u8>, HistoryError> {
    let io = |source| HistoryError::Io { operations, source };
    let began = *offset;
    read_up_to(input, FRAME_HEAD_BYTES as u64, frame).map_err(io)?;
    *offset += frame.len() as u64;
    let (Some(length), Some(checksum)) = (little(frame.get(..4)), little(frame.get(4..8))) else {
        let cut = HistoryError::CutShort { operations, offset: *offset };
        return if frame.is_empty() { Ok(None) } else { Err(cut) };
    };
    if length == 0 || length > FRAME_BYTES_MAX {
        let what = format!("a frame of {length} bytes");
        return Err(HistoryError::Damaged { operations, offset: began, what });
    }
    read_up_to(input, length.into(), frame).map_err(io)?;
    *offset += frame.len() as u64;
    if frame.len() as u64 != u64::from(length) {
        return Err(HistoryError::CutShort { operations, offset: *offset });
    }
    if crc32fast::hash(frame) != checksum {
        let what = "the checksum of a frame does not fit".to_owned();
        return Err(HistoryError::Damaged { operations, offset: began, what });
    }
    Ok(frame.first().copied())
}

fn little(bytes: Option<&[u8]>) -> Option<u32> {
    bytes?.try_into().ok().map(u32::from_le_bytes)
}
