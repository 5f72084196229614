//! Containers as the files of runtimes tell of them.

use crate::process::Identity;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// A state file is tens of kilobytes; the list of all containers of a storage a few megabytes at most.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Most entries of a directory that are looked at: a host has hundreds of containers.
const ENTRIES_MAX: usize = 10_000;

/// What a file says of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stated {
    pub(super) id: String,
    /// Its main process. The start time is known where the runtime writes it down.
    pub(super) pid: Option<(u32, Option<u64>)>,
    pub(super) names: Vec<String>,
}

/// A directory in which a runtime keeps one directory for each of its containers, and whose runtime it is.
pub(super) fn roots(run: &Path) -> Vec<(&'static str, PathBuf)> {
    let mut all = vec![("runc", run.join("runc")), ("crun", run.join("crun"))];
    // One root for each of its namespaces (`default`, `k8s.io`, `moby`).
    all.extend(entries(&run.join("containerd/runc")).into_iter().map(|dir| ("containerd", dir)));
    all.extend(entries(&run.join("docker/runtime-runc")).into_iter().map(|dir| ("Docker", dir)));
    for user in entries(&run.join("user")) {
        all.push(("runc", user.join("runc")));
        all.push(("crun", user.join("crun")));
    }
    all.retain(|(_, dir)| dir.is_dir());
    all
}

/// The containers of a root: runc writes `ID/state.json`, crun `ID/status`.
pub(super) fn of_root(root: &Path) -> Vec<Stated> {
    entries(root)
        .iter()
        .filter_map(|dir| {
            let runc = || read(&dir.join("state.json")).map(Runc::stated);
            let crun = || Some(read::<Crun>(&dir.join("status"))?.stated(dir.file_name()?.to_str()?));
            runc().or_else(crun)
        })
        .collect()
}

#[derive(Deserialize)]
struct Runc {
    id: String,
    #[serde(default)]
    init_process_pid: u32,
    init_process_start: Option<u64>,
}

impl Runc {
    fn stated(self) -> Stated {
        let pid = (self.init_process_pid != 0).then_some((self.init_process_pid, self.init_process_start));
        Stated { id: self.id, pid, names: Vec::new() }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Crun {
    pid: u32,
    process_start_time: Option<u64>,
}

impl Crun {
    fn stated(&self, id: &str) -> Stated {
        let pid = (self.pid != 0).then_some((self.pid, self.process_start_time));
        Stated { id: id.to_owned(), pid, names: Vec::new() }
    }
}

/// Names, and who gives them.
pub(super) fn names(run: &Path, lib: &Path) -> Vec<(&'static str, Stated)> {
    let mut all = Vec::new();
    all.extend(docker(&lib.join("docker/containers")).into_iter().map(|one| ("Docker", one)));
    for storage in [lib.join("containers/storage"), run.join("containers/storage")] {
        all.extend(podman(&storage).into_iter().map(|one| ("Podman", one)));
    }
    all.extend(
        containerd(&run.join("containerd/io.containerd.runtime.v2.task")).into_iter().map(|one| ("containerd", one)),
    );
    all
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Docker {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default)]
    name: String,
    state: Option<DockerState>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerState {
    #[serde(default)]
    running: bool,
    #[serde(default)]
    pid: u32,
}

/// `ID/config.v2.json`, for each container that there is, running or not.
fn docker(dir: &Path) -> Vec<Stated> {
    let read = |dir: &PathBuf| {
        let Docker { id, name, state } = read(&dir.join("config.v2.json"))?;
        let pid = state.filter(|state| state.running && state.pid != 0).map(|state| (state.pid, None));
        Some(Stated { id, pid, names: vec![name.trim_start_matches('/').to_owned()] })
    };
    entries(dir).iter().filter_map(read).collect()
}

#[derive(Deserialize)]
struct Stored {
    id: String,
    #[serde(default)]
    names: Vec<String>,
}

/// `overlay-containers/containers.json`, and one for containers that a reboot may remove. CRI-O has the same storage.
fn podman(storage: &Path) -> Vec<Stated> {
    let drivers = entries(storage).into_iter().filter(|dir| dir.to_string_lossy().ends_with("-containers"));
    let files = drivers.flat_map(|dir| [dir.join("containers.json"), dir.join("volatile-containers.json")]);
    let read = |file: PathBuf| read::<Vec<Stored>>(&file).unwrap_or_default();
    files.flat_map(read).map(|Stored { id, names }| Stated { id, pid: None, names }).collect()
}

#[derive(Deserialize)]
struct Bundle {
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// `NAMESPACE/ID/config.json` with what Kubernetes or nerdctl call it, and `init.pid`.
fn containerd(dir: &Path) -> Vec<Stated> {
    const NAMES: [&str; 2] = ["io.kubernetes.cri.container-name", "nerdctl/name"];
    let bundles = entries(dir).into_iter().flat_map(|namespace| entries(&namespace));
    let read = |dir: PathBuf| {
        let id = dir.file_name()?.to_str()?.to_owned();
        let bundle: Bundle = read(&dir.join("config.json"))?;
        let names = NAMES.iter().filter_map(|name| bundle.annotations.get(*name)).cloned().collect();
        let pid = fs::read_to_string(dir.join("init.pid")).ok().and_then(|text| text.trim().parse().ok());
        Some(Stated { id, pid: pid.map(|pid| (pid, None)), names })
    };
    bundles.filter_map(read).collect()
}

/// The process, if it is the one that was meant and is alive. Without a start time anybody could have its id by now, so
/// `is_in` must say that it is in the container.
pub(super) fn alive((pid, start_time): (u32, Option<u64>), is_in: impl Fn(u32) -> bool) -> Option<Identity> {
    let identity = match start_time {
        Some(start_time) => Identity { pid, start_time },
        None => Identity::of(pid).ok().filter(|_| is_in(pid))?,
    };
    identity.alive().then_some(identity)
}

/// What cannot be read, for a lack of rights or because it has just gone, is not there.
fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> =
        fs::read_dir(dir).into_iter().flatten().flatten().take(ENTRIES_MAX).map(|entry| entry.path()).collect();
    all.sort();
    all
}
