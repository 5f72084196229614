//! What answers at the address for people and scripts: the whole server while it acts; else, where to go.

use crate::problem::{Failure, STANDING_BY, problem};
use axum::Router;
use axum::extract::Request;
use axum::http::header::{ACCEPT, LOCATION, RETRY_AFTER};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use firedrill_store::Acting;
use std::sync::{Arc, PoisonError, RwLock};
use tower::ServiceExt;

/// Names the server that acts, in what one that stands by answers.
const ACTING_HEADER: &str = "firedrill-acting";
/// A take-over is over after some seconds.
const AGAIN_AFTER_S: &str = "1";

/// What this server does.
#[derive(Debug, Clone)]
pub(super) enum Phase {
    /// Another one acts, or (`None`) none does at the moment.
    StandingBy(Option<Acting>),
    Acting(Router),
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Front(Arc<RwLock<Phase>>);

impl Front {
    pub(super) fn new() -> Self {
        Self(Arc::new(RwLock::new(Phase::StandingBy(None))))
    }

    pub(super) fn show(&self, phase: Phase) {
        // A single assignment; a panic elsewhere leaves it whole.
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    /// Answers by what this server does at the moment of each call.
    pub(super) fn router(&self) -> Router {
        let front = self.clone();
        Router::new().fallback(move |request: Request| front.clone().answer(request))
    }

    async fn answer(self, request: Request) -> Response {
        let phase = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        match phase {
            Phase::Acting(router) => router.oneshot(request).await.unwrap_or_else(|never| match never {}),
            Phase::StandingBy(acting) => standing_by(&request, acting.as_ref()),
        }
    }
}

fn standing_by(request: &Request, acting: Option<&Acting>) -> Response {
    let address = acting.map(|acting| acting.server.http.trim_end_matches('/').to_owned());
    match request.uri().path() {
        "/healthz" => return "ok\n".into_response(),
        "/metrics" => return "# TYPE firedrill_acting gauge\nfiredrill_acting 0\n# EOF\n".into_response(),
        _ => {}
    }
    let page = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let page = request.method() == Method::GET && page.is_some_and(|accept| accept.contains("text/html"));
    let there = address.as_ref().map(|address| {
        format!("{address}{}", request.uri().path_and_query().map_or("/", axum::http::uri::PathAndQuery::as_str))
    });
    if page && let Some(there) = there.and_then(|there| HeaderValue::try_from(there).ok()) {
        return (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, there)]).into_response();
    }
    let message = match &address {
        Some(address) => {
            format!("this server stands by; {address} acts: call that one, or give the client both addresses")
        }
        None => "this server stands by and no other one acts at the moment; one takes over within seconds: try again"
            .to_owned(),
    };
    let mut response = Failure(problem(STANDING_BY, message)).into_response();
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(AGAIN_AFTER_S));
    if let Some(address) = address.and_then(|address| HeaderValue::try_from(address).ok()) {
        response.headers_mut().insert(ACTING_HEADER, address);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use firedrill_store::{Contender, Epoch};
    use std::time::Duration;

    fn request(path: &str, accept: &str) -> Request {
        Request::get(path).header(ACCEPT, accept).body(Body::empty()).expect("a request")
    }

    fn other() -> Acting {
        let server = Contender { id: "2".into(), http: "http://b:7070/".into(), identity: String::new() };
        Acting { server, epoch: Epoch(2), remaining: Duration::from_secs(1) }
    }

    #[test]
    fn people_are_led_on_and_programs_are_told() {
        let other = other();
        let page = standing_by(&request("/runs?x=1", "text/html,*/*"), Some(&other));
        assert_eq!(page.status(), StatusCode::TEMPORARY_REDIRECT);
        assert_eq!(page.headers()[LOCATION], "http://b:7070/runs?x=1");
        let call = standing_by(&request("/api/v1/status", "application/json"), Some(&other));
        assert_eq!(call.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(call.headers()[ACTING_HEADER], "http://b:7070");
        let nobody = standing_by(&request("/", "text/html"), None);
        assert_eq!(nobody.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(nobody.headers()[RETRY_AFTER], "1");
        assert_eq!(standing_by(&request("/healthz", "*/*"), None).status(), StatusCode::OK);
        assert_eq!(standing_by(&request("/readyz", "*/*"), Some(&other)).status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
