//! Users who come by OpenID Connect: what of accounts and sessions that log-in needs.

use super::accounts::{self, GRANTS_MAX, change, failed, find, listed, write_down};
use super::identity::Peer;
use super::{ACCOUNT, AccessControl, RESERVED, TOO_MANY, account};
use crate::clock::now;
use crate::problem::problem;
use crate::server::Server;
use firedrill_api::access::{AuditOutcome, LoggedIn};
use firedrill_api::http::Problem;
use firedrill_model::UserName;
use firedrill_model::access::Grant;
use firedrill_store::UserRecord;
use std::sync::PoisonError;

/// Kept instead of a password: no password has this as its hash.
const NO_PASSWORD: &str = "none: by OpenID Connect";

impl AccessControl {
    /// Encrypts what a browser keeps for this server.
    pub(crate) fn seal(&self, text: &[u8], of: &str) -> Option<String> {
        self.key.seal(text, of)
    }

    /// The reverse; `None`: this server did not make it.
    pub(crate) fn unseal(&self, sealed: &str, of: &str) -> Option<Vec<u8>> {
        self.key.unseal(sealed, of)
    }
}

/// Counts a try from an address, like one with a password: who tries is not known yet.
pub(crate) fn another_try_from(server: &Server, peer: &Peer) -> Result<(), Problem> {
    let tries = &server.access.tries_by_address;
    let taken = tries.lock().unwrap_or_else(PoisonError::into_inner).take(&peer.0, now());
    taken.map_err(|wait| problem(TOO_MANY, format!("too many tries to log in; the next one is taken in {wait}")))
}

/// Begins a session for a user who has proved who they are.
pub(crate) async fn let_in(server: &Server, user: &UserName, peer: &Peer, note: &str) -> Result<LoggedIn, Problem> {
    accounts::begin_session(server, user, peer, note).await
}

/// Writes down that somebody was not let in.
pub(crate) async fn log_in_refused(server: &Server, who: &str, peer: &Peer, why: &str) -> Result<(), Problem> {
    tracing::warn!(user = who, from = peer.0, why, "refused a log-in by OpenID Connect");
    write_down(server, who, peer, AuditOutcome::Denied, why).await
}

/// Whether there is such a user, who may log in.
pub(crate) async fn is_in(server: &Server, user: &UserName) -> Result<bool, Problem> {
    Ok(server.store.user(user).await.map_err(failed)?.is_some_and(|user| !user.disabled))
}

/// Gives a user what their groups give them, instead of what those of the last log-in did; what has changed, for the log.
pub(crate) async fn follow_groups(server: &Server, name: &UserName, grants: Vec<Grant>) -> Result<String, Problem> {
    if find(server, name).await?.grants == grants {
        return Ok(String::new());
    }
    let now = listed(&grants);
    match change(server, name, |user| UserRecord { grants, ..user }).await {
        Ok(_) => Ok(format!("; may now: {}", if now.is_empty() { "nothing" } else { &now })),
        // Somebody must be able to manage users, whatever the groups say.
        Err(problem) if problem.code == ACCOUNT && problem.refused => {
            tracing::warn!(user = %name, "the last admin keeps what they have, though their groups give it no more");
            Ok("; keeps what they have, as the last admin of everything".to_owned())
        }
        Err(problem) => Err(problem),
    }
}

/// Makes a user; false: there is one of that name. As long as the server is open its first user is made by hand.
pub(crate) async fn make_by_openid(
    server: &Server,
    name: &UserName,
    grants: Vec<Grant>,
    (issuer, subject): (&str, &str),
) -> Result<bool, Problem> {
    let _one_at_a_time = server.access.changing.lock().await;
    if RESERVED.contains(&name.as_str()) || server.access.is_open() || grants.len() > GRANTS_MAX {
        return Err(account(format!(
            "no user {name} can be made by a log-in: the name means something else here, there is no first user yet, or the \
             groups give more than {GRANTS_MAX} grants"
        )));
    }
    let user = UserRecord {
        name: name.clone(),
        password: NO_PASSWORD.to_owned(),
        grants,
        disabled: false,
        totp: None,
        totp_on: false,
        created: now(),
        last_login: None,
    };
    server.store.add_user_of(&user, issuer, subject).await.map_err(failed)
}
