//! Reads server-sent events from a stream of bytes. Pure: pieces in, events out.

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ServerEvent {
    /// `id:`, when there was one.
    pub(crate) id: Option<String>,
    /// All `data:` lines, joined by line feeds.
    pub(crate) data: String,
}

/// An event grew beyond what was allowed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// Cuts a stream of bytes into events.
#[derive(Debug)]
pub(crate) struct Parser {
    /// The begin of a line whose end has not come.
    line: Vec<u8>,
    event: ServerEvent,
    has_data: bool,
    bytes_max: usize,
}

impl Parser {
    /// Refuses events above so many bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { line: Vec::new(), event: ServerEvent::default(), has_data: false, bytes_max }
    }

    /// Takes the next piece; gives the events that it completes.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<Vec<ServerEvent>, TooLong> {
        let mut events = Vec::new();
        let mut rest = piece;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.line.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            let line = std::mem::take(&mut self.line);
            let line = String::from_utf8_lossy(&line);
            events.extend(self.take_line(line.strip_suffix('\r').unwrap_or(&line)));
        }
        self.line.extend_from_slice(rest);
        if self.line.len() + self.event.data.len() > self.bytes_max { Err(TooLong) } else { Ok(events) }
    }

    /// An empty line ends an event; comments and unknown fields are passed over, as the standard says.
    fn take_line(&mut self, line: &str) -> Option<ServerEvent> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.has_data = true;
                self.event.data.push_str(value);
            }
            "id" => self.event.id = Some(value.to_owned()),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: Option<&str>, data: &str) -> ServerEvent {
        ServerEvent { id: id.map(str::to_owned), data: data.to_owned() }
    }

    #[test]
    fn events_are_the_same_however_the_bytes_are_cut() {
        let text = b": hello\n\nid: 7\ndata: {\"a\":1}\n\ndata: one\r\ndata: two\r\n\r\nid: 8\n\ndata:x\n\n";
        let expected = [event(Some("7"), "{\"a\":1}"), event(None, "one\ntwo"), event(None, "x")];
        for size in 1..text.len() {
            let mut parser = Parser::new(100);
            let seen: Vec<_> = text.chunks(size).flat_map(|piece| parser.push(piece).expect("short")).collect();
            assert_eq!(seen, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut parser = Parser::new(10);
        assert_eq!(parser.push(b"data: 12345"), Err(TooLong));
    }
}
