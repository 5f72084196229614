//! Problems as pages, for browsers: what happened, and what to do next.

use crate::error_pages;
use crate::problem::Shown;
use axum::extract::Request;
use axum::http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use firedrill_console::pages;

/// A problem that answers a browser which asks for a page becomes one; calls of the API stay as they are.
pub(crate) async fn as_pages(request: Request, next: Next) -> Response {
    let wants_page = wants_page(request.headers()) && !request.uri().path().starts_with("/api/");
    let mut response = next.run(request).await;
    if let Some(Shown(problem)) = response.extensions().get::<Shown>().filter(|_| wants_page) {
        let page = pages::problem(error_pages::title(&problem.code), problem, &error_pages::address(&problem.code));
        *response.body_mut() = page.into();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    response
}

fn wants_page(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/html"))
}
