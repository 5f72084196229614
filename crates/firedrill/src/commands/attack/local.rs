//! Attacks on this host without a server: held by this process, journalled, and taken out when it ends, however it does.

use super::print;
use crate::attack_options::StartAttack;
use crate::exit::{Outcome, TOOL_ERROR};
use crate::output;
use anyhow::Context as _;
use firedrill_engine::Admin;
use firedrill_fault::{Context, Faults, Undone, undo_everything};
use firedrill_host::process::{Spawn, Stream};
use firedrill_model::attack::{AttackReport, AttackState};
use firedrill_model::{AttackId, AttackSpec, NodeName};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How often is looked whether an attack has ended of which nothing more is told.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Puts the fault in place, says what was measured, and holds it until its time is over or a signal comes.
pub(crate) async fn start(start: StartAttack, json: bool) -> anyhow::Result<Outcome> {
    let journal = start.data.join("local").join(std::process::id().to_string());
    let mut context = context(&journal)?;
    context.expendable = start.expendable;
    let node = match &start.socket {
        Some(socket) => Some(aim(&mut context, socket).await?),
        None => None,
    };
    let (faults, mut reports) = Faults::open(&journal, context)
        .await
        .with_context(|| format!("attacks on this host need root and a journal under {}", start.data.display()))?;
    let id = AttackId(format!("local-{}", std::process::id()));
    let spec = AttackSpec { id, fault: start.fault, node, duration: start.duration, severs_server: false };
    // Listened for before anything is in place: from then on whoever ends this command wants it undone.
    let interrupted = interrupted()?;
    let report = faults.inject(spec).await;
    let outcome = print(std::slice::from_ref(&report), json)?;
    if matches!(report.state, AttackState::Active | AttackState::NoEffect) && !faults.active().is_empty() {
        let ended = tokio::select! {
            ended = until_over(&faults, &mut reports) => ended,
            () = interrupted => faults.undo_all("interrupted").await,
        };
        if ended.is_empty() {
            return Ok(outcome);
        }
        let ended = print(&ended, json)?;
        drop(faults);
        return Ok(if ended.0 == 0 { outcome } else { ended });
    }
    Ok(outcome)
}

/// Waits for the end of the attack. Of one that is over at once (a kill) nothing more is told: it just ends.
async fn until_over(faults: &Faults, reports: &mut mpsc::Receiver<AttackReport>) -> Vec<AttackReport> {
    let last = |report: &AttackReport| matches!(report.state, AttackState::Undone | AttackState::UndoFailed);
    loop {
        match timeout(LOOK_EVERY, reports.recv()).await {
            Ok(Some(report)) if last(&report) => return vec![report],
            Ok(Some(_)) => {}
            Ok(None) => return Vec::new(),
            // The last report is told before the attack ends.
            Err(_) if faults.active().is_empty() => {
                return std::iter::from_fn(|| reports.try_recv().ok()).filter(last).collect();
            }
            Err(_) => {}
        }
    }
}

fn interrupted() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn context(journal: &Path) -> anyhow::Result<Context> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut context = Context::new("localhost".parse()?);
    let journal = journal.to_owned();
    let worker = program.clone();
    context.worker = Some(Box::new(move || Spawn::new(&worker).arg("worker")));
    context.rescue = Some(Box::new(move || {
        let log = journal.join("rescue.log");
        Spawn::new(&program).args(["rescue", "--journal"]).arg(&journal).stderr(Stream::Append(log))
    }));
    Ok(context)
}

/// Makes a database server of this host the one that an attack is about, by the name of this host.
async fn aim(context: &mut Context, socket: &Path) -> anyhow::Result<NodeName> {
    let node: NodeName = context.host.as_str().parse()?;
    let server = Admin::at_socket(node.clone(), socket).await.with_context(|| {
        format!("no database server at {} lets root in as its administrator; see --socket", socket.display())
    })?;
    let process = server.process;
    let ours = node.clone();
    context.database = Box::new(move |asked| (*asked == ours).then_some(process));
    let ours = node.clone();
    context.admin = Box::new(move |asked| (*asked == ours && process.alive()).then(|| server.clone()));
    Ok(node)
}

/// The last resort: everything that any firedrill process has put in place, by the journals under a directory.
pub(crate) async fn undo_all(data: &Path, json: bool) -> anyhow::Result<Outcome> {
    let all: Vec<Undone> = undo_everything(data).await?;
    if json {
        let rows = all.iter().map(|one| {
            let (outcome, evidence) = match &one.outcome {
                Ok(evidence) => ("undone", evidence),
                Err(problem) => ("undo-failed", problem),
            };
            json!({ "journal": one.journal, "id": one.id, "state": outcome, "evidence": evidence })
        });
        output::json(&rows.collect::<Vec<_>>())?;
    } else if all.is_empty() {
        output::text(&format!("no attack is in any journal under {}", data.display()));
    } else {
        let rows = all.iter().map(|one| {
            let (state, evidence) = match &one.outcome {
                Ok(evidence) => ("undone", evidence.clone()),
                Err(problem) => ("UNDO FAILED", problem.clone()),
            };
            vec![one.id.to_string(), state.to_owned(), evidence, one.journal.display().to_string()]
        });
        output::table(&["ATTACK", "STATE", "SEEN", "JOURNAL"], rows.collect())?;
    }
    Ok(if all.iter().all(|one| one.outcome.is_ok()) { Outcome::done() } else { Outcome(TOOL_ERROR) })
}

/// Where journals are looked for.
pub(crate) fn data_dir(given: Option<PathBuf>) -> PathBuf {
    given.unwrap_or_else(|| PathBuf::from(crate::attack_options::DATA_DIR))
}
