//! Which process a fault means.

use crate::kinds::{Asked, Refusal};
use firedrill_host::process::{Identity, Pidfd};
use firedrill_model::attack::ProcessSelector;

/// A process that a fault may touch, held by a handle that cannot come to mean another one.
pub(crate) struct Target {
    pub(crate) identity: Identity,
    pub(crate) handle: Pidfd,
    /// For reports: `the database of east-1 (process 4242)`.
    pub(crate) name: String,
}

/// Finds the process, by default the database server of the node that is attacked, or says why it cannot be a target.
pub(crate) fn find(selector: Option<&ProcessSelector>, asked: &Asked) -> Result<Target, Refusal> {
    let of_node = || asked.node.clone().map(|node| ProcessSelector::Database { node });
    let selector = selector.cloned().or_else(of_node).ok_or_else(|| {
        Refusal(
            "it is not said which process: the attack is about no database node, and no `process` is given".to_owned(),
        )
    })?;
    let (identity, name) = match &selector {
        ProcessSelector::Database { node } => {
            let found = (asked.context.database)(node);
            let identity = found.ok_or_else(|| Refusal(format!("no database process of {node} runs on this host")))?;
            (identity, format!("the database of {node} (process {})", identity.pid))
        }
        ProcessSelector::Pid { pid } => (Identity::of(*pid)?, format!("process {pid}")),
    };
    if identity.pid == 1 || identity.pid == std::process::id() {
        return Err(Refusal(format!("{name} is what keeps this host or this agent alive; attack something else")));
    }
    if is_kernel_thread(identity.pid) {
        return Err(Refusal(format!("{name} is a part of the kernel and takes no signals")));
    }
    let handle = identity.open()?.ok_or_else(|| Refusal(format!("{name} has ended already")))?;
    Ok(Target { identity, handle, name })
}

/// Kernel threads are children of process 2 and have no program.
fn is_kernel_thread(pid: u32) -> bool {
    pid == 2 || std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|text| text.is_empty()) && parent_is_kernel(pid)
}

fn parent_is_kernel(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("PPid:").is_some_and(|parent| parent.trim() == "2"))
}
