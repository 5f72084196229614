//! How far something is to be filled: an amount, a percentage of all, or all but a rest.

use firedrill_model::{Bytes, Percent};

/// Exactly one of the three ways to say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// So many bytes, whatever else is in use.
    Amount(u64),
    /// Until so much of it all is in use, in thousandths of a percent.
    To(u32),
    /// Until so many bytes are left.
    Leave(u64),
}

impl Level {
    /// Of three parameters of which one must be given.
    pub(crate) fn of(amount: Option<Bytes>, to: Option<Percent>, leave: Option<Bytes>) -> Result<Self, String> {
        match (amount, to, leave) {
            (Some(Bytes(0)), None, None) => Err("an amount of 0 is no fault".to_owned()),
            (Some(amount), None, None) => Ok(Self::Amount(amount.0)),
            (None, Some(to), None) => Ok(Self::To(to.thousandths())),
            (None, None, Some(leave)) => Ok(Self::Leave(leave.0)),
            _ => Err("give one of `amount` (512MiB), `to` (90, in percent) and `leave` (100MiB)".to_owned()),
        }
    }

    /// What must be taken, of `total` bytes of which `free` are free; 0 when the level is reached already.
    pub(crate) fn missing(self, total: u64, free: u64) -> u64 {
        match self {
            Self::Amount(amount) => amount,
            Self::Leave(leave) => free.saturating_sub(leave),
            Self::To(thousandths) => {
                let wanted = u128::from(total) * u128::from(thousandths) / 100_000;
                u64::try_from(wanted).unwrap_or(u64::MAX).saturating_sub(total.saturating_sub(free))
            }
        }
    }
}

/// For sentences: in the largest unit that leaves a number above one, with one digit after the point.
pub(crate) fn readable(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => format!("{:.1} {unit}", ratio(bytes, *size)),
        None => format!("{bytes} B"),
    }
}

/// One number as a part of another, for people; 0 of nothing.
#[allow(clippy::cast_precision_loss, reason = "a figure for people, of numbers far below 2^52 or in large units")]
pub(crate) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_said_in_one_way() {
        let mib = |count: u64| Some(Bytes(count << 20));
        assert!(Level::of(None, None, None).is_err());
        assert!(Level::of(mib(1), None, mib(1)).is_err());
        assert!(Level::of(mib(0), None, None).is_err());
        assert_eq!(Level::of(mib(1), None, None), Ok(Level::Amount(1 << 20)));
        assert_eq!(Level::of(None, None, mib(0)), Ok(Level::Leave(0)), "nothing left is a level");
    }

    #[test]
    fn what_is_missing_depends_on_what_is_in_use() {
        assert_eq!(Level::Amount(10).missing(100, 70), 10);
        assert_eq!(Level::Leave(10).missing(100, 70), 60);
        assert_eq!(Level::Leave(80).missing(100, 70), 0);
        assert_eq!(Level::To(50_000).missing(100, 70), 20);
        assert_eq!(Level::To(20_000).missing(100, 70), 0);
    }

    #[test]
    fn bytes_read_as_people_say_them() {
        assert_eq!(readable(3 << 29), "1.5 GiB");
        assert_eq!(readable(1000), "1000 B");
    }
}
