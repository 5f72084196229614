//! Dry runs, the limits of the guards, and approvals.

use super::body::Body;
use super::listing::{Listed, Listing};
use crate::access::{self, Acting};
use crate::guards::{Asked, approvals as approving, settings};
use crate::problem::Failure;
use crate::server::Server;
use crate::{attacks, experiment};
use axum::Json;
use axum::extract::{Path, State};
use firedrill_api::guards::{Approval, Approved, AttackPlan, Overridden, RunPlan};
use firedrill_api::http::{StartAttack, StartRun};
use firedrill_model::guard::GuardPolicy;
use std::sync::Arc;

/// `POST /attacks/plan`.
pub(super) async fn plan_attack(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Body(start): Body<StartAttack>,
) -> Result<Json<AttackPlan>, Failure> {
    access::may_start_attack(&server, &acting, &start).await?;
    let asked = Asked { overrides: start.overrides, seed: start.seed, ..Asked::by(&access::by()) };
    Ok(Json(attacks::plan(&server, None, &start.cluster, &start.attack, &asked).await?))
}

/// `POST /runs/plan`.
pub(super) async fn plan_run(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Body(start): Body<StartRun>,
) -> Result<Json<RunPlan>, Failure> {
    access::may_start_run(&server, &acting, &start).await?;
    let asked = Asked { overrides: start.overrides.clone(), ..Asked::by(&access::by()) };
    Ok(Json(experiment::plan(&server, &start, &asked).await?))
}

/// `GET /guards`.
pub(super) async fn show(State(server): State<Arc<Server>>) -> Result<Json<GuardPolicy>, Failure> {
    Ok(Json(settings::policy(&server).await?))
}

/// `PUT /guards`.
pub(super) async fn set(
    State(server): State<Arc<Server>>,
    Body(limits): Body<GuardPolicy>,
) -> Result<Json<GuardPolicy>, Failure> {
    Ok(Json(settings::set(&server, limits, &access::by()).await?))
}

/// `GET /guards/overrides`.
pub(super) async fn overrides(
    State(server): State<Arc<Server>>,
    acting: Acting,
    listing: Listing,
) -> Result<Listed<Overridden>, Failure> {
    let overrides = server.store.overrides(listing.page()).await?;
    let shown = |one: Overridden| acting.sees(Some(&one.cluster)).then_some(one);
    Ok(listing.answer(overrides, |one| one.id.clone(), shown))
}

/// `GET /approvals`.
pub(super) async fn approvals(
    State(server): State<Arc<Server>>,
    acting: Acting,
    listing: Listing,
) -> Result<Listed<Approval>, Failure> {
    let approvals = server.store.approvals(listing.page()).await?;
    let shown = |approval: Approval| acting.sees(approval.wish.cluster()).then_some(approval);
    Ok(listing.answer(approvals, |approval| approval.id.clone(), shown))
}

/// `POST /approvals/{id}`.
pub(super) async fn approve(
    State(server): State<Arc<Server>>,
    Path(id): Path<String>,
    acting: Acting,
) -> Result<Json<Approved>, Failure> {
    Ok(Json(approving::approve(server, &id, &acting).await?))
}
