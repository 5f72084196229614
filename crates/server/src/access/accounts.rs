//! Users: log-in, and what is changed about them.

use super::acting::Acting;
use super::identity::Peer;
use super::{ACCOUNT, LOCAL, LOG_IN, RESERVED, TOO_MANY, account, audit, codes, password, secrets};
use crate::authority::sha256_hex;
use crate::clock::now;
use crate::problem::{not_found, problem, refusal, store_failed};
use crate::server::Server;
use firedrill_api::access::{
    AddUser, AuditOutcome, AuditRecord, ChangePassword, LogIn, LoggedIn, Me, TotpKey, UserView,
};
use firedrill_api::http::Problem;
use firedrill_model::access::{Action, Grant, Object, Principal};
use firedrill_model::{Span, UserName};
use firedrill_store::{SessionRecord, StoreError, UserRecord};
use std::sync::PoisonError;
use std::time::Duration;

/// A session is over after this long, also when it is used all the time.
const SESSION_LASTS: Span = Span::secs(24 * 3600);
/// Sessions of one user at once; the oldest ends when there is one more.
const SESSIONS_MAX: u32 = 20;
/// Whoever waits longer for a free place to hash comes again.
const HASH_WITHIN: Duration = Duration::from_secs(10);
/// A name that was tried is cut to this in logs and as a key of the limits.
const TRIED_CHARS_MAX: usize = 64;
/// Grants of one user or team.
pub(super) const GRANTS_MAX: usize = 50;

pub(crate) fn failed(error: StoreError) -> Problem {
    store_failed(&error)
}

/// Begins a session.
///
/// # Errors
/// Name, password or code are wrong, which of them is not said; or there were too many tries.
pub(crate) async fn log_in(server: &Server, peer: &Peer, asked: LogIn) -> Result<LoggedIn, Problem> {
    let tried: String = asked.user.chars().filter(|c| !c.is_control()).take(TRIED_CHARS_MAX).collect();
    another_try(server, &tried, peer)?;
    let user = match asked.user.parse::<UserName>() {
        Ok(name) => server.store.user(&name).await.map_err(failed)?.filter(|user| !user.disabled),
        Err(_) => None,
    };
    let right = verify(server, asked.password, user.as_ref().map(|user| user.password.clone())).await?;
    let user = user.filter(|_| right);
    let checked = match &user {
        None => Err("name or password are wrong".to_owned()),
        Some(user) => second_factor(server, user, asked.code.as_deref()).await?,
    };
    let (Some(user), Ok(())) = (user, &checked) else {
        let why = checked.err().unwrap_or_default();
        write_down(server, &tried, peer, AuditOutcome::Denied, &why).await?;
        tracing::warn!(user = tried, from = peer.0, why, "refused a log-in");
        return Err(problem(LOG_IN, why));
    };
    server.access.tries_by_user.lock().unwrap_or_else(PoisonError::into_inner).pardon(&tried);
    begin_session(server, &user.name, peer, "").await
}

/// Begins a session for somebody who has proved who they are, and writes it down.
pub(super) async fn begin_session(
    server: &Server,
    user: &UserName,
    peer: &Peer,
    detail: &str,
) -> Result<LoggedIn, Problem> {
    let token = secrets::token("fds_").ok_or_else(no_random)?;
    let created = now();
    let session = SessionRecord { owner: user.clone(), created, expires: created + SESSION_LASTS, last_used: created };
    write_down(server, user.as_str(), peer, AuditOutcome::Done, detail).await?;
    server.store.add_session(&session, &sha256_hex(token.as_bytes()), SESSIONS_MAX).await.map_err(failed)?;
    Ok(LoggedIn { user: user.clone(), token, expires: session.expires })
}

pub(super) async fn write_down(
    server: &Server,
    who: &str,
    peer: &Peer,
    outcome: AuditOutcome,
    detail: &str,
) -> Result<(), Problem> {
    let (who, from, detail) = (who.to_owned(), peer.0.clone(), detail.to_owned());
    let record = AuditRecord { at: now(), who, from, call: "log-in".to_owned(), outcome, detail };
    audit::append(server, &record).await.map_err(failed)
}

/// Counts before it is known whether it was right: many at once must not all pass.
fn another_try(server: &Server, user: &str, peer: &Peer) -> Result<(), Problem> {
    let now = now();
    let by_address = server.access.tries_by_address.lock().unwrap_or_else(PoisonError::into_inner).take(&peer.0, now);
    let tried = by_address
        .and_then(|()| server.access.tries_by_user.lock().unwrap_or_else(PoisonError::into_inner).take(user, now));
    tried.map_err(|wait| problem(TOO_MANY, format!("too many tries to log in; the next one is taken in {wait}")))
}

/// Whether a needed code is there and right; a code is good once.
async fn second_factor(server: &Server, user: &UserRecord, code: Option<&str>) -> Result<Result<(), String>, Problem> {
    if !user.totp_on {
        return Ok(Ok(()));
    }
    let Some(code) = code.filter(|code| !code.is_empty()) else {
        return Ok(Err("a one-time code is needed, too".to_owned()));
    };
    let wrong = || Err("the one-time code is wrong, or was used before".to_owned());
    let key = totp_key(server, user)?;
    let Some(step) = codes::step_of(&key, code.trim(), now()) else { return Ok(wrong()) };
    let first = server.store.use_totp_step(&user.name, step).await.map_err(failed)?;
    Ok(if first { Ok(()) } else { wrong() })
}

fn totp_key(server: &Server, user: &UserRecord) -> Result<Vec<u8>, Problem> {
    let key = user.totp.as_deref().and_then(|sealed| server.access.key.unseal(sealed, &of_totp(&user.name)));
    key.ok_or_else(|| {
        account(format!(
            "the key of the one-time codes of {} cannot be decrypted, because secrets.key in the data directory is \
             another one; put the right one back, or have an admin remove the codes (`firedrill user totp {} --remove`)",
            user.name, user.name
        ))
    })
}

fn of_totp(user: &UserName) -> String {
    format!("totp of {user}")
}

pub(crate) fn no_random() -> Problem {
    account("the operating system gives no random numbers")
}

async fn verify(server: &Server, password: String, kept: Option<String>) -> Result<bool, Problem> {
    hashing(server, move || password::verify(&password, kept.as_deref())).await
}

/// Hashing on another thread, few at once.
async fn hashing<T: Send + 'static>(server: &Server, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    let busy = || problem(TOO_MANY, "too many log-ins at once; try again in some seconds");
    let permit = tokio::time::timeout(HASH_WITHIN, server.access.hashing.acquire()).await;
    let _permit = permit.map_err(|_| busy())?.map_err(|_| busy())?;
    tokio::task::spawn_blocking(work).await.map_err(|_| busy())
}

/// Ends the session that a request came with.
pub(crate) async fn log_out(server: &Server, acting: &Acting) -> Result<(), Problem> {
    match acting.session() {
        Some(hash) => server.store.end_session(hash).await.map_err(failed),
        None => Err(account("there is no session to end; an API token is revoked with `firedrill token revoke`")),
    }
}

/// Who asks.
pub(crate) fn me(server: &Server, acting: &Acting) -> Me {
    let Principal { name, grants, token } = acting.principal().clone();
    Me { name, open: server.access.is_open(), grants, token }
}

fn view(user: UserRecord) -> UserView {
    let UserRecord { name, grants, disabled, totp_on, created, last_login, .. } = user;
    UserView { name, grants, disabled, totp: totp_on, created, last_login }
}

/// All users.
pub(crate) async fn users(server: &Server) -> Result<Vec<UserView>, Problem> {
    Ok(server.store.users().await.map_err(failed)?.into_iter().map(view).collect())
}

/// Adds a user; the first one closes an open server.
pub(crate) async fn add_user(server: &Server, acting: &Acting, add: AddUser) -> Result<UserView, Problem> {
    let _one_at_a_time = server.access.changing.lock().await;
    let AddUser { name, password, grants } = add;
    if RESERVED.contains(&name.as_str()) {
        return Err(account(format!("{name} is not a name for a user: it means something else in logs")));
    }
    can_give(acting, &grants)?;
    if server.access.is_open() && !grants.iter().any(Grant::is_full_admin) {
        return Err(account(
            "the first user must be an admin of everything (`--role admin`): nobody else could add the next one",
        ));
    }
    let hash = new_hash(server, password, &name).await?;
    let user = UserRecord {
        name,
        password: hash,
        grants,
        disabled: false,
        totp: None,
        totp_on: false,
        created: now(),
        last_login: None,
    };
    super::note(&format!("user {}: {}", user.name, listed(&user.grants)));
    if !server.store.add_user(&user).await.map_err(failed)? {
        return Err(account(format!("there is a user {} already; `firedrill user grant` changes one", user.name)));
    }
    server.access.close();
    Ok(view(user))
}

/// Grants in one line.
pub(super) fn listed(grants: &[Grant]) -> String {
    grants.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

async fn new_hash(server: &Server, password: String, user: &UserName) -> Result<String, Problem> {
    password::check(&password, user.as_str()).map_err(account)?;
    let salt = secrets::random().ok_or_else(no_random)?;
    hashing(server, move || password::hash(&password, salt)).await
}

/// Nobody gives what they do not have.
pub(super) fn can_give(acting: &Acting, grants: &[Grant]) -> Result<(), Problem> {
    if grants.len() > GRANTS_MAX {
        return Err(account(format!("more than {GRANTS_MAX} grants; make a team, or leave the limit to clusters out")));
    }
    match grants.iter().find(|grant| !acting.principal().has(grant)) {
        None => Ok(()),
        Some(grant) => {
            let text = format!("{} cannot give {grant}: nobody gives what they do not have", acting.principal().name);
            Err(refusal(super::DENIED, text))
        }
    }
}

pub(super) async fn find(server: &Server, name: &UserName) -> Result<UserRecord, Problem> {
    let found = server.store.user(name).await.map_err(failed)?;
    found.ok_or_else(|| not_found("user", name, "`firedrill user list` shows all"))
}

/// Whether anybody could still manage users.
fn leaves_an_admin(users: &[UserRecord], changed: &UserRecord) -> bool {
    let others = users.iter().filter(|user| user.name != changed.name);
    others.chain([changed]).any(|user| !user.disabled && user.grants.iter().any(Grant::is_full_admin))
}

/// Changes a user, unless that would leave nobody to manage users.
pub(super) async fn change(
    server: &Server,
    name: &UserName,
    edit: impl FnOnce(UserRecord) -> UserRecord,
) -> Result<UserView, Problem> {
    let _one_at_a_time = server.access.changing.lock().await;
    let user = edit(find(server, name).await?);
    if !leaves_an_admin(&server.store.users().await.map_err(failed)?, &user) {
        let text = format!("{name} is the last admin of everything; make another one first (`firedrill user grant`)");
        return Err(refusal(ACCOUNT, text));
    }
    server.store.save_user(&user).await.map_err(failed)?;
    Ok(view(user))
}

/// Changes what a user may do.
pub(crate) async fn set_grants(
    server: &Server,
    acting: &Acting,
    name: &UserName,
    grants: Vec<Grant>,
) -> Result<UserView, Problem> {
    can_give(acting, &grants)?;
    super::note(&format!("grants: {}", listed(&grants)));
    change(server, name, |user| UserRecord { grants, ..user }).await
}

/// Lets a user not log in any more, or again.
pub(crate) async fn disable(server: &Server, name: &UserName, disabled: bool) -> Result<UserView, Problem> {
    change(server, name, |user| UserRecord { disabled, ..user }).await
}

/// Their own account, with a session; or anybody's, for those who manage users. True: their own.
async fn own_or_governed(server: &Server, acting: &Acting, user: &UserName) -> Result<bool, Problem> {
    let own = acting.principal().name == user.as_str() && acting.principal().name != LOCAL;
    if own && acting.session().is_some() {
        return Ok(true);
    }
    if own {
        return Err(account("an API token does not change its owner's account; `firedrill login` first"));
    }
    acting.may(server, Action::Govern, &Object::Everything).await?;
    Ok(false)
}

/// Changes a password: one's own, with the present one, or another's. All sessions of that user end.
pub(crate) async fn change_password(
    server: &Server,
    acting: &Acting,
    name: &UserName,
    asked: ChangePassword,
) -> Result<(), Problem> {
    let own = own_or_governed(server, acting, name).await?;
    if own {
        another_try(server, name.as_str(), &Peer(acting.from().to_owned()))?;
        let kept = find(server, name).await?.password;
        if !verify(server, asked.old.unwrap_or_default(), Some(kept)).await? {
            return Err(problem(LOG_IN, "the present password is wrong"));
        }
    }
    let password = new_hash(server, asked.new, name).await?;
    change(server, name, |user| UserRecord { password, ..user }).await.map(drop)
}

/// Makes a key for one-time codes, which counts after [`confirm_totp`].
pub(crate) async fn make_totp(server: &Server, acting: &Acting, name: &UserName) -> Result<TotpKey, Problem> {
    own_only(acting, name)?;
    let _one_at_a_time = server.access.changing.lock().await;
    let user = find(server, name).await?;
    if user.totp_on {
        return Err(account("one-time codes are on already; `firedrill user totp --remove` first"));
    }
    let key = secrets::random::<{ codes::KEY_BYTES }>().ok_or_else(no_random)?;
    let sealed = server.access.key.seal(&key, &of_totp(name)).ok_or_else(no_random)?;
    server.store.set_totp(name, Some(&sealed), false).await.map_err(failed)?;
    let key = codes::base32(&key);
    Ok(TotpKey { address: format!("otpauth://totp/firedrill:{name}?secret={key}&issuer=firedrill"), key })
}

/// Only the user holds the telephone.
fn own_only(acting: &Acting, name: &UserName) -> Result<(), Problem> {
    if acting.principal().name == name.as_str() && acting.session().is_some() {
        return Ok(());
    }
    Err(account(format!("only {name} can switch one-time codes on for {name}, after `firedrill login`")))
}

/// Switches one-time codes on, when the code shows that the key has arrived.
pub(crate) async fn confirm_totp(server: &Server, acting: &Acting, name: &UserName, code: &str) -> Result<(), Problem> {
    own_only(acting, name)?;
    another_try(server, name.as_str(), &Peer(acting.from().to_owned()))?;
    let _one_at_a_time = server.access.changing.lock().await;
    let user = find(server, name).await?;
    if user.totp.is_none() {
        return Err(account("there is no key to confirm; `firedrill user totp` makes one"));
    }
    let Some(step) = codes::step_of(&totp_key(server, &user)?, code.trim(), now()) else {
        return Err(problem(LOG_IN, "the one-time code is wrong; is the clock of the telephone right?"));
    };
    server.store.use_totp_step(name, step).await.map_err(failed)?;
    server.store.set_totp(name, user.totp.as_deref(), true).await.map_err(failed)
}

/// Switches one-time codes off.
pub(crate) async fn remove_totp(server: &Server, acting: &Acting, name: &UserName) -> Result<(), Problem> {
    own_or_governed(server, acting, name).await?;
    let _one_at_a_time = server.access.changing.lock().await;
    find(server, name).await?;
    server.store.set_totp(name, None, false).await.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use firedrill_model::Timestamp;
    use firedrill_model::access::Role;

    fn user(name: &str, grants: Vec<Grant>, disabled: bool) -> UserRecord {
        UserRecord {
            name: name.parse().expect("a name"),
            password: String::new(),
            grants,
            disabled,
            totp: None,
            totp_on: false,
            created: Timestamp(0),
            last_login: None,
        }
    }

    #[test]
    fn somebody_can_always_manage_users() {
        let admin = || vec![Grant::everywhere(Role::Admin)];
        let of_one = vec![Grant { cluster: Some("orders".parse().expect("a name")), ..Grant::everywhere(Role::Admin) }];
        let users = [user("ada", admin(), false), user("bob", of_one, false), user("carol", admin(), true)];
        assert!(leaves_an_admin(&users, &user("bob", vec![], false)));
        assert!(!leaves_an_admin(&users, &user("ada", vec![], false)));
        assert!(!leaves_an_admin(&users, &user("ada", admin(), true)));
        assert!(leaves_an_admin(&users, &user("dave", admin(), false)));
    }
}
