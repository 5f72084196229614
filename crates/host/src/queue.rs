//! Packets held in user space (NFQUEUE): the kernel hands over their ids and keeps the packets until it gets a verdict.
//!
//! Set up so that trouble here harms no traffic: a full queue lets packets pass (*fail-open*), a closed one too (the
//! rule's *bypass*). Packets that are held at the moment a queue closes without a verdict are lost, so release them
//! first. Only ids are copied and, on request, lengths or contents.

use crate::HostError;
use crate::netlink::{Answer, Attributes, Message, Socket, messages};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// Most packets held at a time. More pass at once, undelayed. Bounds what a hung holder can keep back.
pub const HELD_MAX: u32 = 4096;

/// Longest packet that is copied, bytes; of longer ones nothing is.
pub const CONTENTS_MAX: u16 = 9000;

/// Receive buffer of the queue's socket, bytes: room for [`HELD_MAX`] announcements of about 1 KiB with bookkeeping.
const RECEIVE_BUFFER_BYTES: usize = 8 << 20;

const SUBSYS_QUEUE: u16 = 3;
const MSG_PACKET: u16 = SUBSYS_QUEUE << 8;
const MSG_VERDICT: u16 = SUBSYS_QUEUE << 8 | 1;
const MSG_CONFIG: u16 = SUBSYS_QUEUE << 8 | 2;
const COMMAND_BIND: u8 = 1;
const COPY_META: u8 = 1;
const COPY_PACKET: u8 = 2;
/// `NFQA_PACKET_HDR`, `NFQA_MARK`, `NFQA_IFINDEX_OUTDEV`.
const HEADER: u16 = 1;
const MARK: u16 = 3;
const LEAVES_BY: u16 = 6;
/// `NFQA_PAYLOAD` and, when that is not the whole packet, `NFQA_CAP_LEN`.
const PAYLOAD: u16 = 10;
const WHOLE_LENGTH: u16 = 13;
const FAIL_OPEN: u32 = 1;
/// Segments that the kernel has joined are handed over joined: 15 times the throughput.
const GSO: u32 = 4;
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;

/// The id of a held packet, given by the kernel, unique within its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PacketId(u32);

/// What is told of a held packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announce {
    /// Its id. The length counts as 0.
    Ids,
    /// Its length, too, which costs a little.
    Lengths,
    /// Its contents, too. Segments are never joined then, which costs most of the throughput.
    Contents,
}

/// A held packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Its id.
    pub id: PacketId,
    /// Its length from the network header on, all segments that the kernel has joined together.
    pub bytes: u32,
}

/// All that is told of a held packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Its id and length.
    pub held: Held,
    /// Its contents from the network header on; empty when it is longer than [`CONTENTS_MAX`], or when the queue was not
    /// bound for contents.
    pub contents: &'a [u8],
    /// Its firewall mark; 0: none.
    pub mark: u32,
    /// The number of the interface it leaves by; 0 where that is not known.
    pub leaves_by: u32,
}

/// What happens to a held packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketVerdict {
    /// It goes on.
    Accept,
    /// It vanishes.
    Drop,
}

/// A queue of the network namespace it was bound in.
#[derive(Debug)]
pub struct Queue {
    number: u16,
    socket: Socket,
    buffer: Vec<u8>,
}

impl Queue {
    /// Takes a queue. One that somebody else serves is an error (`EBUSY`, or `EPERM` on older kernels).
    pub fn bind(number: u16, announce: Announce) -> Result<Self, HostError> {
        let refused = |problem| HostError::system("serve the packet queue", number.to_string(), problem);
        let mut socket = Socket::open().map_err(refused)?;
        socket.tolerate_overruns(RECEIVE_BUFFER_BYTES).map_err(refused)?;
        let bind = Attributes::default().raw(1, &[COMMAND_BIND, 0, 0, 0]);
        socket.command(config(number, bind)).map_err(refused)?;
        // One byte of each packet: less would mean all of them.
        let copied = match announce {
            Announce::Ids => [0, 0, 0, 0, COPY_META],
            Announce::Lengths => [0, 0, 0, 1, COPY_PACKET],
            Announce::Contents => {
                let [high, low] = CONTENTS_MAX.to_be_bytes();
                [0, 0, high, low, COPY_PACKET]
            }
        };
        let flags = if announce == Announce::Contents { FAIL_OPEN } else { FAIL_OPEN | GSO };
        let options =
            Attributes::default().raw(2, &copied).number(3, HELD_MAX).number(4, flags).number(5, FAIL_OPEN | GSO);
        socket.command(config(number, options)).map_err(refused)?;
        Ok(Self { number, socket, buffer: vec![0; 64 * 1024] })
    }

    /// The first number from `first` on that nobody serves, taken.
    pub fn bind_free(first: u16, announce: Announce) -> Result<Self, HostError> {
        const ATTEMPTS: u16 = 64;
        for offset in 0..ATTEMPTS {
            match Self::bind(first.wrapping_add(offset), announce) {
                Err(problem) if matches!(problem.errno(), Some(libc::EBUSY | libc::EPERM)) && offset + 1 < ATTEMPTS => {
                }
                other => return other,
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Its number, for the rule that sends packets to it.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Adds packets that have arrived to `into`, without waiting. False when there were none.
    pub fn receive(&mut self, into: &mut Vec<Held>) -> Result<bool, HostError> {
        self.each(|packet| into.push(packet.held))
    }

    /// The same, with all that is told of each.
    pub fn each(&mut self, mut visit: impl FnMut(Packet<'_>)) -> Result<bool, HostError> {
        let size = match self.socket.receive_now(&mut self.buffer) {
            Err(problem) if problem.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            other => {
                other.map_err(|p| HostError::system("receive from the packet queue", self.number.to_string(), p))?
            }
        };
        for message in messages(&self.buffer[..size]).filter(|message| message.kind == MSG_PACKET) {
            read(&message).map(&mut visit);
        }
        Ok(true)
    }

    /// Lets a packet go with other contents, from the network header on; checksums must be right.
    pub fn replace(&mut self, packet: PacketId, contents: &[u8]) -> Result<(), HostError> {
        let header = [NF_ACCEPT.to_be_bytes(), packet.0.to_be_bytes()].concat();
        let attributes = Attributes::default().raw(2, &header).raw(PAYLOAD, contents);
        let message = Message { kind: MSG_VERDICT, flags: 0, family: 0, resource: self.number, attributes };
        self.socket
            .tell(std::iter::once(message))
            .map_err(|problem| HostError::system("answer the packet queue", self.number.to_string(), problem))
    }

    /// Decides on packets, in this order. One that is not held (any more) is passed over.
    pub fn decide(&mut self, packets: &[PacketId], verdict: PacketVerdict) -> Result<(), HostError> {
        /// Verdicts in one message to the kernel: a fraction of what a send buffer takes.
        const TOGETHER: usize = 256;
        let code = match verdict {
            PacketVerdict::Accept => NF_ACCEPT,
            PacketVerdict::Drop => NF_DROP,
        };
        for chunk in packets.chunks(TOGETHER) {
            let verdicts = chunk.iter().map(|id| {
                let header = [code.to_be_bytes(), id.0.to_be_bytes()].concat();
                let attributes = Attributes::default().raw(2, &header);
                Message { kind: MSG_VERDICT, flags: 0, family: 0, resource: self.number, attributes }
            });
            self.socket
                .tell(verdicts)
                .map_err(|problem| HostError::system("answer the packet queue", self.number.to_string(), problem))?;
        }
        Ok(())
    }
}

impl AsFd for Queue {
    /// Readable when packets have arrived.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.fd()
    }
}

fn read<'a>(message: &'a Answer<'_>) -> Option<Packet<'a>> {
    let number = |value: &[u8]| value.get(..4)?.try_into().ok().map(u32::from_be_bytes);
    let (mut id, mut whole, mut contents, mut mark, mut leaves_by) = (None, None, &[][..], 0, 0);
    for (kind, value) in message.attributes() {
        match kind {
            // `struct nfqnl_msg_packet_hdr` begins with the id.
            HEADER => id = number(value),
            MARK => mark = number(value)?,
            LEAVES_BY => leaves_by = number(value)?,
            PAYLOAD => contents = value,
            WHOLE_LENGTH => whole = number(value),
            _ => {}
        }
    }
    let bytes = whole.unwrap_or_else(|| u32::try_from(contents.len()).unwrap_or(u32::MAX));
    let contents = if contents.len() == bytes as usize { contents } else { &[] };
    Some(Packet { held: Held { id: PacketId(id?), bytes }, contents, mark, leaves_by })
}

fn config(number: u16, attributes: Attributes) -> Message {
    Message { kind: MSG_CONFIG, flags: 0, family: 0, resource: number, attributes }
}
