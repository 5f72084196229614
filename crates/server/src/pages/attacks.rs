//! Attacks by hand, and the list of attacks.

use super::experiments::{chosen, overrides};
use super::{PAGE_ROWS, Part, clusters, frame, refused};
use crate::access::{self, Acting};
use crate::clock::now;
use crate::guards::approvals::{self, Begun};
use crate::guards::{self, Asked};
use crate::http::{self, Routes};
use crate::problem::{Failure, MALFORMED, not_found, problem};
use crate::server::Server;
use axum::extract::{Form, Path, Query, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use firedrill_api::guards::AttackPlan;
use firedrill_api::http::{Problem, StartAttack};
use firedrill_console::attacks::{self, Attack, Kind, Kinds, List, Listed, Parameter};
use firedrill_console::{Place, Typed};
use firedrill_fault::{Input, kinds};
use firedrill_model::attack::Fault;
use firedrill_model::experiment::AttackStep;
use firedrill_model::{AttackId, ClusterName, Selector, Span};
use firedrill_store::{AttackRecord, Page};
use serde::Deserialize;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

/// As on the command line.
pub(super) const DURATION: Span = Span::secs(30);

pub(super) fn router() -> Routes {
    Routes::new()
        .route("/experiments/attack", get(choose))
        .route("/experiments/attack/{kind}", get(show).post(begin))
        .route("/attacks", get(list))
        .route("/attacks/{attack}/undo", post(undo))
}

/// A kind as people see it.
pub(super) fn described(kind: &kinds::Kind) -> Kind {
    let mut parameters: Vec<Parameter> = kind.shape.parameters().into_iter().map(parameter).collect();
    parameters.sort_by_key(|parameter| !parameter.required);
    let family: firedrill_model::access::AttackFamily = kind.family.into();
    Kind {
        name: kind.name.to_owned(),
        summary: kind.summary.to_owned(),
        documentation: kind.shape.documentation(),
        family: family.to_string(),
        of_nodes: kind.scope == kinds::Scope::Node,
        instant: kind.instant,
        destroys: kind.destroys(),
        needs: kind.needs.iter().map(ToString::to_string).collect(),
        parameters,
    }
}

fn parameter(parameter: firedrill_fault::Parameter) -> Parameter {
    let firedrill_fault::Parameter { name, form, input, choices, required, default, documentation } = parameter;
    let form = match input {
        Input::List(_) | Input::Peers => format!("{form}; joined by commas, `[]` for none"),
        Input::Object => format!("{form}: NAME=VALUE, joined by commas"),
        Input::Text | Input::Number | Input::Flag => form,
    };
    Parameter { name, form, about: documentation, required, default, choices }
}

#[derive(Debug, Deserialize)]
struct On {
    #[serde(default)]
    cluster: String,
}

/// `GET /experiments/attack`.
async fn choose(State(server): State<Arc<Server>>, acting: Acting, Query(on): Query<On>) -> Html<String> {
    let cluster = chosen(&clusters(&server, &acting), &on.cluster);
    let page = Kinds { kinds: kinds::KINDS.iter().map(|kind| described(kind)).collect(), cluster };
    Html(attacks::kinds(&frame(&server, &acting, "An attack by hand", Place::Experiments), &page))
}

fn known(name: &str) -> Result<&'static kinds::Kind, Failure> {
    let none = || not_found("kind of attack", format!("{name:?}"), "the page /experiments/attack names all of them");
    kinds::find(name).ok_or_else(|| Failure(none()))
}

/// `GET /experiments/attack/{kind}`; with `show=true` also what it would do.
async fn show(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(kind): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Html<String>, Failure> {
    let page = gather(&server, &acting, known(&kind)?, Typed::of(pairs), None).await;
    Ok(Html(render(&server, &acting, &page)))
}

/// `POST /experiments/attack/{kind}`.
async fn begin(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(kind): Path<String>,
    Form(pairs): Form<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    let (kind, typed) = (known(&kind)?, Typed::of(pairs));
    match start_it(&server, &acting, kind, &typed).await {
        Ok(address) => Ok(Redirect::to(&address).into_response()),
        Err(problem) => {
            let page = gather(&server, &acting, kind, typed, Some(problem)).await;
            Ok(refused(render(&server, &acting, &page)))
        }
    }
}

async fn start_it(server: &Server, acting: &Acting, kind: &kinds::Kind, typed: &Typed) -> Result<String, Problem> {
    let cluster = chosen(&clusters(server, acting), typed.get("cluster"));
    let cluster = cluster.ok_or_else(|| problem(MALFORMED, "choose a cluster first"))?;
    let start = wish(kind, cluster, typed, true)?;
    http::attack_admitted(server, acting, &start).await?;
    Ok(match approvals::wish_attack(server, start, &access::by()).await? {
        Begun::Now(_) => "/attacks".to_owned(),
        Begun::Waits { id, .. } => format!("/approvals/{id}"),
    })
}

/// What was typed, as an attack. Guards are passed over only when a reason is given, or when it is `in_earnest`: then
/// that there is none is refused.
fn wish(kind: &kinds::Kind, cluster: ClusterName, typed: &Typed, in_earnest: bool) -> Result<StartAttack, Problem> {
    let target = typed.text("target").ok_or_else(|| problem(MALFORMED, "say which hosts, such as role=primary"))?;
    let duration = typed.text("duration").map(|text| read::<Span>("the duration", text)).transpose()?;
    let attack = AttackStep {
        name: None,
        target: read::<Selector>("targets", target)?,
        duration: duration.unwrap_or(DURATION),
        fault: fault(kind, typed.values.iter().map(|(name, text)| (name.as_str(), text.as_str())))?,
    };
    let seed = typed.text("seed").map(|text| read::<u32>("the seed", text)).transpose()?;
    let passes = in_earnest || typed.text("reason").is_some();
    let overrides = if passes { overrides(typed)? } else { Vec::new() };
    Ok(StartAttack { cluster, attack, seed, overrides })
}

/// A fault of texts, checked as that of a file is.
pub(super) fn fault<'a>(kind: &kinds::Kind, given: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Fault, Problem> {
    let parameters = kind.shape.parameters();
    let mut fault = Fault::new(kind.name);
    for (name, text) in given {
        let value = match parameters.iter().find(|parameter| parameter.name == name) {
            Some(parameter) => parameter.read(text).map_err(|wrong| problem(MALFORMED, format!("{name}: {wrong}")))?,
            // The check says which ones there are.
            None => text.into(),
        };
        fault = fault.with(name, value);
    }
    firedrill_fault::check(&fault).map_err(|wrong| problem(MALFORMED, wrong.to_string()))?;
    Ok(fault)
}

pub(super) fn read<T: FromStr<Err: Display>>(what: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|wrong: T::Err| problem(MALFORMED, format!("{what}: {text:?}: {wrong}")))
}

/// What the page shows; `refused`: the answer to the button.
async fn gather(
    server: &Server,
    acting: &Acting,
    kind: &kinds::Kind,
    typed: Typed,
    refused: Option<Problem>,
) -> Attack {
    let clusters = clusters(server, acting);
    let cluster = chosen(&clusters, typed.get("cluster"));
    let asked = typed.is("show") || refused.is_some();
    let (plan, problem) = match (&cluster, asked) {
        (Some(cluster), true) => match plan(server, acting, kind, cluster, &typed).await {
            Ok(plan) => (Some(plan), None),
            Err(problem) => (None, Some(problem)),
        },
        (None, true) => (None, Some(problem(MALFORMED, "choose a cluster first"))),
        (_, false) => (None, None),
    };
    let tried = refused.is_some();
    let kind = described(kind);
    Attack { kind, clusters, cluster, typed, plan, problem: refused.or(problem), tried }
}

async fn plan(
    server: &Server,
    acting: &Acting,
    kind: &kinds::Kind,
    cluster: &ClusterName,
    typed: &Typed,
) -> Result<AttackPlan, Problem> {
    let start = wish(kind, cluster.clone(), typed, false)?;
    access::may_start_attack(server, acting, &start).await?;
    let asked = Asked { overrides: start.overrides, seed: start.seed, ..Asked::by(&access::by()) };
    crate::attacks::plan(server, None, cluster, &start.attack, &asked).await
}

fn render(server: &Server, acting: &Acting, page: &Attack) -> String {
    let title = format!("Attack: {}", page.kind.name);
    attacks::form(&frame(server, acting, &title, Place::Experiments), page)
}

/// `GET /attacks`.
async fn list(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Query(part): Query<Part>,
) -> Result<Html<String>, Failure> {
    Ok(Html(listed(&server, &acting, part, None).await?))
}

/// `POST /attacks/{attack}/undo`.
async fn undo(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(attack): Path<String>,
) -> Result<Response, Failure> {
    match http::take_out(&server, &AttackId(attack)).await {
        Ok(_) => Ok(Redirect::to("/attacks").into_response()),
        Err(problem) => Ok(refused(listed(&server, &acting, Part::default(), Some(problem)).await?)),
    }
}

async fn listed(server: &Server, acting: &Acting, part: Part, problem: Option<Problem>) -> Result<String, Failure> {
    let now = now();
    let shown = |record: AttackRecord| {
        let in_place = !record.ended() && guards::stays(&record, now);
        let AttackRecord { report, cluster, run, until } = record;
        acting.sees(cluster.as_ref()).then_some(Listed { report, cluster, run, until, in_place })
    };
    let in_place = server.store.open_attacks().await?.into_iter().filter_map(shown).filter(|one| one.in_place);
    let in_place = in_place.take(PAGE_ROWS as usize).collect();
    let records = server.store.attacks(Page { limit: PAGE_ROWS, before: part.before.as_deref() }).await?;
    let is_full = records.len() == PAGE_ROWS as usize;
    let next = records.last().filter(|_| is_full).map(|record| record.report.id.to_string());
    let newest = records.into_iter().filter_map(shown).collect();
    let page = List { in_place, newest, later: part.before.is_some(), next, problem };
    Ok(attacks::list(&frame(server, acting, "Attacks", Place::Experiments), &page))
}
