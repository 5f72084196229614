//! Lists, page by page: `?limit=` and `?before=`, and a `Link` header that leads to the next page.

use super::LIST_ROWS;
use crate::problem::{Failure, MALFORMED, problem};
use aide::generate::GenContext;
use aide::openapi::{Operation, Response as Described, StatusCode as Status};
use aide::{OperationInput, OperationOutput};
use axum::Json;
use axum::extract::{FromRequestParts, Query};
use axum::http::HeaderValue;
use axum::http::header::LINK;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use firedrill_store::{Page, ROWS_MAX};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which part of a list is wanted.
#[derive(Debug, Deserialize, JsonSchema)]
struct Wanted {
    /// Most rows; 200 when nothing is said.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
    /// The id of the last row that is known: what comes after it is given.
    before: Option<String>,
}

/// The part of a list that a call wants.
pub(super) struct Listing {
    limit: u32,
    before: Option<String>,
    /// The rest of the query, as it came.
    others: Vec<String>,
}

impl Listing {
    pub(super) fn page(&self) -> Page<'_> {
        Page { limit: self.limit, before: self.before.as_deref() }
    }

    /// The answer: those of the rows of a page that are shown. The next page begins after the last row, shown or not.
    pub(super) fn answer<R, T>(
        self,
        rows: Vec<R>,
        id: impl Fn(&R) -> String,
        shown: impl FnMut(R) -> Option<T>,
    ) -> Listed<T> {
        let is_full = rows.len() == self.limit as usize;
        let last = rows.last().filter(|_| is_full).map(id);
        let next = last.map(|last| {
            let mut query = self.others;
            query.extend([format!("limit={}", self.limit), format!("before={last}")]);
            format!("<?{}>; rel=\"next\"", query.join("&"))
        });
        Listed { rows: rows.into_iter().filter_map(shown).collect(), next }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Listing {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let refused = |why: String| Failure(problem(MALFORMED, format!("the query is not understood: {why}")));
        let wanted = Query::<Wanted>::from_request_parts(parts, state).await;
        let Query(Wanted { limit, before }) = wanted.map_err(|rejection| refused(rejection.body_text()))?;
        let limit = limit.unwrap_or(LIST_ROWS);
        if !(1..=ROWS_MAX).contains(&limit) {
            return Err(refused(format!("limit is {limit}; give 1 to {ROWS_MAX}")));
        }
        let pairs = parts.uri.query().unwrap_or_default().split('&');
        let is_other = |pair: &&str| !pair.is_empty() && !pair.starts_with("limit=") && !pair.starts_with("before=");
        Ok(Self { limit, before, others: pairs.filter(is_other).map(str::to_owned).collect() })
    }
}

impl OperationInput for Listing {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        Query::<Wanted>::operation_input(context, operation);
    }
}

/// A page of a list.
pub(super) struct Listed<T> {
    rows: Vec<T>,
    next: Option<String>,
}

impl<T: Serialize> IntoResponse for Listed<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.rows).into_response();
        // An id that no header can carry is none of ours, and its page is the last.
        if let Some(next) = self.next.and_then(|next| HeaderValue::try_from(next).ok()) {
            response.headers_mut().insert(LINK, next);
        }
        response
    }
}

impl<T: JsonSchema> OperationOutput for Listed<T> {
    type Inner = Vec<T>;

    fn operation_response(context: &mut GenContext, operation: &mut Operation) -> Option<Described> {
        Json::<Vec<T>>::operation_response(context, operation)
    }

    fn inferred_responses(context: &mut GenContext, operation: &mut Operation) -> Vec<(Option<Status>, Described)> {
        Json::<Vec<T>>::inferred_responses(context, operation)
    }
}
