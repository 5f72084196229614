//! On the wire. What is said of a failure has the receiver's status in it, never its text: an error page may repeat an
//! address that is a secret.

use super::sign;
use firedrill_model::message::channel::{Channel, Encryption, Secret};
use firedrill_model::message::render::{Accepts, Outgoing};
use firedrill_model::message::retry::Tried;
use firedrill_model::{Span, Timestamp};
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use std::error::Error;
use std::sync::OnceLock;
use std::time::Duration;

/// Longest try, from the connection to the answer. Chats answer within a second, mail servers may look senders up.
pub(super) const SEND_WITHIN: Duration = Duration::from_secs(20);
/// Of an answer, what is read: Slack's says ok or not in the beginning.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Sends, once.
pub(super) async fn send(
    http: &OnceLock<reqwest::Client>,
    channel: &Channel,
    outgoing: Outgoing,
    id: &str,
    now: Timestamp,
) -> Tried {
    let sending = async {
        match outgoing {
            Outgoing::Mail { subject, text } => mail(channel, subject, text, id).await,
            post @ Outgoing::Post { .. } => self::post(http, post, id, now).await,
        }
    };
    match tokio::time::timeout(SEND_WITHIN, sending).await {
        Ok(tried) => tried,
        Err(_) => later(format!("no answer within {}", Span(SEND_WITHIN))),
    }
}

fn later(why: impl Into<String>) -> Tried {
    Tried::Later { why: why.into(), after: None }
}

fn never(why: impl Into<String>) -> Tried {
    Tried::Never { why: why.into() }
}

/// Made at the first use: it needs the certificates of the system, which a server without receivers does not.
fn client(http: &OnceLock<reqwest::Client>) -> Result<reqwest::Client, reqwest::Error> {
    if let Some(client) = http.get() {
        return Ok(client.clone());
    }
    firedrill_api::client::install_crypto();
    let made = reqwest::Client::builder()
        .timeout(SEND_WITHIN)
        // A redirect would carry a secret to somebody who was not meant.
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("firedrill/", env!("CARGO_PKG_VERSION")))
        .build()?;
    Ok(http.get_or_init(|| made).clone())
}

async fn post(http: &OnceLock<reqwest::Client>, outgoing: Outgoing, id: &str, now: Timestamp) -> Tried {
    let Outgoing::Post { url, bearer, signing, body, accepts } = outgoing else { return never("it is a mail") };
    let client = match client(http) {
        Ok(client) => client,
        Err(error) => return later(format!("no TLS client can be made: {}", causes(&error))),
    };
    let mut request = client.post(&url.0).header(CONTENT_TYPE, "application/json");
    if let Some(token) = bearer {
        let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", token.0)) else {
            return never("the token cannot be sent in a header");
        };
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    if let Some(Secret(secret)) = signing {
        let seconds = now.millis().div_euclid(1000);
        let Some(signature) = sign::signature(&secret, id, seconds, &body) else {
            return never("the signing secret is not whsec_ and base 64");
        };
        request = request
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", signature);
    }
    match request.body(body).send().await {
        Ok(response) => answered(response, accepts).await,
        Err(error) if error.is_builder() => never("the address is none"),
        Err(error) => later(causes(&error.without_url())),
    }
}

async fn answered(response: reqwest::Response, accepts: Accepts) -> Tried {
    let status = response.status();
    let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    if !status.is_success() {
        let why = format!("the receiver answered {status}");
        return match status {
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
                Tried::Later { why, after: after.map(Span::secs) }
            }
            _ if status.is_server_error() => Tried::Later { why, after: after.map(Span::secs) },
            _ if status.is_redirection() => never(format!("{why}: redirects are not followed; give the new address")),
            _ => never(why),
        };
    }
    match accepts {
        Accepts::Success => Tried::Taken,
        Accepts::SlackOk => slack_says(response).await,
    }
}

/// Slack's API says no with status 200 and a word.
async fn slack_says(mut response: reqwest::Response) -> Tried {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(bytes)) if body.len() + bytes.len() <= ANSWER_BYTES_MAX => body.extend_from_slice(&bytes),
            Ok(None) => break,
            Ok(Some(_)) => return later("the answer is longer than Slack's ever are"),
            Err(error) => return later(causes(&error.without_url())),
        }
    }
    let Ok(answer) = serde_json::from_slice::<serde_json::Value>(&body) else {
        return later("the answer is not Slack's");
    };
    if answer["ok"] == true {
        return Tried::Taken;
    }
    let word: String =
        answer["error"].as_str().unwrap_or("nothing").chars().filter(|c| is_of_word(*c)).take(60).collect();
    let why = format!("Slack says {word}");
    let passing = ["ratelimited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"];
    if passing.contains(&word.as_str()) { later(why) } else { never(why) }
}

const fn is_of_word(c: char) -> bool {
    c.is_ascii_lowercase() || c == '_'
}

async fn mail(channel: &Channel, subject: String, text: String, id: &str) -> Tried {
    let Channel::Email { host, port, encryption, user, password, from, to } = channel else {
        return never("the receiver is no mailbox");
    };
    let Ok(message) = letter(from, to, subject, text, id) else {
        return never("a mailbox is not an address such as name@example.org");
    };
    let transport = match encryption {
        Encryption::Starttls => AsyncSmtpTransport::<Tokio1Executor>::starttls_relay(host),
        Encryption::Tls => AsyncSmtpTransport::<Tokio1Executor>::relay(host),
        Encryption::None => Ok(AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)),
    };
    let mut transport = match transport {
        Ok(transport) => transport.port(*port).timeout(Some(SEND_WITHIN)),
        Err(error) => return later(format!("no TLS client can be made: {}", causes(&error))),
    };
    if let (Some(user), Some(password)) = (user, password) {
        transport = transport.credentials(Credentials::new(user.clone(), password.0.clone()));
    }
    match transport.build().send(message).await {
        Ok(_) => Tried::Taken,
        Err(error) if error.is_permanent() => never(format!("the mail server says no{}", reply_code(&error))),
        Err(error) if error.is_transient() => later(format!("the mail server says later{}", reply_code(&error))),
        Err(error) => later(causes(&error)),
    }
}

fn reply_code(error: &lettre::transport::smtp::Error) -> String {
    error.status().map_or_else(String::new, |code| format!(" ({code})"))
}

/// The mail, with the delivery's id as its own: mail systems drop a second one of the same id, or show it as the same.
pub(super) fn letter(
    from: &str,
    to: &[String],
    subject: String,
    text: String,
    id: &str,
) -> Result<Message, Box<dyn Error + Send + Sync>> {
    let from: lettre::message::Mailbox = from.parse()?;
    let domain = from.email.domain().to_owned();
    let mut builder = Message::builder().from(from).subject(subject).message_id(Some(format!("<{id}@{domain}>")));
    for mailbox in to {
        builder = builder.to(mailbox.parse()?);
    }
    Ok(builder.header(ContentType::TEXT_PLAIN).body(text)?)
}

/// An error with its causes. Those of connections have addresses of machines in them, no paths.
fn causes(error: &dyn Error) -> String {
    crate::problem::chain(error)
}
