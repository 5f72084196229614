//! Reading binary logs from their files, with `mariadb-binlog`, so that a server need not run for it.
//!
//! The tool's own `--start-position=GTID` compares sequences and ignores who wrote them (MDEV-37231), which is wrong
//! just where two histories differ. So it prints whole files, and [`Scanner`] picks.

use super::option;
use super::server::Server;
use crate::error::EngineError;
use firedrill_host::process::{Child, Signal, Spawn, Stream};
use firedrill_model::command::{TRANSACTIONS_MAX, TransactionSummary};
use firedrill_model::{Gtid, NodeReply};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::unix::pipe;

/// Most characters of a statement in a summary.
const STATEMENT_CHARS_MAX: usize = 200;

/// Most tables named in one summary.
const TABLES_MAX: usize = 8;

impl Server {
    /// [`firedrill_model::NodeCommand::ListTransactions`].
    pub(crate) async fn list_transactions(&self, ranges: &[(Gtid, Gtid)]) -> Result<NodeReply, EngineError> {
        let files = files(&self.config.data_dir, &option::binlog_base(&self.config))?;
        // Backwards to the file at whose beginning none of the wanted had been written.
        let mut first = files.len();
        while first > 0 {
            first -= 1;
            if self.begins_before(&files[first], ranges).await? {
                break;
            }
        }
        let mut scanner = Scanner::new(ranges);
        for file in &files[first..] {
            self.print(file, |line| {
                scanner.line(line);
                true
            })
            .await?;
        }
        let (listed, total) = scanner.finish();
        Ok(NodeReply::Transactions { listed, total })
    }

    /// Whether this file's list of earlier transactions has none of the wanted.
    async fn begins_before(&self, file: &Path, ranges: &[(Gtid, Gtid)]) -> Result<bool, EngineError> {
        let mut head = GtidList::default();
        self.print(file, |line| head.line(line)).await?;
        Ok(ranges.iter().all(|(start, _)| {
            !head.gtids.iter().any(|gtid| {
                (gtid.domain, gtid.server) == (start.domain, start.server) && gtid.sequence >= start.sequence
            })
        }))
    }

    /// Feeds the printed lines of a file until there are no more or `take` has enough.
    async fn print(&self, file: &Path, mut take: impl FnMut(&str) -> bool) -> Result<(), EngineError> {
        let program = &self.config.binaries.mariadb_binlog;
        let spawn = Spawn::new(program)
            .args(["--no-defaults", "--base64-output=decode-rows", "--verbose"])
            .arg(file)
            .stdout(Stream::Pipe)
            .stderr(Stream::Null);
        let mut printer = Printer(spawn.spawn()?);
        let unreadable = |problem| EngineError::file("read with mariadb-binlog", file, problem);
        let output = printer.0.stdout.take().ok_or_else(|| unreadable(std::io::ErrorKind::BrokenPipe.into()))?;
        let mut lines = BufReader::new(pipe::Receiver::from_owned_fd(output).map_err(unreadable)?);
        let mut line = Vec::new();
        loop {
            line.clear();
            if lines.read_until(b'\n', &mut line).await.map_err(unreadable)? == 0 {
                break;
            }
            if !take(String::from_utf8_lossy(&line).trim_end_matches('\n')) {
                return Ok(());
            }
        }
        let exit = printer.0.exited().await?;
        // The last file of a server that crashed may end in the middle of an event; what comes before it is whole.
        if !exit.success() {
            tracing::info!(file = %file.display(), %exit, "mariadb-binlog did not reach the end of the file");
        }
        Ok(())
    }
}

struct Printer(Child);

impl Drop for Printer {
    fn drop(&mut self) {
        // It has ended unless we have read enough.
        let _gone = self.0.signal(Signal::SIGKILL);
    }
}

/// The binary logs of a data directory, oldest first, as their index names them.
pub(super) fn files(data_dir: &Path, base: &str) -> Result<Vec<PathBuf>, EngineError> {
    let index = data_dir.join(format!("{base}.index"));
    let text = std::fs::read_to_string(&index).map_err(|problem| EngineError::file("read", &index, problem))?;
    Ok(text.lines().filter(|line| !line.is_empty()).map(|line| data_dir.join(line.trim_start_matches("./"))).collect())
}

/// The GTID list at the head of a file.
#[derive(Debug, Default)]
struct GtidList {
    gtids: Vec<Gtid>,
    inside: bool,
}

impl GtidList {
    /// Takes a line; false when the list is complete.
    fn line(&mut self, line: &str) -> bool {
        let text = match line.split_once("Gtid list [") {
            Some((_, rest)) => {
                self.inside = true;
                rest
            }
            None if self.inside => line.trim_start_matches('#').trim(),
            None => return true,
        };
        let (text, more) = match text.split_once(']') {
            Some((text, _)) => (text, false),
            None => (text, true),
        };
        self.gtids.extend(text.split(',').filter_map(|gtid| gtid.trim().parse::<Gtid>().ok()));
        more
    }
}

/// Picks transactions of wanted ranges from the lines that `mariadb-binlog --verbose` prints.
#[derive(Debug)]
struct Scanner<'a> {
    ranges: &'a [(Gtid, Gtid)],
    listed: Vec<TransactionSummary>,
    total: u64,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    gtid: Gtid,
    at: String,
    /// Rows by verb and table.
    rows: BTreeMap<String, u64>,
    statement: String,
    in_query: bool,
}

impl<'a> Scanner<'a> {
    fn new(ranges: &'a [(Gtid, Gtid)]) -> Self {
        Self { ranges, listed: Vec::new(), total: 0, current: None }
    }

    fn line(&mut self, line: &str) {
        if let Some((at, event)) = header(line) {
            let gtid = event.strip_prefix("GTID ").and_then(|rest| rest.split(' ').next()?.parse::<Gtid>().ok());
            match (gtid, &mut self.current) {
                (Some(gtid), _) => self.begin(gtid, at),
                (None, Some(current)) => current.in_query = event.starts_with("Query"),
                (None, None) => {}
            }
        } else if let Some(current) = &mut self.current {
            current.line(line);
        }
    }

    fn begin(&mut self, gtid: Gtid, at: String) {
        self.end();
        let wanted = self.ranges.iter().any(|(first, last)| {
            (gtid.domain, gtid.server) == (first.domain, first.server)
                && (first.sequence..=last.sequence).contains(&gtid.sequence)
        });
        self.current =
            wanted.then(|| Current { gtid, at, rows: BTreeMap::new(), statement: String::new(), in_query: false });
    }

    fn end(&mut self) {
        let Some(current) = self.current.take() else { return };
        self.total += 1;
        if self.listed.len() < TRANSACTIONS_MAX {
            self.listed.push(current.summary());
        }
    }

    fn finish(mut self) -> (Vec<TransactionSummary>, u64) {
        self.end();
        (self.listed, self.total)
    }
}

impl Current {
    fn line(&mut self, line: &str) {
        let row = [("### INSERT INTO ", "INSERT"), ("### UPDATE ", "UPDATE"), ("### DELETE FROM ", "DELETE")]
            .into_iter()
            .find_map(|(prefix, verb)| Some(format!("{verb} {}", line.strip_prefix(prefix)?.replace('`', ""))));
        if let Some(row) = row {
            if self.rows.len() < TABLES_MAX || self.rows.contains_key(&row) {
                *self.rows.entry(row).or_insert(0) += 1;
            }
        } else if self.in_query && !is_surrounding(line) && self.statement.len() < STATEMENT_CHARS_MAX {
            if !self.statement.is_empty() {
                self.statement.push(' ');
            }
            self.statement.push_str(line.trim());
        }
    }

    fn summary(self) -> TransactionSummary {
        let rows: Vec<String> = self.rows.iter().map(|(row, count)| format!("{row} x{count}")).collect();
        let text =
            if rows.is_empty() { self.statement.chars().take(STATEMENT_CHARS_MAX).collect() } else { rows.join(", ") };
        TransactionSummary { gtid: self.gtid, at: self.at, text }
    }
}

/// Lines that the tool puts around a statement.
fn is_surrounding(line: &str) -> bool {
    ["SET ", "/*!", "# at ", "#Q>", "START TRANSACTION", "BEGIN", "COMMIT", "use ", "DELIMITER", "# "]
        .iter()
        .any(|prefix| line.starts_with(prefix))
}

/// `#261123  2:32:47 server id 2  end_log_pos 952 CRC32 0x85ddebcb <tab>GTID 0-2-2022 trans`: the time and the event.
fn header(line: &str) -> Option<(String, &str)> {
    let rest = line.strip_prefix('#')?;
    let (at, rest) = rest.split_once(" server id ")?;
    let digits = at.get(..6).is_some_and(|date| date.bytes().all(|byte| byte.is_ascii_digit()));
    let (_, event) = rest.split_once('\t')?;
    digits.then(|| (at.split_whitespace().collect::<Vec<_>>().join(" "), event))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "\
#261123  1:49:10 server id 2  end_log_pos 315 CRC32 0xdc96cdc1 \tGtid list [0-1-2009,
# 0-2-2018]
# at 315
#261123  1:52:41 server id 2  end_log_pos 437 CRC32 0xf1c2c25b \tGTID 0-2-2021 ddl
/*M!100001 SET @@session.gtid_seq_no=2019*//*!*/;
# at 437
#261123  1:52:41 server id 2  end_log_pos 568 CRC32 0xdc68483b \tQuery\tthread_id=61\texec_time=0
SET TIMESTAMP=1795398761/*!*/;
/*!\\C utf8mb3 *//*!*/;
create table app.k
  (id int primary key)
/*!*/;
#261123  2:32:47 server id 2  end_log_pos 952 CRC32 0x85ddebcb \tGTID 0-2-2022 trans
START TRANSACTION
/*!*/;
# at 952
#261123  2:32:47 server id 2  end_log_pos 1015 CRC32 0xbe3f570a \tAnnotate_rows:
#Q> insert into app.k values (1,'GTID 0-2-9 trans')
#261123  2:32:47 server id 2  end_log_pos 1109 CRC32 0xd711fa36 \tWrite_rows: table id 22 flags: STMT_END_F
### INSERT INTO `app`.`k`
### SET
###   @1=1
### INSERT INTO `app`.`k`
### SET
###   @1=2
#261123  2:32:47 server id 2  end_log_pos 1140 CRC32 0xd3c7d9d3 \tXid = 4269
COMMIT/*!*/;
#261123  2:32:48 server id 2  end_log_pos 1182 CRC32 0xb8d27e9e \tGTID 0-3-2022 trans
### DELETE FROM `app`.`k`
";

    fn gtid(text: &str) -> Gtid {
        text.parse().expect(text)
    }

    #[test]
    fn wanted_transactions_are_summed_up_and_others_are_not() {
        let ranges = [(gtid("0-2-2020"), gtid("0-2-2030"))];
        let mut scanner = Scanner::new(&ranges);
        PRINTED.lines().for_each(|line| scanner.line(line));
        let (listed, total) = scanner.finish();
        assert_eq!(total, 2);
        assert_eq!(listed[0].text, "create table app.k (id int primary key)");
        assert_eq!((listed[1].at.as_str(), listed[1].text.as_str()), ("261123 2:32:47", "INSERT app.k x2"));
    }

    #[test]
    fn the_list_at_the_head_may_span_lines() {
        let mut list = GtidList::default();
        let more: Vec<bool> = PRINTED.lines().take(2).map(|line| list.line(line)).collect();
        assert_eq!((more, list.gtids), (vec![true, false], vec![gtid("0-1-2009"), gtid("0-2-2018")]));
    }

    #[test]
    fn more_than_can_be_listed_is_counted() {
        let ranges = [(gtid("0-1-1"), gtid("0-1-5000"))];
        let mut scanner = Scanner::new(&ranges);
        for sequence in 1..=TRANSACTIONS_MAX + 5 {
            scanner.line(&format!("#261123  2:32:48 server id 1  end_log_pos 1 \tGTID 0-1-{sequence} trans"));
        }
        let (listed, total) = scanner.finish();
        assert_eq!((listed.len(), total), (TRANSACTIONS_MAX, TRANSACTIONS_MAX as u64 + 5));
    }
}
