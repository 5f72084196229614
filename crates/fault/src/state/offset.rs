//! A length of time with a sign, as faults of clocks take it.

use firedrill_model::Span;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// A length of time, forward or back: text such as `1h`, `-90s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Offset {
    back: bool,
    by: Duration,
}

impl Offset {
    /// In nanoseconds, negative when it is back.
    pub(crate) fn nanos(self) -> i64 {
        let nanos = i64::try_from(self.by.as_nanos()).unwrap_or(i64::MAX);
        if self.back { -nanos } else { nanos }
    }

    /// Without the sign.
    pub(crate) const fn length(self) -> Duration {
        self.by
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.back { '-' } else { '+' }, Span(self.by))
    }
}

impl<'de> Deserialize<'de> for Offset {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let trimmed = text.trim();
        let (back, rest) = match (trimmed.strip_prefix('-'), trimmed.strip_prefix('+')) {
            (Some(rest), _) => (true, rest),
            (None, rest) => (false, rest.unwrap_or(trimmed)),
        };
        let by: Span = rest.parse().map_err(|problem| {
            serde::de::Error::custom(format!("{text:?} is not a duration with a sign such as 1h or -90s ({problem})"))
        })?;
        Ok(Self { back, by: by.duration() })
    }
}

impl JsonSchema for Offset {
    fn schema_name() -> Cow<'static, str> {
        "signed duration".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "title": "duration with a sign", "examples": ["-90s"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_have_a_sign() {
        let offset = |text: &str| serde_json::from_str::<Offset>(&format!("{text:?}")).map(Offset::nanos);
        assert_eq!(offset("-90s").expect("reads"), -90_000_000_000);
        assert_eq!(offset("+1h 1s").expect("reads"), 3_601_000_000_000);
        assert_eq!(offset("250ms").expect("reads"), 250_000_000);
        assert!(offset("soon").is_err_and(|why| why.to_string().contains("-90s")));
    }
}
