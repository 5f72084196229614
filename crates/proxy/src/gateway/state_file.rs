//! The newest generation, kept over restarts: a server that lost its authority while the gateway was down must not be
//! able to use it afterwards. The route is not kept: a restarted gateway holds.

use super::config::GatewayError;
use firedrill_model::{ClusterName, Generation};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    cluster: ClusterName,
    generation: Generation,
}

/// Reads the newest generation; the lowest, when there is no file yet.
///
/// # Errors
/// When the file cannot be read, is not ours, or belongs to another cluster: starting from zero then would give an old
/// server its authority back.
pub(super) fn read(path: &Path, cluster: &ClusterName) -> Result<Generation, GatewayError> {
    let unusable = |problem: String| GatewayError::State { path: path.to_owned(), problem };
    let text = match fs::read_to_string(path) {
        Err(problem) if problem.kind() == io::ErrorKind::NotFound => return Ok(Generation::default()),
        text => text.map_err(|problem| unusable(problem.to_string()))?,
    };
    let kept: Kept = serde_json::from_str(&text).map_err(|problem| unusable(format!("{problem} in {text:?}")))?;
    if kept.cluster != *cluster {
        return Err(unusable(format!("it is of cluster {}, not {cluster}", kept.cluster)));
    }
    Ok(kept.generation)
}

/// Replaces the file, so that after a crash at any point either the old or the new one is there in whole.
pub(super) fn write(path: &Path, cluster: &ClusterName, generation: Generation) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut file = File::create(&beside)?;
    file.write_all(&serde_json::to_vec(&Kept { cluster: cluster.clone(), generation })?)?;
    file.sync_data()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generation_survives_and_foreign_files_are_refused() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("state");
        let shop: ClusterName = "shop".parse().expect("a name");
        assert_eq!(read(&path, &shop).expect("no file is fine"), Generation(0));
        write(&path, &shop, Generation(7)).expect("writes");
        assert_eq!(read(&path, &shop).expect("reads"), Generation(7));

        let other = read(&path, &"other".parse().expect("a name")).expect_err("another cluster's file");
        assert!(other.to_string().contains("of cluster shop"), "{other}");
        fs::write(&path, "{\"clu").expect("writes");
        assert!(read(&path, &shop).is_err(), "half a file is not generation 0");
    }
}
