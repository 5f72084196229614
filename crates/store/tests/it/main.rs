//! The store as its callers use it: on a file, opened, closed and opened again.

mod reopen;
