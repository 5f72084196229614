//! Storage corruption: what is read is not what was written.

use super::ruled::{self, Ruled, Target, open};
use super::rules::{Disturbance, Operation};
use crate::kinds::{Asked, Checking, Effect, Family, Kind, Mechanism, Scope};
use crate::shape::{Parameters, Shape};
use schemars::JsonSchema;
use serde::Deserialize;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Data is damaged on its way. What was written damaged stays so when the fault is over: undoing ends the damaging and
/// does not repair the database's files, so aim it at nodes that can be made anew.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct StorageCorruption {
    /// In which way.
    #[serde(default)]
    damage: Damage,
    #[serde(flatten)]
    target: Target,
}

/// Ways to damage data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Damage {
    /// One bit of what is read is wrong; on the disk it is right.
    #[default]
    FlipOnRead,
    /// One bit of what is written is wrong.
    FlipOnWrite,
    /// Only a first part of a write, cut between two sectors, gets to the disk; the writer is told that all did.
    TornWrite,
    /// Only a first part of a write gets to the disk, and the writer is told so.
    ShortWrite,
}

impl From<Damage> for Disturbance {
    fn from(damage: Damage) -> Self {
        match damage {
            Damage::FlipOnRead => Self::FlipOnRead,
            Damage::FlipOnWrite => Self::FlipOnWrite,
            Damage::TornWrite => Self::TornWrite,
            Damage::ShortWrite => Self::ShortWrite,
        }
    }
}

/// Probes are cheap.
const PROBES_MAX: u32 = 1000;
/// As much as a page of a database.
const PROBE_BYTES: usize = 16_384;

impl Parameters for StorageCorruption {
    fn check(&self) -> Result<(), String> {
        self.target.check()
    }
}

pub(crate) static KIND: Kind = Kind {
    name: "storage-corruption",
    summary: "Data of a database is damaged on its way from or to the disk.",
    family: Family::Storage,
    scope: Scope::Node,
    instant: false,
    shape: Shape::of::<StorageCorruption>(),
    needs: ruled::NEEDS,
    mechanism: ruled::mechanism,
    preflight,
    undo: ruled::undo,
    verify_undone: ruled::verify_undone,
};

fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let StorageCorruption { damage, target } = asked.parameters()?;
        let layer = ruled::find(&asked, target.mount.as_deref()).await?;
        let operation = if damage == Damage::FlipOnRead { Operation::Read } else { Operation::Write };
        let rule = target.rule(&asked, damage.into(), vec![operation]);
        let percent = target.percent;
        let measure: ruled::Measure = Box::new(move |probe| {
            let (attempts, mut damaged) = (ruled::attempts(percent, PROBES_MAX), 0);
            for _ in 0..attempts {
                damaged += u32::from(is_damaged(probe)?);
            }
            let text = format!("asked {damage:?} for {percent}, measured {damaged} of {attempts} probes");
            Ok(if damaged > 0 { Effect::Seen(text) } else { Effect::NotSeen(text) })
        });
        let description = "damage done in the storage layer".to_owned();
        Ok(Box::new(Ruled { layer, rule, description, measure: Arc::new(measure) }) as Box<dyn Mechanism>)
    })
}

/// Writes, and reads back through another opening, so that it does not come from memory.
fn is_damaged(probe: &Path) -> io::Result<bool> {
    let written = [0xa5; PROBE_BYTES];
    let file = open(probe)?;
    file.set_len(0)?;
    let count = file.write_at(&written, 0)?;
    drop(file);
    let read = std::fs::read(probe)?;
    Ok(count < written.len() || read != written)
}
