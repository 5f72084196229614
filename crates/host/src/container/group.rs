//! Containers as the names of cgroups tell of them: runtimes put the id into the path.

use std::path::{Component, Path, PathBuf};

/// Ids of Docker, Podman, containerd's CRI and CRI-O are 64 hexadecimal digits.
const ID_BYTES: usize = 64;

/// The container that a process is in, by the lines of its `cgroup` file (`number:controllers:path`): who runs it, and
/// its id. `None` for a process in no container whose runtime names cgroups after ids.
pub(super) fn container_of(groups: &str) -> Option<(&'static str, String)> {
    let paths = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    // A container inside a container counts as the inner one.
    paths.filter_map(|path| components(Path::new(path)).into_iter().rev().find_map(read_component)).next()
}

fn components(path: &Path) -> Vec<(Option<&str>, &str)> {
    let names: Vec<&str> = path
        .components()
        .filter_map(|part| if let Component::Normal(name) = part { name.to_str() } else { None })
        .collect();
    (0..names.len()).map(|place| (place.checked_sub(1).map(|above| names[above]), names[place])).collect()
}

/// `docker-ID.scope` with systemd, `docker/ID` without; in Kubernetes `cri-containerd-ID.scope` or `kubepods/…/ID`.
fn read_component((above, name): (Option<&str>, &str)) -> Option<(&'static str, String)> {
    const PREFIXES: [(&str, &str); 4] =
        [("docker-", "Docker"), ("libpod-", "Podman"), ("cri-containerd-", "containerd"), ("crio-", "CRI-O")];
    let name = name.strip_suffix(".scope").unwrap_or(name);
    for (prefix, runtime) in PREFIXES {
        if let Some(id) = name.strip_prefix(prefix).filter(|id| is_id(id)) {
            return Some((runtime, id.to_owned()));
        }
    }
    let runtime = match above {
        Some("docker") => "Docker",
        Some("libpod_parent") => "Podman",
        _ => "containerd",
    };
    is_id(name).then(|| (runtime, name.to_owned()))
}

fn is_id(text: &str) -> bool {
    text.len() == ID_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A directory in a cgroup hierarchy, cut off below the part that names the container: its programs may have made groups
/// of their own (an init system, a runtime that moves its processes one down). Unchanged when no part names it.
pub(super) fn cut_at(dir: &Path, id: &str) -> PathBuf {
    let names_it = |path: &&Path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let name = name.strip_suffix(".scope").unwrap_or(name);
        // Ids that people choose can be the end of other words.
        let known = |before: &str| matches!(before, "runc-" | "crun-") || is_id(id) && before.ends_with('-');
        name.strip_suffix(id).is_some_and(|before| before.is_empty() || known(before))
    };
    dir.ancestors().filter(names_it).last().unwrap_or(dir).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn found(groups: &str) -> Option<&'static str> {
        let (runtime, id) = container_of(&groups.replace("ID", ID))?;
        assert_eq!(id, ID);
        Some(runtime)
    }

    #[test]
    fn containers_are_known_by_their_cgroups_of_version_1() {
        assert_eq!(found("12:pids:/docker/ID\n1:name=systemd:/docker/ID\n0::/docker/ID\n"), Some("Docker"));
        assert_eq!(found("9:memory:/machine.slice/libpod-ID.scope\n"), Some("Podman"));
        assert_eq!(found("9:memory:/libpod_parent/libpod-ID\n"), Some("Podman"));
        assert_eq!(found("4:cpu:/kubepods/besteffort/pod6e/ID\n"), Some("containerd"));
        assert_eq!(found("4:cpu,cpuacct:/system.slice/ssh.service\n1:name=systemd:/\n"), None);
    }

    #[test]
    fn containers_are_known_by_their_cgroups_of_version_2() {
        assert_eq!(found("0::/system.slice/docker-ID.scope\n"), Some("Docker"));
        assert_eq!(found("0::/system.slice/docker-ID.scope/init.scope\n"), Some("Docker"));
        assert_eq!(found("0::/machine.slice/libpod-ID.scope/container\n"), Some("Podman"));
        assert_eq!(
            found("0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope\n"),
            Some("Podman")
        );
        assert_eq!(found("0::/kubepods.slice/kubepods-pod6e.slice/cri-containerd-ID.scope\n"), Some("containerd"));
        assert_eq!(found("0::/kubepods.slice/kubepods-pod6e.slice/crio-ID.scope\n"), Some("CRI-O"));
        assert_eq!(found("0::/user.slice\n"), None);
        assert_eq!(found("0::/docker/0123\n"), None, "no whole id");
    }

    #[test]
    fn what_watches_a_container_is_not_in_it() {
        assert_eq!(found("0::/machine.slice/libpod-conmon-ID.scope\n"), None);
        assert_eq!(found("0::/kubepods.slice/crio-conmon-ID.scope\n"), None);
    }

    #[test]
    fn a_group_is_cut_off_below_its_container() {
        let cut = |dir: &str, id: &str| cut_at(Path::new(&dir.replace("ID", ID)), id).display().to_string();
        let whole = |dir: &str| dir.replace("ID", ID);
        assert_eq!(cut("/c/system.slice/docker-ID.scope/init.scope", ID), whole("/c/system.slice/docker-ID.scope"));
        assert_eq!(cut("/c/libpod-ID.scope/container", ID), whole("/c/libpod-ID.scope"));
        assert_eq!(cut("/c/web-1", "web-1"), "/c/web-1");
        assert_eq!(cut("/c/web-1/x/y", "web-1"), "/c/web-1");
        assert_eq!(cut("/c/elsewhere/x", "web-1"), "/c/elsewhere/x");
        assert_eq!(cut("/c/system.slice/runc-web.scope/x", "web"), "/c/system.slice/runc-web.scope");
        assert_eq!(cut("/c/cobweb/x", "web"), "/c/cobweb/x");
        assert_eq!(cut("/c/web-1/1/x", "1"), "/c/web-1/1");
    }
}
