//! Measures what a storage layer without any fault costs a MariaDB server under sysbench `oltp_write_only`.
//!
//! `cargo run --release -p firedrill-fault --example storage_bench -- [ROUNDS] [SECONDS]`
//!
//! Two servers with equal settings, one on a directory and one on a layer over such a directory, take the load in turns,
//! ROUNDS times; prints medians. Once on a disk, and once in memory, where a sync costs nothing: there all of the
//! difference is the layer's own, and it does not change with what else the disk has to do. Processor time is that of the
//! database server and of the layer's server together.

use firedrill_fault::storage::{Layer, Program, run};
use firedrill_host::process::{self, Child, Identity, Signal, Spawn};
use firedrill_host::usage::cpu_time;
use std::error::Error;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::time::sleep;

const USAGE: &str = "usage: storage_bench [ROUNDS] [SECONDS]   (default 5 rounds of 5 seconds)";
/// Client connections.
const CONNECTIONS: u32 = 4;
/// Where the two runs are made: what it is called, and a directory there.
const GROUNDS: [(&str, &str); 2] = [("disk", "/var/tmp"), ("memory", "/dev/shm")];
/// Durable settings: every commit is synced, twice.
const SETTINGS: [&str; 7] = [
    "--skip-networking",
    "--performance-schema=off",
    "--server-id=1",
    "--log-bin=binlog",
    "--sync-binlog=1",
    "--innodb-flush-log-at-trx-commit=1",
    "--innodb-buffer-pool-size=128M",
];
/// Longer than installing, starting, preparing or a run should take beyond what was asked for.
const SLACK: Duration = Duration::from_secs(120);

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let own = std::env::current_exe()?;
    let program = move || Spawn::new(&own);
    // As a process of a layer.
    if arguments.len() == 3 {
        return Ok(run(arguments, &program)?);
    }
    let mut numbers = arguments.iter().map(|text| text.to_str().and_then(|text| text.parse().ok()).ok_or(USAGE));
    let rounds: u32 = numbers.next().unwrap_or(Ok(5))?.max(1);
    let seconds: u32 = numbers.next().unwrap_or(Ok(5))?.max(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "sysbench oltp_write_only, {CONNECTIONS} connections, medians of {rounds} runs of {seconds} s\n")?;
    writeln!(out, "| on | through | transactions/s | of direct | p95 ms | CPU us/transaction |")?;
    writeln!(out, "|---|---|--:|--:|--:|--:|")?;
    for (ground, dir) in GROUNDS {
        let [direct, layer] = runtime.block_on(compare(Path::new(dir), &program, (rounds, seconds)))?;
        for (through, figures) in [("direct", &direct), ("layer", &layer)] {
            let [rate, slow, cost] = [0, 1, 2].map(|figure| median(figures, figure));
            let share = rate / median(&direct, 0);
            writeln!(out, "| {ground} | {through} | {rate:.0} | {share:.2} | {slow:.2} | {cost:.0} |")?;
        }
    }
    Ok(())
}

/// Transactions per second, 95th percentile in milliseconds, processor microseconds per transaction.
type Figures = [f64; 3];

fn median(of: &[Figures], figure: usize) -> f64 {
    let mut figures: Vec<f64> = of.iter().map(|one| one[figure]).collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(0.0)
}

async fn compare(dir: &Path, program: &Program, (rounds, seconds): (u32, u32)) -> Outcome<[Vec<Figures>; 2]> {
    let home = tempfile::tempdir_in(dir)?;
    let contenders = [
        Contender::start(home.path().join("direct"), None).await?,
        Contender::start(home.path().join("layer"), Some(program)).await?,
    ];
    let mut figures = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        // The order changes, so that a machine which slows down or speeds up favours nobody.
        for turn in 0..2 {
            let which = (turn + round as usize) % 2;
            figures[which].push(contenders[which].measure(seconds).await?);
        }
    }
    for contender in contenders {
        contender.end().await?;
    }
    Ok(figures)
}

/// A database server, perhaps on a layer.
struct Contender {
    database: Option<Child>,
    layer: Option<Layer>,
    socket: PathBuf,
}

impl Contender {
    async fn start(home: PathBuf, program: Option<&Program>) -> Outcome<Self> {
        std::fs::create_dir(&home)?;
        let (data, socket) = (home.join("data"), home.join("s"));
        let at = format!("--datadir={}", data.display());
        let install = Spawn::new("mariadb-install-db").args(["--no-defaults", "--user=root", "--skip-test-db", &at]);
        process::run(install.arg("--auth-root-authentication-method=normal"), SLACK).await?;
        let mut contender = Self { database: None, layer: None, socket };
        if let Some(program) = program {
            contender.layer = Some(Layer::mount(program, &home.join("layer"), &data).await?);
        }
        let server = Spawn::new("mariadbd").args(["--no-defaults", "--user=root", &at]).args(SETTINGS);
        let server = server.arg(format!("--socket={}", contender.socket.display()));
        contender.database = Some(server.arg(format!("--log-error={}", home.join("log").display())).spawn()?);
        let began = Instant::now();
        while contender.sql("CREATE DATABASE IF NOT EXISTS bench").await.is_err() {
            if began.elapsed() > SLACK {
                return Err(
                    format!("the database does not start: {:?}", std::fs::read_to_string(home.join("log"))).into()
                );
            }
            sleep(Duration::from_millis(20)).await;
        }
        contender.sysbench("prepare", 1).await?;
        // Fills caches, so that whoever is first pays nothing for it.
        contender.sysbench("run", 2).await?;
        Ok(contender)
    }

    async fn sql(&self, statement: &str) -> Outcome<()> {
        let client = Spawn::new("mariadb").args(["--no-defaults", "--user=root", "--execute", statement]);
        process::run(client.arg(format!("--socket={}", self.socket.display())), SLACK).await?;
        Ok(())
    }

    async fn sysbench(&self, what: &str, seconds: u32) -> Outcome<String> {
        let load = Spawn::new("sysbench")
            .args(["oltp_write_only", "--mysql-user=root", "--mysql-db=bench", "--tables=4", "--table-size=20000"])
            .arg(format!("--mysql-socket={}", self.socket.display()))
            // A deadlock of two writers is part of the load.
            .arg("--mysql-ignore-errors=1213,1020,1205")
            .args([format!("--threads={CONNECTIONS}"), format!("--time={seconds}")]);
        Ok(process::run(load.arg(what), SLACK + Duration::from_secs(seconds.into())).await?.text())
    }

    async fn measure(&self, seconds: u32) -> Outcome<Figures> {
        let before = self.processor().await?;
        let text = self.sysbench("run", seconds).await?;
        let used = self.processor().await?.saturating_sub(before);
        let number = |label: &str, nth: usize| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(label)).unwrap_or_default();
            let mut words = line.split(|c: char| !(c.is_ascii_digit() || c == '.')).filter(|word| !word.is_empty());
            words.nth(nth).and_then(|word| word.parse().ok()).unwrap_or(0.0)
        };
        let transactions: f64 = number("transactions:", 0);
        let cost = used.as_secs_f64() * 1e6 / transactions.max(1.0);
        Ok([number("transactions:", 1), number("95th percentile:", 0), cost])
    }

    async fn processor(&self) -> Outcome<Duration> {
        let mut all = match &self.database {
            Some(database) => cpu_time(database.identity())?,
            None => Duration::ZERO,
        };
        if let Some(layer) = &self.layer {
            all += cpu_time(Identity::of(layer.status().await?.server)?)?;
        }
        Ok(all)
    }

    async fn end(mut self) -> Outcome<()> {
        if let Some(database) = self.database.take() {
            database.signal(Signal::SIGTERM)?;
            tokio::time::timeout(SLACK, database.exited()).await??;
        }
        if let Some(layer) = &self.layer {
            layer.unmount().await?;
        }
        Ok(())
    }
}

impl Drop for Contender {
    /// After a failure: nothing stays mounted, no server goes on.
    fn drop(&mut self) {
        if let Some(database) = &self.database {
            let _ended = database.signal(Signal::SIGKILL);
            if let Some(layer) = &self.layer {
                let _taken_off = firedrill_host::fuse::unmount(layer.point());
            }
        }
    }
}
