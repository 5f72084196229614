//! Lost syncs: the disk says that data is safe, and it is not.

use super::ruled::{self, Ruled, Target, open};
use super::rules::{Disturbance, Operation};
use crate::kinds::{Asked, Checking, Effect, Family, Kind, Mechanism, Scope};
use crate::shape::{Parameters, Shape};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// `fsync` and `fdatasync` of the database's files are answered and not done, as by a disk whose cache lies. Nothing is
/// to be seen of it until the power goes: an attack of the kind `power-loss` during this one takes back everything since
/// this one began, however often it was synced.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct LostSync {
    #[serde(flatten)]
    target: Target,
}

/// Probes are cheap.
const PROBES_MAX: u32 = 1000;
/// A sync that is not done takes no longer than the layer needs to answer.
const UNDONE_WITHIN: Duration = Duration::from_secs(1);

impl Parameters for LostSync {
    fn check(&self) -> Result<(), String> {
        self.target.check()
    }
}

pub(crate) static KIND: Kind = Kind {
    name: "lost-sync",
    summary: "Files of a database are said to be synced and are not, which a power loss shows.",
    family: Family::Storage,
    scope: Scope::Node,
    instant: false,
    shape: Shape::of::<LostSync>(),
    needs: ruled::NEEDS,
    mechanism: ruled::mechanism,
    preflight,
    undo: ruled::undo,
    verify_undone: ruled::verify_undone,
};

fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let LostSync { target } = asked.parameters()?;
        let layer = ruled::find(&asked, target.mount.as_deref()).await?;
        let rule = target.rule(&asked, Disturbance::LoseSync, vec![Operation::Sync]);
        let (percent, counted, id) = (target.percent, layer.clone(), rule.id.clone());
        let measure: ruled::Measure = Box::new(move |probe| {
            let attempts = ruled::attempts(percent, PROBES_MAX);
            let applied = || counted.applied(&id, UNDONE_WITHIN).map_err(std::io::Error::other);
            let (before, began) = (applied()?, Instant::now());
            let file = open(probe)?;
            for _ in 0..attempts {
                file.sync_data()?;
            }
            let (lost, took) = (applied()?.saturating_sub(before), firedrill_model::Span(began.elapsed()));
            let text = format!("asked {percent}, {lost} of at least {attempts} syncs were not done, in {took}");
            Ok(if lost > 0 { Effect::Seen(text) } else { Effect::NotSeen(text) })
        });
        let description = "syncs answered by the storage layer alone".to_owned();
        Ok(Box::new(Ruled { layer, rule, description, measure: Arc::new(measure) }) as Box<dyn Mechanism>)
    })
}
