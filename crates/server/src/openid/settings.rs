//! How log-in by OpenID Connect is set up: one JSON file in the data directory.

use super::token::Claims;
use firedrill_model::UserName;
use firedrill_model::access::Grant;
use reqwest::Url;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The file.
const FILE: &str = "openid.json";
/// Longest name that a user can have, as for every name.
const NAME_CHARS_MAX: usize = 40;

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct SettingsError {
    /// The file.
    path: PathBuf,
    /// What is wrong with it, and what would be right.
    problem: String,
}

impl SettingsError {
    /// No HTTP client could be made to ask the provider with.
    pub(super) fn of_client(data_dir: &Path, error: &reqwest::Error) -> Self {
        Self { path: data_dir.join(FILE), problem: format!("no HTTP client could be made: {error}") }
    }
}

/// The settings as they stand in the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// The provider, as it names itself.
    pub(super) issuer: String,
    /// How the provider knows this server.
    pub(super) client_id: String,
    /// A file with the secret that goes with it; without one the provider must take clients that have none.
    #[serde(default)]
    client_secret_file: Option<PathBuf>,
    /// The address of this server as browsers know it, with the path `/login/openid/return`.
    pub(super) redirect: String,
    /// What stands on the button.
    #[serde(default = "usual_label")]
    pub(super) label: String,
    /// What is asked for beside `openid`.
    #[serde(default = "usual_scopes")]
    pub(super) scopes: Vec<String>,
    /// The claim by which a new user is named.
    #[serde(default = "usual_name_claim")]
    name_claim: String,
    /// The claim that lists groups.
    #[serde(default = "usual_groups_claim")]
    groups_claim: String,
    /// What members of a group may do.
    #[serde(default)]
    groups: BTreeMap<String, Vec<Grant>>,
    /// Whoever is in one of `groups` becomes a user at the first log-in.
    #[serde(default)]
    pub(super) make_users: bool,
    /// Users that there are already, by their subject at the provider.
    #[serde(default)]
    users: BTreeMap<String, UserName>,
    /// The content of `client_secret_file`.
    #[serde(skip)]
    pub(super) secret: Option<Secret>,
}

/// A secret that is not printed by mistake.
#[derive(Clone)]
pub(super) struct Secret(pub(super) String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

fn usual_label() -> String {
    "the company's account".to_owned()
}

fn usual_scopes() -> Vec<String> {
    ["profile", "email", "groups"].map(str::to_owned).to_vec()
}

fn usual_name_claim() -> String {
    "preferred_username".to_owned()
}

fn usual_groups_claim() -> String {
    "groups".to_owned()
}

impl Settings {
    /// Reads them; `None`: there is no file, and no such log-in.
    pub(super) fn load(data_dir: &Path) -> Result<Option<Self>, SettingsError> {
        let path = data_dir.join(FILE);
        let failed = |problem: String| SettingsError { path: path.clone(), problem };
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error.to_string())),
        };
        let mut settings: Self = serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?;
        settings.check().map_err(failed)?;
        if let Some(file) = &settings.client_secret_file {
            let secret = std::fs::read_to_string(file)
                .map_err(|error| failed(format!("`client_secret_file` {}: {error}", file.display())))?;
            let secret = secret.trim();
            if secret.is_empty() {
                return Err(failed(format!("`client_secret_file` {} is empty", file.display())));
            }
            settings.secret = Some(Secret(secret.to_owned()));
        }
        Ok(Some(settings))
    }

    fn check(&self) -> Result<(), String> {
        trusted(&self.issuer).map_err(|problem| format!("`issuer`: {problem}"))?;
        let redirect = trusted(&self.redirect).map_err(|problem| format!("`redirect`: {problem}"))?;
        if redirect.path() != super::RETURN || redirect.query().is_some() {
            return Err(format!("`redirect` must end in {}, which is where browsers come back to", super::RETURN));
        }
        if self.make_users && self.groups.is_empty() {
            return Err("`make_users` needs `groups`: whoever is in none of them does not become a user".to_owned());
        }
        Ok(())
    }

    /// What a person may do by their groups; `None`: they are in none that is named here.
    pub(super) fn grants(&self, claims: &Claims) -> Option<Vec<Grant>> {
        let groups = claims.texts(&self.groups_claim);
        let mut given = groups.iter().filter_map(|group| self.groups.get(*group)).peekable();
        given.peek()?;
        let mut grants: Vec<Grant> = Vec::new();
        for grant in given.flatten() {
            if !grants.contains(grant) {
                grants.push(grant.clone());
            }
        }
        Some(grants)
    }

    /// The user that an administrator has named for a subject.
    pub(super) fn linked(&self, subject: &str) -> Option<&UserName> {
        self.users.get(subject)
    }

    /// The name of a new user; `None`: the provider says none that could be one.
    pub(super) fn name(&self, claims: &Claims) -> Option<UserName> {
        let said = claims.text(&self.name_claim).or_else(|| claims.text("email"))?;
        user_name(said)
    }
}

/// `Ada.Lovelace@example.org` is `ada-lovelace`.
fn user_name(said: &str) -> Option<UserName> {
    let local = said.split('@').next().unwrap_or_default().to_lowercase();
    let name: String = local.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let name: String = name.trim_matches('-').chars().take(NAME_CHARS_MAX).collect();
    name.trim_matches('-').parse().ok()
}

/// An address to which secrets may go: with TLS, or on this machine.
pub(super) fn trusted(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{text:?} is not an address: {error}"))?;
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if url.scheme() == "https" || (url.scheme() == "http" && loopback) {
        return Ok(url);
    }
    Err(format!("{text:?} must begin with https:// (http:// only on this machine)"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use firedrill_model::access::Role;
    use serde_json::json;

    fn settings(more: serde_json::Value) -> Settings {
        let mut all = json!({
            "issuer": "https://id.example", "client_id": "firedrill",
            "redirect": "https://drills.example/login/openid/return",
        });
        for (name, value) in more.as_object().cloned().unwrap_or_default() {
            all[name] = value;
        }
        serde_json::from_value(all).expect("settings")
    }

    #[test]
    fn groups_give_what_is_written_and_others_nothing() {
        let groups = json!({"groups": {"dba": [{"role": "admin"}], "dev": [{"role": "viewer"}], "none": []}});
        let settings = settings(groups);
        let grants = |groups| settings.grants(&Claims::made("7", json!({"groups": groups})));
        assert_eq!(grants(json!(["dba"])), Some(vec![Grant::everywhere(Role::Admin)]));
        assert_eq!(grants(json!("dev")), Some(vec![Grant::everywhere(Role::Viewer)]));
        assert_eq!(grants(json!(["dev", "dev", "dba"])).expect("two").len(), 2);
        assert_eq!(grants(json!(["none"])), Some(Vec::new()));
        assert_eq!(grants(json!(["others"])), None);
        assert_eq!(grants(json!({"dba": true})), None);
    }

    #[test]
    fn a_name_becomes_one_of_ours_or_none() {
        for (said, name) in [("Ada.Lovelace@example.org", "ada-lovelace"), ("bob", "bob"), ("_x_", "x")] {
            assert_eq!(user_name(said).expect("a name").as_str(), name);
        }
        for said in ["", "@example.org", "...", "Æ"] {
            assert_eq!(user_name(said), None, "{said}");
        }
        assert_eq!(user_name(&"x".repeat(99)).expect("cut").as_str().len(), NAME_CHARS_MAX);
    }

    #[test]
    fn what_would_give_secrets_away_is_refused() {
        assert!(settings(json!({})).check().is_ok());
        for (name, value) in [
            ("issuer", "http://id.example"),
            ("issuer", "id.example"),
            ("redirect", "http://drills.example/login/openid/return"),
            ("redirect", "https://drills.example/"),
        ] {
            let problem = settings(json!({ name: value })).check().expect_err("refused");
            assert!(problem.contains(name), "{problem}");
        }
        assert!(settings(json!({"make_users": true})).check().is_err());
        assert!(settings(json!({"issuer": "http://127.0.0.1:9"})).check().is_ok());
    }
}
