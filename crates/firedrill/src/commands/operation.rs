//! `firedrill operation`.

use crate::args::{Connect, Operation};
use crate::exit::Outcome;
use crate::{connect, output};
use serde_json::json;

pub(crate) async fn run(command: Operation, connect: &Connect) -> anyhow::Result<Outcome> {
    let client = connect::client(connect).await?;
    match command {
        Operation::List { cluster } => {
            let operations = client.operations(cluster.as_ref()).await?;
            if connect.json {
                output::json(&operations)?;
            } else {
                output::table(&["OPERATION", "KIND", "OF", "WITH", "STATE", "TOOK", "CAUSE"], rows(&operations))?;
            }
        }
        Operation::Show { id } => {
            let operation = client.operation(&Operation::id(&id)).await?;
            if connect.json {
                output::json(&operation)?;
            } else {
                show(&operation)?;
            }
        }
        Operation::Cancel { id, cluster } => {
            let cluster = connect::cluster(&client, cluster).await?;
            client.request(&cluster, &json!({"request": "cancel", "operation": id})).await?;
            output::text(&format!("{id} is being given up"));
        }
    }
    Ok(Outcome::done())
}

fn rows(operations: &[firedrill_model::Operation]) -> Vec<Vec<String>> {
    operations
        .iter()
        .map(|operation| {
            vec![
                operation.id.to_string(),
                operation.kind.to_string(),
                operation.subject.to_string(),
                operation.partner.as_ref().map_or_else(String::new, ToString::to_string),
                output::name(&operation.state),
                operation.ended.map_or_else(|| "…".to_owned(), |ended| ended.since(operation.began).to_string()),
                operation.cause.clone(),
            ]
        })
        .collect()
}

fn show(operation: &firedrill_model::Operation) -> anyhow::Result<()> {
    output::table(
        &["OPERATION", "KIND", "OF", "WITH", "STATE", "TOOK", "CAUSE"],
        rows(std::slice::from_ref(operation)),
    )?;
    if let Some(reason) = &operation.reason {
        output::text(&format!("\n{reason}"));
    }
    output::text("");
    let steps = operation.steps.iter().map(|step| {
        vec![
            step.phase.to_string(),
            step.host.as_ref().map_or_else(|| "keeper".to_owned(), ToString::to_string),
            output::name(&step.state),
            format!("+{}", step.began.since(operation.began)),
            step.ended.map_or_else(|| "…".to_owned(), |ended| ended.since(step.began).to_string()),
            step.title.clone(),
            step.log.join(" | "),
        ]
    });
    output::table(&["PHASE", "AT", "STATE", "BEGAN", "TOOK", "STEP", "LOG"], steps.collect())
}
