//! Asks the guards before anything is broken, and keeps what was passed over.
//!
//! **What it never does**: decide. [`firedrill_model::guard::ask`] does, from facts that are gathered here.
//!
//! **Where to begin**: [`admit`].

pub mod approvals;
mod facts;
pub mod settings;

pub(crate) use facts::{facts, operations, stays};

use crate::clock::now;
use crate::problem::{APPROVAL, GUARD, OVERRIDE, problem, refusal, store_failed};
use crate::server::Server;
use firedrill_api::guards::Overridden;
use firedrill_api::http::Problem;
use firedrill_fault::kinds;
use firedrill_model::guard::{Answer, Authority, Guard, Override, Refusal, Request, RunStanding, answers};
use firedrill_model::message::Topic;
use firedrill_model::timeline::{EventKind, Scope};
use firedrill_model::{ClusterName, HostName, Severity, Span};
use std::collections::BTreeSet;

/// Longest reason that is kept: it is shown on one line of the timeline.
const REASON_CHARS_MAX: usize = 500;

/// On whose behalf something is started, and what was said about guards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Who asks.
    pub by: String,
    /// The second person who has approved it.
    pub approved_by: Option<String>,
    /// Guards that are passed over.
    pub overrides: Vec<Override>,
    /// The random number of the choice of hosts; `None`: a new one is drawn.
    pub seed: Option<u32>,
}

impl Asked {
    /// By that person, with all guards asked.
    #[must_use]
    pub fn by(person: &str) -> Self {
        Self { by: person.to_owned(), ..Self::default() }
    }
}

/// What guards are asked about.
pub(crate) struct Wanted<'a> {
    pub(crate) cluster: &'a ClusterName,
    /// The attack's name, or its kind.
    pub(crate) label: &'a str,
    pub(crate) kind: &'a str,
    /// How long it is meant to last.
    pub(crate) duration: Span,
    pub(crate) hosts: BTreeSet<HostName>,
    pub(crate) run: Option<RunStanding>,
    pub(crate) asked: &'a Asked,
}

/// What each guard says, with overrides in place.
///
/// # Errors
/// The store cannot be read, or an override is not possible.
pub(crate) async fn judge(server: &Server, wanted: &Wanted<'_>) -> Result<Vec<Answer>, Problem> {
    let asked = wanted.asked;
    check_overrides(&asked.by, &asked.overrides)?;
    let kind = kinds::find(wanted.kind);
    let request = Request {
        by: asked.by.clone(),
        approved_by: asked.approved_by.clone(),
        run: wanted.run.clone(),
        kind: wanted.kind.to_owned(),
        family: kind.map(|kind| kind.family.into()),
        lasts: kind.is_none_or(|kind| !kind.instant).then_some(wanted.duration),
        hosts: wanted.hosts.clone(),
    };
    let said = answers(&facts(server, wanted.cluster).await?, &request, &settings::policy(server).await?);
    let reason = |guard| asked.overrides.iter().find(|one| one.guard == guard).map(|one| one.reason.clone());
    let overridden = |answer: Answer| {
        let overridden = answer.refusal.as_ref().and_then(|refusal| reason(refusal.guard));
        Answer { overridden, ..answer }
    };
    Ok(said.into_iter().map(overridden).collect())
}

/// Lets an attack through, or says which guards refuse. What is passed over is kept and told before it returns.
///
/// # Errors
/// A guard refuses; the store cannot be used; an override is not possible.
pub(crate) async fn admit(server: &Server, wanted: &Wanted<'_>) -> Result<(), Problem> {
    let answers = judge(server, wanted).await?;
    refuse(wanted.cluster, wanted.label, &answers)?;
    for answer in answers {
        if let (Some(refusal), Some(reason)) = (answer.refusal, answer.overridden) {
            keep_override(server, wanted, refusal, reason).await?;
        }
    }
    Ok(())
}

/// The refusals that stand, as one problem.
///
/// # Errors
/// [`APPROVAL`] when nothing but a second person is missing, otherwise [`GUARD`].
pub(crate) fn refuse(cluster: &ClusterName, label: &str, answers: &[Answer]) -> Result<(), Problem> {
    let standing = answers.iter().filter(|answer| answer.stands()).filter_map(|answer| answer.refusal.as_ref());
    let standing: Vec<&Refusal> = standing.collect();
    if standing.is_empty() {
        return Ok(());
    }
    let said: Vec<String> = standing.iter().map(ToString::to_string).collect();
    let only_approval = standing.iter().all(|refusal| refusal.guard == Guard::Approval);
    let code = if only_approval { APPROVAL } else { GUARD };
    Err(refusal(
        code,
        format!("attack {label} on cluster {cluster} is refused; nothing was begun\n{}", said.join("\n")),
    ))
}

/// Whether overrides are possible at all; that the person has the right to them was asked at the door.
fn check_overrides(person: &str, overrides: &[Override]) -> Result<(), Problem> {
    for Override { guard, reason } in overrides {
        if guard.authority() == Authority::HostOwner {
            let text = format!(
                "guard {guard} cannot be overridden: the agent refuses it itself; the host's owner allows it by `allow` of the \
                 agent's configuration"
            );
            return Err(problem(OVERRIDE, text));
        }
        if guard.authority() == Authority::SecondPerson {
            let text = format!(
                "guard {guard} cannot be overridden by {person} alone; start without the override and let a second \
                 person approve with `firedrill attack approve ID`"
            );
            return Err(problem(OVERRIDE, text));
        }
        if reason.trim().is_empty() || reason.chars().count() > REASON_CHARS_MAX {
            let text =
                format!("overriding guard {guard} needs a reason of 1 to {REASON_CHARS_MAX} characters, for the log");
            return Err(problem(OVERRIDE, text));
        }
    }
    Ok(())
}

async fn keep_override(server: &Server, wanted: &Wanted<'_>, refusal: Refusal, reason: String) -> Result<(), Problem> {
    let run = wanted.run.as_ref().map(|run| run.run.clone());
    let by = &wanted.asked.by;
    let text =
        format!("{by} overrides guard {} for attack {}: {reason}; it had said: {refusal}", refusal.guard, wanted.label);
    let (cluster, about) = (Some(wanted.cluster.clone()), Some(Topic::Overridden));
    let scope = Scope { cluster, run: run.clone(), about, ..Scope::default() };
    let overridden = Overridden {
        id: uuid::Uuid::now_v7().to_string(),
        at: now(),
        cluster: wanted.cluster.clone(),
        by: by.clone(),
        reason,
        attack: wanted.label.to_owned(),
        run,
        refusal,
    };
    // What cannot be recorded is not passed over.
    server.store.add_override(&overridden).await.map_err(|error| store_failed(&error))?;
    server.timeline.append(Severity::Warning, EventKind::Guard, text, scope).await;
    Ok(())
}
