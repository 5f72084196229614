//! What the command palette finds.

use crate::access::Acting;
use crate::problem::Failure;
use crate::server::{Server, run_entry};
use crate::{experiment, templates};
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::sync::Arc;

/// Entries of one kind: what a browser still searches at each key.
const ENTRIES_MAX: usize = 2000;
/// Runs that somebody still means by their name.
const RUNS_MAX: u32 = 50;

/// One place to go to.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    name: String,
    kind: &'static str,
    href: String,
}

/// `GET /palette`.
pub(super) async fn palette(State(server): State<Arc<Server>>, acting: Acting) -> Result<Json<Vec<Entry>>, Failure> {
    let entry = |kind, name: &str, href: String| Entry { name: name.to_owned(), kind, href };
    let clusters = server.keepers.records().into_iter().map(|record| record.spec.name);
    let clusters = clusters.filter(|name| acting.sees(Some(name))).take(ENTRIES_MAX);
    let mut entries: Vec<Entry> =
        clusters.map(|name| entry("cluster", name.as_str(), format!("/clusters/{name}"))).collect();
    let library = experiment::library();
    entries.extend(
        library.iter().map(|known| entry("experiment", &known.name, format!("/experiments/start/{}", known.name))),
    );
    entries.extend(templates::list(&server).await?.into_iter().map(|known| {
        let name = known.template.name;
        entry("template", &name, format!("/templates/{name}"))
    }));
    let hosts = server.fleet.views().into_iter().take(ENTRIES_MAX);
    entries.extend(hosts.map(|host| entry("host", host.name.as_str(), format!("/hosts/{}", host.name))));
    let runs = server.store.runs(RUNS_MAX).await?.into_iter().map(run_entry);
    entries.extend(
        runs.filter(|run| acting.sees(Some(&run.cluster)))
            .map(|run| entry("run", &format!("{} on {}", run.experiment, run.cluster), format!("/runs/{}", run.run))),
    );
    Ok(Json(entries))
}
