//! DNS messages: the name that an answer is about, and other answers to the same question. Pure.
//!
//! Only the header and the first question are read; whatever follows is cut off when an answer is changed, so nothing of
//! it needs to be understood.

use std::net::IpAddr;

const HEADER_BYTES: usize = 12;
const LABEL_BYTES_MAX: usize = 63;
const NAME_BYTES_MAX: usize = 255;
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;
/// A name that is written as a reference to the one in the question, which stands behind the header.
const SAME_NAME: [u8; 2] = [0xc0, 0x0c];

/// What an answer is changed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// There is no such name.
    NoName,
    /// The name server could not find out.
    ServerFailure,
    /// The name has no such record.
    Nothing,
    /// It has this address. Of a question for addresses of the other family: it has none.
    Address(Vec<IpAddr>),
}

/// Names: one, all below one (`*.example.com`), or all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pattern {
    Exactly(String),
    Below(String),
}

impl Pattern {
    /// Reads one, or says what is wrong with it.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let name = text.trim_end_matches('.').to_ascii_lowercase();
        let (below, rest) = match name.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, name.as_str()),
        };
        let fits = |label: &str| {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.bytes().all(known)
        };
        if rest.len() > NAME_BYTES_MAX - 2 || !rest.split('.').all(fits) {
            return Err(format!("{text:?} is neither a name such as db.example.com nor *.example.com"));
        }
        Ok(if below { Self::Below(rest.to_owned()) } else { Self::Exactly(rest.to_owned()) })
    }

    /// Whether it means a name, which is in lower case and without a dot at its end.
    pub(super) fn means(&self, name: &str) -> bool {
        match self {
            Self::Exactly(wanted) => name == wanted,
            Self::Below(suffix) => name.strip_suffix(suffix.as_str()).is_some_and(|rest| rest.ends_with('.')),
        }
    }

    /// A name that it means, to ask for.
    pub(super) fn example(&self) -> String {
        match self {
            Self::Exactly(name) => name.clone(),
            Self::Below(suffix) => format!("firedrill-probe.{suffix}"),
        }
    }
}

/// An answer of a name server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer<'a> {
    /// In lower case, without a dot at its end.
    pub(super) name: String,
    /// Type of the record that is asked for.
    kind: u16,
    class: u16,
    /// Header and question.
    head: &'a [u8],
}

impl<'a> Answer<'a> {
    /// `None` for what is no answer to one question.
    pub(super) fn read(message: &'a [u8]) -> Option<Self> {
        let answers = message.get(2)? & 0x80 != 0;
        let standard = message.get(2)? & 0x78 == 0;
        if !answers || !standard || number(message, 4)? != 1 {
            return None;
        }
        let (name, end) = name(message, HEADER_BYTES)?;
        let (kind, class) = (number(message, end)?, number(message, end + 2)?);
        Some(Self { name, kind, class, head: message.get(..end + 4)? })
    }

    /// Another answer to the same question; `None`: it stays as it is. Caches keep none of them: an address has a
    /// time-to-live of 0, and a denial comes without the record that says how long it holds.
    pub(super) fn changed(&self, change: &Change) -> Option<Vec<u8>> {
        const OK: u8 = 0;
        const SERVER_FAILURE: u8 = 2;
        const NO_NAME: u8 = 3;
        match change {
            Change::NoName => Some(self.reply(NO_NAME, None)),
            Change::ServerFailure => Some(self.reply(SERVER_FAILURE, None)),
            Change::Nothing => Some(self.reply(OK, None)),
            Change::Address(addresses) => {
                let family = match (self.kind, self.class) {
                    (TYPE_A, CLASS_IN) => IpAddr::is_ipv4,
                    (TYPE_AAAA, CLASS_IN) => IpAddr::is_ipv6,
                    _ => return None,
                };
                Some(self.reply(OK, addresses.iter().find(|address| family(address))))
            }
        }
    }

    fn reply(&self, code: u8, address: Option<&IpAddr>) -> Vec<u8> {
        /// Kept of the third byte: that it answers, and that recursion was wanted. Not that it is cut short.
        const KEPT: u8 = 0x81;
        const RECURSION_AVAILABLE: u8 = 0x80;
        let mut message = self.head.to_vec();
        message[2] &= KEPT;
        message[3] = (message[3] & RECURSION_AVAILABLE) | code;
        let answers: u16 = if address.is_some() { 1 } else { 0 };
        message[6..8].copy_from_slice(&answers.to_be_bytes());
        message[8..12].fill(0);
        if let Some(address) = address {
            let bytes = match address {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            message.extend_from_slice(&SAME_NAME);
            for field in [self.kind, self.class, 0, 0, u16::try_from(bytes.len()).unwrap_or_default()] {
                message.extend_from_slice(&field.to_be_bytes());
            }
            message.extend_from_slice(&bytes);
        }
        message
    }
}

/// What came back to a question of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) code: u8,
    /// Records in the answer.
    pub(super) records: u16,
    /// The first address, when that is the first record.
    pub(super) address: Option<IpAddr>,
}

impl Reply {
    /// `None` for what does not answer the question with that id.
    pub(super) fn read(message: &[u8], id: u16) -> Option<Self> {
        let answer = Answer::read(message)?;
        if number(message, 0)? != id {
            return None;
        }
        let record = message.get(answer.head.len()..)?;
        let address = || {
            let rest = record.strip_prefix(&SAME_NAME)?;
            let data = rest.get(10..10 + usize::from(number(rest, 8)?))?;
            match number(rest, 0)? {
                TYPE_A => Some(IpAddr::from(<[u8; 4]>::try_from(data).ok()?)),
                TYPE_AAAA => Some(IpAddr::from(<[u8; 16]>::try_from(data).ok()?)),
                _ => None,
            }
        };
        Some(Self { code: message[3] & 0x0f, records: number(message, 6)?, address: address() })
    }
}

/// A question for the address of a name; for the root's own servers when the name is empty.
pub(super) fn question(id: u16, name: &str, v6: bool) -> Vec<u8> {
    const TYPE_NS: u16 = 2;
    let [high, low] = id.to_be_bytes();
    // Recursion desired, one question.
    let mut message = vec![high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        message.push(u8::try_from(label.len().min(LABEL_BYTES_MAX)).unwrap_or_default());
        message.extend(label.bytes().take(LABEL_BYTES_MAX));
    }
    message.push(0);
    let kind = match (name.is_empty(), v6) {
        (true, _) => TYPE_NS,
        (false, true) => TYPE_AAAA,
        (false, false) => TYPE_A,
    };
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&CLASS_IN.to_be_bytes());
    message
}

/// The name that begins there, and where it ends. A reference (which the first name of a message has no use for) is
/// refused, so there is nothing to go round in.
fn name(message: &[u8], begin: usize) -> Option<(String, usize)> {
    let (mut text, mut at) = (String::new(), begin);
    loop {
        let length = usize::from(*message.get(at)?);
        if length > LABEL_BYTES_MAX || at - begin > NAME_BYTES_MAX {
            return None;
        }
        if length == 0 {
            return Some((text, at + 1));
        }
        if !text.is_empty() {
            text.push('.');
        }
        for byte in message.get(at + 1..at + 1 + length)? {
            text.push(char::from(byte.to_ascii_lowercase()));
        }
        at += 1 + length;
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    const WRONG: [IpAddr; 1] = [IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 9))];

    /// An answer with one address, as name servers give it.
    pub(crate) fn answer(name: &str, v6: bool) -> Vec<u8> {
        let mut message = question(7, name, v6);
        (message[2], message[3], message[7], message[11]) = (0x85, 0xa0, 1, 1);
        message.extend_from_slice(&[0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 14, 16, 0, 4, 10, 1, 1, 1]);
        message.extend_from_slice(&[0, 0, 41, 4, 0, 0, 0, 0, 0, 0, 0]);
        message
    }

    fn changed(message: &[u8], change: &Change) -> Option<Reply> {
        Reply::read(&Answer::read(message)?.changed(change)?, 7)
    }

    #[test]
    fn patterns_mean_one_name_or_all_below_one() {
        let means = |pattern: &str, name: &str| Pattern::read(pattern).expect("reads").means(name);
        assert!(means("DB.example.com.", "db.example.com") && !means("example.com", "db.example.com"));
        assert!(means("*.example.com", "a.b.example.com") && !means("*.example.com", "example.com"));
        assert!(!means("*.example.com", "badexample.com"));
        for wrong in ["", ".", "a..b", "a b", "*", "x.*.y", &"a".repeat(64)] {
            assert!(Pattern::read(wrong).is_err(), "{wrong}");
        }
        for pattern in ["*.example.com", "db.example.com"] {
            let pattern = Pattern::read(pattern).expect("reads");
            assert!(pattern.means(&pattern.example()));
        }
    }

    #[test]
    fn answers_are_changed_and_nothing_of_the_old_one_stays() {
        let original = answer("Db.Example.com", false);
        let read = Answer::read(&original).expect("reads");
        assert_eq!(read.name, "db.example.com");
        let reply = |code, records, address| Some(Reply { code, records, address });
        assert_eq!(Reply::read(&original, 7), reply(0, 1, Some([10, 1, 1, 1].into())));
        assert_eq!(changed(&original, &Change::NoName), reply(3, 0, None));
        assert_eq!(changed(&original, &Change::ServerFailure), reply(2, 0, None));
        assert_eq!(changed(&original, &Change::Nothing), reply(0, 0, None));
        assert_eq!(changed(&original, &Change::Address(WRONG.to_vec())), reply(0, 1, Some(WRONG[0])));
        let six = answer("db.example.com", true);
        assert_eq!(changed(&six, &Change::Address(WRONG.to_vec())), reply(0, 0, None), "no right answer slips by");
        let other = answer("", false);
        assert_eq!(changed(&other, &Change::Address(WRONG.to_vec())), None, "a question for something else");
        let small = read.changed(&Change::NoName).expect("changes");
        assert_eq!(&small[12..], &original[12..small.len()], "the question, letter by letter");
        assert_eq!(small[8..12], [0; 4], "nothing that caches could keep");
    }

    #[test]
    fn what_is_no_answer_stays() {
        assert_eq!(Answer::read(&question(7, "db", false)), None, "a question");
        let mut two = answer("db", false);
        two[5] = 2;
        assert_eq!(Answer::read(&two), None, "two questions");
        let mut round = answer("db", false);
        round[12..14].copy_from_slice(&SAME_NAME);
        assert_eq!(Answer::read(&round), None, "a name that refers to itself");
        assert_eq!(Answer::read(&[]), None);
    }

    #[test]
    fn whatever_comes_is_read_within_its_bounds() {
        let mut random = SmallRng::seed_from_u64(3);
        let changes = [Change::NoName, Change::Nothing, Change::Address(WRONG.to_vec())];
        for round in 0..50_000 {
            let mut message = if round % 3 == 0 {
                (0..random.random_range(0..80)).map(|_| random.random()).collect()
            } else {
                answer("a.db.example.com", round % 2 == 0)
            };
            message.truncate(random.random_range(0..=message.len()));
            for _ in 0..random.random_range(0..6) {
                let place = random.random_range(0..message.len().max(1));
                if let Some(byte) = message.get_mut(place) {
                    *byte = random.random();
                }
            }
            let _reply = Reply::read(&message, 7);
            for change in &changes {
                if let Some(changed) = Answer::read(&message).and_then(|answer| answer.changed(change)) {
                    assert!(changed.len() <= message.len() + 28);
                    assert!(Answer::read(&changed).is_some(), "it still answers the question");
                }
            }
        }
    }
}
