//! Quantities of faults, with their units: percentages, sizes, rates, networks, ports. Each is one text or number in
//! files and on the command line, and compares exactly.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A percentage from 0 to 100, kept in thousandths so that it compares exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Percent(u32);

impl Percent {
    /// From a whole number, cut to 100.
    #[must_use]
    pub const fn whole(percent: u32) -> Self {
        Self(if percent > 100 { 100_000 } else { percent * 1000 })
    }

    /// Thousandths of a percent, 0 to 100,000.
    #[must_use]
    pub const fn thousandths(self) -> u32 {
        self.0
    }
}

impl TryFrom<f64> for Percent {
    type Error = String;
    fn try_from(percent: f64) -> Result<Self, String> {
        if (0.0..=100.0).contains(&percent) {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in 0..=100")]
            Ok(Self((percent * 1000.0).round() as u32))
        } else {
            Err(format!("{percent} is not a percentage from 0 to 100"))
        }
    }
}

impl From<Percent> for f64 {
    fn from(percent: Percent) -> f64 {
        f64::from(percent.0) / 1000.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", f64::from(*self))
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> Cow<'static, str> {
        "percentage".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "title": "percentage", "minimum": 0, "maximum": 100 })
    }
}

/// An amount of memory or storage; text such as `64MiB`, `1GB`, `4096`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "NumberOrText", into = "String")]
pub struct Bytes(pub u64);

/// Units of [`Bytes`], largest first; the binary ones are printed.
const BYTE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
    ("B", 1),
];

impl FromStr for Bytes {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let unit = BYTE_UNITS.iter().find_map(|(unit, size)| {
            let end = text.len().checked_sub(unit.len())?;
            let (number, suffix) = (text.get(..end)?, text.get(end..)?);
            suffix.eq_ignore_ascii_case(unit).then_some((number, *size))
        });
        let (number, size) = unit.unwrap_or((text, 1));
        scaled(number, size).map(Self).ok_or_else(|| format!("{text:?} is not an amount of bytes such as 64MiB or 1GB"))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = BYTE_UNITS[..4].iter().find(|(_, size)| self.0 >= *size && self.0.is_multiple_of(*size));
        match exact {
            Some((unit, size)) => write!(f, "{}{unit}", self.0 / size),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl From<Bytes> for String {
    fn from(bytes: Bytes) -> String {
        bytes.to_string()
    }
}

/// A rate of transmission in bits per second; text such as `10Mbit/s`, `1Gbit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "NumberOrText", into = "String")]
pub struct BitRate(pub u64);

const RATE_UNITS: [(&str, u64); 4] = [("Gbit", 1_000_000_000), ("Mbit", 1_000_000), ("kbit", 1000), ("bit", 1)];

impl FromStr for BitRate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.trim().trim_end_matches("/s");
        let unit = RATE_UNITS.iter().find_map(|(unit, size)| {
            let end = bare.len().checked_sub(unit.len())?;
            let (number, suffix) = (bare.get(..end)?, bare.get(end..)?);
            suffix.eq_ignore_ascii_case(unit).then_some((number, *size))
        });
        let (number, size) = unit.unwrap_or((bare, 1));
        scaled(number, size).map(Self).ok_or_else(|| format!("{text:?} is not a rate such as 10Mbit/s"))
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = RATE_UNITS.iter().find(|(_, size)| self.0 >= *size && self.0.is_multiple_of(*size));
        let (unit, size) = exact.unwrap_or(&RATE_UNITS[3]);
        write!(f, "{}{unit}/s", self.0 / size)
    }
}

impl From<BitRate> for String {
    fn from(rate: BitRate) -> String {
        rate.to_string()
    }
}

/// A number with a fraction times a unit, rounded; `None` when it is no number, negative or too large.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let number = number.trim();
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(unit);
    }
    let fraction: f64 = number.parse().ok()?;
    #[allow(clippy::cast_precision_loss, reason = "a fraction of a unit is never exact")]
    let amount = fraction * unit as f64;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
    (amount.is_finite() && (0.0..1e18).contains(&amount)).then(|| amount.round() as u64)
}

/// A number without a unit may be written as a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u64),
    Text(String),
}

impl TryFrom<NumberOrText> for Bytes {
    type Error = String;
    fn try_from(written: NumberOrText) -> Result<Self, String> {
        match written {
            NumberOrText::Number(number) => Ok(Self(number)),
            NumberOrText::Text(text) => text.parse(),
        }
    }
}

impl TryFrom<NumberOrText> for BitRate {
    type Error = String;
    fn try_from(written: NumberOrText) -> Result<Self, String> {
        match written {
            NumberOrText::Number(number) => Ok(Self(number)),
            NumberOrText::Text(text) => text.parse(),
        }
    }
}

/// Addresses that begin with the same bits; text such as `10.0.0.0/8`, `10.1.2.3`, `fd00::/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// The first address, with all other bits zero.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// How many bits count.
    #[must_use]
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    /// The network mask, in network byte order: 4 or 16 bytes.
    #[must_use]
    pub fn mask(self) -> Vec<u8> {
        let bytes = if self.address.is_ipv4() { 4 } else { 16 };
        mask(self.prefix, bytes)
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.prefix) == self.address
    }

    /// The one address of a network of a single host.
    #[must_use]
    pub fn host(self) -> Option<IpAddr> {
        let whole = if self.address.is_ipv4() { 32 } else { 128 };
        (self.prefix == whole).then_some(self.address)
    }
}

fn mask(prefix: u8, bytes: usize) -> Vec<u8> {
    let bits = |byte: usize| usize::from(prefix).saturating_sub(byte * 8).min(8);
    (0..bytes).map(|byte| !(0xff_u8.checked_shr(u32::try_from(bits(byte)).unwrap_or(8)).unwrap_or(0))).collect()
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let kept = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::from((u32::from(address) & kept).to_be_bytes())
        }
        IpAddr::V6(address) => {
            let kept = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::from((u128::from(address) & kept).to_be_bytes())
        }
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, prefix: if address.is_ipv4() { 32 } else { 128 } }
    }
}

impl FromStr for Network {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not an address or a network such as 10.1.2.3 or 10.0.0.0/8");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let whole = Self::from(address.parse::<IpAddr>().map_err(|_| wrong())?);
        let Some(prefix) = prefix else { return Ok(whole) };
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        if prefix > whole.prefix {
            return Err(wrong());
        }
        Ok(Self { address: masked(whole.address, prefix), prefix })
    }
}

impl TryFrom<String> for Network {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host() {
            Some(address) => address.fmt(f),
            None => write!(f, "{}/{}", self.address, self.prefix),
        }
    }
}

impl From<Network> for String {
    fn from(network: Network) -> String {
        network.to_string()
    }
}

/// Ports from the first to the last, both included; `3306` or `"3306-3310"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "NumberOrText", into = "String")]
pub struct Ports {
    first: u16,
    last: u16,
}

impl Ports {
    /// One port.
    #[must_use]
    pub const fn one(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// The first port.
    #[must_use]
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The last port, not below the first.
    #[must_use]
    pub const fn last(self) -> u16 {
        self.last
    }

    /// Whether a port is among them.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl FromStr for Ports {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(format!("{text:?} is not a port from 1 to 65535 or a range such as 3306-3310")),
        }
    }
}

impl TryFrom<NumberOrText> for Ports {
    type Error = String;
    fn try_from(written: NumberOrText) -> Result<Self, String> {
        match written {
            NumberOrText::Number(number) => number.to_string().parse(),
            NumberOrText::Text(text) => text.parse(),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

impl From<Ports> for String {
    fn from(ports: Ports) -> String {
        ports.to_string()
    }
}

/// Texts with a form of their own: a JSON schema can only say so.
macro_rules! texts {
    ($($name:ident: $title:literal, $example:literal;)*) => {$(
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                $title.into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "title": $title, "examples": [$example] })
            }
        }
    )*};
}

use crate::time::Span;

texts! {
    Bytes: "bytes", "64MiB";
    BitRate: "rate", "10Mbit/s";
    Network: "network", "10.0.0.0/8";
    Ports: "ports", "3306-3310";
    Span: "duration", "100ms";
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_percentage_is_in_range() {
        assert!(Percent::try_from(100.5).is_err());
        assert!(Percent::try_from(f64::NAN).is_err());
        assert_eq!(Percent::try_from(5.0).expect("in range").thousandths(), 5000);
        assert_eq!(Percent::whole(7).to_string(), "7 %");
    }

    #[test]
    fn amounts_and_rates_read_as_people_write_them() {
        let bytes = |text: &str| text.parse::<Bytes>().map(|bytes| bytes.0);
        assert_eq!(bytes("64MiB"), Ok(64 << 20));
        assert_eq!(bytes("1.5 GB"), Ok(1_500_000_000));
        assert_eq!(bytes("4096"), Ok(4096));
        assert_eq!(bytes("10b"), Ok(10));
        assert!(["", "MiB", "-1", "1 parsec", "NaN", "inf"].iter().all(|text| bytes(text).is_err()));
        let rate = |text: &str| text.parse::<BitRate>().map(|rate| rate.0);
        assert_eq!(rate("10Mbit/s"), Ok(10_000_000));
        assert_eq!(rate("2.5gbit"), Ok(2_500_000_000));
        assert!(rate("10 apples").is_err());
    }

    #[test]
    fn networks_and_ports_are_checked() {
        let network = |text: &str| text.parse::<Network>();
        assert_eq!(network("10.1.2.3/8").expect("a network").to_string(), "10.0.0.0/8");
        assert_eq!(network("::/0").expect("all").mask(), [0; 16]);
        assert_eq!(network("10.0.0.0/9").expect("a network").mask(), [0xff, 0x80, 0, 0]);
        assert!(["10.0.0.0/33", "10.0.0/8", "x", "10.0.0.0/"].iter().all(|text| network(text).is_err()));
        let ten = network("10.0.0.0/8").expect("a network");
        assert!(ten.contains("10.255.0.1".parse().expect("an address")));
        assert!(!ten.contains("11.0.0.1".parse().expect("an address")) && !ten.contains("::1".parse().expect("v6")));
        assert_eq!("3306-3310".parse::<Ports>().map(|ports| (ports.first(), ports.last())), Ok((3306, 3310)));
        assert!(["0", "9-8", "65536", "a", ""].iter().all(|text| text.parse::<Ports>().is_err()));
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(amount: u64, address: u32, prefix in 0_u8..=32, one: u16, other: u16) {
            prop_assert_eq!(Bytes(amount).to_string().parse(), Ok(Bytes(amount)));
            prop_assert_eq!(BitRate(amount).to_string().parse(), Ok(BitRate(amount)));
            let network: Network = format!("{}/{prefix}", std::net::Ipv4Addr::from(address)).parse().expect("a network");
            prop_assert_eq!(network.to_string().parse(), Ok(network));
            let ports = Ports { first: one.min(other).max(1), last: one.max(other).max(1) };
            prop_assert_eq!(ports.to_string().parse(), Ok(ports));
        }
    }
}
