//! Templates: those that ship, and those that people have saved; previewed and started.
//!
//! **Where to begin**: [`preview`], which does everything but start.

mod library;

use crate::access::{self, Acting};
use crate::guards::approvals;
use crate::problem::{EMPTY_TARGET, IMPORT, MALFORMED, not_found, problem, refusal, store_failed};
use crate::server::Server;
use crate::{attacks, clock, experiment};
use firedrill_api::chaos_toolkit::{self, Choices, Import};
use firedrill_api::http::{
    FillTemplate, ImportExperiment, PlannedAttack, Problem, RunStarted, SaveTemplate, StartRun, TemplateEntry,
    TemplatePreview,
};
use firedrill_api::template_file;
use firedrill_model::experiment::{Experiment, StepSpec};
use firedrill_model::template::Template;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The name of a shipped template cannot be taken.
const SHIPPED: &str = "S022";
/// Most saved templates; the list is shown whole.
const SAVED_MAX: usize = 500;

/// All templates: those that ship first.
///
/// # Errors
/// The store cannot be read.
pub async fn list(server: &Server) -> Result<Vec<TemplateEntry>, Problem> {
    let saved = server.store.templates().await.map_err(|error| store_failed(&error))?;
    let entry = |shipped: bool| move |template: Template| TemplateEntry { shipped, template };
    Ok(library::shipped().into_iter().map(entry(true)).chain(saved.into_iter().map(entry(false))).collect())
}

/// The template of that name.
///
/// # Errors
/// There is none.
pub async fn find(server: &Server, name: &str) -> Result<TemplateEntry, Problem> {
    let all = list(server).await?;
    let names: Vec<String> = all.iter().map(|entry| entry.template.name.clone()).collect();
    let found = all.into_iter().find(|entry| entry.template.name == name);
    found.ok_or_else(|| not_found("template", format!("{name:?}"), &format!("known are: {}", names.join(", "))))
}

/// The experiment with these values, and what each attack would strike at this moment. Nothing is begun.
///
/// # Errors
/// There is no such template, or the values do not fit.
pub async fn preview(server: &Server, name: &str, fill: &FillTemplate) -> Result<TemplatePreview, Problem> {
    let template = find(server, name).await?.template;
    let filled = template_file::fill_in(&template, &fill.values, firedrill_fault::check);
    let (yaml, experiment) = filled.map_err(|wrong| problem(MALFORMED, wrong.to_string()))?;
    let start = start_of(yaml.clone(), fill);
    let cluster = experiment::cluster(server, &experiment, &start)?.spec.name;
    let mut attacks = Vec::new();
    for attack in attacks_of(&experiment) {
        let (hosts, obstacle) = match attacks::targets(server, &cluster, attack).await {
            Ok(hosts) => (hosts, None),
            Err(why) => (Vec::new(), Some(why.message)),
        };
        attacks.push(PlannedAttack { fault: attack.fault.clone(), duration: attack.duration, hosts, obstacle });
    }
    Ok(TemplatePreview { yaml, cluster, attacks })
}

/// The text of the experiment with these values.
///
/// # Errors
/// There is no such template, or the values do not fit.
pub(crate) async fn filled(server: &Server, name: &str, values: &BTreeMap<String, String>) -> Result<String, Problem> {
    let template = find(server, name).await?.template;
    let filled = template_file::fill_in(&template, values, firedrill_fault::check);
    Ok(filled.map_err(|wrong| problem(MALFORMED, wrong.to_string()))?.0)
}

/// Starts the experiment with these values for that person, past the same guards as any other.
///
/// # Errors
/// As [`preview`]; they may not; a guard refuses.
pub(crate) async fn start(
    server: Arc<Server>,
    name: &str,
    fill: &FillTemplate,
    acting: &Acting,
) -> Result<RunStarted, Problem> {
    let preview = preview(&server, name, fill).await?;
    let start = start_of(preview.yaml, fill);
    access::may_start_run(&server, acting, &start).await?;
    if let Some(PlannedAttack { fault, obstacle: Some(why), .. }) = preview.attacks.first() {
        return Err(problem(EMPTY_TARGET, format!("template {name}: {} would strike nothing: {why}", fault.kind)));
    }
    approvals::start_run(server, start, &access::by()).await
}

/// Keeps a template of one's own: a file's text, or the experiment of a past run.
///
/// # Errors
/// It is not well-formed, its name is that of a shipped one, or there are too many.
pub async fn save(server: &Server, save: &SaveTemplate) -> Result<TemplateEntry, Problem> {
    let template = match save {
        SaveTemplate::File { yaml } => template_file::read(yaml, firedrill_fault::check)
            .map_err(|wrong| problem(MALFORMED, format!("the template is not understood: {wrong}")))?,
        SaveTemplate::Run { run, name, title } => {
            let report = server.store.run(run).await.map_err(|error| store_failed(&error))?;
            let report = report.ok_or_else(|| not_found("run", run, "`firedrill experiment list` names them"))?;
            of_run(&report.experiment, name, title.as_deref())?
        }
    };
    keep(server, template).await
}

/// Imports an experiment of the Chaos Toolkit, wholly or not at all. A dry run says also of one that cannot be imported
/// what became of its parts.
///
/// # Errors
/// It cannot be imported, or not be kept under its name.
pub async fn import(server: &Server, import: &ImportExperiment) -> Result<Import, Problem> {
    let ImportExperiment { text, name, target, targets, dry_run } = import.clone();
    let read = chaos_toolkit::import(&text, &Choices { name, target, targets }, firedrill_fault::check);
    if dry_run {
        return Ok(read);
    }
    match &read.template {
        Some(template) => drop(keep(server, template.clone()).await?),
        None => return Err(problem(IMPORT, read.refusal())),
    }
    Ok(read)
}

async fn keep(server: &Server, template: Template) -> Result<TemplateEntry, Problem> {
    if library::shipped().iter().any(|shipped| shipped.name == template.name) {
        let text = format!("{} is the name of a template that ships; choose another", template.name);
        return Err(refusal(SHIPPED, text));
    }
    let saved = server.store.templates().await.map_err(|error| store_failed(&error))?;
    if saved.len() >= SAVED_MAX && !saved.iter().any(|known| known.name == template.name) {
        return Err(refusal(SHIPPED, format!("there are {SAVED_MAX} saved templates already; remove some first")));
    }
    server.store.save_template(&template, clock::now()).await.map_err(|error| store_failed(&error))?;
    Ok(TemplateEntry { shipped: false, template })
}

/// Keeps an experiment as a template of one's own without parameters, under its own name. The text stays as it was
/// written, but for its rung: the ladder is that of the library.
///
/// # Errors
/// It is not an experiment, or its name is taken.
pub(crate) async fn save_experiment(server: &Server, yaml: &str) -> Result<TemplateEntry, Problem> {
    let experiment = experiment::read(&StartRun { yaml: yaml.to_owned(), ..StartRun::default() })?;
    let mut template = of_run(&experiment, &experiment.name, None)?;
    if experiment.rung.is_none() {
        template.experiment = yaml.to_owned();
    }
    keep(server, template).await
}

/// Forgets a saved template.
///
/// # Errors
/// There is none of that name, or it ships.
pub async fn remove(server: &Server, name: &str) -> Result<(), Problem> {
    if find(server, name).await?.shipped {
        return Err(refusal(SHIPPED, format!("{name} ships with firedrill and cannot be removed")));
    }
    server.store.remove_template(name).await.map_err(|error| store_failed(&error))?;
    Ok(())
}

fn of_run(experiment: &Experiment, name: &str, title: Option<&str>) -> Result<Template, Problem> {
    let experiment = Experiment { name: name.to_owned(), rung: None, ..experiment.clone() };
    let yaml = template_file::text_of(&experiment).map_err(|wrong| problem(MALFORMED, wrong))?;
    let template = Template {
        name: name.to_owned(),
        title: title.unwrap_or(&experiment.title).to_owned(),
        about: experiment.hypothesis.clone(),
        outage: None,
        parameters: Vec::new(),
        experiment: yaml,
    };
    match template.problems().first() {
        Some(wrong) => Err(problem(MALFORMED, wrong.clone())),
        None => Ok(template),
    }
}

/// The run that a template with its values is.
pub(crate) fn start_of(yaml: String, fill: &FillTemplate) -> StartRun {
    StartRun { yaml, cluster: fill.cluster.clone(), force: fill.force, ..StartRun::default() }
}

fn attacks_of(experiment: &Experiment) -> impl Iterator<Item = &firedrill_model::experiment::AttackStep> {
    experiment.steps.iter().filter_map(|step| match step {
        StepSpec::Attack(attack) => Some(attack.as_ref()),
        _ => None,
    })
}
