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
use firedrill_api::http::StartAttack;
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
    let StartAttack { cluster, attack, .. } = &start;
    access::may_start_attack(&server, &acting, &start).await?;
    let scope = Scope { cluster: Some(cluster.clone()), ..Scope::default() };
    access::tell(&server, &format!("starts {} on cluster {cluster}", attack.fault), scope).await;
    Ok(Json(approvals::start_attack(&server, start, &access::by()).await?))
}

/// `POST /attacks/{attack}/undo`.
pub(super) async fn undo(
    State(server): State<Arc<Server>>,
    Path(attack): Path<String>,
) -> Result<Json<AttackReport>, Failure> {
    let report = attacking::undo(&server, &AttackId(attack)).await?;
    let scope = Scope { host: Some(report.host.clone()), ..Scope::default() };
    access::tell(&server, &format!("had {} on {} taken out", report.fault, report.host), scope).await;
    Ok(Json(report))
}
