//! Storage errors: the disk says no.

use super::latency::{touch, usual};
use super::ruled::{self, Ruled, Target};
use super::rules::{Disturbance, Operation};
use crate::kinds::{Asked, Checking, Effect, Family, Kind, Mechanism, Scope};
use crate::shape::{Parameters, Shape};
use firedrill_model::Percent;
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

/// Operations on the database's files fail with an error number and do nothing. A broken disk is `EIO`, a full one
/// `ENOSPC` on writes, a file system that the kernel has made read-only after an error `EROFS` on writes and changes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct StorageError {
    /// The error.
    #[serde(default)]
    error: ErrorNumber,
    /// Which operations: `read`, `write`, `sync`, `open`, `change` (names and attributes), `look` (names, attributes and
    /// directories are looked up). By default reads, writes and syncs.
    #[serde(default = "usual")]
    operations: Vec<Operation>,
    #[serde(flatten)]
    target: Target,
}

/// Errors that storage gives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
enum ErrorNumber {
    /// Input/output error.
    #[default]
    Eio,
    /// No space left on device.
    Enospc,
    /// Read-only file system.
    Erofs,
    /// Disk quota exceeded.
    Edquot,
    /// Permission denied.
    Eacces,
    /// Too many open files in system.
    Enfile,
    /// Cannot allocate memory.
    Enomem,
    /// File too large.
    Efbig,
    /// Stale file handle: a network file system lost its server's memory.
    Estale,
    /// Connection timed out: a network file system lost its server.
    Etimedout,
    /// Structure needs cleaning: the file system found itself damaged.
    Euclean,
}

impl ErrorNumber {
    const fn number(self) -> i32 {
        match self {
            Self::Eio => libc::EIO,
            Self::Enospc => libc::ENOSPC,
            Self::Erofs => libc::EROFS,
            Self::Edquot => libc::EDQUOT,
            Self::Eacces => libc::EACCES,
            Self::Enfile => libc::ENFILE,
            Self::Enomem => libc::ENOMEM,
            Self::Efbig => libc::EFBIG,
            Self::Estale => libc::ESTALE,
            Self::Etimedout => libc::ETIMEDOUT,
            Self::Euclean => libc::EUCLEAN,
        }
    }
}

/// Probes are cheap.
const PROBES_MAX: u32 = 2000;

impl Parameters for StorageError {
    fn check(&self) -> Result<(), String> {
        if self.operations.is_empty() {
            return Err("`operations` must name at least one".to_owned());
        }
        self.target.check()
    }
}

pub(crate) static KIND: Kind = Kind {
    name: "storage-error",
    summary: "Operations on files of a database fail.",
    family: Family::Storage,
    scope: Scope::Node,
    instant: false,
    shape: Shape::of::<StorageError>(),
    needs: ruled::NEEDS,
    mechanism: ruled::mechanism,
    preflight,
    undo: ruled::undo,
    verify_undone: ruled::verify_undone,
};

fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let StorageError { error, operations, target } = asked.parameters()?;
        let layer = ruled::find(&asked, target.mount.as_deref()).await?;
        let operation = operations.first().copied().unwrap_or(Operation::Write);
        let rule = target.rule(&asked, Disturbance::Fail { errno: error.number() }, operations);
        let percent = target.percent;
        let measure: ruled::Measure = Box::new(move |probe| {
            let attempts = ruled::attempts(percent, PROBES_MAX);
            let failed =
                |_: &u32| touch(probe, operation).is_err_and(|problem| problem.raw_os_error() == Some(error.number()));
            let count = (0..attempts).filter(failed).count();
            Ok(judge(error, percent, (count, attempts)))
        });
        let description = "errors from the storage layer".to_owned();
        Ok(Box::new(Ruled { layer, rule, description, measure: Arc::new(measure) }) as Box<dyn Mechanism>)
    })
}

fn judge(error: ErrorNumber, percent: Percent, (failed, attempts): (usize, u32)) -> Effect {
    let text = format!("asked {error:?} for {percent}, measured {failed} of {attempts} probes");
    if failed > 0 { Effect::Seen(text) } else { Effect::NotSeen(text) }
}
