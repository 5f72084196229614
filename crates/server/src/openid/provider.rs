//! What is asked of the identity provider: where things are, its keys, and a token for a code.

use super::settings::{Settings, trusted};
use super::token::{self, Claims, Expected, Key, Refused};
use crate::clock::now;
use crate::problem::chain;
use firedrill_model::{Span, Timestamp};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Client, RequestBuilder, Url, redirect};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// A person waits for the page; a provider that takes longer is as good as away.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Largest answer; keys and tokens are some kilobytes.
const ANSWER_BYTES_MAX: usize = 256 << 10;
/// What was learned is asked anew after this long, so that a key that was withdrawn does not stay good.
const LEARNED_FOR: Span = Span::secs(600);
/// A token with an unknown key makes the keys be asked for anew, but not more often than this: anybody can make one up.
const KEYS_EVERY: Span = Span::secs(1);

/// Why the provider could not be asked, or what it said makes no sense. For the log; the person is told the outline.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("{url}: {problem}")]
    Unusable { url: String, problem: String },
    #[error(transparent)]
    Refused(#[from] Refused),
}

fn unusable(url: impl ToString, problem: impl ToString) -> Trouble {
    Trouble::Unusable { url: url.to_string(), problem: problem.to_string() }
}

/// RFC 7636, section 4.2: by SHA-256. In two parts, as it looks like a code of an error here.
const CHALLENGE_METHOD: &str = concat!("S", "256");

/// The provider's description of itself (OpenID Connect Discovery 1.0, section 3).
#[derive(Debug, Clone, Deserialize)]
struct Description {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Tokens {
    id_token: String,
}

/// What was learned from the provider, and when.
#[derive(Debug, Clone)]
struct Learned {
    at: Timestamp,
    description: Description,
    keys_at: Timestamp,
    keys: Arc<[Key]>,
}

/// The provider.
#[derive(Debug)]
pub(super) struct Provider {
    http: Client,
    /// One asks, the others wait for what it learns.
    learned: Mutex<Option<Learned>>,
}

/// What goes with a browser to the provider.
#[derive(Debug)]
pub(super) struct Outward<'o> {
    pub(super) state: &'o str,
    pub(super) nonce: &'o str,
    /// The hash of what the code will be exchanged with (RFC 7636).
    pub(super) challenge: &'o str,
}

/// What comes back with it.
#[derive(Debug)]
pub(super) struct Inward<'i> {
    pub(super) code: &'i str,
    pub(super) verifier: &'i str,
    pub(super) nonce: &'i str,
}

impl Provider {
    pub(super) fn new() -> Result<Self, reqwest::Error> {
        firedrill_api::client::install_crypto();
        // A redirect could lead a secret elsewhere.
        let http = Client::builder().redirect(redirect::Policy::none()).timeout(ANSWER_WITHIN);
        let http = http.user_agent(concat!("firedrill/", env!("CARGO_PKG_VERSION"))).build()?;
        Ok(Self { http, learned: Mutex::default() })
    }

    /// Where a browser is sent to.
    pub(super) async fn address(&self, settings: &Settings, out: &Outward<'_>) -> Result<Url, Trouble> {
        let endpoint = self.learned(settings).await?.description.authorization_endpoint;
        let mut url = trusted(&endpoint).map_err(|problem| unusable(&endpoint, problem))?;
        let scope = std::iter::once("openid").chain(settings.scopes.iter().map(String::as_str));
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &settings.client_id)
            .append_pair("redirect_uri", &settings.redirect)
            .append_pair("scope", &scope.collect::<Vec<_>>().join(" "))
            .append_pair("state", out.state)
            .append_pair("nonce", out.nonce)
            .append_pair("code_challenge", out.challenge)
            .append_pair("code_challenge_method", CHALLENGE_METHOD);
        Ok(url)
    }

    /// Exchanges a code for what the provider says of a person, checked.
    pub(super) async fn claims(&self, settings: &Settings, back: &Inward<'_>) -> Result<Claims, Trouble> {
        let learned = self.learned(settings).await?;
        let Tokens { id_token } = self.exchange(settings, &learned.description, back).await?;
        let expected = |now| Expected { issuer: &settings.issuer, client: &settings.client_id, nonce: back.nonce, now };
        match token::check(&id_token, &learned.keys, expected(now())) {
            Err(Refused::UnknownKey) => {
                let keys = self.keys_anew(settings).await?;
                Ok(token::check(&id_token, &keys, expected(now()))?)
            }
            checked => Ok(checked?),
        }
    }

    async fn exchange(
        &self,
        settings: &Settings,
        description: &Description,
        back: &Inward<'_>,
    ) -> Result<Tokens, Trouble> {
        let endpoint = &description.token_endpoint;
        let url = trusted(endpoint).map_err(|problem| unusable(endpoint, problem))?;
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", back.code),
            ("redirect_uri", settings.redirect.as_str()),
            ("code_verifier", back.verifier),
        ];
        let methods = description.token_endpoint_auth_methods_supported.as_deref();
        // In the header unless the provider says that it takes the secret in the body only.
        let in_header = methods.is_none_or(|all| all.iter().any(|one| one == "client_secret_basic"));
        let mut request = self.http.post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        match &settings.secret {
            Some(secret) if in_header => {
                let pair = format!("{}:{}", encoded(&settings.client_id), encoded(&secret.0));
                let pair = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pair);
                request = request.header(AUTHORIZATION, format!("Basic {pair}"));
            }
            Some(secret) => {
                fields.extend([("client_id", settings.client_id.as_str()), ("client_secret", secret.0.as_str())]);
            }
            None => fields.push(("client_id", settings.client_id.as_str())),
        }
        ask(endpoint, request.body(form(&fields))).await
    }

    /// What is known of the provider, asked for when it is not known or old.
    async fn learned(&self, settings: &Settings) -> Result<Learned, Trouble> {
        let mut learned = self.learned.lock().await;
        if let Some(known) = learned.as_ref().filter(|known| now().since(known.at) < LEARNED_FOR) {
            return Ok(known.clone());
        }
        let url = format!("{}/.well-known/openid-configuration", settings.issuer.trim_end_matches('/'));
        let description: Description = ask(&url, self.http.get(&url)).await?;
        if description.issuer != settings.issuer {
            let problem =
                format!("it names itself {:?}, and the settings say {:?}", description.issuer, settings.issuer);
            return Err(unusable(url, problem));
        }
        let keys = self.keys(&description).await?;
        let at = now();
        Ok(learned.insert(Learned { at, description, keys_at: at, keys }).clone())
    }

    /// The keys of this moment, unless they were asked for just now.
    async fn keys_anew(&self, settings: &Settings) -> Result<Arc<[Key]>, Trouble> {
        let known = self.learned(settings).await?;
        let mut learned = self.learned.lock().await;
        match learned.as_mut() {
            Some(learned) if now().since(learned.keys_at) >= KEYS_EVERY => {
                // Also when it fails: the next try waits, too.
                learned.keys_at = now();
                learned.keys = self.keys(&learned.description).await?;
                Ok(Arc::clone(&learned.keys))
            }
            _ => Ok(known.keys),
        }
    }

    async fn keys(&self, description: &Description) -> Result<Arc<[Key]>, Trouble> {
        let url = trusted(&description.jwks_uri).map_err(|problem| unusable(&description.jwks_uri, problem))?;
        let Keys { keys } = ask(&description.jwks_uri, self.http.get(url)).await?;
        // A key of a kind that is not known is none of ours.
        Ok(keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).collect())
    }
}

async fn ask<T: DeserializeOwned>(url: &str, request: RequestBuilder) -> Result<T, Trouble> {
    let failed = |error: reqwest::Error| unusable(url, chain(&error.without_url()));
    let mut answer = request.header(ACCEPT, "application/json").send().await.map_err(failed)?;
    let status = answer.status();
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(failed)? {
        if body.len() + piece.len() > ANSWER_BYTES_MAX {
            return Err(unusable(url, format!("its answer is longer than {ANSWER_BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&piece);
    }
    if !status.is_success() {
        // `{"error": "invalid_grant", …}`: a word, which holds no secret.
        let said = serde_json::from_slice::<serde_json::Value>(&body).ok();
        let said = said.as_ref().and_then(|said| said.get("error")?.as_str()).unwrap_or("nothing more");
        return Err(unusable(url, format!("HTTP status {status}, {}", said.chars().take(80).collect::<String>())));
    }
    // What was read is not in the message: it may be a token.
    serde_json::from_slice(&body).map_err(|_| unusable(url, "its answer is not what the standard says"))
}

/// `application/x-www-form-urlencoded`.
fn form(fields: &[(&str, &str)]) -> String {
    let pairs = fields.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}

fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_keeps_what_it_is_given() {
        assert_eq!(form(&[("a", "b c&d"), ("e", "ü~")]), "a=b%20c%26d&e=%C3%BC%7E");
    }
}
