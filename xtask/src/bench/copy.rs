//! A clone against what its tool does alone: the same donor, the same disk, taken in turns.

use super::Runs;
use super::figures::{Section, Spread};
use super::fleet::{Fleet, Ground, Node};
use anyhow::{Context, Result, bail};
use firedrill_model::operation::{OperationState, Phase};
use firedrill_model::{Operation, OperationId};
use serde::Deserialize;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Rows of three kibibytes that nothing can compress; four fit into a page of 16 KiB, so that the table has a little
/// over 1 GiB.
const STATEMENTS: u32 = 20;
const ROWS_PER_STATEMENT: u32 = 14_000;
/// The share of plain copying that is asked for.
const SHARE_MIN: f64 = 0.8;
/// A clone of a gibibyte, with everything that is not the copy, is done by then.
const CLONED_WITHIN: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_millis(500);
const MIB: f64 = 1024.0 * 1024.0;

pub(super) fn clone(ground: &Ground, runs: Runs) -> Result<Section> {
    let fleet = ground.up()?;
    // Behind the pseudo-primary, where no write waits for either of them.
    let mut replicas = fleet.status.nodes.iter().filter(|node| node.role == "pseudo-replica");
    let (Some(donor), Some(recipient)) = (replicas.next(), replicas.next()) else {
        bail!("the sandbox has no two pseudo-replicas");
    };
    fill(donor)?;
    // Not counted: the donor still writes out what it was filled with.
    plain(donor, &ground.home().join("plain"))?;
    let (mut plain_rates, mut clone_rates, mut totals, mut bytes_cloned) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for run in 1..=runs.or(3) {
        let plain_rate = plain(donor, &ground.home().join("plain"))?;
        let cloned = clone_once(&fleet, donor, recipient)?;
        eprintln!("   run {run}: plain {plain_rate:.0} MiB/s, clone {:.0} MiB/s", cloned.rate);
        bytes_cloned = cloned.bytes;
        plain_rates.push(plain_rate);
        clone_rates.push(cloned.rate);
        totals.push(cloned.seconds);
    }
    let nothing = "nothing was measured";
    let plain = Spread::of(plain_rates).context(nothing)?;
    let cloned = Spread::of(clone_rates).context(nothing)?;
    let share = cloned.median / plain.median;
    let mut section = Section::default();
    section.told("bytes copied", format!("{:.2} GiB", mebibytes(bytes_cloned) / 1024.0));
    section.told("plain mariadb-backup --stream \\| mbstream (min / median / max)", plain.text("MiB/s"));
    section.told("copy phase of the clone (min / median / max)", cloned.text("MiB/s"));
    section.judged("clone as a share of plain", "≥ 80 %", format!("{:.0} %", share * 100.0), share >= SHARE_MIN);
    if let Some(totals) = Spread::of(totals) {
        section.told("whole clone, until it has joined (min / median / max)", totals.text("s"));
    }
    section.note(
        "Plain is `mariadb-backup --backup --stream=xbstream | mbstream -x` against the same server into a directory of \
         the same disk. The copy phase is from the request to the recipient to its confirmation that all is on disk.",
    );
    Ok(section)
}

/// Puts the data into the donor alone, past its log: five more copies of it would only wear the disk.
fn fill(donor: &Node) -> Result<()> {
    let began = Instant::now();
    let mut script =
        "USE app; SET sql_log_bin=0; CREATE TABLE bench_fill (id INT PRIMARY KEY, body BLOB NOT NULL) ENGINE=InnoDB;\n"
            .to_owned();
    for number in 0..STATEMENTS {
        let (first, last) = (number * ROWS_PER_STATEMENT + 1, (number + 1) * ROWS_PER_STATEMENT);
        script.push_str(&format!(
            "INSERT INTO bench_fill SELECT seq, CONCAT(RANDOM_BYTES(1024), RANDOM_BYTES(1024), RANDOM_BYTES(1024)) \
             FROM seq_{first}_to_{last};\n"
        ));
    }
    let output = Command::new("mariadb")
        .args(["--no-defaults", "--user=root", "--execute", &script])
        .arg(format!("--socket={}", socket(donor)))
        .stdin(Stdio::null())
        .output()
        .context("cannot start mariadb")?;
    if !output.status.success() {
        bail!("{} could not be filled: {}", donor.name, String::from_utf8_lossy(&output.stderr).trim());
    }
    eprintln!("   {} filled in {:.0} s", donor.name, began.elapsed().as_secs_f64());
    Ok(())
}

fn socket(node: &Node) -> String {
    node.data_dir.with_file_name("run").join("mariadbd.sock").display().to_string()
}

/// Mebibytes a second of the tools alone.
fn plain(donor: &Node, target: &Path) -> Result<f64> {
    let scratch = target.join("scratch");
    let data = target.join("data");
    for directory in [&scratch, &data] {
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    let log = std::fs::File::create(target.join("backup.log")).context("cannot write the tool's log")?;
    let began = Instant::now();
    let mut backup = Command::new("mariadb-backup")
        .arg(format!("--defaults-file={}", donor.data_dir.with_file_name("my.cnf").display()))
        .args(["--backup", "--stream=xbstream", "--user=root"])
        .arg(format!("--socket={}", socket(donor)))
        .arg(format!("--target-dir={}", scratch.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .context("cannot start mariadb-backup")?;
    let stream = backup.stdout.take().context("mariadb-backup has no output")?;
    let unpacked = Command::new("mbstream").args(["-x", "-C"]).arg(&data).stdin(stream).status();
    let backed_up = backup.wait().context("mariadb-backup cannot be waited for")?;
    let seconds = began.elapsed().as_secs_f64();
    if !(backed_up.success() && unpacked.context("cannot start mbstream")?.success()) {
        let log = std::fs::read_to_string(target.join("backup.log")).unwrap_or_default();
        bail!("mariadb-backup ended with {backed_up}: {}", log.lines().last().unwrap_or_default());
    }
    let rate = mebibytes(size(&data)?) / seconds;
    std::fs::remove_dir_all(target).with_context(|| format!("cannot remove {}", target.display()))?;
    Ok(rate)
}

struct Cloned {
    bytes: u64,
    /// Mebibytes a second of the copy phase.
    rate: f64,
    /// The whole operation.
    seconds: f64,
}

#[derive(Deserialize)]
struct Accepted {
    operation: Option<OperationId>,
}

fn clone_once(fleet: &Fleet<'_>, donor: &Node, recipient: &Node) -> Result<Cloned> {
    let accepted: Accepted = fleet.json(&["cluster", "clone", &recipient.name, "--donor", &donor.name], &[0])?;
    let id = accepted.operation.context("the clone began no operation")?;
    let end = Instant::now() + CLONED_WITHIN;
    let operation = loop {
        let operation: Operation = fleet.json(&["operation", "show", &id.0], &[0])?;
        if operation.ended.is_some() {
            break operation;
        }
        if Instant::now() > end {
            bail!("{id} has not ended within {CLONED_WITHIN:?}");
        }
        std::thread::sleep(LOOK_EVERY);
    };
    if operation.state != OperationState::Finished
        || operation.partner.as_ref().map(|node| node.as_str()) != Some(&donor.name)
    {
        bail!("{id} ended {:?} with donor {:?}: {:?}", operation.state, operation.partner, operation.reason);
    }
    let (began, ended) = operation.phase(Phase::Copy).context("the clone copied nothing")?;
    let bytes = copied(&operation).context("no step of the clone says how many bytes it copied")?;
    let whole = operation.ended.unwrap_or(ended).since(operation.began);
    Ok(Cloned {
        bytes,
        rate: mebibytes(bytes) / ended.since(began).duration().as_secs_f64(),
        seconds: whole.duration().as_secs_f64(),
    })
}

/// From the log line `1234 bytes in 5.6s` of the copy.
fn copied(operation: &Operation) -> Option<u64> {
    let lines = operation.steps.iter().filter(|step| step.phase == Phase::Copy).flat_map(|step| &step.log);
    lines.filter_map(|line| line.split_once(" bytes in ")?.0.parse().ok()).next_back()
}

fn size(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))? {
        let entry = entry?;
        let about = entry.metadata()?;
        bytes += if about.is_dir() { size(&entry.path())? } else { about.len() };
    }
    Ok(bytes)
}

#[allow(clippy::cast_precision_loss, reason = "sizes of files, far below 2^52")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / MIB
}
