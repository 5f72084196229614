//! Users, log-in, API tokens, teams and the audit log, as they travel.
//!
//! | call | takes | gives |
//! |---|---|---|
//! | `POST /api/v1/login` | [`LogIn`] | [`LoggedIn`] |
//! | `POST /api/v1/logout` | | `Done` |
//! | `GET /api/v1/me` | | [`Me`] |
//! | `GET /api/v1/users`, `POST /api/v1/users` | [`AddUser`] | `Vec<UserView>`, [`UserView`] |
//! | `POST /api/v1/users/{u}/grants` | [`Grants`] | [`UserView`] |
//! | `POST /api/v1/users/{u}/password` | [`ChangePassword`] | `Done` |
//! | `POST /api/v1/users/{u}/disable`, `…/enable` | | [`UserView`] |
//! | `POST /api/v1/users/{u}/totp`, `…/totp/confirm`, `…/totp/remove` | , [`Code`], | [`TotpKey`], `Done`, `Done` |
//! | `GET /api/v1/teams`, `PUT /api/v1/teams/{t}`, `DELETE …` | [`SetTeam`] | `Vec<TeamView>`, [`TeamView`], `Done` |
//! | `GET /api/v1/tokens`, `POST /api/v1/tokens` | [`CreateToken`] | `Vec<TokenView>`, [`CreatedToken`] |
//! | `POST /api/v1/tokens/{id}/revoke` | | `Done` |
//! | `GET /api/v1/audit?after=&limit=` | | `Vec<AuditEntry>`, oldest first |
//! | `GET /api/v1/audit/verify` | | [`Verified`] |
//!
//! A session's or a token's secret is shown as `Authorization: Bearer …`.

use firedrill_model::access::Grant;
use firedrill_model::{Span, TeamName, Timestamp, UserName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who somebody says to be.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogIn {
    /// The name. Any text, so that a wrong one is answered like an unknown one.
    pub user: String,
    /// The password.
    pub password: String,
    /// The one-time code of the moment, for users who have switched that on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

impl std::fmt::Debug for LogIn {
    /// Without the secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogIn").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A session has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LoggedIn {
    /// Who.
    pub user: UserName,
    /// The secret of the session.
    pub token: String,
    /// Over then, also when it is used.
    pub expires: Timestamp,
}

/// Who asks, as the server sees them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Me {
    /// The name.
    pub name: String,
    /// There is no user yet: whoever reaches the server may do everything.
    pub open: bool,
    /// What they may do, of their own and through their teams.
    pub grants: Vec<Grant>,
    /// What the API token that they show is limited to.
    pub token: Option<Vec<Grant>>,
}

/// A new user.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AddUser {
    /// The name.
    pub name: UserName,
    /// The first password.
    pub password: String,
    /// What they may do.
    pub grants: Vec<Grant>,
}

/// What a user may do, instead of what they might before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Grants {
    /// All of it.
    pub grants: Vec<Grant>,
}

/// Another password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangePassword {
    /// The present one; not needed from an admin who changes another's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// The new one.
    pub new: String,
}

/// A user, as everybody who manages users may see them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserView {
    /// The name.
    pub name: UserName,
    /// What they may do, of their own.
    pub grants: Vec<Grant>,
    /// They may not log in.
    pub disabled: bool,
    /// They log in with a one-time code too.
    pub totp: bool,
    /// Since when they exist.
    pub created: Timestamp,
    /// When they logged in last.
    pub last_login: Option<Timestamp>,
}

/// The key of a user's one-time codes, shown once; it counts after a code was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TotpKey {
    /// In base 32, to be typed in.
    pub key: String,
    /// The same as an `otpauth:` address, which applications read from a QR code.
    pub address: String,
}

/// A one-time code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Code {
    /// Six digits.
    pub code: String,
}

/// A team, new or changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SetTeam {
    /// What its members may do.
    pub grants: Vec<Grant>,
    /// Who is in it: all of them.
    pub members: Vec<UserName>,
}

/// A team.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TeamView {
    /// Which.
    pub name: TeamName,
    /// What its members may do.
    pub grants: Vec<Grant>,
    /// Who is in it.
    pub members: Vec<UserName>,
}

/// A new API token of whoever asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreateToken {
    /// What it is for.
    pub label: String,
    /// What it is good for; its owner must have each of these.
    pub grants: Vec<Grant>,
    /// Good for this long.
    pub good_for: Span,
}

/// The new API token: the only time that its secret is seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreatedToken {
    /// The secret.
    pub secret: String,
    /// The rest.
    #[serde(flatten)]
    pub token: TokenView,
}

/// An API token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenView {
    /// By which it is revoked.
    pub id: String,
    /// What it is for.
    pub label: String,
    /// In whose name it acts.
    pub owner: UserName,
    /// What it is good for, as far as its owner may do it.
    pub grants: Vec<Grant>,
    /// Since when it exists.
    pub created: Timestamp,
    /// Until when it is good.
    pub expires: Timestamp,
    /// When it was shown last; exact to a minute.
    pub last_used: Option<Timestamp>,
    /// It is not good any more.
    pub revoked: bool,
}

/// One entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditEntry {
    /// Its number, from 1, without gaps.
    pub sequence: u64,
    /// What it says: a JSON object, byte for byte as it was hashed.
    pub entry: String,
    /// SHA-256, hex, over the hash of the entry before it (64 zeros for the first), its number, and what it says.
    pub hash: String,
}

/// What an entry of the audit log says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditRecord {
    /// When.
    pub at: Timestamp,
    /// Who: a user, `local` while there were none, or the name that was tried at a log-in.
    pub who: String,
    /// From which address.
    pub from: String,
    /// The call, such as `POST /api/v1/halt`, or `log-in`.
    pub call: String,
    /// What came of it.
    pub outcome: AuditOutcome,
    /// On what, with which override, or why not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// What came of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AuditOutcome {
    /// It was allowed and begins. Without an entry for its end it may have happened: the connection broke or the
    /// server stopped.
    Asked,
    /// It was done.
    Done,
    /// A guard or the state of things said no, or it failed.
    Failed,
    /// Whoever asked may not do that.
    Denied,
}

/// What a check of the whole audit log came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verified {
    /// Entries that hold together, from the first on.
    pub entries: u64,
    /// The hash of the last of them: note it elsewhere, and a log that was cut off behind it is found out.
    pub head: String,
    /// The first entry that is not as it was written, and why; nothing after it can be trusted.
    pub broken: Option<Broken>,
}

/// Where a chain is broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Broken {
    /// Which entry.
    pub sequence: u64,
    /// What is wrong with it.
    pub why: String,
}
