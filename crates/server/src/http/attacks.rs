//! Attacks by hand.

use super::body::Body;
use super::listing::{Listed, Listing};
use crate::access::{self, Acting};
use crate::attacks as attacking;
use crate::guards::approvals;
use crate::problem::Failure;
use crate::server::Server;
use axum::Json;
use axum::extract::{Path, State};
use firedrill_api::http::{Problem, StartAttack};
use firedrill_model::AttackId;
use firedrill_model::attack::AttackReport;
use firedrill_model::timeline::Scope;
use firedrill_store::AttackRecord;
use std::sync::Arc;

/// `GET /attacks`.
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    acting: Acting,
    listing: Listing,
) -> Result<Listed<AttackReport>, Failure> {
    let attacks = server.store.attacks(listing.page()).await?;
    let shown = |attack: AttackRecord| acting.sees(attack.cluster.as_ref()).then_some(attack.report);
    Ok(listing.answer(attacks, |attack| attack.report.id.to_string(), shown))
}

/// `POST /attacks`.
pub(super) async fn start(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Body(start): Body<StartAttack>,
) -> Result<Json<Vec<AttackReport>>, Failure> {
    admitted(&server, &acting, &start).await?;
    Ok(Json(approvals::start_attack(&server, start, &access::by()).await?))
}

/// Lets somebody start an attack, and tells that they do.
///
/// # Errors
/// They may not.
pub(crate) async fn admitted(server: &Server, acting: &Acting, start: &StartAttack) -> Result<(), Problem> {
    let StartAttack { cluster, attack, .. } = start;
    access::may_start_attack(server, acting, start).await?;
    let scope = Scope { cluster: Some(cluster.clone()), ..Scope::default() };
    access::tell(server, &format!("starts {} on cluster {cluster}", attack.fault), scope).await;
    Ok(())
}

/// `POST /attacks/{attack}/undo`.
pub(super) async fn undo(
    State(server): State<Arc<Server>>,
    Path(attack): Path<String>,
) -> Result<Json<AttackReport>, Failure> {
    Ok(Json(take_out(&server, &AttackId(attack)).await?))
}

/// Takes an attack out before its time, and tells who had it done.
///
/// # Errors
/// It is unknown, or its host could not do it or be reached.
pub(crate) async fn take_out(server: &Server, attack: &AttackId) -> Result<AttackReport, Problem> {
    let report = attacking::undo(server, attack).await?;
    let scope = Scope { host: Some(report.host.clone()), ..Scope::default() };
    access::tell(server, &format!("had {} on {} taken out", report.fault, report.host), scope).await;
    Ok(report)
}
