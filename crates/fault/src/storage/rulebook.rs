//! The rules in force: kept in a file, so that the next server has them, too, and waited on by operations that are
//! delayed. A rule whose lease has run out has no effect from that moment on, whoever is alive then.

use super::chance;
use super::rules::{self, Disturbance, Disturbed, Rule, Subject};
use firedrill_host::clock;
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Most rules at a time.
const RULES_MAX: usize = 64;
/// Longest lease; whoever wants a rule for longer renews it.
const LEASE_MAX: Duration = Duration::from_secs(60);

/// The rules and how often each applied.
#[derive(Debug)]
pub(super) struct Rulebook {
    path: PathBuf,
    rules: RwLock<Arc<Vec<Rule>>>,
    any: AtomicBool,
    hits: Mutex<BTreeMap<String, u64>>,
    /// Changed with the rules, for those who wait.
    edition: Mutex<u64>,
    changed: Condvar,
}

impl Rulebook {
    /// Those of a previous server whose time is not over.
    pub(super) fn open(path: &Path) -> Self {
        let read = fs::read(path).ok().and_then(|text| serde_json::from_slice::<Vec<Rule>>(&text).ok());
        let book = Self {
            path: path.to_owned(),
            rules: RwLock::default(),
            any: AtomicBool::new(false),
            hits: Mutex::default(),
            edition: Mutex::new(0),
            changed: Condvar::new(),
        };
        book.set(read.unwrap_or_default());
        book.expire();
        book
    }

    /// Whether there is any rule: cheap, asked before each operation.
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    pub(super) fn list(&self) -> Arc<Vec<Rule>> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether old content must be kept: for a power loss, or because a sync may be lost, which only such a loss shows.
    pub(super) fn keeps(&self) -> bool {
        let now = clock::since_boot();
        self.list()
            .iter()
            .any(|rule| rule.until > now && matches!(rule.disturbance, Disturbance::Keep | Disturbance::LoseSync))
    }

    /// Puts a rule in force, in place of one with the same id.
    pub(super) fn put(&self, mut rule: Rule, lease: Duration) -> io::Result<()> {
        rule.until = clock::since_boot() + lease.min(LEASE_MAX);
        let mut rules = self.list().as_ref().clone();
        rules.retain(|other| other.id != rule.id);
        if rules.len() >= RULES_MAX {
            return Err(io::Error::other(format!("{RULES_MAX} rules are in force already; remove some first")));
        }
        self.hits().insert(rule.id.clone(), 0);
        rules.push(rule);
        self.save(&rules)?;
        self.set(rules);
        Ok(())
    }

    /// Extends a lease; `false` when there is no such rule (any more).
    pub(super) fn renew(&self, id: &str, lease: Duration) -> io::Result<bool> {
        let now = clock::since_boot();
        let mut rules = self.list().as_ref().clone();
        let Some(rule) = rules.iter_mut().find(|rule| rule.id == id && rule.until > now) else { return Ok(false) };
        rule.until = now + lease.min(LEASE_MAX);
        self.save(&rules)?;
        self.set(rules);
        Ok(true)
    }

    /// Ends a rule. One that is not there is no error.
    pub(super) fn remove(&self, id: &str) -> io::Result<()> {
        let mut rules = self.list().as_ref().clone();
        rules.retain(|rule| rule.id != id);
        self.hits().remove(id);
        // In force no more even when the file cannot be written: then the next server has it until its lease ends.
        self.set(rules.clone());
        self.save(&rules)
    }

    /// Forgets rules whose time is over.
    pub(super) fn expire(&self) {
        let now = clock::since_boot();
        let rules = self.list();
        if rules.iter().any(|rule| rule.until <= now) {
            let left: Vec<Rule> = rules.iter().filter(|rule| rule.until > now).cloned().collect();
            self.hits().retain(|id, _| left.iter().any(|rule| rule.id == *id));
            if let Err(problem) = self.save(&left) {
                tracing::warn!(%problem, "the rules of the storage layer cannot be saved");
            }
            self.set(left);
        }
    }

    pub(super) fn decide(&self, subject: &Subject<'_>) -> Disturbed {
        let rules = self.list();
        rules::decide(&rules, subject, chance::draw, |rule| {
            *self.hits().entry(rule.id.clone()).or_default() += 1;
        })
    }

    /// How often each rule applied.
    pub(super) fn counts(&self) -> BTreeMap<String, u64> {
        self.hits().clone()
    }

    /// Waits so long, or until no rule delays any more. `EINTR` when the caller is dying.
    pub(super) fn wait(&self, delay: Duration, dying: impl Fn() -> bool) -> Result<(), Errno> {
        let until = Instant::now() + delay;
        let mut edition = self.edition.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.delays() {
                return Ok(());
            }
            if dying() {
                return Err(Errno::EINTR);
            }
            edition = self.changed.wait_timeout(edition, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Has all who wait look again.
    pub(super) fn wake(&self) {
        *self.edition.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.changed.notify_all();
    }

    fn delays(&self) -> bool {
        let now = clock::since_boot();
        self.list().iter().any(|rule| rule.until > now && matches!(rule.disturbance, Disturbance::Delay { .. }))
    }

    fn set(&self, rules: Vec<Rule>) {
        self.any.store(!rules.is_empty(), Ordering::Relaxed);
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
        self.wake();
    }

    /// Whole or not at all; it needs to survive this process, not the machine.
    fn save(&self, rules: &[Rule]) -> io::Result<()> {
        let draft = self.path.with_extension("draft");
        fs::write(&draft, serde_json::to_vec(rules)?)?;
        fs::rename(&draft, &self.path)
    }

    fn hits(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.hits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firedrill_model::Span;

    fn delay(id: &str) -> Rule {
        Rule {
            id: id.to_owned(),
            disturbance: Disturbance::Delay { delay: Span::secs(60), jitter: Span::ZERO },
            operations: Vec::new(),
            paths: Vec::new(),
            percent: 100.0,
            until: Duration::ZERO,
        }
    }

    #[test]
    fn a_lease_is_kept_by_the_next_server_and_runs_out_without_any() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("rules.json");
        let book = Rulebook::open(&path);
        assert!(!book.any());
        book.put(delay("long"), Duration::from_secs(600)).expect("saves");
        book.put(delay("short"), Duration::ZERO).expect("saves");
        assert!(!book.renew("short", LEASE_MAX).expect("no error"), "its time is over");
        assert!(book.renew("long", LEASE_MAX).expect("saves"));
        drop(book);
        let next = Rulebook::open(&path);
        let ids: Vec<String> = next.list().iter().map(|rule| rule.id.clone()).collect();
        assert_eq!(ids, ["long"]);
        assert!(next.list()[0].until <= clock::since_boot() + LEASE_MAX, "no lease is longer");
        next.remove("long").expect("saves");
        next.remove("long").expect("twice is no error");
        assert!(!Rulebook::open(&path).any());
    }

    #[test]
    fn who_waits_goes_on_when_the_rule_ends_and_fails_when_he_dies() {
        let dir = tempfile::tempdir().expect("temp dir");
        let book = Rulebook::open(&dir.path().join("rules.json"));
        book.put(delay("d"), LEASE_MAX).expect("saves");
        assert_eq!(book.wait(Duration::from_secs(60), || true), Err(Errno::EINTR));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| book.wait(Duration::from_secs(60), || false));
            std::thread::sleep(Duration::from_millis(20));
            assert!(!waiting.is_finished());
            book.remove("d").expect("saves");
            waiting.join().expect("no panic").expect("goes on");
        });
    }
}
