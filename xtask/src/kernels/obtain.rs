//! Kernels from Debian's archive, through apt with a state of its own, so that the machine's sources stay as they are.

use super::{Kernel, directory};
use crate::shell;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Where Debian's packages are, when this machine's apt knows no mirror of them.
const ARCHIVE: &str = "http://deb.debian.org/debian";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// What the stage calls, and the package that has it.
const TOOLS: [(&str, &str); 6] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("modprobe", "kmod"),
    ("mkfs.ext4", "e2fsprogs"),
    ("strip", "binutils"),
    ("xz", "xz-utils"),
];
/// What tests and guests load. A whole kernel package has half a gigabyte of modules, mostly drivers of real devices.
const MODULES: [&str; 12] = [
    "*/kernel/fs*",
    "*/kernel/net*",
    "*/kernel/lib*",
    "*/kernel/crypto*",
    "*/kernel/arch*",
    "*/kernel/drivers/virtio*",
    "*/kernel/drivers/block*",
    "*/kernel/drivers/md*",
    "*/kernel/drivers/net/*.ko*",
    "*/modules.builtin*",
    "*/modules.order",
    "./boot/vmlinuz*",
];

/// A kernel on disk.
pub(super) struct Image {
    /// As `uname -r` says there.
    pub(super) release: String,
    root: PathBuf,
}

impl Image {
    /// What a boot loader loads.
    pub(super) fn kernel(&self) -> PathBuf {
        self.root.join(format!("boot/vmlinuz-{}", self.release))
    }

    /// The directory that has `lib/modules`, for modprobe.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of its modules.
    pub(super) fn modules(&self) -> PathBuf {
        self.root.join("lib/modules").join(&self.release)
    }
}

/// Fails with all that is missing and how to get it.
pub(super) fn check_tools() -> Result<()> {
    let missing: Vec<&str> =
        TOOLS.iter().filter(|(program, _)| shell::find(program).is_none()).map(|(_, package)| *package).collect();
    if missing.is_empty() { Ok(()) } else { bail!("missing: {}; run `make setup`", missing.join(", ")) }
}

/// The kernel, from the last time or from the archive.
pub(super) fn kernel(kernel: &Kernel) -> Result<Image> {
    let root = directory().join(kernel.suite).join("root");
    if !root.exists() {
        fetch(kernel, &root)?;
    }
    let modules = root.join("lib/modules");
    let entries = fs::read_dir(&modules).with_context(|| format!("{} is not whole: remove it", root.display()))?;
    let mut releases = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let release = releases.next().with_context(|| format!("{} is empty: remove it", modules.display()))?;
    Ok(Image { release, root })
}

fn fetch(kernel: &Kernel, root: &Path) -> Result<()> {
    let dir = directory().join(kernel.suite);
    for part in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(dir.join(part))?;
    }
    if !Path::new(KEYRING).exists() {
        bail!("{KEYRING} is missing: apt-get install debian-archive-keyring");
    }
    let sources = dir.join("sources.list");
    fs::write(&sources, format!("deb [signed-by={KEYRING}] {} {} main\n", mirror(), kernel.suite))?;
    let option = |name: &str, path: &Path| format!("-o{name}={}", path.display());
    let options = [
        option("Dir::Etc::sourcelist", &sources),
        option("Dir::Etc::sourceparts", Path::new("/dev/null")),
        option("Dir::State::lists", &dir.join("lists")),
        option("Dir::Cache", &dir.join("cache")),
        // Downloads go below this directory, which the user that apt otherwise takes for them may not enter.
        "-oAPT::Sandbox::User=root".to_owned(),
    ];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    shell::run("apt-get", &[&options[..], &["-qq", "update"]].concat())?;
    // The package of that name depends on the newest kernel of the release.
    let about = shell::output("apt-cache", &[&options[..], &["show", "linux-image-amd64"]].concat())?;
    let package = newest(&about).context("linux-image-amd64 depends on no kernel")?;
    let file = dir.join(format!("{package}.deb"));
    let uris = shell::output("apt-get", &[&options[..], &["download", "--print-uris", package]].concat())?;
    let saved = uris.split_whitespace().nth(1).context("apt does not say how it calls what it downloads")?;
    shell::run_in(&dir, "apt-get", &[&options[..], &["-qq", "download", package]].concat())?;
    fs::rename(dir.join(saved), &file)?;
    unpack(&file, root)
}

/// The mirror of Debian's archive that this machine uses.
fn mirror() -> String {
    let format = "$(ORIGIN)/$(LABEL) $(REPO_URI)";
    let listed = shell::output("apt-get", &["indextargets", "--format", format, "Created-By: Packages"]);
    let listed = listed.unwrap_or_default();
    let found = listed.lines().find_map(|line| line.strip_prefix("Debian/Debian "));
    found.map_or_else(|| ARCHIVE.to_owned(), |uri| uri.trim_end_matches('/').to_owned())
}

/// From `Depends: linux-image-6.1.0-50-amd64 (= 6.1.176-1)`.
fn newest(about: &str) -> Option<&str> {
    let depends = about.lines().find_map(|line| line.strip_prefix("Depends: "))?;
    depends.split([' ', ',']).find(|word| word.starts_with("linux-image-"))
}

/// Unpacks to another name first, so that what has the right name is whole.
fn unpack(file: &Path, root: &Path) -> Result<()> {
    let draft = root.with_extension("draft");
    if draft.exists() {
        fs::remove_dir_all(&draft)?;
    }
    fs::create_dir_all(&draft)?;
    let archive = draft.join("archive.tar");
    let (file, draft_text) = (text(file)?, text(&draft)?);
    shell::output_to(&archive, "dpkg-deb", &["--fsys-tarfile", file])?;
    let unpack = ["-x", "-C", draft_text, "-f", text(&archive)?, "--wildcards"];
    shell::run("tar", &[&unpack[..], &MODULES].concat())?;
    fs::remove_file(&archive)?;
    // Newer releases have it below /usr.
    if draft.join("usr/lib").exists() {
        fs::rename(draft.join("usr/lib"), draft.join("lib"))?;
    }
    let release = fs::read_dir(draft.join("lib/modules"))?.flatten().next().context("a kernel without modules")?;
    let depmod = shell::find("depmod").context("depmod is missing")?;
    shell::run(text(&depmod)?, &["-b", draft_text, &release.file_name().to_string_lossy()])?;
    fs::rename(&draft, root)?;
    Ok(())
}

/// For programs that take text.
pub(super) fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_of_a_release_is_what_its_package_depends_on() {
        let about = "Package: linux-image-amd64\nDepends: linux-image-6.1.0-50-amd64 (= 6.1.176-1)\nSection: kernel\n";
        assert_eq!(newest(about), Some("linux-image-6.1.0-50-amd64"));
        assert_eq!(newest("Package: x\n"), None);
    }
}
