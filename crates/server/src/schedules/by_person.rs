//! What people read and change, with what they need for it: the API and the pages ask here, so that both ask for the same.

use super::{edit, experiments, refuse_broken, show};
use crate::Server;
use crate::access::{self, Acting};
use crate::clock::now;
use crate::problem::store_failed;
use firedrill_api::http::{Done, Problem};
use firedrill_api::schedules::{AddClosure, SayPresence, ScheduleView};
use firedrill_model::ScheduleName;
use firedrill_model::access::{Action, Object};
use firedrill_schedule::{Closure, Presence, Schedule, Scope};

/// The schedules of which they may see a cluster.
///
/// # Errors
/// The store cannot be read.
pub(crate) async fn views(server: &Server, acting: &Acting) -> Result<Vec<ScheduleView>, Problem> {
    let mut views = show::views(server).await?;
    views.retain(|view| view.schedule.clusters().any(|cluster| acting.sees(Some(cluster))));
    Ok(views)
}

/// One schedule.
///
/// # Errors
/// There is none of that name, or they may not see all of its clusters.
pub(crate) async fn view(server: &Server, acting: &Acting, name: &ScheduleName) -> Result<ScheduleView, Problem> {
    let view = show::view(server, name).await?;
    on_its_clusters(server, acting, Action::View, &view.schedule).await?;
    Ok(view)
}

/// Adds a schedule, or replaces the one of its name.
///
/// # Errors
/// They may not start by hand what it starts, or take away what is there; and as for [`edit::put`].
pub(crate) async fn put(server: &Server, acting: &Acting, schedule: Schedule) -> Result<ScheduleView, Problem> {
    refuse_broken(&schedule, now())?;
    if let Ok(before) = show::view(server, &schedule.name).await {
        // To change one is to take the old one away.
        on_its_clusters(server, acting, Action::Attack, &before.schedule).await?;
    }
    as_by_hand(server, acting, &schedule).await?;
    edit::put(server, schedule).await
}

/// Removes a schedule.
///
/// # Errors
/// They may not; and as for [`edit::remove`].
pub(crate) async fn remove(server: &Server, acting: &Acting, name: &ScheduleName) -> Result<Done, Problem> {
    let view = show::view(server, name).await?;
    on_its_clusters(server, acting, Action::Attack, &view.schedule).await?;
    edit::remove(server, name).await
}

/// Lets a schedule start nothing any more.
///
/// # Errors
/// They may not; and as for [`edit::pause`].
pub(crate) async fn pause(
    server: &Server,
    acting: &Acting,
    name: &ScheduleName,
    reason: &str,
) -> Result<ScheduleView, Problem> {
    let view = show::view(server, name).await?;
    on_its_clusters(server, acting, Action::Stop, &view.schedule).await?;
    edit::pause(server, name, reason).await
}

/// Lets a schedule start again.
///
/// # Errors
/// They may not start by hand what it starts; and as for [`edit::resume`].
pub(crate) async fn resume(
    server: &Server,
    acting: &Acting,
    name: &ScheduleName,
    reason: &str,
) -> Result<ScheduleView, Problem> {
    as_by_hand(server, acting, &show::view(server, name).await?.schedule).await?;
    edit::resume(server, name, reason).await
}

/// Closes something for schedules.
///
/// # Errors
/// They may not; and as for [`edit::add_closure`].
pub(crate) async fn add_closure(server: &Server, acting: &Acting, add: AddClosure) -> Result<Closure, Problem> {
    acting.may(server, Action::Operate, &reach(&add.scope)).await?;
    edit::add_closure(server, add).await
}

/// Opens it again.
///
/// # Errors
/// They may not; and as for [`edit::remove_closure`].
pub(crate) async fn remove_closure(server: &Server, acting: &Acting, id: &str) -> Result<Done, Problem> {
    let known = server.store.closures(now()).await.map_err(|error| store_failed(&error))?;
    if let Some(closure) = known.iter().find(|closure| closure.id == id) {
        acting.may(server, Action::Operate, &reach(&closure.scope)).await?;
    }
    edit::remove_closure(server, id).await
}

/// Somebody is there, or leaves.
///
/// # Errors
/// They may not say so; and as for [`edit::say_presence`].
pub(crate) async fn say_presence(server: &Server, acting: &Acting, say: SayPresence) -> Result<Presence, Problem> {
    // For themselves; for others, as a roster does it, with the right to set things up.
    let own = say.person == access::by();
    let action = if own { Action::Operate } else { Action::Configure };
    let object = say.cluster.clone().map_or(Object::Everything, Object::Cluster);
    acting.may(server, action, &object).await?;
    edit::say_presence(server, say).await
}

/// Whether they may do that on every cluster of a schedule.
async fn on_its_clusters(server: &Server, acting: &Acting, action: Action, schedule: &Schedule) -> Result<(), Problem> {
    for cluster in schedule.clusters() {
        acting.may(server, action, &Object::Cluster(cluster.clone())).await?;
    }
    Ok(())
}

/// Whether they may start by hand what the schedule starts.
pub(crate) async fn as_by_hand(server: &Server, acting: &Acting, schedule: &Schedule) -> Result<(), Problem> {
    let experiments = experiments(server, schedule).await?;
    for cluster in schedule.clusters() {
        for experiment in &experiments {
            access::may_run(server, acting, cluster, experiment).await?;
        }
    }
    access::note(&format!("{}: {}", schedule.name, schedule.subject()));
    Ok(())
}

/// What a black-out closes. A service has no grants of its own: its hosts may be of any cluster.
fn reach(scope: &Scope) -> Object {
    match scope {
        Scope::Cluster(cluster) => Object::Cluster(cluster.clone()),
        Scope::All | Scope::Service(_) => Object::Everything,
    }
}
