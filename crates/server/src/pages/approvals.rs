//! What waits for a second person.

use super::{PAGE_ROWS, Part, frame, refused};
use crate::access::{self, Acting};
use crate::clock::now;
use crate::guards::{Asked, approvals as approving};
use crate::http::Routes;
use crate::problem::{Failure, not_found};
use crate::server::Server;
use crate::{attacks, experiment};
use axum::extract::{Path, Query, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use firedrill_api::guards::{Approval, Approved, Wish};
use firedrill_api::http::Problem;
use firedrill_console::Place;
use firedrill_console::approvals::{self, List, Request, Shown, Standing};
use firedrill_store::Page;
use std::sync::Arc;

pub(super) fn router() -> Routes {
    Routes::new().route("/approvals", get(list)).route("/approvals/{id}", get(show).post(approve))
}

/// `GET /approvals`.
async fn list(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Query(part): Query<Part>,
) -> Result<Html<String>, Failure> {
    let mut approvals = server.store.approvals(Page { limit: PAGE_ROWS, before: part.before.as_deref() }).await?;
    let is_full = approvals.len() == PAGE_ROWS as usize;
    let next = approvals.last().filter(|_| is_full).map(|approval| approval.id.clone());
    approvals.retain(|approval| acting.sees(approval.wish.cluster()));
    let mut overrides = server.store.overrides(PAGE_ROWS).await?;
    overrides.retain(|one| acting.sees(Some(&one.cluster)));
    let page = List { approvals, later: part.before.is_some(), next, overrides, now: now() };
    Ok(Html(approvals::list(&frame(&server, &acting, "Approvals", Place::Experiments), &page)))
}

/// `GET /approvals/{id}`.
async fn show(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(id): Path<String>,
) -> Result<Html<String>, Failure> {
    Ok(Html(page(&server, &acting, &id, None).await?))
}

/// `POST /approvals/{id}`.
async fn approve(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    match approving::approve(Arc::clone(&server), &id, &acting).await {
        Ok(Approved { run: Some(run), .. }) => Ok(Redirect::to(&format!("/runs/{run}")).into_response()),
        Ok(Approved { run: None, .. }) => Ok(Redirect::to("/attacks").into_response()),
        Err(problem) => Ok(refused(page(&server, &acting, &id, Some(problem)).await?)),
    }
}

async fn page(server: &Server, acting: &Acting, id: &str, problem: Option<Problem>) -> Result<String, Failure> {
    let found = server.store.approval(id).await?.filter(|approval| acting.sees(approval.wish.cluster()));
    let approval = found.ok_or_else(|| not_found("request for approval", id, "the page /approvals lists them"))?;
    let experiment = match &approval.wish {
        Wish::Run(start) => experiment::read(start).ok(),
        Wish::Attack(_) => None,
    };
    let standing = Standing::of(&approval, now());
    let shown = match standing {
        Standing::Waiting => shown(server, acting, &approval).await,
        Standing::Approved | Standing::Expired => Shown::Over,
    };
    let frame = frame(server, acting, "Request for approval", Place::Experiments);
    Ok(approvals::request(&frame, &Request { approval, experiment, shown, standing, problem }))
}

/// What would be begun now, for whoever could be the second person.
async fn shown(server: &Server, acting: &Acting, approval: &Approval) -> Shown {
    if access::may_approve(server, acting, &approval.wish).await.is_err() {
        return Shown::NotYours;
    }
    let by = Asked::by(&approval.by);
    let planned = match &approval.wish {
        Wish::Attack(start) => {
            let asked = Asked { overrides: start.overrides.clone(), seed: start.seed, ..by };
            let plan = attacks::plan(server, None, &start.cluster, &start.attack, &asked).await;
            plan.map(|plan| Shown::Attack(Box::new(plan)))
        }
        Wish::Run(start) => {
            let asked = Asked { overrides: start.overrides.clone(), ..by };
            experiment::plan(server, start, &asked).await.map(|plan| Shown::Run(Box::new(plan)))
        }
    };
    planned.unwrap_or_else(Shown::Unknown)
}
