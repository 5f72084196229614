//! Logging in with a browser by OpenID Connect.

use super::log_in::{self, Next, own_page};
use crate::access::Peer;
use crate::openid::{self, OpenId, RETURN, Returned, TRY_WITHIN};
use crate::problem::{Failure, not_found};
use crate::server::Server;
use axum::extract::{Query, State};
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{AppendHeaders, Html, IntoResponse, Redirect, Response};
use firedrill_api::http::Problem;
use firedrill_console::pages;
use std::sync::Arc;

/// The cookie of one try to log in.
const TRY_COOKIE: &str = "firedrill-openid";
/// The same behind TLS: browsers take one of this name only with `Secure`.
const TRY_COOKIE_TLS: &str = "__Secure-firedrill-openid";

fn set_up(server: &Server) -> Result<&OpenId, Failure> {
    let next = "the log-in page shows the ways in that there are; openid.json in the data directory sets this one up";
    server.access.openid().ok_or_else(|| Failure(not_found("log-in", "by OpenID Connect", next)))
}

/// `GET /login/openid`: sends a browser to the identity provider.
pub(super) async fn begin(
    State(server): State<Arc<Server>>,
    peer: Peer,
    Query(next): Query<Next>,
) -> Result<Response, Failure> {
    let openid = set_up(&server)?;
    if server.access.is_open() {
        return Ok(Redirect::to("/").into_response());
    }
    Ok(match openid::begin(&server, openid, &peer, own_page(&next.next)).await {
        Ok(begun) => {
            let cookie = try_cookie(server.config.behind_tls_proxy, &begun.cookie, TRY_WITHIN.duration().as_secs());
            ([(SET_COOKIE, cookie)], Redirect::to(&begun.address)).into_response()
        }
        Err(problem) => again(&server, &problem),
    })
}

/// `GET /login/openid/return`: lets a browser in that comes back from there.
pub(super) async fn come_back(
    State(server): State<Arc<Server>>,
    peer: Peer,
    headers: HeaderMap,
    Query(returned): Query<Returned>,
) -> Result<Response, Failure> {
    let openid = set_up(&server)?;
    let tls = server.config.behind_tls_proxy;
    // Whatever comes of it, this try is over.
    let over = try_cookie(tls, "", 0);
    Ok(match openid::finish(&server, openid, &peer, sent(&headers), returned).await {
        Ok((session, next)) => {
            let cookies = AppendHeaders([(SET_COOKIE, over), (SET_COOKIE, log_in::cookie(tls, &session))]);
            // A page and not a redirect: after one that began at the provider's page the browser would not send the new
            // cookie, which is for this server's own pages.
            (cookies, Html(pages::logged_in(own_page(&next)))).into_response()
        }
        Err(problem) => (AppendHeaders([(SET_COOKIE, over)]), again(&server, &problem)).into_response(),
    })
}

/// The log-in page with what was wrong.
fn again(server: &Server, problem: &Problem) -> Response {
    let text = format!("{} ({})", problem.message, problem.code);
    (StatusCode::UNAUTHORIZED, Html(log_in::page_with(server, Some(&text), "/"))).into_response()
}

fn sent(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == TRY_COOKIE_TLS || *name == TRY_COOKIE).map(|(_, sealed)| sealed)
}

/// Not for scripts, for the way back alone; other sites' links may bring it, for the provider's page is one.
fn try_cookie(tls: bool, sealed: &str, seconds: u64) -> String {
    let (name, secure) = if tls { (TRY_COOKIE_TLS, "; Secure") } else { (TRY_COOKIE, "") };
    format!("{name}={sealed}; Path={RETURN}; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_of_a_try_is_for_the_way_back_alone() {
        let line = try_cookie(true, "x", 600);
        for part in ["__Secure-", "HttpOnly", "SameSite=Lax", "; Secure", "Path=/login/openid/return;", "Max-Age=600"] {
            assert!(line.contains(part), "{line}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, "a=b; firedrill-openid=x; c=d".parse().expect("a header"));
        assert_eq!(sent(&headers), Some("x"));
    }
}
