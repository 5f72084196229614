//! From the start of an attack at the server to the fault in place on its host, and from a halt to all faults gone: every
//! kind alone, and several together.

use super::Runs;
use super::figures::{Section, digits};
use super::fleet::{Fleet, Ground};
use super::trials::{self, Preparation, Props, Trial};
use anyhow::{Context, Result, bail};
use firedrill_model::Timestamp;
use firedrill_model::attack::AttackReport;
use firedrill_model::guard::GuardPolicy;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Starts of each kind; with all kinds enough for a p99.
const STARTS: u32 = 10;
/// Halts, each with several faults in place.
const HALTS: u32 = 20;
const START_P50_MS: f64 = 20.0;
const START_P99_MS: f64 = 100.0;
const HALT_P99_MS: f64 = 100.0;
/// An answer comes after the measurement of the effect.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);
/// What an attack has done to the fleet heals before the next one starts; a node may have to be cloned.
const HEALED_WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Attacks on hosts that can take them at the same time.
fn together() -> Vec<Value> {
    let on = |kind: Value, node: &str| {
        let mut kind = kind;
        kind["target"] = json!({ "nodes": [node] });
        kind["duration"] = json!("60s");
        kind
    };
    vec![
        on(json!({ "kind": "pause" }), "west-3"),
        on(json!({ "kind": "partition", "peers": { "nodes": ["west-3"] } }), "west-2"),
        on(json!({ "kind": "latency", "delay": "1ms" }), "east-2"),
        on(json!({ "kind": "loss", "percent": 5 }), "east-3"),
        on(json!({ "kind": "bandwidth", "rate": "100Mbit/s" }), "west-1"),
        on(json!({ "kind": "cpu", "load": 10, "cores": [0] }), "east-1"),
        on(json!({ "kind": "long-transaction" }), "east-1"),
    ]
}

pub(super) fn speed(ground: &Ground, runs: Runs) -> Result<Section> {
    let fleet = ground.up_with(&["--storage-layer"])?;
    fleet.sql("CREATE TABLE app.numbers (id INT AUTO_INCREMENT PRIMARY KEY, x INT)")?;
    let server = Server { address: address(&fleet)?, cluster: fleet.status.cluster.clone() };
    // One attack after the other on a cluster that each leaves behind degraded is what guards are for.
    server.ask("PUT", "/api/v1/guards", &serde_json::to_string(&GuardPolicy::all_off())?)?;
    let mut section = Section::default();
    let (starts, outs) = every_kind(&fleet, &server, runs, &mut section)?;
    let text = format!("{} starts that wait for nothing", starts.0.len());
    section.judged(format!("p50 of {text}"), "≤ 20 ms", starts.text(50), starts.at(50) <= START_P50_MS);
    section.judged(format!("p99 of {text}"), "≤ 100 ms", starts.text(99), starts.at(99) <= START_P99_MS);
    let what = format!("halt of one attack to its fault seen to be out, p99 of {}", outs.0.len());
    section.judged(what, "≤ 100 ms", outs.text(99), outs.at(99) <= HALT_P99_MS);
    let mut halts = Vec::new();
    for _ in 0..runs.or(HALTS) {
        server.healed()?;
        for attack in together() {
            server.start(&attack)?;
        }
        halts.push(server.halt()?);
    }
    let halts = Quantiles::of(halts);
    let what = format!(
        "halt of {} attacks on 6 hosts to the last fault seen to be out, p99 of {}",
        together().len(),
        halts.0.len()
    );
    section.judged(what, "≤ 100 ms", halts.text(99), halts.at(99) <= HALT_P99_MS);
    section.note("Start: from the first byte of the request to the moment the agent had the fault in place, by the wall clock that all processes here share; the measurement of its effect comes after. Halt: from the first byte of the request to the answer, which names the faults that are out.");
    Ok(section)
}

/// A row for each kind; all starts that wait for nothing, and all halts.
fn every_kind(fleet: &Fleet<'_>, server: &Server, runs: Runs, section: &mut Section) -> Result<(Quantiles, Quantiles)> {
    let kinds: Vec<Kind> = fleet.json(&["attack", "kinds"], &[0])?;
    let directory = fleet.work()?;
    let (mut starts, mut outs) = (Vec::new(), Vec::new());
    for Kind { name } in &kinds {
        if let Some(why) = trials::left_out(name) {
            section.told(format!("`{name}`"), format!("not measured: it {why}"));
            continue;
        }
        let taken = one_kind(server, name, &directory, runs.or(STARTS));
        let (into, out, preparation) = match taken {
            Ok(taken) => taken,
            // The others are measured all the same.
            Err(problem) => {
                section.judged(format!("`{name}`"), "", format!("{problem:#}"), false);
                let _what_is_left = server.halt();
                continue;
            }
        };
        let (shown, gone) = (Quantiles::of(into.clone()), Quantiles::of(out.clone()));
        let measured = format!("in place after {}, out after {}", shown.text(100), gone.text(100));
        match preparation {
            Preparation::Nothing => {
                section.told(format!("`{name}` (p50 / max)"), measured);
                starts.extend(into);
            }
            Preparation::First(what) => section.told(format!("`{name}` (p50 / max), once {what}"), measured),
        }
        outs.extend(out);
    }
    Ok((Quantiles::of(starts), Quantiles::of(outs)))
}

type Taken = (Vec<f64>, Vec<f64>, Preparation);

/// Starts one kind and halts it again, so many times.
fn one_kind(server: &Server, kind: &str, directory: &Path, times: u32) -> Result<Taken> {
    let (mut starts, mut outs, mut preparation) = (Vec::new(), Vec::new(), Preparation::Nothing);
    for _ in 0..times {
        server.healed()?;
        let bystander = Bystander::new(directory)?;
        let trial: Trial = trials::of(kind, &Props { directory, bystander: bystander.0.id() });
        preparation = trial.preparation;
        starts.push(server.start(&trial.attack)?);
        outs.push(server.halt()?);
    }
    Ok((starts, outs, preparation))
}

#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "kind")]
    name: String,
}

/// A process of no use, for attacks on processes, which no other has the name of.
struct Bystander(Child);

impl Bystander {
    fn new(directory: &Path) -> Result<Self> {
        let program = directory.with_file_name(trials::BYSTANDER);
        if !program.exists() {
            std::fs::copy("/bin/sleep", &program).context("cannot copy sleep")?;
        }
        let child = Command::new(&program).arg("600").stdin(Stdio::null()).spawn();
        Ok(Self(child.with_context(|| format!("cannot start {}", program.display()))?))
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        // Both fail when an attack has ended it, which is no error.
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// Milliseconds, sorted.
struct Quantiles(Vec<f64>);

impl Quantiles {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    fn at(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100).clamp(1, self.0.len().max(1)) - 1;
        self.0.get(rank).copied().unwrap_or(f64::NAN)
    }

    fn text(&self, percent: usize) -> String {
        match percent {
            100 => format!("{} / {} ms", digits(self.at(50)), digits(self.at(100))),
            _ => format!("{} ms", digits(self.at(percent))),
        }
    }
}

/// The HTTP API, spoken without what a command line would add.
struct Server {
    address: String,
    cluster: String,
}

#[derive(Deserialize)]
struct View {
    fully_redundant: bool,
}

#[derive(Deserialize)]
struct Halted {
    attacks: Vec<AttackReport>,
}

impl Server {
    /// Milliseconds until the fault was in place.
    fn start(&self, attack: &Value) -> Result<f64> {
        let began = wall();
        let answer = self.post("/api/v1/attacks", &json!({ "cluster": self.cluster, "attack": attack }))?;
        let reports: Vec<AttackReport> =
            serde_json::from_str(&answer).with_context(|| format!("no reports but {answer}"))?;
        let report = reports.first().with_context(|| format!("nothing was attacked: {answer}"))?;
        let in_place = report.in_place.with_context(|| format!("{}: {}", report.fault, report.evidence))?;
        Ok((in_place.0 - began.0) as f64 / 1000.0)
    }

    /// Milliseconds from the call to the answer, which names the attacks that are out.
    fn halt(&self) -> Result<f64> {
        let began = Instant::now();
        let answer = self.post("/api/v1/halt", &json!({ "reason": "benchmark" }))?;
        let took = began.elapsed().as_secs_f64() * 1000.0;
        let halted: Halted = serde_json::from_str(&answer).with_context(|| format!("no halt but {answer}"))?;
        if let Some(left) =
            halted.attacks.iter().find(|report| report.state != firedrill_model::attack::AttackState::Undone)
        {
            bail!("{} is not out: {}", left.fault, left.evidence);
        }
        self.post("/api/v1/resume", &json!({ "reason": "benchmark" }))?;
        Ok(took)
    }

    /// Waits until every node is in service again.
    fn healed(&self) -> Result<()> {
        let path = format!("/api/v1/clusters/{}", self.cluster);
        let until = Instant::now() + HEALED_WITHIN;
        loop {
            let answer = self.ask("GET", &path, "")?;
            let view: View =
                serde_json::from_str(&answer).with_context(|| format!("{path}: no cluster but {answer}"))?;
            if view.fully_redundant {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("the cluster has not healed within {HEALED_WITHIN:?}");
            }
            sleep(LOOK_EVERY);
        }
    }

    fn post(&self, path: &str, body: &Value) -> Result<String> {
        self.ask("POST", path, &body.to_string())
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Result<String> {
        let mut stream = TcpStream::connect(&self.address).with_context(|| format!("no server at {}", self.address))?;
        stream.set_read_timeout(Some(ANSWERED_WITHIN))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            self.address,
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, content) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
        if !head.starts_with("HTTP/1.1 2") || head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
            bail!("{path}: {answer}");
        }
        Ok(content.to_owned())
    }
}

fn address(fleet: &Fleet<'_>) -> Result<String> {
    let url = &fleet.status.server.url;
    url.strip_prefix("http://").map(str::to_owned).with_context(|| format!("{url} is no plain HTTP address"))
}

fn wall() -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}
