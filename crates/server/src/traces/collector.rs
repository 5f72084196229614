//! Where a collector is.

use std::fmt;
use std::str::FromStr;

/// The path of traces below the address of a collector (OTLP, "OTLP/HTTP Request").
const PATH: &str = "/v1/traces";

/// A collector that takes OTLP over HTTP, as on the command line: `http://host:4318`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector(String);

/// The address is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not the address of a collector; give one such as http://collector.example:4318, without a user in it"
)]
pub struct CollectorError(String);

impl Collector {
    /// Where traces go.
    #[must_use]
    pub fn traces(&self) -> String {
        format!("{}{PATH}", self.0)
    }
}

impl FromStr for Collector {
    type Err = CollectorError;

    fn from_str(text: &str) -> Result<Self, CollectorError> {
        let wrong = || CollectorError(text.to_owned());
        let address = text.trim_end_matches('/');
        let address = address.strip_suffix(PATH).unwrap_or(address);
        let rest = address.strip_prefix("http://").or_else(|| address.strip_prefix("https://")).ok_or_else(wrong)?;
        let authority = rest.split('/').next().unwrap_or_default();
        let odd = |c: char| c.is_whitespace() || c.is_control() || "?#\"<>\\".contains(c);
        if authority.is_empty() || authority.starts_with(':') || authority.contains('@') || rest.contains(odd) {
            return Err(wrong());
        }
        Ok(Self(address.to_owned()))
    }
}

impl fmt::Display for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_with_and_without_the_path() {
        for good in ["http://c:4318", "http://c:4318/", "http://c:4318/v1/traces", "http://c:4318/v1/traces/"] {
            assert_eq!(good.parse::<Collector>().expect(good).traces(), "http://c:4318/v1/traces");
        }
        assert_eq!("https://c/otlp".parse::<Collector>().expect("an address").traces(), "https://c/otlp/v1/traces");
        for bad in
            ["", "c:4318", "grpc://c:4317", "http://", "http://me:pw@c", "http://c d", "http://:4318", "http://c?x"]
        {
            assert!(bad.parse::<Collector>().is_err(), "{bad}");
        }
    }
}
