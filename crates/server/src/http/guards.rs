//! Dry runs, the limits of the guards, and approvals.

use super::LIST_ROWS;
use super::body::Body;
use super::person::Person;
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
    Person(by): Person,
    Body(start): Body<StartAttack>,
) -> Result<Json<AttackPlan>, Failure> {
    let asked = Asked { overrides: start.overrides, seed: start.seed, ..Asked::by(&by) };
    Ok(Json(attacks::plan(&server, None, &start.cluster, &start.attack, &asked).await?))
}

/// `POST /runs/plan`.
pub(super) async fn plan_run(
    State(server): State<Arc<Server>>,
    Person(by): Person,
    Body(start): Body<StartRun>,
) -> Result<Json<RunPlan>, Failure> {
    let asked = Asked { overrides: start.overrides.clone(), ..Asked::by(&by) };
    Ok(Json(experiment::plan(&server, &start, &asked).await?))
}

/// `GET /guards`.
pub(super) async fn show(State(server): State<Arc<Server>>) -> Result<Json<GuardPolicy>, Failure> {
    Ok(Json(settings::policy(&server).await?))
}

/// `PUT /guards`.
pub(super) async fn set(
    State(server): State<Arc<Server>>,
    Person(by): Person,
    Body(limits): Body<GuardPolicy>,
) -> Result<Json<GuardPolicy>, Failure> {
    Ok(Json(settings::set(&server, limits, &by).await?))
}

/// `GET /guards/overrides`.
pub(super) async fn overrides(State(server): State<Arc<Server>>) -> Result<Json<Vec<Overridden>>, Failure> {
    Ok(Json(server.store.overrides(LIST_ROWS).await?))
}

/// `GET /approvals`.
pub(super) async fn approvals(State(server): State<Arc<Server>>) -> Result<Json<Vec<Approval>>, Failure> {
    Ok(Json(server.store.approvals(LIST_ROWS).await?))
}

/// `POST /approvals/{id}`.
pub(super) async fn approve(
    State(server): State<Arc<Server>>,
    Path(id): Path<String>,
    Person(by): Person,
) -> Result<Json<Approved>, Failure> {
    Ok(Json(approving::approve(server, &id, &by).await?))
}
