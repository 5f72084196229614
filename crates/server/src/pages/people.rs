//! Users and teams.

use super::{clusters, frame, refused};
use crate::access::{self, Acting};
use crate::clock::now;
use crate::http::Routes;
use crate::problem::{Failure, MALFORMED, not_found, problem};
use crate::server::Server;
use axum::extract::{Form, Path, Query, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use firedrill_api::access::{AddUser, ChangePassword, SetTeam, TeamView, UserView};
use firedrill_api::http::Problem;
use firedrill_console::people::{self, OneTeam, OneUser, People};
use firedrill_console::{Place, Typed, grants};
use firedrill_model::access::Grant;
use firedrill_model::{TeamName, UserName};
use serde::Deserialize;
use std::sync::Arc;

type Shared = State<Arc<Server>>;
/// The fields of a form, as a browser sends them.
type Fields = Form<Vec<(String, String)>>;

/// The pages of this module.
pub(super) fn router() -> Routes {
    Routes::new()
        .route("/people", get(list))
        .route("/people/users", post(add_user))
        .route("/people/users/{user}", get(show_user))
        .route("/people/users/{user}/give", post(give_user))
        .route("/people/users/{user}/take", post(take_user))
        .route("/people/users/{user}/password", post(password))
        .route("/people/users/{user}/codes-off", post(codes_off))
        .route("/people/users/{user}/disable", post(disable))
        .route("/people/users/{user}/enable", post(enable))
        .route("/people/teams", post(add_team))
        .route("/people/teams/{team}", get(show_team))
        .route("/people/teams/{team}/give", post(give_team))
        .route("/people/teams/{team}/take", post(take_team))
        .route("/people/teams/{team}/join", post(join))
        .route("/people/teams/{team}/leave", post(leave))
        .route("/people/teams/{team}/delete", post(remove_team))
        .route("/people/tokens/{token}/revoke", post(revoke))
}

/// A form that cannot be read as what it should be.
pub(super) fn malformed(why: impl std::fmt::Display) -> Problem {
    problem(MALFORMED, format!("nothing was changed: {why}"))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NameQuery {
    q: String,
}

/// `GET /people`.
async fn list(State(server): Shared, acting: Acting, Query(query): Query<NameQuery>) -> Result<Html<String>, Failure> {
    Ok(Html(list_page(&server, &acting, query.q, Typed::default(), None).await?))
}

async fn list_page(
    server: &Server,
    acting: &Acting,
    q: String,
    typed: Typed,
    problem: Option<Problem>,
) -> Result<String, Failure> {
    let page = People {
        users: access::users(server).await?,
        teams: access::teams(server).await?,
        tokens: if server.access.is_open() { Vec::new() } else { access::tokens(server, acting).await? },
        clusters: clusters(server, acting),
        q,
        typed,
        now: now(),
        problem,
    };
    Ok(people::page(&frame(server, acting, "People", Place::People), &page))
}

/// To a page after something was done, or the page with all people and why it was not.
async fn back_to_list(
    server: &Server,
    acting: &Acting,
    done: Result<String, Problem>,
    typed: Typed,
) -> Result<Response, Failure> {
    match done {
        Ok(to) => Ok(Redirect::to(&to).into_response()),
        Err(why) => Ok(refused(list_page(server, acting, String::new(), typed, Some(why)).await?)),
    }
}

/// `POST /people/users`.
async fn add_user(State(server): Shared, acting: Acting, Form(pairs): Fields) -> Result<Response, Failure> {
    let typed = Typed::of(pairs);
    let added = add(&server, &acting, &typed).await;
    back_to_list(&server, &acting, added, typed).await
}

async fn add(server: &Server, acting: &Acting, typed: &Typed) -> Result<String, Problem> {
    let name: UserName = typed.get("name").trim().parse().map_err(malformed)?;
    let grants = vec![grants::read(typed).map_err(malformed)?];
    let was_open = server.access.is_open();
    access::add_user(
        server,
        acting,
        AddUser { name: name.clone(), password: typed.get("password").to_owned(), grants },
    )
    .await?;
    // Whoever has added the first user has to log in as that user now.
    Ok(if was_open { "/login".to_owned() } else { format!("/people/users/{name}") })
}

/// `POST /people/tokens/{token}/revoke`.
async fn revoke(State(server): Shared, acting: Acting, Path(token): Path<String>) -> Result<Response, Failure> {
    let revoked = access::revoke_token(&server, &acting, &token).await.map(|()| "/people".to_owned());
    back_to_list(&server, &acting, revoked, Typed::default()).await
}

/// `GET /people/users/{user}`.
async fn show_user(State(server): Shared, acting: Acting, Path(user): Path<String>) -> Result<Html<String>, Failure> {
    let user = find_user(&server, &user).await?;
    Ok(Html(user_page(&server, &acting, user, Typed::default(), None).await?))
}

async fn find_user(server: &Server, name: &str) -> Result<UserView, Failure> {
    let found = access::users(server).await?.into_iter().find(|user| user.name.as_str() == name);
    found.ok_or_else(|| Failure(not_found("user", format!("{name:?}"), "the page of people names them")))
}

async fn user_page(
    server: &Server,
    acting: &Acting,
    user: UserView,
    typed: Typed,
    problem: Option<Problem>,
) -> Result<String, Failure> {
    let mut teams = access::teams(server).await?;
    teams.retain(|team| team.members.contains(&user.name));
    let frame = frame(server, acting, user.name.as_str(), Place::People);
    Ok(people::user(&frame, &OneUser { user, teams, clusters: clusters(server, acting), typed, problem }))
}

/// To the page of the user after something was done, or that page with why it was not.
async fn back_to_user(
    server: &Server,
    acting: &Acting,
    user: UserView,
    done: Result<(), Problem>,
    typed: Typed,
) -> Result<Response, Failure> {
    match done {
        Ok(()) => Ok(Redirect::to(&format!("/people/users/{}", user.name)).into_response()),
        Err(why) => Ok(refused(user_page(server, acting, user, typed, Some(why)).await?)),
    }
}

/// What there is, and one more. Nobody has the same twice.
fn with(mut grants: Vec<Grant>, grant: Grant) -> Vec<Grant> {
    if !grants.contains(&grant) {
        grants.push(grant);
    }
    grants
}

/// What there is, without one.
fn without(mut grants: Vec<Grant>, grant: &Grant) -> Vec<Grant> {
    grants.retain(|own| own != grant);
    grants
}

/// `POST /people/users/{user}/give`.
async fn give_user(
    State(server): Shared,
    acting: Acting,
    Path(user): Path<String>,
    Form(pairs): Fields,
) -> Result<Response, Failure> {
    let (user, typed) = (find_user(&server, &user).await?, Typed::of(pairs));
    let given = match grants::read(&typed) {
        Ok(grant) => set_grants(&server, &acting, &user, with(user.grants.clone(), grant)).await,
        Err(why) => Err(malformed(why)),
    };
    back_to_user(&server, &acting, user, given, typed).await
}

/// `POST /people/users/{user}/take`.
async fn take_user(
    State(server): Shared,
    acting: Acting,
    Path(user): Path<String>,
    Form(pairs): Fields,
) -> Result<Response, Failure> {
    let user = find_user(&server, &user).await?;
    let taken = match grants::whole(&Typed::of(pairs)) {
        Ok(grant) => set_grants(&server, &acting, &user, without(user.grants.clone(), &grant)).await,
        Err(why) => Err(malformed(why)),
    };
    back_to_user(&server, &acting, user, taken, Typed::default()).await
}

async fn set_grants(server: &Server, acting: &Acting, user: &UserView, grants: Vec<Grant>) -> Result<(), Problem> {
    access::set_grants(server, acting, &user.name, grants).await.map(drop)
}

/// `POST /people/users/{user}/password`.
async fn password(
    State(server): Shared,
    acting: Acting,
    Path(user): Path<String>,
    Form(pairs): Fields,
) -> Result<Response, Failure> {
    let user = find_user(&server, &user).await?;
    let change = ChangePassword { old: None, new: Typed::of(pairs).get("password").to_owned() };
    let changed = access::change_password(&server, &acting, &user.name, change).await;
    back_to_user(&server, &acting, user, changed, Typed::default()).await
}

/// `POST /people/users/{user}/codes-off`.
async fn codes_off(State(server): Shared, acting: Acting, Path(user): Path<String>) -> Result<Response, Failure> {
    let user = find_user(&server, &user).await?;
    let off = access::remove_totp(&server, &acting, &user.name).await;
    back_to_user(&server, &acting, user, off, Typed::default()).await
}

/// `POST /people/users/{user}/disable`.
async fn disable(State(server): Shared, acting: Acting, Path(user): Path<String>) -> Result<Response, Failure> {
    set_disabled(&server, &acting, &user, true).await
}

/// `POST /people/users/{user}/enable`.
async fn enable(State(server): Shared, acting: Acting, Path(user): Path<String>) -> Result<Response, Failure> {
    set_disabled(&server, &acting, &user, false).await
}

async fn set_disabled(server: &Server, acting: &Acting, user: &str, disabled: bool) -> Result<Response, Failure> {
    let user = find_user(server, user).await?;
    let set = access::disable(server, &user.name, disabled).await.map(drop);
    back_to_user(server, acting, user, set, Typed::default()).await
}

/// `POST /people/teams`.
async fn add_team(State(server): Shared, acting: Acting, Form(pairs): Fields) -> Result<Response, Failure> {
    let typed = Typed::of(pairs);
    let added = new_team(&server, &acting, &typed).await;
    back_to_list(&server, &acting, added, typed).await
}

async fn new_team(server: &Server, acting: &Acting, typed: &Typed) -> Result<String, Problem> {
    let name: TeamName = typed.get("name").trim().parse().map_err(malformed)?;
    if access::teams(server).await?.iter().any(|team| team.name == name) {
        return Err(malformed(format!("there is a team {name} already; change it on its own page")));
    }
    let members = people::members(typed.get("members")).map_err(malformed)?;
    let grants = vec![grants::read(typed).map_err(malformed)?];
    access::note(&format!("team {name}"));
    access::set_team(server, acting, name.clone(), SetTeam { grants, members }).await?;
    Ok(format!("/people/teams/{name}"))
}

/// `GET /people/teams/{team}`.
async fn show_team(State(server): Shared, acting: Acting, Path(team): Path<String>) -> Result<Html<String>, Failure> {
    let team = find_team(&server, &team).await?;
    Ok(Html(team_page(&server, &acting, team, Typed::default(), None).await?))
}

async fn find_team(server: &Server, name: &str) -> Result<TeamView, Failure> {
    let found = access::teams(server).await?.into_iter().find(|team| team.name.as_str() == name);
    found.ok_or_else(|| Failure(not_found("team", format!("{name:?}"), "the page of people names them")))
}

async fn team_page(
    server: &Server,
    acting: &Acting,
    team: TeamView,
    typed: Typed,
    problem: Option<Problem>,
) -> Result<String, Failure> {
    let users = access::users(server).await?.into_iter().map(|user| user.name).collect();
    let frame = frame(server, acting, &format!("Team {}", team.name), Place::People);
    Ok(people::team(&frame, &OneTeam { team, users, clusters: clusters(server, acting), typed, problem }))
}

/// Changes a team and shows it, or shows it with why it was not changed.
async fn change_team(
    server: &Server,
    acting: &Acting,
    team: TeamView,
    change: Result<SetTeam, String>,
    typed: Typed,
) -> Result<Response, Failure> {
    let done = match change {
        Ok(change) => access::set_team(server, acting, team.name.clone(), change).await.map(drop),
        Err(why) => Err(malformed(why)),
    };
    match done {
        Ok(()) => Ok(Redirect::to(&format!("/people/teams/{}", team.name)).into_response()),
        Err(why) => Ok(refused(team_page(server, acting, team, typed, Some(why)).await?)),
    }
}

/// The team as it is, to be changed.
fn as_it_is(team: &TeamView) -> SetTeam {
    SetTeam { grants: team.grants.clone(), members: team.members.clone() }
}

/// `POST /people/teams/{team}/give`.
async fn give_team(
    State(server): Shared,
    acting: Acting,
    Path(team): Path<String>,
    Form(pairs): Fields,
) -> Result<Response, Failure> {
    let (team, typed) = (find_team(&server, &team).await?, Typed::of(pairs));
    let change =
        grants::read(&typed).map(|grant| SetTeam { grants: with(team.grants.clone(), grant), ..as_it_is(&team) });
    change_team(&server, &acting, team, change, typed).await
}

/// `POST /people/teams/{team}/take`.
async fn take_team(
    State(server): Shared,
    acting: Acting,
    Path(team): Path<String>,
    Form(pairs): Fields,
) -> Result<Response, Failure> {
    let team = find_team(&server, &team).await?;
    let taken = |grant| SetTeam { grants: without(team.grants.clone(), &grant), ..as_it_is(&team) };
    let change = grants::whole(&Typed::of(pairs)).map(taken);
    change_team(&server, &acting, team, change, Typed::default()).await
}

/// `POST /people/teams/{team}/join`.
async fn join(
    State(server): Shared,
    acting: Acting,
    Path(team): Path<String>,
    Form(pairs): Fields,
) -> Result<Response, Failure> {
    let (team, typed) = (find_team(&server, &team).await?, Typed::of(pairs));
    let change = people::members(typed.get("user")).map(|new| {
        let mut change = as_it_is(&team);
        change.members.extend(new.into_iter().filter(|user| !team.members.contains(user)));
        change
    });
    change_team(&server, &acting, team, change, typed).await
}

/// `POST /people/teams/{team}/leave`.
async fn leave(
    State(server): Shared,
    acting: Acting,
    Path(team): Path<String>,
    Form(pairs): Fields,
) -> Result<Response, Failure> {
    let (team, typed) = (find_team(&server, &team).await?, Typed::of(pairs));
    let mut change = as_it_is(&team);
    change.members.retain(|member| member.as_str() != typed.get("user"));
    change_team(&server, &acting, team, Ok(change), Typed::default()).await
}

/// `POST /people/teams/{team}/delete`.
async fn remove_team(State(server): Shared, acting: Acting, Path(team): Path<String>) -> Result<Response, Failure> {
    let team = find_team(&server, &team).await?;
    match access::remove_team(&server, &team.name).await {
        Ok(()) => Ok(Redirect::to("/people").into_response()),
        Err(why) => Ok(refused(team_page(&server, &acting, team, Typed::default(), Some(why)).await?)),
    }
}
