//! A programme: the ladder of a cluster, rung by rung, from weekly to daily as the rungs hold.
//!
//! Each rung has a **streak**: how many of its runs on the cluster passed in a row, up to now, whoever started them. A
//! failed run ends it; one that was inconclusive or broke the tool says nothing about the cluster and changes nothing.
//! The lowest rung is open; any other is open when the one below is open and has a streak of `climb_after`. An open
//! rung is tried once a week until its streak is `daily_after`; then it joins those of which one is tried each day, in
//! turn. So a rung that fails closes all above it, and goes back to weekly itself.

use crate::problem::Code;
use firedrill_model::{Timestamp, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most runs that are asked for: nobody has waited for a hundred weeks to climb.
const STREAK_MAX: u32 = 100;

/// How a cluster climbs the ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Programme {
    /// The next rung opens after so many passes in a row.
    pub climb_after: u32,
    /// A rung is tried daily after so many passes in a row.
    pub daily_after: u32,
    /// No rung above this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top: Option<u32>,
}

impl Default for Programme {
    fn default() -> Self {
        Self { climb_after: 2, daily_after: 3, top: None }
    }
}

/// A run of a rung that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// Which rung.
    pub rung: u32,
    /// When it began.
    pub at: Timestamp,
    /// What it came to.
    pub verdict: Verdict,
}

/// How often a rung is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Pace {
    /// Not yet.
    Closed,
    /// Once a week.
    Weekly,
    /// In turn with the other daily ones, one each day.
    Daily,
}

/// Where a rung stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Standing {
    /// Which rung, the lowest is 1.
    pub rung: u32,
    /// Passes in a row.
    pub streak: u32,
    /// How often it is tried.
    pub pace: Pace,
    /// When it was last tried.
    pub last: Option<Timestamp>,
}

/// What a programme does at a due time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// Tries that rung.
    Run {
        /// Which.
        rung: u32,
        /// For people.
        why: String,
    },
    /// Nothing needs to be tried.
    Rest {
        /// For people.
        why: String,
    },
}

impl Programme {
    pub(crate) fn problems(&self, say: &mut dyn FnMut(Code, String, String)) {
        let place = || "when.programme".to_owned();
        let numbers = [self.climb_after, self.daily_after, self.top.unwrap_or(1)];
        if numbers.iter().any(|number| !(1..=STREAK_MAX).contains(number)) {
            say(Code::Malformed, place(), format!("climb_after, daily_after and top are from 1 to {STREAK_MAX}"));
        } else if self.daily_after < self.climb_after {
            let message =
                "daily_after is below climb_after: a rung would be tried daily that is not firm enough to climb from";
            say(Code::Contradiction, place(), message.to_owned());
        }
    }

    /// Where each rung stands, lowest first. The ladder has `rungs` rungs; the order of the history is of no matter.
    #[must_use]
    pub fn standings(&self, rungs: u32, history: &[Attempt]) -> Vec<Standing> {
        let mut ordered: Vec<&Attempt> = history.iter().collect();
        // Of two at the same moment the failed one counts as the later: what is in doubt does not hold.
        ordered.sort_by_key(|attempt| (attempt.at, attempt.verdict == Verdict::Failed));
        let mut open = true;
        (1..=rungs.min(self.top.unwrap_or(rungs)))
            .map(|rung| {
                let of_rung = ordered.iter().filter(|attempt| attempt.rung == rung);
                let streak = of_rung.clone().fold(0_u32, |streak, attempt| match attempt.verdict {
                    Verdict::Passed => streak.saturating_add(1),
                    Verdict::Failed => 0,
                    Verdict::Inconclusive | Verdict::Error => streak,
                });
                let pace = match open {
                    false => Pace::Closed,
                    true if streak >= self.daily_after => Pace::Daily,
                    true => Pace::Weekly,
                };
                open = open && streak >= self.climb_after;
                Standing { rung, streak, pace, last: of_rung.map(|attempt| attempt.at).next_back() }
            })
            .collect()
    }

    /// What to do at a due time: a weekly rung that was not tried this week, the lowest first; else the daily rung that
    /// was not tried for the longest time, if none of them was tried today.
    #[must_use]
    pub fn choose(&self, rungs: u32, history: &[Attempt], week_began: Timestamp, day_began: Timestamp) -> Choice {
        let standings = self.standings(rungs, history);
        let before = |standing: &&Standing, began| standing.last.is_none_or(|last| last < began);
        let weekly = standings.iter().filter(|standing| standing.pace == Pace::Weekly);
        if let Some(standing) = weekly.clone().find(|standing| before(standing, week_began)) {
            let Standing { rung, streak, .. } = *standing;
            let why = format!("rung {rung}, weekly: {streak} passed in a row, daily after {}", self.daily_after);
            return Choice::Run { rung, why };
        }
        let daily = standings.iter().filter(|standing| standing.pace == Pace::Daily);
        let today = daily.clone().any(|standing| !before(&standing, day_began));
        match daily.min_by_key(|standing| (standing.last, standing.rung)) {
            Some(standing) if !today => {
                let Standing { rung, streak, .. } = *standing;
                Choice::Run { rung, why: format!("rung {rung}, daily in turn: {streak} passed in a row") }
            }
            Some(_) => Choice::Rest { why: "a rung was tried today already".to_owned() },
            None => {
                Choice::Rest { why: "each open rung was tried this week already, and none is daily yet".to_owned() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: i64 = 24 * 3_600_000_000;

    fn run(rung: u32, day: i64, verdict: Verdict) -> Attempt {
        Attempt { rung, at: Timestamp(day * DAY + DAY / 2), verdict }
    }

    /// Day 0 is a Monday.
    fn choice(history: &[Attempt], day: i64) -> Option<u32> {
        let week = Timestamp(day.div_euclid(7) * 7 * DAY);
        match Programme::default().choose(6, history, week, Timestamp(day * DAY)) {
            Choice::Run { rung, .. } => Some(rung),
            Choice::Rest { .. } => None,
        }
    }

    /// Lets the programme run for some weeks of seven days; every run comes to what `verdict` says.
    fn lived(weeks: i64, verdict: impl Fn(u32, i64) -> Verdict) -> Vec<Attempt> {
        let mut history = Vec::new();
        for day in 0..7 * weeks {
            if let Some(rung) = choice(&history, day) {
                history.push(run(rung, day, verdict(rung, day)));
            }
        }
        history
    }

    #[test]
    fn the_first_rungs_open_one_after_the_other() {
        let history = lived(4, |_, _| Verdict::Passed);
        let rungs: Vec<(u32, i64)> = history.iter().map(|one| (one.rung, one.at.0 / DAY)).collect();
        // Weekly; the second opens in the week of the second pass; from the third pass on the first is daily.
        assert_eq!(rungs[..4], [(1, 0), (1, 7), (2, 8), (1, 14)]);
        assert_eq!(rungs[4..7], [(2, 15), (3, 16), (1, 17)]);
        assert_eq!(rungs.last().map(|(_, day)| *day), Some(27), "one each day");
    }

    #[test]
    fn all_that_holds_ends_with_one_run_each_day_in_turn() {
        let history = lived(30, |_, _| Verdict::Passed);
        let paces: Vec<Pace> = Programme::default().standings(6, &history).iter().map(|s| s.pace).collect();
        assert_eq!(paces, [Pace::Daily; 6]);
        let last: std::collections::BTreeSet<u32> = history[history.len() - 6..].iter().map(|one| one.rung).collect();
        assert_eq!(last.len(), 6);
    }

    #[test]
    fn a_rung_that_fails_closes_all_above_and_is_weekly_again() {
        let mut history = lived(30, |_, _| Verdict::Passed);
        history.push(run(3, 210, Verdict::Failed));
        let paces: Vec<Pace> = Programme::default().standings(6, &history).iter().map(|s| s.pace).collect();
        assert_eq!(paces, [Pace::Daily, Pace::Daily, Pace::Weekly, Pace::Closed, Pace::Closed, Pace::Closed]);
    }

    #[test]
    fn what_says_nothing_changes_nothing() {
        let mut history = lived(30, |_, _| Verdict::Passed);
        let before: Vec<u32> = Programme::default().standings(6, &history).iter().map(|s| s.streak).collect();
        history.extend([run(3, 210, Verdict::Inconclusive), run(2, 211, Verdict::Error)]);
        let after: Vec<u32> = Programme::default().standings(6, &history).iter().map(|s| s.streak).collect();
        assert_eq!(before, after);
    }

    #[test]
    fn of_two_at_the_same_moment_the_failed_one_counts_last() {
        let mut history = vec![run(1, 29, Verdict::Failed), run(1, 29, Verdict::Passed)];
        assert_eq!(Programme::default().standings(1, &history)[0].streak, 0);
        history.reverse();
        assert_eq!(Programme::default().standings(1, &history)[0].streak, 0);
    }

    #[test]
    fn the_top_is_not_passed() {
        let programme = Programme { top: Some(2), ..Programme::default() };
        assert_eq!(programme.standings(6, &[]).len(), 2);
        assert_eq!(programme.standings(1, &[]).len(), 1);
    }

    fn verdicts() -> impl Strategy<Value = Vec<(u32, i64, usize)>> {
        prop::collection::vec((1_u32..7, 0_i64..100, 0_usize..4), 0..60)
    }

    proptest! {
        #[test]
        fn no_rung_is_tried_above_one_that_does_not_hold(raw in verdicts(), day in 0_i64..120) {
            let all = [Verdict::Passed, Verdict::Failed, Verdict::Inconclusive, Verdict::Error];
            let mut history: Vec<Attempt> = raw.iter().map(|(rung, day, at)| run(*rung, *day, all[*at])).collect();
            let standings = Programme::default().standings(6, &history);
            prop_assert!(standings.windows(2).all(|pair| pair[1].pace == Pace::Closed || pair[0].streak >= 2));
            let chosen = choice(&history, day);
            if let Some(rung) = chosen {
                prop_assert!(standings.iter().filter(|one| one.rung < rung).all(|below| below.streak >= 2));
            }
            history.reverse();
            prop_assert_eq!(chosen, choice(&history, day), "a question of the history, not of its order");
        }

        #[test]
        fn at_most_one_daily_and_each_weekly_once(raw in verdicts(), seed in 0_usize..4) {
            let all = [Verdict::Passed, Verdict::Failed, Verdict::Inconclusive, Verdict::Passed];
            let pick = |rung: u32, day: i64| {
                let at = raw.iter().filter(|(r, d, _)| *r == rung && *d == day).map(|(_, _, at)| *at).next();
                all[at.unwrap_or(seed)]
            };
            let history = lived(12, pick);
            prop_assert!(history.windows(2).all(|pair| pair[0].at < pair[1].at), "one a day");
        }
    }
}
