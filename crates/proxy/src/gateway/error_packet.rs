//! What a MySQL client is told instead of the server's greeting.

use firedrill_model::Span;
use std::io::Write;
use std::net::{Shutdown, TcpStream};

/// `ER_CON_COUNT_ERROR`: what servers say when they take no more connections; clients and pools know it as "later".
const TOO_MANY: u16 = 1040;

/// `ER_SERVER_SHUTDOWN`: the server is going or gone; drivers connect again. (A 2013, which a client library itself
/// reports for a lost server, cannot be sent: MariaDB's library takes codes from 2000 on for a malformed packet.)
const GOING_AWAY: u16 = 1053;

/// Why a connection is turned away before it had a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turned {
    /// Too many wait for a primary.
    TooManyHeld { max: u64 },
    /// Too many sessions.
    TooManySessions { max: u64 },
    /// It has waited long enough.
    HoldExpired { waited: Span },
}

impl Turned {
    fn code(self) -> u16 {
        match self {
            Self::TooManyHeld { .. } | Self::TooManySessions { .. } => TOO_MANY,
            Self::HoldExpired { .. } => GOING_AWAY,
        }
    }

    fn text(self) -> String {
        match self {
            Self::TooManyHeld { max } => format!(
                "firedrill gateway: no primary now and {max} connections wait already; nothing was executed, try again \
                 in some seconds (limit: max_held)"
            ),
            Self::TooManySessions { max } => format!(
                "firedrill gateway: {max} sessions are open already; close some or raise max_sessions; nothing was \
                 executed"
            ),
            Self::HoldExpired { waited } => format!(
                "firedrill gateway: no primary could be reached for {waited}; nothing was executed; try again, and see \
                 `firedrill cluster show` for what the cluster waits for"
            ),
        }
    }

    /// The packet: 3 bytes length, sequence number 0, then 0xff, the code and the text. Before the handshake there is
    /// no SQLSTATE, because the client has not yet said that it understands one.
    fn packet(self) -> Vec<u8> {
        let text = self.text();
        let length = u32::try_from(3 + text.len()).unwrap_or(u32::MAX).to_le_bytes();
        let mut packet = vec![length[0], length[1], length[2], 0, 0xff];
        packet.extend(self.code().to_le_bytes());
        packet.extend(text.into_bytes());
        packet
    }

    /// Tells the client and closes. A socket that has sent nothing yet always has room for one small packet; when the
    /// client is gone already, there is nobody to tell.
    pub(super) fn tell(self, client: &TcpStream) {
        let mut writer = client;
        let _ = writer.write_all(&self.packet());
        let _ = client.shutdown(Shutdown::Write);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packet_is_one_that_clients_read() {
        let packet = Turned::TooManyHeld { max: 2 }.packet();
        let length = usize::from(packet[0]) | usize::from(packet[1]) << 8 | usize::from(packet[2]) << 16;
        assert_eq!(length, packet.len() - 4);
        assert_eq!(packet[3..7], [0, 0xff, 0x10, 0x04]);
        assert!(packet[7..].starts_with(b"firedrill gateway"));
        assert_ne!(packet[7], b'#', "no SQLSTATE before the handshake");
    }
}
