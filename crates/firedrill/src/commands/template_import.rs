//! `firedrill template import`.

use crate::args::{Connect, key_value};
use crate::exit::Outcome;
use crate::{connect, output};
use anyhow::Context;
use firedrill_api::chaos_toolkit::{self, Choices, Import as Imported, Part};
use firedrill_api::client::ClientError;
use firedrill_api::http::{ImportExperiment, Problem};
use firedrill_model::Selector;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The page of what cannot be imported; the server has the same.
const CODE: &str = "S023";

/// An experiment of the Chaos Toolkit.
#[derive(clap::Args)]
pub(crate) struct Import {
    /// A file of the Chaos Toolkit, JSON or YAML
    file: PathBuf,
    /// The template's name (default: made from the title)
    #[arg(long)]
    name: Option<String>,
    /// The hosts of every step that needs some, such as role=primary
    #[arg(long, value_name = "SELECTOR")]
    target: Option<Selector>,
    /// The hosts of one step, by the name of its activity; may be repeated
    #[arg(long, value_name = "ACTIVITY=SELECTOR", value_parser = activity)]
    target_of: Vec<(String, Selector)>,
    /// Only say what would become of it; needs no server
    #[arg(long)]
    dry_run: bool,
}

fn activity(text: &str) -> Result<(String, Selector), String> {
    let (name, selector) = key_value(text)?;
    Ok((name, selector.parse().map_err(|problem: firedrill_model::selector::SelectorError| problem.to_string())?))
}

pub(crate) async fn run(import: Import, connect: &Connect) -> anyhow::Result<Outcome> {
    let Import { file, name, target, target_of, dry_run } = import;
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let targets: BTreeMap<String, Selector> = target_of.into_iter().collect();
    let choices = Choices { name: name.clone(), target: target.clone(), targets: targets.clone() };
    let read = chaos_toolkit::import(&text, &choices, firedrill_fault::check);
    if connect.json {
        output::json(&read)?;
    } else {
        output::text(&shown(&read));
    }
    if read.template.is_none() {
        let problem = Problem { code: CODE.to_owned(), message: read.refusal(), refused: false };
        return Err(ClientError::from(problem).into());
    }
    if !dry_run {
        let asked = ImportExperiment { text, name, target, targets, dry_run };
        let kept = connect::client(connect).await?.import_experiment(&asked).await?;
        let name = kept.template.map(|template| template.name).unwrap_or_default();
        eprintln!("template {name} is kept; `firedrill template preview {name}` shows what it would strike now");
    }
    Ok(Outcome::done())
}

/// What each part became, and the template.
fn shown(import: &Imported) -> String {
    let part = |part: &Part| {
        let notes: Vec<String> = part.notes.iter().map(|note| format!("\n    ({note})")).collect();
        format!("{} {:?}: {}\n    -> {}{}\n", part.place, part.name, part.was, part.became, notes.concat())
    };
    let mut text: String = import.parts.iter().map(part).collect();
    if let Some(template) = &import.template {
        text.push_str(&format!("\n{}: {}\n", template.name, template.title));
        for one in &template.parameters {
            let default =
                one.default.as_ref().map_or_else(|| "must be given".to_owned(), |text| format!("default {text}"));
            text.push_str(&format!("    --var {}=… ({}; {default})\n", one.name, one.kind.describe()));
        }
        text.push_str(&format!("\n{}", template.experiment));
    }
    text
}
