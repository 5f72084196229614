//! One's own account.

use super::people::malformed;
use super::{clusters, frame, refused};
use crate::access::{self, Acting};
use crate::clock::now;
use crate::http::Routes;
use crate::problem::{Failure, not_found};
use crate::server::Server;
use axum::extract::{Form, Path, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use firedrill_api::access::{ChangePassword, CreateToken, CreatedToken};
use firedrill_api::http::Problem;
use firedrill_console::account::{self, Account};
use firedrill_console::{Place, Typed, grants};
use firedrill_model::UserName;
use std::sync::Arc;

type Shared = State<Arc<Server>>;
type Fields = Form<Vec<(String, String)>>;

/// The pages of this module.
pub(super) fn router() -> Routes {
    Routes::new()
        .route("/account", get(show))
        .route("/account/password", post(password))
        .route("/account/codes", post(make_key))
        .route("/account/codes/confirm", post(confirm))
        .route("/account/codes/remove", post(remove))
        .route("/account/tokens", post(create))
        .route("/account/tokens/{token}/revoke", post(revoke))
}

/// What the page of whoever looks shows.
async fn mine(server: &Server, acting: &Acting) -> Result<Account, Failure> {
    let mut page = Account { clusters: clusters(server, acting), now: now(), ..Account::default() };
    if !server.access.is_open() {
        let me = me(acting)?;
        let users = access::users(server).await?;
        page.codes = users.iter().any(|user| user.name == me && user.totp);
        page.tokens = access::tokens(server, acting).await?;
        page.tokens.retain(|token| token.owner == me);
    }
    Ok(page)
}

fn me(acting: &Acting) -> Result<UserName, Problem> {
    let name = &acting.principal().name;
    name.parse().map_err(|_| not_found("account", name, "add the first user at /people"))
}

fn drawn(server: &Server, acting: &Acting, page: &Account) -> String {
    account::page(&frame(server, acting, "Account", Place::People), page)
}

/// To a page after something was done, or the account with why it was not.
async fn after(
    server: &Server,
    acting: &Acting,
    done: Result<&'static str, Problem>,
    typed: Typed,
) -> Result<Response, Failure> {
    match done {
        Ok(to) => Ok(Redirect::to(to).into_response()),
        Err(why) => {
            let page = Account { problem: Some(why), typed, ..mine(server, acting).await? };
            Ok(refused(drawn(server, acting, &page)))
        }
    }
}

/// `GET /account`.
async fn show(State(server): Shared, acting: Acting) -> Result<Html<String>, Failure> {
    Ok(Html(drawn(&server, &acting, &mine(&server, &acting).await?)))
}

/// `POST /account/password`: the session of this page ends with it.
async fn password(State(server): Shared, acting: Acting, Form(pairs): Fields) -> Result<Response, Failure> {
    let typed = Typed::of(pairs);
    let change = ChangePassword { old: Some(typed.get("old").to_owned()), new: typed.get("new").to_owned() };
    let changed = access::change_password(&server, &acting, &me(&acting)?, change).await;
    after(&server, &acting, changed.map(|()| "/login"), Typed::default()).await
}

/// `POST /account/codes`: the answer to the form itself, for the key is in no address and is shown this once.
async fn make_key(State(server): Shared, acting: Acting) -> Result<Response, Failure> {
    match access::make_totp(&server, &acting, &me(&acting)?).await {
        Ok(key) => {
            let page = Account { key: Some(key), ..mine(&server, &acting).await? };
            Ok(Html(drawn(&server, &acting, &page)).into_response())
        }
        Err(why) => after(&server, &acting, Err(why), Typed::default()).await,
    }
}

/// `POST /account/codes/confirm`.
async fn confirm(State(server): Shared, acting: Acting, Form(pairs): Fields) -> Result<Response, Failure> {
    let typed = Typed::of(pairs);
    let confirmed = access::confirm_totp(&server, &acting, &me(&acting)?, typed.get("code")).await;
    after(&server, &acting, confirmed.map(|()| "/account"), Typed::default()).await
}

/// `POST /account/codes/remove`.
async fn remove(State(server): Shared, acting: Acting) -> Result<Response, Failure> {
    let removed = access::remove_totp(&server, &acting, &me(&acting)?).await;
    after(&server, &acting, removed.map(|()| "/account"), Typed::default()).await
}

/// `POST /account/tokens`: the answer to the form itself, for the secret is in no address and is shown this once.
async fn create(State(server): Shared, acting: Acting, Form(pairs): Fields) -> Result<Response, Failure> {
    let typed = Typed::of(pairs);
    match make(&server, &acting, &typed).await {
        Ok(created) => {
            let frame = frame(&server, &acting, "API token", Place::People);
            Ok(Html(account::token(&frame, &created)).into_response())
        }
        Err(why) => after(&server, &acting, Err(why), typed).await,
    }
}

async fn make(server: &Server, acting: &Acting, typed: &Typed) -> Result<CreatedToken, Problem> {
    let good_for = typed.get("good_for").trim().parse().map_err(malformed)?;
    let grants = vec![grants::read(typed).map_err(malformed)?];
    let label = typed.get("label").trim().to_owned();
    access::create_token(server, acting, CreateToken { label, grants, good_for }).await
}

/// `POST /account/tokens/{token}/revoke`.
async fn revoke(State(server): Shared, acting: Acting, Path(token): Path<String>) -> Result<Response, Failure> {
    let revoked = access::revoke_token(&server, &acting, &token).await;
    after(&server, &acting, revoked.map(|()| "/account"), Typed::default()).await
}
