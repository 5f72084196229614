//! The audit log: who asked for what, from where, and what came of it, as a chain in which each entry holds the hash of
//! the one before. Changing, removing or putting in an entry breaks the chain at that place; cutting its end off is
//! found by whoever has noted an earlier head.

use super::acting::Scene;
use crate::clock::now;
use crate::server::Server;
use firedrill_api::access::{AuditEntry, AuditOutcome, AuditRecord, Broken, Verified};
use firedrill_store::{AuditRow, StoreError};
use sha2::{Digest, Sha256};

/// What stands for the hash before the first entry.
pub const BEGINNING: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Entries read at once for a check.
const PAGE_ROWS: u32 = 1000;
/// Longest call in an entry, in characters; longer addresses are cut.
const CALL_CHARS_MAX: usize = 300;

/// The hash of an entry: SHA-256 over the hash before it, its number and what it says, with line ends between.
#[must_use]
pub fn hash(previous: &str, sequence: u64, entry: &str) -> String {
    let digest = Sha256::digest(format!("{previous}\n{sequence}\n{entry}"));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Checks a chain entry by entry.
#[derive(Debug, Clone)]
pub struct Check {
    verified: Verified,
}

impl Default for Check {
    fn default() -> Self {
        Self { verified: Verified { entries: 0, head: BEGINNING.to_owned(), broken: None } }
    }
}

impl Check {
    /// Takes the next entry. After the first broken one the rest is not looked at.
    pub fn next(&mut self, entry: &AuditEntry) {
        let Verified { entries, head, broken } = &mut self.verified;
        if broken.is_some() {
            return;
        }
        let expected = *entries + 1;
        let why = if entry.sequence != expected {
            Some(format!("entry {expected} is missing: after {} comes {}", *entries, entry.sequence))
        } else if hash(head, entry.sequence, &entry.entry) != entry.hash {
            Some("its hash does not fit what it says and the entry before it".to_owned())
        } else {
            None
        };
        match why {
            Some(why) => *broken = Some(Broken { sequence: expected, why }),
            None => {
                *entries = expected;
                head.clone_from(&entry.hash);
            }
        }
    }

    /// What has come out so far.
    #[must_use]
    pub fn finish(self) -> Verified {
        self.verified
    }
}

/// The row after the newest one.
fn linked(newest: Option<&AuditRow>, entry: String) -> AuditRow {
    let (sequence, previous) = newest.map_or((1, BEGINNING), |row| (row.sequence + 1, row.hash.as_str()));
    AuditRow { sequence, hash: hash(previous, sequence, &entry), entry }
}

/// Adds an entry.
///
/// # Errors
/// The store cannot be written.
pub(crate) async fn append(server: &Server, record: &AuditRecord) -> Result<(), StoreError> {
    // A record is texts, a number and a word: it always has a form in JSON, whose fields stand in the order of the type.
    let entry = serde_json::to_string(record).unwrap_or_default();
    server.store.append_audit(|newest| linked(newest, entry)).await.map(drop)
}

/// Adds an entry about a request that is being carried out.
pub(super) async fn record(
    server: &Server,
    scene: &Scene,
    call: &str,
    outcome: AuditOutcome,
    detail: String,
) -> Result<(), StoreError> {
    let record = AuditRecord {
        at: now(),
        who: scene.principal.name.clone(),
        from: scene.from.clone(),
        call: call.chars().take(CALL_CHARS_MAX).collect(),
        outcome,
        detail,
    };
    append(server, &record).await
}

/// Checks the whole log.
///
/// # Errors
/// The store cannot be read.
pub(crate) async fn verify(server: &Server) -> Result<Verified, StoreError> {
    Ok(verify_holding(server, "").await?.0)
}

/// The same, and whether it holds a head that somebody has noted: an entry with that hash, before anything broken.
///
/// # Errors
/// The store cannot be read.
pub(crate) async fn verify_holding(server: &Server, noted: &str) -> Result<(Verified, bool), StoreError> {
    let (mut check, mut held, mut after) = (Check::default(), false, 0);
    loop {
        let rows = server.store.audit_after(after, PAGE_ROWS).await?;
        let last = rows.last().map(|row| row.sequence);
        for row in rows {
            check.next(&entry(row));
            held |= check.verified.head == noted;
        }
        match last {
            Some(last) if last > after => after = last,
            _ => return Ok((check.finish(), held)),
        }
    }
}

/// As it travels.
pub(crate) fn entry(row: AuditRow) -> AuditEntry {
    let AuditRow { sequence, entry, hash } = row;
    AuditEntry { sequence, entry, hash }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chain(texts: &[String]) -> Vec<AuditEntry> {
        let mut rows: Vec<AuditRow> = Vec::new();
        for text in texts {
            rows.push(linked(rows.last(), text.clone()));
        }
        rows.into_iter().map(entry).collect()
    }

    fn checked(entries: &[AuditEntry]) -> Verified {
        let mut check = Check::default();
        entries.iter().for_each(|entry| check.next(entry));
        check.finish()
    }

    proptest! {
        #[test]
        fn the_first_changed_missing_or_added_entry_is_found(
            texts in prop::collection::vec("[a-z]{0,8}", 2..20), at in any::<prop::sample::Index>(), how in 0..4,
        ) {
            let whole = chain(&texts);
            let fine = checked(&whole);
            prop_assert!(fine.broken.is_none() && fine.entries == texts.len() as u64);
            // The last one can be cut off without a trace in the chain; its head is what tells.
            let at = at.index(whole.len() - 1);
            let mut harmed = whole.clone();
            match how {
                0 => harmed[at].entry.push('!'),
                1 => drop(harmed.remove(at)),
                2 => harmed.insert(at, whole[at + 1].clone()),
                _ => harmed[at].hash = hash(BEGINNING, 0, "forged"),
            }
            let seen = checked(&harmed);
            prop_assert_eq!(seen.broken.map(|broken| broken.sequence), Some(at as u64 + 1));
            prop_assert_eq!(seen.entries, at as u64);
        }
    }

    #[test]
    fn an_empty_log_is_whole() {
        assert_eq!(checked(&[]), Verified { entries: 0, head: BEGINNING.to_owned(), broken: None });
    }
}
