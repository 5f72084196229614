//! The live pages. Each is a whole page; its parts that change carry an id and are fetched again from the same address
//! when the live stream says so (`live.js` picks the parts by their ids), so there is one template per thing shown.

use crate::fleet::{self, Fleet};
use crate::format;
use crate::frame::Frame;
use crate::phases::{Lane, WIDTH, lane};
use askama::Template;
use firedrill_api::http::{ExperimentEntry, Problem, RunEntry};
use firedrill_model::{ClusterView, Operation, TimelineEvent};

pub use crate::fleet::{FleetQuery, UnderWay};

/// What the first page shows.
#[derive(Debug, Clone)]
pub struct Overview {
    /// All clusters.
    pub clusters: Vec<ClusterView>,
    /// Which of them are wanted.
    pub query: FleetQuery,
    /// What goes on.
    pub under_way: UnderWay,
    /// Newest first.
    pub operations: Vec<Operation>,
    /// Newest first.
    pub runs: Vec<RunEntry>,
    /// The library, for starting.
    pub library: Vec<ExperimentEntry>,
    /// Newest first.
    pub timeline: Vec<TimelineEvent>,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage<'a> {
    frame: &'a Frame,
    page: &'a Overview,
    fleet: Fleet<'a>,
}

/// The first page: everything at a glance, halt and start.
#[must_use]
pub fn overview(frame: &Frame, page: &Overview) -> String {
    let fleet = fleet::fleet(&page.clusters, &page.under_way, &page.query);
    finish(OverviewPage { frame, page, fleet }.render())
}

#[derive(Template)]
#[template(path = "operation.html")]
struct OperationPage<'a> {
    frame: &'a Frame,
    operation: &'a Operation,
    lane: Option<Lane>,
}

/// One operation with its phases and steps.
#[must_use]
pub fn operation(frame: &Frame, operation: &Operation) -> String {
    let page = OperationPage { frame, operation, lane: lane(operation) };
    finish(page.render())
}

#[derive(Template)]
#[template(path = "login.html")]
struct LogInPage<'a> {
    problem: Option<&'a str>,
    next: &'a str,
    elsewhere: Option<&'a str>,
}

/// The page on which one logs in; with what was wrong the last time, where to go afterwards, and the name of another place
/// where one can log in, if there is one.
#[must_use]
pub fn log_in(problem: Option<&str>, next: &str, elsewhere: Option<&str>) -> String {
    finish(LogInPage { problem, next, elsewhere }.render())
}

#[derive(Template)]
#[template(path = "logged_in.html")]
struct LoggedInPage<'a> {
    next: &'a str,
}

/// What follows a log-in at another place: it goes on by itself.
#[must_use]
pub fn logged_in(next: &str) -> String {
    finish(LoggedInPage { next }.render())
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    title: &'a str,
    problem: &'a Problem,
    page: &'a str,
}

/// What is shown instead of a page when something was not done: what happened and what to do next. `page` is the address
/// of what the code means.
#[must_use]
pub fn problem(title: &str, problem: &Problem, page: &str) -> String {
    finish(ProblemPage { title, problem, page }.render())
}

#[derive(Template)]
#[template(path = "explained.html")]
struct ExplainedPage<'a> {
    text: &'a str,
}

/// What an error code means: its page, which is Markdown and made to be read as it is.
#[must_use]
pub fn explained(text: &str) -> String {
    finish(ExplainedPage { text }.render())
}

/// Rendering can only fail when a formatter does, which ours never do; if it ever happens, the page says so.
pub(crate) fn finish(rendered: askama::Result<String>) -> String {
    rendered.unwrap_or_else(|error| format!("<!doctype html><p>This page could not be rendered: {error}</p>"))
}
