//! Exit statuses: 0 passed or done, 1 an expectation was broken, 2 usage or the tool's own error, 3 inconclusive,
//! 4 refused by a guard.

use firedrill_api::client::ClientError;
use firedrill_sandbox::SandboxError;
use firedrill_server::StartError;
use std::error::Error;

/// Passed or done.
pub(crate) const DONE: u8 = 0;
/// Usage, or the tool itself.
pub(crate) const TOOL_ERROR: u8 = 2;
/// A guard said no.
pub(crate) const REFUSED: u8 = 4;

/// The exit status of a command that came to an end.
pub(crate) struct Outcome(pub(crate) u8);

impl Outcome {
    /// Done.
    pub(crate) const fn done() -> Self {
        Self(DONE)
    }
}

/// The exit status for an error.
pub(crate) fn status_of(error: &anyhow::Error) -> u8 {
    let refused = |cause: &(dyn Error + 'static)| {
        cause.downcast_ref::<ClientError>().is_some_and(ClientError::refused)
            || cause.downcast_ref::<SandboxError>().is_some_and(SandboxError::is_refusal)
    };
    if error.chain().any(refused) { REFUSED } else { TOOL_ERROR }
}

/// The stable code of an error, when it has one; `docs/errors/` has a page for each.
pub(crate) fn code_of(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        if let Some(ClientError::Problem(problem)) = cause.downcast_ref::<ClientError>() {
            return Some(problem.code.clone());
        }
        cause.downcast_ref::<StartError>().map(|error| error.code().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use firedrill_api::http::Problem;

    #[test]
    fn a_refusal_is_told_from_a_failure() {
        let problem = |refused| {
            let problem = Problem { code: "S001".into(), message: "no".into(), refused };
            anyhow::Error::new(ClientError::from(problem)).context("while starting")
        };
        assert_eq!(status_of(&problem(true)), REFUSED);
        assert_eq!(status_of(&problem(false)), TOOL_ERROR);
        assert_eq!(code_of(&problem(false)).as_deref(), Some("S001"));
        assert_eq!(code_of(&anyhow::anyhow!("no code")), None);
    }
}
