//! Measures the gateway against a direct connection and against HAProxy in TCP mode, in the same run.
//!
//! `cargo run --release -p firedrill-proxy --example gateway_bench -- [ROUNDS] [SECONDS]`
//!
//! Starts a MariaDB server, HAProxy and a gateway of its own, and lets sysbench speak to the server directly and through
//! each in turn, ROUNDS times; prints medians and their ratio to the direct connection. Everything runs on this machine and
//! shares its cores, so ratios can be compared and absolute figures cannot.

mod fleet;
mod load;

use firedrill_host::HostError;
use firedrill_proxy::gateway;
use fleet::{Contender, Fleet};
use load::{Measured, Script};
use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;

/// Client connections of each run.
const CONNECTIONS: u32 = 64;

const USAGE: &str = "usage: gateway_bench [ROUNDS] [SECONDS]   (default 3 rounds of 6 seconds)";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, config] = arguments.as_slice()
        && flag == fleet::GATEWAY_FLAG
    {
        return Ok(gateway::run(serde_json::from_str(&std::fs::read_to_string(config)?)?)?);
    }
    let mut numbers = arguments.iter().map(|text| text.parse::<u32>().map_err(|_| USAGE));
    let rounds = numbers.next().unwrap_or(Ok(3))?.max(1);
    let seconds = numbers.next().unwrap_or(Ok(6))?.max(1);
    if numbers.next().is_some() {
        return Err(USAGE.into());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(compare(rounds, seconds))
}

/// Per script and contender, one measurement a round.
type Results = BTreeMap<(Script, usize), Vec<Measured>>;

async fn compare(rounds: u32, seconds: u32) -> Result<(), Box<dyn Error>> {
    let fleet = Fleet::start().await?;
    load::prepare(fleet.database()).await?;
    let mut results = Results::new();
    for script in [Script::PointSelect, Script::WriteOnly] {
        // Fills caches, so that whoever is first pays nothing for it.
        load::run(script, fleet.database(), CONNECTIONS, 2).await?;
        for round in 1..=rounds {
            for (number, contender) in fleet.contenders().iter().enumerate() {
                let measured = measure(script, contender, seconds).await?;
                writeln!(std::io::stderr(), "{script} round {round}: {} {measured}", contender.name)?;
                results.entry((script, number)).or_default().push(measured);
            }
        }
    }
    print(&fleet, &results, rounds, seconds)
}

async fn measure(script: Script, contender: &Contender, seconds: u32) -> Result<Measured, HostError> {
    let before = contender.processor_seconds();
    let mut measured = load::run(script, contender.address, CONNECTIONS, seconds).await?;
    measured.processor = contender.processor_seconds() - before;
    Ok(measured)
}

fn print(fleet: &Fleet, results: &Results, rounds: u32, seconds: u32) -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "sysbench, {CONNECTIONS} connections, medians of {rounds} runs of {seconds} s, alternating\n")?;
    writeln!(out, "| load | through | transactions/s | of direct | p95 ms | CPU us/query |")?;
    writeln!(out, "|---|---|--:|--:|--:|--:|")?;
    for ((script, number), measured) in results {
        let direct = load::median(&results[&(*script, 0)], |one| one.transactions_per_second);
        let rate = load::median(measured, |one| one.transactions_per_second);
        let slow = load::median(measured, |one| one.p95_ms);
        let cost = load::median(measured, |one| one.processor * 1e6 / one.queries.max(1.0));
        let name = &fleet.contenders()[*number].name;
        writeln!(out, "| {script} | {name} | {rate:.0} | {:.2} | {slow:.2} | {cost:.1} |", rate / direct)?;
    }
    Ok(())
}
