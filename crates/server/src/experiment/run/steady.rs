//! The probes of a run: before the steps, beside them, and after.

use super::{LOOK_EVERY, Run, STEADY_WITHIN};
use crate::clock::now;
use crate::probes::{Question, Tickers, ask};
use firedrill_model::Severity;
use firedrill_model::experiment::{Probe, When};
use firedrill_model::probe::{Finding, ProbeState, judge_facts};
use firedrill_model::report::ProbeResult;
use firedrill_model::timeline::EventKind;
use std::sync::Arc;

impl Run {
    /// Asks those that are asked at that time, each until it holds, for a while: a steady state has moments in which a
    /// replica lags.
    pub(super) async fn ask_probes(&mut self, when: When) {
        let probes = self.report.experiment.probes.clone();
        for probe in probes.into_iter().filter(|probe| probe.when.contains(&when)) {
            let Finding { state, observed } = self.settled(&probe).await;
            let held = state == ProbeState::Held;
            let (severity, unknown) = match state {
                ProbeState::Held => (Severity::Info, ""),
                ProbeState::Broken => (Severity::Warning, ""),
                ProbeState::Unknown => (Severity::Warning, " cannot be told"),
            };
            self.say(severity, EventKind::Probe, format!("probe {}{unknown}: {observed}", probe.name)).await;
            let unknown = state == ProbeState::Unknown;
            self.report.probes.push(ProbeResult { name: probe.name, when, at: now(), held, unknown, observed });
        }
    }

    async fn settled(&mut self, probe: &Probe) -> Finding {
        let end = now() + STEADY_WITHIN;
        loop {
            self.take_news();
            self.view = self.server.keepers.view(&self.report.cluster).ok();
            let finding = if probe.measure.is_fact() {
                judge_facts(&probe.measure, &self.seen.facts(self.view.as_ref()))
            } else {
                let question = self.question(probe);
                tokio::select! {
                    finding = ask(&self.server, &question) => finding,
                    _ = self.guard().until_halted() => cut_short(),
                }
            };
            if finding.state == ProbeState::Held || now() >= end || self.guard().halted().is_some() {
                return finding;
            }
            tokio::time::sleep(if probe.measure.is_fact() { LOOK_EVERY } else { probe.every.duration() }).await;
        }
    }

    /// The step `check`: the probe must hold now. False when it does not, or the run is to stop.
    pub(super) async fn check(&mut self, name: &str) -> bool {
        let probe = self.report.experiment.probes.iter().find(|probe| probe.name == *name).cloned();
        let Some(probe) = probe else { return true };
        let Finding { state, observed } = if probe.measure.is_fact() {
            judge_facts(&probe.measure, &self.seen.facts(self.view.as_ref()))
        } else {
            let (server, question) = (Arc::clone(&self.server), self.question(&probe));
            self.meanwhile(async move { ask(&server, &question).await }).await.unwrap_or_else(|_| cut_short())
        };
        let held = state == ProbeState::Held;
        let severity = if held { Severity::Info } else { Severity::Warning };
        self.say(severity, EventKind::Probe, format!("check {name}: {observed}")).await;
        match state {
            ProbeState::Held => {}
            ProbeState::Broken => self.broken_steps.push(format!("check {name} did not hold: {observed}")),
            ProbeState::Unknown => self.doubts.push(format!("check {name} could not be told: {observed}")),
        }
        held && self.halted.is_none()
    }

    fn question(&self, probe: &Probe) -> Question {
        let (cluster, login) = (self.report.cluster.clone(), self.admitted.login.clone());
        Question { cluster, login, probe: probe.clone() }
    }

    /// From now on the probes of the steps are asked, and the abort conditions hold.
    pub(super) fn begin_probing(&mut self) {
        self.probing = true;
        let questions = self
            .courses
            .probes()
            .filter(|(_, probe)| !probe.measure.is_fact())
            .map(|(at, probe)| (at, self.question(probe)));
        let questions: Vec<_> = questions.collect();
        self.tickers = (!questions.is_empty()).then(|| Tickers::start(&self.server, questions));
    }

    pub(super) fn end_probing(&mut self) {
        self.probing = false;
        self.tickers = None;
    }

    /// Takes in what the probes showed since the last look.
    pub(super) fn take_answers(&mut self) {
        if !self.probing {
            return;
        }
        let mut lines = Vec::new();
        while let Some(asked) = self.tickers.as_mut().and_then(Tickers::take) {
            let line = self.courses.take(asked.index, asked.at, asked.took, asked.finding);
            lines.extend(line.map(|line| (asked.at, line)));
        }
        let now = now();
        for (index, probe) in self.courses.due_facts(now) {
            let finding = judge_facts(&probe.measure, &self.seen.facts(self.view.as_ref()));
            let line = self.courses.take(index, now, firedrill_model::Span::ZERO, finding);
            lines.extend(line.map(|line| (now, line)));
        }
        for (at, (severity, text)) in lines {
            self.note(at, severity, EventKind::Probe, text);
        }
        self.report.probes.extend(self.courses.found(now));
    }
}

fn cut_short() -> Finding {
    Finding { state: ProbeState::Unknown, observed: "the run was stopped before there was an answer".to_owned() }
}
