//! How long what the keeper does takes, by the hour and the weekday: a clone that crawls every night at three is seen here.

use crate::format;
use crate::frame::Frame;
use crate::pages::finish;
use askama::Template;
use firedrill_model::evidence::{Percentiles, Spread, Wall};
use firedrill_model::operation::Phase;
use firedrill_model::{ClusterName, Operation, OperationKind, OperationState, Span, Timestamp};

/// What the page shows.
#[derive(Debug, Clone)]
pub struct Durations {
    /// Of which cluster.
    pub cluster: ClusterName,
    /// How many days back.
    pub days: u32,
    /// The name of the zone by whose clock hours and weekdays are meant.
    pub zone: String,
    /// Why nothing is shown: what was asked for cannot be used.
    pub problem: Option<String>,
    /// What was measured.
    pub measured: Vec<Measured>,
}

/// One kind of thing that takes time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// What.
    pub what: &'static str,
    /// From when to when.
    pub about: &'static str,
    /// The figures.
    pub spread: Spread,
}

type Measure = fn(&Operation) -> Option<(Timestamp, Span)>;

/// From the failure, as far as it is known, to the end.
fn outage(operation: &Operation) -> Option<(Timestamp, Span)> {
    let began = operation.failure_at.unwrap_or(operation.began).min(operation.began);
    Some((operation.began, operation.ended?.since(began)))
}

fn whole(operation: &Operation) -> Option<(Timestamp, Span)> {
    Some((operation.began, operation.ended?.since(operation.began)))
}

fn phase(operation: &Operation, phase: Phase) -> Option<(Timestamp, Span)> {
    operation.phase(phase).map(|(began, ended)| (began, ended.since(began)))
}

fn of(operation: &Operation, kind: OperationKind, measure: Measure) -> Option<(Timestamp, Span)> {
    if operation.kind == kind { measure(operation) } else { None }
}

const MEASURES: [(&str, &str, Measure); 7] = [
    ("Promotion", "from the failure, as far as it is known, to the end", |one| {
        of(one, OperationKind::Promotion, outage)
    }),
    ("Recovery", "from the failure, as far as it is known, to the end", |one| of(one, OperationKind::Recovery, outage)),
    ("Switchover", "from beginning to end", |one| of(one, OperationKind::Switchover, whole)),
    ("Clone", "from beginning to end", |one| of(one, OperationKind::Clone, whole)),
    ("Copy of a clone", "while data goes from the donor to the node", |one| {
        of(one, OperationKind::Clone, |one| phase(one, Phase::Copy))
    }),
    ("Catch-up", "until a node that was cloned or taken back has applied what happened meanwhile", |one| {
        phase(one, Phase::CatchUp)
    }),
    ("Rejoin", "from beginning to end", |one| of(one, OperationKind::Rejoin, whole)),
];

/// How long finished operations took, those kinds only of which there are any.
#[must_use]
pub fn measure(operations: &[Operation], wall: &dyn Fn(Timestamp) -> Wall) -> Vec<Measured> {
    let finished: Vec<&Operation> =
        operations.iter().filter(|operation| operation.state == OperationState::Finished).collect();
    let measured = |(what, about, measure): (&'static str, &'static str, Measure)| {
        let taken: Vec<(Timestamp, Span)> = finished.iter().filter_map(|operation| measure(operation)).collect();
        Measured { what, about, spread: Spread::of(&taken, wall) }
    };
    MEASURES.into_iter().map(measured).filter(|one| one.spread.all.is_some()).collect()
}

/// A line of a table, with bars that compare it with the others.
struct Row<'a> {
    name: String,
    figures: &'a Percentiles,
    /// Of 100.
    median: f64,
    worst: f64,
}

impl Measured {
    fn id(&self) -> String {
        self.what.to_lowercase().replace(' ', "-")
    }

    fn rows(&self) -> [(&'static str, Vec<Row<'_>>); 2] {
        let longest = self.spread.all.as_ref().map_or(Span::ZERO, |all| all.max).as_millis_f64().max(f64::MIN_POSITIVE);
        fn row(name: String, figures: &Percentiles, longest: f64) -> Row<'_> {
            let of_longest = |span: Span| span.as_millis_f64() / longest * 100.0;
            Row { name, median: of_longest(figures.p50), worst: of_longest(figures.max), figures }
        }
        let hours =
            self.spread.by_hour.iter().map(|(hour, one)| row(format!("{hour:02}:00 to {hour:02}:59"), one, longest));
        let days = self.spread.by_weekday.iter().map(|(day, one)| row(day.to_string(), one, longest));
        [("hour", hours.collect()), ("weekday", days.collect())]
    }
}

#[derive(Template)]
#[template(path = "durations.html")]
struct Page<'a> {
    frame: &'a Frame,
    page: &'a Durations,
}

/// The page.
#[must_use]
pub fn page(frame: &Frame, page: &Durations) -> String {
    finish(Page { frame, page }.render())
}

/// One page of the operations of a cluster.
#[derive(Debug, Clone)]
pub struct List {
    /// Of which cluster.
    pub cluster: ClusterName,
    /// Newest first.
    pub operations: Vec<Operation>,
    /// The page does not begin with the newest.
    pub later: bool,
    /// The last one of this page, when there is another page.
    pub next: Option<String>,
}

#[derive(Template)]
#[template(path = "operations.html")]
struct ListPage<'a> {
    frame: &'a Frame,
    page: &'a List,
}

/// The operations of a cluster, page by page.
#[must_use]
pub fn list(frame: &Frame, page: &List) -> String {
    finish(ListPage { frame, page }.render())
}

#[cfg(test)]
mod tests {
    use super::*;
    use firedrill_model::access::Role;
    use firedrill_model::evidence::Weekday;
    use serde_json::json;

    const HOUR: i64 = 3_600_000_000;

    fn operation(kind: &str, state: &str, began: i64, millis: i64) -> Operation {
        let ended = began + millis * 1000;
        serde_json::from_value(json!({
            "id": "shop-1", "cluster": "shop", "kind": kind, "subject": "n1", "partner": null, "cause": "<b>cause</b>",
            "state": state, "reason": null, "failure_at": began - 100_000, "began": began, "ended": ended,
            "steps": [{"number": 1, "phase": "catch-up", "host": null, "title": "", "state": "done", "began": began,
                       "ended": began + 5000, "log": []}]
        }))
        .expect("an operation")
    }

    fn wall(at: Timestamp) -> Wall {
        let hour = u8::try_from(at.0 / HOUR % 24).expect("an hour");
        Wall { weekday: if at.0 < 24 * HOUR { Weekday::Thursday } else { Weekday::Friday }, hour }
    }

    #[test]
    fn what_finished_is_counted_by_hour_and_weekday() {
        let operations = [
            operation("clone", "finished", 3 * HOUR, 9000),
            operation("clone", "finished", 3 * HOUR + 5, 1000),
            operation("clone", "undone", 3 * HOUR, 99_000),
            operation("clone", "finished", 27 * HOUR, 2000),
            operation("promotion", "finished", HOUR, 200),
        ];
        let measured = measure(&operations, &wall);
        let names: Vec<&str> = measured.iter().map(|one| one.what).collect();
        assert_eq!(names, ["Promotion", "Clone", "Catch-up"]);
        let promotion = measured[0].spread.all.as_ref().expect("one");
        assert_eq!(promotion.max, Span::millis(300), "the outage began with the failure");
        let clones = &measured[1].spread;
        assert_eq!(clones.by_hour.keys().copied().collect::<Vec<u8>>(), [3]);
        let thursday = &clones.by_weekday[&Weekday::Thursday];
        assert_eq!((thursday.count, thursday.p50, thursday.max), (2, Span::secs(1), Span::secs(9)));
        assert!(measure(&[], &wall).is_empty());
    }

    #[test]
    fn the_pages_say_the_zone_and_what_to_do_when_there_is_nothing() {
        let frame = Frame::shown_to(Role::Viewer);
        let cluster: ClusterName = "shop".parse().expect("a name");
        let measured = measure(&[operation("clone", "finished", 3 * HOUR, 9000)], &wall);
        let mut shown =
            Durations { cluster: cluster.clone(), days: 90, zone: "UTC".to_owned(), problem: None, measured };
        let html = page(&frame, &shown);
        assert!(html.contains("03:00 to 03:59") && html.contains("Thursday") && html.contains("UTC"), "{html}");
        assert!(!html.contains("style=\""));
        shown.measured.clear();
        shown.zone = "<script>".to_owned();
        shown.problem = Some("<script>".to_owned());
        let html = page(&frame, &shown);
        assert!(html.contains("role=\"alert\"") && !html.contains("<script>\""), "{html}");
        let operations = vec![operation("clone", "finished", 3 * HOUR, 9000)];
        let listed = List { cluster, operations, later: true, next: Some("shop-1".to_owned()) };
        let html = list(&frame, &listed);
        assert!(html.contains("before=shop-1") && !html.contains("<b>cause"), "{html}");
    }
}
