//! Values as people read them.

use firedrill_model::Timestamp;
use firedrill_model::report::{Aborted, ProbeSeries};
use firedrill_model::timeline::EventKind;

/// Seconds after `origin`, as `+12.345 s`.
pub(crate) fn after(at: Timestamp, origin: Timestamp) -> String {
    #[allow(clippy::cast_precision_loss, reason = "a run lasts at most a day; microseconds of a day fit f64")]
    let seconds = (at.0 - origin.0) as f64 / 1e6;
    format!("{seconds:+.3} s")
}

/// The clock time of day in UTC, `HH:MM:SS`.
pub(crate) fn clock(at: Timestamp) -> String {
    let seconds = at.millis().div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02} UTC", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// The date and the clock time, `2026-11-23 01:19:29 UTC`. Civil from days: Howard Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms".
pub(crate) fn date(at: Timestamp) -> String {
    let days = at.millis().div_euclid(86_400_000) + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {}", clock(at))
}

/// As `2026-11-23T01:19:29.250Z`, for scripts.
pub(crate) fn instant(at: Timestamp) -> String {
    let text = date(at);
    let (day, clock) = (&text[..10], &text[11..19]);
    format!("{day}T{clock}.{:03}Z", at.millis().rem_euclid(1000))
}

/// The clock time as an element that a script turns into the reader's zone.
pub(crate) fn clock_time(at: Timestamp) -> Markup {
    element("clock", at, &clock(at))
}

/// The date and the clock time, likewise.
pub(crate) fn date_time(at: Timestamp) -> Markup {
    element("date", at, &date(at))
}

fn element(form: &str, at: Timestamp, text: &str) -> Markup {
    Markup(format!(r#"<time datetime="{}" data-form="{form}">{text}</time>"#, instant(at)))
}

/// Text that is markup already. Made in this module alone, of nothing that comes from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Markup(String);

impl std::fmt::Display for Markup {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl askama::filters::HtmlSafe for Markup {}

/// With thin groups of three digits: `12 345`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

/// An event's kind in words.
pub(crate) fn kind(kind: EventKind) -> String {
    match kind {
        EventKind::Run => "run".into(),
        EventKind::AttackStarted => "attack".into(),
        EventKind::AttackEnded => "attack ended".into(),
        EventKind::Probe => "probe".into(),
        EventKind::Halt => "halt".into(),
        EventKind::Health => "health".into(),
        EventKind::Role => "role".into(),
        EventKind::OperationStarted => "operation".into(),
        EventKind::PhaseEnded(phase) => format!("phase: {phase}"),
        EventKind::OperationEnded => "operation ended".into(),
        EventKind::Route => "gateway".into(),
        EventKind::Agent => "agent".into(),
        EventKind::Server => "server".into(),
        EventKind::Schedule => "schedule".into(),
        EventKind::Guard => "guard".into(),
        EventKind::Person => "person".into(),
        EventKind::Note => "note".into(),
        EventKind::Part => "takes part".into(),
    }
}

/// What an abort condition came to, on one line.
pub(crate) fn aborted(aborted: &Aborted, origin: Timestamp) -> String {
    let Aborted { condition, observed, breach_at, halt_at, .. } = aborted;
    let halted = halt_at.since(*breach_at);
    let gone = match aborted.took() {
        Some(took) => format!("every fault out {took} after it"),
        None => "faults NOT seen to be out".to_owned(),
    };
    format!("aborted: {condition} ({observed}) at {}; halted {halted} after it, {gone}", after(*breach_at, origin))
}

/// How a probe was while the steps were taken, on one line.
pub(crate) fn series(series: &ProbeSeries) -> String {
    let ProbeSeries { name, asked, broken, unknown, .. } = series;
    let held = asked - broken.saturating_add(*unknown).min(*asked);
    let not_told = if *unknown > 0 { format!(", not told {unknown}") } else { String::new() };
    format!("probe {name} during the steps: held {held} of {asked}, broken {broken}{not_told}")
}

/// The class of a value for the style sheet: its own serialised name.
pub(crate) fn class(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_civil() {
        assert_eq!(date(Timestamp(0)), "1970-01-01 00:00:00 UTC");
        assert_eq!(date(Timestamp(1_795_396_769_000_000)), "2026-11-23 01:19:29 UTC");
        assert_eq!(date(Timestamp(951_782_400_000_000)), "2000-02-29 00:00:00 UTC");
        assert_eq!(
            clock_time(Timestamp(1_795_396_769_250_000)).to_string(),
            r#"<time datetime="2026-11-23T01:19:29.250Z" data-form="clock">01:19:29 UTC</time>"#
        );
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(count(12_345), "12\u{202f}345");
        assert_eq!(count(123), "123");
        assert_eq!(after(Timestamp(2_500_000), Timestamp(1_000_000)), "+1.500 s");
    }
}
