//! Makes a history of N operations (nine writes to one read) in a file, checks it, and says how long that took and how
//! much memory it needed: `cargo run --release -p firedrill-ledger --example ledger_bench -- 10000000`.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::disallowed_methods, reason = "the benchmark brings the file and the clock to the pure checker")]

use firedrill_ledger::history::{FinalRead, Header, Mark, NodeState, Operation, Outcome, Primary, Record, Trailer};
use firedrill_ledger::history::{TableFingerprint, Via, Writer};
use firedrill_ledger::interval::{Intervals, TokenSet};
use firedrill_ledger::{Nanos, Token, check};
use firedrill_model::{Gtid, GtidState, RunId, Span, Timestamp};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::Instant;

const WRITERS: u32 = 16;
/// Nanoseconds between two operations: 1,500 per second.
const STEP: u64 = 666_667;
/// One write in this many gets no answer.
const UNKNOWN_EVERY: u32 = 10_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let operations: u64 = std::env::args().nth(1).map_or(Ok(10_000_000), |text| text.parse())?;
    let path = std::env::temp_dir().join(format!("firedrill-ledger-bench-{}.fdh", std::process::id()));
    let began = Instant::now();
    generate(operations, File::create(&path)?)?;
    let bytes = std::fs::metadata(&path)?.len();
    println!("made     {operations} operations, {bytes} bytes, in {:.2} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    let summary = check(File::open(&path)?)?;
    let took = began.elapsed().as_secs_f64();
    std::fs::remove_file(&path)?;
    println!("checked  in {took:.2} s, {:.1} million operations a second", operations as f64 / took / 1e6);
    println!("peak RSS {}", peak_rss()?);
    println!("verdict  {}: {}", summary.verdict, summary.reasons.first().map_or("", String::as_str));
    Ok(())
}

fn peak_rss() -> std::io::Result<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    Ok(line.unwrap_or("unknown").trim().to_owned())
}

fn generate(operations: u64, out: impl Write) -> Result<(), Box<dyn std::error::Error>> {
    let header = Header {
        run: RunId("bench".to_owned()),
        origin: Timestamp(0),
        nodes: vec!["east-1".parse()?, "east-2".parse()?],
        write_resolution: Span::millis(1),
        read_resolution: Span::millis(10),
        timeout: Span::secs(5),
    };
    let mut history = Writer::new(BufWriter::new(out), &header)?;
    let mut processes: Vec<u32> = (0..WRITERS).collect();
    let (mut process_next, mut sequences) = (WRITERS + 1, [0_u32; WRITERS as usize]);
    let (mut transaction, mut now) = (0, 0);
    for number in 0..operations {
        now += STEP;
        let writer = (number % u64::from(WRITERS)) as u32;
        let newest = sequences[writer as usize];
        if number % 10 == 9 {
            let via = [Via::Gateway, Via::Node(0), Via::Node(1)][(number / 10 % 3) as usize];
            history.append(&Record::Invoke {
                process: WRITERS,
                at: Nanos(now),
                operation: Operation::Read { via, writer },
            })?;
            let from = newest.saturating_sub(100).max(1);
            let mut seen = Intervals::new();
            // A replica is ten writes late now and then.
            let late = if via == Via::Node(1) && number % 7 == 0 { 10 } else { 0 };
            seen.insert_range(from, newest.saturating_sub(late));
            let outcome = Outcome::Seen { server: 1, from, seen };
            history.append(&Record::Complete { process: WRITERS, at: Nanos(now + STEP / 2), outcome })?;
            continue;
        }
        sequences[writer as usize] = newest + 1;
        let token = Token { writer, sequence: newest + 1 };
        let process = processes[writer as usize];
        history.append(&Record::Invoke { process, at: Nanos(now), operation: Operation::Write(token) })?;
        transaction += 1;
        let gtid = Gtid { domain: 0, server: 1 + u32::from(number > operations / 2), sequence: transaction };
        let outcome = if newest % UNKNOWN_EVERY == UNKNOWN_EVERY - 1 {
            processes[writer as usize] = process_next;
            process_next += 1;
            Outcome::Unknown { reason: "no answer within 5s".to_owned() }
        } else {
            Outcome::Written { server: Some(gtid.server), gtid: Some(gtid) }
        };
        history.append(&Record::Complete { process, at: Nanos(now + STEP / 2), outcome })?;
    }
    history.append(&Record::Mark { at: Nanos(now + STEP), mark: Mark::LoadEnded })?;
    finish(history, &sequences, transaction)
}

fn finish<W: Write>(mut history: Writer<W>, sequences: &[u32], last: u64) -> Result<(), Box<dyn std::error::Error>> {
    let mut present = TokenSet::default();
    for (writer, &newest) in sequences.iter().enumerate() {
        let mut all = Intervals::new();
        all.insert_range(1, newest);
        present.add(writer as u32, &all);
    }
    let state: GtidState = format!("0-1-{},0-2-{last}", last / 2).parse()?;
    history.append(&Record::Primary(Box::new(Primary::Server(2))))?;
    for (node, server) in [("east-1", 1), ("east-2", 2)] {
        let state = NodeState {
            server,
            position: state.position(),
            binlog_state: state.clone(),
            converged: true,
            present: present.clone(),
            duplicates: TokenSet::default(),
            tables: vec![TableFingerprint { table: "load".to_owned(), content: Ok((last, 1)) }],
        };
        history.append(&Record::Final(Box::new(FinalRead { node: node.to_owned(), state: Ok(state) })))?;
    }
    history.finish(Trailer::default())?;
    Ok(())
}
