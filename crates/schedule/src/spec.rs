//! What a person writes: a schedule, declared.

use crate::programme::Programme;
use crate::zone::{Coming, Day, Zone};
use firedrill_model::{ClusterName, Percent, ScheduleName, Span, Timestamp, Verdict};
use jiff::ToSpan;
use jiff::civil::{DateTime, Weekday};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// What stands for the experiment of a schedule that is a programme.
pub const PROGRAMME: &str = "the ladder";

/// An experiment that starts by itself, again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub struct Schedule {
    /// Unique on its server.
    pub name: ScheduleName,
    /// The name of an experiment of the library. Absent for a programme, and when `file` has the experiment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experiment: Option<String>,
    /// The text of an experiment file, instead of a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// A template with values, instead of a name; as it is at each due time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<TemplateUse>,
    /// Where: at each time, one cluster of each group.
    pub groups: Vec<Group>,
    /// Where the clock hangs that all times are read from.
    #[serde(default)]
    pub zone: Zone,
    /// How the times are found.
    pub when: Timing,
    /// Nothing starts outside. None: for a cron line always, otherwise Monday to Friday from 09:00 to 15:00.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
    /// Days on which nothing starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holidays: Vec<Day>,
    /// Stretches of time in which nothing starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blackouts: Vec<Blackout>,
    /// Only while somebody has said to be there.
    #[serde(default)]
    pub presence: bool,
    /// The verdicts after which the schedule pauses itself.
    #[serde(default = "default_pause_on")]
    pub pause_on: Vec<Verdict>,
    /// Also when the rung below has not passed.
    #[serde(default)]
    pub force: bool,
}

/// A template and what is put into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TemplateUse {
    /// Which template.
    pub name: String,
    /// Values of its parameters; those without one have their default.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, String>,
}

fn default_pause_on() -> Vec<Verdict> {
    vec![Verdict::Failed, Verdict::Error]
}

impl Schedule {
    /// Its windows, or those that are meant when none are given.
    pub(crate) fn windows(&self) -> Vec<Window> {
        if self.windows.is_empty() && !matches!(self.when, Timing::Cron(_)) {
            // As Chaos Monkey does: when those are there who can look, with hours left to mend what is found.
            use DayName::{Fri, Mon, Thu, Tue, Wed};
            let days = vec![Mon, Tue, Wed, Thu, Fri];
            return vec![Window { days, from: TimeOfDay(9 * 60), until: TimeOfDay(15 * 60) }];
        }
        self.windows.clone()
    }

    /// What it starts, for lists.
    #[must_use]
    pub fn subject(&self) -> String {
        match (&self.when, &self.experiment, &self.template) {
            (Timing::Programme(_), ..) => PROGRAMME.to_owned(),
            (_, Some(name), _) => name.clone(),
            (_, _, Some(template)) => template.name.clone(),
            // The name is the first thing in a file; what is not there is found when the file is checked.
            (_, None, None) => {
                let mut lines = self.file.as_deref().unwrap_or_default().lines();
                lines.find_map(|line| line.strip_prefix("name:")).map_or("a file", str::trim).to_owned()
            }
        }
    }

    /// Every cluster that it may strike.
    pub fn clusters(&self) -> impl Iterator<Item = &ClusterName> {
        self.groups.iter().flat_map(|group| &group.clusters)
    }
}

/// Clusters of which one is struck at each time, or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// One of them is drawn at each time.
    pub clusters: Vec<ClusterName>,
    /// How often a time counts for this group at all.
    #[serde(default = "always")]
    pub probability: Percent,
}

fn always() -> Percent {
    Percent::whole(100)
}

/// How times are found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Timing {
    /// Minute, hour, day, month, weekday (`30 10 * * MON-FRI`), also with `L`, `W` and `#`.
    Cron(String),
    /// So often a week, at random within the windows.
    Random(Random),
    /// The ladder, rung by rung: on every day with a window, at random within it, at most one run.
    Programme(Programme),
}

/// So often a week, at random.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Random {
    /// Times a week, for each group.
    pub times: u32,
    /// Between two times of a group lies at least this.
    #[serde(default = "default_spread")]
    pub spread: Span,
}

fn default_spread() -> Span {
    Span::secs(3600)
}

/// A part of some days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// On these days of the week.
    pub days: Vec<DayName>,
    /// From this time of day.
    pub from: TimeOfDay,
    /// Until before this time of the same day; `24:00` is its end.
    pub until: TimeOfDay,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "they say it")]
pub enum DayName {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl DayName {
    /// Monday first.
    pub const ALL: [Self; 7] = [Self::Mon, Self::Tue, Self::Wed, Self::Thu, Self::Fri, Self::Sat, Self::Sun];

    pub(crate) fn is(self, day: Day) -> bool {
        let weekday = match self {
            Self::Mon => Weekday::Monday,
            Self::Tue => Weekday::Tuesday,
            Self::Wed => Weekday::Wednesday,
            Self::Thu => Weekday::Thursday,
            Self::Fri => Weekday::Friday,
            Self::Sat => Weekday::Saturday,
            Self::Sun => Weekday::Sunday,
        };
        day.weekday() == weekday
    }
}

/// A time of day in whole minutes, `00:00` to `24:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct TimeOfDay(u16);

impl TimeOfDay {
    /// On a day.
    pub(crate) fn on(self, day: Day) -> DateTime {
        let midnight = day.at(0, 0, 0, 0);
        midnight.checked_add(i64::from(self.0).minutes()).unwrap_or(DateTime::MAX)
    }
}

impl FromStr for TimeOfDay {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is not a time of day such as 09:00 (00:00 to 24:00)");
        let (hours, minutes) = text.split_once(':').ok_or_else(refused)?;
        let number = |part: &str| {
            let digits = (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse::<u16>().ok().filter(|_| digits)
        };
        match (number(hours), number(minutes)) {
            (Some(hours), Some(minutes)) if minutes < 60 && hours * 60 + minutes <= 24 * 60 => {
                Ok(Self(hours * 60 + minutes))
            }
            _ => Err(refused()),
        }
    }
}

impl TryFrom<String> for TimeOfDay {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<TimeOfDay> for String {
    fn from(time: TimeOfDay) -> Self {
        time.to_string()
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl FromStr for Window {
    type Err = String;
    /// `mon-fri@09:00-15:00`, `sat,sun@10:00-12:00`.
    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is not a window such as mon-fri@09:00-15:00 or tue,thu@13:00-17:00");
        let (days, hours) = text.split_once('@').ok_or_else(refused)?;
        let (from, until) = hours.split_once('-').ok_or_else(refused)?;
        let number = |name: &str| {
            DayName::ALL.iter().position(|day| format!("{day:?}").eq_ignore_ascii_case(name)).ok_or_else(refused)
        };
        let mut named = Vec::new();
        for part in days.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            // `sat-mon` goes over the end of the week.
            let count = (last + 7 - first) % 7;
            named.extend((0..=count).map(|at| DayName::ALL[(first + at) % 7]));
        }
        Ok(Self { days: named, from: from.parse()?, until: until.parse()? })
    }
}

/// A stretch of time in which nothing starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Blackout {
    /// From this time on the wall.
    pub from: DateTime,
    /// Until before this one.
    pub until: DateTime,
    /// For people.
    pub reason: String,
}

impl Blackout {
    /// As long as the wall allows: from the first coming of its beginning to the second of its end.
    pub(crate) fn moments(&self, zone: &Zone) -> (Timestamp, Timestamp) {
        (zone.moment(self.from, Coming::First), zone.moment(self.until, Coming::Second))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn cron(line: &str) -> Schedule {
        Schedule {
            name: "nightly".parse().expect("a name"),
            experiment: Some("kill-replica".to_owned()),
            file: None,
            template: None,
            groups: vec![Group { clusters: vec!["shop".parse().expect("a name")], probability: always() }],
            zone: Zone::utc(),
            when: Timing::Cron(line.to_owned()),
            windows: Vec::new(),
            holidays: Vec::new(),
            blackouts: Vec::new(),
            presence: false,
            pause_on: default_pause_on(),
            force: false,
        }
    }

    pub(crate) fn random(times: u32) -> Schedule {
        Schedule { when: Timing::Random(Random { times, spread: default_spread() }), ..cron("") }
    }

    pub(crate) fn ladder() -> Schedule {
        Schedule { when: Timing::Programme(Programme::default()), experiment: None, ..cron("") }
    }

    pub(crate) fn window(days: &str, from: &str, until: &str) -> Window {
        format!("{}@{from}-{until}", days.replace(' ', ",")).parse().expect("a window")
    }

    #[test]
    fn a_short_schedule_is_enough() {
        let text = r#"{"name": "twice", "experiment": "kill-replica", "groups": [{"clusters": ["shop"]}],
                       "zone": "Europe/Berlin", "when": {"random": {"times": 2}}}"#;
        let schedule: Schedule = serde_json::from_str(text).expect("a schedule");
        assert_eq!(schedule.windows(), [window("mon tue wed thu fri", "09:00", "15:00")]);
        assert_eq!(schedule.pause_on, [Verdict::Failed, Verdict::Error]);
        assert_eq!(schedule.groups[0].probability, Percent::whole(100));
        let again = serde_json::to_string(&schedule).expect("text");
        assert_eq!(serde_json::from_str::<Schedule>(&again).expect("a schedule"), schedule);
    }

    #[test]
    fn windows_and_times_are_read_or_refused() {
        let over: Window = "sat-mon@10:00-24:00".parse().expect("a window");
        assert_eq!(over.days, [DayName::Sat, DayName::Sun, DayName::Mon]);
        for bad in
            ["", "mon", "mon@9", "mon@09:00", "mun@09:00-10:00", "mon@09:00-24:01", "mon@+9:00-10:00", "mon@9:60-10:00"]
        {
            assert!(bad.parse::<Window>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_file_is_called_by_its_name() {
        let schedule = Schedule { experiment: None, file: Some("name: mine\nsteps: []".into()), ..cron("* * * * *") };
        assert_eq!(schedule.subject(), "mine");
        assert_eq!(ladder().subject(), PROGRAMME);
    }
}
