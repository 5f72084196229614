//! What is to go wrong: rules with a deadline each, and the decision what they do to one operation.

use firedrill_model::Span;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What an operation is, as far as rules tell operations apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Operation {
    /// Reading data.
    Read,
    /// Writing data, changing a file's size, reserving space.
    Write,
    /// `fsync` and `fdatasync` of files and directories.
    Sync,
    /// Opening and creating files.
    Open,
    /// Making, renaming and removing names, changing attributes.
    Change,
    /// Looking: names, attributes, directories.
    Look,
}

/// What a rule does to the operations that it applies to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "what")]
pub(crate) enum Disturbance {
    /// They take longer.
    Delay {
        /// By so much …
        delay: Span,
        /// … give or take up to this, evenly distributed.
        jitter: Span,
    },
    /// They fail and do nothing.
    Fail {
        /// With this error number.
        errno: i32,
    },
    /// Only a first part is written, and the caller is told so.
    ShortWrite,
    /// Only a first part is written, and the caller is told that all was.
    TornWrite,
    /// One bit is written wrong.
    FlipOnWrite,
    /// One bit is read wrong; the disk is right.
    FlipOnRead,
    /// A sync is answered and not done: what it was to save is lost in a power loss.
    LoseSync,
    /// Nothing goes wrong, but what is needed for a power loss is kept.
    Keep,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rule {
    /// Its name, to renew and remove it.
    pub(crate) id: String,
    /// What happens.
    pub(crate) disturbance: Disturbance,
    /// To which operations; none means those that the disturbance makes sense for.
    #[serde(default)]
    pub(crate) operations: Vec<Operation>,
    /// To files with these paths, from the mount point on; none means all.
    #[serde(default)]
    pub(crate) paths: Vec<String>,
    /// To so many of 100 of them.
    #[serde(default = "always")]
    pub(crate) percent: f64,
    /// Until then, counted from boot. Set by the layer from the lease.
    #[serde(default)]
    pub(crate) until: Duration,
}

fn always() -> f64 {
    100.0
}

impl Rule {
    /// Whether an operation is one of those.
    pub(crate) fn concerns(&self, operation: Operation) -> bool {
        use Operation::{Read, Sync, Write};
        if !self.operations.is_empty() {
            return self.operations.contains(&operation);
        }
        match self.disturbance {
            Disturbance::Delay { .. } | Disturbance::Fail { .. } => matches!(operation, Read | Write | Sync),
            Disturbance::ShortWrite | Disturbance::TornWrite | Disturbance::FlipOnWrite => operation == Write,
            Disturbance::FlipOnRead => operation == Read,
            Disturbance::LoseSync => operation == Sync,
            Disturbance::Keep => false,
        }
    }
}

/// What happens to one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Disturbed {
    pub(crate) delay: Duration,
    pub(crate) errno: Option<i32>,
    pub(crate) short: bool,
    pub(crate) torn: bool,
    pub(crate) flip: bool,
    pub(crate) lose_sync: bool,
}

/// An operation about to be done. `path` is `None` for the probe, to which every rule for its operation applies.
pub(crate) struct Subject<'a> {
    pub(crate) operation: Operation,
    pub(crate) path: Option<&'a str>,
    pub(crate) now: Duration,
}

/// Decides. `draw` gives numbers from 0 to 1; `hit` is told of each rule that applied.
pub(crate) fn decide<'a>(
    rules: &'a [Rule],
    subject: &Subject<'_>,
    mut draw: impl FnMut() -> f64,
    mut hit: impl FnMut(&'a Rule),
) -> Disturbed {
    let mut outcome = Disturbed::default();
    for rule in rules {
        let applies = rule.until > subject.now
            && rule.concerns(subject.operation)
            && subject.path.is_none_or(|path| matches_any(&rule.paths, path))
            && draw() * 100.0 < rule.percent;
        if !applies {
            continue;
        }
        hit(rule);
        match &rule.disturbance {
            Disturbance::Delay { delay, jitter } => {
                let around = jitter.duration().mul_f64(2.0 * draw());
                outcome.delay += (delay.duration() + around).saturating_sub(jitter.duration());
            }
            Disturbance::Fail { errno } => outcome.errno = outcome.errno.or(Some(*errno)),
            Disturbance::ShortWrite => outcome.short = true,
            Disturbance::TornWrite => outcome.torn = true,
            Disturbance::FlipOnWrite | Disturbance::FlipOnRead => outcome.flip = true,
            Disturbance::LoseSync => outcome.lose_sync = true,
            Disturbance::Keep => {}
        }
    }
    outcome
}

pub(super) fn matches_any(patterns: &[String], path: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern.as_bytes(), path.as_bytes()))
}

/// `*` stands for any characters, slashes included, and `?` for one.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    // The classic walk: on a mismatch the last star takes one character more.
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(wanted) if *wanted == b'?' || *wanted == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match &mut star {
                Some((after, taken)) => {
                    *taken += 1;
                    (p, t) = (*after, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(disturbance: Disturbance) -> Rule {
        Rule {
            id: "r".to_owned(),
            disturbance,
            operations: Vec::new(),
            paths: Vec::new(),
            percent: 100.0,
            until: Duration::from_secs(10),
        }
    }

    fn decide_at(rules: &[Rule], operation: Operation, path: Option<&str>, now: u64, draws: &[f64]) -> Disturbed {
        let mut draws = draws.iter().copied().chain(std::iter::repeat(0.5));
        let subject = Subject { operation, path, now: Duration::from_secs(now) };
        decide(rules, &subject, || draws.next().expect("endless"), |_| {})
    }

    #[test]
    fn patterns() {
        for (pattern, text, fits) in [
            ("ib_logfile0", "ib_logfile0", true),
            ("ib_logfile?", "ib_logfile0", true),
            ("*.ibd", "bank/accounts.ibd", true),
            ("*.ibd", "bank/accounts.ibd.tmp", false),
            ("bank/*", "bank/", true),
            ("a*b*c", "aXbXbYc", true),
            ("a*b*c", "aXbXbY", false),
            ("", "", true),
            ("", "a", false),
            ("**", "x/y", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn a_rule_ends_by_itself() {
        let rules = [rule(Disturbance::Fail { errno: 5 })];
        assert_eq!(decide_at(&rules, Operation::Write, Some("x"), 9, &[]).errno, Some(5));
        assert_eq!(decide_at(&rules, Operation::Write, Some("x"), 10, &[]), Disturbed::default());
        assert_eq!(decide_at(&rules, Operation::Look, Some("x"), 9, &[]), Disturbed::default());
    }

    #[test]
    fn paths_probability_and_the_probe() {
        let mut one = rule(Disturbance::LoseSync);
        one.paths = vec!["*.ibd".to_owned()];
        one.percent = 25.0;
        let rules = [one];
        assert!(decide_at(&rules, Operation::Sync, Some("a.ibd"), 0, &[0.24]).lose_sync);
        assert!(!decide_at(&rules, Operation::Sync, Some("a.ibd"), 0, &[0.25]).lose_sync);
        assert!(!decide_at(&rules, Operation::Sync, Some("a.frm"), 0, &[0.0]).lose_sync);
        assert!(decide_at(&rules, Operation::Sync, None, 0, &[0.0]).lose_sync, "the probe is every file");
    }

    #[test]
    fn delays_add_up_and_stay_within_their_jitter() {
        let delay = Disturbance::Delay { delay: Span::millis(10), jitter: Span::millis(4) };
        let rules = [rule(delay.clone()), rule(delay)];
        let low = decide_at(&rules, Operation::Read, None, 0, &[0.0, 0.0, 0.0, 0.0]).delay;
        let high = decide_at(&rules, Operation::Read, None, 0, &[0.0, 1.0, 0.0, 1.0]).delay;
        assert_eq!((low, high), (Duration::from_millis(12), Duration::from_millis(28)));
    }
}
