//! `firedrill cluster`.

use crate::args::{Cluster, Connect};
use crate::exit::Outcome;
use crate::{connect, output};
use anyhow::Context;
use firedrill_api::client::{Client, TimelineQuery};
use firedrill_api::cluster_file;
use firedrill_api::http::Live;
use firedrill_model::{ClusterName, ClusterView};
use futures_util::StreamExt;
use serde_json::{Value, json};

pub(crate) async fn run(command: Cluster, connect: &Connect) -> anyhow::Result<Outcome> {
    let client = connect::client(connect).await?;
    match command {
        Cluster::List => {
            let clusters = client.clusters().await?;
            if connect.json {
                output::json(&clusters)?;
            } else {
                list(&clusters)?;
            }
        }
        Cluster::Show { cluster } => {
            let name = connect::cluster(&client, cluster).await?;
            print(&client.cluster(&name).await?, connect.json)?;
        }
        Cluster::Register { file } => {
            let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let cluster = cluster_file::read(&text).with_context(|| file.display().to_string())?;
            print(&client.register_cluster(&cluster).await?, connect.json)?;
        }
        Cluster::Watch { cluster } => watch(&client, cluster, connect.json).await?,
        Cluster::Promote { cluster, to, without_proof } => {
            let request = json!({"request": "promote", "to": to, "without_proof": without_proof});
            ask(&client, cluster, request, connect.json).await?;
        }
        Cluster::Switchover { cluster, to } => {
            ask(&client, cluster, json!({"request": "switchover", "to": to}), connect.json).await?;
        }
        Cluster::Clone { node, donor, cluster } => {
            ask(&client, cluster, json!({"request": "clone", "node": node, "donor": donor}), connect.json).await?;
        }
        Cluster::Rejoin { node, cluster } => {
            ask(&client, cluster, json!({"request": "rejoin", "node": node}), connect.json).await?;
        }
    }
    Ok(Outcome::done())
}

async fn ask(client: &Client, cluster: Option<ClusterName>, request: Value, json: bool) -> anyhow::Result<()> {
    let cluster = connect::cluster(client, cluster).await?;
    let accepted = client.request(&cluster, &request).await?;
    if json {
        output::json(&accepted)?;
    } else if let Some(operation) = accepted.operation {
        output::text(&format!("{operation} has begun; follow it with `firedrill operation show {operation}`"));
    }
    Ok(())
}

async fn watch(client: &Client, cluster: Option<ClusterName>, json: bool) -> anyhow::Result<()> {
    let name = connect::cluster(client, cluster).await?;
    print(&client.cluster(&name).await?, json)?;
    let query = TimelineQuery { cluster: Some(name), ..TimelineQuery::default() };
    let mut events = client.events(&query).await?;
    while let Some(message) = events.next().await {
        match message?.live {
            Live::Cluster { view } => {
                output::text("");
                print(&view, json)?;
            }
            Live::Timeline { event } => eprintln!("{}", event.text),
            _ => {}
        }
    }
    Ok(())
}

fn list(clusters: &[ClusterView]) -> anyhow::Result<()> {
    let rows = clusters.iter().map(|view| {
        vec![
            view.cluster.to_string(),
            view.primary.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string),
            view.nodes.len().to_string(),
            if view.fully_redundant { "yes".into() } else { "no".into() },
            view.problems.first().cloned().unwrap_or_default(),
        ]
    });
    output::table(&["CLUSTER", "PRIMARY", "NODES", "REDUNDANT", "PROBLEM"], rows.collect())
}

fn print(view: &ClusterView, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(view);
    }
    output::text(&format!(
        "{} {}: primary {}, gateway to {}{}",
        view.cluster,
        view.generation,
        view.primary.as_ref().map_or("being chosen", |node| node.as_str()),
        view.route.as_ref().map_or("nobody (holding)", |node| node.as_str()),
        if view.fully_redundant { ", all well" } else { "" },
    ));
    for problem in &view.problems {
        output::text(&format!("! {problem}"));
    }
    let rows = view.nodes.iter().map(|node| {
        vec![
            node.name.to_string(),
            node.region.to_string(),
            node.role.to_string(),
            node.health.to_string(),
            node.behind.map_or_else(String::new, |behind| behind.to_string()),
            if node.acker { "acker".into() } else { String::new() },
            node.reason.clone(),
        ]
    });
    output::table(&["NODE", "REGION", "ROLE", "HEALTH", "BEHIND", "ACKER", "WHY"], rows.collect())
}
