//! The agent's own files: closed to others, and either old or new after a crash, never half.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Makes a directory that only its owner may enter, with its parents.
pub(crate) fn make_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Replaces a file: after a crash of the machine it holds either the old or the new content. Mode 0600.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let draft = write_draft(path, content)?;
    File::open(&draft)?.sync_all()?;
    std::fs::rename(&draft, path)?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// As [`replace`], for what need only survive the end of this process: it does not wait for the disk.
pub(crate) fn replace_unsynced(path: &Path, content: &[u8]) -> io::Result<()> {
    std::fs::rename(write_draft(path, content)?, path)
}

/// Opens a file to append to; made with mode 0600.
pub(crate) fn open_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// The content; `None` when there is no such file.
pub(crate) fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a file, if there is one.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The whole lines of an appended file: what follows the last line end was cut short by a crash.
pub(crate) fn whole_lines(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    let end = content.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    content[..end].split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

fn write_draft(path: &Path, content: &[u8]) -> io::Result<PathBuf> {
    let draft = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(content)?;
    Ok(draft)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_replaced_file_is_whole_and_private() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("deep/er/file.json");
        make_private_dir(path.parent().expect("parent")).expect("made");
        assert_eq!(read_if_there(&path).expect("no file is no error"), None);
        replace(&path, b"one").expect("written");
        replace_unsynced(&path, b"two").expect("written");
        assert_eq!(read_if_there(&path).expect("read").as_deref(), Some(&b"two"[..]));
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(
            std::fs::metadata(path.parent().expect("parent")).expect("there").permissions().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn a_line_cut_short_is_left_out() {
        let lines = |text: &'static str| whole_lines(text.as_bytes()).collect::<Vec<_>>();
        assert_eq!(lines("one\ntwo\nthr"), [b"one", b"two"]);
        assert_eq!(lines("one"), Vec::<&[u8]>::new());
        assert_eq!(lines(""), Vec::<&[u8]>::new());
    }
}
