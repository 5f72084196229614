//! Users, log-in, tokens, teams and the audit log.

use super::body::{Body, Parameters};
use super::name;
use crate::access::{self, Acting, Peer, audit};
use crate::problem::Failure;
use crate::server::Server;
use axum::Json;
use axum::extract::{Path, State};
use firedrill_api::access::{
    AddUser, AuditEntry, ChangePassword, Code, CreateToken, CreatedToken, Grants, LogIn, LoggedIn, Me, SetTeam,
    TeamView, TokenView, TotpKey, UserView, Verified,
};
use firedrill_api::http::Done;
use firedrill_model::UserName;
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

type Shared = State<Arc<Server>>;
type Answer<T> = Result<Json<T>, Failure>;

const DONE: Json<Done> = Json(Done {});
/// Entries of the audit log when nothing else was asked for.
const AUDIT_ROWS: u32 = 100;

/// `POST /login`.
pub(super) async fn log_in(State(server): Shared, peer: Peer, Body(asked): Body<LogIn>) -> Answer<LoggedIn> {
    Ok(Json(access::log_in(&server, &peer, asked).await?))
}

/// `POST /logout`.
pub(super) async fn log_out(State(server): Shared, acting: Acting) -> Answer<Done> {
    access::log_out(&server, &acting).await?;
    Ok(DONE)
}

/// `GET /me`.
pub(super) async fn me(State(server): Shared, acting: Acting) -> Json<Me> {
    Json(access::me(&server, &acting))
}

/// `GET /users`.
pub(super) async fn users(State(server): Shared) -> Answer<Vec<UserView>> {
    Ok(Json(access::users(&server).await?))
}

/// `POST /users`.
pub(super) async fn add_user(State(server): Shared, acting: Acting, Body(add): Body<AddUser>) -> Answer<UserView> {
    Ok(Json(access::add_user(&server, &acting, add).await?))
}

fn user(path: Path<String>) -> Result<UserName, Failure> {
    name(path, "user")
}

/// `POST /users/{user}/grants`.
pub(super) async fn set_grants(
    State(server): Shared,
    acting: Acting,
    path: Path<String>,
    Body(set): Body<Grants>,
) -> Answer<UserView> {
    Ok(Json(access::set_grants(&server, &acting, &user(path)?, set.grants).await?))
}

/// `POST /users/{user}/password`.
pub(super) async fn change_password(
    State(server): Shared,
    acting: Acting,
    path: Path<String>,
    Body(change): Body<ChangePassword>,
) -> Answer<Done> {
    access::change_password(&server, &acting, &user(path)?, change).await?;
    Ok(DONE)
}

/// `POST /users/{user}/disable`.
pub(super) async fn disable(State(server): Shared, path: Path<String>) -> Answer<UserView> {
    Ok(Json(access::disable(&server, &user(path)?, true).await?))
}

/// `POST /users/{user}/enable`.
pub(super) async fn enable(State(server): Shared, path: Path<String>) -> Answer<UserView> {
    Ok(Json(access::disable(&server, &user(path)?, false).await?))
}

/// `POST /users/{user}/totp`.
pub(super) async fn make_totp(State(server): Shared, acting: Acting, path: Path<String>) -> Answer<TotpKey> {
    Ok(Json(access::make_totp(&server, &acting, &user(path)?).await?))
}

/// `POST /users/{user}/totp/confirm`.
pub(super) async fn confirm_totp(
    State(server): Shared,
    acting: Acting,
    path: Path<String>,
    Body(code): Body<Code>,
) -> Answer<Done> {
    access::confirm_totp(&server, &acting, &user(path)?, &code.code).await?;
    Ok(DONE)
}

/// `POST /users/{user}/totp/remove`.
pub(super) async fn remove_totp(State(server): Shared, acting: Acting, path: Path<String>) -> Answer<Done> {
    access::remove_totp(&server, &acting, &user(path)?).await?;
    Ok(DONE)
}

/// `GET /teams`.
pub(super) async fn teams(State(server): Shared) -> Answer<Vec<TeamView>> {
    Ok(Json(access::teams(&server).await?))
}

/// `PUT /teams/{team}`.
pub(super) async fn set_team(
    State(server): Shared,
    acting: Acting,
    path: Path<String>,
    Body(set): Body<SetTeam>,
) -> Answer<TeamView> {
    Ok(Json(access::set_team(&server, &acting, name(path, "team")?, set).await?))
}

/// `DELETE /teams/{team}`.
pub(super) async fn remove_team(State(server): Shared, path: Path<String>) -> Answer<Done> {
    access::remove_team(&server, &name(path, "team")?).await?;
    Ok(DONE)
}

/// `GET /tokens`.
pub(super) async fn tokens(State(server): Shared, acting: Acting) -> Answer<Vec<TokenView>> {
    Ok(Json(access::tokens(&server, &acting).await?))
}

/// `POST /tokens`.
pub(super) async fn create_token(
    State(server): Shared,
    acting: Acting,
    Body(create): Body<CreateToken>,
) -> Answer<CreatedToken> {
    Ok(Json(access::create_token(&server, &acting, create).await?))
}

/// `POST /tokens/{token}/revoke`.
pub(super) async fn revoke_token(State(server): Shared, acting: Acting, Path(id): Path<String>) -> Answer<Done> {
    access::revoke_token(&server, &acting, &id).await?;
    Ok(DONE)
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct AuditQuery {
    after: Option<u64>,
    limit: Option<u32>,
}

/// `GET /audit`: what is after an entry, oldest first; without `after` the newest entries.
pub(super) async fn audit_entries(
    State(server): Shared,
    Parameters(query): Parameters<AuditQuery>,
) -> Answer<Vec<AuditEntry>> {
    let limit = query.limit.unwrap_or(AUDIT_ROWS);
    let rows = match query.after {
        Some(after) => server.store.audit_after(after, limit).await?,
        None => server.store.newest_audit(limit).await?,
    };
    Ok(Json(rows.into_iter().map(audit::entry).collect()))
}

/// `GET /audit/verify`.
pub(super) async fn verify_audit(State(server): Shared) -> Answer<Verified> {
    Ok(Json(audit::verify(&server).await?))
}
