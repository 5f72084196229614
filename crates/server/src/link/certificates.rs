//! Agents' certificates: which are in force, and how a host gets its next one.
//!
//! A host has the certificate that it uses and at most one that it was given to go on with. The first use of that one,
//! whichever call it is, takes the other out of force: an agent that is killed at any point of a renewal comes back with
//! one that is good.

use super::Caller;
use crate::access;
use crate::clock::now;
use crate::problem::{CERTIFICATE, EXPIRED, Failure, MALFORMED, REVOKED, problem};
use crate::server::Server;
use axum::Json;
use axum::extract::State;
use firedrill_api::http::{Done, Problem, Revoked};
use firedrill_api::link::{Renew, Renewed};
use firedrill_model::timeline::{EventKind, Scope};
use firedrill_model::{HostName, Severity, Timestamp};
use firedrill_store::{CertificateRecord, NewCertificate, Revocation, StoreError};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A certificate is renewed from this part of its life on: two thirds of it are left to try again in.
const RENEW_AFTER_PART: i64 = 3;
/// Hosts that were enrolled at once do not all come at once again: they spread over this part of the life.
const SPREAD_PART: i64 = 10;

/// From when on a certificate is to be renewed; one without an end at once.
pub(super) fn renew_at(certificate: &CertificateRecord) -> Timestamp {
    let CertificateRecord { fingerprint, issued, expires, .. } = certificate;
    let Some(expires) = expires else { return *issued };
    let life = expires.0.saturating_sub(issued.0).max(0);
    // Two digits of a hash are as good as a random number, and the same after a restart.
    let draw = fingerprint.get(..2).and_then(|digits| i64::from_str_radix(digits, 16).ok()).unwrap_or(0);
    Timestamp(issued.0 + life / RENEW_AFTER_PART + life / SPREAD_PART * draw / 256)
}

/// The caller's certificate, which it may go on with.
///
/// # Errors
/// It is not in force: revoked, expired, or replaced.
pub(super) async fn in_force(server: &Server, caller: &Caller) -> Result<CertificateRecord, Failure> {
    let (host, now) = (&caller.host, now());
    match server.store.certificate(host, &caller.fingerprint).await? {
        Some(certificate) if certificate.expires.is_none_or(|expires| now < expires) => Ok(certificate),
        Some(_) => {
            Err(Failure(problem(EXPIRED, format!("the certificate of host {host} has expired; {}", next(host)))))
        }
        None => Err(Failure(not_in_force(host, server.store.revocation(host).await?))),
    }
}

/// As [`in_force`]; from now on it is the host's only one.
pub(super) async fn taken_into_use(server: &Server, caller: &Caller) -> Result<CertificateRecord, Failure> {
    let certificate = in_force(server, caller).await?;
    if certificate.used.is_none() && !server.store.use_certificate(&caller.host, &caller.fingerprint, now()).await? {
        return Err(Failure(not_in_force(&caller.host, server.store.revocation(&caller.host).await?)));
    }
    Ok(certificate)
}

fn not_in_force(host: &HostName, revocation: Option<Revocation>) -> Problem {
    match revocation {
        Some(Revocation { by, reason, .. }) => {
            problem(REVOKED, format!("host {host} was revoked by {by} ({reason}); if it may come back, {}", next(host)))
        }
        None => problem(
            CERTIFICATE,
            format!(
                "the certificate of host {host} is not in force: it was renewed or the host enrolled anew since (does \
                 another agent run with a copy of its identity?), or it is of another server; {}",
                next(host)
            ),
        ),
    }
}

fn next(host: &HostName) -> String {
    format!("enrol it anew with a token from `firedrill host token {host}`")
}

/// `POST /link/v1/renew`.
pub(super) async fn renew(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Json(Renew { signing_request }): Json<Renew>,
) -> Result<Json<Renewed>, Failure> {
    let host = &caller.host;
    let present = in_force(&server, &caller).await?;
    let (now, due) = (now(), renew_at(&present));
    if now < due {
        let text = format!("the certificate of host {host} is not to be renewed for another {}", due.since(now));
        return Err(Failure(problem(MALFORMED, text)));
    }
    let life = server.config.agent_certificate_life;
    let signed = server
        .authority()
        .sign_agent(&signing_request, host, life)
        .map_err(|error| problem(MALFORMED, format!("the signing request of host {host} cannot be used: {error}")))?;
    let expires = now + life.into();
    let new = NewCertificate { fingerprint: &signed.fingerprint, expires };
    if !server.store.renew_certificate(host, &caller.fingerprint, new, now).await? {
        return Err(Failure(not_in_force(host, server.store.revocation(host).await?)));
    }
    tracing::info!(%host, "made the next certificate of a host");
    let record = CertificateRecord {
        fingerprint: signed.fingerprint,
        host: host.clone(),
        issued: now,
        expires: Some(expires),
        used: None,
    };
    Ok(Json(Renewed { certificate: signed.pem, renew_at: renew_at(&record) }))
}

/// `POST /link/v1/renewed`.
pub(super) async fn renewed(State(server): State<Arc<Server>>, caller: Caller) -> Result<Json<Done>, Failure> {
    let certificate = taken_into_use(&server, &caller).await?;
    // The session goes on over the connections that it has.
    if let Some(session) = server.fleet.session(&caller.host) {
        session.good_until(certificate.expires);
    }
    Ok(Json(Done {}))
}

/// Keeps a host out until it is enrolled anew: its link is closed before this returns.
///
/// # Errors
/// The store cannot be written.
pub(crate) async fn revoke(server: &Server, host: &HostName, reason: &str) -> Result<(), StoreError> {
    let revocation = Revocation { host: host.clone(), at: now(), by: access::by(), reason: reason.to_owned() };
    server.store.revoke_host(&revocation).await?;
    server.fleet.end(host, "its host was revoked");
    let text = format!("{} revoked host {host}: {reason}", revocation.by);
    let scope = Scope { host: Some(host.clone()), ..Scope::default() };
    server.timeline.append(Severity::Warning, EventKind::Person, text, scope).await;
    Ok(())
}

/// How a host stands with its certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Until when it is good, or the next one when there is one already.
    pub(crate) until: Option<Timestamp>,
    /// It is kept out.
    pub(crate) revoked: Option<Revoked>,
}

/// How every host stands.
///
/// # Errors
/// The store cannot be read.
pub(crate) async fn standings(server: &Server) -> Result<BTreeMap<HostName, Standing>, StoreError> {
    let mut standings: BTreeMap<HostName, Standing> = BTreeMap::new();
    for certificate in server.store.certificates().await? {
        let standing = standings.entry(certificate.host).or_default();
        standing.until = standing.until.max(certificate.expires);
    }
    for Revocation { host, at, by, reason } in server.store.revocations().await? {
        standings.entry(host).or_default().revoked = Some(Revoked { at, by, reason });
    }
    Ok(standings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(fingerprint: &str, issued: i64, expires: Option<i64>) -> CertificateRecord {
        CertificateRecord {
            fingerprint: fingerprint.to_owned(),
            host: "east-1".parse().expect("a name"),
            issued: Timestamp(issued),
            expires: expires.map(Timestamp),
            used: None,
        }
    }

    proptest! {
        #[test]
        fn it_is_renewed_between_a_third_and_a_half_of_its_life(
            fingerprint in "[0-9a-f]{64}", issued in 0_i64..1 << 50, life in 60_i64..1 << 40,
        ) {
            let due = renew_at(&of(&fingerprint, issued, Some(issued + life))).0 - issued;
            prop_assert!(due >= life / 3 && due < life / 2, "{} of {}", due, life);
        }
    }

    #[test]
    fn one_without_an_end_is_renewed_at_once() {
        assert_eq!(renew_at(&of("ab", 7, None)), Timestamp(7));
        assert_eq!(renew_at(&of("", 7, Some(7))), Timestamp(7), "nonsense does no harm");
    }

    #[test]
    fn each_refusal_names_the_next_step() {
        let host: HostName = "east-1".parse().expect("a name");
        let revocation =
            Revocation { host: host.clone(), at: Timestamp(1), by: "ada".to_owned(), reason: "stolen".to_owned() };
        for (code, problem) in
            [(CERTIFICATE, not_in_force(&host, None)), (REVOKED, not_in_force(&host, Some(revocation)))]
        {
            assert_eq!(problem.code, code);
            assert!(problem.message.contains("`firedrill host token east-1`"), "{}", problem.message);
        }
    }
}
