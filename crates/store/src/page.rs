//! Lists, page by page.

use crate::ROWS_MAX;

/// A part of a list that has the newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page<'p> {
    /// Most rows; [`ROWS_MAX`] at most.
    pub limit: u32,
    /// Only what comes after the row of that id in the list; `None`: from the newest on.
    pub before: Option<&'p str>,
}

impl Page<'_> {
    pub(crate) fn rows(self) -> i64 {
        i64::from(self.limit.min(ROWS_MAX))
    }
}

impl From<u32> for Page<'_> {
    fn from(limit: u32) -> Self {
        Self { limit, before: None }
    }
}
