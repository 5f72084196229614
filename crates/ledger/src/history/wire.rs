//! Records as bytes. Frequent ones are a tag and variable-length integers, times as differences to the record before;
//! rare ones are JSON behind a tag, so that they can grow fields.

use super::record::{Mark, Operation, Outcome, Record, Via};
use crate::interval::Intervals;
use crate::token::{Nanos, Token};
use firedrill_model::Gtid;
use serde::Serialize;
use serde::de::DeserializeOwned;

const INVOKE_WRITE: u8 = 1;
const INVOKE_READ: u8 = 2;
const WRITTEN: u8 = 3;
const WRITTEN_BY: u8 = 4;
const WRITTEN_AS: u8 = 5;
const WRITTEN_GTID: u8 = 6;
const SEEN: u8 = 7;
const FAILED: u8 = 8;
const UNKNOWN: u8 = 9;
const KNOWN: u8 = 10;
const MARK: u8 = 11;
const PRIMARY: u8 = 12;
const FINAL: u8 = 13;

/// Longest reason kept of a failed or unknown operation, in bytes; an error text says it in fewer.
const REASON_BYTES_MAX: usize = 200;

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let end = (0..=text.len().min(REASON_BYTES_MAX)).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    put_number(out, end as u64);
    out.extend_from_slice(&text.as_bytes()[..end]);
}

fn put_json<T: Serialize>(out: &mut Vec<u8>, tag: u8, value: &T) {
    // Maps with string keys and plain data: serialising such a value to memory has no failing path.
    let json = serde_json::to_vec(value).unwrap_or_default();
    out.push(tag);
    put_number(out, json.len() as u64);
    out.extend_from_slice(&json);
}

/// Appends one record; `last` is the time of the one before it in the same block and moves on to this one's.
pub(super) fn encode(out: &mut Vec<u8>, record: &Record, last: &mut Nanos) {
    let mut timed = |out: &mut Vec<u8>, tag: u8, at: Nanos| {
        out.push(tag);
        put_number(out, at.0.saturating_sub(last.0));
        *last = at.max(*last);
    };
    match record {
        Record::Invoke { process, at, operation } => match *operation {
            Operation::Write(token) => {
                timed(out, INVOKE_WRITE, *at);
                [*process, token.writer, token.sequence].iter().for_each(|&number| put_number(out, number.into()));
            }
            Operation::Read { via, writer } => {
                timed(out, INVOKE_READ, *at);
                put_number(out, (*process).into());
                put_number(out, if let Via::Node(node) = via { u64::from(node) + 1 } else { 0 });
                put_number(out, writer.into());
            }
        },
        Record::Complete { process, at, outcome } => {
            let tag = match outcome {
                Outcome::Written { server: None, gtid: None } => WRITTEN,
                Outcome::Written { server: Some(_), gtid: None } => WRITTEN_BY,
                Outcome::Written { server: Some(server), gtid: Some(gtid) } if gtid.server == *server => WRITTEN_AS,
                Outcome::Written { .. } => WRITTEN_GTID,
                Outcome::Seen { .. } => SEEN,
                Outcome::Failed { .. } => FAILED,
                Outcome::Unknown { .. } => UNKNOWN,
            };
            timed(out, tag, *at);
            put_number(out, (*process).into());
            encode_outcome(out, outcome, tag);
        }
        Record::Known(known) => put_json(out, KNOWN, known),
        Record::Mark { at, mark } => put_json(out, MARK, &(*at, mark)),
        Record::Primary(primary) => put_json(out, PRIMARY, primary),
        Record::Final(read) => put_json(out, FINAL, read),
    }
}

fn encode_outcome(out: &mut Vec<u8>, outcome: &Outcome, tag: u8) {
    match outcome {
        Outcome::Written { server, gtid } => {
            if tag == WRITTEN_GTID {
                put_number(out, server.map_or(0, |server| u64::from(server) + 1));
            }
            match gtid {
                Some(gtid) => {
                    put_number(out, gtid.domain.into());
                    put_number(out, gtid.server.into());
                    put_number(out, gtid.sequence);
                }
                None => server.iter().for_each(|&server| put_number(out, server.into())),
            }
        }
        Outcome::Seen { server, from, seen } => {
            put_number(out, (*server).into());
            put_number(out, (*from).into());
            put_number(out, seen.ranges().count() as u64);
            // Each range by its distance from the one before and its length: a byte or two each.
            let mut end = 0;
            for (first, last) in seen.ranges() {
                put_number(out, (first - end).into());
                put_number(out, (last - first).into());
                end = last;
            }
        }
        Outcome::Failed { reason } | Outcome::Unknown { reason } => put_text(out, reason),
    }
}

/// Bytes of one block, read from the front.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
}

/// What was wrong with a record's bytes, for people.
pub(super) type Wrong = &'static str;

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }
    pub(super) const fn left(&self) -> usize {
        self.bytes.len()
    }

    fn byte(&mut self) -> Result<u8, Wrong> {
        let (&first, rest) = self.bytes.split_first().ok_or("a record ends in the middle")?;
        self.bytes = rest;
        Ok(first)
    }
    fn number(&mut self) -> Result<u64, Wrong> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err("a number is longer than 64 bits")
    }
    fn small(&mut self) -> Result<u32, Wrong> {
        u32::try_from(self.number()?).map_err(|_| "a number is longer than 32 bits")
    }
    fn bytes(&mut self) -> Result<&'a [u8], Wrong> {
        let length = usize::try_from(self.number()?).map_err(|_| "a length is too great")?;
        let (text, rest) = self.bytes.split_at_checked(length).ok_or("a text ends in the middle")?;
        self.bytes = rest;
        Ok(text)
    }
    fn text(&mut self) -> Result<String, Wrong> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| "a text is not UTF-8")
    }
    fn json<T: DeserializeOwned>(&mut self) -> Result<T, Wrong> {
        serde_json::from_slice(self.bytes()?).map_err(|_| "a JSON record does not have the expected form")
    }
    fn gtid(&mut self) -> Result<Gtid, Wrong> {
        Ok(Gtid { domain: self.small()?, server: self.small()?, sequence: self.number()? })
    }
    fn seen(&mut self) -> Result<Intervals, Wrong> {
        let mut seen = Intervals::new();
        let mut end = 0_u32;
        for _ in 0..self.number()? {
            let first = end.checked_add(self.small()?).ok_or("a sequence is too great")?;
            let last = first.checked_add(self.small()?).ok_or("a sequence is too great")?;
            seen.insert_range(first, last);
            end = last;
        }
        Ok(seen)
    }
}

/// Reads one record; `last` as in [`encode`].
pub(super) fn decode(cursor: &mut Cursor<'_>, last: &mut Nanos) -> Result<Record, Wrong> {
    let tag = cursor.byte()?;
    match tag {
        KNOWN => return Ok(Record::Known(cursor.json()?)),
        PRIMARY => return Ok(Record::Primary(cursor.json()?)),
        FINAL => return Ok(Record::Final(cursor.json()?)),
        MARK => {
            let (at, mark): (Nanos, Mark) = cursor.json()?;
            return Ok(Record::Mark { at, mark });
        }
        _ => {}
    }
    let at = Nanos(last.0.checked_add(cursor.number()?).ok_or("a time is too great")?);
    *last = at;
    let process = cursor.small()?;
    let outcome = match tag {
        INVOKE_WRITE => {
            let token = Token { writer: cursor.small()?, sequence: cursor.small()? };
            return Ok(Record::Invoke { process, at, operation: Operation::Write(token) });
        }
        INVOKE_READ => {
            let via = match cursor.number()? {
                0 => Via::Gateway,
                node => Via::Node(u16::try_from(node - 1).map_err(|_| "a node's number is too great")?),
            };
            let operation = Operation::Read { via, writer: cursor.small()? };
            return Ok(Record::Invoke { process, at, operation });
        }
        WRITTEN => Outcome::Written { server: None, gtid: None },
        WRITTEN_BY => Outcome::Written { server: Some(cursor.small()?), gtid: None },
        WRITTEN_AS => {
            let gtid = cursor.gtid()?;
            Outcome::Written { server: Some(gtid.server), gtid: Some(gtid) }
        }
        WRITTEN_GTID => {
            let server = match cursor.number()? {
                0 => None,
                number => Some(u32::try_from(number - 1).map_err(|_| "a server id is too great")?),
            };
            Outcome::Written { server, gtid: Some(cursor.gtid()?) }
        }
        SEEN => Outcome::Seen { server: cursor.small()?, from: cursor.small()?, seen: cursor.seen()? },
        FAILED => Outcome::Failed { reason: cursor.text()? },
        UNKNOWN => Outcome::Unknown { reason: cursor.text()? },
        _ => return Err("a record of unknown kind"),
    };
    Ok(Record::Complete { process, at, outcome })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn outcome() -> impl Strategy<Value = Outcome> {
        let gtid = (any::<u32>(), any::<u32>(), any::<u64>()).prop_map(|(domain, server, sequence)| Gtid {
            domain,
            server,
            sequence,
        });
        prop_oneof![
            (prop::option::of(any::<u32>()), prop::option::of(gtid.clone()))
                .prop_map(|(server, gtid)| Outcome::Written { server, gtid }),
            gtid.prop_map(|gtid| Outcome::Written { server: Some(gtid.server), gtid: Some(gtid) }),
            (any::<u32>(), any::<u32>(), prop::collection::vec((any::<u32>(), any::<u32>()), 0..5))
                .prop_map(|(server, from, seen)| Outcome::Seen { server, from, seen: seen.into() }),
            ".{0,40}".prop_map(|reason| Outcome::Failed { reason }),
            ".{0,40}".prop_map(|reason| Outcome::Unknown { reason }),
        ]
    }

    fn record() -> impl Strategy<Value = (u64, Record)> {
        let operation = prop_oneof![
            (any::<u32>(), any::<u32>()).prop_map(|(writer, sequence)| Operation::Write(Token { writer, sequence })),
            (prop::option::of(0..u16::MAX), any::<u32>())
                .prop_map(|(node, writer)| { Operation::Read { via: node.map_or(Via::Gateway, Via::Node), writer } }),
        ];
        let made = prop_oneof![
            (any::<u32>(), operation).prop_map(|(process, operation)| Record::Invoke {
                process,
                at: Nanos(0),
                operation
            }),
            (any::<u32>(), outcome()).prop_map(|(process, outcome)| Record::Complete {
                process,
                at: Nanos(0),
                outcome
            }),
            ".{0,9}".prop_map(|text| Record::Mark { at: Nanos(7), mark: Mark::Note(text) }),
        ];
        (0u64..1 << 40, made)
    }

    proptest! {
        #[test]
        fn records_read_back(made in prop::collection::vec(record(), 0..20)) {
            let (mut bytes, mut last, mut now) = (Vec::new(), Nanos(0), 0);
            let records: Vec<Record> = made.into_iter().map(|(step, mut record)| {
                if let Record::Invoke { at, .. } | Record::Complete { at, .. } = &mut record {
                    now += step;
                    *at = Nanos(now);
                }
                encode(&mut bytes, &record, &mut last);
                record
            }).collect();
            let (mut cursor, mut last) = (Cursor::new(&bytes), Nanos(0));
            for record in records {
                prop_assert_eq!(decode(&mut cursor, &mut last), Ok(record));
            }
            prop_assert_eq!(cursor.left(), 0);
        }

        #[test]
        fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..80), tag in 0u8..14) {
            let with_tag: Vec<u8> = std::iter::once(tag).chain(bytes.iter().copied()).collect();
            for bytes in [bytes, with_tag] {
                let (mut cursor, mut last) = (Cursor::new(&bytes), Nanos(0));
                while cursor.left() > 0 && decode(&mut cursor, &mut last).is_ok() {}
            }
        }
    }

    #[test]
    fn long_reasons_are_cut_between_characters() {
        let (mut bytes, mut last) = (Vec::new(), Nanos(0));
        let outcome = Outcome::Failed { reason: "é".repeat(REASON_BYTES_MAX) };
        encode(&mut bytes, &Record::Complete { process: 1, at: Nanos(5), outcome }, &mut last);
        let read = decode(&mut Cursor::new(&bytes), &mut Nanos(0));
        let Ok(Record::Complete { outcome: Outcome::Failed { reason }, .. }) = read else { panic!("{read:?}") };
        assert_eq!(reason.chars().count(), REASON_BYTES_MAX / 2);
    }
}
