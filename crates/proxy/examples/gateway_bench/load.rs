//! sysbench, run and read.

use firedrill_host::HostError;
use firedrill_host::process::{self, Spawn};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// Rows of the one table: all in memory, so that the network path is what is measured.
const ROWS: u32 = 10_000;

/// Longer than any run asked for should take to start and to end.
const SLACK: Duration = Duration::from_secs(120);

/// What sysbench does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Script {
    PointSelect,
    WriteOnly,
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::PointSelect => "oltp_point_select",
            Self::WriteOnly => "oltp_write_only",
        })
    }
}

/// What one run gave.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Measured {
    pub(crate) transactions_per_second: f64,
    pub(crate) queries: f64,
    pub(crate) p95_ms: f64,
    /// Seconds of processor time of whoever was in between.
    pub(crate) processor: f64,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0}/s, p95 {:.2} ms", self.transactions_per_second, self.p95_ms)
    }
}

fn sysbench(script: Script, at: SocketAddr) -> Spawn {
    Spawn::new("sysbench")
        .arg(script.to_string())
        .args(["--mysql-user=root", "--mysql-db=bench", "--tables=1", &format!("--table-size={ROWS}")])
        .args([format!("--mysql-host={}", at.ip()), format!("--mysql-port={}", at.port())])
        // A deadlock of two writers is part of the load.
        .args(["--mysql-ignore-errors=1213,1020,1205", "--db-ps-mode=disable"])
}

/// Makes the table.
pub(crate) async fn prepare(at: SocketAddr) -> Result<(), HostError> {
    process::run(sysbench(Script::WriteOnly, at).arg("prepare"), SLACK).await.map(drop)
}

/// One run.
pub(crate) async fn run(script: Script, at: SocketAddr, connections: u32, seconds: u32) -> Result<Measured, HostError> {
    let command =
        sysbench(script, at).args([format!("--threads={connections}"), format!("--time={seconds}")]).arg("run");
    let output = process::run(command, SLACK + Duration::from_secs(seconds.into())).await?;
    Ok(read(&output.text()))
}

/// Reads sysbench's summary.
fn read(text: &str) -> Measured {
    let number = |label: &str, nth: usize| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(label)).unwrap_or_default();
        let mut words = line.split(|c: char| !(c.is_ascii_digit() || c == '.')).filter(|word| !word.is_empty());
        words.nth(nth).and_then(|word| word.parse().ok()).unwrap_or(0.0)
    };
    Measured {
        transactions_per_second: number("transactions:", 1),
        queries: number("queries:", 0),
        p95_ms: number("95th percentile:", 0),
        processor: 0.0,
    }
}

/// The median of one figure.
pub(crate) fn median(of: &[Measured], figure: impl Fn(&Measured) -> f64) -> f64 {
    let mut figures: Vec<f64> = of.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(0.0)
}
