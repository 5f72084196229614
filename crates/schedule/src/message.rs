//! The message of the day: what is planned, what is expected, and what came of yesterday.

use crate::decide::Presence;
use crate::occurrence::Outcome;
use crate::zone::{Day, Zone};
use firedrill_model::{ClusterName, ScheduleName, Timestamp, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// The day, for a chat or a mail. Days are those of `zone`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Today {
    /// Which day.
    pub day: Day,
    /// By whose clock.
    pub zone: Zone,
    /// Why nothing starts, when everything is halted.
    pub halted: Option<String>,
    /// What comes, in order.
    pub planned: Vec<PlannedStart>,
    /// What came today so far and yesterday, in order.
    pub recap: Vec<Recap>,
    /// Schedules that wait for a person.
    pub paused: Vec<Paused>,
    /// Who has said to be there.
    pub present: Vec<Presence>,
}

/// A start that comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedStart {
    /// When.
    pub due: Timestamp,
    /// By which schedule.
    pub schedule: ScheduleName,
    /// On which cluster.
    pub cluster: ClusterName,
    /// What.
    pub experiment: String,
    /// The experiment's line for people.
    pub title: String,
    /// What is believed to happen.
    pub expected: String,
    /// What is in the way, as things stand now.
    pub obstacle: Option<String>,
}

/// What came of a due time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Recap {
    /// When it was due.
    pub due: Timestamp,
    /// By which schedule.
    pub schedule: ScheduleName,
    /// On which cluster.
    pub cluster: ClusterName,
    /// What.
    pub experiment: String,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// A schedule that starts nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Paused {
    /// Which.
    pub schedule: ScheduleName,
    /// Why.
    pub reason: String,
}

impl Today {
    /// As text: what needs a person first, then what comes, then what was.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("firedrill, {} ({})\n", self.day.strftime("%A %Y-%m-%d"), self.zone);
        if let Some(reason) = &self.halted {
            let _ = writeln!(text, "\nHALTED, nothing starts: {reason}");
        }
        for Paused { schedule, reason } in &self.paused {
            let _ = writeln!(text, "\nPAUSED {schedule}: {reason}");
        }
        self.say_planned(&mut text);
        self.say_recap(&mut text);
        text
    }

    fn say_planned(&self, text: &mut String) {
        text.push_str("\nPlanned today\n");
        if self.planned.is_empty() {
            text.push_str("  nothing\n");
        }
        for start in &self.planned {
            let PlannedStart { due, schedule, cluster, experiment, title, expected, obstacle } = start;
            let _ = writeln!(text, "  {}  {experiment} on {cluster} ({schedule}): {title}", self.zone.show_time(*due));
            if !expected.is_empty() {
                let _ = writeln!(text, "      expected: {}", one_line(expected));
            }
            if let Some(obstacle) = obstacle {
                let _ = writeln!(text, "      will not start as things stand: {obstacle}");
            }
        }
        for presence in &self.present {
            let whose = presence.cluster.as_ref().map_or_else(String::new, |cluster| format!(" for {cluster}"));
            let _ =
                writeln!(text, "  {} is there{whose} until {}", presence.person, self.zone.show_time(presence.until));
        }
    }

    fn say_recap(&self, text: &mut String) {
        text.push_str("\nSince yesterday\n");
        if self.recap.is_empty() {
            text.push_str("  nothing was due\n");
            return;
        }
        let came = |wanted: Verdict| {
            let is = |recap: &&Recap| matches!(recap.outcome, Outcome::Ended { verdict, .. } if verdict == wanted);
            self.recap.iter().filter(is).count()
        };
        let ran = self.recap.iter().filter(|recap| matches!(recap.outcome, Outcome::Ended { .. })).count();
        let _ = writeln!(
            text,
            "  {} due, {ran} ran: {} passed, {} failed",
            self.recap.len(),
            came(Verdict::Passed),
            came(Verdict::Failed)
        );
        for recap in &self.recap {
            let Recap { due, schedule, cluster, experiment, outcome } = recap;
            let when = self.zone.show(*due);
            let _ = writeln!(text, "  {when}  {experiment} on {cluster} ({schedule}): {}", outcome.words());
        }
    }
}

/// Hypotheses are folded text with line ends.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::tests::zone;
    use firedrill_model::RunId;

    const HOUR: i64 = 3_600_000_000;

    #[test]
    fn the_message_says_what_needs_a_person_first() {
        let zone = zone("Europe/Berlin");
        let morning = Timestamp(1_795_503_600_000_000);
        let (schedule, cluster): (ScheduleName, ClusterName) =
            ("twice".parse().expect("a name"), "shop".parse().expect("a name"));
        let today = Today {
            day: zone.day(morning),
            zone,
            halted: None,
            planned: vec![PlannedStart {
                due: Timestamp(morning.0 + 2 * HOUR),
                schedule: schedule.clone(),
                cluster: cluster.clone(),
                experiment: "kill-replica".into(),
                title: "A replica's database process is killed".into(),
                expected: "Users do\nnot notice.\n".into(),
                obstacle: None,
            }],
            recap: vec![Recap {
                due: Timestamp(morning.0 - 20 * HOUR),
                schedule: schedule.clone(),
                cluster: cluster.clone(),
                experiment: "kill-primary".into(),
                outcome: Outcome::Ended {
                    run: RunId("r1".into()),
                    verdict: Verdict::Failed,
                    stopped: false,
                    reason: Some("3 acknowledged writes were lost".into()),
                },
            }],
            paused: vec![Paused { schedule: "daily".parse().expect("a name"), reason: "run r1 failed".into() }],
            present: vec![Presence {
                person: "ann".into(),
                cluster: None,
                since: morning,
                until: Timestamp(morning.0 + 9 * HOUR),
            }],
        };
        assert_eq!(
            today.text(),
            "firedrill, Tuesday 2026-11-24 (Europe/Berlin)\n\
             \nPAUSED daily: run r1 failed\n\
             \nPlanned today\n  \
               10:00 CET  kill-replica on shop (twice): A replica's database process is killed\n      \
                   expected: Users do not notice.\n  \
               ann is there until 17:00 CET\n\
             \nSince yesterday\n  \
               1 due, 1 ran: 0 passed, 1 failed\n  \
               Mon 2026-11-23 12:00 CET  kill-primary on shop (twice): failed: 3 acknowledged writes were lost\n"
        );
        let again: Today = serde_json::from_str(&serde_json::to_string(&today).expect("text")).expect("read");
        assert_eq!(again, today);
    }
}
