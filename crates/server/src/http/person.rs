//! Who calls.

use crate::guards::NOBODY;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use firedrill_api::guards::PERSON_HEADER;
use std::convert::Infallible;

/// Longest name that is kept, in characters; longer ones are cut.
const NAME_CHARS_MAX: usize = 80;

/// The person who calls, by name. The one place that knows how a caller is told: by what it says of itself, until there
/// are users who prove it.
pub(super) struct Person(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Person {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let said = parts.headers.get(PERSON_HEADER).and_then(|value| value.to_str().ok()).map(str::trim);
        let name = said.filter(|name| !name.is_empty()).unwrap_or(NOBODY);
        Ok(Self(name.chars().take(NAME_CHARS_MAX).collect()))
    }
}
