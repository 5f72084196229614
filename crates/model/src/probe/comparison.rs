//! How a value that was seen is compared with what is wanted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};
use std::cmp::Ordering;
use std::fmt;

/// What a value must be. A value that cannot be compared in that way (text with a number, NULL with anything but
/// `null`) is not as wanted; nothing is ever left open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Comparison {
    /// The same text, number, truth value, or null.
    Equals(Value),
    /// Anything else.
    NotEquals(Value),
    /// A number, and not below this.
    AtLeast(Number),
    /// A number, and not above this.
    AtMost(Number),
    /// A number above this.
    Above(Number),
    /// A number below this.
    Below(Number),
    /// A text with this in it.
    Contains(String),
}

impl Comparison {
    /// Whether a value is as wanted. Databases and Prometheus give their numbers as text: what reads as a number counts
    /// as one when it is compared with a number. Whole numbers compare exactly, others as double precision does.
    #[must_use]
    pub fn holds(&self, seen: &Value) -> bool {
        let ordering = |wanted: &Number| Figure::of(seen)?.compare(&Figure::of_number(wanted)?);
        match self {
            Self::Equals(wanted) => equal(wanted, seen),
            Self::NotEquals(wanted) => !equal(wanted, seen),
            Self::AtLeast(wanted) => ordering(wanted).is_some_and(Ordering::is_ge),
            Self::AtMost(wanted) => ordering(wanted).is_some_and(Ordering::is_le),
            Self::Above(wanted) => ordering(wanted).is_some_and(Ordering::is_gt),
            Self::Below(wanted) => ordering(wanted).is_some_and(Ordering::is_lt),
            Self::Contains(wanted) => seen.as_str().is_some_and(|text| text.contains(wanted.as_str())),
        }
    }

    /// What makes no sense in it, one sentence.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        match self {
            Self::Equals(wanted) | Self::NotEquals(wanted) if wanted.is_array() || wanted.is_object() => {
                Some("a value is compared with one text, number, truth value or null, not with a list or a map".into())
            }
            Self::Contains(wanted) if wanted.is_empty() => {
                Some("`contains: \"\"` is so of every text; say what it must contain".into())
            }
            _ => None,
        }
    }
}

fn equal(wanted: &Value, seen: &Value) -> bool {
    if wanted == seen {
        return true;
    }
    match (wanted, seen) {
        (Value::Number(wanted), seen) => {
            let (wanted, seen) = (Figure::of_number(wanted), Figure::of(seen));
            wanted.zip(seen).is_some_and(|(wanted, seen)| seen.compare(&wanted) == Some(Ordering::Equal))
        }
        // SQL has no truth values: 1 and 0 stand for them.
        (Value::Bool(wanted), Value::String(text)) => match text.to_ascii_lowercase().as_str() {
            "1" | "true" => *wanted,
            "0" | "false" => !*wanted,
            _ => false,
        },
        _ => false,
    }
}

/// A number, exact when it is whole.
enum Figure {
    Whole(i128),
    Broken(f64),
}

impl Figure {
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => Self::of_number(number),
            Value::String(text) => Self::of_text(text.trim()),
            _ => None,
        }
    }

    fn of_number(number: &Number) -> Option<Self> {
        Self::of_text(&number.to_string())
    }

    fn of_text(text: &str) -> Option<Self> {
        if let Ok(whole) = text.parse() {
            return Some(Self::Whole(whole));
        }
        // "inf", "infinity" and "nan" would read as numbers too.
        let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
        plain.then(|| text.parse().ok()).flatten().filter(|number: &f64| number.is_finite()).map(Self::Broken)
    }

    fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Whole(one), Self::Whole(two)) => Some(one.cmp(two)),
            (one, two) => one.as_f64().partial_cmp(&two.as_f64()),
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "documented: other than whole numbers compare as double precision")]
    fn as_f64(&self) -> f64 {
        match self {
            Self::Whole(whole) => *whole as f64,
            Self::Broken(number) => *number,
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equals(wanted) => write!(f, "equal to {wanted}"),
            Self::NotEquals(wanted) => write!(f, "other than {wanted}"),
            Self::AtLeast(wanted) => write!(f, "at least {wanted}"),
            Self::AtMost(wanted) => write!(f, "at most {wanted}"),
            Self::Above(wanted) => write!(f, "above {wanted}"),
            Self::Below(wanted) => write!(f, "below {wanted}"),
            Self::Contains(wanted) => write!(f, "with {wanted:?} in it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn holds(comparison: serde_json::Value, seen: serde_json::Value) -> bool {
        serde_json::from_value::<Comparison>(comparison).expect("a comparison").holds(&seen)
    }

    #[test]
    fn text_that_reads_as_a_number_is_one() {
        assert!(holds(json!({"at-least": 5}), json!("5")));
        assert!(holds(json!({"equals": 5}), json!("5.0")));
        assert!(holds(json!({"above": 0.25}), json!("0.5")));
        assert!(!holds(json!({"at-least": 5}), json!("5 rows")));
        assert!(!holds(json!({"at-least": 0}), json!("inf")));
        assert!(!holds(json!({"equals": "5"}), json!(5)));
        // Above 2^53, where double precision cannot tell neighbours apart.
        assert!(!holds(json!({"equals": 9_007_199_254_740_993_i64}), json!("9007199254740992")));
    }

    #[test]
    fn null_is_only_null() {
        assert!(holds(json!({"equals": null}), json!(null)));
        assert!(holds(json!({"not-equals": 0}), json!(null)));
        for comparison in [json!({"at-least": 0}), json!({"at-most": 0}), json!({"contains": "x"})] {
            assert!(!holds(comparison, json!(null)));
        }
    }

    #[test]
    fn truth_is_one_in_sql() {
        assert!(holds(json!({"equals": true}), json!("1")) && holds(json!({"equals": true}), json!(true)));
        assert!(!holds(json!({"equals": true}), json!("0")) && !holds(json!({"equals": false}), json!("2")));
    }

    #[test]
    fn lists_and_empty_texts_are_refused() {
        assert!(Comparison::Equals(json!([1])).problem().is_some());
        assert!(Comparison::Contains(String::new()).problem().is_some());
        assert_eq!(Comparison::Equals(json!("x")).problem(), None);
    }

    fn scalar() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            // Quarters: the last bit of other fractions may be lost on the way through JSON.
            any::<i32>().prop_map(|quarters| Value::from(f64::from(quarters) / 4.0)),
            any::<i64>().prop_map(|number| Value::from(number.to_string())),
            ".{0,12}".prop_map(Value::from),
        ]
    }

    proptest! {
        /// Exactly one of below, equal and above; and the inclusive ones are what their names say.
        #[test]
        fn numbers_are_in_one_order(seen in any::<i64>(), wanted in any::<i64>(), as_text in any::<bool>()) {
            let seen_value = if as_text { json!(seen.to_string()) } else { json!(seen) };
            let number = Number::from(wanted);
            let below = Comparison::Below(number.clone()).holds(&seen_value);
            let above = Comparison::Above(number.clone()).holds(&seen_value);
            let equal = Comparison::Equals(json!(wanted)).holds(&seen_value);
            prop_assert_eq!((below, equal, above), (seen < wanted, seen == wanted, seen > wanted));
            prop_assert_eq!(Comparison::AtLeast(number.clone()).holds(&seen_value), !below);
            prop_assert_eq!(Comparison::AtMost(number).holds(&seen_value), !above);
        }

        #[test]
        fn everything_equals_itself_or_differs(wanted in scalar(), seen in scalar()) {
            prop_assert!(Comparison::Equals(wanted.clone()).holds(&wanted));
            let equal = Comparison::Equals(wanted.clone()).holds(&seen);
            prop_assert_eq!(Comparison::NotEquals(wanted).holds(&seen), !equal);
        }

        #[test]
        fn what_is_no_number_is_neither_above_nor_below(seen in "[a-zA-Z ]{0,12}", wanted in any::<i64>()) {
            let seen = json!(seen);
            let number = || Number::from(wanted);
            let all = [Comparison::AtLeast(number()), Comparison::AtMost(number()), Comparison::Above(number()), Comparison::Below(number())];
            prop_assert!(all.iter().all(|comparison| !comparison.holds(&seen)));
        }

        #[test]
        fn comparisons_read_back(wanted in scalar(), bound in any::<i64>()) {
            for comparison in [Comparison::Equals(wanted.clone()), Comparison::AtLeast(bound.into())] {
                let text = serde_json::to_string(&comparison).expect("serialises");
                prop_assert_eq!(serde_json::from_str::<Comparison>(&text).expect("reads back"), comparison);
            }
        }
    }
}
