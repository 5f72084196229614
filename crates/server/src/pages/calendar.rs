//! The calendar, and black-outs.

use super::schedules::{listed, moments, zone_of};
use super::{frame, refused};
use crate::access::Acting;
use crate::clock::now;
use crate::http::Routes;
use crate::problem::{Failure, MALFORMED, problem};
use crate::schedules::{self as scheduling, by_person};
use crate::server::Server;
use axum::extract::{Form, Path, Query, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use firedrill_api::http::Problem;
use firedrill_api::schedules::{AddClosure, CalendarEntry};
use firedrill_console::Place;
use firedrill_console::calendar::{self, Calendar, Closing};
use firedrill_model::{ScheduleName, Span, Timestamp};
use firedrill_schedule::{Closure, Day, Schedule, Scope, Zone};
use serde::Deserialize;
use std::sync::Arc;

/// The first years of the calendar that mean anything.
const YEAR_MIN: i16 = 2020;

/// The pages of this module.
pub(super) fn router() -> Routes {
    Routes::new()
        .route("/calendar", get(show))
        .route("/blackouts", post(close))
        .route("/blackouts/{id}/delete", post(open))
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
struct Wanted {
    month: String,
    from: String,
    zone: String,
    schedule: String,
}

/// `GET /calendar`.
async fn show(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Query(wanted): Query<Wanted>,
) -> Result<Html<String>, Failure> {
    Ok(Html(page(&server, &acting, &wanted, Closing::default(), None).await?))
}

/// `POST /blackouts`.
async fn close(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Form(closing): Form<Closing>,
) -> Result<Response, Failure> {
    let closed = async { by_person::add_closure(&server, &acting, read(&closing)?).await };
    match closed.await {
        Ok(_) => Ok(Redirect::to("/calendar#blackouts").into_response()),
        Err(why) => Ok(refused(page(&server, &acting, &Wanted::default(), closing, Some(why)).await?)),
    }
}

/// `POST /blackouts/{id}/delete`.
async fn open(State(server): State<Arc<Server>>, acting: Acting, Path(id): Path<String>) -> Result<Response, Failure> {
    by_person::remove_closure(&server, &acting, &id).await?;
    Ok(Redirect::to("/calendar#blackouts").into_response())
}

fn read(closing: &Closing) -> Result<AddClosure, Problem> {
    let malformed = |why: String| problem(MALFORMED, why);
    let scope = match closing.scope.as_str() {
        "all" => Scope::All,
        "cluster" => {
            Scope::Cluster(closing.cluster.trim().parse().map_err(|why| malformed(format!("“Cluster”: {why}")))?)
        }
        "service" if !closing.service.trim().is_empty() => Scope::Service(closing.service.trim().to_owned()),
        _ => return Err(malformed("say what is closed: everything, a cluster, or a service by its name".to_owned())),
    };
    let zone = zone_of(&closing.zone)?;
    let moment = |field: &str, text: &str| match text.trim() {
        "" => Ok(None),
        text => zone.read(text, now()).map(Some).map_err(|why| malformed(format!("“{field}”: {why}"))),
    };
    let (from, until) = (moment("From", &closing.from)?, moment("Until", &closing.until)?);
    Ok(AddClosure { scope, from, until, reason: closing.reason.trim().to_owned() })
}

async fn page(
    server: &Server,
    acting: &Acting,
    wanted: &Wanted,
    closing: Closing,
    mut problem: Option<Problem>,
) -> Result<String, Failure> {
    let schedules: Vec<Schedule> =
        by_person::views(server, acting).await?.into_iter().map(|view| view.schedule).collect();
    let zone = if wanted.zone.trim().is_empty() {
        // As for the message of the day: most have all of theirs in one zone.
        schedules.first().map(|schedule| schedule.zone.clone()).unwrap_or_default()
    } else {
        zone_of(&wanted.zone).unwrap_or_else(|unknown| {
            problem.get_or_insert(unknown);
            Zone::utc()
        })
    };
    let only: Option<ScheduleName> = wanted.schedule.parse().ok();
    let first = month(wanted, &zone);
    let (days, next) = (grid(first), month_after(first, &zone));
    let bounds = |day: &Day| moments(&zone, *day);
    let (from, until) = match (days.first(), days.last()) {
        (Some(first), Some(last)) => (bounds(first).0, bounds(last).1.min(farthest())),
        _ => (now(), now()),
    };
    let of_all = scheduling::between(server, from, until, only.as_ref()).await?;
    let entries: Vec<CalendarEntry> =
        of_all.entries.into_iter().filter(|entry| acting.sees(Some(&entry.cluster))).collect();
    let past = server.store.closures(from.min(now())).await?;
    let shown = |schedule: &&Schedule| only.as_ref().is_none_or(|name| *name == schedule.name);
    let theirs: Vec<&Schedule> = schedules.iter().filter(shown).collect();
    let calendar = Calendar {
        month: first.strftime("%Y-%m").to_string(),
        title: first.strftime("%B %Y").to_string(),
        previous: first.yesterday().map_or_else(|_| String::new(), |day| day.strftime("%Y-%m").to_string()),
        next,
        days: days.iter().map(|day| of_day(*day, first, &zone, &entries, &past, &theirs)).collect(),
        zone: zone.name().to_owned(),
        schedule: only,
        truncated: of_all.truncated,
        no_schedule: schedules.is_empty(),
        closures: server.store.closures(now()).await?,
        clusters: listed(server, acting),
        closing,
        problem,
    };
    Ok(calendar::page(&frame(server, acting, "Calendar", Place::Schedules), &calendar))
}

/// As far ahead as people plan.
fn farthest() -> Timestamp {
    now() + Span::secs(u64::from(scheduling::DAYS_MAX) * 24 * 3600)
}

/// The first day of the month that is asked for; of the present one when that is none.
fn month(wanted: &Wanted, zone: &Zone) -> Day {
    let asked = format!("{}-01", wanted.month.trim()).parse::<Day>().or_else(|_| wanted.from.trim().parse::<Day>());
    let day = asked.ok().filter(|day| day.year() >= YEAR_MIN && moments(zone, *day).0 < farthest());
    day.unwrap_or_else(|| zone.day(now())).first_of_month()
}

/// The month after, when something may be planned in it.
fn month_after(first: Day, zone: &Zone) -> Option<String> {
    let next = first.last_of_month().tomorrow().ok()?;
    (moments(zone, next).0 < farthest()).then(|| next.strftime("%Y-%m").to_string())
}

/// Whole weeks with the days of a month.
fn grid(first: Day) -> Vec<Day> {
    let mut start = first;
    for _ in 0..first.weekday().to_monday_zero_offset() {
        start = start.yesterday().unwrap_or(start);
    }
    let last = first.last_of_month();
    let mut days = vec![start];
    while let Some(next) = days.last().and_then(|day| day.tomorrow().ok()) {
        if next > last && days.len().is_multiple_of(7) {
            break;
        }
        days.push(next);
    }
    days
}

fn of_day(
    day: Day,
    month: Day,
    zone: &Zone,
    entries: &[CalendarEntry],
    closures: &[Closure],
    schedules: &[&Schedule],
) -> calendar::Day {
    let (begins, ends) = moments(zone, day);
    let on_it = entries.iter().filter(|entry| begins <= entry.due && entry.due < ends);
    let closed = closures.iter().filter(|closure| {
        closure.from.is_none_or(|from| from < ends) && closure.until.is_none_or(|until| until > begins)
    });
    let mut closed: Vec<String> =
        closed.map(|closure| format!("{}: {}", calendar::scope(&closure.scope), closure.reason)).collect();
    for schedule in schedules {
        if schedule.holidays.contains(&day) {
            closed.push(format!("{}: holiday", schedule.name));
        }
        let black = schedule.blackouts.iter().filter(|one| one.from.date() <= day && day <= one.until.date());
        closed.extend(black.map(|one| format!("{}: {}", schedule.name, one.reason)));
    }
    calendar::Day {
        date: day.to_string(),
        weekday: day.strftime("%A").to_string(),
        number: day.day().to_string(),
        month: day.strftime("%B").to_string(),
        within: day.first_of_month() == month,
        today: day == zone.day(now()),
        entries: on_it.map(|entry| (zone.show_time(entry.due), entry.clone())).collect(),
        closed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_whole_weeks_from_monday_to_sunday() {
        for (month, first, last) in [
            ("2026-11-01", "2026-10-26", "2026-12-06"),
            ("2027-02-01", "2027-02-01", "2027-02-28"),
            ("2026-12-01", "2026-11-30", "2027-01-03"),
        ] {
            let days = grid(month.parse().expect("a day"));
            assert_eq!((days[0].to_string().as_str(), days[days.len() - 1].to_string().as_str()), (first, last));
            assert!(days.len().is_multiple_of(7) && days.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }

    #[test]
    fn a_month_that_cannot_be_is_the_present_one() {
        let zone = Zone::utc();
        let of = |month: &str| super::month(&Wanted { month: month.to_owned(), ..Wanted::default() }, &zone);
        let present = zone.day(now()).first_of_month();
        for odd in ["", "soon", "1066-10", "9999-12", "2026-13"] {
            assert_eq!(of(odd), present, "{odd}");
        }
        assert_eq!(of("2025-02").to_string(), "2025-02-01");
    }
}
