//! Log-in by OpenID Connect: a browser goes to the company's identity provider and comes back with a code, which is
//! exchanged for a signed statement of who it is (authorisation code flow with PKCE).
//!
//! What belongs to one try (state, nonce, verifier) travels in a short-lived cookie that is encrypted with the server's
//! key, so that only the browser that began comes to an end, whichever server it comes back to.
//!
//! **Where to begin**: [`begin`] and [`finish`]; the checks of the statement are pure, in [`token`].

mod provider;
mod settings;
mod token;

pub use settings::SettingsError;

use crate::access::{self, LOG_IN, Peer, secrets};
use crate::clock::now;
use crate::problem::{chain, problem};
use crate::server::Server;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use firedrill_api::access::LoggedIn;
use firedrill_api::http::Problem;
use firedrill_model::{Span, Timestamp, UserName};
use provider::{Inward, Outward, Provider, Trouble};
use serde::{Deserialize, Serialize};
use settings::Settings;
use sha2::{Digest, Sha256};
use std::path::Path;
use token::Claims;

/// Where browsers come back to.
pub(crate) const RETURN: &str = "/login/openid/return";
/// A person logs in at the provider, with a second factor perhaps, within this.
pub(crate) const TRY_WITHIN: Span = Span::secs(600);
/// What the cookie is sealed for.
const SEALED_FOR: &str = "log-in by OpenID Connect";
/// Longest code and state that are looked at; those of providers are some hundred characters.
const RETURNED_CHARS_MAX: usize = 4096;

/// The identity provider cannot be asked, or what it says makes no sense.
pub(crate) const PROVIDER: &str = "S141";
/// The identity provider knows the person, and this server does not let them in.
pub(crate) const NO_USER: &str = "S142";

/// Log-in by OpenID Connect, where it is set up.
#[derive(Debug)]
pub(crate) struct OpenId {
    settings: Settings,
    provider: Provider,
}

impl OpenId {
    /// Reads the settings; `None`: there are none.
    ///
    /// # Errors
    /// They cannot be used.
    pub(crate) fn load(data_dir: &Path) -> Result<Option<Self>, SettingsError> {
        let Some(settings) = Settings::load(data_dir)? else { return Ok(None) };
        match Provider::new() {
            Ok(provider) => Ok(Some(Self { settings, provider })),
            Err(error) => Err(SettingsError::of_client(data_dir, &error)),
        }
    }

    /// What stands on the button.
    pub(crate) fn label(&self) -> &str {
        &self.settings.label
    }
}

/// One try to log in, as it travels in the cookie.
#[derive(Debug, Serialize, Deserialize)]
struct Try {
    state: String,
    nonce: String,
    verifier: String,
    next: String,
    until: Timestamp,
}

/// A browser on its way to the provider.
pub(crate) struct Begun {
    /// Where it is sent to.
    pub(crate) address: String,
    /// What it must come back with.
    pub(crate) cookie: String,
}

/// What a browser comes back with.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Returned {
    code: String,
    state: String,
    error: String,
}

/// Sends a browser to the provider; `next` is the page that it wants.
///
/// # Errors
/// The provider cannot be asked, or there were too many tries.
pub(crate) async fn begin(server: &Server, openid: &OpenId, peer: &Peer, next: &str) -> Result<Begun, Problem> {
    access::another_try_from(server, peer)?;
    let random = || secrets::token("").ok_or_else(access::no_random);
    let attempt = Try {
        state: random()?,
        nonce: random()?,
        verifier: random()?,
        next: next.to_owned(),
        until: now() + TRY_WITHIN,
    };
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(attempt.verifier.as_bytes()));
    let out = Outward { state: &attempt.state, nonce: &attempt.nonce, challenge: &challenge };
    let address = openid.provider.address(&openid.settings, &out).await.map_err(|error| told(&error))?;
    let text = serde_json::to_vec(&attempt).unwrap_or_default();
    let cookie = server.access.seal(&text, SEALED_FOR).ok_or_else(access::no_random)?;
    Ok(Begun { address: address.into(), cookie })
}

/// Lets a browser in that has come back; gives the page that it wants.
///
/// # Errors
/// It is not the browser that began, the provider's statement is not good, or the person is no user.
pub(crate) async fn finish(
    server: &Server,
    openid: &OpenId,
    peer: &Peer,
    cookie: Option<&str>,
    returned: Returned,
) -> Result<(LoggedIn, String), Problem> {
    access::another_try_from(server, peer)?;
    let attempt = match belongs(server, cookie, &returned) {
        Ok(attempt) => attempt,
        Err(why) => return Err(refused(server, "nobody", peer, LOG_IN, why).await?),
    };
    let back = Inward { code: &returned.code, verifier: &attempt.verifier, nonce: &attempt.nonce };
    let claims = match openid.provider.claims(&openid.settings, &back).await {
        Ok(claims) => claims,
        Err(error) => {
            let told = told(&error);
            return Err(refused(server, "nobody", peer, &told.code, told.message).await?);
        }
    };
    let (user, note) = match user(server, &openid.settings, &claims).await? {
        Ok(found) => found,
        Err(why) => {
            let who = openid.settings.name(&claims).map_or_else(|| "nobody".to_owned(), |name| name.to_string());
            return Err(refused(server, &who, peer, NO_USER, why).await?);
        }
    };
    Ok((access::let_in(server, &user, peer, &note).await?, attempt.next))
}

/// The try to which what came back belongs, or why it does not.
fn belongs(server: &Server, cookie: Option<&str>, returned: &Returned) -> Result<Try, String> {
    let begin_again = "begin the log-in again";
    let opened = cookie.and_then(|cookie| server.access.unseal(cookie, SEALED_FOR));
    let attempt: Option<Try> = opened.and_then(|text| serde_json::from_slice(&text).ok());
    let attempt = attempt.ok_or_else(|| format!("this browser has not begun to log in here; {begin_again}"))?;
    if now() >= attempt.until {
        return Err(format!("the log-in took longer than {TRY_WITHIN}; {begin_again}"));
    }
    let (state, code) = (returned.state.as_bytes(), &returned.code);
    if aws_lc_rs::constant_time::verify_slices_are_equal(state, attempt.state.as_bytes()).is_err() {
        return Err(format!("what the browser brings belongs to another log-in; {begin_again}"));
    }
    if !returned.error.is_empty() {
        let word: String = returned.error.chars().filter(|c| c.is_ascii_graphic()).take(80).collect();
        return Err(format!("the identity provider did not let you in ({word}); {begin_again}"));
    }
    if code.is_empty() || code.len() > RETURNED_CHARS_MAX {
        return Err(format!("the browser brings no code of the identity provider; {begin_again}"));
    }
    Ok(attempt)
}

/// Writes a refusal down; gives it.
async fn refused(server: &Server, who: &str, peer: &Peer, code: &str, why: String) -> Result<Problem, Problem> {
    access::log_in_refused(server, who, peer, &why).await?;
    Ok(problem(code, why))
}

fn told(error: &Trouble) -> Problem {
    tracing::warn!(error = %chain(error), "log-in by OpenID Connect");
    match error {
        Trouble::Refused(refused) => problem(LOG_IN, refused.to_string()),
        Trouble::Unusable { .. } => problem(
            PROVIDER,
            "the identity provider cannot be asked, or its answer makes no sense; the server's log says more. Log in with a \
             password, or try again later",
        ),
    }
}

/// The user for a person of the provider, with a line for the audit log; or why there is none.
async fn user(
    server: &Server,
    settings: &Settings,
    claims: &Claims,
) -> Result<Result<(UserName, String), String>, Problem> {
    let by = "by OpenID Connect";
    if let Some(name) = settings.linked(&claims.subject) {
        return Ok(match access::is_in(server, name).await? {
            true => Ok((name.clone(), by.to_owned())),
            false => Err(format!("user {name} is disabled, or there is none; an admin of this server can change that")),
        });
    }
    let grants = settings.grants(claims);
    let known = server.store.user_of(&settings.issuer, &claims.subject).await.map_err(access::failed)?;
    if let Some(name) = known {
        if !access::is_in(server, &name).await? {
            return Ok(Err(format!("user {name} is disabled; an admin of this server can change that")));
        }
        // Whoever left all groups may do nothing any more.
        let note = access::follow_groups(server, &name, grants.unwrap_or_default()).await?;
        return Ok(Ok((name, format!("{by}{note}"))));
    }
    let Some(grants) = grants.filter(|_| settings.make_users) else {
        return Ok(Err(format!(
            "{} is no user of this server; an admin adds one and names the subject {:?} under `users` in openid.json, or \
             puts one of your groups under `groups`",
            settings.name(claims).map_or_else(|| "this account".to_owned(), |name| name.to_string()),
            claims.subject
        )));
    };
    let Some(name) = settings.name(claims) else {
        return Ok(Err(
            "the identity provider says no name that could be one here (`name_claim` in openid.json)".to_owned()
        ));
    };
    // A name is not who somebody is: people can often choose theirs.
    if !access::make_by_openid(server, &name, grants, (&settings.issuer, &claims.subject)).await? {
        return Ok(Err(format!(
            "there is another user {name} already; if it is the same person, an admin names the subject {:?} for {name} under \
             `users` in openid.json",
            claims.subject
        )));
    }
    Ok(Ok((name.clone(), format!("{by}; user {name} was made"))))
}
