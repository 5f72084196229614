//! A schedule as the fields of a form, both ways: what people type is kept as they typed it, also when it is refused.

use firedrill_api::http::Problem;
use firedrill_model::{ClusterName, Percent, Span, Verdict};
use firedrill_schedule::programme::Programme;
use firedrill_schedule::{
    Blackout, Code, DayName, Group, Random, Schedule, TemplateUse, Timing, UnknownZone, Window, Zone,
};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

/// All verdicts, as a form names them.
pub(crate) const VERDICTS: [Verdict; 4] = [Verdict::Failed, Verdict::Error, Verdict::Inconclusive, Verdict::Passed];
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// What the names of fields for values of a template begin with.
pub(crate) const VALUE: &str = "value.";

/// What the form says, each field as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    /// Of the schedule.
    pub name: String,
    /// `experiment:NAME`, `template:NAME`, `file`, or nothing, for the ladder.
    pub what: String,
    /// Values of the template's parameters.
    pub values: BTreeMap<String, String>,
    /// The text of an experiment of one's own.
    pub file: String,
    /// A group on each line.
    pub clusters: String,
    /// Whose clock.
    pub zone: String,
    /// `cron`, `random` or `programme`.
    pub when: String,
    /// The cron line.
    pub cron: String,
    /// Times a week.
    pub times: String,
    /// Between two of them.
    pub spread: String,
    /// Passes before the next rung.
    pub climb_after: String,
    /// Passes before a rung is daily.
    pub daily_after: String,
    /// The highest rung.
    pub top: String,
    /// A window on each line.
    pub windows: String,
    /// A day on each line.
    pub holidays: String,
    /// A black-out on each line.
    pub blackouts: String,
    /// Only while somebody is there.
    pub presence: bool,
    /// Verdicts after which it pauses itself.
    pub pause_on: Vec<String>,
    /// Also when the rung below has not passed.
    pub force: bool,
}

impl Default for Fields {
    /// What most people want: twice a week, at random, within working hours.
    fn default() -> Self {
        let programme = Programme::default();
        Self {
            name: String::new(),
            what: String::new(),
            values: BTreeMap::new(),
            file: String::new(),
            clusters: String::new(),
            zone: Zone::utc().name().to_owned(),
            when: "random".to_owned(),
            cron: "30 10 * * MON-FRI".to_owned(),
            times: "2".to_owned(),
            spread: "1h".to_owned(),
            climb_after: programme.climb_after.to_string(),
            daily_after: programme.daily_after.to_string(),
            top: String::new(),
            windows: String::new(),
            holidays: String::new(),
            blackouts: String::new(),
            presence: false,
            pause_on: vec![Verdict::Failed.to_string(), Verdict::Error.to_string()],
            force: false,
        }
    }
}

impl Fields {
    /// What a browser has sent. A box that is not ticked is not sent, so these start empty.
    #[must_use]
    pub fn of_form(pairs: Vec<(String, String)>) -> Self {
        let mut fields = Self { pause_on: Vec::new(), ..Self::default() };
        for (name, value) in pairs {
            // Browsers send line ends as in mails.
            let value = value.replace("\r\n", "\n");
            if let Some(parameter) = name.strip_prefix(VALUE) {
                fields.values.insert(parameter.to_owned(), value);
                continue;
            }
            match name.as_str() {
                "name" => fields.name = value,
                "what" => fields.what = value,
                "file" => fields.file = value,
                "clusters" => fields.clusters = value,
                "zone" => fields.zone = value,
                "when" => fields.when = value,
                "cron" => fields.cron = value,
                "times" => fields.times = value,
                "spread" => fields.spread = value,
                "climb_after" => fields.climb_after = value,
                "daily_after" => fields.daily_after = value,
                "top" => fields.top = value,
                "windows" => fields.windows = value,
                "holidays" => fields.holidays = value,
                "blackouts" => fields.blackouts = value,
                "presence" => fields.presence = true,
                "pause_on" => fields.pause_on.push(value),
                "force" => fields.force = true,
                _ => {}
            }
        }
        fields
    }

    /// A schedule that there is.
    #[must_use]
    pub fn of(schedule: &Schedule) -> Self {
        let mut fields = Self {
            name: schedule.name.to_string(),
            clusters: lines(schedule.groups.iter().map(group_line)),
            zone: schedule.zone.to_string(),
            windows: lines(schedule.windows.iter().map(window_line)),
            holidays: lines(&schedule.holidays),
            blackouts: lines(schedule.blackouts.iter().map(blackout_line)),
            presence: schedule.presence,
            pause_on: schedule.pause_on.iter().map(ToString::to_string).collect(),
            force: schedule.force,
            file: schedule.file.clone().unwrap_or_default(),
            ..Self::default()
        };
        match (&schedule.experiment, &schedule.template, &schedule.file) {
            (Some(name), ..) => fields.what = format!("experiment:{name}"),
            (_, Some(template), _) => {
                fields.what = format!("template:{}", template.name);
                fields.values.clone_from(&template.values);
            }
            (_, _, Some(_)) => fields.what = "file".to_owned(),
            _ => {}
        }
        match &schedule.when {
            Timing::Cron(line) => {
                fields.when = "cron".to_owned();
                fields.cron.clone_from(line);
            }
            Timing::Random(Random { times, spread }) => {
                (fields.times, fields.spread) = (times.to_string(), spread.to_string());
            }
            Timing::Programme(programme) => {
                fields.when = "programme".to_owned();
                fields.climb_after = programme.climb_after.to_string();
                fields.daily_after = programme.daily_after.to_string();
                fields.top = programme.top.map_or_else(String::new, |top| top.to_string());
            }
        }
        fields
    }

    /// The name of the template that is chosen.
    #[must_use]
    pub fn template(&self) -> Option<&str> {
        self.what.strip_prefix("template:")
    }

    /// The schedule that the fields mean. Its rules are checked by the server.
    ///
    /// # Errors
    /// A field is not understood: which, and what would be.
    pub fn read(&self) -> Result<Schedule, Problem> {
        let zone = self.zone.trim();
        let zone = if zone.is_empty() { Ok(Zone::utc()) } else { zone.parse() };
        let zone = zone.map_err(|unknown: UnknownZone| refused(Code::Zone, &format!("“Clock of”: {unknown}")))?;
        let when = match self.when.as_str() {
            "cron" => Timing::Cron(self.cron.trim().to_owned()),
            "random" => Timing::Random(Random {
                times: one("Times a week", &self.times)?,
                spread: one::<Span>("At least between two", &self.spread)?,
            }),
            "programme" => Timing::Programme(Programme {
                climb_after: one("Next rung after", &self.climb_after)?,
                daily_after: one("Daily after", &self.daily_after)?,
                top: if self.top.trim().is_empty() { None } else { Some(one("No rung above", &self.top)?) },
            }),
            _ => return Err(malformed("Times", "say how the times are found")),
        };
        let template = self.template().map(|name| {
            let given = self.values.iter().filter(|(_, value)| !value.trim().is_empty());
            let values = given.map(|(name, value)| (name.clone(), value.trim().to_owned())).collect();
            TemplateUse { name: name.to_owned(), values }
        });
        Ok(Schedule {
            name: one("Name", &self.name)?,
            experiment: self.what.strip_prefix("experiment:").map(str::to_owned),
            file: (self.what == "file").then(|| self.file.clone()),
            template,
            groups: each("Clusters", &self.clusters, read_group)?,
            zone,
            when,
            windows: each("Windows", &self.windows, str::parse::<Window>)?,
            holidays: each("Holidays", &self.holidays, |line| {
                line.parse().map_err(|_| format!("{line:?} is no day such as 2026-12-25"))
            })?,
            blackouts: each("Black-outs of this schedule", &self.blackouts, read_blackout)?,
            presence: self.presence,
            pause_on: VERDICTS
                .into_iter()
                .filter(|verdict| self.pause_on.iter().any(|named| *named == verdict.to_string()))
                .collect(),
            force: self.force,
        })
    }
}

fn refused(code: Code, message: &str) -> Problem {
    Problem { code: code.as_str().to_owned(), message: message.to_owned(), refused: false }
}

fn malformed(field: &str, why: &str) -> Problem {
    refused(Code::Malformed, &format!("“{field}”: {why}"))
}

fn one<T: FromStr<Err: Display>>(field: &str, text: &str) -> Result<T, Problem> {
    text.trim().parse().map_err(|why: T::Err| malformed(field, &format!("{:?}: {why}", text.trim())))
}

/// Each line that is not empty.
fn each<T>(field: &str, text: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, Problem> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| read(line).map_err(|why| malformed(field, &why))).collect()
}

fn lines<T: ToString>(all: impl IntoIterator<Item = T>) -> String {
    all.into_iter().map(|line| line.to_string()).collect::<Vec<_>>().join("\n")
}

/// `shop`, `shop, bank`, `shop, bank 50 %`.
fn group_line(group: &Group) -> String {
    let names = group.clusters.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if group.probability == Percent::whole(100) { names } else { format!("{names} {}", group.probability) }
}

fn read_group(line: &str) -> Result<Group, String> {
    let (names, probability) = match line.strip_suffix('%').map(str::trim_end) {
        None => (line, Percent::whole(100)),
        Some(rest) => {
            let no_percent = || format!("{line:?} has no names and a percentage, as in `shop, bank 50 %`");
            let (names, percent) = rest.rsplit_once([' ', '\t']).ok_or_else(no_percent)?;
            (names, Percent::try_from(percent.parse::<f64>().map_err(|_| no_percent())?)?)
        }
    };
    let names = names.split([',', ' ', '\t']).filter(|name| !name.is_empty());
    let clusters = names.map(str::parse).collect::<Result<Vec<ClusterName>, _>>().map_err(|why| why.to_string())?;
    Ok(Group { clusters, probability })
}

/// `mon-fri@09:00-15:00`.
fn window_line(window: &Window) -> String {
    let at = |day: &DayName| DayName::ALL.iter().position(|known| known == day).unwrap_or(0);
    let runs = window.days.chunk_by(|one, two| at(two) == at(one) + 1).map(|run| match run {
        [first, .., last] if run.len() > 2 => format!("{}-{}", DAYS[at(first)], DAYS[at(last)]),
        run => run.iter().map(|day| DAYS[at(day)]).collect::<Vec<_>>().join(","),
    });
    format!("{}@{}-{}", runs.collect::<Vec<_>>().join(","), window.from, window.until)
}

/// `2026-12-24 12:00 to 2026-12-27 08:00, holidays`.
fn blackout_line(blackout: &Blackout) -> String {
    let wall = |text: String| text.strip_suffix(":00").unwrap_or(&text).replace('T', " ");
    format!("{} to {}, {}", wall(blackout.from.to_string()), wall(blackout.until.to_string()), blackout.reason)
}

fn read_blackout(line: &str) -> Result<Blackout, String> {
    let refused = || format!("{line:?} is not like `2026-12-24 12:00 to 2026-12-27 08:00, reason`");
    let (from, rest) = line.split_once(" to ").ok_or_else(refused)?;
    let (until, reason) = rest.split_once(',').unwrap_or((rest, ""));
    Ok(Blackout {
        from: from.trim().parse().map_err(|_| refused())?,
        until: until.trim().parse().map_err(|_| refused())?,
        reason: reason.trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(text: &str) -> Schedule {
        serde_json::from_str(text).expect("a schedule")
    }

    #[test]
    fn what_there_is_comes_back_as_it_was() {
        for text in [
            r#"{"name": "twice", "experiment": "kill-replica", "groups": [{"clusters": ["shop"]}],
                "zone": "Europe/Berlin", "when": {"random": {"times": 2, "spread": "90m"}}}"#,
            r#"{"name": "line", "file": "name: x\nsteps: []", "groups": [{"clusters": ["shop", "bank"], "probability": 12.5},
                {"clusters": ["third"]}], "when": {"cron": "30 10 * * MON-FRI"}, "presence": true, "force": true,
                "windows": [{"days": ["mon","tue","wed","fri"], "from": "09:00", "until": "15:30"},
                            {"days": ["sat","sun","mon"], "from": "00:00", "until": "24:00"}],
                "holidays": ["2026-12-25"], "pause_on": ["failed", "inconclusive"],
                "blackouts": [{"from": "2026-12-24T12:00:00", "until": "2026-12-27T08:00:05", "reason": "a, b to c"}]}"#,
            r#"{"name": "own", "template": {"name": "t", "values": {"wait": "2s"}}, "groups": [{"clusters": ["shop"]}],
                "when": {"random": {"times": 3}}, "pause_on": []}"#,
            r#"{"name": "ladder", "groups": [{"clusters": ["shop"]}], "when": {"programme": {"climb_after": 4,
                "daily_after": 5, "top": 3}}}"#,
        ] {
            let schedule = schedule(text);
            let fields = Fields::of(&schedule);
            assert_eq!(fields.read().as_ref(), Ok(&schedule), "{fields:#?}");
        }
        assert_eq!(window_line(&"mon-wed,fri@09:00-15:00".parse().expect("a window")), "mon-wed,fri@09:00-15:00");
    }

    #[test]
    fn a_refusal_names_the_field() {
        let good = || Fields { name: "twice".into(), clusters: "shop".into(), ..Fields::default() };
        assert!(good().read().is_ok());
        let refused = |fields: Fields| fields.read().expect_err("refused");
        let times = refused(Fields { times: "often".into(), ..good() });
        assert!(times.code == "S080" && times.message.contains("“Times a week”: \"often\""), "{times}");
        assert_eq!(refused(Fields { zone: "Europe/Atlantis".into(), ..good() }).code, "S082");
        for (fields, field) in [
            (Fields { name: "My Name".into(), ..good() }, "Name"),
            (Fields { clusters: "shop half %".into(), ..good() }, "Clusters"),
            (Fields { clusters: "50%".into(), ..good() }, "Clusters"),
            (Fields { windows: "mon".into(), ..good() }, "Windows"),
            (Fields { holidays: "christmas".into(), ..good() }, "Holidays"),
            (Fields { blackouts: "2026-12-24".into(), ..good() }, "Black-outs"),
            (Fields { when: String::new(), ..good() }, "Times"),
            (Fields { when: "programme".into(), top: "high".into(), ..good() }, "No rung above"),
        ] {
            let problem = refused(fields);
            assert!(problem.message.starts_with(&format!("“{field}")), "{problem}");
        }
    }

    #[test]
    fn a_form_without_a_tick_has_none() {
        let pairs = |text: &[(&str, &str)]| text.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let fields =
            Fields::of_form(pairs(&[("name", "x"), ("clusters", "a\r\nb"), ("value.wait", "2s"), ("do", "save")]));
        assert_eq!((fields.pause_on.len(), fields.presence, fields.clusters.as_str()), (0, false, "a\nb"));
        assert_eq!(fields.values["wait"], "2s");
        let ticked = Fields::of_form(pairs(&[("pause_on", "passed"), ("pause_on", "error"), ("force", "true")]));
        assert!(ticked.force && ticked.pause_on == ["passed", "error"]);
    }
}
