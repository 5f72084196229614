//! `firedrill halt` and `firedrill resume`.

use crate::args::Connect;
use crate::exit::{Outcome, TOOL_ERROR};
use crate::{connect, output};
use firedrill_model::attack::AttackState;

pub(crate) async fn halt(reason: &str, connect: &Connect) -> anyhow::Result<Outcome> {
    let halted = connect::client(connect).await?.halt(reason).await?;
    let out = halted.attacks.iter().filter(|attack| attack.state == AttackState::Undone).count();
    let stuck = halted.attacks.iter().any(|attack| attack.state == AttackState::UndoFailed);
    if connect.json {
        output::json(&halted)?;
    } else {
        output::text(&format!(
            "halted in {}: {} runs stopped, {out} attacks taken out; new starts are blocked until `firedrill resume`",
            halted.took,
            halted.runs.len(),
        ));
        for attack in halted.attacks.iter().filter(|attack| attack.state == AttackState::UndoFailed) {
            eprintln!("NOT taken out on {}: {}: {}", attack.host, attack.fault, attack.evidence);
        }
        for host in &halted.unreachable {
            eprintln!(
                "{host} could not be reached; its agent takes its faults out by itself at the end of their lease"
            );
        }
    }
    Ok(if stuck { Outcome(TOOL_ERROR) } else { Outcome::done() })
}

pub(crate) async fn resume(reason: &str, connect: &Connect) -> anyhow::Result<Outcome> {
    connect::client(connect).await?.resume(reason).await?;
    if !connect.json {
        output::text("starts are allowed again");
    }
    Ok(Outcome::done())
}
