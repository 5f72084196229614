//! `firedrill template`.

use super::experiment::{follow_to_the_end, print, write_report};
use crate::args::{Connect, key_value, run_id};
use crate::commands::template_import;
use crate::exit::Outcome;
use crate::{connect, output};
use anyhow::Context;
use clap::Subcommand;
use firedrill_api::http::{FillTemplate, SaveTemplate, TemplateEntry, TemplatePreview};
use firedrill_model::ClusterName;
use firedrill_model::template::{Outage, Template as Kept};
use std::path::PathBuf;

/// What can be done with templates.
#[derive(Subcommand)]
pub(crate) enum Template {
    /// All templates
    List,
    /// One template: what it does, the outage behind it, its parameters
    Show {
        /// Its name
        name: String,
    },
    /// What it would do now, with these values; nothing is begun
    Preview(Fill),
    /// Start it and wait for the verdict
    Start {
        #[command(flatten)]
        fill: Fill,
        /// Write report.html, report.json and the history into this directory
        #[arg(long, value_name = "DIR")]
        report: Option<PathBuf>,
        /// Also when the rung below has not passed
        #[arg(long)]
        force: bool,
    },
    /// Keep one of your own: a file, or the experiment of a past run
    Save {
        /// A template file
        #[arg(required_unless_present = "run", conflicts_with = "run")]
        file: Option<PathBuf>,
        /// The experiment of this run
        #[arg(long, requires = "name")]
        run: Option<String>,
        /// Under this name
        #[arg(long, requires = "run")]
        name: Option<String>,
        /// With this title (default: that of the experiment)
        #[arg(long, requires = "run")]
        title: Option<String>,
    },
    /// Import an experiment of the Chaos Toolkit, wholly or not at all
    Import(template_import::Import),
    /// Forget one of your own
    Remove {
        /// Its name
        name: String,
    },
}

/// A template with values.
#[derive(clap::Args)]
pub(crate) struct Fill {
    /// Its name
    name: String,
    /// A parameter; the others have their defaults
    #[arg(long, value_name = "K=V", value_parser = key_value)]
    var: Vec<(String, String)>,
    /// On which cluster, when there are several
    #[arg(long)]
    cluster: Option<ClusterName>,
}

impl Fill {
    fn request(self, force: bool) -> (String, FillTemplate) {
        (self.name, FillTemplate { values: self.var.into_iter().collect(), cluster: self.cluster, force })
    }
}

pub(crate) async fn run(command: Template, connect: &Connect) -> anyhow::Result<Outcome> {
    let client = || connect::client(connect);
    match command {
        Template::Import(import) => template_import::run(import, connect).await,
        Template::List => list(&client().await?.templates().await?, connect.json),
        Template::Show { name } => show(&client().await?.template(&name).await?, connect.json),
        Template::Preview(fill) => {
            let (name, fill) = fill.request(false);
            preview(&client().await?.preview_template(&name, &fill).await?, connect.json)
        }
        Template::Start { fill, report, force } => {
            let client = client().await?;
            let (name, fill) = fill.request(force);
            let run = client.start_template(&name, &fill).await?.run;
            let done = follow_to_the_end(&client, &run).await?;
            if let Some(directory) = &report {
                write_report(&client, &done, directory).await?;
            }
            print(&done, connect.json)
        }
        Template::Save { file, run, name, title } => {
            let save = match file {
                Some(file) => SaveTemplate::File {
                    yaml: std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?,
                },
                None => {
                    SaveTemplate::Run { run: run_id(&run.unwrap_or_default()), name: name.unwrap_or_default(), title }
                }
            };
            show(&client().await?.save_template(&save).await?, connect.json)
        }
        Template::Remove { name } => {
            client().await?.remove_template(&name).await?;
            output::text(&format!("template {name} is removed"));
            Ok(Outcome::done())
        }
    }
}

fn list(all: &[TemplateEntry], json: bool) -> anyhow::Result<Outcome> {
    if json {
        output::json(&all)?;
        return Ok(Outcome::done());
    }
    let row = |entry: &TemplateEntry| {
        let template = &entry.template;
        let parameters: Vec<&str> = template.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        let whose = if entry.shipped { "shipped" } else { "own" };
        vec![template.name.clone(), template.title.clone(), parameters.join(", "), whose.to_owned()]
    };
    output::table(&["TEMPLATE", "TITLE", "PARAMETERS", ""], all.iter().map(row).collect())?;
    Ok(Outcome::done())
}

fn show(entry: &TemplateEntry, json: bool) -> anyhow::Result<Outcome> {
    if json {
        output::json(entry)?;
        return Ok(Outcome::done());
    }
    let Kept { name, title, about, outage, parameters, experiment } = &entry.template;
    output::text(&format!("{name}: {title}\n\n{}", about.trim()));
    if let Some(Outage { who, date, sources, happened, resilient, differs }) = outage {
        output::text(&format!(
            "\nWhat happened ({who}, {date})\n  {}\nWhat a resilient system shows\n  {}\nHow this differs\n  {}\nTold at\n  {}",
            happened.trim(),
            resilient.trim(),
            differs.trim(),
            sources.join("\n  ")
        ));
    }
    if !parameters.is_empty() {
        output::text("");
        let rows = parameters.iter().map(|one| {
            vec![one.name.clone(), one.kind.describe(), one.default.clone().unwrap_or_default(), one.about.clone()]
        });
        output::table(&["PARAMETER", "VALUES", "DEFAULT", "WHAT"], rows.collect())?;
    }
    output::text(&format!("\n{}", experiment.trim_end()));
    Ok(Outcome::done())
}

fn preview(preview: &TemplatePreview, json: bool) -> anyhow::Result<Outcome> {
    if json {
        output::json(preview)?;
        return Ok(Outcome::done());
    }
    output::text(&format!("{}\non cluster {}, now:", preview.yaml.trim_end(), preview.cluster));
    let rows = preview.attacks.iter().map(|attack| {
        let hosts: Vec<&str> = attack.hosts.iter().map(firedrill_model::HostName::as_str).collect();
        let place = attack.obstacle.as_ref().map_or_else(|| hosts.join(", "), |why| format!("nowhere: {why}"));
        vec![attack.fault.to_string(), attack.duration.to_string(), place]
    });
    output::table(&["ATTACK", "FOR", "ON"], rows.collect())?;
    Ok(Outcome::done())
}
