//! The history: what it says ([`Record`]), how it is written ([`Writer`], [`Encoder`]) and read ([`Reader`]).
//!
//! # The file
//! Eight bytes of magic, then frames: length (`u32`, little endian), CRC-32 of the payload (`u32`), payload. The first
//! payload byte says what the frame is: `H` the header (JSON), `R` a block of records, `T` the trailer (JSON). A frame
//! is written whole or not at all as far as the reader is concerned; a file without a trailer was cut short, and the
//! reader says how many operations were readable.
//!
//! # The rules of a good history
//! Times never go back. A process has at most one operation under way and is dead after an unknown outcome. A writer
//! numbers its writes 1, 2, 3, … . [`crate::check`] refuses a history that breaks them.

mod encoder;
mod reader;
mod record;
mod wire;

pub use encoder::{Encoder, Writer};
pub use reader::{HistoryError, Reader};
pub use record::{
    FinalRead, Header, Known, Mark, NodeState, Operation, Outcome, Primary, Record, TableFingerprint, Trailer, Via,
};

/// First bytes of every history; the last is the version of the format.
const MAGIC: [u8; 8] = *b"FDHIST\0\x01";

/// Bytes before a frame's payload: length and checksum.
const FRAME_HEAD_BYTES: usize = 8;

/// No honest frame is longer: blocks are flushed at [`encoder::BLOCK_BYTES`], and one final read of ten million
/// scattered tokens stays below.
const FRAME_BYTES_MAX: u32 = 512 << 20;

const KIND_HEADER: u8 = b'H';
const KIND_RECORDS: u8 = b'R';
const KIND_TRAILER: u8 = b'T';
