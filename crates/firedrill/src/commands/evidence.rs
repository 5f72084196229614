//! `firedrill evidence`.

use crate::args::Connect;
use crate::exit::Outcome;
use crate::{connect, output};
use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use firedrill_api::client::{EvidenceFormat, EvidenceQuery};
use firedrill_model::ClusterName;
use firedrill_schedule::Zone;
use std::path::PathBuf;

#[derive(Subcommand)]
pub(crate) enum EvidenceCommand {
    /// Write the document of a period
    Export(Export),
}

#[derive(Args)]
pub(crate) struct Export {
    /// From this day, or day and time, on
    #[arg(long, value_name = "TIME")]
    from: String,
    /// Until this day and time; a day is included
    #[arg(long, value_name = "TIME")]
    to: String,
    /// Only of this cluster (default: of all)
    #[arg(long)]
    cluster: Option<ClusterName>,
    /// By the clock of this zone
    #[arg(long, default_value = "UTC")]
    zone: Zone,
    /// In which form; --json means json
    #[arg(long, value_enum, default_value_t = Form::Html)]
    format: Form,
    /// Where to (default: standard output)
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Form {
    /// One page that needs nothing else; print it to PDF
    Html,
    /// One row for each run
    Csv,
    /// All values
    Json,
}

pub(crate) async fn run(command: EvidenceCommand, connect: &Connect) -> anyhow::Result<Outcome> {
    let EvidenceCommand::Export(Export { from, to, cluster, zone, format, output: file }) = command;
    let client = connect::client(connect).await?;
    let format = match format {
        _ if connect.json => EvidenceFormat::Json,
        Form::Html => EvidenceFormat::Html,
        Form::Csv => EvidenceFormat::Csv,
        Form::Json => EvidenceFormat::Json,
    };
    let text = client.evidence(&EvidenceQuery { from, to, cluster, zone: Some(zone), format }).await?;
    match file {
        Some(path) => {
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        None => output::text(&text),
    }
    Ok(Outcome::done())
}
