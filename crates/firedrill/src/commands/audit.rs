//! `firedrill audit`.

use crate::args::Connect;
use crate::exit::Outcome;
use crate::people_args::Audit;
use crate::{connect, output};
use anyhow::Context;
use firedrill_api::access::{AuditEntry, AuditRecord, Verified};
use firedrill_api::client::Client;
use firedrill_server::access::audit::Check;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

/// The log is not as it was written.
const BROKEN: u8 = 1;
/// Entries fetched at once: the most that one answer holds.
const PAGE_ROWS: u32 = 1000;

pub(crate) async fn run(command: Audit, connect: &Connect) -> anyhow::Result<Outcome> {
    match command {
        Audit::List { limit } => list(&connect::client(connect).await?, limit, connect.json).await?,
        Audit::Export { output } => export(&connect::client(connect).await?, output.as_deref()).await?,
        Audit::Verify { file: Some(file), head } => return verdict(&of_file(&file, head.as_deref())?, connect.json),
        Audit::Verify { file: None, head: None } => {
            return verdict(&(connect::client(connect).await?.verify_audit().await?, true), connect.json);
        }
        Audit::Verify { file: None, head } => {
            let entries = all(&connect::client(connect).await?).await?;
            return verdict(&check(entries.iter(), head.as_deref()), connect.json);
        }
    }
    Ok(Outcome::done())
}

async fn list(client: &Client, limit: u32, json: bool) -> anyhow::Result<()> {
    let entries = client.audit(None, limit).await?;
    if json {
        return output::json(&entries);
    }
    let rows = entries.iter().map(|entry| match serde_json::from_str::<AuditRecord>(&entry.entry) {
        Ok(AuditRecord { at, who, from, call, outcome, detail }) => {
            vec![entry.sequence.to_string(), output::moment(at), who, from, call, output::name(&outcome), detail]
        }
        Err(_) => vec![entry.sequence.to_string(), "not understood".to_owned(), entry.entry.clone()],
    });
    output::table(&["ENTRY", "AT", "WHO", "FROM", "CALL", "OUTCOME", "DETAIL"], rows.collect())
}

async fn all(client: &Client) -> anyhow::Result<Vec<AuditEntry>> {
    let mut entries: Vec<AuditEntry> = Vec::new();
    loop {
        let after = entries.last().map_or(0, |entry| entry.sequence);
        let page = client.audit(Some(after), PAGE_ROWS).await?;
        if page.is_empty() {
            return Ok(entries);
        }
        entries.extend(page);
    }
}

async fn export(client: &Client, to: Option<&Path>) -> anyhow::Result<()> {
    let entries = all(client).await?;
    let mut out: Box<dyn Write> = match to {
        Some(path) => {
            let file = std::fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
            Box::new(BufWriter::new(file))
        }
        None => Box::new(std::io::stdout().lock()),
    };
    for entry in &entries {
        serde_json::to_writer(&mut out, entry)?;
        writeln!(out)?;
    }
    out.flush()?;
    eprintln!("{} entries; the last has the hash {}", entries.len(), entries.last().map_or("", |entry| &entry.hash));
    Ok(())
}

/// What a check came to, and whether the head that was asked for is in the chain.
type Checked = (Verified, bool);

fn check<'a>(entries: impl Iterator<Item = &'a AuditEntry>, head: Option<&str>) -> Checked {
    let mut check = Check::default();
    let mut held = head.is_none();
    for entry in entries {
        check.next(entry);
        held |= head == Some(entry.hash.as_str());
    }
    (check.finish(), held)
}

fn of_file(path: &Path, head: Option<&str>) -> anyhow::Result<Checked> {
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut entries = Vec::new();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let entry: AuditEntry = serde_json::from_str(&line?)
            .with_context(|| format!("{}:{} is no entry of an audit log", path.display(), number + 1))?;
        entries.push(entry);
    }
    Ok(check(entries.iter(), head))
}

fn verdict((verified, head_held): &Checked, json: bool) -> anyhow::Result<Outcome> {
    if json {
        output::json(verified)?;
    } else {
        output::text(&format!("{} entries hold together; head {}", verified.entries, verified.head));
    }
    if let Some(broken) = &verified.broken {
        eprintln!("BROKEN at entry {}: {}; nothing from there on can be trusted", broken.sequence, broken.why);
    }
    if !head_held {
        eprintln!("the head that was noted is NOT in the log: it was cut off or written anew");
    }
    Ok(if verified.broken.is_none() && *head_held { Outcome::done() } else { Outcome(BROKEN) })
}
