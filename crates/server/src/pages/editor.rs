//! The editor of experiments.

use super::attacks::{described, fault, read};
use super::experiments::{chosen, foresee, start_it};
use super::{clusters, frame};
use crate::access::Acting;
use crate::http::Routes;
use crate::problem::{Failure, MALFORMED, problem};
use crate::server::Server;
use crate::{experiment, templates};
use axum::Json;
use axum::extract::{Form, Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use firedrill_api::http::Problem;
use firedrill_api::{experiment_file, template_file};
use firedrill_console::editor::{self, Editor, Parsed, Row};
use firedrill_console::{Place, Typed};
use firedrill_fault::{check, kinds};
use firedrill_model::experiment::{AttackStep, Condition, Experiment, StepSpec};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) fn router() -> Routes {
    Routes::new()
        .route("/experiments/edit", get(show).post(act))
        .route("/experiments/edit/parse", post(parse))
        .route("/experiments/edit/yaml", post(yaml))
}

/// To begin with.
const FRESH: &str = "name: my-experiment
title: The primary is killed
hypothesis: Another node takes over, and no acknowledged write is lost.
workload: {writers: 8, writes_per_second: 300}
steps:
  - attack: {kind: kill, target: {role: primary}}
  - wait-until: {condition: {finished: promotion}, within: 30s}
  - wait-until: {condition: redundancy-restored, within: 3m}
expect:
  - lost-acknowledged-writes-at-most: 0
  - no-fork
";

/// `GET /experiments/edit`; `from`: the experiment of the library, or the template, to begin with.
async fn show(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Html<String>, Failure> {
    let typed = Typed::of(pairs);
    let text = match typed.text("from") {
        None => FRESH.to_owned(),
        Some(name) if typed.is("template") => templates::filled(&server, name, &BTreeMap::new()).await?,
        Some(name) => {
            let found = experiment::library().into_iter().find(|entry| entry.name == name);
            found.ok_or_else(|| crate::problem::not_found("experiment", name, "/experiments names all"))?.yaml
        }
    };
    let page = gather(&server, &acting, typed, text, None).await;
    Ok(Html(render(&server, &acting, &page)))
}

/// `POST /experiments/edit`: `do` is `check`, `save` or `start`.
async fn act(State(server): State<Arc<Server>>, acting: Acting, Form(pairs): Form<Vec<(String, String)>>) -> Response {
    let typed = Typed::of(pairs);
    let done = match (typed.get("do"), filled(&typed)) {
        ("save", Ok(yaml)) => templates::save_experiment(&server, &yaml)
            .await
            .map(|kept| Some(format!("/templates/{}", kept.template.name))),
        ("start", Ok(yaml)) => start_it(&server, &acting, yaml, &typed).await.map(Some),
        (_, Ok(_)) => Ok(None),
        (_, Err(problem)) => Err(problem),
    };
    let (status, problem) = match done {
        Ok(Some(address)) => return Redirect::to(&address).into_response(),
        Ok(None) => (StatusCode::OK, None),
        Err(problem) => (StatusCode::CONFLICT, Some(problem)),
    };
    let text = typed.get("yaml").to_owned();
    let page = gather(&server, &acting, typed, text, problem).await;
    (status, Html(render(&server, &acting, &page))).into_response()
}

/// The file with the values of its variables.
fn filled(typed: &Typed) -> Result<String, Problem> {
    let pair = |line: &str| {
        let (name, value) =
            line.split_once('=').ok_or_else(|| problem(MALFORMED, format!("{line:?} is not NAME=VALUE")))?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    };
    let lines = typed.get("vars").lines().filter(|line| !line.trim().is_empty());
    let variables: BTreeMap<String, String> = lines.map(pair).collect::<Result<_, Problem>>()?;
    experiment_file::fill_in(typed.get("yaml"), &variables).map_err(|wrong| problem(MALFORMED, wrong.to_string()))
}

async fn gather(server: &Server, acting: &Acting, typed: Typed, yaml: String, problem: Option<Problem>) -> Editor {
    let clusters = clusters(server, acting);
    let cluster = chosen(&clusters, typed.get("cluster"));
    let (mut problems, mut foreseen, mut problem) = (Vec::new(), None, problem);
    if !typed.get("do").is_empty()
        && let Ok(text) = filled(&typed)
    {
        match experiment_file::read(&text, &BTreeMap::new(), check) {
            Ok(_) => {
                let (seen, why) = foresee(server, acting, text, cluster.as_ref(), &typed).await;
                foreseen = seen;
                problem = problem.or(why);
            }
            Err(wrong) => problems = wrong.problems,
        }
    }
    let kinds = kinds::KINDS.iter().map(|kind| described(kind)).collect();
    Editor { typed, yaml, clusters, cluster, problems, foreseen, problem, kinds }
}

fn render(server: &Server, acting: &Acting, page: &Editor) -> String {
    editor::page(&frame(server, acting, "Write an experiment", Place::Experiments), page)
}

/// `POST /experiments/edit/parse`: the file's text; its steps as the form has them.
async fn parse(text: String) -> Json<Parsed> {
    Json(parsed(&text))
}

fn parsed(text: &str) -> Parsed {
    match experiment_file::inspect(text, &BTreeMap::new(), check) {
        Ok((experiment, problems)) => Parsed {
            yaml: None,
            steps: Some(experiment.steps.iter().map(row).collect()),
            problems,
            drawing: editor::drawing(&experiment),
        },
        Err(wrong) => Parsed { problems: wrong.problems, ..Parsed::default() },
    }
}

#[derive(Debug, Deserialize)]
struct Changed {
    yaml: String,
    steps: Vec<Row>,
}

/// `POST /experiments/edit/yaml`: the file's text with other steps.
async fn yaml(Json(changed): Json<Changed>) -> Result<Json<Parsed>, Failure> {
    let malformed = |wrong: String| problem(MALFORMED, wrong);
    let (experiment, _) = experiment_file::inspect(&changed.yaml, &BTreeMap::new(), check)
        .map_err(|wrong| malformed(format!("put the file right first: {wrong}")))?;
    let numbered = changed.steps.iter().enumerate();
    let of_row =
        |(at, row): (usize, &Row)| step(row).map_err(|wrong| malformed(format!("step {}: {}", at + 1, wrong.message)));
    let steps = numbered.map(of_row).collect::<Result<Vec<_>, Problem>>()?;
    let text = template_file::text_of(&Experiment { steps, ..experiment }).map_err(malformed)?;
    Ok(Json(Parsed { yaml: Some(text.clone()), ..parsed(&text) }))
}

/// A step as the form has it.
fn row(step: &StepSpec) -> Row {
    // Exactly, unlike the text for people.
    let span = |span: &firedrill_model::Span| json!(span).as_str().unwrap_or_default().to_owned();
    match step {
        StepSpec::Attack(attack) => {
            let known = kinds::find(attack.fault.kind()).map(|kind| kind.shape.parameters()).unwrap_or_default();
            let text = |(name, value): (&String, &serde_json::Value)| {
                let parameter = known.iter().find(|parameter| parameter.name == *name);
                (name.clone(), parameter.map_or_else(|| value.to_string(), |parameter| parameter.text(value)))
            };
            Row {
                step: "attack".to_owned(),
                kind: attack.fault.kind.clone(),
                name: attack.name.clone().unwrap_or_default(),
                target: attack.target.to_string(),
                duration: span(&attack.duration),
                parameters: attack.fault.parameters.iter().map(text).collect(),
                ..Row::default()
            }
        }
        StepSpec::EndAttack(name) => Row { step: "end-attack".to_owned(), name: name.clone(), ..Row::default() },
        StepSpec::Wait(time) => Row { step: "wait".to_owned(), duration: span(time), ..Row::default() },
        StepSpec::WaitUntil { condition, within } => {
            let until = match condition {
                Condition::Finished(kind) => format!("finished {kind}"),
                other => json!(other).as_str().unwrap_or_default().to_owned(),
            };
            Row { step: "wait-until".to_owned(), until, duration: span(within), ..Row::default() }
        }
        StepSpec::Check(name) => Row { step: "check".to_owned(), name: name.clone(), ..Row::default() },
    }
}

/// The step that a row of the form means.
fn step(row: &Row) -> Result<StepSpec, Problem> {
    let time = || read("how long", row.duration.trim());
    Ok(match row.step.as_str() {
        "attack" => {
            let kind = kinds::find(&row.kind).ok_or_else(|| problem(MALFORMED, "choose a kind of attack"))?;
            let given = row.parameters.iter().map(|(name, text)| (name.as_str(), text.trim()));
            StepSpec::Attack(Box::new(AttackStep {
                name: Some(row.name.trim().to_owned()).filter(|name| !name.is_empty()),
                target: read("targets", row.target.trim())?,
                duration: if row.duration.trim().is_empty() { super::attacks::DURATION } else { time()? },
                fault: fault(kind, given.filter(|(_, text)| !text.is_empty()))?,
            }))
        }
        "end-attack" => StepSpec::EndAttack(row.name.trim().to_owned()),
        "wait" => StepSpec::Wait(time()?),
        "wait-until" => {
            let condition = match row.until.split_once(' ') {
                Some(("finished", kind)) => json!({ "finished": kind }),
                _ => json!(row.until),
            };
            let condition = serde_json::from_value(condition);
            let condition = condition.map_err(|_| problem(MALFORMED, "choose what is waited for"))?;
            StepSpec::WaitUntil { condition, within: time()? }
        }
        "check" => StepSpec::Check(row.name.trim().to_owned()),
        other => return Err(problem(MALFORMED, format!("there is no step {other:?}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_gives_back_every_shipped_experiment() {
        for entry in experiment::library() {
            let shown = parsed(&entry.yaml);
            assert_eq!(shown.problems, [""; 0], "{}", entry.name);
            let experiment = experiment_file::read(&entry.yaml, &BTreeMap::new(), check).expect("an experiment");
            let steps: Result<Vec<StepSpec>, Problem> = shown.steps.expect("steps").iter().map(step).collect();
            assert_eq!(steps.expect("steps"), experiment.steps, "{}", entry.name);
        }
    }

    #[test]
    fn a_step_that_is_not_whole_says_what_is_missing() {
        let row = |step: &str| Row { step: step.to_owned(), ..Row::default() };
        for (step_name, wanted) in
            [("attack", "kind"), ("wait", "how long"), ("wait-until", "waited for"), ("x", "no step")]
        {
            assert!(step(&row(step_name)).expect_err(step_name).message.contains(wanted), "{step_name}");
        }
        let broken = parsed(&FRESH.replace("kind: kill", "kind: tickle"));
        assert!(broken.steps.is_some() && broken.problems[0].starts_with("line 6"), "{broken:?}");
        assert!(parsed("name: [").steps.is_none());
        assert_eq!(parsed(FRESH).problems, [""; 0]);
    }
}
