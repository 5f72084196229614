//! What the storage faults have in common: each is a rule in a layer, with a lease that the layer itself ends, and a
//! measurement on the layer's probe file, to which every rule applies.

use super::control::{Command, Reply};
use super::layer::Layer;
use super::rules::{self, Disturbance, Operation, Rule};
use super::server::PROBE;
use crate::FaultError;
use crate::journal::Undo;
use crate::kinds::{Asked, Effect, Failure, Mechanism, Pending, Refusal, StillThere};
use firedrill_host::capabilities::{Capability, Need};
use firedrill_host::fuse;
use firedrill_model::{Percent, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::timeout;

/// What a host must have for a storage layer.
pub(super) const NEEDS: &[Need] = &[
    Need::Capability(Capability::SysAdmin),
    Need::Kernel { major: 5, minor: 4, because: "the interface of file systems in user space that the layer speaks" },
];

/// A layer answers at once; a renewal must not hold up its agent.
const RENEWED_WITHIN: Duration = Duration::from_millis(800);
/// Looking for files must not hold up an attack: the disk that it is about may be slow already.
const LOOKED_WITHIN: Duration = Duration::from_secs(1);
/// A data directory of many thousands of tables is not looked through to the end.
const FILES_LOOKED_AT_MAX: usize = 50_000;
/// Longest pattern of paths.
const PATTERN_BYTES_MAX: usize = 1000;
/// Most patterns.
const PATTERNS_MAX: usize = 64;

/// By which mechanism storage faults work here.
pub(super) fn mechanism() -> Result<String, String> {
    fuse::available().map_err(|problem| {
        format!("file systems in user space are missing: {}; load the module `fuse`", problem.full())
    })?;
    Ok("a file system in user space, mounted over the data directory before the database starts".to_owned())
}

/// Which files are meant, on which layer.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(crate) struct Target {
    /// The directory that the storage layer is mounted over. By default the one that holds the files of the node's
    /// database.
    pub(super) mount: Option<PathBuf>,
    /// Only files with these paths, counted from the mount point; `*` stands for any characters, slashes included, and
    /// `?` for one. By default all.
    #[serde(default)]
    pub(super) files: Vec<String>,
    /// Share of the operations that it happens to, above 0 to 100.
    #[serde(default = "all")]
    pub(super) percent: Percent,
}

fn all() -> Percent {
    Percent::whole(100)
}

impl Target {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.percent.thousandths() == 0 {
            return Err("`percent` must be above 0".to_owned());
        }
        if self.files.len() > PATTERNS_MAX || self.files.iter().any(|pattern| pattern.len() > PATTERN_BYTES_MAX) {
            return Err(format!("`files` has at most {PATTERNS_MAX} patterns of at most {PATTERN_BYTES_MAX} bytes"));
        }
        Ok(())
    }

    /// The rule that does this to them.
    pub(super) fn rule(&self, asked: &Asked, disturbance: Disturbance, operations: Vec<Operation>) -> Rule {
        Rule {
            id: asked.id.0.clone(),
            disturbance,
            operations,
            paths: self.files.clone(),
            percent: f64::from(self.percent),
            until: Duration::ZERO,
        }
    }
}

/// The layer that is meant, seen to answer.
pub(super) async fn find(asked: &Asked, mount: Option<&Path>) -> Result<Layer, Refusal> {
    let how = "mount one over its data directory before the database starts";
    let layer = match (mount, &asked.node) {
        (Some(mount), _) => Layer::over(mount)?
            .ok_or_else(|| Refusal(format!("no storage layer is mounted over {}; {how}", mount.display())))?,
        (None, Some(node)) => {
            let process = (asked.context.database)(node);
            let process = process.ok_or_else(|| Refusal(format!("no database process of {node} runs on this host")))?;
            Layer::used_by(process)?
                .ok_or_else(|| Refusal(format!("the database of {node} has no file on a storage layer; {how}")))?
        }
        (None, None) => {
            return Err(Refusal(
                "it is not said where: the attack is about no database node, and no `mount` is given".to_owned(),
            ));
        }
    };
    let status = layer.status().await?;
    if status.rules.iter().any(|rule| rule.id == asked.id.0) {
        return Err(Refusal(format!("the layer has a rule of the name {} already; undo that attack first", asked.id)));
    }
    Ok(layer)
}

/// Measures what the rule does to the probe file, within seconds.
pub(super) type Measure = Box<dyn Fn(&Path) -> Result<Effect, std::io::Error> + Send + Sync>;

/// A fault that is a rule.
pub(super) struct Ruled {
    pub(super) layer: Layer,
    pub(super) rule: Rule,
    pub(super) description: String,
    /// Blocks; runs on a thread of its own.
    pub(super) measure: std::sync::Arc<Measure>,
}

impl Ruled {
    /// True when it is about certain files, and there are none. What cannot be told in time counts as something.
    async fn hits_nothing(&self) -> bool {
        if self.rule.paths.is_empty() {
            return false;
        }
        let (point, patterns) = (self.layer.point().to_owned(), self.rule.paths.clone());
        let looked = tokio::task::spawn_blocking(move || has_like(&point, &patterns));
        matches!(timeout(LOOKED_WITHIN, looked).await, Ok(Ok(Ok(false))))
    }
}

/// Whether a file below a directory has a path, counted from there, like one of these; an error when it has too many.
fn has_like(root: &Path, patterns: &[String]) -> std::io::Result<bool> {
    let mut left = vec![root.to_owned()];
    let mut seen = 0;
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            seen += 1;
            if seen > FILES_LOOKED_AT_MAX {
                return Err(std::io::Error::other("too many files to look at"));
            }
            let path = entry.path();
            let relative = path.strip_prefix(root).unwrap_or(&path);
            if entry.file_type()?.is_dir() {
                left.push(path);
            } else if rules::matches_any(patterns, &relative.to_string_lossy()) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// What is needed to end it.
#[derive(Debug, Serialize, Deserialize)]
struct InForce {
    layer: Layer,
    rule: String,
}

impl Mechanism for Ruled {
    fn describe(&self) -> String {
        self.description.clone()
    }

    fn undo(&self) -> Result<Undo, FaultError> {
        Undo::by(&InForce { layer: self.layer.clone(), rule: self.rule.id.clone() })
    }

    fn inject(&mut self, lease: Duration) -> Pending<'_, Result<(), Failure>> {
        Box::pin(async move {
            let put = Command::Put { rule: Box::new(self.rule.clone()), lease: Span(lease) };
            match self.layer.ask(&put).await? {
                Reply::Done => Ok(()),
                other => Err(self.layer.misunderstood(&other).into()),
            }
        })
    }

    fn verify(&mut self) -> Pending<'_, Effect> {
        Box::pin(async move {
            let (probe, measure) = (self.layer.point().join(PROBE), std::sync::Arc::clone(&self.measure));
            match tokio::task::spawn_blocking(move || measure(&probe)).await {
                // The probe is always hit; whether anything of the database's is, is another question.
                Ok(Ok(Effect::Seen(seen))) if self.hits_nothing().await => {
                    let (files, point) = (self.rule.paths.join(", "), self.layer.point().display());
                    Effect::NotSeen(format!("{seen}, but no file below {point} has a path like {files}"))
                }
                Ok(Ok(effect)) => effect,
                Ok(Err(problem)) => Effect::NotSeen(format!("the probe could not be used: {problem}")),
                Err(problem) => Effect::NotSeen(format!("the measurement broke off: {problem}")),
            }
        })
    }

    fn renew(&mut self, lease: Duration) -> Result<(), String> {
        let renew = Command::Renew { id: self.rule.id.clone(), lease: Span(lease) };
        match self.layer.ask_now(&renew, RENEWED_WITHIN) {
            Ok(Reply::Done) => Ok(()),
            Ok(Reply::NoSuchRule) => Err("the layer has no such rule any more: its lease ran out".to_owned()),
            Ok(other) => Err(self.layer.misunderstood(&other).full()),
            // The next renewal may get through before the lease ends; if none does, the rule ends and that one says so.
            Err(problem) => {
                tracing::warn!(%problem, "a lease on the storage layer was not renewed in time");
                Ok(())
            }
        }
    }
}

pub(super) fn undo(undo: &Undo) -> Pending<'_, Result<(), Failure>> {
    Box::pin(async move {
        let Some(InForce { layer, rule }) = undo.read()? else { return Ok(()) };
        // Without its mount nothing of a layer is in force.
        if !layer.mounted()? {
            return Ok(());
        }
        match layer.ask(&Command::Remove { id: rule }).await? {
            Reply::Done => Ok(()),
            other => Err(layer.misunderstood(&other).into()),
        }
    })
}

pub(super) fn verify_undone(undo: &Undo) -> Pending<'_, Result<String, StillThere>> {
    Box::pin(async move {
        let Some(InForce { layer, rule }) = undo.read()? else { return Ok("nothing was in force".to_owned()) };
        let point = layer.point().display().to_string();
        if !layer.mounted()? {
            return Ok(format!("the storage layer over {point} is unmounted"));
        }
        let status = layer.status().await?;
        if status.rules.iter().any(|one| one.id == rule) {
            return Err(StillThere(format!("the rule {rule} is still in force in the storage layer over {point}")));
        }
        Ok(format!("the storage layer over {point} has no such rule"))
    })
}

/// The probe file, opened anew, so that nothing is read from memory.
pub(super) fn open(probe: &Path) -> std::io::Result<File> {
    File::options().read(true).write(true).open(probe)
}

/// How many attempts it takes to see something that happens to this share of them, almost certainly, within `most`.
pub(super) fn attempts(percent: Percent, most: u32) -> u32 {
    // 1 - (1 - p)^n above 0.9999 needs about 10 / p.
    (1_000_000 / percent.thousandths().max(1)).clamp(1, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_by_their_paths_below_the_mount() {
        let root = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(root.path().join("data")).expect("made");
        std::fs::write(root.path().join("data/binlog.000001"), "").expect("written");
        let has = |pattern: &str| has_like(root.path(), &[pattern.to_owned()]).expect("readable");
        assert!(has("data/binlog.*") && has("*binlog*"));
        assert!(!has("binlog.*") && !has("data"));
    }

    #[test]
    fn attempts_are_enough_and_bounded() {
        assert_eq!(attempts(Percent::whole(100), 500), 10);
        assert_eq!(attempts(Percent::whole(10), 500), 100);
        assert_eq!(attempts(Percent::whole(1), 500), 500);
    }
}
