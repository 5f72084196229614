//! A router that knows its paths, so that a test can ask each of them what it needs. All of them go through the gate.

use crate::access::gate;
use crate::server::Server;
use axum::routing::MethodRouter;
use axum::{Router, middleware};
use std::sync::Arc;

/// Routes, as of [`Router`].
#[derive(Default)]
pub(crate) struct Routes {
    router: Router<Arc<Server>>,
    paths: Vec<String>,
}

impl Routes {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// See [`Router::route`].
    pub(crate) fn route(mut self, path: &str, methods: MethodRouter<Arc<Server>>) -> Self {
        self.paths.push(path.to_owned());
        Self { router: self.router.route(path, methods), paths: self.paths }
    }

    /// See [`Router::nest`].
    pub(crate) fn nest(mut self, prefix: &str, inner: Self) -> Self {
        self.paths.extend(inner.paths.into_iter().map(|path| format!("{prefix}{path}")));
        Self { router: self.router.nest(prefix, inner.router), paths: self.paths }
    }

    /// See [`Router::merge`].
    pub(crate) fn merge(mut self, other: Self) -> Self {
        self.paths.extend(other.paths);
        Self { router: self.router.merge(other.router), paths: self.paths }
    }

    /// The router, every route of it behind the gate.
    pub(crate) fn gated(self, server: &Arc<Server>) -> Router<Arc<Server>> {
        self.router.route_layer(middleware::from_fn_with_state(Arc::clone(server), gate))
    }

    /// The paths as they were given.
    pub(crate) fn paths(self) -> Vec<String> {
        self.paths
    }
}
