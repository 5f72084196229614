//! The grammar of `firedrill schedule`, and the schedule that its options mean.

use crate::args::key_value;
use anyhow::{Context, bail};
use clap::{ArgGroup, Args, Subcommand};
use firedrill_model::{ClusterName, Percent, ScheduleName, Span, Verdict};
use firedrill_schedule::programme::Programme;
use firedrill_schedule::{Day, Group, Random, Schedule, TemplateUse, Timing, Window, Zone};
use std::path::PathBuf;

#[derive(Subcommand)]
pub(crate) enum ScheduleCommand {
    /// Add one, or replace the one of that name
    Add(Box<AddSchedule>),
    /// All schedules and how they stand
    List,
    /// One schedule, the due time that comes next, and the rungs of a programme
    Show {
        /// Which
        name: ScheduleName,
    },
    /// Start nothing any more; a run under way goes on
    Pause {
        /// Which
        name: ScheduleName,
        /// For the log
        #[arg(long)]
        reason: String,
    },
    /// Start again, from now on
    Resume {
        /// Which
        name: ScheduleName,
        /// For the log
        #[arg(long, default_value = "resumed from the command line")]
        reason: String,
    },
    /// Remove one; a run under way goes on
    Remove {
        /// Which
        name: ScheduleName,
    },
    /// What ran and what comes
    Calendar {
        /// So many days from now on
        #[arg(long, default_value_t = 14)]
        days: u32,
        /// So many days back
        #[arg(long, default_value_t = 7)]
        back: u32,
        /// Only of this schedule
        #[arg(long)]
        schedule: Option<ScheduleName>,
    },
    /// The message of the day: what is planned, what is expected, and what came of yesterday
    Today {
        /// By the clock of this zone (default: that of the first schedule)
        #[arg(long)]
        zone: Option<Zone>,
    },
    /// Say that you are there, for schedules that require it
    Presence(PresenceArgs),
    /// Times in which nothing starts; without an end: opting out
    #[command(subcommand)]
    Blackout(BlackoutCommand),
}

#[derive(Args)]
#[command(group = ArgGroup::new("timing").args(["cron", "times", "programme"]))]
pub(crate) struct AddSchedule {
    /// Its name
    #[arg(required_unless_present = "file")]
    pub(crate) name: Option<ScheduleName>,
    /// A file, or a name from the library
    pub(crate) experiment: Option<String>,
    /// This template instead, as it is at each time
    #[arg(long, conflicts_with = "experiment")]
    pub(crate) template: Option<String>,
    /// With --template: a value of one of its parameters; may be given again
    #[arg(long, value_name = "K=V", value_parser = key_value, requires = "template")]
    pub(crate) var: Vec<(String, String)>,
    /// The whole schedule as YAML, instead of all other options
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "timing", "cluster"])]
    pub(crate) file: Option<PathBuf>,
    /// On this cluster; `a,b`: on one of these at each time; may be given again for another (default: the only one)
    #[arg(long, value_name = "CLUSTER")]
    pub(crate) cluster: Vec<String>,
    /// How often a due time counts at all, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 100.0)]
    pub(crate) probability: f64,
    /// At the times of this line: minute, hour, day, month, weekday
    #[arg(long, value_name = "LINE")]
    pub(crate) cron: Option<String>,
    /// So often a week, at random within the windows
    #[arg(long, value_name = "N")]
    pub(crate) times: Option<u32>,
    /// With --times: between two of them lies at least this
    #[arg(long, default_value = "1h", requires = "times")]
    pub(crate) spread: Span,
    /// The ladder, rung by rung, from weekly to daily as the rungs hold
    #[arg(long, conflicts_with = "experiment")]
    pub(crate) programme: bool,
    /// Where the clock hangs that all times are read from
    #[arg(long, default_value = "UTC")]
    pub(crate) zone: Zone,
    /// Nothing starts outside, such as mon-fri@09:00-15:00; may be given again
    #[arg(long, value_name = "DAYS@FROM-UNTIL")]
    pub(crate) window: Vec<Window>,
    /// A day on which nothing starts, such as 2026-12-25; may be given again
    #[arg(long, value_name = "DAY")]
    pub(crate) holiday: Vec<Day>,
    /// Only while somebody has said to be there (`firedrill schedule presence`)
    #[arg(long)]
    pub(crate) presence: bool,
    /// The schedule pauses itself after this verdict; may be given again (default: failed and error)
    #[arg(long, value_name = "VERDICT", value_parser = verdict)]
    pub(crate) pause_on: Vec<Verdict>,
    /// Also when the rung below has not passed on the cluster
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Args)]
#[command(group = ArgGroup::new("end").args(["until", "for_span", "leave"]).required(true))]
pub(crate) struct PresenceArgs {
    /// Until this time today, or this day and time: 17:00, 2026-11-24 17:00
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// For so long from now
    #[arg(long = "for", value_name = "DURATION", id = "for_span")]
    pub(crate) for_span: Option<Span>,
    /// You leave now
    #[arg(long)]
    pub(crate) leave: bool,
    /// Where the clock hangs (default: that of this machine)
    #[arg(long)]
    pub(crate) zone: Option<Zone>,
    /// Who is there
    #[arg(long, env = "USER")]
    pub(crate) person: String,
    /// For this cluster only (default: for all)
    #[arg(long)]
    pub(crate) cluster: Option<ClusterName>,
}

#[derive(Subcommand)]
pub(crate) enum BlackoutCommand {
    /// Close something for schedules: everything, a cluster, or a service
    Add(BlackoutArgs),
    /// What is closed, now or later
    List,
    /// Open it again
    Remove {
        /// Its id
        id: String,
    },
}

#[derive(Args)]
#[command(group = ArgGroup::new("scope").args(["all", "cluster", "service"]).required(true))]
pub(crate) struct BlackoutArgs {
    /// For everything
    #[arg(long)]
    pub(crate) all: bool,
    /// For this cluster
    #[arg(long)]
    pub(crate) cluster: Option<ClusterName>,
    /// For every cluster with a host whose tag `service` is this
    #[arg(long)]
    pub(crate) service: Option<String>,
    /// From this time on: 17:00, 2026-12-20 08:00 (default: now)
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Until this time (default: until it is removed, which is opting out)
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Where the clock hangs (default: that of this machine)
    #[arg(long)]
    pub(crate) zone: Option<Zone>,
    /// For people
    #[arg(long)]
    pub(crate) reason: String,
}

fn verdict(text: &str) -> Result<Verdict, String> {
    let all = [Verdict::Passed, Verdict::Failed, Verdict::Inconclusive, Verdict::Error];
    let found = all.into_iter().find(|verdict| verdict.to_string() == text);
    found.ok_or_else(|| format!("{text:?} is no verdict; there are passed, failed, inconclusive and error"))
}

impl AddSchedule {
    /// The schedule. `only` is the cluster that is meant when none is named, `file` the text of an experiment that is
    /// not in the library.
    ///
    /// # Errors
    /// An option is missing or contradicts another.
    pub(crate) fn schedule(self, only: Option<ClusterName>, file: Option<String>) -> anyhow::Result<Schedule> {
        let Some(name) = self.name else { bail!("give the schedule a name") };
        let when = match (self.cron, self.times, self.programme) {
            (Some(line), ..) => Timing::Cron(line),
            (_, Some(times), _) => Timing::Random(Random { times, spread: self.spread }),
            (.., true) => Timing::Programme(Programme::default()),
            _ => bail!("say when: --cron LINE, --times N a week, or --programme"),
        };
        let probability = Percent::try_from(self.probability).map_err(anyhow::Error::msg)?;
        let mut groups = Vec::new();
        for names in &self.cluster {
            let clusters = names.split(',').map(str::parse).collect::<Result<Vec<ClusterName>, _>>();
            let clusters = clusters.with_context(|| format!("--cluster {names}"))?;
            groups.push(Group { clusters, probability });
        }
        groups.extend(only.map(|cluster| Group { clusters: vec![cluster], probability }));
        let pause_on = if self.pause_on.is_empty() { vec![Verdict::Failed, Verdict::Error] } else { self.pause_on };
        Ok(Schedule {
            name,
            experiment: if file.is_some() { None } else { self.experiment },
            file,
            template: self.template.map(|name| TemplateUse { name, values: self.var.into_iter().collect() }),
            groups,
            zone: self.zone,
            when,
            windows: self.window,
            holidays: self.holiday,
            blackouts: Vec::new(),
            presence: self.presence,
            pause_on,
            force: self.force,
        })
    }
}
