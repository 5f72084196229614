//! Headers that make a browser careful with what comes from here.

use crate::server::Server;
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;

/// Scripts, styles and calls of this server alone; no script in the page itself, no frame around it.
const PAGES: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// A report holds its own script and style, so that it can be sent to colleagues. It is shown as a page of nobody: it
/// can call nothing and read nothing.
const REPORTS: &str = "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                       img-src data:; base-uri 'none'; frame-ancestors 'none'";

/// Adds them to every answer.
pub(super) async fn strict(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let is_report = request.uri().path().ends_with("/report.html");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    add(headers, CONTENT_SECURITY_POLICY, if is_report { REPORTS } else { PAGES });
    add(headers, X_CONTENT_TYPE_OPTIONS, "nosniff");
    add(headers, X_FRAME_OPTIONS, "DENY");
    // Not `no-referrer`: with it a form's `Origin` is null, by which the server tells its own pages.
    add(headers, REFERRER_POLICY, "same-origin");
    if server.config.behind_tls_proxy {
        add(headers, STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    if !headers.contains_key(CACHE_CONTROL) {
        add(headers, CACHE_CONTROL, "no-store");
    }
    response
}

fn add(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}
