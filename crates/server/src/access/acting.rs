//! The acting person of a request.
//!
//! The gate finds out who asks and puts it where two kinds of code look for it: handlers that must decide take
//! [`Acting`]; code deep below that only writes a name into a line asks [`by`], so that not every function between has
//! to hand a name down.

use super::DENIED;
use crate::problem::{Failure, problem, refusal};
use crate::server::Server;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use firedrill_api::http::Problem;
use firedrill_model::access::{Action, Denial, Object, Principal, authorise};
use firedrill_model::timeline::{EventKind, Scope};
use firedrill_model::{ClusterName, Severity};
use std::sync::{Arc, Mutex, PoisonError};

tokio::task_local! {
    static SCENE: Arc<Scene>;
}

/// Most characters of notes in one entry of the audit log.
const NOTES_CHARS_MAX: usize = 400;
/// A denial names so many people who can help.
const HELPERS_MAX: usize = 3;

/// A request, as far as access is concerned.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) principal: Principal,
    /// The hash of the secret of the session, for those who come with one.
    pub(super) session: Option<String>,
    pub(super) from: String,
    notes: Mutex<String>,
}

impl Scene {
    pub(super) fn new(principal: Principal, session: Option<String>, from: String) -> Self {
        Self { principal, session, from, notes: Mutex::default() }
    }

    pub(super) fn notes(&self) -> String {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Carries a request out as its person.
pub(super) async fn within<F: Future>(scene: Arc<Scene>, future: F) -> F::Output {
    SCENE.scope(scene, future).await
}

/// Who does what is being done: a person's name, or `the server` when it acts by itself.
pub(crate) fn by() -> String {
    SCENE.try_with(|scene| scene.principal.name.clone()).unwrap_or_else(|_| "the server".to_owned())
}

/// Adds to what the audit log will say of this request: the object, when it is in the body; an override. Nothing
/// happens outside of a request.
pub(crate) fn note(text: &str) {
    let _ = SCENE.try_with(|scene| {
        let mut notes = scene.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if !notes.is_empty() {
            notes.push_str("; ");
        }
        let room = NOTES_CHARS_MAX.saturating_sub(notes.chars().count());
        notes.extend(text.chars().take(room));
    });
}

/// Puts what a person does on the timeline: `ada {text}`.
pub(crate) async fn tell(server: &Server, text: &str, scope: Scope) {
    server.timeline.append(Severity::Info, EventKind::Person, format!("{} {text}", by()), scope).await;
}

/// The acting person, for handlers that decide by what is in the body.
#[derive(Debug, Clone)]
pub(crate) struct Acting(pub(super) Arc<Scene>);

impl Acting {
    /// Who.
    pub(crate) fn principal(&self) -> &Principal {
        &self.0.principal
    }

    pub(super) fn session(&self) -> Option<&str> {
        self.0.session.as_deref()
    }

    pub(super) fn from(&self) -> &str {
        &self.0.from
    }

    /// Lets them do it, or says why not and who can help.
    ///
    /// # Errors
    /// They may not.
    pub(crate) async fn may(&self, server: &Server, action: Action, object: &Object) -> Result<(), Problem> {
        match authorise(self.principal(), action, object) {
            Ok(()) => Ok(()),
            Err(denial) => Err(denied(server, &denial).await),
        }
    }

    /// Whether they may look at what belongs to that cluster. What belongs to none is for everybody who has logged in.
    pub(crate) fn sees(&self, cluster: Option<&ClusterName>) -> bool {
        let object = cluster.map_or(Object::Somewhere, |cluster| Object::Cluster(cluster.clone()));
        authorise(self.principal(), Action::View, &object).is_ok()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Acting {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let found = parts.extensions.get::<Self>().cloned();
        // Only a call that goes around the gate has none.
        found.ok_or_else(|| Failure(problem(DENIED, "it is not known who asks; this is a fault of firedrill")))
    }
}

impl aide::OperationInput for Acting {}

/// A denial, with the names of those who can give what is missing.
pub(super) async fn denied(server: &Server, denial: &Denial) -> Problem {
    let admins = match server.store.users().await {
        Ok(users) => users
            .into_iter()
            .filter(|user| !user.disabled && user.grants.iter().any(firedrill_model::access::Grant::is_full_admin))
            .map(|user| user.name.to_string())
            .take(HELPERS_MAX)
            .collect::<Vec<_>>(),
        Err(_) => Vec::new(),
    };
    let helpers = if admins.is_empty() { "an admin of everything".to_owned() } else { admins.join(", ") };
    let next = if denial.token {
        "make a token that is good for it (`firedrill token create`)".to_owned()
    } else {
        format!("{helpers} can give it: `firedrill user grant {} {}`", denial.who, options(denial))
    };
    refusal(DENIED, format!("{denial}; {next}"))
}

/// What would have to be granted, as options of the command line.
fn options(denial: &Denial) -> String {
    match &denial.object {
        Object::Everything | Object::Somewhere => format!("--role {}", denial.role),
        Object::Cluster(cluster) => format!("--role {} --cluster {cluster}", denial.role),
        Object::Attack(cluster, family) => format!("--role {} --cluster {cluster} --family {family}", denial.role),
    }
}
