//! The server itself: killed very often, and with very many agents. The agents are played, over the real link.

use super::Runs;
use super::figures::{Section, Spread, digits};
use super::fleet::Ground;
use crate::shell;
use anyhow::{Context, Result};
use serde::Deserialize;

/// Kills that the server must have survived.
const KILLS: u32 = 200;
/// Fleets, smallest first; the last is what one server is to hold.
const CROWDS: [u32; 3] = [100, 1000, 10_000];
const MEMORY_GIB_MAX: f64 = 3.0;
const SECONDS_MAX: f64 = 2.0;

/// One attack on all agents, and its halt. Seconds.
#[derive(Deserialize)]
struct Round {
    in_place: f64,
    acknowledged: f64,
    out: f64,
    halt_told: f64,
    halt_answered: f64,
}

/// What `firedrill-played crowd` prints.
#[derive(Deserialize)]
struct Figures {
    agents: u32,
    descriptors: u64,
    enrolments_per_second: f64,
    connected_after: f64,
    idle_mib: f64,
    peak_mib: f64,
    idle_cores: f64,
    own_idle_cores: f64,
    rounds: Vec<Round>,
}

pub(super) fn kills(ground: &Ground, runs: Runs) -> Result<Section> {
    let kills = runs.or(KILLS).to_string();
    let mut section = Section::default();
    let told = played(ground, &["kills", "--kills", &kills]);
    let held = told.is_ok();
    let measured = told.map_or_else(|problem| format!("{problem:#}"), |told| told.trim().to_owned());
    section.judged("SIGKILL of the server at random moments", "nothing lost, nothing left behind", measured, held);
    Ok(section)
}

pub(super) fn crowd(ground: &Ground, runs: Runs) -> Result<Section> {
    let rounds = runs.or(5).to_string();
    let mut section = Section::default();
    for agents in CROWDS {
        let asked = agents.to_string();
        let told = played(ground, &["crowd", "--agents", &asked, "--rounds", &rounds])?;
        let figures: Figures = serde_json::from_str(&told).with_context(|| format!("no figures but {told}"))?;
        if figures.agents < agents {
            section.note(format!(
                "{} instead of {agents} agents: a process may have {} files open here and each played agent holds two connections.",
                figures.agents, figures.descriptors
            ));
        }
        rows(&mut section, &figures)?;
    }
    section.note("Server and agents share the cores. An attack's time is from the request to its answer, which has the acknowledgement of every agent, stored; a halt's from the request to the moment when the last agent has taken its fault out. A played agent does nothing to its host.");
    Ok(section)
}

fn rows(section: &mut Section, figures: &Figures) -> Result<()> {
    let agents = figures.agents;
    let spread = |of: fn(&Round) -> f64| Spread::of(figures.rounds.iter().map(of)).context("no round");
    let what = |text: &str| format!("{agents} agents: {text}");
    let peak = figures.peak_mib / 1024.0;
    let memory = format!("{} MiB, at most {} MiB", digits(figures.idle_mib), digits(figures.peak_mib));
    section.judged(what("memory of the server"), "≤ 3 GiB", memory, peak <= MEMORY_GIB_MAX);
    let cores = format!("{} of a core (playing them: {})", digits(figures.idle_cores), digits(figures.own_idle_cores));
    section.told(what("processor of the server, nothing going on"), cores);
    section.told(what("enrolled"), format!("{} per second", digits(figures.enrolments_per_second)));
    section.told(what("connected, all at once"), format!("after {} s", digits(figures.connected_after)));
    let acknowledged = spread(|round| round.acknowledged)?;
    let start = what("attack on all, to the last acknowledgement (min / median / max)");
    section.judged(start, "≤ 2 s", acknowledged.text("s"), acknowledged.max <= SECONDS_MAX);
    section.told(what("the same, to the last fault in place"), spread(|round| round.in_place)?.text("s"));
    let out = spread(|round| round.out)?;
    section.judged(what("halt, to the last fault out"), "≤ 2 s", out.text("s"), out.max <= SECONDS_MAX);
    section.told(what("the same, as the server tells it"), spread(|round| round.halt_told)?.text("s"));
    section.told(what("the same, to the answer with every end stored"), spread(|round| round.halt_answered)?.text("s"));
    Ok(())
}

pub(super) fn played(ground: &Ground, arguments: &[&str]) -> Result<String> {
    let program = ground.program().to_str().context("the program's path is not text")?;
    let mut all = vec!["run", "--release", "--locked", "--quiet", "--package", "firedrill-played", "--"];
    all.extend(arguments);
    all.extend(["--program", program]);
    shell::output("cargo", &all)
}
