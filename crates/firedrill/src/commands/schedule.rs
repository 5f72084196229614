//! `firedrill schedule`.

use crate::args::Connect;
use crate::exit::Outcome;
use crate::schedule_options::{AddSchedule, BlackoutArgs, BlackoutCommand, PresenceArgs, ScheduleCommand};
use crate::{connect, output};
use anyhow::{Context, anyhow};
use firedrill_api::client::{CalendarQuery, Client};
use firedrill_api::schedules::{AddClosure, Calendar, SayPresence, ScheduleView};
use firedrill_model::{Span, Timestamp};
use firedrill_schedule::{Closure, Schedule, Scope, Timing, Zone};
use std::path::Path;

pub(crate) async fn run(command: ScheduleCommand, connect: &Connect) -> anyhow::Result<Outcome> {
    let client = connect::client(connect).await?;
    match command {
        ScheduleCommand::Add(add) => {
            let schedule = schedule(&client, *add).await?;
            show(&client.put_schedule(&schedule).await?, connect.json)?;
        }
        ScheduleCommand::List => list(&client.schedules().await?, connect.json)?,
        ScheduleCommand::Show { name } => show(&client.schedule(&name).await?, connect.json)?,
        ScheduleCommand::Pause { name, reason } => {
            show(&client.pause_schedule(&name, &reason).await?, connect.json)?;
        }
        ScheduleCommand::Resume { name, reason } => {
            show(&client.resume_schedule(&name, &reason).await?, connect.json)?;
        }
        ScheduleCommand::Remove { name } => {
            client.remove_schedule(&name).await?;
            output::text(&format!("{name} was removed; a run that it has started goes on"));
        }
        ScheduleCommand::Calendar { days, back, schedule } => {
            let query = CalendarQuery { days: Some(days), back: Some(back), schedule };
            calendar(&client.calendar(&query).await?, connect.json)?;
        }
        ScheduleCommand::Today { zone } => {
            let message = client.today(zone.as_ref()).await?;
            if connect.json { output::json(&message)? } else { output::text(&message.text) }
        }
        ScheduleCommand::Presence(presence) => say_presence(&client, presence, connect.json).await?,
        ScheduleCommand::Blackout(command) => blackout(&client, command, connect.json).await?,
    }
    Ok(Outcome::done())
}

/// What the options mean; the only cluster when none is named.
async fn schedule(client: &Client, add: AddSchedule) -> anyhow::Result<Schedule> {
    if let Some(path) = &add.file {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        return firedrill_api::schedules::read(&text).with_context(|| format!("{} is not a schedule", path.display()));
    }
    let only = if add.cluster.is_empty() { Some(connect::cluster(client, None).await?) } else { None };
    let file = add.experiment.as_deref().map(Path::new).filter(|path| path.exists());
    let file =
        file.map(|path| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display())));
    add.schedule(only, file.transpose()?)
}

fn list(views: &[ScheduleView], json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(&views);
    }
    let rows = views.iter().map(|view| {
        let schedule = &view.schedule;
        vec![
            schedule.name.to_string(),
            schedule.subject(),
            schedule.clusters().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            when(&schedule.when),
            view.next.as_ref().map_or_else(|| "not soon".to_owned(), |next| schedule.zone.show(next.due)),
            view.last.as_ref().map_or_else(String::new, |last| last.outcome.words()),
            view.paused.clone().unwrap_or_default(),
        ]
    });
    output::table(&["SCHEDULE", "EXPERIMENT", "ON", "WHEN", "NEXT", "LAST", "PAUSED"], rows.collect())
}

fn when(timing: &Timing) -> String {
    match timing {
        Timing::Cron(line) => line.clone(),
        Timing::Random(random) => format!("{} a week", random.times),
        Timing::Programme(_) => "weekly to daily".to_owned(),
    }
}

fn show(view: &ScheduleView, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(view);
    }
    list(std::slice::from_ref(view), false)?;
    if let Some(note) = &view.note {
        output::text(&format!("\nthis week {note}"));
    }
    for ladder in &view.ladders {
        output::text(&format!("\nThe ladder of {}", ladder.cluster));
        let rows = ladder.rungs.iter().map(|rung| {
            let last = rung.last.map_or_else(|| "never".to_owned(), |last| view.schedule.zone.show(last));
            vec![rung.rung.to_string(), output::name(&rung.pace), rung.streak.to_string(), last]
        });
        output::table(&["RUNG", "PACE", "PASSED IN A ROW", "LAST TRIED"], rows.collect())?;
    }
    Ok(())
}

fn calendar(calendar: &Calendar, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(calendar);
    }
    let rows = calendar.entries.iter().map(|entry| {
        let came = match (&entry.result, &entry.note) {
            (Some(outcome), _) => outcome.words(),
            (None, Some(note)) => format!("planned, but: {note}"),
            (None, None) => "planned".to_owned(),
        };
        vec![entry.local.clone(), entry.schedule.to_string(), entry.experiment.clone(), entry.cluster.to_string(), came]
    });
    output::table(&["WHEN", "SCHEDULE", "EXPERIMENT", "CLUSTER", "CAME TO"], rows.collect())?;
    if calendar.truncated {
        eprintln!("there is more than is shown; ask for fewer days, or for one schedule");
    }
    Ok(())
}

async fn say_presence(client: &Client, args: PresenceArgs, json: bool) -> anyhow::Result<()> {
    let zone = zone(args.zone)?;
    let now = now();
    let until = match (&args.until, args.for_span) {
        (Some(until), _) => zone.read(until, now).map_err(|why| anyhow!("--until: {why}"))?,
        (None, Some(span)) => now + span,
        (None, None) => now - Span::secs(1),
    };
    let said = client.say_presence(&SayPresence { person: args.person, cluster: args.cluster, until }).await?;
    if json {
        return output::json(&said);
    }
    output::text(&match said.until > now {
        true => format!("{} is there until {}", said.person, zone.show(said.until)),
        false => format!("{} has left", said.person),
    });
    Ok(())
}

async fn blackout(client: &Client, command: BlackoutCommand, json: bool) -> anyhow::Result<()> {
    match command {
        BlackoutCommand::Add(args) => {
            let closure = client.add_blackout(&closure(args)?).await?;
            if json { output::json(&closure)? } else { blackouts(&[closure])? }
        }
        BlackoutCommand::List => {
            let all = client.blackouts().await?;
            if json { output::json(&all)? } else { blackouts(&all)? }
        }
        BlackoutCommand::Remove { id } => {
            client.remove_blackout(&id).await?;
            output::text(&format!("{id} was removed"));
        }
    }
    Ok(())
}

fn closure(args: BlackoutArgs) -> anyhow::Result<AddClosure> {
    let zone = zone(args.zone)?;
    let read = |option: &str, text: Option<String>| {
        let read = text.map(|text| zone.read(&text, now())).transpose();
        read.map_err(|why| anyhow!("{option}: {why}"))
    };
    let scope = match (args.cluster, args.service) {
        (Some(cluster), _) => Scope::Cluster(cluster),
        (None, Some(service)) => Scope::Service(service),
        (None, None) => Scope::All,
    };
    let (from, until) = (read("--from", args.from)?, read("--until", args.until)?);
    Ok(AddClosure { scope, from, until, reason: args.reason })
}

fn blackouts(closures: &[Closure]) -> anyhow::Result<()> {
    let zone = zone(None)?;
    let rows = closures.iter().map(|closure| {
        let scope = match &closure.scope {
            Scope::All => "everything".to_owned(),
            Scope::Cluster(cluster) => format!("cluster {cluster}"),
            Scope::Service(service) => format!("service {service}"),
        };
        let show = |at: Option<Timestamp>, none: &str| at.map_or_else(|| none.to_owned(), |at| zone.show(at));
        vec![
            closure.id.clone(),
            scope,
            show(closure.from, ""),
            show(closure.until, "opted out"),
            closure.reason.clone(),
        ]
    });
    output::table(&["BLACK-OUT", "OF", "FROM", "UNTIL", "REASON"], rows.collect())
}

/// The zone that was named, or that of this machine; UTC when it does not say.
fn zone(named: Option<Zone>) -> anyhow::Result<Zone> {
    if let Some(zone) = named {
        return Ok(zone);
    }
    let system = jiff::tz::TimeZone::system();
    system.iana_name().unwrap_or("UTC").parse().context("the time zone of this machine; name another with --zone")
}

fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_microsecond())
}
