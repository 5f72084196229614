//! Which processes a fault means.

use crate::container;
use crate::kinds::{Asked, Refusal};
use firedrill_host::container::Container;
use firedrill_host::controller::{Controller, Membership};
use firedrill_host::process::{self, Identity, Listed, Pidfd};
use firedrill_model::attack::ProcessSelector;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeSet;

/// Most processes of one attack: more is a host, not a service.
const TARGETS_MAX: usize = 256;

/// A process that a fault may touch, held by a handle that cannot come to mean another one.
pub(crate) struct Target {
    pub(crate) identity: Identity,
    pub(crate) handle: Pidfd,
    /// For reports: `the database of east-1 (process 4242)`.
    pub(crate) name: String,
    /// The container that was asked for, when one was: its cgroup is what is limited or frozen.
    pub(crate) container: Option<Container>,
}

impl Target {
    /// Its group in the hierarchy of a controller: that of the whole container, or the one where the process is.
    pub(crate) fn membership(&self, controller: Controller) -> Result<Option<Membership>, Refusal> {
        match &self.container {
            Some(container) => container::membership(container, controller),
            None => Ok(Membership::of(self.identity, controller)?),
        }
    }

    /// Whether a limit is for all of the group: when it is asked for, and always for a container, which is its group.
    pub(crate) const fn means_whole_group(&self, asked: bool) -> bool {
        asked || self.container.is_some()
    }

    /// Says so when it has ended, and whether the container it was has been started again.
    pub(crate) fn still_runs(&self) -> Result<(), String> {
        match &self.container {
            Some(container) => container::still_runs(container),
            None if self.identity.alive() => Ok(()),
            None => Err(format!("{} has ended", self.name)),
        }
    }
}

/// The parameters `process` and `container` as one.
pub(crate) fn aim(process: Option<ProcessSelector>, container: Option<String>) -> Option<ProcessSelector> {
    container.map(|container| ProcessSelector::Container { container }).or(process)
}

/// Refuses both parameters at a time.
pub(crate) fn check_aim(process: Option<&ProcessSelector>, container: Option<&String>) -> Result<(), String> {
    match (process, container) {
        (Some(_), Some(_)) => {
            Err("`process` and `container` are two ways to say whom; leave one of them out".to_owned())
        }
        (None, Some(name)) if name.is_empty() => Err("`container` names nobody".to_owned()),
        _ => Ok(()),
    }
}

/// Which of several processes that a selector finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Which {
    /// The only one: several are refused.
    #[default]
    Only,
    /// The one that was started last.
    Newest,
    /// The one that was started first.
    Oldest,
    /// All of them.
    All,
}

/// Finds the process, by default the database server of the node that is attacked, or says why it cannot be a target.
pub(crate) fn find(selector: Option<&ProcessSelector>, asked: &Asked) -> Result<Target, Refusal> {
    let mut found = find_all(selector, Which::Only, false, asked)?;
    found.pop().ok_or_else(|| Refusal("there is no such process".to_owned()))
}

/// Finds the processes, with all that they have started when `tree` is set; at least one.
pub(crate) fn find_all(
    selector: Option<&ProcessSelector>,
    which: Which,
    tree: bool,
    asked: &Asked,
) -> Result<Vec<Target>, Refusal> {
    let of_node = || asked.node.clone().map(|node| ProcessSelector::Database { node });
    let selector = selector.cloned().or_else(of_node).ok_or_else(|| {
        Refusal(
            "it is not said which process: the attack is about no database node, and no `process` is given".to_owned(),
        )
    })?;
    let listed = process::list()?;
    let mut container = None;
    let mut chosen = match &selector {
        ProcessSelector::Database { node } => {
            let found = (asked.context.database)(node);
            let identity = found.ok_or_else(|| Refusal(format!("no database process of {node} runs on this host")))?;
            vec![(identity, format!("the database of {node} (process {})", identity.pid))]
        }
        ProcessSelector::Pid { pid } => vec![(Identity::of(*pid)?, format!("process {pid}"))],
        ProcessSelector::Container { container: name } => {
            let found = firedrill_host::container::find(name)?;
            let chosen = of_container(&found, which, &listed)?;
            container = Some(found);
            chosen
        }
        broad => choose(matching(broad, &listed)?, which, &text(broad)).map_err(Refusal)?,
    };
    if tree {
        let roots: Vec<u32> = chosen.iter().map(|(identity, _)| identity.pid).collect();
        let below = descendants(&roots, &listed);
        chosen.extend(
            below.into_iter().map(|one| (one.identity, format!("{} (process {})", one.name, one.identity.pid))),
        );
    }
    if chosen.len() > TARGETS_MAX {
        return Err(Refusal(format!("{} are {} processes, more than {TARGETS_MAX}", text(&selector), chosen.len())));
    }
    let take = |(identity, name)| Ok(Target { container: container.clone(), ..take(identity, name)? });
    chosen.into_iter().map(take).collect()
}

/// The main process, unless all are asked for, or one by its age.
fn of_container(container: &Container, which: Which, listed: &[Listed]) -> Result<Vec<(Identity, String)>, Refusal> {
    let title = container.title();
    if which == Which::Only {
        let init = container.init;
        return Ok(vec![(init, format!("the main process of the container {title} (process {})", init.pid))]);
    }
    let inside = container.processes()?;
    let own = own_family(listed);
    if inside.iter().any(|one| own.contains(&one.pid)) {
        return Err(Refusal(format!(
            "this agent runs in the container {title}; attack its main process, or another one"
        )));
    }
    let inside = listed.iter().filter(|one| inside.contains(&one.identity)).collect();
    choose(inside, which, &format!("processes in the container {title}")).map_err(Refusal)
}

fn text(selector: &ProcessSelector) -> String {
    match selector {
        ProcessSelector::Database { node } => format!("the database of {node}"),
        ProcessSelector::Pid { pid } => format!("process {pid}"),
        ProcessSelector::Name { name } => format!("processes of the program {name:?}"),
        ProcessSelector::User { user } => format!("processes of the user {user}"),
        ProcessSelector::Port { port } => format!("processes that listen on port {port}"),
        ProcessSelector::Cgroup { cgroup } => format!("processes in the cgroup {cgroup}"),
        ProcessSelector::Container { container } => format!("processes of the container {container}"),
    }
}

/// All that a selector means, but never this agent, what it runs in, or its own helpers: a broad selector spares them.
fn matching<'a>(selector: &ProcessSelector, listed: &'a [Listed]) -> Result<Vec<&'a Listed>, Refusal> {
    let own = own_family(listed);
    let eligible = listed.iter().filter(|one| !own.contains(&one.identity.pid) && !one.name.starts_with('['));
    Ok(match selector {
        ProcessSelector::Name { name } => eligible.filter(|one| one.name == *name).collect(),
        ProcessSelector::User { user } => {
            let id = process::user_id(user)?;
            eligible.filter(|one| one.user == id).collect()
        }
        ProcessSelector::Port { port } => {
            let listening = process::listening_on(*port)?;
            eligible.filter(|one| listening.contains(&one.identity.pid)).collect()
        }
        ProcessSelector::Cgroup { cgroup } => {
            eligible.filter(|one| process::in_cgroup(one.identity.pid, cgroup)).collect()
        }
        ProcessSelector::Database { .. } | ProcessSelector::Pid { .. } | ProcessSelector::Container { .. } => {
            Vec::new()
        }
    })
}

/// This process, those that it runs in (supervisor, shell, init), and its children that run the same program.
pub(crate) fn own_family(listed: &[Listed]) -> BTreeSet<u32> {
    let me = std::process::id();
    let of = |pid: u32| listed.iter().find(|one| one.identity.pid == pid);
    let mut family = BTreeSet::from([1, me]);
    let mut next = of(me).map(|one| one.parent);
    while let Some(one) = next.and_then(of) {
        if !family.insert(one.identity.pid) {
            break;
        }
        next = Some(one.parent);
    }
    let name = of(me).map(|one| one.name.as_str());
    family.extend(
        listed.iter().filter(|one| one.parent == me && Some(one.name.as_str()) == name).map(|one| one.identity.pid),
    );
    family
}

fn choose(mut found: Vec<&Listed>, which: Which, what: &str) -> Result<Vec<(Identity, String)>, String> {
    found.sort_by_key(|one| (one.identity.start_time, one.identity.pid));
    let count = found.len();
    let chosen = match (which, count) {
        (_, 0) => return Err(format!("there are no {what} on this host")),
        (Which::Only, 1) | (Which::All, _) => found.as_slice(),
        (Which::Only, _) => return Err(format!("{what} are {count}; say `which`: newest, oldest or all")),
        (Which::Newest, _) => &found[count - 1..],
        (Which::Oldest, _) => &found[..1],
    };
    Ok(chosen.iter().map(|one| (one.identity, format!("{} (process {})", one.name, one.identity.pid))).collect())
}

/// What they have started, and what that has started, and so on; not themselves.
fn descendants<'a>(roots: &[u32], listed: &'a [Listed]) -> Vec<&'a Listed> {
    let mut known: BTreeSet<u32> = roots.iter().copied().collect();
    let mut found = Vec::new();
    loop {
        let next: Vec<&Listed> =
            listed.iter().filter(|one| known.contains(&one.parent) && !known.contains(&one.identity.pid)).collect();
        if next.is_empty() {
            return found;
        }
        known.extend(next.iter().map(|one| one.identity.pid));
        found.extend(next);
    }
}

fn take(identity: Identity, name: String) -> Result<Target, Refusal> {
    if identity.pid == 1 || identity.pid == std::process::id() {
        return Err(Refusal(format!("{name} is what keeps this host or this agent alive; attack something else")));
    }
    if is_kernel_thread(identity.pid) {
        return Err(Refusal(format!("{name} is a part of the kernel and takes no signals")));
    }
    let handle = identity.open()?.ok_or_else(|| Refusal(format!("{name} has ended already")))?;
    Ok(Target { identity, handle, name, container: None })
}

/// Kernel threads are children of process 2 and have no program.
fn is_kernel_thread(pid: u32) -> bool {
    pid == 2 || std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|text| text.is_empty()) && parent_is_kernel(pid)
}

fn parent_is_kernel(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("PPid:").is_some_and(|parent| parent.trim() == "2"))
}

/// For sentences: one by name, several by number and the first.
pub(crate) fn names(targets: &[Target]) -> String {
    match targets {
        [] => "nobody".to_owned(),
        [one] => one.name.clone(),
        [first, ..] => format!("{} processes, the first {}", targets.len(), first.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(pid: u32, parent: u32, start_time: u64, name: &str) -> Listed {
        Listed { identity: Identity { pid, start_time }, parent, name: name.to_owned(), user: 0 }
    }

    #[test]
    fn of_several_one_is_chosen_by_age() {
        let all = [listed(9, 1, 10, "a"), listed(5, 1, 30, "a"), listed(7, 1, 20, "a")];
        let chosen = |which| {
            let chosen = choose(all.iter().collect(), which, "a")?;
            Ok::<Vec<u32>, String>(chosen.into_iter().map(|(identity, _)| identity.pid).collect())
        };
        assert_eq!(chosen(Which::Newest), Ok(vec![5]));
        assert_eq!(chosen(Which::Oldest), Ok(vec![9]));
        assert_eq!(chosen(Which::All), Ok(vec![9, 7, 5]));
        assert!(chosen(Which::Only).is_err_and(|why| why.contains("newest")));
        assert!(choose(Vec::new(), Which::All, "processes of x").is_err());
        assert_eq!(choose(vec![&all[0]], Which::Only, "a").map(|one| one.len()), Ok(1));
    }

    #[test]
    fn a_tree_is_all_that_was_started() {
        let all = [listed(1, 0, 0, "init"), listed(4, 3, 4, "d"), listed(2, 1, 2, "b"), listed(3, 2, 3, "c")];
        let pids = |roots: &[u32]| descendants(roots, &all).iter().map(|one| one.identity.pid).collect::<Vec<_>>();
        assert_eq!(pids(&[2]), [3, 4]);
        assert_eq!(pids(&[4]), [0; 0]);
    }

    #[test]
    fn the_agent_and_what_it_runs_in_are_spared() {
        let me = std::process::id();
        let all = [
            listed(1, 0, 0, "init"),
            listed(50, 1, 1, "shell"),
            listed(me, 50, 2, "agent"),
            listed(60, me, 3, "agent"),
            listed(61, me, 3, "mariadbd"),
        ];
        assert_eq!(own_family(&all), BTreeSet::from([1, 50, me, 60]));
    }
}
