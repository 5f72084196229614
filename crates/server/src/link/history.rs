//! Takes the recorded history of a run in.

use super::{Caller, certificates};
use crate::problem::{Failure, HISTORY, STORE, problem};
use crate::server::Server;
use crate::workload_feed::{WorkloadItem, WorkloadNews};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use firedrill_api::http::{Done, Problem};
use firedrill_model::RunId;
use futures_util::StreamExt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::fs::File;
use tokio::io::{AsyncWriteExt, BufWriter};

/// Largest history: 100 million operations of some 40 bytes.
const HISTORY_BYTES_MAX: u64 = 4 << 30;
/// Longest pause between two pieces.
const PIECE_WITHIN: Duration = Duration::from_secs(30);

/// Where the history of a run is kept. The id must have been checked to be one of ours ([`is_safe`]).
pub(crate) fn path(data_dir: &FilePath, run: &RunId) -> Option<PathBuf> {
    is_safe(run).then(|| data_dir.join("runs").join(&run.0).join("history.fdh"))
}

/// Ids are given by the server from this set; anything else could leave the directory.
fn is_safe(run: &RunId) -> bool {
    !run.0.is_empty()
        && run.0.len() <= 100
        && run.0.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// `PUT /link/v1/history/{run}`.
pub(super) async fn put(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Path(run): Path<String>,
    body: Body,
) -> Result<Json<Done>, Failure> {
    certificates::in_force(&server, &caller).await?;
    let run = RunId(run);
    let path = path(&server.config.data_dir, &run).filter(|_| server.runs.cluster_of(&run).is_some());
    let Some(path) = path else {
        let message = format!("run {run} is not under way, so its history is not taken from host {}", caller.host);
        return Err(Failure(problem(HISTORY, message)));
    };
    let bytes = take(&path, body).await.map_err(|error| error.problem(&run, &path))?;
    tracing::info!(%run, host = %caller.host, bytes, "took a history in");
    let news = WorkloadNews::History { path, bytes };
    server.workloads.send(WorkloadItem { run, host: caller.host, news });
    Ok(Json(Done {}))
}

/// Why a history was not taken.
#[derive(Debug)]
enum TakeError {
    Disk(std::io::Error),
    Broken(String),
    TooLong,
}

impl TakeError {
    fn problem(&self, run: &RunId, path: &FilePath) -> Problem {
        match self {
            Self::Disk(error) if error.kind() == std::io::ErrorKind::StorageFull => problem(
                STORE,
                format!(
                    "the disk of {} is full: the history of run {run} was not kept; free some space",
                    path.display()
                ),
            ),
            Self::Disk(error) => {
                problem(STORE, format!("the history of run {run} cannot be written to {}: {error}", path.display()))
            }
            Self::Broken(seen) => {
                problem(HISTORY, format!("the history of run {run} was cut short: {seen}; send it again"))
            }
            Self::TooLong => {
                problem(HISTORY, format!("the history of run {run} is longer than {HISTORY_BYTES_MAX} bytes"))
            }
        }
    }
}

impl From<std::io::Error> for TakeError {
    fn from(error: std::io::Error) -> Self {
        Self::Disk(error)
    }
}

/// Writes beside the goal and renames: a history under its own name is whole. Gives its size.
async fn take(path: &FilePath, body: Body) -> Result<u64, TakeError> {
    let directory = path.parent().unwrap_or(FilePath::new("."));
    tokio::fs::create_dir_all(directory).await?;
    // Its own name, so that two uploads (the first given up by the agent) do not mix.
    let partial = directory.join(format!("history.{}.partial", uuid::Uuid::now_v7().simple()));
    let taken = write(&partial, body).await;
    let renamed = match taken {
        Ok(bytes) => tokio::fs::rename(&partial, path).await.map(|()| bytes).map_err(TakeError::Disk),
        Err(error) => Err(error),
    };
    if renamed.is_err() {
        // Best effort: what counts is the error that came first.
        let _ = tokio::fs::remove_file(&partial).await;
    }
    let bytes = renamed?;
    File::open(directory).await?.sync_all().await?;
    Ok(bytes)
}

async fn write(partial: &FilePath, body: Body) -> Result<u64, TakeError> {
    let mut file = BufWriter::with_capacity(256 << 10, File::create(partial).await?);
    let mut pieces = body.into_data_stream();
    let mut bytes = 0;
    loop {
        let piece = tokio::time::timeout(PIECE_WITHIN, pieces.next()).await;
        let piece = piece.map_err(|_| TakeError::Broken(format!("nothing came for {PIECE_WITHIN:?}")))?;
        let Some(piece) = piece else { break };
        let piece = piece.map_err(|error| TakeError::Broken(error.to_string()))?;
        bytes += piece.len() as u64;
        if bytes > HISTORY_BYTES_MAX {
            return Err(TakeError::TooLong);
        }
        file.write_all(&piece).await?;
    }
    file.flush().await?;
    file.get_ref().sync_all().await?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_run_id_leaves_the_directory() {
        let data = FilePath::new("/data");
        assert!(path(data, &RunId("kill-primary-01".into())).is_some());
        for bad in ["", "..", "a/b", "../x", "A", "a.b", &"x".repeat(101)] {
            assert_eq!(path(data, &RunId(bad.into())), None, "{bad:?}");
        }
    }
}
