//! A host gets its certificate for a one-time token.

use crate::authority::sha256_hex;
use crate::clock::now;
use crate::problem::{Failure, MALFORMED, TOKEN, problem};
use crate::server::Server;
use axum::Json;
use axum::extract::State;
use firedrill_api::http::{Problem, Token};
use firedrill_api::link::{Enrol, Enrolled};
use firedrill_model::timeline::{EventKind, Scope};
use firedrill_model::{HostName, Severity, Span};
use firedrill_store::{NewCertificate, TokenUse};
use std::sync::Arc;

/// A token is used within minutes, by a person or a script that has just asked for it.
const TOKEN_GOOD_FOR: Span = Span::secs(3600);

/// Makes a token for one host.
pub(crate) async fn token(server: &Server, host: &HostName) -> Result<Token, Failure> {
    // 244 random bits from the operating system.
    let token = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
    let now = now();
    let expires = now + TOKEN_GOOD_FOR;
    server.store.add_token(&sha256_hex(token.as_bytes()), host, expires, now).await?;
    let (authority_sha256, link_address) = (server.authority().fingerprint(), server.link_address().to_string());
    Ok(Token { token, expires, authority_sha256, link_address })
}

/// `POST /link/v1/enrol`.
pub(super) async fn enrol(State(server): State<Arc<Server>>, body: Json<Enrol>) -> Result<Json<Enrolled>, Failure> {
    let Json(Enrol { token, host, signing_request }) = body;
    let life = server.config.agent_certificate_life;
    let signed = server
        .authority()
        .sign_agent(&signing_request, &host, life)
        .map_err(|error| problem(MALFORMED, format!("the signing request of host {host} cannot be used: {error}")))?;
    let now = now();
    let certificate = NewCertificate { fingerprint: &signed.fingerprint, expires: now + life.into() };
    let used = server.store.use_token(&sha256_hex(token.as_bytes()), &host, certificate, now).await?;
    if let Some(problem) = refusal(&host, &used) {
        tracing::warn!(%host, ?used, "refused an enrolment");
        return Err(Failure(problem));
    }
    let scope = Scope { host: Some(host.clone()), ..Scope::default() };
    server.timeline.append(Severity::Info, EventKind::Agent, format!("host {host} has enrolled"), scope).await;
    Ok(Json(Enrolled { certificate: signed.pem, authority: server.authority().pem().to_owned() }))
}

/// Why a token is not accepted, and what to do; `None` when it is.
fn refusal(host: &HostName, used: &TokenUse) -> Option<Problem> {
    let (why, owner) = match used {
        TokenUse::Accepted => return None,
        TokenUse::Unknown => ("this server has not given out this enrolment token".to_owned(), host),
        TokenUse::OtherHost(owner) => (format!("this enrolment token is for host {owner}, not for {host}"), owner),
        TokenUse::Expired(owner, _) => (format!("this enrolment token for host {owner} has expired"), owner),
        TokenUse::Used(owner, _) => (format!("this enrolment token for host {owner} was used before"), owner),
    };
    // The asking host gets the next step for itself, also when it shows another one's token.
    let next = if owner == host { String::new() } else { format!(" on host {host}") };
    Some(problem(
        TOKEN,
        format!("{why}; get a new one with `firedrill host token {host}` and start the agent{next} with it"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use firedrill_model::Timestamp;

    #[test]
    fn each_refusal_names_the_tokens_host_and_the_next_step() {
        let (host, other): (HostName, HostName) = ("east-1".parse().expect("name"), "west-1".parse().expect("name"));
        assert_eq!(refusal(&host, &TokenUse::Accepted), None);
        for used in [
            TokenUse::OtherHost(other.clone()),
            TokenUse::Expired(other.clone(), Timestamp(1)),
            TokenUse::Used(other, Timestamp(1)),
        ] {
            let message = refusal(&host, &used).expect("refused").message;
            assert!(message.contains("west-1") && message.contains("firedrill host token east-1"), "{message}");
        }
    }
}
