//! What this machine lacks for a sandbox, all of it at once, each with what to do. Nothing is made before it passes.

use crate::error::SandboxError;
use crate::name::{Home, SandboxName};
use firedrill_host::capabilities::{self, Capability, Need};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What each need is for: privileges to make namespaces and cables, to run servers as another user and to end them.
const NEEDS: [Need; 8] = [
    Need::Capability(Capability::SysAdmin),
    Need::Capability(Capability::NetAdmin),
    Need::Capability(Capability::Kill),
    Need::Capability(Capability::SetUid),
    Need::Tool { program: "ip", package: "iproute2" },
    Need::Tool { program: "nft", package: "nftables" },
    Need::Tool { program: "iptables", package: "iptables" },
    Need::Cgroup,
];

/// Six data directories of about 200 MB with their logs, a clone beside one of them, and room for a few minutes of
/// load.
const DISK_FREE_BYTES_MIN: u64 = 3 << 30;

/// Longest path of a unix socket (`sun_path` less its end mark).
const SOCKET_BYTES_MAX: usize = 107;
/// The longest socket path that this crate and the agents make below a host's directory.
const SOCKET_BELOW_HOST_BYTES: usize = "/hosts/gateway/agent/gateway/control.sock".len();

/// Checks everything.
///
/// # Errors
/// [`SandboxError::Preflight`] with every missing thing.
pub(crate) fn check(home: &Home, name: &SandboxName, program: &Path) -> Result<(), SandboxError> {
    let mut missing: Vec<String> = capabilities::missing(&NEEDS).iter().map(ToString::to_string).collect();
    if let Err(problem) = firedrill_engine::preflight() {
        missing.push(problem.to_string());
    }
    missing.extend(executable(program).err());
    missing.extend(short_enough(home, name).err());
    missing.extend(disk(home.path()).err());
    if missing.is_empty() { Ok(()) } else { Err(SandboxError::Preflight { missing }) }
}

fn executable(program: &Path) -> Result<(), String> {
    let is_executable = std::fs::metadata(program).is_ok_and(|file| file.permissions().mode() & 0o111 != 0);
    if is_executable && program.is_absolute() {
        return Ok(());
    }
    Err(format!("{} is not a program: give the absolute path of the firedrill program", program.display()))
}

fn short_enough(home: &Home, name: &SandboxName) -> Result<(), String> {
    let length = home.sandbox(name).as_os_str().len() + SOCKET_BELOW_HOST_BYTES;
    if length <= SOCKET_BYTES_MAX {
        return Ok(());
    }
    let excess = length - SOCKET_BYTES_MAX;
    Err(format!(
        "the path {} is {excess} characters too long for the unix sockets in it: set FIREDRILL_HOME to a shorter one",
        home.sandbox(name).display()
    ))
}

/// Free space where `home` is or will be.
fn disk(home: &Path) -> Result<(), String> {
    let existing = home.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let stat = nix::sys::statvfs::statvfs(existing)
        .map_err(|problem| format!("the free space of {} cannot be read: {problem}", existing.display()))?;
    enough(stat.blocks_available().saturating_mul(stat.fragment_size()), existing)
}

fn enough(free: u64, place: &Path) -> Result<(), String> {
    if free >= DISK_FREE_BYTES_MIN {
        return Ok(());
    }
    let mib = |bytes: u64| bytes >> 20;
    Err(format!(
        "disk space is missing: {} has {} MiB free and a sandbox needs {} MiB; free some, or set FIREDRILL_HOME to a directory elsewhere",
        place.display(),
        mib(free),
        mib(DISK_FREE_BYTES_MIN)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named_with_what_to_do() {
        assert_eq!(enough(DISK_FREE_BYTES_MIN, Path::new("/x")), Ok(()));
        let message = enough(5 << 20, Path::new("/x")).expect_err("too little");
        assert!(message.contains("/x has 5 MiB") && message.contains("FIREDRILL_HOME"), "{message}");
    }

    #[test]
    fn a_home_that_no_socket_fits_in_is_refused() {
        let name = SandboxName::default();
        assert_eq!(short_enough(&Home::default(), &name), Ok(()));
        let deep = Home::at(format!("/{}", "d".repeat(60)));
        assert!(short_enough(&deep, &name).expect_err("too long").contains("FIREDRILL_HOME"));
    }

    #[test]
    fn everything_that_is_missing_is_said_at_once() {
        let home = Home::at(format!("/{}", "d".repeat(60)));
        let error = check(&home, &SandboxName::default(), Path::new("/no/such/program")).expect_err("two things");
        let message = error.to_string();
        assert!(message.contains("/no/such/program") && message.contains("too long"), "{message}");
    }
}
