//! What can be started, and the page before a start.

use super::{clusters, frame, refused};
use crate::access::{self, Acting};
use crate::experiment;
use crate::guards::approvals::{self, Begun};
use crate::guards::{self, Asked};
use crate::http::Routes;
use crate::problem::{Failure, MALFORMED, not_found, problem};
use crate::server::Server;
use crate::templates;
use axum::extract::{Form, Path, Query, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use firedrill_api::experiment_file;
use firedrill_api::guards::ApprovalState;
use firedrill_api::http::{Problem, StartRun, TemplateEntry};
use firedrill_console::experiments::{self, Entry, Experiments, Shelf};
use firedrill_console::start::{self, Foreseen, Start};
use firedrill_console::{Place, Typed};
use firedrill_model::ClusterName;
use firedrill_model::experiment::Experiment;
use firedrill_model::guard::{Guard, Override};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Requests that are looked through for those that wait: each waits for a day at most.
const WAITING_ROWS: u32 = 200;

pub(super) fn router() -> Routes {
    Routes::new().route("/experiments", get(list)).route("/experiments/start/{name}", get(show).post(begin))
}

/// `GET /experiments`.
async fn list(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Query(query): Query<experiments::Query>,
) -> Result<Html<String>, Failure> {
    let clusters = clusters(&server, &acting);
    let cluster = chosen(&clusters, &query.cluster);
    let passed = match &cluster {
        Some(cluster) => server.store.passed_rungs(cluster).await?.into_iter().map(|(rung, _)| rung).collect(),
        None => BTreeSet::new(),
    };
    let now = crate::clock::now();
    let open = server.store.open_attacks().await?;
    let in_place = open.iter().filter(|one| guards::stays(one, now) && acting.sees(one.cluster.as_ref())).count();
    let requests = server.store.approvals(WAITING_ROWS).await?;
    let waits = |one: &&firedrill_api::guards::Approval| {
        one.state == ApprovalState::Waiting && now < one.expires && acting.sees(one.wish.cluster())
    };
    let page = Experiments {
        entries: entries(&server).await?,
        cluster,
        passed,
        clusters: clusters.len(),
        in_place,
        waiting: requests.iter().filter(waits).count(),
        query,
    };
    let frame = frame(&server, &acting, "Experiments", Place::Experiments);
    Ok(Html(experiments::page(&frame, &page)))
}

async fn entries(server: &Server) -> Result<Vec<Entry>, Problem> {
    let of_library = experiment::library().into_iter().map(|entry| {
        let read = experiment_file::read(&entry.yaml, &BTreeMap::new(), firedrill_fault::check);
        Entry {
            shelf: if entry.rung.is_some() { Shelf::Ladder } else { Shelf::Beside },
            shows: read.map(|experiment| experiment.hypothesis).unwrap_or_default(),
            name: entry.name,
            title: entry.title,
            rung: entry.rung,
        }
    });
    let of_template = |TemplateEntry { shipped, template }: TemplateEntry| Entry {
        shelf: if shipped { Shelf::Outages } else { Shelf::Own },
        name: template.name,
        title: template.title,
        shows: template.about,
        rung: None,
    };
    Ok(of_library.chain(templates::list(server).await?.into_iter().map(of_template)).collect())
}

/// The cluster that was asked for, or the only one.
pub(super) fn chosen(clusters: &[ClusterName], asked: &str) -> Option<ClusterName> {
    match clusters {
        [only] if asked.is_empty() => Some(only.clone()),
        _ => clusters.iter().find(|cluster| cluster.as_str() == asked).cloned(),
    }
}

/// The guards that somebody wants to pass over, with their reason.
pub(super) fn overrides(typed: &Typed) -> Result<Vec<Override>, Problem> {
    let read = |name: &String| {
        let guard: Guard = name.parse().map_err(|wrong: String| problem(MALFORMED, wrong))?;
        Ok(Override { guard, reason: typed.get("reason").trim().to_owned() })
    };
    typed.overrides.iter().map(read).collect()
}

/// `GET /experiments/start/{name}`.
async fn show(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(name): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Html<String>, Failure> {
    let page = gather(&server, &acting, name, Typed::of(pairs), None).await?;
    Ok(Html(render(&server, &acting, &page)))
}

/// `POST /experiments/start/{name}`.
async fn begin(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(name): Path<String>,
    Form(pairs): Form<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    let typed = Typed::of(pairs);
    let tried = match made(&server, &name, &typed).await {
        Ok(yaml) => start_it(&server, &acting, yaml, &typed).await,
        Err(problem) => Err(problem),
    };
    match tried {
        Ok(address) => Ok(Redirect::to(&address).into_response()),
        Err(problem) => {
            let page = gather(&server, &acting, name, typed, Some(problem)).await?;
            Ok(refused(render(&server, &acting, &page)))
        }
    }
}

/// Starts a run of that text with what was typed beside it; gives the address of what came of it.
pub(super) async fn start_it(
    server: &Arc<Server>,
    acting: &Acting,
    yaml: String,
    typed: &Typed,
) -> Result<String, Problem> {
    let start = wish(yaml, typed)?;
    access::may_start_run(server, acting, &start).await?;
    Ok(match approvals::wish_run(Arc::clone(server), start, &access::by()).await? {
        Begun::Now(started) => format!("/runs/{}", started.run),
        Begun::Waits { id, .. } => format!("/approvals/{id}"),
    })
}

fn wish(yaml: String, typed: &Typed) -> Result<StartRun, Problem> {
    let cluster = typed.text("cluster").map(str::parse).transpose();
    let cluster = cluster.map_err(|wrong| problem(MALFORMED, format!("that is no cluster: {wrong}")))?;
    Ok(StartRun { yaml, cluster, force: typed.is("force"), login: None, overrides: overrides(typed)? })
}

/// The template of that name, when one is meant. Whoever does not say so means the library first.
async fn template(server: &Server, name: &str, typed: &Typed) -> Result<Option<TemplateEntry>, Problem> {
    let in_library = experiment::library().iter().any(|entry| entry.name == name);
    if typed.get("from") != "template" && in_library {
        return Ok(None);
    }
    let known = templates::list(server).await?.into_iter().find(|entry| entry.template.name == name);
    let none =
        || not_found("experiment or template", format!("{name:?}"), "the page /experiments names those that there are");
    known.map(Some).ok_or_else(none)
}

/// The text of what a name stands for, with the values of its parameters filled in.
async fn made(server: &Server, name: &str, typed: &Typed) -> Result<String, Problem> {
    if template(server, name, typed).await?.is_some() {
        return templates::filled(server, name, &typed.values).await;
    }
    let entry = experiment::library().into_iter().find(|entry| entry.name == name);
    let none = || not_found("experiment", format!("{name:?}"), "the page /experiments names those that there are");
    entry.map(|entry| entry.yaml).ok_or_else(none)
}

/// What the page shows; `refused`: the answer to the button.
async fn gather(
    server: &Server,
    acting: &Acting,
    name: String,
    typed: Typed,
    refused: Option<Problem>,
) -> Result<Start, Failure> {
    let template = template(server, &name, &typed).await?;
    let clusters = clusters(server, acting);
    let cluster = chosen(&clusters, typed.get("cluster"));
    let (foreseen, problem) = match made(server, &name, &typed).await {
        Ok(yaml) => foresee(server, acting, yaml, cluster.as_ref(), &typed).await,
        Err(problem) => (None, Some(problem)),
    };
    let tried = refused.is_some();
    Ok(Start { name, template, clusters, cluster, typed, foreseen, problem: refused.or(problem), tried })
}

/// What a run of that text would be on that cluster, and why it cannot be said when it cannot.
pub(super) async fn foresee(
    server: &Server,
    acting: &Acting,
    yaml: String,
    cluster: Option<&ClusterName>,
    typed: &Typed,
) -> (Option<Foreseen>, Option<Problem>) {
    let start = StartRun { yaml, cluster: cluster.cloned(), force: typed.is("force"), ..StartRun::default() };
    let experiment = match experiment::read(&start) {
        Ok(experiment) => experiment,
        Err(problem) => return (None, Some(problem)),
    };
    let mut foreseen = Foreseen { yaml: start.yaml.clone(), experiment, plan: None, needs_force: false };
    let Some(cluster) = cluster else { return (Some(foreseen), None) };
    // Whoever may not start it may still look at what it is.
    if access::may_run(server, acting, cluster, &foreseen.experiment).await.is_err() {
        return (Some(foreseen), None);
    }
    match plan(server, &start, cluster, &foreseen.experiment, typed).await {
        Ok((plan, needs_force)) => {
            foreseen.plan = Some(plan);
            foreseen.needs_force = needs_force;
            (Some(foreseen), None)
        }
        Err(problem) => (Some(foreseen), Some(problem)),
    }
}

async fn plan(
    server: &Server,
    start: &StartRun,
    cluster: &ClusterName,
    experiment: &Experiment,
    typed: &Typed,
) -> Result<(firedrill_api::guards::RunPlan, bool), Problem> {
    // A reason that is missing is said by the start, not by the look at it.
    let given = !typed.get("reason").trim().is_empty();
    let overrides = if given { overrides(typed)? } else { Vec::new() };
    let asked = Asked { overrides, ..Asked::by(&access::by()) };
    let plan = experiment::plan(server, start, &asked).await?;
    let rung = experiment.rung.unwrap_or(0);
    let needs_force = !experiment::rung_below_has_passed(server, cluster, rung).await?;
    if !needs_force || plan.refused.is_none() || server.halted().is_some() {
        return Ok((plan, false));
    }
    // Whether anything is left to refuse it when the ladder does not.
    let forced = experiment::plan(server, &StartRun { force: true, ..start.clone() }, &asked).await?;
    let only_the_rung = forced.refused.is_none();
    Ok((if only_the_rung { plan } else { forced }, only_the_rung))
}

fn render(server: &Server, acting: &Acting, page: &Start) -> String {
    let title = page.foreseen.as_ref().map_or(page.name.as_str(), |foreseen| &foreseen.experiment.title);
    start::page(&frame(server, acting, title, Place::Experiments), page)
}
