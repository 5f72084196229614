//! What waits for a second person, and its approval.

use super::Asked;
use crate::access::{self, Acting};
use crate::clock::now;
use crate::problem::{APPROVAL, APPROVE, not_found, problem, refusal, store_failed};
use crate::server::Server;
use crate::{attacks, experiment};
use firedrill_api::guards::{Approval, ApprovalState, Approved, Wish};
use firedrill_api::http::{Problem, RunStarted, StartAttack, StartRun};
use firedrill_model::attack::AttackReport;
use firedrill_model::message::Topic;
use firedrill_model::timeline::{EventKind, Scope};
use firedrill_model::{Severity, Span};
use std::sync::Arc;

/// Nobody can approve later than this: the fleet that was looked at is another by then.
const WAITS: Span = Span::secs(24 * 3600);

/// What became of a wish.
pub(crate) enum Begun<T> {
    /// It was begun.
    Now(T),
    /// It waits for a second person.
    Waits {
        /// The request.
        id: String,
        /// What is said to whoever wished it.
        told: Problem,
    },
}

impl<T> Begun<T> {
    /// What was begun; that it waits is a refusal.
    fn or_refused(self) -> Result<T, Problem> {
        match self {
            Self::Now(begun) => Ok(begun),
            Self::Waits { told, .. } => Err(told),
        }
    }
}

/// Starts an attack by hand, or asks for a second person when only that is missing.
///
/// # Errors
/// As [`attacks::start`]; [`APPROVAL`] names the request that waits.
pub async fn start_attack(server: &Server, start: StartAttack, by: &str) -> Result<Vec<AttackReport>, Problem> {
    wish_attack(server, start, by).await?.or_refused()
}

/// As [`start_attack`], with a request that waits as an outcome of its own.
///
/// # Errors
/// As [`attacks::start`].
pub(crate) async fn wish_attack(
    server: &Server,
    start: StartAttack,
    by: &str,
) -> Result<Begun<Vec<AttackReport>>, Problem> {
    let asked = asked_attack(&start, by, None);
    match attacks::start(server, None, &start.cluster, &start.attack, &asked).await {
        Err(refused) if refused.code == APPROVAL => {
            let text = format!("{} on {} of cluster {}", start.attack.fault, start.attack.target, start.cluster);
            wait(server, Wish::Attack(Box::new(start)), by, text, &refused).await
        }
        other => other.map(Begun::Now),
    }
}

/// Starts a run, or asks for a second person when only that is missing.
///
/// # Errors
/// As [`experiment::start_for`]; [`APPROVAL`] names the request that waits.
pub async fn start_run(server: Arc<Server>, start: StartRun, by: &str) -> Result<RunStarted, Problem> {
    wish_run(server, start, by).await?.or_refused()
}

/// As [`start_run`], with a request that waits as an outcome of its own.
///
/// # Errors
/// As [`experiment::start_for`].
pub(crate) async fn wish_run(server: Arc<Server>, start: StartRun, by: &str) -> Result<Begun<RunStarted>, Problem> {
    let asked = asked_run(&start, by, None);
    match experiment::start_for(Arc::clone(&server), start.clone(), asked).await {
        Err(refused) if refused.code == APPROVAL => {
            // A password does not wait in a store; the cluster's own login is used when it is approved.
            let start = StartRun { login: None, ..start };
            let text = format!("a run: {}", refused.message.lines().next().unwrap_or_default());
            wait(&server, Wish::Run(Box::new(start)), by, text, &refused).await
        }
        other => other.map(Begun::Now),
    }
}

/// Approves a request and begins what it asks for. One approval is good for one try.
///
/// # Errors
/// There is no such request; the person may not start it either; it is their own, over, or too old; a guard refuses by
/// now.
pub(crate) async fn approve(server: Arc<Server>, id: &str, acting: &Acting) -> Result<Approved, Problem> {
    let by = acting.principal().name.as_str();
    let found = server.store.approval(id).await.map_err(|error| store_failed(&error))?;
    let waiting =
        found.ok_or_else(|| not_found("request for approval", id, "`firedrill attack approvals` lists them"))?;
    access::may_approve(&server, acting, &waiting.wish).await?;
    may_approve(&waiting, by, now())?;
    let approval = Approval { state: ApprovalState::Approved, approved_by: Some(by.to_owned()), ..waiting };
    if !server.store.settle_approval(&approval).await.map_err(|error| store_failed(&error))? {
        return Err(problem(APPROVE, format!("request {id} was approved by somebody else just now")));
    }
    let text = format!("{by} approves request {id} of {}: {}", approval.by, approval.text);
    server.timeline.append(Severity::Warning, EventKind::Guard, text, Scope::default()).await;
    let second = Some(by.to_owned());
    match approval.wish {
        Wish::Attack(start) => {
            let asked = asked_attack(&start, &approval.by, second);
            let attacks = attacks::start(&server, None, &start.cluster, &start.attack, &asked).await?;
            Ok(Approved { attacks, run: None })
        }
        Wish::Run(start) => {
            let asked = asked_run(&start, &approval.by, second);
            let run = experiment::start_for(server, *start, asked).await?.run;
            Ok(Approved { attacks: Vec::new(), run: Some(run) })
        }
    }
}

fn may_approve(approval: &Approval, by: &str, now: firedrill_model::Timestamp) -> Result<(), Problem> {
    let id = &approval.id;
    if approval.state == ApprovalState::Approved {
        let second = approval.approved_by.as_deref().unwrap_or("somebody");
        return Err(problem(
            APPROVE,
            format!("request {id} was approved by {second} before; one approval is good for one try"),
        ));
    }
    if now >= approval.expires {
        return Err(problem(APPROVE, format!("request {id} is older than {WAITS}; ask for it again")));
    }
    if by == approval.by || by == access::LOCAL {
        let text = format!(
            "request {id} was made by {}, and {by} is not a second person; somebody else approves it (`firedrill attack approve {id} --as NAME`)",
            approval.by
        );
        return Err(refusal(APPROVE, text));
    }
    Ok(())
}

async fn wait<T>(server: &Server, wish: Wish, by: &str, text: String, refused: &Problem) -> Result<Begun<T>, Problem> {
    let at = now();
    let id = uuid::Uuid::now_v7().to_string();
    let approval = Approval {
        id: id.clone(),
        at,
        expires: at + WAITS,
        by: by.to_owned(),
        text: text.clone(),
        state: ApprovalState::Waiting,
        approved_by: None,
        wish,
    };
    server.store.add_approval(&approval).await.map_err(|error| store_failed(&error))?;
    let wanted = Scope { about: Some(Topic::ApprovalWanted), ..Scope::default() };
    let told = format!("{by} asks a second person to approve request {id}: {text}");
    server.timeline.append(Severity::Warning, EventKind::Guard, told, wanted).await;
    let message = format!(
        "{}\nrequest {id} waits for a second person, until {WAITS} from now: `firedrill attack approve {id}`",
        refused.message
    );
    Ok(Begun::Waits { id, told: refusal(APPROVAL, message) })
}

fn asked_attack(start: &StartAttack, by: &str, approved_by: Option<String>) -> Asked {
    Asked { by: by.to_owned(), approved_by, overrides: start.overrides.clone(), seed: start.seed }
}

fn asked_run(start: &StartRun, by: &str, approved_by: Option<String>) -> Asked {
    Asked { by: by.to_owned(), approved_by, overrides: start.overrides.clone(), seed: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firedrill_model::Timestamp;

    #[test]
    fn the_second_person_is_another_one_and_comes_once_and_in_time() {
        let waiting = Approval {
            id: "one".to_owned(),
            at: Timestamp(0),
            expires: Timestamp(100),
            by: "ann".to_owned(),
            text: String::new(),
            state: ApprovalState::Waiting,
            approved_by: None,
            wish: Wish::Run(Box::default()),
        };
        assert!(may_approve(&waiting, "bob", Timestamp(99)).is_ok());
        assert!(may_approve(&waiting, "bob", Timestamp(100)).is_err());
        for alone in ["ann", access::LOCAL] {
            assert!(may_approve(&waiting, alone, Timestamp(99)).expect_err(alone).refused);
        }
        let over = Approval { state: ApprovalState::Approved, ..waiting };
        assert!(may_approve(&over, "bob", Timestamp(99)).is_err());
    }
}
