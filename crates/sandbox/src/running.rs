//! What runs, as the kernel knows it: the members of a control group, recognised by their command lines.

use crate::error::SandboxError;
use crate::layout::{HostLayout, Layout};
use firedrill_host::cgroup::Cgroup;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// Our own long-running processes, each alone of its kind in its control group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Supervisor,
    Server,
    Agent,
    Gateway,
    Database,
}

impl Kind {
    /// Whether a process with this command line is of this kind.
    fn is(self, arguments: &[OsString]) -> bool {
        let word = |at: usize| arguments.get(at).and_then(|word| word.to_str());
        match self {
            Self::Supervisor => word(1) == Some("sandbox") && word(2) == Some("supervise"),
            Self::Server => word(1) == Some("server"),
            Self::Agent => word(1) == Some("agent"),
            Self::Gateway => word(1) == Some("gateway"),
            Self::Database => word(0).is_some_and(|program| program.ends_with("mariadbd")),
        }
    }
}

/// The process of that kind in a control group (below it counts too); `None` when there is none.
///
/// # Errors
/// [`SandboxError::Step`] when the group cannot be read.
pub(crate) fn find(kind: Kind, cgroup: &str) -> Result<Option<u32>, SandboxError> {
    let members = Cgroup::at(cgroup)
        .and_then(|group| group.processes())
        .map_err(SandboxError::step(format!("read the members of the control group {cgroup}")))?;
    Ok(members.into_iter().find(|pid| kind.is(&command_line(*pid))))
}

/// The supervisor of a sandbox.
///
/// # Errors
/// As [`find`].
pub(crate) fn supervisor(layout: &Layout) -> Result<Option<u32>, SandboxError> {
    find(Kind::Supervisor, &layout.supervisor_cgroup())
}

/// The agent of a host.
///
/// # Errors
/// As [`find`].
pub(crate) fn agent(host: &HostLayout) -> Result<Option<u32>, SandboxError> {
    find(Kind::Agent, &host.cgroup)
}

/// The command line of a process; empty for one that has ended (a zombie has none either).
fn command_line(pid: u32) -> Vec<OsString> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    split(&bytes)
}

fn split(bytes: &[u8]) -> Vec<OsString> {
    bytes.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart_by_command_line() {
        let agent = split(b"/usr/bin/firedrill\0agent\0--config\0/x/agent.json\0");
        assert!(Kind::Agent.is(&agent) && !Kind::Server.is(&agent) && !Kind::Database.is(&agent));
        let supervisor = split(b"firedrill\0sandbox\0supervise\0--name\0x\0");
        assert!(Kind::Supervisor.is(&supervisor) && !Kind::Agent.is(&supervisor));
        assert!(Kind::Database.is(&split(b"/usr/sbin/mariadbd\0--defaults-file=/x\0")));
        // A shell that looks at one is not one.
        assert!(!Kind::Agent.is(&split(b"sh\0-c\0firedrill agent\0")));
        assert!(!Kind::Agent.is(&split(b"")));
    }
}
