//! Connection limit: of the TCP connections that are opened only so many get through.

use super::filtered::{Filtered, Plan};
use super::ramp::Course;
use super::traffic::{Connections, ProtocolName, Traffic};
use crate::kinds::{Asked, Checking, Kind};
use crate::network;
use crate::shape::Parameters;
use firedrill_host::nft::{self, Above, Hook, Verdict};
use schemars::JsonSchema;
use serde::Deserialize;

/// Of the TCP connections that are opened, only so many at a time or in a second get through; the others are refused, or
/// their first packets vanish. Connections that were open before stay, and do not count. Each port and each network
/// that is named is counted by itself. It is what a full backlog, a limit of a firewall or a connection storm do.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ConnectionLimit {
    /// So many may be open at a time of those that are opened from now on; 0: none gets through. Turns connection tracking on
    /// where it is off.
    connections: Option<u32>,
    /// So many may be opened in a second, and as many at once.
    per_second: Option<u32>,
    /// Which connections: those that others open to this host, or those that this host opens.
    #[serde(default)]
    opened: Opened,
    /// What the others meet: `refused` (a reset, programs fail at once) or `silent` (they wait for their time-out).
    #[serde(default)]
    failure: LimitFailure,
    #[serde(flatten)]
    traffic: Traffic,
}

/// Who opens a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Opened {
    #[default]
    ToHere,
    FromHere,
}

/// What happens to the connections above the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum LimitFailure {
    #[default]
    Refused,
    Silent,
}

/// What a kernel counts without growing slow.
const LIMIT_MAX: u32 = 1_000_000;

impl ConnectionLimit {
    fn above(&self) -> Result<Above, String> {
        match (self.connections, self.per_second) {
            (Some(count), None) if count <= LIMIT_MAX => Ok(Above::Connections(count)),
            (None, Some(rate)) if (1..=LIMIT_MAX).contains(&rate) => Ok(Above::PerSecond(rate)),
            (None, None) | (Some(_), Some(_)) => Err("give either `connections` or `per_second`".to_owned()),
            _ => Err(format!("a limit is at most {LIMIT_MAX}, and at least 1 in a second")),
        }
    }

    /// The limit in words.
    fn asked(&self) -> String {
        match (self.connections, self.per_second) {
            (Some(count), _) => format!("at most {count} at a time"),
            (None, rate) => format!("at most {} in a second", rate.unwrap_or_default()),
        }
    }
}

impl Parameters for ConnectionLimit {
    fn check(&self) -> Result<(), String> {
        self.above()?;
        if self.traffic.protocol.is_some_and(|name| name != ProtocolName::Tcp) {
            return Err("only TCP has connections; leave `protocol` out or say tcp".to_owned());
        }
        self.traffic.check()
    }

    fn cuts_off(&self, _lease: firedrill_model::Span) -> bool {
        self.connections == Some(0) && !self.traffic.spares_agent()
    }
}

pub(crate) static KIND: Kind = network::kind::<ConnectionLimit>(
    ("connection-limit", "Of new TCP connections only so many get through."),
    mechanism,
    preflight,
);

fn mechanism() -> Result<String, String> {
    let tries = |above| nft::attempt_above(Hook::Input, Verdict::Reset, Some(above));
    let connections = tries(Above::Connections(1));
    match (connections, tries(Above::PerSecond(1))) {
        (Ok(()), Ok(())) => Ok("an nftables table that its holder owns and leases".to_owned()),
        (Err(_), Ok(())) => {
            Ok("an nftables table that its holder owns and leases; only `per_second`: modprobe nft_connlimit for the other"
                .to_owned())
        }
        (_, Err(problem)) => Err(format!("this kernel's nftables cannot limit (modprobe nft_limit): {}", problem.full())),
    }
}

fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let wanted: ConnectionLimit = asked.parameters()?;
        let above = wanted.above().map_err(crate::kinds::Refusal)?;
        let text = wanted.asked();
        let traffic = Traffic { protocol: Some(ProtocolName::Tcp), connections: Connections::New, ..wanted.traffic };
        let (verdict, done) = match wanted.failure {
            LimitFailure::Refused => (Verdict::Reset, "refused"),
            LimitFailure::Silent => (Verdict::Drop, "dropped"),
        };
        let plan = Plan {
            hooks: vec![if wanted.opened == Opened::ToHere { Hook::Input } else { Hook::Output }],
            verdict,
            course: Course::EVERY,
            description: format!("connections opened above a limit {done}"),
            judge: Box::new(move |seen| seen.struck(&text, done)),
        };
        Filtered::prepare_above(&asked, &traffic, plan, Some(above)).await
    })
}

#[cfg(test)]
mod tests {
    use crate::shape::check_fault;
    use firedrill_model::Fault;

    #[test]
    fn there_is_one_limit() {
        let check = |fault: Fault| check_fault(&fault).is_ok();
        let fault = || Fault::new("connection-limit");
        assert!(!check(fault()));
        assert!(!check(fault().with("connections", 5).with("per_second", 5)));
        assert!(!check(fault().with("per_second", 0)));
        assert!(!check(fault().with("connections", 5).with("protocol", "udp")));
        assert!(check(fault().with("connections", 0)));
        assert!(check(fault().with("per_second", 10).with("local_ports", vec![3306])));
    }
}
