//! Schedules: the list, one of them, the form that makes or changes one, and who is there.

use super::{clusters, frame, refused};
use crate::access::{self, Acting};
use crate::clock::now;
use crate::http::{Routes, find_run};
use crate::problem::{Failure, MALFORMED, not_found, problem, store_failed};
use crate::schedules::{self as scheduling, by_person};
use crate::server::Server;
use crate::{experiment, templates};
use axum::extract::{Form, Path, Query, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use firedrill_api::http::{Problem, StartRun};
use firedrill_api::schedules::SayPresence;
use firedrill_api::template_file;
use firedrill_console::schedule::{self, Edit, Preview};
use firedrill_console::schedule_fields::Fields;
use firedrill_console::schedules::{self, Saying, Schedules};
use firedrill_console::{Frame, Place};
use firedrill_model::experiment::Experiment;
use firedrill_model::{ClusterName, RunId, ScheduleName, Span, Timestamp};
use firedrill_schedule::{Code, Schedule, Zone};
use serde::Deserialize;
use std::sync::Arc;

/// Due times that are over, on the page of a schedule; the calendar has the others.
const PAST_ROWS: usize = 20;
/// How far back these are looked for.
const PAST_DAYS: u64 = 92;
/// The reason of who resumes a schedule and gives none.
const RESUMED: &str = "resumed on the web page";
/// Characters of a name that is suggested: there is room for a number after it.
const SUGGESTED_CHARS_MAX: usize = 34;
/// Clusters that a choice lists: more are typed.
const CLUSTERS_MAX: usize = 500;

/// The pages of this module.
pub(super) fn router() -> Routes {
    Routes::new()
        .route("/schedules", get(list).post(add))
        .route("/schedules/new", get(new))
        .route("/schedules/{schedule}", get(show).post(change))
        .route("/schedules/{schedule}/pause", post(pause))
        .route("/schedules/{schedule}/resume", post(resume))
        .route("/schedules/{schedule}/delete", post(delete))
        .route("/presence", post(say_presence))
}

#[derive(Debug, Deserialize)]
struct ListQuery {
    #[serde(default)]
    zone: String,
}

/// `GET /schedules`.
async fn list(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Query(query): Query<ListQuery>,
) -> Result<Html<String>, Failure> {
    let zone = query.zone.trim();
    let zone = if zone.is_empty() { Ok(None) } else { zone.parse::<Zone>().map(Some) };
    let (zone, unknown) = match zone {
        Ok(zone) => (zone, None),
        Err(unknown) => (None, Some(problem(Code::Zone.as_str(), unknown.to_string()))),
    };
    Ok(Html(list_page(&server, &acting, zone, Saying::default(), unknown).await?))
}

async fn list_page(
    server: &Server,
    acting: &Acting,
    zone: Option<Zone>,
    saying: Saying,
    problem: Option<Problem>,
) -> Result<String, Failure> {
    let shown = Schedules {
        views: by_person::views(server, acting).await?,
        today: scheduling::today(server, zone, |cluster| acting.sees(Some(cluster))).await?,
        presences: server.store.presences(now()).await?,
        clusters: listed(server, acting),
        saying,
        problem,
    };
    Ok(schedules::page(&frame(server, acting, "Schedules", Place::Schedules), &shown))
}

/// The clusters that a choice lists.
pub(super) fn listed(server: &Server, acting: &Acting) -> Vec<ClusterName> {
    let mut clusters = clusters(server, acting);
    clusters.truncate(CLUSTERS_MAX);
    clusters
}

/// `POST /presence`.
async fn say_presence(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Form(saying): Form<Saying>,
) -> Result<Response, Failure> {
    let said = async {
        let say = presence(&saying)?;
        by_person::say_presence(&server, &acting, say).await
    };
    match said.await {
        Ok(_) => Ok(Redirect::to("/schedules").into_response()),
        Err(why) => Ok(refused(list_page(&server, &acting, None, saying, Some(why)).await?)),
    }
}

fn presence(saying: &Saying) -> Result<SayPresence, Problem> {
    let malformed = |why: String| problem(MALFORMED, why);
    let now = now();
    let person = saying.person.trim();
    let person = if person.is_empty() { access::by() } else { person.to_owned() };
    let cluster = saying.cluster.trim();
    let cluster = if cluster.is_empty() { None } else { Some(cluster.parse()) };
    let cluster = cluster.transpose().map_err(|why| malformed(format!("{why}")))?;
    let text = saying.until.trim();
    let until = match (saying.leave, text.parse::<Span>()) {
        (true, _) => now - Span::secs(1),
        (false, Ok(span)) => now + span,
        (false, Err(_)) => zone_of(&saying.zone)?.read(text, now).map_err(malformed)?,
    };
    if !saying.leave && until <= now {
        return Err(malformed(format!("{text} is over; give a time to come, or say that you leave")));
    }
    Ok(SayPresence { person, cluster, until })
}

/// The zone of that name; UTC when none is given.
pub(super) fn zone_of(name: &str) -> Result<Zone, Problem> {
    let name = name.trim();
    let zone = if name.is_empty() { Ok(Zone::utc()) } else { name.parse::<Zone>() };
    zone.map_err(|unknown| problem(Code::Zone.as_str(), unknown.to_string()))
}

/// What a new schedule can be made of.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NewQuery {
    experiment: String,
    template: String,
    run: String,
    cluster: String,
}

/// `GET /schedules/new`.
async fn new(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Query(query): Query<NewQuery>,
) -> Result<Html<String>, Failure> {
    let mut fields = Fields { clusters: query.cluster.replace(',', "\n"), ..Fields::default() };
    if !query.run.is_empty() {
        let report = find_run(&server, &RunId(query.run)).await?;
        acting.may(&server, firedrill_model::access::Action::View, &of(&report.cluster)).await?;
        (fields.what, fields.file) = of_run(&report.experiment)?;
        fields.clusters = report.cluster.to_string();
    } else if !query.experiment.is_empty() {
        fields.what = format!("experiment:{}", query.experiment);
    } else if !query.template.is_empty() {
        fields.what = format!("template:{}", query.template);
    }
    if fields.clusters.is_empty()
        && let [only] = clusters(&server, &acting).as_slice()
    {
        fields.clusters = only.to_string();
    }
    if !fields.what.is_empty() {
        fields.name = unused(&server, &suggested(&fields)).await?;
    }
    // As soon as nothing is missing it is shown when it would start.
    let preview = match fields.read() {
        Ok(schedule) => preview(&server, &schedule).await.ok(),
        Err(_) => None,
    };
    Ok(Html(edit_page(&server, &acting, Edit { fields, preview, ..Edit::default() }).await?))
}

/// A name for a schedule, after what it starts.
fn suggested(fields: &Fields) -> String {
    let file = || fields.file.lines().find_map(|line| line.strip_prefix("name:"));
    let named = fields.what.split_once(':').map(|(_, name)| name).or_else(file).unwrap_or("schedule");
    let allowed = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' };
    let name: String = named.trim().chars().map(allowed).take(SUGGESTED_CHARS_MAX).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "schedule".to_owned() } else { name.to_owned() }
}

/// That name, or with a number when it is taken; `new` is the address of the form.
async fn unused(server: &Server, name: &str) -> Result<String, Failure> {
    let known = server.store.schedules().await?;
    let is_taken = |name: &str| name == "new" || known.iter().any(|record| record.schedule.name.as_str() == name);
    let mut numbered = (2..).map(|number| format!("{name}-{number}"));
    Ok(if is_taken(name) { numbered.find(|name| !is_taken(name)).unwrap_or_default() } else { name.to_owned() })
}

fn of(cluster: &ClusterName) -> firedrill_model::access::Object {
    firedrill_model::access::Object::Cluster(cluster.clone())
}

/// What starts the experiment of a run again: that of the library when it is still the same, otherwise its text.
fn of_run(experiment: &Experiment) -> Result<(String, String), Problem> {
    let is_same = |yaml: &str| {
        let read = experiment::read(&StartRun { yaml: yaml.to_owned(), ..StartRun::default() });
        read.is_ok_and(|known| Experiment { cluster: experiment.cluster.clone(), ..known } == *experiment)
    };
    let known = experiment::library().into_iter().find(|entry| entry.name == experiment.name && is_same(&entry.yaml));
    match known {
        Some(entry) => Ok((format!("experiment:{}", entry.name), String::new())),
        None => {
            // A run says where it struck; a schedule says that itself.
            let experiment = Experiment { cluster: None, rung: None, ..experiment.clone() };
            let text = template_file::text_of(&experiment).map_err(|why| problem(MALFORMED, why))?;
            Ok(("file".to_owned(), text))
        }
    }
}

/// `GET /schedules/{schedule}`.
async fn show(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(name): Path<String>,
) -> Result<Html<String>, Failure> {
    let view = by_person::view(&server, &acting, &named(&name)?).await?;
    let preview = preview(&server, &view.schedule).await.ok();
    let edit = Edit { fields: Fields::of(&view.schedule), known: Some(view), preview, ..Edit::default() };
    Ok(Html(edit_page(&server, &acting, edit).await?))
}

fn named(name: &str) -> Result<ScheduleName, Failure> {
    name.parse().map_err(|_| Failure(not_found("schedule", format!("{name:?}"), "the page of schedules names them")))
}

/// The page, with what can be chosen.
async fn edit_page(server: &Server, acting: &Acting, mut edit: Edit) -> Result<String, Failure> {
    edit.library = experiment::library();
    edit.templates = templates::list(server).await?;
    edit.clusters = listed(server, acting);
    let mut title = "New schedule".to_owned();
    if let Some(view) = &edit.known {
        title = format!("Schedule {}", view.schedule.name);
        let (from, until) = (now() - Span::secs(PAST_DAYS * 24 * 3600), now());
        let past = scheduling::between(server, from, until, Some(&view.schedule.name)).await?;
        edit.past =
            past.entries.into_iter().rev().filter(|entry| acting.sees(Some(&entry.cluster))).take(PAST_ROWS).collect();
    }
    let frame: Frame = frame(server, acting, &title, Place::Schedules);
    Ok(schedule::page(&frame, &edit))
}

async fn preview(server: &Server, schedule: &Schedule) -> Result<Preview, Problem> {
    let scheduling::Preview { entries, note, firm } = scheduling::preview(server, schedule).await?;
    Ok(Preview { entries, note, firm })
}

/// `POST /schedules`.
async fn add(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Form(form): Form<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    take(&server, &acting, None, form).await
}

/// `POST /schedules/{schedule}`.
async fn change(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(name): Path<String>,
    Form(form): Form<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    take(&server, &acting, Some(&named(&name)?), form).await
}

/// What a form of a schedule asks for: to show when it would start, or to keep it.
async fn take(
    server: &Server,
    acting: &Acting,
    changed: Option<&ScheduleName>,
    form: Vec<(String, String)>,
) -> Result<Response, Failure> {
    let known = match changed {
        Some(name) => Some(by_person::view(server, acting, name).await?),
        None => None,
    };
    let sent = |field: &str| form.iter().find(|(name, _)| name == field).map(|(_, value)| value.clone());
    let (asked, pasted) = (sent("do").unwrap_or_default(), sent("pasted").unwrap_or_default());
    let (fields, read) = match asked.as_str() {
        "paste" => {
            let read = firedrill_api::schedules::read(&pasted);
            let read = read
                .map_err(|why| problem(Code::Malformed.as_str(), format!("what is pasted is not a schedule: {why}")));
            let fields = known.as_ref().map_or_else(Fields::default, |view| Fields::of(&view.schedule));
            (read.as_ref().map_or(fields, Fields::of), read)
        }
        _ => {
            let fields = Fields::of_form(form);
            let read = fields.read();
            (fields, read)
        }
    };
    let mut edit = Edit { known, fields, pasted, ..Edit::default() };
    let came = match read {
        Ok(schedule) if asked == "preview" => preview(server, &schedule).await.map(Err),
        Ok(schedule) => keep(server, acting, changed, schedule).await.map(Ok),
        Err(why) => Err(why),
    };
    match came {
        Ok(Ok(name)) => Ok(Redirect::to(&format!("/schedules/{name}")).into_response()),
        Ok(Err(preview)) => {
            edit.preview = Some(preview);
            Ok(Html(edit_page(server, acting, edit).await?).into_response())
        }
        Err(why) => {
            edit.problem = Some(why);
            Ok(refused(edit_page(server, acting, edit).await?))
        }
    }
}

/// Adds it, or replaces the one that is changed.
async fn keep(
    server: &Server,
    acting: &Acting,
    changed: Option<&ScheduleName>,
    schedule: Schedule,
) -> Result<ScheduleName, Problem> {
    let name = schedule.name.clone();
    let taken = server.store.schedule(&name).await.map_err(|error| store_failed(&error))?.is_some();
    match changed {
        None if name.as_str() == "new" => {
            let why = "a schedule of the name new would have the address of this form; choose another name";
            return Err(problem(MALFORMED, why));
        }
        None if taken => {
            let why =
                format!("there is a schedule {name} already; choose another name, or change that one on its own page");
            return Err(problem(MALFORMED, why));
        }
        Some(changed) if *changed != name => {
            let why = format!(
                "this is the page of schedule {changed}, and what was sent is {name}; add that one as a new one"
            );
            return Err(problem(MALFORMED, why));
        }
        _ => {}
    }
    by_person::put(server, acting, schedule).await?;
    Ok(name)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ReasonForm {
    reason: String,
}

/// `POST /schedules/{schedule}/pause`.
async fn pause(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(name): Path<String>,
    Form(form): Form<ReasonForm>,
) -> Result<Response, Failure> {
    let (name, reason) = (named(&name)?, form.reason.trim());
    let paused = match reason.is_empty() {
        true => {
            Err(problem(MALFORMED, format!("say why schedule {name} is paused: who looks at it later wants to know")))
        }
        false => by_person::pause(&server, &acting, &name, reason).await,
    };
    back_to(&server, &acting, &name, paused.err()).await
}

/// `POST /schedules/{schedule}/resume`.
async fn resume(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(name): Path<String>,
    Form(form): Form<ReasonForm>,
) -> Result<Response, Failure> {
    let name = named(&name)?;
    let reason = Some(form.reason.trim()).filter(|reason| !reason.is_empty()).unwrap_or(RESUMED);
    let resumed = by_person::resume(&server, &acting, &name, reason).await;
    back_to(&server, &acting, &name, resumed.err()).await
}

/// `POST /schedules/{schedule}/delete`.
async fn delete(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(name): Path<String>,
) -> Result<Redirect, Failure> {
    by_person::remove(&server, &acting, &named(&name)?).await?;
    Ok(Redirect::to("/schedules"))
}

/// To the page of the schedule, with what went wrong when something did.
async fn back_to(
    server: &Server,
    acting: &Acting,
    name: &ScheduleName,
    problem: Option<Problem>,
) -> Result<Response, Failure> {
    let Some(why) = problem else { return Ok(Redirect::to(&format!("/schedules/{name}")).into_response()) };
    let view = by_person::view(server, acting, name).await?;
    let edit = Edit { fields: Fields::of(&view.schedule), known: Some(view), problem: Some(why), ..Edit::default() };
    Ok(refused(edit_page(server, acting, edit).await?))
}

/// When a day of a calendar begins and ends.
pub(super) fn moments(zone: &Zone, day: firedrill_schedule::Day) -> (Timestamp, Timestamp) {
    let next = day.tomorrow().map_or(Timestamp(i64::MAX), |next| zone.start_of(next));
    (zone.start_of(day), next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suggested_name_is_a_name() {
        for (what, file, expected) in [
            ("experiment:kill-replica", "", "kill-replica"),
            ("file", "title: x\nname: My own: test!\n", "my-own--test"),
            ("file", "", "schedule"),
            ("template:---", "", "schedule"),
        ] {
            let fields = Fields { what: what.to_owned(), file: file.to_owned(), ..Fields::default() };
            let name = suggested(&fields);
            assert!(name == expected && name.parse::<ScheduleName>().is_ok(), "{name}");
        }
        let long = suggested(&Fields { what: format!("template:{}", "x".repeat(100)), ..Fields::default() });
        assert!(format!("{long}-2").parse::<ScheduleName>().is_ok(), "{long}");
    }
}
