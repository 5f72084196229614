//! The processes of this host, and which of them wait on a port or are in a cgroup.

use super::Identity;
use crate::HostError;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A process among others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Who it is.
    pub identity: Identity,
    /// Its parent's id; 0 when it has none that is seen here.
    pub parent: u32,
    /// File name of the program as it was called; in brackets for a part of the kernel.
    pub name: String,
    /// The user id that it acts as.
    pub user: u32,
}

/// All processes that are alive; zombies are left out, and so is what ends while the list is made.
pub fn list() -> Result<Vec<Listed>, HostError> {
    let path = Path::new("/proc");
    let entries = fs::read_dir(path).map_err(|problem| HostError::at("list", path, problem))?;
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(pids.filter_map(look).collect())
}

fn look(pid: u32) -> Option<Listed> {
    let identity = Identity::of(pid).ok().filter(Identity::alive)?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(Listed {
        identity,
        parent: field("PPid:")?.parse().ok()?,
        name: program(&command).unwrap_or_else(|| format!("[{}]", field("Name:").unwrap_or_default())),
        // Real, effective, saved, file system.
        user: field("Uid:")?.split_whitespace().nth(1)?.parse().ok()?,
    })
}

/// The first word of a command line, without directories. Kernel threads have none.
fn program(command: &[u8]) -> Option<String> {
    let first = command.split(|byte| *byte == 0).next().filter(|word| !word.is_empty())?;
    let text = String::from_utf8_lossy(first);
    // Some programs write their state there: `sshd: alice [priv]`.
    let word = text.split(|c: char| c == ':' || c.is_whitespace()).next().unwrap_or_default();
    Some(word.rsplit('/').next().unwrap_or(word).to_owned())
}

/// The number of a system user.
pub fn user_id(name: &str) -> Result<u32, HostError> {
    let found = nix::unistd::User::from_name(name)
        .map_err(|problem| HostError::system("look up", format!("user {name}"), problem))?;
    found.map(|user| user.uid.as_raw()).ok_or_else(|| HostError::NoUser { name: name.to_owned() })
}

/// Ids of processes that have a TCP socket listening on this port, in the network namespace of the caller.
pub fn listening_on(port: u16) -> Result<BTreeSet<u32>, HostError> {
    let mut sockets = BTreeSet::new();
    for table in ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"] {
        let text = match fs::read_to_string(table) {
            // A kernel without IPv6.
            Err(problem) if problem.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.map_err(|problem| HostError::at("read", Path::new(table), problem))?,
        };
        sockets.extend(text.lines().filter_map(|line| listener(line, port)));
    }
    if sockets.is_empty() {
        return Ok(BTreeSet::new());
    }
    let holds = |pid: u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let mut targets = files.filter_map(|file| fs::read_link(file.path()).ok());
        targets.any(|target| target.to_str().is_some_and(|target| sockets.contains(target)))
    };
    Ok(list()?.into_iter().map(|listed| listed.identity.pid).filter(|pid| holds(*pid)).collect())
}

/// `sl local rem st … inode`: the socket of a line, as a link of `/proc/PID/fd` names it, when it listens (`0A`) there.
fn listener(line: &str, port: u16) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (_, local) = words.get(1)?.rsplit_once(':')?;
    let listens = words.get(3) == Some(&"0A") && u16::from_str_radix(local, 16) == Ok(port);
    listens.then(|| words.get(9).map(|inode| format!("socket:[{inode}]")))?
}

/// Whether a process is in this cgroup or below it, in any hierarchy.
#[must_use]
pub fn in_cgroup(pid: u32, path: &str) -> bool {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    any_below(&text, path)
}

fn any_below(groups: &str, path: &str) -> bool {
    let wanted = Path::new("/").join(path.trim_matches('/'));
    // The root has everybody in it: that is no choice.
    let is_choice = wanted != Path::new("/");
    is_choice
        && groups.lines().filter_map(|line| line.splitn(3, ':').nth(2)).any(|own| Path::new(own).starts_with(&wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_its_file_name() {
        assert_eq!(program(b"/usr/sbin/mariadbd\0--no-defaults\0"), Some("mariadbd".to_owned()));
        assert_eq!(program(b"sshd: alice [priv]\0"), Some("sshd".to_owned()));
        assert_eq!(program(b""), None);
    }

    #[test]
    fn a_listener_is_found_by_its_port() {
        let line = "0: 0100007F:0CEA 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4242 1 0 100 0";
        assert_eq!(listener(line, 3306), Some("socket:[4242]".to_owned()));
        assert_eq!(listener(line, 3307), None);
        assert_eq!(listener(&line.replace(" 0A ", " 01 "), 3306), None, "a connection");
    }

    #[test]
    fn a_cgroup_has_those_below_it() {
        let groups = "3:blkio:/docker/x\n0::/system.slice/db.service\n";
        assert!(any_below(groups, "docker") && any_below(groups, "/docker/x") && any_below(groups, "system.slice"));
        assert!(!any_below(groups, "dock") && !any_below(groups, "/") && !any_below(groups, ""));
    }

    #[test]
    fn this_process_is_listed_and_found_by_its_port() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let me = std::process::id();
        assert!(list().expect("lists").iter().any(|listed| listed.identity.pid == me && listed.parent > 0));
        let port = listener.local_addr().expect("bound").port();
        assert!(listening_on(port).expect("looks").contains(&me));
        drop(listener);
        assert!(!listening_on(port).expect("looks").contains(&me));
    }
}
