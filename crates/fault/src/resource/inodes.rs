//! Inodes: so many empty files that no more can be made, while there is room for data.
//!
//! The files have names, as nothing can hold millions of them open. They are in a directory of their own, whose name says
//! which attack it belongs to; the undo record says where it is, and the undo removes it.

use super::disk_fill::spare_journal;
use crate::FaultError;
use crate::journal::Undo;
use crate::kinds::{Asked, Checking, Effect, Failure, Family, Kind, Mechanism, Pending, Refusal, Scope, StillThere};
use crate::shape::{Parameters, Shape};
use crate::worker::{self, Job, Life, Tell, Work, Worker};
use firedrill_host::process::Identity;
use firedrill_host::usage::Volume;
use firedrill_model::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Most files that are made: removing them takes about as long as making them, some ten seconds per million.
const FILES_MAX: u64 = 5_000_000;
/// Files of one directory: a directory of millions is slow on some file systems.
const FILES_PER_DIR: u64 = 10_000;
/// How many are made between two words about it.
const TELL_EVERY: u64 = 20_000;
/// Some hundred thousand files are made in this time; more are made while the attack goes on.
const MADE_WITHIN: Duration = Duration::from_secs(10);
const NAME: &str = "firedrill-inodes-";

/// No more files can be made on a volume, although there is room for data.
///
/// Takes seconds per million files, to put in place and to take out.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(crate) struct Inodes {
    /// A directory on the volume; a directory for the files is made in it.
    path: PathBuf,
    /// How many files may still be made.
    #[serde(default)]
    leave: u64,
    /// Makes so many files, instead of all but `leave`.
    amount: Option<u64>,
    /// Also when it is the volume of the agent's undo journal. Other attacks of this host are refused meanwhile.
    #[serde(default)]
    journal_volume: bool,
}

impl Parameters for Inodes {
    fn check(&self) -> Result<(), String> {
        match self.amount {
            Some(amount) if amount == 0 || amount > FILES_MAX => {
                Err(format!("an amount of {amount} files is not from 1 to {FILES_MAX}"))
            }
            Some(_) if self.leave > 0 => Err("give `amount` or `leave`, not both".to_owned()),
            _ => Ok(()),
        }
    }
}

pub(crate) static KIND: Kind = Kind {
    name: "inodes",
    summary: "No more files can be made on a volume, although there is room for data.",
    family: Family::Resource,
    scope: Scope::Host,
    instant: false,
    shape: Shape::of::<Inodes>(),
    needs: &[],
    mechanism: || Ok("worker process that makes files in a directory of its own".to_owned()),
    preflight,
    undo,
    verify_undone,
};

/// What must be gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Made {
    worker: Identity,
    dir: PathBuf,
}

fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let inodes: Inodes = asked.parameters()?;
        if !inodes.journal_volume {
            spare_journal(&inodes.path, &asked.journal).map_err(Refusal)?;
        }
        let before = Volume::of(&inodes.path)?;
        let path = fs::canonicalize(&inodes.path)
            .map_err(|problem| Refusal(format!("cannot look at {}: {problem}", inodes.path.display())))?;
        let count = allowed(inodes.amount, inodes.leave, &before, &path).map_err(Refusal)?;
        let dir = path.join(format!("{NAME}{}", asked.id));
        if fs::symlink_metadata(&dir).is_ok() {
            return Err(Refusal(format!("{} is there already, and not of this attack", dir.display())));
        }
        let make = Make { dir, count, before: before.free_inodes };
        let worker = Worker::start(&asked.context, &Job::Inodes(make.clone()), Life::default()).await?;
        Ok(Box::new(Taken { make, worker }) as Box<dyn Mechanism>)
    })
}

fn allowed(amount: Option<u64>, leave: u64, volume: &Volume, path: &Path) -> Result<u64, String> {
    let path = path.display();
    if volume.inodes == 0 {
        return Err(format!("the file system of {path} makes inodes as they are needed: they do not run out"));
    }
    let most = volume.free_inodes.saturating_sub(leave);
    // Directories are files, too.
    let most = most - most.div_ceil(FILES_PER_DIR).min(most);
    let count = amount.unwrap_or(most);
    if most == 0 {
        return Err(format!("the volume of {path} has only {} files left to be made", volume.free_inodes));
    }
    if count > most {
        return Err(format!("the volume of {path} has only {} files left to be made, not {count}", volume.free_inodes));
    }
    if count > FILES_MAX {
        return Err(format!(
            "{} files would have to be made on the volume of {path}, more than {FILES_MAX}; say an `amount`, or use a \
             volume with fewer inodes",
            count
        ));
    }
    Ok(count)
}

/// The worker's part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Make {
    dir: PathBuf,
    count: u64,
    /// Left before.
    before: u64,
}

impl Make {
    pub(crate) fn prepare(self) -> Result<Work, String> {
        Ok(Box::new(move |tell: &Tell| self.make(tell)))
    }

    fn make(&self, tell: &Tell) -> Infallible {
        let mut made = 0;
        let mut dir = self.dir.clone();
        let mut one = |number: u64| -> io::Result<()> {
            if number.is_multiple_of(FILES_PER_DIR) {
                dir = self.dir.join((number / FILES_PER_DIR).to_string());
                fs::create_dir_all(&dir)?;
            }
            File::create_new(dir.join(number.to_string())).map(drop)
        };
        let note = loop {
            if made == self.count {
                break String::new();
            }
            match one(made) {
                Ok(()) => made += 1,
                Err(problem) => break problem.to_string(),
            }
            if made.is_multiple_of(TELL_EVERY) {
                tell.at(made, false, "");
            }
        };
        tell.at(made, true, &note);
        worker::hold(())
    }
}

/// The holder's part.
struct Taken {
    make: Make,
    worker: Worker,
}

impl Mechanism for Taken {
    fn describe(&self) -> String {
        format!("{} empty files in {}", self.make.count, self.make.dir.display())
    }

    fn undo(&self) -> Result<Undo, FaultError> {
        Undo::by(&Made { worker: self.worker.identity(), dir: self.make.dir.clone() })
    }

    fn inject(&mut self, lease: Duration) -> Pending<'_, Result<(), Failure>> {
        Box::pin(async move { Ok(self.worker.lease(lease)?) })
    }

    fn verify(&mut self) -> Pending<'_, Effect> {
        Box::pin(async {
            let Some(last) = self.worker.settled(MADE_WITHIN).await else {
                return Effect::NotSeen("the worker ended before it had made them".to_owned());
            };
            match Volume::of(&self.make.dir) {
                Ok(now) => self.make.judge(last.amount, last.settled, &last.note, &now),
                Err(problem) => Effect::NotSeen(problem.full()),
            }
        })
    }

    fn renew(&mut self, lease: Duration) -> Result<(), String> {
        self.worker.renew(lease)
    }
}

impl Make {
    fn judge(&self, made: u64, settled: bool, note: &str, now: &Volume) -> Effect {
        let lost = self.before.saturating_sub(now.free_inodes);
        let asked = self.count;
        let figures =
            format!("asked {asked} files, made {made}; {} of {} inodes are left", now.free_inodes, now.inodes);
        let refused = if note.is_empty() { String::new() } else { format!("; the next was refused: {note}") };
        if made == 0 || lost == 0 {
            Effect::NotSeen(format!("{figures}{refused}"))
        } else if settled {
            Effect::Seen(format!("{figures}{refused}"))
        } else {
            Effect::Seen(format!("{figures} after {}, and more are being made", Span(MADE_WITHIN)))
        }
    }
}

fn undo(undo: &Undo) -> Pending<'_, Result<(), Failure>> {
    Box::pin(async move {
        let Some(made) = undo.read::<Made>()? else { return Ok(()) };
        worker::end(made.worker).await?;
        let removed = tokio::task::spawn_blocking(move || remove(&made.dir)).await;
        removed.unwrap_or_else(|problem| Err(Failure(format!("the thread that removes files failed: {problem}"))))
    })
}

/// Removes the directory and all in it, if its name says that it is one of ours.
fn remove(dir: &Path) -> Result<(), Failure> {
    let ours = dir.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(NAME));
    if !ours {
        return Err(Failure(format!("{} is not a directory that this fault makes; it is left alone", dir.display())));
    }
    match fs::remove_dir_all(dir) {
        Err(problem) if problem.kind() != io::ErrorKind::NotFound => {
            Err(Failure(format!("cannot remove {}: {problem}", dir.display())))
        }
        _ => Ok(()),
    }
}

fn verify_undone(undo: &Undo) -> Pending<'_, Result<String, StillThere>> {
    Box::pin(async move {
        let Some(made) = undo.read::<Made>()? else { return Ok("no files were made".to_owned()) };
        worker::gone(made.worker)?;
        if fs::symlink_metadata(&made.dir).is_ok() {
            return Err(StillThere(format!("{} is still there", made.dir.display())));
        }
        Ok(format!("{} and the files in it are gone", made.dir.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(inodes: u64, free_inodes: u64) -> Volume {
        Volume { used_bytes: 0, free_bytes: 1 << 30, inodes, free_inodes }
    }

    #[test]
    fn only_a_volume_with_a_number_of_inodes_can_run_out() {
        let path = Path::new("/data");
        assert_eq!(allowed(None, 10, &volume(1000, 500), path), Ok(489), "one for a directory");
        assert_eq!(allowed(Some(5), 0, &volume(1000, 500), path), Ok(5));
        assert!(allowed(None, 0, &volume(0, 0), path).is_err());
        assert!(allowed(None, 0, &volume(1000, 0), path).is_err());
        assert!(allowed(Some(501), 0, &volume(1000, 500), path).is_err());
        assert!(allowed(None, 0, &volume(1 << 30, 1 << 30), path).is_err_and(|why| why.contains("5000000")));
    }

    #[test]
    fn nothing_but_its_own_directory_is_removed() {
        let dir = tempfile::tempdir().expect("temp dir");
        assert!(remove(dir.path()).is_err());
        let own = dir.path().join(format!("{NAME}x"));
        fs::create_dir_all(own.join("0")).expect("makes");
        File::create(own.join("0/1")).expect("makes");
        for _ in 0..2 {
            remove(&own).expect("removes, and twice is no error");
        }
        assert!(dir.path().exists() && !own.exists());
    }
}
