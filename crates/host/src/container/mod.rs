//! Containers of this host, found without asking any runtime: by the state that runtimes keep in files, and by the
//! cgroups of processes. A runtime that hangs, or is not reached from here, hides none of its containers.

mod group;
mod state;

use crate::HostError;
use crate::cgroup::Cgroup;
use crate::controller::{Controller, Membership};
use crate::netns::{self, Namespace};
use crate::process::{self, Identity};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Ids are shown so short, as all runtimes do.
const ID_SHOWN_CHARS: usize = 12;
/// Most containers that an error lists.
const LISTED_MAX: usize = 10;

/// A container that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// As its runtime numbers or names it.
    pub id: String,
    /// What people call it; some runtimes know no names.
    pub names: Vec<String>,
    /// Whose it is (`Docker`, `Podman`, `containerd`, `CRI-O`, `runc`, `crun`).
    pub runtime: &'static str,
    /// Its main process.
    pub init: Identity,
}

/// Where runtimes keep what they know.
#[derive(Debug, Clone)]
struct Places {
    /// `/run`.
    run: PathBuf,
    /// `/var/lib`.
    lib: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self { run: PathBuf::from("/run"), lib: PathBuf::from("/var/lib") }
    }
}

/// All containers that run here, by id.
///
/// # Errors
/// The processes of this host cannot be listed.
pub fn list() -> Result<Vec<Container>, HostError> {
    let places = Places::default();
    let mut found = stated(&places);
    // Those of roots that nobody told us of.
    let mut members: BTreeMap<String, (&'static str, Vec<Identity>)> = BTreeMap::new();
    for one in process::list()? {
        let groups = groups_of(one.identity.pid);
        if let Some((runtime, id)) = group::container_of(&groups).filter(|(_, id)| !found.contains_key(id)) {
            members.entry(id).or_insert((runtime, Vec::new())).1.push(one.identity);
        }
    }
    for (id, (runtime, members)) in members {
        let init = main_of(&members);
        found.extend(init.map(|init| (id.clone(), Container { id, names: Vec::new(), runtime, init })));
    }
    for (runtime, named) in state::names(&places.run, &places.lib) {
        if let Some(container) = found.get_mut(&named.id) {
            container.named(runtime, named.names);
        }
    }
    Ok(found.into_values().collect())
}

/// What the state files say runs.
fn stated(places: &Places) -> BTreeMap<String, Container> {
    let mut found = BTreeMap::new();
    let roots = state::roots(&places.run);
    let of_roots = roots.iter().flat_map(|(runtime, root)| state::of_root(root).into_iter().map(|one| (*runtime, one)));
    for (runtime, stated) in of_roots.chain(state::names(&places.run, &places.lib)) {
        let is_in = |pid: u32| group::container_of(&groups_of(pid)).is_some_and(|(_, id)| id == stated.id);
        let Some(init) = stated.pid.and_then(|pid| state::alive(pid, is_in)) else { continue };
        let container = || Container { id: stated.id.clone(), names: Vec::new(), runtime, init };
        found.entry(stated.id.clone()).or_insert_with(container);
    }
    found
}

/// The one that is number 1 in a namespace of its own, or else the oldest.
fn main_of(members: &[Identity]) -> Option<Identity> {
    let first = members.iter().find(|one| is_first(one.pid));
    first.or_else(|| members.iter().min_by_key(|one| (one.start_time, one.pid))).copied()
}

/// Whether a process is number 1 of a process namespace below this one: `NSpid:  4242  1`.
fn is_first(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    let mut ids = ids.split_whitespace().rev();
    ids.next() == Some("1") && ids.next().is_some()
}

fn groups_of(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default()
}

/// The container of this name, id or beginning of an id.
///
/// # Errors
/// [`HostError::NoContainer`], or [`HostError::SeveralContainers`] with those that it can mean.
pub fn find(text: &str) -> Result<Container, HostError> {
    choose(text, list()?)
}

fn choose(text: &str, all: Vec<Container>) -> Result<Container, HostError> {
    let listed = |some: &[Container]| {
        let mut shown: Vec<String> = some.iter().take(LISTED_MAX).map(Container::title).collect();
        if some.len() > LISTED_MAX {
            shown.push(format!("{} more", some.len() - LISTED_MAX));
        }
        shown.join(", ")
    };
    let exact = |one: &&Container| one.id == text || one.names.iter().any(|name| name == text);
    let mut meant: Vec<Container> = all.iter().filter(exact).cloned().collect();
    if meant.is_empty() && !text.is_empty() {
        meant = all.iter().filter(|one| one.id.starts_with(text)).cloned().collect();
    }
    match meant.len() {
        0 => Err(HostError::NoContainer { name: text.to_owned(), running: listed(&all) }),
        1 => Ok(meant.remove(0)),
        _ => Err(HostError::SeveralContainers { name: text.to_owned(), candidates: listed(&meant) }),
    }
}

/// A runtime whose state is on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// Its name.
    pub name: &'static str,
    /// Where it keeps its state.
    pub place: PathBuf,
    /// How many of its containers run.
    pub running: usize,
}

/// The runtimes that keep state here, whether or not a container runs.
#[must_use]
pub fn runtimes() -> Vec<Runtime> {
    let running = |root: &Path| {
        let all = state::of_root(root).into_iter();
        all.filter(|one| one.pid.and_then(|pid| state::alive(pid, |_| true)).is_some()).count()
    };
    let roots = state::roots(&Places::default().run).into_iter();
    roots.map(|(name, place)| Runtime { name, running: running(&place), place }).collect()
}

impl Container {
    fn named(&mut self, runtime: &'static str, names: Vec<String>) {
        // Docker runs on containerd, and all of them on runc or crun: who gives the name is who people know.
        let known = self.runtime == "Docker" || (self.runtime == "Podman" && runtime != "Docker");
        if !known {
            self.runtime = runtime;
        }
        for name in names {
            if !name.is_empty() && !self.names.contains(&name) {
                self.names.push(name);
            }
        }
    }

    /// For people: `web (0123456789ab)`.
    #[must_use]
    pub fn title(&self) -> String {
        let id: String = self.id.chars().take(if self.is_hashed() { ID_SHOWN_CHARS } else { usize::MAX }).collect();
        self.names.first().map_or_else(|| id.clone(), |name| format!("{name} ({id})"))
    }

    fn is_hashed(&self) -> bool {
        self.id.len() > ID_SHOWN_CHARS && self.id.bytes().all(|byte| byte.is_ascii_hexdigit())
    }

    /// Its group in the hierarchy of a controller, with all groups that its programs have made below; `None` when no
    /// mounted hierarchy has the controller.
    ///
    /// # Errors
    /// It has ended, or it cannot be looked at.
    pub fn membership(&self, controller: Controller) -> Result<Option<Membership>, HostError> {
        Ok(Membership::of(self.init, controller)?.map(|member| self.whole(member)))
    }

    /// Its group of version 2, whatever that can limit there; `None` when there is no such mount.
    ///
    /// # Errors
    /// It has ended, or it cannot be looked at.
    pub fn membership_of_version_2(&self) -> Result<Option<Membership>, HostError> {
        Ok(Membership::of_version_2(self.init)?.map(|member| self.whole(member)))
    }

    fn whole(&self, member: Membership) -> Membership {
        let group = Cgroup::in_dir(group::cut_at(member.group.dir(), &self.id));
        Membership { group, ..member }
    }

    /// All processes in it, the main one first. By its cgroup, or by its process namespace when it has no group of its
    /// own.
    ///
    /// # Errors
    /// It has ended, or it cannot be looked at.
    pub fn processes(&self) -> Result<Vec<Identity>, HostError> {
        let pids = match self.membership(Controller::Freezer)?.filter(|member| !member.is_root()) {
            Some(member) => member.group.processes()?,
            None => self.in_its_namespace()?,
        };
        let others = pids.into_iter().filter(|pid| *pid != self.init.pid);
        // Those that ended meanwhile are not in it.
        Ok(std::iter::once(self.init).chain(others.filter_map(|pid| Identity::of(pid).ok())).collect())
    }

    fn in_its_namespace(&self) -> Result<Vec<u32>, HostError> {
        let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let its = namespace(self.init.pid).filter(|its| Some(its) != namespace(std::process::id()).as_ref());
        let all = process::list()?.into_iter().map(|one| one.identity.pid);
        Ok(all.filter(|pid| its.is_some() && namespace(*pid) == its).collect())
    }

    /// Its network namespace.
    ///
    /// # Errors
    /// It has ended, or its namespaces must not be looked at.
    pub fn network(&self) -> Result<Namespace, HostError> {
        let seen = netns::identity(&PathBuf::from(format!("/proc/{}/ns/net", self.init.pid)))?;
        if self.init.alive() { Ok(seen) } else { Err(HostError::NoProcess { pid: self.init.pid }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(id: &str, names: &[&str]) -> Container {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Container { id: id.to_owned(), names, runtime: "runc", init: Identity { pid: 1, start_time: 0 } }
    }

    fn chosen(text: &str) -> Result<String, String> {
        let all = vec![
            container("aa11", &["web"]),
            container("aa22", &["web-2"]),
            container("bb33", &["aa11"]),
            container("cc44", &["twice"]),
            container("dd55", &["twice"]),
        ];
        choose(text, all).map(|one| one.id).map_err(|problem| problem.to_string())
    }

    #[test]
    fn a_name_or_the_beginning_of_an_id_is_enough() {
        assert_eq!(chosen("web"), Ok("aa11".to_owned()), "not the beginning of a name");
        assert_eq!(chosen("bb"), Ok("bb33".to_owned()));
        assert_eq!(chosen("aa2"), Ok("aa22".to_owned()));
    }

    #[test]
    fn what_is_missing_or_ambiguous_is_said_with_what_there_is() {
        assert!(chosen("we").is_err_and(|why| why.contains("no running container") && why.contains("web-2 (aa22)")));
        assert!(chosen("").is_err());
        assert!(chosen("aa").is_err_and(|why| why.contains("web (aa11), web-2 (aa22)") && !why.contains("cc44")));
        assert!(chosen("aa11").is_err_and(|why| why.contains("aa11 (bb33)")), "a name of one, the id of another");
        assert!(chosen("twice").is_err_and(|why| why.contains("cc44") && why.contains("dd55")));
        let none = choose("web", Vec::new()).expect_err("none runs");
        assert!(none.to_string().contains("none runs"), "{none}");
    }

    #[test]
    fn ids_are_shown_short_and_names_whole() {
        assert_eq!(container(&"ab".repeat(32), &["web"]).title(), "web (abababababab)");
        assert_eq!(container("a-container-of-runc", &[]).title(), "a-container-of-runc");
    }

    /// A host's files, and a live process that plays the containers.
    #[test]
    fn state_files_of_all_runtimes_are_read() {
        let (run, lib) = (tempfile::tempdir().expect("temp dir"), tempfile::tempdir().expect("temp dir"));
        let me = Identity::current().expect("lives");
        let write = |path: PathBuf, text: String| {
            fs::create_dir_all(path.parent().expect("has one")).expect("makes");
            fs::write(path, text).expect("writes");
        };
        let runc = |id: &str, start: u64| {
            format!(
                r#"{{"id": "{id}", "init_process_pid": {}, "init_process_start": {start}, "config": {{}}}}"#,
                me.pid
            )
        };
        write(run.path().join("runc/one/state.json"), runc("one", me.start_time));
        write(run.path().join("runc/dead/state.json"), runc("dead", me.start_time + 1));
        write(run.path().join("runc/torn/state.json"), "{\"id\": \"to".to_owned());
        write(run.path().join("containerd/runc/k8s.io/two/state.json"), runc("two", me.start_time));
        write(run.path().join("docker/runtime-runc/moby/three/state.json"), runc("three", me.start_time));
        let crun = format!(r#"{{"pid": {}, "process-start-time": {}, "cgroup-path": "/x"}}"#, me.pid, me.start_time);
        write(run.path().join("crun/four/status"), crun);
        let bundle = r#"{"annotations": {"io.kubernetes.cri.container-name": "sidecar"}}"#;
        write(run.path().join("containerd/io.containerd.runtime.v2.task/k8s.io/two/config.json"), bundle.to_owned());
        let docker = r#"{"ID": "three", "Name": "/db", "State": {"Running": true, "Pid": 1}}"#;
        write(lib.path().join("docker/containers/three/config.v2.json"), docker.to_owned());
        let podman = r#"[{"id": "four", "names": ["cache"], "layer": "x"}, {"id": "five"}]"#;
        write(lib.path().join("containers/storage/overlay-containers/containers.json"), podman.to_owned());

        let places = Places { run: run.path().to_owned(), lib: lib.path().to_owned() };
        let mut found = stated(&places);
        for (runtime, named) in state::names(&places.run, &places.lib) {
            if let Some(container) = found.get_mut(&named.id) {
                container.named(runtime, named.names);
            }
        }
        let seen: Vec<String> =
            found.values().map(|one| format!("{} {} {}", one.id, one.runtime, one.names.join(","))).collect();
        assert_eq!(seen, ["four Podman cache", "one runc ", "three Docker db", "two containerd sidecar"]);
    }
}
