//! What people say during a run, and who does what: lines of the timeline, from which the recap is made.

use crate::access;
use crate::http::RUNS_ARE_LISTED;
use crate::problem::{MALFORMED, not_found, problem, store_failed};
use crate::server::Server;
use firedrill_api::http::{Problem, TakePart};
use firedrill_model::timeline::{EventKind, Scope};
use firedrill_model::{RunId, Severity};

/// Most characters of a note: a few sentences; more belongs into the recap by hand.
const NOTE_CHARS_MAX: usize = 1000;
/// Most characters of a name.
const NAME_CHARS_MAX: usize = 80;

/// Puts what somebody says on the timeline of a run, also after its end.
///
/// # Errors
/// There is no such run; the text is empty or too long.
pub(crate) async fn note(server: &Server, run: &RunId, who: &str, text: &str) -> Result<(), Problem> {
    let who = bounded("name", who, NAME_CHARS_MAX)?;
    let text = bounded("note", text, NOTE_CHARS_MAX)?;
    append(server, run, EventKind::Note, format!("{who}: {text}")).await
}

/// Says who takes which part; the last word on a name holds.
///
/// # Errors
/// There is no such run; the name is empty or too long.
pub(crate) async fn take_part(server: &Server, run: &RunId, taken: &TakePart) -> Result<(), Problem> {
    let name = bounded("name", &taken.name, NAME_CHARS_MAX)?;
    append(server, run, EventKind::Part, format!("{}: {name}", taken.part)).await
}

async fn append(server: &Server, run: &RunId, kind: EventKind, text: String) -> Result<(), Problem> {
    let cluster = server.store.cluster_of_run(run).await.map_err(|error| store_failed(&error))?;
    let cluster = cluster.ok_or_else(|| not_found("run", run, RUNS_ARE_LISTED))?;
    access::note(&text);
    let scope = Scope { cluster: Some(cluster), run: Some(run.clone()), ..Scope::default() };
    server.timeline.append(Severity::Info, kind, text, scope).await;
    Ok(())
}

/// One line of text that is there and not too long.
fn bounded(what: &str, text: &str, chars_max: usize) -> Result<String, Problem> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let length = text.chars().count();
    match length {
        0 => Err(problem(MALFORMED, format!("the {what} is empty; nothing was written down"))),
        _ if length > chars_max => Err(problem(
            MALFORMED,
            format!(
                "the {what} has {length} characters, and {chars_max} fit on a line of the timeline; nothing was written down"
            ),
        )),
        _ => Ok(text),
    }
}
