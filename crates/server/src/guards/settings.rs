//! The limits of the guards.

use crate::clock::now;
use crate::problem::{LIMITS, problem, store_failed};
use crate::server::Server;
use firedrill_api::http::Problem;
use firedrill_fault::kinds;
use firedrill_model::Severity;
use firedrill_model::guard::{Guard, GuardPolicy};
use firedrill_model::timeline::{EventKind, Scope};

/// The limits in force: those that were set, or those by default.
///
/// # Errors
/// The store cannot be read.
pub async fn policy(server: &Server) -> Result<GuardPolicy, Problem> {
    let set = server.store.guard_policy().await.map_err(|error| store_failed(&error))?;
    Ok(set.unwrap_or_default())
}

/// Sets the limits; they hold from the next attack on.
///
/// # Errors
/// They contradict themselves, or the store cannot be written.
pub async fn set(server: &Server, limits: GuardPolicy, by: &str) -> Result<GuardPolicy, Problem> {
    if let Some(contradiction) = limits.contradiction() {
        return Err(problem(LIMITS, format!("the limits are not taken: {contradiction}")));
    }
    if limits.off.contains(&Guard::HostOwner) {
        let text = "the limits are not taken: guard host-owner cannot be switched off, for the agents refuse by themselves; \
                    the hosts' owners allow more by `allow` of the agents' configuration";
        return Err(problem(LIMITS, text));
    }
    if let Some(unknown) = limits.approval_kinds.iter().find(|kind| kinds::find(kind).is_none()) {
        let text = format!(
            "the limits are not taken: approval_kinds: there is no kind of attack {unknown:?}; `firedrill attack kinds` lists them"
        );
        return Err(problem(LIMITS, text));
    }
    server.store.set_guard_policy(&limits, by, now()).await.map_err(|error| store_failed(&error))?;
    let off: Vec<&str> = limits.off.iter().copied().map(Guard::name).collect();
    let off = if off.is_empty() { "all on".to_owned() } else { format!("off: {}", off.join(", ")) };
    let text = format!("{by} set the limits of the guards ({off})");
    server.timeline.append(Severity::Warning, EventKind::Guard, text, Scope::default()).await;
    Ok(limits)
}
