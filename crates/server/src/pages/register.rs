//! Registering a cluster, and comparing the data of its nodes.

use super::cluster::named;
use super::{frame, refused};
use crate::access::{self, Acting};
use crate::http::{self, Routes};
use crate::problem::{Failure, MALFORMED, problem};
use crate::server::Server;
use axum::extract::{Form, Path, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use firedrill_api::cluster_file;
use firedrill_api::http::Problem;
use firedrill_console::register::{self, Fingerprints, Register};
use firedrill_console::{Frame, Place};
use firedrill_model::ClusterName;
use firedrill_model::access::{Action, Object};
use serde::Deserialize;
use std::sync::Arc;

/// The pages of this module.
pub(super) fn router() -> Routes {
    Routes::new()
        .route("/register", get(show).post(take))
        .route("/clusters/{cluster}/fingerprint", get(before).post(compare))
}

/// `GET /register`.
async fn show(State(server): State<Arc<Server>>, acting: Acting) -> Html<String> {
    Html(page(&server, &acting, &Register::default()))
}

fn page(server: &Server, acting: &Acting, shown: &Register) -> String {
    register::page(&frame(server, acting, "Register a cluster", Place::Hosts), shown)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FileForm {
    file: String,
}

/// `POST /register`.
async fn take(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Form(form): Form<FileForm>,
) -> Result<Response, Failure> {
    match register_it(&server, &acting, &form.file).await {
        Ok(cluster) => Ok(Redirect::to(&format!("/clusters/{cluster}")).into_response()),
        Err(why) => Ok(refused(page(&server, &acting, &Register { file: form.file, problem: Some(why) }))),
    }
}

async fn register_it(server: &Server, acting: &Acting, text: &str) -> Result<ClusterName, Problem> {
    let cluster = cluster_file::read(text).map_err(|why| problem(MALFORMED, why.to_string()))?;
    let name = cluster.spec.name.clone();
    acting.may(server, Action::Configure, &Object::Cluster(name.clone())).await?;
    access::note(&format!("cluster {name}"));
    server.keepers.register(cluster).await?;
    Ok(name)
}

/// `GET /clusters/{cluster}/fingerprint`: what it does, before it is asked for.
async fn before(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(cluster): Path<String>,
) -> Result<Html<String>, Failure> {
    let view = server.keepers.view(&named(&cluster)?)?;
    let frame = around(&server, &acting, &view.cluster);
    Ok(Html(register::fingerprints(&frame, &Fingerprints { cluster: view.cluster, nodes: None })))
}

/// `POST /clusters/{cluster}/fingerprint`: nothing is kept, so the answer is the page.
async fn compare(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Path(cluster): Path<String>,
) -> Result<Html<String>, Failure> {
    let view = server.keepers.view(&named(&cluster)?)?;
    let nodes = http::fingerprints(&server, &view).await;
    let frame = around(&server, &acting, &view.cluster);
    Ok(Html(register::fingerprints(&frame, &Fingerprints { cluster: view.cluster, nodes: Some(nodes) })))
}

fn around(server: &Server, acting: &Acting, cluster: &ClusterName) -> Frame {
    frame(server, acting, &format!("Fingerprints · {cluster}"), Place::Fleet)
}
