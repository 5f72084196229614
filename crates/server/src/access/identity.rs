//! Who asks: by the secret of a session or an API token, or, as long as there are no users, by being on this machine.

use super::{NOT_LOGGED_IN, local};
use crate::authority::sha256_hex;
use crate::clock::now;
use crate::problem::{problem, store_failed};
use crate::server::Server;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use firedrill_api::guards::PERSON_HEADER;
use firedrill_api::http::Problem;
use firedrill_model::access::{Grant, Principal};
use firedrill_model::{Span, Timestamp, UserName};
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The cookie of a session.
pub(crate) const COOKIE: &str = "firedrill-session";
/// The same behind TLS: browsers take one of this name only with `Secure` and for this host alone.
pub(crate) const COOKIE_TLS: &str = "__Host-firedrill-session";

/// A session that is not used for this long is over.
const IDLE_AFTER: Span = Span::secs(8 * 3600);
/// The last use of a token or session is kept so exactly: a write per call would cost more than the call.
const USE_EXACT_TO: Span = Span::secs(60);

/// Somebody who was recognised.
pub(super) struct Known {
    pub(super) principal: Principal,
    /// The hash of the session's secret.
    pub(super) session: Option<String>,
    /// The browser sent it by itself: another site's page may be behind the call.
    pub(super) by_cookie: bool,
}

/// What a request shows.
#[derive(Debug, PartialEq, Eq)]
enum Shown<'a> {
    Nothing,
    Bearer(&'a str),
    Cookie(&'a str),
}

/// An explicit secret comes before the cookie.
fn shown(headers: &HeaderMap) -> Shown<'_> {
    let text = |name| headers.get(name).and_then(|value: &axum::http::HeaderValue| value.to_str().ok());
    if let Some(secret) = text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer ")) {
        return Shown::Bearer(secret.trim());
    }
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let ours = pairs.find(|(name, _)| *name == COOKIE_TLS || *name == COOKIE);
    ours.map_or(Shown::Nothing, |(_, secret)| Shown::Cookie(secret))
}

/// Who sent a request.
///
/// # Errors
/// Nobody who may come in; what to do is in the message.
pub(super) async fn recognise(server: &Server, headers: &HeaderMap) -> Result<Known, Problem> {
    if server.access.is_open() {
        let said = headers.get(PERSON_HEADER).and_then(|value| value.to_str().ok());
        return Ok(Known { principal: local(said), session: None, by_cookie: false });
    }
    let stranger = |why: &str| {
        let text = format!("{why}; `firedrill login`, or give an API token with --token or FIREDRILL_TOKEN");
        problem(NOT_LOGGED_IN, text)
    };
    let (secret, by_cookie) = match shown(headers) {
        Shown::Nothing => return Err(stranger("this server wants to know who you are")),
        Shown::Bearer(secret) => (secret, false),
        Shown::Cookie(secret) => (secret, true),
    };
    let hash = sha256_hex(secret.as_bytes());
    let found = if by_cookie { None } else { by_token(server, &hash).await? };
    let (owner, token, session) = match found {
        Some(Ok((owner, grants))) => (owner, Some(grants), None),
        Some(Err(why)) => return Err(stranger(&why)),
        None => match by_session(server, &hash).await? {
            Some(owner) => (owner, None, Some(hash)),
            None => return Err(stranger("the session is over, or the token is not one of this server")),
        },
    };
    let principal = principal(server, &owner, token).await?;
    let principal = principal.ok_or_else(|| stranger(&format!("user {owner} is disabled")))?;
    Ok(Known { principal, session, by_cookie })
}

/// The user with all that they have; `None`: disabled.
async fn principal(server: &Server, owner: &UserName, token: Option<Vec<Grant>>) -> Result<Option<Principal>, Problem> {
    let store_failed = |error| store_failed(&error);
    let Some(user) = server.store.user(owner).await.map_err(store_failed)?.filter(|user| !user.disabled) else {
        return Ok(None);
    };
    let mut grants = user.grants;
    grants.extend(server.store.grants_by_teams(owner).await.map_err(store_failed)?);
    Ok(Some(Principal { name: owner.to_string(), grants, token }))
}

type TokenOwner = Result<(UserName, Vec<Grant>), String>;

/// The owner of an API token and what it is good for, or why it is not good; `None`: it is no API token.
async fn by_token(server: &Server, hash: &str) -> Result<Option<TokenOwner>, Problem> {
    let failed = |error| store_failed(&error);
    let Some(token) = server.store.api_token_by_hash(hash).await.map_err(failed)? else { return Ok(None) };
    let now = now();
    if token.revoked {
        return Ok(Some(Err(format!("the API token {} was revoked", token.id))));
    }
    if token.expires <= now {
        return Ok(Some(Err(format!("the API token {} has expired", token.id))));
    }
    if is_old(token.last_used, now) {
        server.store.api_token_used(&token.id, now).await.map_err(failed)?;
    }
    Ok(Some(Ok((token.owner, token.grants))))
}

async fn by_session(server: &Server, hash: &str) -> Result<Option<UserName>, Problem> {
    let failed = |error| store_failed(&error);
    let Some(session) = server.store.session(hash).await.map_err(failed)? else { return Ok(None) };
    let now = now();
    if session.expires <= now || now.since(session.last_used) > IDLE_AFTER {
        server.store.end_session(hash).await.map_err(failed)?;
        return Ok(None);
    }
    if is_old(Some(session.last_used), now) {
        server.store.session_used(hash, now).await.map_err(failed)?;
    }
    Ok(Some(session.owner))
}

fn is_old(last_used: Option<Timestamp>, now: Timestamp) -> bool {
    last_used.is_none_or(|last| now.since(last) > USE_EXACT_TO)
}

/// The address that a request comes from; behind a proxy, the one that the proxy names.
#[derive(Debug, Clone)]
pub(crate) struct Peer(pub(crate) String);

impl FromRequestParts<Arc<Server>> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, server: &Arc<Server>) -> Result<Self, Infallible> {
        let socket = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        let named = server.config.behind_tls_proxy.then(|| forwarded(&parts.headers)).flatten();
        Ok(Self(named.or(socket).map_or_else(|| "unknown".to_owned(), |address| address.to_string())))
    }
}

impl aide::OperationInput for Peer {}

/// The last address of `X-Forwarded-For`: the one that the proxy itself saw. Those before it are what a client claims.
fn forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
    last.rsplit(',').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().expect("a header"));
        }
        headers
    }

    #[test]
    fn an_explicit_secret_comes_before_the_cookie() {
        assert_eq!(shown(&headers(&[])), Shown::Nothing);
        assert_eq!(shown(&headers(&[("cookie", "a=b; firedrill-session=x")])), Shown::Cookie("x"));
        assert_eq!(shown(&headers(&[("cookie", "__Host-firedrill-session=y")])), Shown::Cookie("y"));
        let both = headers(&[("cookie", "firedrill-session=x"), ("authorization", "Bearer z")]);
        assert_eq!(shown(&both), Shown::Bearer("z"));
        assert_eq!(shown(&headers(&[("authorization", "Basic z")])), Shown::Nothing);
    }

    #[test]
    fn only_what_the_proxy_saw_counts() {
        let lines = headers(&[("x-forwarded-for", "6.6.6.6, 10.0.0.7")]);
        assert_eq!(forwarded(&lines), Some("10.0.0.7".parse().expect("an address")));
        assert_eq!(forwarded(&headers(&[("x-forwarded-for", "nonsense")])), None);
    }
}
