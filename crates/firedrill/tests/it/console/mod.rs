//! The console as people use it: a real browser, a real fleet.

mod drill;
mod editor;
mod pages;
mod people;
mod watching;

use crate::fleet::Fleet;
use anyhow::Context;
use firedrill_browser::{Browser, View};
use std::time::Duration;

/// A page comes, or a part of it changes, on a machine that does ten other things. Far above what a person would wait.
const SOON: Duration = Duration::from_secs(20);
/// A fleet is broken and whole again.
const RECOVERED: Duration = Duration::from_secs(180);

/// A browser on the first page of a fleet's console.
async fn visit(fleet: &Fleet) -> anyhow::Result<Browser> {
    let browser = Browser::open(View::WIDE).await?;
    browser.go(&fleet.status.server.url).await?;
    browser.read("#link", "live", SOON).await?;
    Ok(browser)
}

/// What must hold of every page, in both themes and both widths.
async fn holds(browser: &Browser, page: &str) -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    for view in [View::WIDE, View::WIDE.dark(), View::NARROW, View::NARROW.dark()] {
        browser.show(view).await?;
        let shown = format!("{page} ({}, {})", view.width, view.theme.name());
        for violation in browser.violations().await.with_context(|| shown.clone())? {
            wrong.push(format!("{shown}: {violation}"));
        }
        let overhang = browser.overhang().await?;
        if overhang > 0 {
            wrong.push(format!("{shown}: it is {overhang} px wider than the window"));
        }
    }
    browser.show(View::WIDE).await?;
    let shifted = browser.shifted().await?;
    // The limit above which a page is felt to jump (web.dev, "Cumulative Layout Shift").
    if shifted > 0.1 {
        wrong.push(format!("{page}: its parts moved by {shifted:.3} while it was drawn"));
    }
    wrong.extend(browser.complaints().await?.into_iter().map(|complaint| format!("{page}: {complaint}")));
    Ok(wrong)
}
