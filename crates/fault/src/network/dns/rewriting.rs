//! The mechanism that changes answers of name servers where they arrive: each is looked at and let go, changed, late or not
//! at all.

use super::datagram::Datagram;
use super::message::{self, Answer, Change, Pattern, Reply};
use crate::FaultError;
use crate::journal::Undo;
use crate::kinds::{Effect, Failure, Mechanism, Pending};
use crate::network;
use crate::network::holding::{Counts, Fate, Holding};
use firedrill_model::Span;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;

/// A name server that is asked for the first time may take this long to find out.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
/// Questions of others are waited for so long, when our own are not answered.
const MEASURED_WITHIN: Duration = Duration::from_secs(4);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Name servers that are asked at most.
const SERVERS_MAX: usize = 3;
/// A part of the delay that scheduling may take back.
const EARLY: Duration = Duration::from_millis(5);

/// What is done to answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Treatment {
    /// They are changed.
    Change(Change),
    /// They come late.
    Late(Duration),
    /// They do not come.
    Lost,
}

/// Which answers, and what is done to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    /// About these names; empty: about all.
    pub(super) names: Vec<Pattern>,
    pub(super) treatment: Treatment,
}

impl Rule {
    /// Decides on a packet; what is not understood passes.
    fn decide(&self, packet: &[u8]) -> Fate {
        let Some(datagram) = Datagram::read(packet) else { return Fate::Pass };
        let Some(answer) = Answer::read(datagram.payload) else { return Fate::Pass };
        if !self.names.is_empty() && !self.names.iter().any(|pattern| pattern.means(&answer.name)) {
            return Fate::Pass;
        }
        match &self.treatment {
            Treatment::Late(delay) => Fate::Wait(*delay),
            Treatment::Lost => Fate::Lose,
            Treatment::Change(change) => {
                let changed = answer.changed(change).and_then(|message| datagram.with(&message));
                changed.map_or(Fate::Pass, Fate::Replace)
            }
        }
    }

    /// The name to ask for in a measurement, and for which kind of address.
    fn probe(&self) -> (String, bool) {
        let wants_address = matches!(self.treatment, Treatment::Change(Change::Address(_)));
        // Any name will do to be answered with an address; this one is reserved.
        let any = if wants_address { "firedrill-probe.example.com".to_owned() } else { String::new() };
        let v6 = match &self.treatment {
            Treatment::Change(Change::Address(addresses)) => addresses.iter().all(IpAddr::is_ipv6),
            _ => false,
        };
        (self.names.first().map_or(any, Pattern::example), v6)
    }

    /// Whether a reply after that time (`None`: none came) is what was asked for.
    fn is_met(&self, reply: Option<&(Reply, Duration)>) -> bool {
        match (&self.treatment, reply) {
            (Treatment::Lost, reply) => reply.is_none(),
            (_, None) => false,
            (Treatment::Late(delay), Some((_, took))) => *took + EARLY >= *delay,
            (Treatment::Change(change), Some((reply, _))) => match change {
                Change::NoName => reply.code == 3,
                Change::ServerFailure => reply.code == 2,
                Change::Nothing => (reply.code, reply.records) == (0, 0),
                Change::Address(addresses) => reply.address.is_some_and(|address| addresses.contains(&address)),
            },
        }
    }
}

/// Changed answers, planned or in force.
pub(super) struct Rewritten {
    holding: Holding,
    rule: Rule,
    servers: Vec<IpAddr>,
    asked: String,
    /// What a name server said before, to compare with.
    before: Option<(IpAddr, Reply, Duration)>,
}

impl Rewritten {
    /// Asks the name servers before anything is done to their answers.
    pub(super) async fn prepare(holding: Holding, rule: Rule, (servers, asked): (Vec<IpAddr>, String)) -> Self {
        let mut ready = Self { holding, rule, servers, asked, before: None };
        for server in ready.servers.clone().into_iter().take(SERVERS_MAX) {
            if let Some((reply, took)) = ready.ask(server, ANSWERED_WITHIN).await {
                ready.before = Some((server, reply, took));
                break;
            }
        }
        ready
    }

    /// A question of our own; `None` when no answer came within the time.
    async fn ask(&self, server: IpAddr, within: Duration) -> Option<(Reply, Duration)> {
        const ID: u16 = 0x4644;
        let (name, v6) = self.rule.probe();
        let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let socket = UdpSocket::bind((any, 0)).await.ok()?;
        socket.connect(SocketAddr::from((server, super::DNS.first()))).await.ok()?;
        let began = Instant::now();
        let answer = async {
            socket.send(&message::question(ID, &name, v6)).await.ok()?;
            let mut buffer = [0; 1500];
            loop {
                let size = socket.recv(&mut buffer).await.ok()?;
                if let Some(reply) = Reply::read(&buffer[..size], ID) {
                    return Some((reply, began.elapsed()));
                }
            }
        };
        tokio::time::timeout(within, answer).await.ok()?
    }

    /// How long our own question may take now.
    fn answered_within(&self) -> Duration {
        match self.rule.treatment {
            Treatment::Late(delay) => delay + ANSWERED_WITHIN,
            _ => ANSWERED_WITHIN,
        }
    }

    fn told(&self, server: IpAddr, reply: Option<&(Reply, Duration)>) -> String {
        let name = Some(self.rule.probe().0).filter(|name| !name.is_empty()).unwrap_or_else(|| "the root".to_owned());
        let said = match reply {
            None => format!("no answer within {}", Span(self.answered_within())),
            Some((reply, took)) => format!("{} after {}", readable(reply), Span(*took)),
        };
        format!("asked for {}: a question for {name} to {server} now gets {said}", self.asked)
    }
}

/// `NXDOMAIN`, `10.0.0.1`, `no records`.
fn readable(reply: &Reply) -> String {
    match (reply.code, reply.address, reply.records) {
        (0, Some(address), _) => address.to_string(),
        (0, None, 0) => "no records".to_owned(),
        (0, None, count) => format!("{count} records"),
        (2, ..) => "SERVFAIL".to_owned(),
        (3, ..) => "NXDOMAIN".to_owned(),
        (5, ..) => "REFUSED".to_owned(),
        (code, ..) => format!("the code {code}"),
    }
}

impl Mechanism for Rewritten {
    fn describe(&self) -> String {
        let place = self.holding.describe();
        format!("answers over UDP changed in user space {place}, in a table that its holder owns and leases")
    }

    fn undo(&self) -> Result<Undo, FaultError> {
        network::to_undo([self.holding.name()])
    }

    fn inject(&mut self, lease: Duration) -> Pending<'_, Result<(), Failure>> {
        Box::pin(async move {
            let rule = self.rule.clone();
            self.holding.inject(lease, Box::new(move |packet, _| rule.decide(packet.contents)))
        })
    }

    fn verify(&mut self) -> Pending<'_, Effect> {
        Box::pin(async {
            let counts = || self.holding.counts().unwrap_or_default();
            if let Some((server, reply, took)) = &self.before {
                let now = self.ask(*server, self.answered_within()).await;
                let before = format!("{}, {} before", self.told(*server, now.as_ref()), readable(reply));
                let treated = counts().treated > 0;
                let met = self.rule.is_met(now.as_ref()) && treated;
                return if met {
                    Effect::Seen(before)
                } else {
                    Effect::NotSeen(format!("{before} after {}", Span(*took)))
                };
            }
            let began = Instant::now();
            loop {
                let Counts { arrived: seen, treated, .. } = counts();
                if treated > 0 {
                    return Effect::Seen(format!(
                        "asked for {}: {treated} of {seen} answers treated so far; none came to our own question",
                        self.asked
                    ));
                }
                if began.elapsed() > MEASURED_WITHIN {
                    return Effect::NotSeen(format!(
                        "none of {} name servers answered a question of our own, before or now, and {seen} answers came to \
                         others, none of them about these names",
                        self.servers.len()
                    ));
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        })
    }

    fn renew(&mut self, lease: Duration) -> Result<(), String> {
        self.holding.renew(lease)
    }
}

#[cfg(test)]
mod tests {
    use super::super::datagram::tests::datagram;
    use super::super::message::tests::answer;
    use super::*;

    fn rule(names: &[&str], treatment: Treatment) -> Rule {
        Rule { names: names.iter().map(|name| Pattern::read(name).expect("reads")).collect(), treatment }
    }

    #[test]
    fn only_answers_about_these_names_are_treated() {
        let packet = |name: &str| datagram(false, &answer(name, false));
        let lost = rule(&["*.example.com", "db.test"], Treatment::Lost);
        assert_eq!(lost.decide(&packet("a.example.com")), Fate::Lose);
        assert_eq!(lost.decide(&packet("db.test")), Fate::Lose);
        assert_eq!(lost.decide(&packet("example.com")), Fate::Pass);
        let late = rule(&[], Treatment::Late(Duration::from_secs(1)));
        assert_eq!(late.decide(&packet("anything")), Fate::Wait(Duration::from_secs(1)));
        assert_eq!(late.decide(&datagram(true, b"no answer")), Fate::Pass);
        assert_eq!(late.decide(b""), Fate::Pass, "contents that were not copied");
    }

    #[test]
    fn a_changed_answer_stays_a_datagram() {
        for v6 in [false, true] {
            let changed = rule(&[], Treatment::Change(Change::NoName)).decide(&datagram(v6, &answer("db.test", false)));
            let Fate::Replace(packet) = changed else { panic!("{changed:?}") };
            let payload = Datagram::read(&packet).expect("reads").payload;
            assert_eq!(Reply::read(payload, 7).expect("answers").code, 3);
        }
    }

    #[test]
    fn a_probe_is_about_a_name_that_is_meant() {
        let wrong = Treatment::Change(Change::Address(vec!["fd00::1".parse().expect("address")]));
        assert_eq!(rule(&["*.test"], wrong.clone()).probe(), ("firedrill-probe.test".to_owned(), true));
        assert!(!rule(&[], wrong).probe().0.is_empty());
        assert_eq!(rule(&[], Treatment::Lost).probe(), (String::new(), false));
    }
}
