//! Logging in and out with a browser, and who it is that looks.

use crate::access::{self, Acting, COOKIE, COOKIE_TLS, Peer};
use crate::clock::now;
use crate::openid::OpenId;
use crate::problem::Failure;
use crate::server::Server;
use axum::extract::{Form, Query, State};
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::response::{Html, IntoResponse, Redirect, Response};
use firedrill_api::access::{LogIn, LoggedIn};
use firedrill_console::pages;
use serde::Deserialize;
use std::sync::Arc;

#[derive(Debug, Deserialize)]
pub(super) struct Next {
    #[serde(default)]
    pub(super) next: String,
}

/// `GET /login`.
pub(super) async fn page(State(server): State<Arc<Server>>, Query(next): Query<Next>) -> Response {
    if server.access.is_open() {
        return Redirect::to("/").into_response();
    }
    Html(page_with(&server, None, own_page(&next.next))).into_response()
}

/// The page, with what was wrong the last time.
pub(super) fn page_with(server: &Server, problem: Option<&str>, next: &str) -> String {
    pages::log_in(problem, next, server.access.openid().map(OpenId::label))
}

#[derive(Deserialize)]
pub(super) struct LogInForm {
    user: String,
    password: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    next: String,
}

/// `POST /login`.
pub(super) async fn log_in(State(server): State<Arc<Server>>, peer: Peer, Form(form): Form<LogInForm>) -> Response {
    let LogInForm { user, password, code, next } = form;
    let next = own_page(&next);
    let code = Some(code.trim().to_owned()).filter(|code| !code.is_empty());
    match access::log_in(&server, &peer, LogIn { user, password, code }).await {
        Ok(session) => {
            let cookie = cookie(server.config.behind_tls_proxy, &session);
            ([(SET_COOKIE, cookie)], Redirect::to(next)).into_response()
        }
        Err(problem) => {
            (StatusCode::UNAUTHORIZED, Html(page_with(&server, Some(&problem.message), next))).into_response()
        }
    }
}

/// `POST /logout`.
pub(super) async fn log_out(State(server): State<Arc<Server>>, acting: Acting) -> Result<Response, Failure> {
    access::log_out(&server, &acting).await?;
    let over = cookie_line(server.config.behind_tls_proxy, "", 0);
    Ok(([(SET_COOKIE, over)], Redirect::to("/login")).into_response())
}

pub(super) fn cookie(tls: bool, session: &LoggedIn) -> String {
    cookie_line(tls, &session.token, session.expires.since(now()).duration().as_secs())
}

/// Not for scripts, not for other sites, and behind TLS for nothing else.
fn cookie_line(tls: bool, secret: &str, seconds: u64) -> String {
    let (name, secure) = if tls { (COOKIE_TLS, "; Secure") } else { (COOKIE, "") };
    format!("{name}={secret}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

/// A page of this server, whatever stood in the address: never another site.
pub(super) fn own_page(next: &str) -> &str {
    let plain = next.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte));
    if next.starts_with('/') && !next.starts_with("//") && plain { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_log_in_comes_a_page_of_this_server() {
        assert_eq!(own_page("/runs/018f-1"), "/runs/018f-1");
        for other in ["", "//evil.example", "https://evil.example", "/\\evil.example", "/\r\nx", "javascript:alert(1)"]
        {
            assert_eq!(own_page(other), "/", "{other:?}");
        }
    }

    #[test]
    fn the_cookie_is_for_this_server_alone() {
        let line = cookie_line(true, "x", 60);
        for part in ["__Host-", "HttpOnly", "SameSite=Strict", "; Secure", "Path=/"] {
            assert!(line.contains(part), "{line}");
        }
        assert!(!cookie_line(false, "x", 60).contains("Secure"));
    }
}
