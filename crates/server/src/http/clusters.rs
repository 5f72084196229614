//! Clusters.

use super::body::Body;
use super::name;
use crate::access::{self, Acting};
use crate::fleet::Call;
use crate::problem::{Failure, MALFORMED, problem};
use crate::server::Server;
use axum::Json;
use axum::extract::{Path, State};
use firedrill_api::http::{Accepted, NodeFingerprint, Problem, RegisterCluster};
use firedrill_api::link::{Answer, Order};
use firedrill_keeper::Request;
use firedrill_model::access::{Action, Object};
use firedrill_model::timeline::Scope;
use firedrill_model::{
    ClusterName, ClusterView, Foreseen, Generation, NodeCommand, NodeName, NodeReply, NodeView, Span,
};
use futures_util::future::join_all;
use std::sync::Arc;

/// Reading every row of every table; a sandbox takes a second.
const FINGERPRINT_WITHIN: Span = Span::secs(100);

/// `GET /clusters`.
pub(super) async fn list(State(server): State<Arc<Server>>, acting: Acting) -> Json<Vec<ClusterView>> {
    Json(server.keepers.views().into_iter().filter(|view| acting.sees(Some(&view.cluster))).collect())
}

/// `GET /clusters/{cluster}`.
pub(super) async fn show(
    State(server): State<Arc<Server>>,
    cluster: Path<String>,
) -> Result<Json<ClusterView>, Failure> {
    Ok(Json(server.keepers.view(&name(cluster, "cluster")?)?))
}

/// `PUT /clusters/{cluster}`.
pub(super) async fn register(
    State(server): State<Arc<Server>>,
    cluster: Path<String>,
    Body(register): Body<RegisterCluster>,
) -> Result<Json<ClusterView>, Failure> {
    let cluster: ClusterName = name(cluster, "cluster")?;
    if cluster != register.spec.name {
        let message = format!("the address names cluster {cluster}, the body {}; they must agree", register.spec.name);
        return Err(Failure(problem(MALFORMED, message)));
    }
    Ok(Json(server.keepers.register(register).await?))
}

/// `POST /clusters/{cluster}/requests`.
pub(super) async fn request(
    State(server): State<Arc<Server>>,
    cluster: Path<String>,
    acting: Acting,
    Body(request): Body<Request>,
) -> Result<Json<Accepted>, Failure> {
    let cluster: ClusterName = name(cluster, "cluster")?;
    if matches!(request, Request::SetPolicy { .. }) {
        acting.may(&server, Action::Configure, &Object::Cluster(cluster.clone())).await?;
    }
    Ok(Json(ask(&server, &cluster, request).await?))
}

/// Asks a cluster's keeper on behalf of a person, and says so.
///
/// # Errors
/// There is no such cluster, or the keeper refuses and says why.
pub(crate) async fn ask(server: &Server, cluster: &ClusterName, request: Request) -> Result<Accepted, Problem> {
    let asked = in_words(&request);
    access::note(&asked);
    let accepted = server.keepers.ask(cluster, request).await?;
    let scope = Scope { operation: accepted.operation.clone(), cluster: Some(cluster.clone()), ..Scope::default() };
    access::tell(server, &format!("asked for: {asked}"), scope).await;
    Ok(accepted)
}

/// `POST /clusters/{cluster}/requests/plan`: nothing is begun.
pub(super) async fn plan(
    State(server): State<Arc<Server>>,
    cluster: Path<String>,
    Body(request): Body<Request>,
) -> Result<Json<Foreseen>, Failure> {
    let cluster: ClusterName = name(cluster, "cluster")?;
    Ok(Json(server.keepers.foresee(&cluster, request).await?))
}

fn in_words(request: &Request) -> String {
    let node = |node: &Option<NodeName>| node.as_ref().map_or_else(|| "the best node".to_owned(), ToString::to_string);
    match request {
        Request::Promote { to, without_proof: false } => format!("promotion of {}", node(to)),
        Request::Promote { to, without_proof: true } => {
            format!("promotion of {}, override: acknowledged writes may be missing", node(to))
        }
        Request::Switchover { to } => format!("switchover to {}", node(to)),
        Request::Clone { node, .. } => format!("clone of {node}"),
        Request::Rejoin { node } => format!("rejoining of {node}"),
        Request::Cancel { operation } => format!("giving up operation {operation}"),
        Request::SetPolicy { .. } => "another policy".to_owned(),
    }
}

/// `POST /clusters/{cluster}/fingerprint`.
pub(super) async fn fingerprint(
    State(server): State<Arc<Server>>,
    cluster: Path<String>,
) -> Result<Json<Vec<NodeFingerprint>>, Failure> {
    let view = server.keepers.view(&name(cluster, "cluster")?)?;
    Ok(Json(fingerprints(&server, &view).await))
}

/// Checksums of the data of every node, or why there is none.
pub(crate) async fn fingerprints(server: &Server, view: &ClusterView) -> Vec<NodeFingerprint> {
    let (cluster, generation) = (&view.cluster, view.generation);
    join_all(view.nodes.iter().map(|node| fingerprint_of(server, cluster, generation, node))).await
}

async fn fingerprint_of(
    server: &Server,
    cluster: &ClusterName,
    generation: Generation,
    node: &NodeView,
) -> NodeFingerprint {
    let command = NodeCommand::Fingerprint { node: node.name.clone() };
    let call =
        Call { cluster: Some(cluster.clone()), generation, within: FINGERPRINT_WITHIN, order: Order::Node { command } };
    let result = match server.fleet.call(&node.host, call).await {
        Ok(Answer::Node { result: NodeReply::Fingerprint(fingerprint) }) => Ok(fingerprint),
        Ok(_) => Err(format!("the agent of host {} gave an answer of another kind", node.host)),
        Err(failure) => Err(failure.to_string()),
    };
    NodeFingerprint { node: node.name.clone(), result }
}
