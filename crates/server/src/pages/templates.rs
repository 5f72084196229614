//! Templates.

use super::attacks::read;
use super::{frame, refused};
use crate::access::Acting;
use crate::http::Routes;
use crate::problem::{Failure, IMPORT, MALFORMED, problem};
use crate::server::Server;
use crate::templates as kept;
use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use firedrill_api::chaos_toolkit::Import;
use firedrill_api::http::{ImportExperiment, Problem, SaveTemplate};
use firedrill_console::templates::{self, New, Shown};
use firedrill_console::{Place, Typed};
use firedrill_model::Selector;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) fn router() -> Routes {
    Routes::new()
        .route("/templates", get(all))
        .route("/templates/new", get(add).post(save))
        .route("/templates/{template}", get(show))
        .route("/templates/{template}/delete", post(remove))
}

/// `GET /templates`: they stand among what can be started.
async fn all() -> Redirect {
    Redirect::to("/experiments#outages")
}

/// `GET /templates/{template}`.
async fn show(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(name): Path<String>,
) -> Result<Html<String>, Failure> {
    Ok(Html(page(&server, &acting, &name, None).await?))
}

async fn page(server: &Server, acting: &Acting, name: &str, problem: Option<Problem>) -> Result<String, Failure> {
    let entry = kept::find(server, name).await?;
    let frame = frame(server, acting, &entry.template.title, Place::Experiments);
    Ok(templates::page(&frame, &Shown { entry, problem }))
}

/// `POST /templates/{template}/delete`.
async fn remove(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    match kept::remove(&server, &name).await {
        Ok(()) => Ok(Redirect::to("/experiments").into_response()),
        Err(problem) => Ok(refused(page(&server, &acting, &name, Some(problem)).await?)),
    }
}

/// `GET /templates/new`.
async fn add(State(server): State<Arc<Server>>, acting: Acting) -> Html<String> {
    Html(templates::new(&frame(&server, &acting, "Add a template", Place::Experiments), &New::default()))
}

/// `POST /templates/new`: a file of ours, or one of the Chaos Toolkit; `do=import-look` only says what would become of it.
async fn save(State(server): State<Arc<Server>>, acting: Acting, Form(pairs): Form<Vec<(String, String)>>) -> Response {
    let typed = Typed::of(pairs);
    let (import, kept) = match typed.get("do") {
        "import" | "import-look" => taken_over(&server, &typed).await,
        _ => {
            let file = SaveTemplate::File { yaml: typed.get("yaml").to_owned() };
            (None, kept::save(&server, &file).await.map(|entry| Some(entry.template.name)))
        }
    };
    let (status, problem) = match kept {
        Ok(Some(name)) => return Redirect::to(&format!("/templates/{name}")).into_response(),
        Ok(None) => (StatusCode::OK, None),
        Err(problem) => (StatusCode::CONFLICT, Some(problem)),
    };
    let frame = frame(&server, &acting, "Add a template", Place::Experiments);
    (status, Html(templates::new(&frame, &New { typed, problem, import }))).into_response()
}

/// What became of the file, and the name under which it is kept when it is.
async fn taken_over(server: &Server, typed: &Typed) -> (Option<Import>, Result<Option<String>, Problem>) {
    let wish = match import(typed) {
        Ok(wish) => wish,
        Err(problem) => return (None, Err(problem)),
    };
    let looked = match kept::import(server, &ImportExperiment { dry_run: true, ..wish.clone() }).await {
        Ok(looked) => looked,
        Err(problem) => return (None, Err(problem)),
    };
    if wish.dry_run {
        return (Some(looked), Ok(None));
    }
    let kept = kept::import(server, &wish).await.map(|kept| kept.template.map(|template| template.name));
    // What is in the way is listed part by part.
    let brief = |refused: Problem| match refused.code.as_str() {
        IMPORT => {
            Problem { message: "The file cannot be imported; what is in the way stands below.".into(), ..refused }
        }
        _ => refused,
    };
    (Some(looked), kept.map_err(brief))
}

fn import(typed: &Typed) -> Result<ImportExperiment, Problem> {
    let of_line = |line: &str| {
        let (name, target) = line.rsplit_once(':').ok_or_else(|| {
            problem(MALFORMED, format!("{line:?}: give the name of the activity, a colon, and its hosts"))
        })?;
        Ok((name.trim().to_owned(), read::<Selector>("targets", target.trim())?))
    };
    let lines = typed.get("targets").lines().filter(|line| !line.trim().is_empty());
    Ok(ImportExperiment {
        text: typed.get("text").to_owned(),
        name: typed.text("name").map(str::to_owned),
        target: typed.text("target").map(|text| read("targets", text)).transpose()?,
        targets: lines.map(of_line).collect::<Result<BTreeMap<_, _>, Problem>>()?,
        dry_run: typed.get("do") == "import-look",
    })
}
