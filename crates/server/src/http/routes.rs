//! Routes as a list, so that a test can ask each of them what it needs, and none of them is routed around the gate.

use super::once;
use crate::access::gate;
use crate::server::Server;
use aide::axum::ApiRouter;
use aide::axum::routing::ApiMethodRouter;
use axum::routing::MethodRouter;
use axum::{Router, middleware};
use std::sync::Arc;

/// Routes, put together as with [`Router`].
#[derive(Default)]
pub(crate) struct Routes(Vec<(String, ApiMethodRouter<Arc<Server>>)>);

impl Routes {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// See [`Router::route`].
    pub(crate) fn route(mut self, path: &str, methods: impl Into<ApiMethodRouter<Arc<Server>>>) -> Self {
        self.0.push((path.to_owned(), methods.into()));
        self
    }

    /// See [`Router::nest`].
    pub(crate) fn nest(mut self, prefix: &str, inner: Self) -> Self {
        self.0.extend(inner.0.into_iter().map(|(path, methods)| (format!("{prefix}{path}"), methods)));
        self
    }

    /// See [`Router::merge`].
    pub(crate) fn merge(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// The router, every method of every route behind the gate. A method that a route has not is answered with 405
    /// before.
    pub(crate) fn gated(self, server: &Arc<Server>) -> Router<Arc<Server>> {
        self.0.into_iter().fold(Router::new(), |router, (path, methods)| {
            // What was added last is passed first.
            let methods = MethodRouter::from(methods)
                .route_layer(middleware::from_fn_with_state(Arc::clone(server), once::keyed))
                .route_layer(middleware::from_fn_with_state(Arc::clone(server), gate));
            router.route(&path, methods)
        })
    }

    /// Those that are wanted, to be described.
    pub(crate) fn described(self, wanted: impl Fn(&str) -> bool) -> ApiRouter<Arc<Server>> {
        let wanted = self.0.into_iter().filter(|(path, _)| wanted(path));
        wanted.fold(ApiRouter::new(), |router, (path, methods)| router.api_route(&path, methods))
    }

    /// The paths as they were given.
    pub(crate) fn paths(self) -> Vec<String> {
        self.0.into_iter().map(|(path, _)| path).collect()
    }
}
