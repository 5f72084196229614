//! What a simulated agent sees of its database server.

use crate::control::{endpoint, node_name};
use crate::mariadb::Io;
use crate::world::{Upward, World};
use firedrill_model::Span;
use firedrill_model::observation::{NodeObservation, ProcessState, Receiver, Replication, SemiSync, ServerStatus};
use std::time::Duration;

impl World {
    /// An agent looks at its node and reports.
    pub(crate) fn observe(&mut self, node: usize) {
        if self.nodes[node].answers() {
            self.nodes[node].answered_at = self.now;
        }
        let Some(link) = self.control.links[node].up.filter(|_| self.agents[node].alive) else { return };
        let observation = self.look(node);
        self.report(node, link, Upward::Observation(Box::new(observation)));
    }

    /// A process has ended: that is reported at once.
    pub(crate) fn observe_soon(&mut self, node: usize) {
        self.observe(node);
    }

    fn look(&mut self, node: usize) -> NodeObservation {
        let server = &self.nodes[node];
        let agent = &mut self.agents[node];
        let process = match (server.pid, agent.saw) {
            (Some(pid), _) => {
                agent.saw = Some(pid);
                ProcessState::Running { pid, stopped: server.paused }
            }
            (None, Some(pid)) => ProcessState::Exited { pid },
            (None, None) => ProcessState::Absent,
        };
        let answers = server.answers();
        let ago = Span(Duration::from_micros(u64::try_from(self.now - server.answered_at).unwrap_or(0)));
        NodeObservation {
            node: node_name(node),
            process,
            status: answers.then(|| self.status(node)),
            unanswered_for: if answers { Span::ZERO } else { ago },
            error: (!answers).then(|| "no answer".to_owned()),
            disk_trouble: None,
        }
    }

    fn status(&self, node: usize) -> ServerStatus {
        let server = &self.nodes[node];
        let ackers = server.dumps.iter().flatten().filter(|dump| dump.acks).count();
        let connected = |io: Io| matches!(io, Io::Connected { .. });
        let replication = server.replication.as_ref().map(|one| Replication {
            source: endpoint(one.source),
            receiver: match one.io {
                Io::Stopped => Receiver::Stopped,
                Io::Connecting => Receiver::Connecting,
                Io::Connected { .. } => Receiver::Connected,
            },
            applier_running: server.applier,
            received: server.received_position(),
            applied: server.applied_position(),
            last_heard: one.heard_at.map(|at| Span(Duration::from_micros(u64::try_from(self.now - at).unwrap_or(0)))),
            lag: None,
            receiver_error: one.error.clone(),
            applier_error: None,
        });
        let acker_active =
            server.acker_side && server.replication.as_ref().is_some_and(|one| one.acks && connected(one.io));
        ServerStatus {
            server_id: server.server_id(),
            version: "10.11.19-MariaDB".to_owned(),
            read_only: server.read_only,
            binlog_state: server.binlog_state(),
            position: server.applied_position(),
            semi_sync: SemiSync {
                primary_enabled: server.primary_side,
                primary_active: server.primary_side,
                acker_enabled: server.acker_side,
                acker_active,
                ackers_connected: u32::try_from(ackers).unwrap_or(0),
                waiting_sessions: u32::try_from(server.waiting.len()).unwrap_or(0),
                unacknowledged_commits: 0,
            },
            replication,
            write_heartbeat_age: None,
        }
    }
}
