//! Cuts the stream into lines, with a bound on their length.

use bytes::{Buf, Bytes, BytesMut};

/// Longest accepted line. The largest instruction (a workload with its nodes) is a few kilobytes.
pub(crate) const LINE_BYTES_MAX: usize = 256 * 1024;

/// A line was longer than [`LINE_BYTES_MAX`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line of the stream is longer than {LINE_BYTES_MAX} bytes")]
pub(crate) struct LineTooLong;

/// Collects chunks and gives whole lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    buffer: BytesMut,
}

impl Lines {
    /// Takes a chunk in.
    pub(crate) fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next whole line without its end; `None` until more arrives.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, LineTooLong> {
        match self.buffer.iter().position(|byte| *byte == b'\n') {
            Some(end) if end <= LINE_BYTES_MAX => {
                let line = self.buffer.split_to(end).freeze();
                self.buffer.advance(1);
                Ok(Some(line))
            }
            None if self.buffer.len() <= LINE_BYTES_MAX => Ok(None),
            _ => Err(LineTooLong),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_whole_however_they_arrive() {
        let mut lines = Lines::default();
        for byte in b"one\n\ntwo\nthr" {
            lines.push(&[*byte]);
        }
        let mut seen = Vec::new();
        while let Some(line) = lines.next().expect("short lines") {
            seen.push(line);
        }
        assert_eq!(seen, [&b"one"[..], b"", b"two"]);
        lines.push(b"ee\n");
        assert_eq!(lines.next(), Ok(Some(Bytes::from_static(b"three"))));
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut lines = Lines::default();
        lines.push(&vec![b'x'; LINE_BYTES_MAX]);
        assert_eq!(lines.next(), Ok(None));
        lines.push(b"x");
        assert_eq!(lines.next(), Err(LineTooLong));
    }
}
