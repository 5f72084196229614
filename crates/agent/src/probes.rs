//! Questions about this host, for probes: a query to its database server, or how a program ends. Nothing here changes
//! anything, as far as that lies with the agent: queries run in a session that only reads, programs only when the
//! host's owner has named them.

use crate::answers::Outcome;
use crate::config::AllowedCommand;
use crate::nodes::Nodes;
use firedrill_api::link::Answer;
use firedrill_engine::{EngineError, Login};
use firedrill_host::HostError;
use firedrill_host::process::{Exit, Spawn, run_to_end};
use firedrill_model::command::FailureKind;
use firedrill_model::probe::{HostProbe, HostSeen, VALUE_BYTES_MAX, statement};
use firedrill_model::{CommandFailure, NodeName, Span, workload};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Programs that run at once. A hung disk may keep each of them, and its thread, for as long as it hangs.
const PROGRAMS_MAX: usize = 4;
/// Of the time that the server gives, so much is left for the way back: an answer that says what was seen here beats a
/// server that only knows that none came.
const SHARE: f64 = 0.8;

/// Answers questions.
pub(crate) struct Probes {
    nodes: Arc<Nodes>,
    allowed: Vec<AllowedCommand>,
    programs: Arc<Semaphore>,
}

impl Probes {
    /// For these nodes, and these programs.
    pub(crate) fn new(nodes: Arc<Nodes>, allowed: Vec<AllowedCommand>) -> Self {
        Self { nodes, allowed, programs: Arc::new(Semaphore::new(PROGRAMS_MAX)) }
    }

    /// Puts a question.
    pub(crate) async fn ask(&self, probe: HostProbe, within: Span) -> Outcome {
        let within = within.duration().mul_f64(SHARE);
        let seen = match probe {
            HostProbe::Sql { node, query, login } => self.query(&node, &query, login, within).await?,
            HostProbe::Command { program, args } => self.run(&program, args, within).await?,
        };
        Ok(Answer::Probe { seen })
    }

    async fn query(
        &self,
        node: &NodeName,
        query: &str,
        login: workload::Login,
        within: Duration,
    ) -> Result<HostSeen, CommandFailure> {
        let instance = self.nodes.instance(node).ok_or_else(|| invalid(format!("this host has no node {node}")))?;
        let query = statement(query).map_err(invalid)?;
        let workload::Login { user, password, database } = login;
        match instance.ask(Login { user, password }, &database, query, within).await {
            Ok(value) => Ok(HostSeen::Cell { value }),
            Err(error) => Ok(HostSeen::Failed { problem: say(&error) }),
        }
    }

    async fn run(&self, program: &str, args: Vec<String>, within: Duration) -> Result<HostSeen, CommandFailure> {
        let named = |allowed: &&AllowedCommand| allowed.program.as_os_str() == program && allowed.args == args;
        let Some(allowed) = self.allowed.iter().find(named) else {
            let line = std::iter::once(program).chain(args.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
            return Err(invalid(format!(
                "`{line}` is not run here; the host's owner allows it by an entry with exactly this in \"allowed_commands\" \
                 of the agent's configuration"
            )));
        };
        let Ok(permit) = Arc::clone(&self.programs).try_acquire_owned() else {
            let message = format!("{PROGRAMS_MAX} programs of probes run on this host already; nothing was begun");
            return Err(CommandFailure { kind: FailureKind::Failed, message });
        };
        let mut spawn =
            Spawn::new(program).args(args).clear_env().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").dir("/");
        if let Some(user) = &allowed.user {
            spawn = spawn.user(user);
        }
        // Beside the agent's own thread: a start may wait for a disk that hangs.
        let running = tokio::task::spawn_blocking(move || to_end(spawn, within, permit));
        match tokio::time::timeout(within, running).await {
            Ok(Ok(Ok(seen))) => Ok(seen),
            Ok(Ok(Err(problem))) => Ok(HostSeen::Failed { problem }),
            Ok(Err(_)) => Ok(HostSeen::Failed { problem: format!("`{program}` could not be waited for") }),
            Err(_) => {
                Ok(HostSeen::Failed { problem: format!("`{program}` did not end within {}", Span::from(within)) })
            }
        }
    }
}

/// Runs a program on an event loop of its own.
fn to_end(spawn: Spawn, within: Duration, _permit: OwnedSemaphorePermit) -> Result<HostSeen, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let output =
        runtime.block_on(run_to_end(spawn, Vec::new(), within)).map_err(|error: HostError| error.to_string())?;
    let exit = match output.exit {
        Exit::Code(code) => Some(code),
        Exit::Signal(_) | Exit::Unknown => None,
    };
    let kept = &output.stdout[..output.stdout.len().min(VALUE_BYTES_MAX)];
    Ok(HostSeen::Ended { exit, output: String::from_utf8_lossy(kept).into_owned() })
}

/// What a database server said, without the statements around the question.
fn say(error: &EngineError) -> String {
    match error {
        EngineError::Refused { code, message, .. } => format!("the server answered {code}: {message}"),
        EngineError::Answer { message, .. } => message.clone(),
        other => other.full(),
    }
}

fn invalid(message: String) -> CommandFailure {
    CommandFailure { kind: FailureKind::Invalid, message }
}
