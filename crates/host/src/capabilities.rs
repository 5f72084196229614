//! What this host lacks for a purpose, and what to do about it.

use crate::cgroup;
use std::fmt;
use std::path::PathBuf;

/// Something a caller is going to need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A Linux capability, by its number and name.
    Capability(Capability),
    /// A program in `PATH` (or in `sbin`), and the Debian and Ubuntu package that has it.
    Tool {
        /// Its name.
        program: &'static str,
        /// Its package.
        package: &'static str,
    },
    /// A mounted cgroup hierarchy that groups can be made in.
    Cgroup,
    /// At least this kernel version.
    Kernel {
        /// Major version.
        major: u32,
        /// Minor version.
        minor: u32,
        /// What needs it.
        because: &'static str,
    },
}

/// The capabilities that firedrill uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// Packet rules, links, queues (`CAP_NET_ADMIN`, 12).
    NetAdmin,
    /// Namespaces and mounts (`CAP_SYS_ADMIN`, 21).
    SysAdmin,
    /// Signals to processes of other users (`CAP_KILL`, 5).
    Kill,
    /// Becoming another user (`CAP_SETUID`, 7).
    SetUid,
    /// The memory and the threads of processes of other users (`CAP_SYS_PTRACE`, 19).
    SysPtrace,
    /// The machine's clock (`CAP_SYS_TIME`, 25).
    SysTime,
}

impl Capability {
    const fn number(self) -> u32 {
        match self {
            Self::NetAdmin => 12,
            Self::SysAdmin => 21,
            Self::Kill => 5,
            Self::SetUid => 7,
            Self::SysPtrace => 19,
            Self::SysTime => 25,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::Kill => "CAP_KILL",
            Self::SetUid => "CAP_SETUID",
            Self::SysPtrace => "CAP_SYS_PTRACE",
            Self::SysTime => "CAP_SYS_TIME",
        }
    }
}

/// For people: `CAP_KILL`, the program `ip`.
impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capability(capability) => f.write_str(capability.name()),
            Self::Tool { program, package } => write!(f, "the program `{program}` ({package})"),
            Self::Cgroup => f.write_str("cgroups that its user may write to (root, or delegated)"),
            Self::Kernel { major, minor, because } => write!(f, "Linux {major}.{minor} ({because})"),
        }
    }
}

/// Something that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is missing: {}", self.what, self.remedy)
    }
}

/// Which of the needs are not met, in the order given.
#[must_use]
pub fn missing(needs: &[Need]) -> Vec<Missing> {
    let held = effective_capabilities();
    needs.iter().filter_map(|need| lack(*need, held)).collect()
}

fn lack(need: Need, held: u64) -> Option<Missing> {
    let (met, what, remedy) = match need {
        Need::Capability(capability) => (
            held & (1 << capability.number()) != 0,
            format!("the privilege {}", capability.name()),
            "run as root (sudo), in a container with --privileged".to_owned(),
        ),
        Need::Tool { program, package } => {
            (find(program).is_some(), format!("the program `{program}`"), format!("apt-get install {package}"))
        }
        Need::Cgroup => (
            cgroup::mount().is_some(),
            "a cgroup mount".to_owned(),
            "mount -t cgroup2 none /sys/fs/cgroup; in a container, run it with --cgroupns=private --privileged"
                .to_owned(),
        ),
        Need::Kernel { major, minor, because } => (
            kernel().is_none_or(|version| version >= (major, minor)),
            format!("Linux {major}.{minor}, which has {because}"),
            "boot a newer kernel".to_owned(),
        ),
    };
    (!met).then_some(Missing { what, remedy })
}

/// Where a program is, in `PATH` or in the `sbin` directories that the `PATH` of ordinary users leaves out.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|dir| dir.join(program)).find(|candidate| candidate.is_file())
}

fn effective_capabilities() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()).unwrap_or(0)
}

/// Major and minor version of the running kernel; `None` when it says something else than numbers.
fn kernel() -> Option<(u32, u32)> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_names_its_package() {
        let needs = [
            Need::Tool { program: "sh", package: "dash" },
            Need::Tool { program: "no-such-tool", package: "nothing" },
            Need::Kernel { major: 2, minor: 6, because: "epoll" },
            Need::Kernel { major: 99, minor: 0, because: "time travel" },
        ];
        let found: Vec<String> = missing(&needs).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "the program `no-such-tool` is missing: apt-get install nothing",
                "Linux 99.0, which has time travel is missing: boot a newer kernel"
            ]
        );
    }

    #[test]
    fn a_capability_that_is_not_held_is_named() {
        assert_eq!(lack(Need::Capability(Capability::NetAdmin), 1 << 12), None);
        let lacking = lack(Need::Capability(Capability::NetAdmin), 1 << 13).expect("not held");
        assert!(lacking.to_string().contains("CAP_NET_ADMIN") && lacking.to_string().contains("root"));
    }
}
