//! Why a sandbox cannot be brought up, looked at or taken down.

/// Each names the object, what was seen, and the next step.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// No sandbox of that name.
    #[error("there is no sandbox {name:?}; bring one up with `firedrill sandbox up --name {name}`")]
    Unknown {
        /// The name that was asked for.
        name: String,
    },
}

impl SandboxError {
    /// A guard said no and nothing was touched (exit status 4), as opposed to something that broke.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        false
    }
}
