//! What came of a due time.

use crate::spec::Schedule;
use firedrill_model::{ClusterName, RunId, ScheduleName, Timestamp, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A due time of a schedule on a cluster, and what came of it. There is at most one for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Occurrence {
    /// Of which schedule.
    pub schedule: ScheduleName,
    /// On which cluster.
    pub cluster: ClusterName,
    /// The due time.
    pub due: Timestamp,
    /// What was started, or would have been.
    pub experiment: String,
    /// The last change.
    pub at: Timestamp,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a due time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// About to be started; stored before anything is done.
    Starting,
    /// Its run is under way.
    Running {
        /// Which run.
        run: RunId,
    },
    /// Its run has ended.
    Ended {
        /// Which run.
        run: RunId,
        /// What it came to.
        verdict: Verdict,
        /// It was stopped before its end: by an abort condition, or by a person.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        stopped: bool,
        /// The first reason.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// It was not tried.
    Skipped {
        /// What was in the way.
        obstacle: Obstacle,
        /// For people.
        why: String,
    },
    /// A guard of the experiment said no.
    Refused {
        /// The code of the refusal.
        code: String,
        /// For people.
        why: String,
    },
    /// It could not be started: something is wrong with the schedule or with the server.
    Broken {
        /// The code of the error.
        code: String,
        /// For people.
        why: String,
    },
}

/// What was in the way of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Obstacle {
    /// The server was not there in time.
    Missed,
    /// Starts were blocked.
    Halted,
    /// A holiday or a black-out.
    Blackout,
    /// The cluster or a service on it is opted out.
    OptedOut,
    /// Nobody has said to be there.
    NobodyThere,
    /// The programme had nothing to try.
    Rest,
}

impl Outcome {
    /// In a few words, for tables and messages.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Starting => "starting".to_owned(),
            Self::Running { .. } => "running".to_owned(),
            Self::Ended { verdict, reason: Some(reason), .. } if *verdict != Verdict::Passed => {
                format!("{verdict}: {reason}")
            }
            Self::Ended { verdict, .. } => verdict.to_string(),
            Self::Skipped { why, .. } => format!("skipped: {why}"),
            Self::Refused { why, code } => format!("refused: {why} ({code})"),
            Self::Broken { why, code } => format!("could not start: {why} ({code})"),
        }
    }

    /// Nothing more will come of it.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        !matches!(self, Self::Starting | Self::Running { .. })
    }
}

/// Why a schedule pauses itself after this, when it does: a verdict that it names, and always a run that was stopped
/// before its end, for an abort condition has become true or somebody did not want it. A refusal is no reason: a guard
/// has done its work.
#[must_use]
pub fn pause_reason(schedule: &Schedule, occurrence: &Occurrence) -> Option<String> {
    let (verdict, stopped, why) = match &occurrence.outcome {
        Outcome::Ended { verdict, reason, run, stopped } => {
            let reason = reason.as_deref().unwrap_or("no reason was given");
            let word = if *stopped { "was stopped".to_owned() } else { verdict.to_string() };
            (*verdict, *stopped, format!("run {run} on {} {word}: {reason}", occurrence.cluster))
        }
        Outcome::Broken { code, why } => (
            Verdict::Error,
            false,
            format!("{} could not be started on {}: {why} ({code})", occurrence.experiment, occurrence.cluster),
        ),
        _ => return None,
    };
    (stopped || schedule.pause_on.contains(&verdict)).then_some(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::tests::cron;

    fn with(outcome: Outcome) -> Occurrence {
        let cluster = "shop".parse().expect("a name");
        let schedule = "nightly".parse().expect("a name");
        Occurrence {
            schedule,
            cluster,
            due: Timestamp(0),
            experiment: "kill-replica".into(),
            at: Timestamp(0),
            outcome,
        }
    }

    fn ended(verdict: Verdict) -> Occurrence {
        with(Outcome::Ended { run: RunId("r".into()), verdict, stopped: false, reason: Some("3 writes lost".into()) })
    }

    #[test]
    fn a_failure_pauses_and_a_refusal_does_not() {
        let schedule = cron("0 9 * * *");
        let why = pause_reason(&schedule, &ended(Verdict::Failed)).expect("a reason");
        assert_eq!(why, "run r on shop failed: 3 writes lost");
        assert!(pause_reason(&schedule, &ended(Verdict::Error)).is_some());
        let broken = Outcome::Broken { code: "S001".into(), why: "no such experiment".into() };
        assert!(pause_reason(&schedule, &with(broken)).is_some());
        let refused = Outcome::Refused { code: "S016".into(), why: "busy".into() };
        for quiet in [ended(Verdict::Passed), ended(Verdict::Inconclusive), with(refused), with(Outcome::Starting)] {
            assert_eq!(pause_reason(&schedule, &quiet), None, "{quiet:?}");
        }
        let stopped = Outcome::Ended {
            run: RunId("r".into()),
            verdict: Verdict::Inconclusive,
            stopped: true,
            reason: Some("no write for 20s".into()),
        };
        let why = pause_reason(&schedule, &with(stopped)).expect("a reason");
        assert_eq!(why, "run r on shop was stopped: no write for 20s");
        let strict = Schedule { pause_on: vec![Verdict::Inconclusive], ..schedule };
        assert!(pause_reason(&strict, &ended(Verdict::Inconclusive)).is_some());
        assert_eq!(pause_reason(&strict, &ended(Verdict::Failed)), None);
    }

    #[test]
    fn outcomes_are_written_flat() {
        let text = serde_json::to_string(&ended(Verdict::Passed).outcome).expect("text");
        assert_eq!(text, r#"{"outcome":"ended","run":"r","verdict":"passed","reason":"3 writes lost"}"#);
    }
}
