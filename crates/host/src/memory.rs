//! This process's own memory.

use crate::HostError;
use std::path::Path;

/// Gives back the pages of program files (code and constants) that this process has in memory, and answers how many
/// bytes are mapped of them. Nothing is lost: they were never written, and what is used again comes back from the page
/// cache with a minor fault.
///
/// A program that has started up has touched far more of its files than it goes on to use, and the kernel maps 16 pages
/// around each one touched; without this both count as its resident memory for as long as it lives.
///
/// # Errors
/// When `/proc/self/smaps` cannot be read or the kernel refuses; the process runs on as before.
pub fn release_program_pages() -> Result<u64, HostError> {
    let path = Path::new("/proc/self/smaps");
    let text = std::fs::read_to_string(path).map_err(|problem| HostError::at("read", path, problem))?;
    let mut released = 0;
    for (start, end) in clean_file_ranges(&text) {
        let length = end - start;
        // SAFETY: the range was just read to be a mapping of a file that cannot be written through and of which this
        // process has no copy of its own, so dropping its pages only makes the kernel read the same bytes again; the
        // mapping itself stays. Libraries are never unloaded here, so the range is still what it was.
        let answer = unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED) };
        if answer != 0 {
            let object = format!("program pages at {start:x}");
            return Err(HostError::system("give back", object, std::io::Error::last_os_error()));
        }
        released += length as u64;
    }
    Ok(released)
}

/// The mappings in the text of an `smaps` file that hold nothing but what is in a file: not writable, backed by a file,
/// and without a page of their own (`Anonymous: 0`, which leaves out constants that the loader has relocated).
fn clean_file_ranges(smaps: &str) -> Vec<(usize, usize)> {
    let mut ranges = Vec::new();
    let mut candidate = None;
    for line in smaps.lines() {
        if let Some(rest) = line.strip_prefix("Anonymous:") {
            let clean = rest.split_whitespace().next() == Some("0");
            ranges.extend(candidate.take().filter(|_| clean));
        } else if line.split_whitespace().next().is_some_and(|word| !word.ends_with(':')) {
            candidate = unwritable_file(line);
        }
    }
    ranges
}

/// The range that the first line of an entry names, when it is backed by a file (its inode is not 0) and read-only.
fn unwritable_file(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let (permissions, inode) = (fields.next()?, fields.nth(2)?);
    if !matches!(permissions, "r-xp" | "r--p") || inode == "0" {
        return None;
    }
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(first: &str, anonymous: u32) -> String {
        format!("{first}\nSize:  8 kB\nRss:  8 kB\nAnonymous:  {anonymous} kB\nVmFlags: rd ex mr\n")
    }

    #[test]
    fn only_what_is_in_a_file_and_nowhere_else_is_chosen() {
        let text = [
            entry("1000-3000 r-xp 00001000 fe:00 42  /usr/bin/x", 0),
            entry("3000-5000 r--p 00003000 fe:00 42  /usr/bin/x", 0),
            entry("5000-6000 r--p 00005000 fe:00 42  /usr/bin/x", 4),
            entry("6000-7000 rw-p 00006000 fe:00 42  /usr/bin/x", 0),
            entry("7000-8000 r-xp 00000000 00:00 0  [vdso]", 0),
            entry("8000-9000 r--p 00000000 00:00 0", 0),
        ];
        assert_eq!(clean_file_ranges(&text.concat()), [(0x1000, 0x3000), (0x3000, 0x5000)]);
    }

    #[test]
    fn the_process_runs_on() {
        assert!(release_program_pages().expect("this process has code") > 0);
        assert!(release_program_pages().expect("again") > 0);
    }
}
