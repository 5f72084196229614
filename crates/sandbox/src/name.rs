//! The names of sandboxes and where they live on disk.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Longest name, in bytes: it becomes part of namespace and directory names that people read and type.
pub const NAME_BYTES_MAX: usize = 24;

/// The name of one sandbox: `a-z`, `0-9` and `-`, beginning with a letter. Unique on a machine, whatever the
/// [`Home`], because namespaces and cgroups are named after it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SandboxName(String);

/// Why a text is not the name of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} cannot name a sandbox: use 1 to {NAME_BYTES_MAX} of the characters a-z, 0-9 and '-', beginning with a letter"
)]
pub struct SandboxNameError(String);

impl SandboxName {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for SandboxName {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl FromStr for SandboxName {
    type Err = SandboxNameError;
    fn from_str(text: &str) -> Result<Self, SandboxNameError> {
        let letters = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        if letters && first && text.len() <= NAME_BYTES_MAX {
            Ok(Self(text.to_owned()))
        } else {
            Err(SandboxNameError(text.to_owned()))
        }
    }
}

impl TryFrom<String> for SandboxName {
    type Error = SandboxNameError;
    fn try_from(text: String) -> Result<Self, SandboxNameError> {
        text.parse()
    }
}

impl From<SandboxName> for String {
    fn from(name: SandboxName) -> Self {
        name.0
    }
}

impl fmt::Display for SandboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The directory that holds all sandboxes and what they share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home(PathBuf);

/// Overrides [`Home::default`]'s directory.
pub const HOME_VARIABLE: &str = "FIREDRILL_HOME";

/// Where sandboxes live when nothing else is said. On a real disk on purpose: a tmpfs would make every fsync free,
/// and the figures worthless.
const HOME_DEFAULT: &str = "/var/lib/firedrill";

impl Home {
    /// A directory of one's own choice; it is made when missing.
    #[must_use]
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// The value of [`HOME_VARIABLE`], else `/var/lib/firedrill`.
    #[must_use]
    pub fn from_environment() -> Self {
        std::env::var_os(HOME_VARIABLE).filter(|value| !value.is_empty()).map_or_else(Self::default, Self::at)
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where prepared database directories are kept, to be copied by the next sandbox.
    #[must_use]
    pub fn templates(&self) -> PathBuf {
        self.0.join("templates")
    }

    /// The directory of one sandbox.
    #[must_use]
    pub fn sandbox(&self, name: &SandboxName) -> PathBuf {
        self.0.join("sandboxes").join(name.as_str())
    }
}

impl Default for Home {
    fn default() -> Self {
        Self::at(HOME_DEFAULT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_in_paths_and_namespaces() {
        for good in ["default", "a", "ci-7", &"x".repeat(NAME_BYTES_MAX)] {
            assert!(good.parse::<SandboxName>().is_ok(), "{good:?}");
        }
        for bad in ["", "-a", "1a", "A", "a b", "../a", "a/b", "a_b", &"x".repeat(NAME_BYTES_MAX + 1)] {
            assert!(bad.parse::<SandboxName>().is_err(), "{bad:?} must be refused");
        }
    }

    #[test]
    fn a_bad_name_is_refused_in_a_file_too() {
        assert!(serde_json::from_str::<SandboxName>("\"../x\"").is_err());
    }
}
