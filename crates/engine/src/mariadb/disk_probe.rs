//! Whether the volume of a server still takes writes, asked without the server: a byte, written and synced, when there
//! is reason to ask. A server whose disk hangs or is full goes on answering reads, keeps its port open and its
//! connections up; what it cannot do any more is commit.

use firedrill_model::Span;
use firedrill_model::observation::DiskTrouble;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// From one try to the next, while there is reason to try.
const EVERY: Duration = Duration::from_millis(500);

/// A sync that takes longer is worth telling; a busy disk takes tens of milliseconds.
const SLOW: Duration = Duration::from_millis(500);

/// The probe of one server's volume. At most one try is under way: on a volume that hangs it stays so, and its age is
/// the answer.
#[derive(Debug)]
pub(crate) struct DiskProbe {
    file: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    under_way: Option<(Instant, JoinHandle<io::Result<()>>)>,
    tried: Option<Instant>,
    /// When the first try of those that failed in a row began, and why the last one failed.
    failing: Option<(Instant, String)>,
}

impl DiskProbe {
    pub(crate) fn new(file: PathBuf) -> Self {
        Self { file, state: Mutex::default() }
    }

    /// What is known by now; begins a try when `suspicious`, or when the last one failed. Never waits.
    pub(crate) fn look(&self, suspicious: bool) -> Option<DiskTrouble> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.take_result();
        let due = state.tried.is_none_or(|tried| tried.elapsed() >= EVERY);
        if state.under_way.is_none() && due && (suspicious || state.failing.is_some()) {
            let file = self.file.clone();
            let began = Instant::now();
            state.tried = Some(began);
            state.under_way = Some((began, tokio::task::spawn_blocking(move || write(&file))));
        }
        state.trouble()
    }
}

impl State {
    fn take_result(&mut self) {
        let Some((began, handle)) = self.under_way.take() else { return };
        if !handle.is_finished() {
            self.under_way = Some((began, handle));
            return;
        }
        let result = ended(handle);
        match result {
            Ok(()) => self.failing = None,
            Err(problem) => {
                let since = self.failing.take().map_or(began, |(since, _)| since);
                self.failing = Some((since, problem.to_string()));
            }
        }
    }

    fn trouble(&self) -> Option<DiskTrouble> {
        if let Some((since, problem)) = &self.failing {
            return Some(DiskTrouble { lasts: Span(since.elapsed()), problem: problem.clone() });
        }
        let (began, _) = self.under_way.as_ref()?;
        let waited = began.elapsed();
        (waited >= SLOW).then(|| DiskTrouble {
            lasts: Span(waited),
            problem: "a small write with a sync is not answered".to_owned(),
        })
    }
}

/// The result of a task that has ended.
fn ended(handle: JoinHandle<io::Result<()>>) -> io::Result<()> {
    use std::future::Future as _;
    use std::task::{Context, Poll, Waker};
    let mut handle = std::pin::pin!(handle);
    match handle.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(result)) => result,
        Poll::Ready(Err(problem)) => Err(io::Error::other(problem)),
        Poll::Pending => Err(io::Error::other("the try has not ended")),
    }
}

fn write(path: &Path) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    file.write_all(b".")?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn settled(probe: &DiskProbe, wanted: impl Fn(&Option<DiskTrouble>) -> bool) -> Option<DiskTrouble> {
        let began = Instant::now();
        loop {
            let seen = probe.look(true);
            if wanted(&seen) {
                return seen;
            }
            assert!(began.elapsed() < Duration::from_secs(10), "{seen:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn a_volume_that_refuses_is_told_and_one_that_works_again_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = dir.path().join("volume");
        let probe = DiskProbe::new(place.join("probe"));
        let trouble = settled(&probe, Option::is_some).await.expect("told");
        assert!(trouble.problem.contains("No such file"), "{trouble:?}");
        std::fs::create_dir(&place).expect("made");
        settled(&probe, Option::is_none).await;
        assert!(place.join("probe").exists(), "it was really written");
    }

    #[tokio::test]
    async fn nothing_is_tried_in_peace() {
        let dir = tempfile::tempdir().expect("a directory");
        let probe = DiskProbe::new(dir.path().join("probe"));
        assert_eq!(probe.look(false), None);
        assert!(probe.state.lock().expect("whole").under_way.is_none());
    }
}
