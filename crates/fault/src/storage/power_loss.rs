//! Power loss: what was not synced is gone when the process dies.

use super::control::{Command, Reply};
use super::layer::Layer;
use super::ruled;
use super::rules::{Disturbance, Rule};
use crate::FaultError;
use crate::journal::Undo;
use crate::kinds::{Asked, Checking, Effect, Failure, Family, Kind, Mechanism, Pending, Scope, StillThere};
use crate::shape::{Parameters, Shape};
use firedrill_model::Span;
use schemars::JsonSchema;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::sleep;

/// The power goes for everything that uses a data directory: its processes die at once, and what they wrote during the
/// last moments and did not sync is gone from their files. A kill takes nothing from the operating system's memory and
/// so cannot tell a database with safe settings from one without; this can. What counts as durable is what ext4 keeps:
/// see the documentation of the storage layer. Nothing is taken back: starting the database again is what the drill is
/// about.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct PowerLoss {
    /// The directory that the storage layer is mounted over. By default the one that holds the files of the node's
    /// database.
    mount: Option<PathBuf>,
    /// How long before the power loss the layer begins to remember what is not synced, up to 10s. What was written
    /// before that counts as durable, as most of it is in life.
    #[serde(default = "a_while")]
    window: Span,
}

fn a_while() -> Span {
    Span::secs(2)
}

/// The measurement of an attack may take seconds and not longer.
const WINDOW_MAX: Duration = Duration::from_secs(10);
/// The rule that keeps outlives the window by this, for a layer that is slow to cut; then it ends by itself.
const GRACE: Duration = Duration::from_secs(30);

impl Parameters for PowerLoss {
    const PULSES: bool = false;

    fn check(&self) -> Result<(), String> {
        if self.window.duration().is_zero() || self.window.duration() > WINDOW_MAX {
            return Err("`window` must be above 0 and at most 10s".to_owned());
        }
        Ok(())
    }
}

pub(crate) static KIND: Kind = Kind {
    name: "power-loss",
    summary: "Processes that use a data directory die, and what they had not synced is gone.",
    family: Family::Storage,
    scope: Scope::Node,
    instant: true,
    shape: Shape::of::<PowerLoss>(),
    needs: ruled::NEEDS,
    mechanism: ruled::mechanism,
    preflight,
    undo,
    verify_undone,
};

fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let PowerLoss { mount, window } = asked.parameters()?;
        let layer = ruled::find(&asked, mount.as_deref()).await?;
        Ok(Box::new(Cut { layer, id: asked.id.0.clone(), window: window.duration() }) as Box<dyn Mechanism>)
    })
}

struct Cut {
    layer: Layer,
    id: String,
    window: Duration,
}

impl Mechanism for Cut {
    fn describe(&self) -> String {
        "the storage layer keeps what is not synced, kills who uses it, and puts the synced state back".to_owned()
    }

    fn undo(&self) -> Result<Undo, FaultError> {
        Ok(Undo::NOTHING)
    }

    /// Begins to keep; nothing goes wrong yet.
    fn inject(&mut self, _lease: Duration) -> Pending<'_, Result<(), Failure>> {
        Box::pin(async move {
            let rule = Rule {
                id: self.id.clone(),
                disturbance: Disturbance::Keep,
                operations: Vec::new(),
                paths: Vec::new(),
                percent: 100.0,
                until: Duration::ZERO,
            };
            let put = Command::Put { rule: Box::new(rule), lease: Span(self.window + GRACE) };
            match self.layer.ask(&put).await? {
                Reply::Done => Ok(()),
                other => Err(self.layer.misunderstood(&other).into()),
            }
        })
    }

    /// Waits for the window to pass, which a halt may end, and cuts.
    fn verify(&mut self) -> Pending<'_, Effect> {
        Box::pin(async move {
            sleep(self.window).await;
            let cut = Command::Cut { id: self.id.clone(), spare: vec![std::process::id()] };
            let loss = match self.layer.ask(&cut).await {
                Ok(Reply::Lost(loss)) => loss,
                Ok(other) => return Effect::NotSeen(self.layer.misunderstood(&other).full()),
                Err(problem) => return Effect::NotSeen(problem.full()),
            };
            // It ends by itself, too.
            if let Err(problem) = self.layer.ask(&Command::Remove { id: self.id.clone() }).await {
                tracing::warn!(problem = problem.full(), "the storage layer goes on keeping for a while");
            }
            let text = format!(
                "{} processes killed ({:?}); {} bytes in {} files and {} names went back to what was synced; the file \
                 system stood still for {}{}",
                loss.killed.len(),
                loss.killed,
                loss.bytes,
                loss.files,
                loss.names,
                Span(loss.stood_still),
                if loss.written_back == 0 { "" } else { "; some files were synced before, as there was too much" }
            );
            if loss.killed.is_empty() { Effect::NotSeen(format!("nobody used it: {text}")) } else { Effect::Seen(text) }
        })
    }

    fn renew(&mut self, _lease: Duration) -> Result<(), String> {
        Ok(())
    }
}

fn undo(_undo: &Undo) -> Pending<'_, Result<(), Failure>> {
    Box::pin(async { Ok(()) })
}

fn verify_undone(_undo: &Undo) -> Pending<'_, Result<String, StillThere>> {
    Box::pin(async { Ok("a power loss is not taken back".to_owned()) })
}
