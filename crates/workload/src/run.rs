//! The life of a workload process: start, load, final reads, end.

use crate::connection::{RETRY_MAX, connect_retrying};
use crate::error::WorkloadError;
use crate::load::{Load, validate};
use crate::output::Output;
use crate::recorder::Recorder;
use crate::{files, finals, reader, writer};
use firedrill_ledger::history::Header;
use firedrill_model::workload::{WorkloadSpec, WorkloadState};
use firedrill_model::{Span, Timestamp};
use mysql_async::prelude::Queryable;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The table must be made within this time: a promotion may be under way, a wrong password does not mend.
const START_WITHIN: Duration = Duration::from_secs(30);

/// How often samples and the history go to the disk.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);

/// How often the stop file is looked for.
const STOP_EVERY: Duration = Duration::from_millis(50);

/// Runs a load until the stop file appears in `dir`, then reads every node and completes the history.
///
/// `dir` holds `history.fdh`, `samples.ndjson` and `state.json` (see [`crate::Handle`]); what is there of an earlier
/// workload is replaced. One thread is enough (`tokio`'s current-thread runtime). On SIGTERM it ends at once.
///
/// # Errors
/// Anything that keeps the history from becoming whole; said in `state.json` too.
pub async fn run(spec: WorkloadSpec, dir: &Path) -> Result<(), WorkloadError> {
    let terminate = CancellationToken::new();
    let mut signals = signal(SignalKind::terminate()).map_err(WorkloadError::Signal)?;
    let terminated = terminate.clone();
    let listening = tokio::spawn(async move {
        signals.recv().await;
        terminated.cancel();
    });
    let ended = run_until(spec, dir, terminate).await;
    listening.abort();
    ended
}

/// As [`run`], told to end at once by `terminate` instead of a signal. The history is cut short then.
///
/// # Errors
/// As [`run`].
pub async fn run_until(spec: WorkloadSpec, dir: &Path, terminate: CancellationToken) -> Result<(), WorkloadError> {
    let ended = carry_out(spec, dir, &terminate).await;
    let state = match &ended {
        Ok(operations) => {
            let history = dir.join(files::HISTORY).display().to_string();
            WorkloadState::Finished { history, operations: *operations }
        }
        Err(problem) => WorkloadState::Failed { message: problem.to_string() },
    };
    set_state(dir, &state)?;
    ended.map(|_| ())
}

fn set_state(dir: &Path, state: &WorkloadState) -> Result<(), WorkloadError> {
    files::write_state(dir, state).map_err(|source| WorkloadError::File { path: dir.join(files::STATE), source })
}

/// Everything but the last state; answers the number of operations.
async fn carry_out(spec: WorkloadSpec, dir: &Path, terminate: &CancellationToken) -> Result<u64, WorkloadError> {
    validate(&spec)?;
    // The monotonic and the wall clock are read together once; from here on only the monotonic one counts.
    let (origin, now) = (Instant::now(), SystemTime::now());
    let header = header(&spec, wall(now));
    let mut output = Output::create(dir)?;
    let recorder = Recorder::new(&header, origin);
    let load = Load::new(spec, recorder, CancellationToken::new(), Duration::ZERO);
    let load = tokio::select! {
        started = start(load) => started?,
        () = terminate.cancelled() => return Err(WorkloadError::Terminated),
    };
    set_state(dir, &WorkloadState::Started)?;
    tracing::info!(run = %load.spec.run, gateway = %load.spec.gateway, "load begins");

    let mut clients = spawn(&load);
    let loaded = offer(&load, dir, &mut output, terminate).await;
    load.stop.cancel();
    load.recorder.load_ended();
    loaded?;
    set_state(dir, &WorkloadState::FinalReads)?;
    let rest = async {
        while clients.join_next().await.is_some() {}
        // The last sample is the load's; the final reads have none.
        output.append(&load.recorder).await?;
        finals::read_all(&load).await;
        Ok(())
    };
    tokio::select! {
        read = rest => read?,
        () = terminate.cancelled() => return Err(WorkloadError::Terminated),
    }
    let (last, operations) = load.recorder.finish(&header);
    output.finish(last).await?;
    tracing::info!(run = %load.spec.run, operations, "history complete");
    Ok(operations)
}

fn wall(now: SystemTime) -> Timestamp {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

fn header(spec: &WorkloadSpec, origin: Timestamp) -> Header {
    let load = &spec.load;
    let spacing = Duration::from_secs(1) / load.writes_per_second.max(1);
    // While nothing answers every writer tries to connect, out of step with the others.
    let reconnect = RETRY_MAX / load.writers.max(1);
    Header {
        run: spec.run.clone(),
        origin,
        nodes: spec.nodes.iter().map(|(name, _)| name.clone()).collect(),
        write_resolution: Span(spacing.max(reconnect)),
        read_resolution: Span(reader::gateway_spacing(load.readers, load.reads_per_second, spec.nodes.len())),
        timeout: load.timeout,
    }
}

/// Makes the table and asks the nodes who they are.
async fn start(mut load: Load) -> Result<Arc<Load>, WorkloadError> {
    let by = tokio::time::Instant::now() + START_WITHIN;
    let statement = format!(
        "CREATE TABLE IF NOT EXISTS {} (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, \
         writer INT UNSIGNED NOT NULL, sequence INT UNSIGNED NOT NULL, payload MEDIUMBLOB NOT NULL, \
         KEY token (writer, sequence)) ENGINE=InnoDB",
        load.table
    );
    loop {
        let made = async {
            let mut conn = connect_retrying(&load.gateway, by).await?;
            conn.query_drop(&statement).await.map_err(|error| error.to_string())
        };
        let problem = match tokio::time::timeout_at(by, made).await {
            Ok(Ok(())) => break,
            Ok(Err(problem)) => problem,
            Err(_) => "no answer in time".to_owned(),
        };
        if tokio::time::Instant::now() + RETRY_MAX >= by {
            return Err(WorkloadError::Start { gateway: load.spec.gateway, problem });
        }
        tokio::time::sleep(RETRY_MAX).await;
    }
    load.began = load.recorder.elapsed();
    let mut load = Arc::new(load);
    finals::note_known(&load).await;
    // Nobody else holds the load yet, so its beginning can still be set.
    if let Some(own) = Arc::get_mut(&mut load) {
        own.began = own.recorder.elapsed();
    }
    Ok(load)
}

fn spawn(load: &Arc<Load>) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for index in 0..load.spec.load.writers {
        clients.spawn(writer::write(Arc::clone(load), index));
    }
    for reader in reader::readers(load) {
        clients.spawn(reader::read(Arc::clone(load), reader));
    }
    clients
}

/// Keeps files and samples up to date until the stop file is there.
async fn offer(
    load: &Arc<Load>,
    dir: &Path,
    output: &mut Output,
    terminate: &CancellationToken,
) -> Result<(), WorkloadError> {
    let mut sample = tokio::time::interval(SAMPLE_EVERY);
    let mut look = tokio::time::interval(STOP_EVERY);
    sample.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let stop = dir.join(files::STOP);
    sample.tick().await;
    loop {
        tokio::select! {
            _ = sample.tick() => output.append(&load.recorder).await?,
            _ = look.tick() => {
                if stop.exists() {
                    return output.append(&load.recorder).await;
                }
            }
            () = terminate.cancelled() => {
                output.append(&load.recorder).await?;
                output.settle().await?;
                return Err(WorkloadError::Terminated);
            }
        }
    }
}
