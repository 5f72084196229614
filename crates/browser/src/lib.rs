//! A real browser for the tests of the console and the pictures in the documentation: Debian's Chromium, driven by its
//! own WebDriver.
//!
//! **What it never does**: run as a part of the product, or reach anything but loopback.
//!
//! **Where to begin**: [`Browser::open`]; [`site::pages`] finds all pages of a console.

mod axe;
mod driver;
mod reader;
pub mod site;

pub use axe::Violation;
pub use reader::{Browser, Theme, View};
