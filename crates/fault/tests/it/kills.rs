//! Counts the processes that tests have killed while a fault was theirs to look after, across all test processes. CI
//! prints the sum, and wants to see enough of them.

use std::io::Write as _;

/// One line for each kill.
const TALLY: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/kills.log");

/// One more, after which nothing was left or the test fails.
pub(crate) fn count(whom: &str) {
    // In a guest the place of the build is not there; what is counted in it is counted by nobody.
    let directory = std::path::Path::new(TALLY).parent().expect("a file in a directory");
    std::fs::create_dir_all(directory).expect("a place for the tally");
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(TALLY).expect("the tally");
    // One short write to the end of a file is whole.
    file.write_all(format!("{whom}\n").as_bytes()).expect("the tally");
}
