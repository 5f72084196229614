//! Where messages can go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest accepted text of a channel's setting: addresses with long signatures in them are about 400 characters.
const TEXT_BYTES_MAX: usize = 2048;
/// Most mailboxes of one receiver; more are a mailing list's task.
const MAILBOXES_MAX: usize = 20;

/// A text that is never shown: not in logs, errors, answers or `Debug`. It is serialised as it is, for the way from a
/// client to the server and for what is encrypted.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// How a mail server is talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Encryption {
    /// TLS after the greeting, or not at all: a server that does not offer it is refused.
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// None. On loopback only.
    None,
}

/// One way to a receiver, with what it takes to use it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Channel {
    /// An incoming webhook of Slack. Its address is the secret.
    SlackWebhook {
        /// The address.
        url: Secret,
    },
    /// An app of Slack that posts with `chat.postMessage`.
    SlackApp {
        /// The token of the app's bot.
        token: Secret,
        /// The channel's name or id.
        channel: String,
        /// Another address of the API than Slack's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        api: Option<String>,
    },
    /// A workflow of Microsoft Teams that posts what it gets. Its address is the secret.
    Teams {
        /// The address.
        url: Secret,
    },
    /// Mailboxes, through a mail server.
    Email {
        /// The mail server's name or address.
        host: String,
        /// Its port.
        port: u16,
        /// How it is talked to.
        encryption: Encryption,
        /// As whom.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        /// With which password.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        password: Option<Secret>,
        /// The sender.
        from: String,
        /// The mailboxes.
        to: Vec<String>,
    },
    /// A service of PagerDuty, by the Events API v2.
    PagerDuty {
        /// The integration's key.
        routing_key: Secret,
        /// Another address of the API than PagerDuty's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        api: Option<String>,
    },
    /// Whatever listens there. Each call is signed by the rules of Standard Webhooks.
    Webhook {
        /// The address.
        url: Secret,
        /// `whsec_` and 24 to 64 bytes in base 64.
        secret: Secret,
    },
}

/// Why a receiver cannot be like that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// A setting is empty or too long.
    #[error("the {0} is empty or longer than {TEXT_BYTES_MAX} bytes")]
    Length(&'static str),
    /// An address would send a secret in the clear, or is none.
    #[error("the {0} must be an https:// address with a host, and without a user in it; http:// is for loopback only")]
    Address(&'static str),
    /// A header would be cut in two.
    #[error("the {0} has a character that cannot be sent; only printable ASCII can")]
    Character(&'static str),
    /// No mailbox, or too many.
    #[error("there are {0} mailboxes; give 1 to {MAILBOXES_MAX}")]
    Mailboxes(usize),
    /// A password in the clear.
    #[error("without encryption only a mail server on this host (127.0.0.1, ::1, localhost) is talked to")]
    Clear,
    /// A name without a password or the other way round.
    #[error("a mail server wants both a user and a password, or neither")]
    Login,
    /// Not a signing secret.
    #[error("the signing secret must be whsec_ and 24 to 64 bytes in base 64")]
    SigningSecret,
}

impl Channel {
    /// Its kind, as it is written.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::SlackWebhook { .. } => "slack-webhook",
            Self::SlackApp { .. } => "slack-app",
            Self::Teams { .. } => "teams",
            Self::Email { .. } => "email",
            Self::PagerDuty { .. } => "pager-duty",
            Self::Webhook { .. } => "webhook",
        }
    }

    /// It opens an incident for what lasts, and closes it.
    #[must_use]
    pub const fn keeps_incidents(&self) -> bool {
        matches!(self, Self::PagerDuty { .. })
    }

    /// Where it goes, without anything secret.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::SlackWebhook { url } | Self::Teams { url } | Self::Webhook { url, .. } => {
                host(&url.0).unwrap_or_default().to_owned()
            }
            Self::SlackApp { channel, .. } => channel.clone(),
            Self::Email { host, port, to, .. } => format!("{} by {host}:{port}", to.join(", ")),
            Self::PagerDuty { api, .. } => api.as_deref().and_then(host).unwrap_or("events.pagerduty.com").to_owned(),
        }
    }

    /// Checks it, as far as that goes without talking to anybody.
    ///
    /// # Errors
    /// What is wrong; never with a secret in it.
    pub fn check(&self) -> Result<(), ChannelError> {
        match self {
            Self::SlackWebhook { url } | Self::Teams { url } => address("address", &url.0),
            Self::SlackApp { token, channel, api } => {
                header("token", &token.0)?;
                length("channel", channel)?;
                api.as_deref().map_or(Ok(()), |api| address("address of the API", api))
            }
            Self::PagerDuty { routing_key, api } => {
                length("routing key", &routing_key.0)?;
                api.as_deref().map_or(Ok(()), |api| address("address of the API", api))
            }
            Self::Webhook { url, secret } => {
                address("address", &url.0)?;
                signing_secret(&secret.0)
            }
            Self::Email { host, encryption, user, password, from, to, .. } => {
                length("mail server", host)?;
                length("sender", from)?;
                if to.is_empty() || to.len() > MAILBOXES_MAX {
                    return Err(ChannelError::Mailboxes(to.len()));
                }
                to.iter().try_for_each(|mailbox| length("mailbox", mailbox))?;
                if user.is_some() != password.is_some() {
                    return Err(ChannelError::Login);
                }
                if *encryption == Encryption::None && !is_loopback(host) {
                    return Err(ChannelError::Clear);
                }
                Ok(())
            }
        }
    }
}

fn length(what: &'static str, text: &str) -> Result<(), ChannelError> {
    if text.trim().is_empty() || text.len() > TEXT_BYTES_MAX { Err(ChannelError::Length(what)) } else { Ok(()) }
}

fn header(what: &'static str, text: &str) -> Result<(), ChannelError> {
    length(what, text)?;
    if text.bytes().all(|byte| byte.is_ascii_graphic()) { Ok(()) } else { Err(ChannelError::Character(what)) }
}

fn address(what: &'static str, url: &str) -> Result<(), ChannelError> {
    header(what, url)?;
    let host = host(url).ok_or(ChannelError::Address(what))?;
    if url.starts_with("https://") || is_loopback(host) { Ok(()) } else { Err(ChannelError::Address(what)) }
}

/// The host of an address, without its port; `None`: no address, or one with a user in it.
fn host(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    if authority.is_empty() || authority.contains('@') {
        return None;
    }
    if let Some(six) = authority.strip_prefix('[') {
        return six.split_once(']').map(|(host, _)| host).filter(|host| !host.is_empty());
    }
    authority.split(':').next().filter(|host| !host.is_empty())
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The form only; what the text decodes to is checked by whoever signs.
fn signing_secret(secret: &str) -> Result<(), ChannelError> {
    let text = secret.strip_prefix("whsec_").ok_or(ChannelError::SigningSecret)?;
    let unpadded = text.trim_end_matches('=');
    let base64 = unpadded.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/');
    // Three bytes are four characters.
    let bytes = unpadded.len() * 3 / 4;
    if base64 && text.len().is_multiple_of(4) && (24..=64).contains(&bytes) {
        Ok(())
    } else {
        Err(ChannelError::SigningSecret)
    }
}
