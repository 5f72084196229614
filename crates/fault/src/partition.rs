//! Partition: packets from and to the peers vanish without an answer, one way or both.
//!
//! Dropped where interfaces receive and send (netdev hooks), so that no program on this host learns of it: a send
//! succeeds, as it does when a cable is cut far away.

use crate::journal::Undo;
use crate::kinds::{Asked, Checking, Effect, Mechanism, Pending, Refusal};
use crate::network::{self, ANSWERED_WITHIN, Others};
use crate::probe;
use firedrill_host::HostError;
use firedrill_host::nft::{Count, Definition, Hook, OwnerTable, Verdict};
use firedrill_model::Fault;
use firedrill_model::attack::Direction;
use std::net::SocketAddr;
use std::time::Duration;

pub(crate) fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let Fault::Partition { peers, direction } = &asked.fault else {
            return Err(Refusal(format!("{} is no partition", asked.fault)));
        };
        let devices = network::devices()?;
        let hooks = hooks(*direction, &devices);
        let others = Others::meet(peers, &asked.context).await?;
        let definition = Definition {
            name: network::table_name(&asked.id),
            hooks,
            peers: others.peers.clone(),
            verdict: Verdict::Drop,
        };
        Ok(Box::new(Partition { definition, others, table: None }) as Box<dyn Mechanism>)
    })
}

fn hooks(direction: Direction, devices: &[String]) -> Vec<Hook> {
    let ingress = || Hook::Ingress { devices: devices.to_vec() };
    let egress = || Hook::Egress { devices: devices.to_vec() };
    match direction {
        Direction::Both => vec![ingress(), egress()],
        Direction::Inbound => vec![ingress()],
        Direction::Outbound => vec![egress()],
    }
}

struct Partition {
    definition: Definition,
    others: Others,
    table: Option<OwnerTable>,
}

impl Mechanism for Partition {
    fn describe(&self) -> String {
        "packets dropped at the interfaces by an nftables table that its holder owns and leases".to_owned()
    }

    fn undo(&self) -> Undo {
        Undo::Table { name: self.definition.name.clone() }
    }

    fn inject(&mut self, lease: Duration) -> Pending<'_, Result<(), HostError>> {
        Box::pin(async move {
            self.table = Some(OwnerTable::create(self.definition.clone(), lease)?);
            Ok(())
        })
    }

    fn verify(&mut self) -> Pending<'_, Effect> {
        Box::pin(async {
            let Some(table) = &mut self.table else { return Effect::NotSeen("it was not put in place".to_owned()) };
            let answering = self.others.answering.iter().map(|(target, _)| *target);
            let targets: Vec<SocketAddr> = answering.chain(self.others.silent.iter().copied()).collect();
            let answers = probe::round_trips(&targets, ANSWERED_WITHIN).await;
            match table.total() {
                Ok(count) => judge(&self.others, &targets, &answers, count),
                Err(problem) => Effect::NotSeen(problem.full()),
            }
        })
    }

    fn renew(&mut self, lease: Duration) -> Result<(), String> {
        self.table.as_mut().map_or(Ok(()), |table| table.renew(lease).map_err(|problem| problem.to_string()))
    }
}

/// The effect is there when nobody answers and packets were seen to be dropped.
fn judge(others: &Others, targets: &[SocketAddr], answers: &[Option<Duration>], count: Count) -> Effect {
    let dropped = count.packets;
    let answered = targets.iter().zip(answers).find(|(_, answer)| answer.is_some());
    if let Some((target, _)) = answered {
        return Effect::NotSeen(format!("{target} still answers a handshake ({dropped} packets dropped)"));
    }
    let before = others.answering.len();
    if dropped == 0 {
        return Effect::NotSeen(format!(
            "no packet was there to be dropped: {before} of {} probed endpoints had answered before",
            targets.len()
        ));
    }
    Effect::Seen(format!(
        "{before} of {} probed endpoints answered before and none does now; {dropped} packets dropped so far",
        targets.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use firedrill_host::nft::Peers;

    fn judged(answered_now: bool, packets: u64) -> Effect {
        let target = SocketAddr::from(([10, 0, 0, 2], 1));
        let others =
            Others { peers: Peers::Everybody, answering: vec![(target, Duration::from_millis(1))], silent: Vec::new() };
        let answer = answered_now.then_some(Duration::from_millis(1));
        judge(&others, &[target], &[answer], Count { packets, bytes: 0 })
    }

    #[test]
    fn silence_alone_is_no_effect_and_an_answer_refutes_it() {
        assert!(matches!(judged(false, 3), Effect::Seen(_)));
        assert!(matches!(judged(false, 0), Effect::NotSeen(_)));
        assert!(matches!(judged(true, 3), Effect::NotSeen(_)));
    }

    #[test]
    fn a_direction_is_its_hooks() {
        let devices = ["eth0".to_owned()];
        assert_eq!(hooks(Direction::Both, &devices).len(), 2);
        assert!(matches!(hooks(Direction::Inbound, &devices)[..], [Hook::Ingress { .. }]));
        assert!(matches!(hooks(Direction::Outbound, &devices)[..], [Hook::Egress { .. }]));
    }
}
