//! Commands and answers in words, for the steps that people read.

use firedrill_model::command::Route;
use firedrill_model::{NodeCommand, NodeReply};

pub(crate) fn command_title(command: &NodeCommand) -> String {
    match command {
        NodeCommand::Fence { node } => format!("fence {node}: kill its server process and keep it down"),
        NodeCommand::StopReceiving { node } => format!("stop receiving on {node} and read what it holds"),
        NodeCommand::Drain { node, until } => format!("let {node} apply all it has received, up to {until}"),
        NodeCommand::CatchUp { node, source, until } => format!("let {node} fetch from {source} up to {until}"),
        NodeCommand::Open { node, semi_sync } => {
            format!("open {node} for writes{}", if *semi_sync { ", lossless" } else { "" })
        }
        NodeCommand::CloseWrites { node } => format!("close {node} for writes and cut its sessions"),
        NodeCommand::ReopenWrites { node } => format!("open {node} for writes again"),
        NodeCommand::Follow { node, source, acker } => {
            format!("let {node} follow {source}{}", if *acker { " and acknowledge" } else { "" })
        }
        NodeCommand::SetAcker { node, on: true } => format!("let {node} acknowledge writes"),
        NodeCommand::SetAcker { node, on: false } => format!("let {node} no longer acknowledge writes"),
        NodeCommand::Start { node } => format!("start {node} read-only"),
        NodeCommand::Recover { node } => format!("start {node} read-only, with all that its binary log holds"),
        NodeCommand::Capture { node, .. } => format!("set logs and state of {node} aside"),
        NodeCommand::ListTransactions { node, ranges } => {
            let ranges: Vec<String> = ranges.iter().map(|(first, last)| format!("{first}..{last}")).collect();
            format!("list the transactions {} that only {node} has", ranges.join(", "))
        }
        NodeCommand::CloneReceive { node, .. } => format!("prepare {node} to take a copy in, beside its own data"),
        NodeCommand::CloneSend { node, to, .. } => format!("copy {node} to {to}"),
        NodeCommand::ClonePrepare { node, .. } => format!("make the copy on {node} consistent"),
        NodeCommand::CloneActivate { node, seed, .. } => {
            format!("move the copy on {node} into place at {seed} and start it")
        }
        NodeCommand::CloneFinish { node, .. } => format!("remove the old data that {node} kept aside"),
        NodeCommand::CloneAbort { node, .. } => format!("stop the copy on {node} and clean up"),
        NodeCommand::AwaitPosition { node, until } if until.is_empty() => format!("ask {node} where it stands"),
        NodeCommand::AwaitPosition { node, until } => format!("wait until {node} has applied {until}"),
        NodeCommand::Fingerprint { node } => format!("fingerprint the tables of {node}"),
        NodeCommand::Route { route: Route::Hold, .. } => "let the gateway hold connections".to_owned(),
        NodeCommand::Route { route: Route::Primary { node, .. }, .. } => {
            format!("let the gateway send connections to {node}")
        }
    }
}

pub(crate) fn reply_lines(reply: &NodeReply) -> Vec<String> {
    match reply {
        NodeReply::Done => Vec::new(),
        NodeReply::Fenced { killed: true } => vec!["the process was running and was killed".to_owned()],
        NodeReply::Fenced { killed: false } => vec!["the process had already ended".to_owned()],
        NodeReply::Position { received, applied } => vec![format!("received {received}, applied {applied}")],
        NodeReply::Started { binlog_state, position } => {
            vec![format!("started at {position}; its binary log holds {binlog_state}")]
        }
        NodeReply::Captured { directory, log_tail } => {
            std::iter::once(format!("set aside in {directory}")).chain(log_tail.iter().cloned()).collect()
        }
        NodeReply::Transactions { listed, total } => std::iter::once(format!("{total} transactions"))
            .chain(listed.iter().map(|one| format!("{} {} {}", one.gtid, one.at, one.text)))
            .collect(),
        NodeReply::Listening { at, .. } => vec![format!("listening on {at}")],
        NodeReply::Copied { bytes, took } => vec![format!("{bytes} bytes in {took}")],
        NodeReply::Prepared { position } => vec![format!("the copy ends at {position}")],
        NodeReply::Fingerprint(print) => vec![format!("{} tables at {}", print.tables.len(), print.position)],
    }
}
