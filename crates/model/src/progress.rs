//! How far a run is, for those who watch it, and what people say meanwhile.

use crate::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The parts of a run, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The load begins and flows.
    WarmUp,
    /// The steady state is looked at.
    ProbesBefore,
    /// The steps are taken.
    Steps,
    /// The load flows on after the last step.
    CoolDown,
    /// The steady state is looked at again.
    ProbesAfter,
    /// What is still in place comes out.
    TakingOut,
    /// The load has ended; every node is read, and acknowledged writes are counted against what is there.
    Counting,
    /// There is a verdict.
    Judged,
}

impl Stage {
    /// All of them, in their order.
    pub const ALL: [Self; 8] = [
        Self::WarmUp,
        Self::ProbesBefore,
        Self::Steps,
        Self::CoolDown,
        Self::ProbesAfter,
        Self::TakingOut,
        Self::Counting,
        Self::Judged,
    ];
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::WarmUp => "warm-up",
            Self::ProbesBefore => "probes before",
            Self::Steps => "steps",
            Self::CoolDown => "cool-down",
            Self::ProbesAfter => "probes after",
            Self::TakingOut => "taking attacks out",
            Self::Counting => "reading every node and counting",
            Self::Judged => "judged",
        })
    }
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// In which part.
    pub stage: Stage,
    /// The steps that were begun, in their order; only the last one may be without an end.
    pub steps: Vec<StepTaken>,
    /// What the load was told so far.
    pub writes: WritesSoFar,
}

impl Default for Progress {
    fn default() -> Self {
        Self { stage: Stage::WarmUp, steps: Vec::new(), writes: WritesSoFar::default() }
    }
}

/// One step that was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepTaken {
    /// When.
    pub began: Timestamp,
    /// When it was over, whatever came of it; `None`: it is being taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
}

/// Answers to the writes of the live load. Which of the acknowledged ones are lost is known when every node was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WritesSoFar {
    /// Acknowledged.
    pub acknowledged: u64,
    /// That certainly did not happen.
    pub failed: u64,
    /// Without an answer.
    pub unknown: u64,
}

/// What a person does in a game day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Decides: goes on, or halts.
    Lead,
    /// Starts and stops.
    Driver,
    /// Acts as whoever is on call would.
    Responder,
    /// Writes down what is seen.
    Scribe,
    /// Looks on.
    Observer,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Lead, Self::Driver, Self::Responder, Self::Scribe, Self::Observer];

    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lead => "lead",
            Self::Driver => "driver",
            Self::Responder => "responder",
            Self::Scribe => "scribe",
            Self::Observer => "observer",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Somebody in a game day, as the line of the timeline says it: `PART: NAME`.
#[must_use]
pub fn part_taken(line: &str) -> Option<(Part, &str)> {
    let (part, name) = line.split_once(": ")?;
    Part::ALL.into_iter().find(|known| known.name() == part).map(|part| (part, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_who_takes_which_part() {
        assert_eq!(part_taken("scribe: Ada: the second"), Some((Part::Scribe, "Ada: the second")));
        assert_eq!(part_taken("king: Ada"), None);
        assert_eq!(part_taken("scribe"), None);
    }
}
