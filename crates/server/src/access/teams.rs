//! Teams: what several users may do together.

use super::accounts::{can_give, failed, find, listed};
use super::acting::Acting;
use crate::problem::not_found;
use crate::server::Server;
use firedrill_api::access::{SetTeam, TeamView};
use firedrill_api::http::Problem;
use firedrill_model::TeamName;
use firedrill_store::TeamRecord;

/// Members of one team.
const MEMBERS_MAX: usize = 500;

fn view(team: TeamRecord) -> TeamView {
    let TeamRecord { name, grants, members } = team;
    TeamView { name, grants, members }
}

/// All teams.
pub(crate) async fn teams(server: &Server) -> Result<Vec<TeamView>, Problem> {
    Ok(server.store.teams().await.map_err(failed)?.into_iter().map(view).collect())
}

/// Makes or changes a team.
pub(crate) async fn set_team(
    server: &Server,
    acting: &Acting,
    name: TeamName,
    set: SetTeam,
) -> Result<TeamView, Problem> {
    let SetTeam { grants, members } = set;
    can_give(acting, &grants)?;
    if members.len() > MEMBERS_MAX {
        return Err(super::account(format!("a team has at most {MEMBERS_MAX} members")));
    }
    for member in &members {
        find(server, member).await?;
    }
    super::note(&format!("{} members; grants: {}", members.len(), listed(&grants)));
    let team = TeamRecord { name, grants, members };
    server.store.save_team(&team).await.map_err(failed)?;
    Ok(view(team))
}

/// Removes a team; its members lose what it gave them.
pub(crate) async fn remove_team(server: &Server, name: &TeamName) -> Result<(), Problem> {
    if server.store.remove_team(name).await.map_err(failed)? {
        return Ok(());
    }
    Err(not_found("team", name, "`firedrill team list` shows all"))
}
