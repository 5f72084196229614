//! Whether a due time counts: the last question before an experiment starts by itself. The guards of the experiment
//! itself come after, as for a person.

use crate::occurrence::Obstacle;
use crate::spec::Schedule;
use firedrill_model::{ClusterName, Span, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A due time that is older than this was missed, and is not made up for: what was planned for one moment is not
/// started at another, when those who expected it have left. A restarted server is back within it.
pub const START_WITHIN: Span = Span::secs(60);

/// Who says to be there must mean so much longer: a run of the ladder takes some minutes, and looking at what it found
/// takes some more.
pub const PRESENT_FOR: Span = Span::secs(15 * 60);

/// For whom something is closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Everything.
    All,
    /// One cluster.
    Cluster(ClusterName),
    /// Every cluster that has a host with the tag `service` of this value.
    Service(String),
}

/// A time in which no schedule starts anything there: a black-out. Without an end it is an opting-out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Closure {
    /// Given by the server.
    pub id: String,
    /// Where.
    pub scope: Scope,
    /// Since always, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Until it is taken away, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// For people.
    pub reason: String,
}

impl Closure {
    pub(crate) fn is_for_all(&self) -> bool {
        self.scope == Scope::All
    }

    /// Beginning and end.
    pub(crate) fn moments(&self) -> (Timestamp, Timestamp) {
        (self.from.unwrap_or(Timestamp(0)), self.until.unwrap_or(Timestamp(i64::MAX)))
    }

    /// Whether it closes a cluster, whose hosts have tags of these services, at a moment.
    #[must_use]
    pub fn closes(&self, cluster: &ClusterName, services: &BTreeSet<String>, at: Timestamp) -> bool {
        let (from, until) = self.moments();
        let meant = match &self.scope {
            Scope::All => true,
            Scope::Cluster(name) => name == cluster,
            Scope::Service(name) => services.contains(name),
        };
        meant && from <= at && at < until
    }
}

/// Somebody is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Presence {
    /// Who.
    pub person: String,
    /// For this cluster only; absent: for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterName>,
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

impl Presence {
    /// Whether this person can look after a run on a cluster that begins at a moment.
    #[must_use]
    pub fn covers(&self, cluster: &ClusterName, at: Timestamp) -> bool {
        let meant = self.cluster.as_ref().is_none_or(|name| name == cluster);
        meant && self.since <= at && at + PRESENT_FOR <= self.until
    }
}

/// What is so at a due time.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// The moment of the decision.
    pub now: Timestamp,
    /// The due time.
    pub due: Timestamp,
    /// The cluster that was drawn.
    pub cluster: &'a ClusterName,
    /// The values of the tag `service` on its hosts.
    pub services: &'a BTreeSet<String>,
    /// Why starts are blocked, when they are.
    pub halted: Option<&'a str>,
    /// What is closed.
    pub closures: &'a [Closure],
    /// Who is there.
    pub presences: &'a [Presence],
}

/// What is in the way of a start, with a sentence for people.
#[must_use]
pub fn obstacle(schedule: &Schedule, seen: &Circumstances<'_>) -> Option<(Obstacle, String)> {
    let late = seen.now.since(seen.due);
    if late > START_WITHIN {
        let why = format!("missed: the server came to it {late} late; it is not made up for");
        return Some((Obstacle::Missed, why));
    }
    if let Some(reason) = seen.halted {
        return Some((Obstacle::Halted, format!("starts were blocked by a halt ({reason})")));
    }
    // The plan leaves these out; what was added to the schedule after the plan was made counts too.
    if schedule.holidays.contains(&schedule.zone.day(seen.due)) {
        return Some((Obstacle::Blackout, "a holiday".to_owned()));
    }
    let black = schedule.blackouts.iter().find(|blackout| {
        let (from, until) = blackout.moments(&schedule.zone);
        from <= seen.due && seen.due < until
    });
    if let Some(blackout) = black {
        return Some((Obstacle::Blackout, format!("a black-out of the schedule ({})", blackout.reason)));
    }
    if let Some(closure) = seen.closures.iter().find(|one| one.closes(seen.cluster, seen.services, seen.due)) {
        return Some(closed(closure));
    }
    let present = seen.presences.iter().any(|presence| presence.covers(seen.cluster, seen.now));
    if schedule.presence && !present {
        let why = format!(
            "nobody has said to be there for {} for the next {PRESENT_FOR}; `firedrill schedule presence --until 17:00` does",
            seen.cluster
        );
        return Some((Obstacle::NobodyThere, why));
    }
    None
}

fn closed(closure: &Closure) -> (Obstacle, String) {
    let kind = if closure.until.is_none() { Obstacle::OptedOut } else { Obstacle::Blackout };
    let word = if closure.until.is_none() { "opted out" } else { "blacked out" };
    let who = match &closure.scope {
        Scope::All => "everything is".to_owned(),
        Scope::Cluster(cluster) => format!("cluster {cluster} is"),
        Scope::Service(service) => format!("service {service} is"),
    };
    (kind, format!("{who} {word} ({})", closure.reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Blackout;
    use crate::spec::tests::cron;
    use crate::zone::tests::wall;
    use crate::zone::{Coming, Zone};
    use proptest::prelude::*;

    fn due() -> Timestamp {
        Zone::utc().moment(wall("2026-11-24 10:00"), Coming::First)
    }

    fn shop() -> ClusterName {
        "shop".parse().expect("a name")
    }

    struct Scene {
        now: Timestamp,
        services: BTreeSet<String>,
        halted: Option<String>,
        closures: Vec<Closure>,
        presences: Vec<Presence>,
    }

    fn quiet() -> Scene {
        Scene { now: due(), services: BTreeSet::new(), halted: None, closures: vec![], presences: vec![] }
    }

    fn seen(schedule: &Schedule, scene: &Scene) -> Option<Obstacle> {
        let cluster = shop();
        let circumstances = Circumstances {
            now: scene.now,
            due: due(),
            cluster: &cluster,
            services: &scene.services,
            halted: scene.halted.as_deref(),
            closures: &scene.closures,
            presences: &scene.presences,
        };
        obstacle(schedule, &circumstances).map(|(kind, _)| kind)
    }

    fn closure(scope: Scope, until: Option<Timestamp>) -> Closure {
        Closure { id: "1".into(), scope, from: None, until, reason: "audit".into() }
    }

    #[test]
    fn each_obstacle_is_named() {
        let schedule = cron("0 10 * * *");
        assert_eq!(seen(&schedule, &quiet()), None);
        assert_eq!(seen(&schedule, &Scene { now: due() + START_WITHIN, ..quiet() }), None);
        let late = Scene { now: due() + START_WITHIN + Span::millis(1), halted: Some("x".into()), ..quiet() };
        assert_eq!(seen(&schedule, &late), Some(Obstacle::Missed));
        assert_eq!(seen(&schedule, &Scene { halted: Some("x".into()), ..quiet() }), Some(Obstacle::Halted));
        let holiday = Schedule { holidays: vec!["2026-11-24".parse().expect("a day")], ..schedule.clone() };
        assert_eq!(seen(&holiday, &quiet()), Some(Obstacle::Blackout));
        let black = Blackout { from: wall("2026-11-24 09:00"), until: wall("2026-11-24 11:00"), reason: "x".into() };
        assert_eq!(seen(&Schedule { blackouts: vec![black], ..schedule }, &quiet()), Some(Obstacle::Blackout));
    }

    #[test]
    fn opting_out_is_per_cluster_and_service() {
        let schedule = cron("0 10 * * *");
        let with =
            |closure: Closure| Scene { closures: vec![closure], services: ["orders".to_owned()].into(), ..quiet() };
        assert_eq!(seen(&schedule, &with(closure(Scope::Cluster(shop()), None))), Some(Obstacle::OptedOut));
        assert_eq!(seen(&schedule, &with(closure(Scope::Service("orders".into()), None))), Some(Obstacle::OptedOut));
        assert_eq!(seen(&schedule, &with(closure(Scope::Service("carts".into()), None))), None);
        assert_eq!(seen(&schedule, &with(closure(Scope::Cluster("bank".parse().expect("a name")), None))), None);
        let until = |until| with(closure(Scope::All, Some(until)));
        assert_eq!(seen(&schedule, &until(due())), None);
        assert_eq!(seen(&schedule, &until(due() + Span::secs(1))), Some(Obstacle::Blackout));
    }

    proptest! {
        #[test]
        fn without_somebody_there_long_enough_nothing_starts(
            people in prop::collection::vec((-7200_i64..7200, -7200_i64..7200, 0_u8..3), 0..5),
        ) {
            let schedule = Schedule { presence: true, ..cron("0 10 * * *") };
            let at = |seconds: i64| Timestamp(due().0 + seconds * 1_000_000);
            let presences: Vec<Presence> = people
                .iter()
                .map(|(since, until, whose)| Presence {
                    person: "ann".into(),
                    cluster: [None, Some(shop()), Some("bank".parse().expect("a name"))][usize::from(*whose)].clone(),
                    since: at(*since),
                    until: at(*until),
                })
                .collect();
            let there = people.iter().any(|(since, until, whose)| *since <= 0 && *until >= 900 && *whose < 2);
            let expected = if there { None } else { Some(Obstacle::NobodyThere) };
            prop_assert_eq!(seen(&schedule, &Scene { presences, ..quiet() }), expected);
        }
    }
}
