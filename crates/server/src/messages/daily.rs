//! The message of the day, once a day.

use super::addressed;
use crate::Server;
use crate::schedules;
use firedrill_api::messages::Daily;
use firedrill_model::message::{Notice, NoticeKind};
use firedrill_model::{Severity, Timestamp};
use firedrill_schedule::Day;
use firedrill_store::StoreError;

/// Puts the message of today into the queue when it is time.
pub(super) async fn look(server: &Server, now: Timestamp) -> Result<(), StoreError> {
    let Some((daily, since, done)) = server.store.daily().await? else { return Ok(()) };
    let Some(day) = due(&daily, since, done, now) else { return Ok(()) };
    let today = schedules::gather_today(server, Some(daily.zone), now).await?;
    let notice = notice(day, &today.text(), now);
    let (rules, receivers) = (server.store.rules().await?, server.store.receivers().await?);
    server.store.enqueue_daily(&addressed(&notice, &rules, &receivers), day, now).await?;
    server.messages.put_in.notify_one();
    Ok(())
}

/// The day whose message is due. A server that was away at the time sends it when it is back, on the same day; a time
/// that was set after it was over counts from the next day on.
fn due(daily: &Daily, since: Timestamp, done: Option<Day>, now: Timestamp) -> Option<Day> {
    let day = daily.zone.day(now);
    let at = daily.zone.read(&daily.at.to_string(), now).ok()?;
    (since < at && at <= now && done != Some(day)).then_some(day)
}

fn notice(day: Day, text: &str, now: Timestamp) -> Notice {
    let (title, text) = text.split_once('\n').unwrap_or((text, ""));
    Notice {
        key: format!("daily/{day}"),
        kind: NoticeKind::Daily,
        severity: Severity::Info,
        at: now,
        title: title.to_owned(),
        text: text.trim().to_owned(),
        cluster: None,
        run: None,
        trouble: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firedrill_model::Span;
    use firedrill_schedule::Zone;

    #[test]
    fn it_is_due_once_a_day_by_the_clock_of_its_zone() {
        let zone: Zone = "Europe/Berlin".parse().expect("a zone");
        let daily = Daily { at: "08:30".parse().expect("a time"), zone: zone.clone() };
        let at = |text: &str| zone.read(text, Timestamp(0)).expect("a moment");
        let day = |text: &str| text.parse::<Day>().expect("a day");
        let since = at("2026-11-23 12:00");
        assert_eq!(due(&daily, since, None, at("2026-11-23 12:01")), None, "it was set after today's time");
        assert_eq!(due(&daily, since, None, at("2026-11-24 08:30") - Span::millis(1)), None);
        assert_eq!(due(&daily, since, None, at("2026-11-24 08:30")), Some(day("2026-11-24")));
        assert_eq!(due(&daily, since, Some(day("2026-11-24")), at("2026-11-24 23:59")), None);
        // Late, after the server was away; and on the days on which the clock is changed.
        assert_eq!(due(&daily, since, Some(day("2026-11-24")), at("2026-11-26 19:00")), Some(day("2026-11-26")));
        let early = Daily { at: "02:30".parse().expect("a time"), ..daily };
        for (moment, days) in [("2027-03-28 03:00", 1), ("2027-10-31 02:30", 1), ("2027-10-31 01:59", 0)] {
            assert_eq!(due(&early, since, None, at(moment)).iter().count(), days, "{moment}");
        }
    }
}
