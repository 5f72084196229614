//! How far a clone has come, on disk.

use crate::error::EngineError;
use firedrill_model::GtidPos;
use serde::{Deserialize, Serialize};
use std::path::Path;

const FILE: &str = "record.json";

/// The record of one clone on the recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "phase")]
pub(super) enum Record {
    /// The side directory is open for a stream.
    Receiving,
    /// The stream was taken in whole.
    Received,
    /// The copy is consistent, and ends here.
    Prepared {
        /// Its position.
        position: GtidPos,
    },
    /// Directories are being moved, or the server is being started and seeded.
    Activating {
        /// The node had data before, which goes aside.
        had_data: bool,
    },
    /// The server runs on the copy, and its position is seeded.
    Activated {
        /// As above.
        had_data: bool,
    },
}

impl Record {
    /// `None`: no clone of that operation was begun here, or it is over.
    pub(super) fn load(directory: &Path) -> Result<Option<Self>, EngineError> {
        let path = directory.join(FILE);
        let text = match std::fs::read(&path) {
            Err(problem) if problem.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|problem| EngineError::file("read", &path, problem))?,
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|problem| EngineError::file("understand", &path, problem.into()))
    }

    /// Whole or not at all, and on the disk when this returns: the next step moves data.
    pub(super) fn save(&self, directory: &Path) -> Result<(), EngineError> {
        let (path, draft) = (directory.join(FILE), directory.join("record.tmp"));
        let write = || -> std::io::Result<()> {
            use std::io::Write as _;
            let mut file = std::fs::File::create(&draft)?;
            file.write_all(&serde_json::to_vec(self)?)?;
            file.sync_all()?;
            std::fs::rename(&draft, &path)?;
            std::fs::File::open(directory)?.sync_all()
        };
        write().map_err(|problem| EngineError::file("write", &path, problem))
    }

    /// Had the node data before it was activated? `None`: it was not.
    pub(super) fn activated_over(&self) -> Option<bool> {
        match self {
            Self::Activating { had_data } | Self::Activated { had_data } => Some(*had_data),
            Self::Receiving | Self::Received | Self::Prepared { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_and_none_is_none() {
        let dir = tempfile::tempdir().expect("temp dir");
        assert_eq!(Record::load(dir.path()).expect("no file is no error"), None);
        let record = Record::Prepared { position: "0-1-5".parse().expect("a position") };
        record.save(dir.path()).expect("writes");
        assert_eq!(Record::load(dir.path()).expect("reads"), Some(record));
        std::fs::write(dir.path().join(FILE), "{").expect("writes");
        assert!(Record::load(dir.path()).is_err());
    }
}
