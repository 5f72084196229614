//! The one place where operations get their times and go into the history, so that its order is its clock's order.

use firedrill_ledger::history::{Encoder, Header, Mark, Operation, Outcome, Record, Trailer, Via};
use firedrill_ledger::{Nanos, Token};
use firedrill_model::workload::Sample;
use firedrill_model::{Span, Timestamp};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Records operations and counts them for samples. The lock is held for the encoding of one record, never for I/O.
#[derive(Debug)]
pub(crate) struct Recorder {
    origin: Instant,
    wall_origin: Timestamp,
    processes: AtomicU32,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    encoder: Encoder,
    trailer: Trailer,
    window: Window,
    /// When the running sample began.
    window_began: Duration,
    acknowledged_total: u64,
}

/// What happened since the last sample.
#[derive(Debug, Default)]
struct Window {
    writes_ok: u32,
    writes_failed: u32,
    writes_unknown: u32,
    reads_ok: u32,
    reads_failed: u32,
    /// Of acknowledged writes, from their scheduled start.
    latencies: Vec<Duration>,
}

impl Recorder {
    /// Begins a history whose zero is `origin`.
    pub(crate) fn new(header: &Header, origin: Instant) -> Self {
        Self {
            origin,
            wall_origin: header.origin,
            processes: AtomicU32::new(0),
            inner: Mutex::new(Inner {
                encoder: Encoder::new(header),
                trailer: Trailer::default(),
                window: Window::default(),
                window_began: Duration::ZERO,
                acknowledged_total: 0,
            }),
        }
    }

    /// Time since the start of the history.
    pub(crate) fn elapsed(&self) -> Duration {
        self.origin.elapsed()
    }

    /// The monotonic moment that is `elapsed` after the start of the history.
    pub(crate) fn instant(&self, elapsed: Duration) -> tokio::time::Instant {
        (self.origin + elapsed).into()
    }

    /// A process id that was never used.
    pub(crate) fn process(&self) -> u32 {
        self.processes.fetch_add(1, Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while encoding leaves at worst a half record, which the reader's checksum and decoder would find.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write is about to be sent.
    pub(crate) fn begin_write(&self, process: u32, token: Token) {
        self.begin(process, Operation::Write(token));
    }

    /// A read is about to be sent.
    pub(crate) fn begin_read(&self, process: u32, via: Via, writer: u32) {
        self.begin(process, Operation::Read { via, writer });
    }

    fn begin(&self, process: u32, operation: Operation) {
        let mut inner = self.lock();
        let at = Nanos::from(self.elapsed());
        inner.encoder.append(&Record::Invoke { process, at, operation });
    }

    /// A write has ended; it was due at `scheduled` after the start.
    pub(crate) fn end_write(&self, process: u32, outcome: Outcome, scheduled: Duration) {
        let mut inner = self.lock();
        let now = self.elapsed();
        match outcome {
            Outcome::Written { .. } => {
                inner.window.writes_ok += 1;
                inner.acknowledged_total += 1;
                inner.window.latencies.push(now.saturating_sub(scheduled));
            }
            Outcome::Unknown { .. } => inner.window.writes_unknown += 1,
            Outcome::Failed { .. } | Outcome::Seen { .. } => inner.window.writes_failed += 1,
        }
        inner.encoder.append(&Record::Complete { process, at: now.into(), outcome });
    }

    /// A read has ended.
    pub(crate) fn end_read(&self, process: u32, outcome: Outcome) {
        let mut inner = self.lock();
        match outcome {
            Outcome::Seen { .. } => inner.window.reads_ok += 1,
            _ => inner.window.reads_failed += 1,
        }
        let at = Nanos::from(self.elapsed());
        inner.encoder.append(&Record::Complete { process, at, outcome });
    }

    /// Operations that were due are not begun.
    pub(crate) fn skip(&self, writes: u64, reads: u64) {
        if writes + reads > 0 {
            let mut inner = self.lock();
            inner.trailer.writes_skipped += writes;
            inner.trailer.reads_skipped += reads;
        }
    }

    /// Records that no operation is begun from here on.
    pub(crate) fn load_ended(&self) {
        let mut inner = self.lock();
        let at = Nanos::from(self.elapsed());
        inner.encoder.append(&Record::Mark { at, mark: Mark::LoadEnded });
    }

    /// Records something that is no operation.
    pub(crate) fn append(&self, record: &Record) {
        self.lock().encoder.append(record);
    }

    /// Closes the running sample; `None` when nothing of the clock has passed.
    pub(crate) fn sample(&self) -> Option<Sample> {
        let (mut window, over, now, acknowledged_total) = {
            let mut inner = self.lock();
            let now = self.elapsed();
            let over = now.checked_sub(inner.window_began).filter(|over| !over.is_zero())?;
            inner.window_began = now;
            (std::mem::take(&mut inner.window), over, now, inner.acknowledged_total)
        };
        window.latencies.sort_unstable();
        Some(Sample {
            at: self.wall_origin + Span(now),
            over: Span(micros(over)),
            writes_ok: window.writes_ok,
            writes_failed: window.writes_failed,
            writes_unknown: window.writes_unknown,
            reads_ok: window.reads_ok,
            reads_failed: window.reads_failed,
            write_p50: quantile(&window.latencies, 50),
            write_p99: quantile(&window.latencies, 99),
            acknowledged_total,
        })
    }

    /// All bytes of the history since the last call.
    pub(crate) fn take(&self) -> Vec<u8> {
        self.lock().encoder.take()
    }

    /// The last bytes of the history, and the number of operations in it. Nothing is recorded after this.
    pub(crate) fn finish(&self, header: &Header) -> (Vec<u8>, u64) {
        let mut inner = self.lock();
        let trailer = inner.trailer;
        let encoder = std::mem::replace(&mut inner.encoder, Encoder::new(header));
        let operations = encoder.operations();
        (encoder.finish(trailer), operations)
    }
}

/// Whole microseconds: what a chart needs and a line of text can bear.
fn micros(duration: Duration) -> Duration {
    Duration::from_micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}

/// The value below which `percent` of the sorted values lie (nearest rank).
fn quantile(sorted: &[Duration], percent: usize) -> Option<Span> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).map(|&latency| Span(micros(latency)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use firedrill_ledger::history::Reader;
    use firedrill_model::RunId;

    fn header() -> Header {
        Header {
            run: RunId("r".to_owned()),
            origin: Timestamp(1_000_000),
            nodes: Vec::new(),
            write_resolution: Span::millis(1),
            read_resolution: Span::millis(1),
            timeout: Span::secs(1),
        }
    }

    #[test]
    fn what_is_recorded_is_counted_and_read_back() {
        let recorder = Recorder::new(&header(), Instant::now());
        let outcomes = [
            Outcome::Written { server: Some(1), gtid: None },
            Outcome::Failed { reason: "read-only".to_owned() },
            Outcome::Unknown { reason: "no answer".to_owned() },
        ];
        for (sequence, outcome) in (1..).zip(outcomes) {
            let process = recorder.process();
            recorder.begin_write(process, Token { writer: 0, sequence });
            recorder.end_write(process, outcome, Duration::ZERO);
        }
        recorder.skip(3, 0);
        let sample = recorder.sample().expect("time has passed");
        assert_eq!((sample.writes_ok, sample.writes_failed, sample.writes_unknown), (1, 1, 1));
        assert!(sample.write_p50.is_some() && sample.write_p50 == sample.write_p99);
        assert_eq!(sample.acknowledged_total, 1);

        let mut bytes = recorder.take();
        let (rest, operations) = recorder.finish(&header());
        bytes.extend(rest);
        let mut reader = Reader::open(bytes.as_slice()).expect("a history");
        while reader.next().expect("whole").is_some() {}
        assert_eq!((reader.operations(), operations), (3, 3));
        assert_eq!(reader.trailer().map(|trailer| trailer.writes_skipped), Some(3));
    }
}
