//! The first root of a guest: busybox, the modules that reach the host's root, and the program `init`.

use super::obtain::{Image, text};
use crate::shell;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const INIT: &str = include_str!("init");
/// What reaches the root of the host, and lays a layer above it.
const NEEDED: [&str; 4] = ["virtio_pci", "9pnet_virtio", "9p", "overlay"];

/// Packs it.
pub(super) fn pack(image: &Image, scratch: &Path, file: &Path) -> Result<()> {
    for dir in ["bin", "lib", "proc", "dev"] {
        fs::create_dir_all(scratch.join(dir))?;
    }
    let busybox = shell::find("busybox").context("busybox is missing")?;
    let program = fs::read(&busybox)?;
    if !is_static(&program) {
        bail!("{} needs libraries, which a guest has not at first: apt-get install busybox-static", busybox.display());
    }
    executable(&scratch.join("bin/busybox"), &program)?;
    executable(&scratch.join("init"), INIT.as_bytes())?;
    let mut list = String::new();
    for module in modules(image)? {
        let name = add_module(Path::new(&module), &scratch.join("lib"))?;
        list.push_str(&name);
        list.push('\n');
    }
    fs::write(scratch.join("modules"), list)?;
    // `find` and `cpio` of busybox, which is there anyway.
    shell::run_in(scratch, "sh", &["-c", "find . | busybox cpio -o -H newc >\"$1\" 2>/dev/null", "sh", text(file)?])
}

/// Whether a 64-bit ELF program needs no loader: none of its segments names one.
fn is_static(program: &[u8]) -> bool {
    const LOADER: usize = 3;
    let number = |at: usize, bytes: usize| {
        let digits = program.get(at..at + bytes)?;
        Some(digits.iter().rev().fold(0_usize, |number, digit| (number << 8) | usize::from(*digit)))
    };
    let header = || Some((number(0x20, 8)?, number(0x36, 2)?, number(0x38, 2)?));
    let Some((first, size, count)) = header() else { return false };
    (0..count).all(|segment| number(first + segment * size, 4) != Some(LOADER))
}

fn executable(path: &Path, content: &[u8]) -> Result<()> {
    fs::write(path, content)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Files of what is needed and of what that needs, in the order in which they must be loaded.
fn modules(image: &Image) -> Result<Vec<String>> {
    let options = ["-d", text(image.root())?, "-S", &image.release, "--show-depends", "-a"];
    let modprobe = shell::find("modprobe").context("modprobe is missing")?;
    Ok(to_load(&shell::output(text(&modprobe)?, &[&options[..], &NEEDED].concat())?))
}

/// From lines `insmod FILE` and `builtin NAME`, each file once.
fn to_load(shown: &str) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let files = shown.lines().filter_map(|line| line.strip_prefix("insmod ")?.split_whitespace().next());
    files.filter(|file| seen.insert(*file)).map(str::to_owned).collect()
}

/// Copies it, unpacked where it is packed, and says its name.
fn add_module(file: &Path, to: &Path) -> Result<String> {
    let name = file.file_name().context("a module without a name")?.to_string_lossy().into_owned();
    match name.strip_suffix(".xz") {
        None => {
            fs::copy(file, to.join(&name))?;
            Ok(name)
        }
        Some(bare) => {
            shell::output_to(&to.join(bare), "xz", &["--decompress", "--stdout", text(file)?])?;
            Ok(bare.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_needs_a_loader_is_known() {
        // Tests are linked against the C library.
        let own = std::env::current_exe().and_then(fs::read).expect("reads");
        assert!(!is_static(&own));
        assert!(is_static(&[0; 64]) && !is_static(b"short"));
    }

    #[test]
    fn modules_are_loaded_once_and_in_order() {
        let shown = "builtin virtio_pci\ninsmod /m/9pnet.ko.xz \ninsmod /m/netfs.ko x=1\ninsmod /m/9pnet.ko.xz \n";
        assert_eq!(to_load(shown), ["/m/9pnet.ko.xz", "/m/netfs.ko"]);
    }
}
