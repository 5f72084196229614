//! A page of another site, open in the same browser, must not be able to call the API: a browser shows the session's
//! cookie by itself, and as long as there is no user nothing has to be shown at all.

use crate::problem::{Failure, ORIGIN, problem};
use crate::server::Server;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;
use std::sync::Arc;

/// Lets through what comes from this server's own pages and from programs.
pub(super) async fn check(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    match refusal(request.headers(), server.access.is_open()) {
        None => next.run(request).await,
        Some(message) => Failure(problem(ORIGIN, message)).into_response(),
    }
}

fn refusal(headers: &HeaderMap, open: bool) -> Option<String> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("(not text)"));
    let host = text(header::HOST).unwrap_or_default();
    if open && !is_loopback(host) {
        // A name of another site that resolves to 127.0.0.1 (DNS rebinding).
        return Some(format!("this server is not {host:?}; call it as 127.0.0.1, [::1] or localhost"));
    }
    let origin = text(header::ORIGIN)?;
    // Which of the two it is, a proxy in front decides.
    let own = ["http://", "https://"].iter().any(|scheme| origin.strip_prefix(scheme) == Some(host));
    (!own).then(|| format!("calls from pages of {origin} are not accepted"))
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(host: &str, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().expect("a header"));
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().expect("a header"));
        }
        refusal(&headers, true).is_some()
    }

    #[test]
    fn only_this_servers_own_pages_and_programs_may_call() {
        for host in ["127.0.0.1:7070", "localhost:7070", "[::1]:7070", "localhost"] {
            assert!(!refused(host, None), "{host}");
            assert!(!refused(host, Some(&format!("http://{host}"))), "{host}");
            assert!(refused(host, Some("http://evil.example")), "{host}");
            assert!(refused(host, Some("null")), "{host}");
        }
        assert!(refused("evil.example:7070", None));
        assert!(refused("", None));
    }

    #[test]
    fn with_log_in_any_name_of_the_server_does_but_only_its_own_pages() {
        let headers = |origin: &str| {
            let lines = [(header::HOST, "drills.example"), (header::ORIGIN, origin)];
            HeaderMap::from_iter(lines.map(|(name, value)| (name, value.parse().expect("a header"))))
        };
        for own in ["http://drills.example", "https://drills.example"] {
            assert_eq!(refusal(&headers(own), false), None);
        }
        for other in ["https://evil.example", "null", "https://drills.example.evil.example", "drills.example"] {
            assert!(refusal(&headers(other), false).is_some(), "{other}");
        }
    }
}
