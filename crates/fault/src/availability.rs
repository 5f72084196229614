//! What this host can do, kind by kind, without doing it.

use crate::kinds::{KINDS, Kind};
use crate::network;
use firedrill_host::capabilities::{self, Capability, Need};
use firedrill_host::container::{self, Runtime};
use serde::Serialize;

/// Whether one kind of fault can be put in place here, or aimed at something narrower than the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Availability {
    /// Which kind; or [`AT_CONTAINERS`], [`AT_CGROUPS`].
    pub kind: &'static str,
    /// It can be done.
    pub available: bool,
    /// By which mechanism; empty when it cannot be done.
    pub mechanism: String,
    /// What is missing and how to get it, a sentence each.
    pub missing: Vec<String>,
}

/// Looks at every kind. Nothing is left on the host; packet tables that match nothing are made for a moment.
#[must_use]
pub fn check_host() -> Vec<Availability> {
    KINDS.iter().map(|kind| check(kind)).collect()
}

/// Faults whose parameter `container` is set.
pub const AT_CONTAINERS: &str = "(container)";
/// Network faults whose parameter `cgroup` is set.
pub const AT_CGROUPS: &str = "(cgroup)";

/// Looks whether faults can be aimed at containers, and network faults at cgroups.
#[must_use]
pub fn check_scopes() -> Vec<Availability> {
    // Entering a namespace, and signals to what runs there.
    const NEEDS: &[Need] = &[Need::Capability(Capability::SysAdmin), Need::Capability(Capability::Kill)];
    let reached = container::list().map_err(|problem| problem.full());
    let containers = reached.and_then(|running| reach(&container::runtimes(), running.len()));
    let groups = network::tells_groups_apart()
        .map(|mount| format!("packets told apart by the cgroup of their socket, below {}", mount.display()));
    [(AT_CONTAINERS, NEEDS, containers), (AT_CGROUPS, network::NEEDS, groups)]
        .into_iter()
        .map(|(kind, needs, found)| {
            let mut missing: Vec<String> = capabilities::missing(needs).iter().map(ToString::to_string).collect();
            let mechanism = found.unwrap_or_else(|why| {
                missing.push(why);
                String::new()
            });
            let available = missing.is_empty();
            Availability { kind, available, mechanism: if available { mechanism } else { String::new() }, missing }
        })
        .collect()
}

/// What was found of runtimes, for people.
fn reach(runtimes: &[Runtime], running: usize) -> Result<String, String> {
    if runtimes.is_empty() && running == 0 {
        return Err("no container runs here, and no runtime keeps its state below /run (looked for runc, crun, containerd, Docker \
                    and Podman); an agent that runs in a container itself needs --pid=host and /run of the host"
            .to_owned());
    }
    let one = |runtime: &Runtime| format!("{} in {} ({} run)", runtime.name, runtime.place.display(), runtime.running);
    let found: Vec<String> = runtimes.iter().map(one).collect();
    Ok(format!(
        "{running} containers run; found by cgroups, and by the files of {}",
        match found.as_slice() {
            [] => "no runtime".to_owned(),
            found => found.join(", "),
        }
    ))
}

fn check(kind: &Kind) -> Availability {
    let mut missing: Vec<String> = capabilities::missing(kind.needs).iter().map(ToString::to_string).collect();
    let mut mechanism = String::new();
    if missing.is_empty() {
        match (kind.mechanism)() {
            Ok(by) => mechanism = by,
            Err(why) => missing.push(why),
        }
    }
    Availability { kind: kind.name, available: missing.is_empty(), mechanism, missing }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtimes_that_were_found_are_named() {
        let runc = Runtime { name: "runc", place: "/run/runc".into(), running: 2 };
        assert!(
            reach(&[runc], 3).is_ok_and(|text| text.starts_with("3 containers") && text.contains("/run/runc (2 run)"))
        );
        assert!(reach(&[], 1).is_ok_and(|text| text.contains("no runtime")));
        assert!(reach(&[], 0).is_err_and(|text| text.contains("Podman")));
    }
}
