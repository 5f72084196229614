//! Who may do what: who asks ([`identity`]), what each call needs ([`rules`]), the door that every call goes through
//! ([`gate`]), and the log of what was asked ([`audit`]). The rule itself is `firedrill_model::access::authorise`.
//!
//! As long as there is no user the server is *open*: it listens on loopback only, and whoever reaches it acts as
//! `local`, an admin of everything. The first user closes it, for good.

mod accounts;
mod acting;
mod attacking;
pub mod audit;
mod codes;
mod gate;
mod identity;
mod limiter;
mod openid;
mod password;
mod rules;
pub(crate) mod secrets;
mod teams;
mod tokens;

pub(crate) use acting::{Acting, by, note, tell};
pub(crate) use attacking::{may_approve, may_run, may_start_attack, may_start_run};
pub(crate) use gate::gate;
pub(crate) use identity::{COOKIE, COOKIE_TLS, Peer};
pub use rules::{Access as Needed, RULES, Rule, Scope as NeededOn, rule_for};
pub use secrets::KeyError;
pub(crate) use {accounts::*, openid::*, teams::*, tokens::*};

use crate::openid::OpenId;
use crate::problem::problem;
use firedrill_api::http::Problem;
use firedrill_model::access::{Grant, Principal, Role};
use limiter::{Limiter, Pace};
pub(crate) use secrets::Key;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Semaphore;

/// Whoever asks has not logged in.
pub(crate) const NOT_LOGGED_IN: &str = "S060";
/// Whoever asks may not do that.
pub(crate) const DENIED: &str = "S061";
/// Name, password or code are wrong.
pub(crate) const LOG_IN: &str = "S062";
/// Too many calls, or tries to log in.
pub(crate) const TOO_MANY: &str = "S063";
/// A user, team or token cannot be made or changed like that.
pub(crate) const ACCOUNT: &str = "S064";
/// A call has no entry in the table of access.
pub(crate) const NO_RULE: &str = "S065";

/// The name of whoever reaches an open server and does not say another.
pub(crate) const LOCAL: &str = "local";
/// Longest name that somebody can say on an open server, in characters; longer ones are cut.
const NAME_CHARS_MAX: usize = 80;
/// Names that no user can have, because they mean something else in logs.
const RESERVED: [&str; 3] = [LOCAL, "server", "nobody"];

/// Hashing a password takes 19 MiB and some ten milliseconds of a processor: two at once leave the rest to the drills.
const HASHES_AT_ONCE: usize = 2;

/// What access control remembers while the server runs.
pub(crate) struct AccessControl {
    /// There is no user.
    open: AtomicBool,
    key: Key,
    calls: Mutex<Limiter>,
    tries_by_user: Mutex<Limiter>,
    tries_by_address: Mutex<Limiter>,
    hashing: Semaphore,
    /// One change of users at a time, so that two cannot take the last admins away from each other.
    changing: tokio::sync::Mutex<()>,
    openid: Option<OpenId>,
}

impl AccessControl {
    /// Reads the key from the data directory, or makes it there.
    pub(crate) fn open(data_dir: &Path, has_users: bool, openid: Option<OpenId>) -> Result<Self, KeyError> {
        Ok(Self {
            open: AtomicBool::new(!has_users),
            key: Key::open(&data_dir.join("secrets.key"))?,
            calls: Mutex::new(Limiter::new(Pace::CALLS)),
            tries_by_user: Mutex::new(Limiter::new(Pace::TRIES_BY_USER)),
            tries_by_address: Mutex::new(Limiter::new(Pace::TRIES_BY_ADDRESS)),
            hashing: Semaphore::new(HASHES_AT_ONCE),
            changing: tokio::sync::Mutex::default(),
            openid,
        })
    }

    /// Whether nobody has to log in.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Log-in by OpenID Connect, where it is set up.
    pub(crate) fn openid(&self) -> Option<&OpenId> {
        self.openid.as_ref()
    }

    /// From now on everybody has to log in.
    fn close(&self) {
        self.open.store(false, Ordering::Release);
    }
}

/// Whoever reaches an open server, by the name that they say.
fn local(said: Option<&str>) -> Principal {
    let name = said.map(str::trim).filter(|name| !name.is_empty()).unwrap_or(LOCAL);
    Principal {
        name: name.chars().take(NAME_CHARS_MAX).collect(),
        grants: vec![Grant::everywhere(Role::Admin)],
        token: None,
    }
}

fn account(message: impl Into<String>) -> Problem {
    problem(ACCOUNT, message)
}
