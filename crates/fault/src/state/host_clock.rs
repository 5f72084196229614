//! Host clock: the wall clock of the whole machine is wrong, or runs fast or slow.
//!
//! The kernel binds this to nobody's life, so the undo record holds what is needed to know the right time at any later
//! moment: the wall clock beside a clock that nobody sets, from before. What is put back is that time, not the old one.

use crate::FaultError;
use crate::claim::Claim;
use crate::journal::Undo;
use crate::kinds::{Asked, Checking, Effect, Failure, Family, Kind, Mechanism, Pending, Refusal, Scope, StillThere};
use crate::shape::{Parameters, Shape};
use crate::state::offset::Offset;
use firedrill_host::capabilities::{self, Capability, Need};
use firedrill_host::clock::{self, Rate, Reading};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;
use tokio::time::sleep;

/// Further than any certificate.
const OFFSET_MAX: Duration = Duration::from_secs(3650 * 86_400);
/// Less cannot be told from what asking takes.
const OFFSET_MIN: Duration = Duration::from_micros(500);
/// The kernel runs its clocks a tenth faster or slower at most.
const DRIFT_PPM_MAX: i32 = 100_000;
/// Less cannot be told from the machine's own drift within a second.
const DRIFT_PPM_MIN: i32 = 50;
/// A tick counts for a ten-thousandth more or less with each step; the rest goes into the frequency.
const PPM_PER_TICK: i32 = 100;
const FREQUENCY_PER_PPM: i64 = 65_536;
/// A drift is measured for so long.
const MEASURED_FOR: Duration = Duration::from_secs(1);
/// What reading several clocks takes, on emulated processors too.
const READ_NS: i64 = 100_000;
/// How far off a clock may be left that has drifted.
const LEFT_NS: i64 = 250_000;
/// A new rate is in force after a tick of the kernel.
const TAKES_EFFECT: Duration = Duration::from_millis(20);
/// A clock that is put right while its rate changes is looked at again.
const TRIES_MAX: u32 = 3;
/// Names of the machine's first namespaces: numbers that are part of the kernel's interface.
const FIRST: [(&str, &str); 2] = [("pid", "pid:[4026531836]"), ("user", "user:[4026531837]")];
const NEEDS: &[Need] = &[Need::Capability(Capability::SysTime)];

/// The wall clock of the whole machine is ahead or behind, or all of its clocks run fast or slow, for every process and
/// every container on it. Afterwards it is put to the right time: that of before and what has passed since, by a clock
/// that nobody sets. An agent that is killed has it put right by its rescue process; while an agent hangs, that happens at
/// the deadline.
///
/// Refused in containers and on hosts of a sandbox, as the clock is not theirs. A client of NTP (chrony, ntpd,
/// systemd-timesyncd) may put the clock right meanwhile, which ends the attack and is reported: block it with `partition`,
/// `protocol: udp`, `remote_ports: [123]`. Certificates and leases of this agent's own connections are judged by the wrong
/// clock, too. With a drift, timers and deadlines run fast or slow as well. The hardware's clock is left alone.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct HostClock {
    /// How far ahead, or behind (`-90s`), the clock is; 500us to 3650 days.
    #[serde(default)]
    #[schemars(default)]
    offset: Option<Offset>,
    /// How much faster all clocks run, in millionths, 50 to 100000; negative: slower. 1000 gains 3.6 s in an hour.
    #[serde(default)]
    drift_ppm: i32,
    /// Must be `true`: the clock belongs to the machine and to all that runs on it.
    #[serde(default)]
    whole_machine: bool,
}

impl HostClock {
    fn offset(&self) -> Offset {
        self.offset.unwrap_or_default()
    }
}

impl Parameters for HostClock {
    fn check(&self) -> Result<(), String> {
        let offset = self.offset().length();
        if !self.whole_machine {
            return Err(
                "the clock belongs to the machine and to all that runs on it; say `whole_machine: true` when that is \
                        meant, or use `time-skew` for single processes"
                    .to_owned(),
            );
        }
        if offset.is_zero() && self.drift_ppm == 0 {
            return Err("neither an `offset` nor a `drift_ppm` is asked for: nothing would happen".to_owned());
        }
        if !offset.is_zero() && !(OFFSET_MIN..=OFFSET_MAX).contains(&offset) {
            return Err("an `offset` is from 500us to 3650 days".to_owned());
        }
        let drift = self.drift_ppm.abs();
        if drift != 0 && !(DRIFT_PPM_MIN..=DRIFT_PPM_MAX).contains(&drift) {
            return Err(format!("a drift of {} ppm is not from {DRIFT_PPM_MIN} to {DRIFT_PPM_MAX}", self.drift_ppm));
        }
        Ok(())
    }
}

pub(crate) static KIND: Kind = Kind {
    name: "host-clock",
    summary: "The wall clock of the whole machine is ahead, behind, fast or slow.",
    family: Family::State,
    scope: Scope::Host,
    instant: false,
    shape: Shape::of::<HostClock>(),
    needs: NEEDS,
    mechanism,
    preflight,
    undo,
    verify_undone,
};

const BY: &str = "the machine's clock (adjtimex), put to the right time afterwards";

fn mechanism() -> Result<String, String> {
    match shared_with() {
        Some(why) => Err(why),
        None => Ok(BY.to_owned()),
    }
}

/// Why the clock is not this host's alone.
fn shared_with() -> Option<String> {
    for (kind, first) in FIRST {
        // What cannot be read is not known to be the machine's.
        let own = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap_or_default();
        if own.to_string_lossy() != first {
            return Some(format!(
                "this agent runs in a container ({kind} namespace), whose clock is that of the machine: run the agent of the \
                 machine itself"
            ));
        }
    }
    let own = std::fs::metadata("/proc/thread-self/ns/net").ok()?;
    let first = std::fs::metadata("/proc/1/ns/net").ok();
    let named = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let named = named.filter_map(|entry| std::fs::metadata(entry.path()).ok());
    let same = |one: &std::fs::Metadata| (one.dev(), one.ino()) == (own.dev(), own.ino());
    if first.is_some_and(|first| !same(&first)) || named.into_iter().any(|named| same(&named)) {
        return Some(
            "this agent is in a network namespace of its own, as a host of a sandbox is, whose clock is that of the machine: \
             run the agent of the machine itself"
                .to_owned(),
        );
    }
    None
}

/// What is changed, and what is needed to know the right time later. This is the undo record.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Changed {
    claim: String,
    /// When the clock was right.
    right: Reading,
    offset_ns: i64,
    before: Rate,
    during: Rate,
    /// Somebody vouched for the clock.
    vouched_for: bool,
}

impl Changed {
    fn drifts(&self) -> bool {
        self.before != self.during
    }

    /// How far the wall clock is ahead of the right time.
    fn ahead(&self, now: &Reading) -> i64 {
        let elapsed = if self.drifts() {
            // All other clocks drift, too. This one runs as the hardware does, and by the rate of before that was right.
            let raw = now.raw - self.right.raw;
            (raw as f64 * self.before.factor()) as i64 + (now.asleep - self.right.asleep)
        } else {
            now.since_boot - self.right.since_boot
        };
        now.wall - self.right.wall - elapsed
    }

    /// Whether the clock is right again. Somebody else may have put it right, and knows better by how much.
    fn is_right(&self, ahead: i64) -> bool {
        let most = if self.drifts() { LEFT_NS } else { self.offset_ns.abs() / 2 };
        ahead.abs() <= most
    }

    /// Whether that rate is the one that was set here.
    fn is_ours(&self, rate: Rate) -> bool {
        let Self { before, during, .. } = self;
        // A client of NTP changes the frequency alone.
        self.drifts() && (rate == *during || (rate.tick == during.tick && during.tick != before.tick))
    }

    /// How fast it gains, for each nanosecond.
    fn gain(&self) -> f64 {
        self.during.factor() / self.before.factor() - 1.0
    }
}

/// The rate that is so many millionths more than another.
fn faster(before: Rate, ppm: i32) -> Rate {
    let ticks = ppm / PPM_PER_TICK;
    let rest = i64::from(ppm - ticks * PPM_PER_TICK);
    Rate { tick: before.tick + i64::from(ticks), frequency: before.frequency + rest * FREQUENCY_PER_PPM }
}

fn preflight(asked: Asked) -> Checking {
    Box::pin(async move {
        let wanted: HostClock = asked.parameters()?;
        if let Some(missing) = capabilities::missing(NEEDS).first() {
            return Err(Refusal(missing.to_string()));
        }
        mechanism().map_err(Refusal)?;
        let claim = Claim::take("the clock of this machine".to_owned(), &asked)?;
        let keeping = clock::keeping()?;
        let changed = Changed {
            claim: claim.object().to_owned(),
            right: Reading::now(),
            offset_ns: wanted.offset().nanos(),
            before: keeping.rate,
            during: faster(keeping.rate, wanted.drift_ppm),
            vouched_for: keeping.vouched_for,
        };
        Ok(Box::new(WrongClock { changed, put_in: None, _claim: claim }) as Box<dyn Mechanism>)
    })
}

struct WrongClock {
    changed: Changed,
    /// How it was then.
    put_in: Option<Reading>,
    _claim: Claim,
}

impl WrongClock {
    /// How far ahead the clock is, and how far it should be.
    fn compare(&self, now: &Reading) -> (i64, i64) {
        let since = self.put_in.map_or(0, |put_in| now.raw - put_in.raw);
        (self.changed.ahead(now), self.changed.offset_ns + (since as f64 * self.changed.gain()) as i64)
    }

    /// Whether what was asked for is there. Half of an offset is left to a client of NTP that is at work.
    fn in_force(&self, part: i64) -> Result<(), String> {
        let (ahead, expected) = self.compare(&Reading::now());
        let client = "a client of NTP, which `partition` with `remote_ports: [123]` blocks";
        if self.changed.offset_ns != 0 && (ahead - expected).abs() > expected.abs() / part + READ_NS {
            return Err(format!(
                "somebody has set the clock ({client}?): it is {} ahead, and should be {}",
                seconds(ahead),
                seconds(expected)
            ));
        }
        let rate = clock::keeping().map_err(|problem| problem.full())?.rate;
        if self.changed.drifts() && !self.changed.is_ours(rate) {
            return Err(format!("somebody has set the clock's speed ({client}?)"));
        }
        Ok(())
    }
}

fn seconds(nanos: i64) -> String {
    format!("{:+.6} s", nanos as f64 / 1e9)
}

impl Mechanism for WrongClock {
    fn describe(&self) -> String {
        let vouched = if self.changed.vouched_for { "; a client of NTP keeps it" } else { "" };
        format!("{BY}{vouched}")
    }

    fn undo(&self) -> Result<Undo, FaultError> {
        Undo::by(&self.changed)
    }

    fn inject(&mut self, _lease: Duration) -> Pending<'_, Result<(), Failure>> {
        Box::pin(async {
            // Otherwise the kernel writes the wrong time to the hardware, where it would outlive a boot.
            if self.changed.vouched_for {
                clock::vouch(false)?;
            }
            if self.changed.drifts() {
                clock::set_rate(self.changed.during)?;
            }
            if self.changed.offset_ns != 0 {
                clock::step(self.changed.offset_ns)?;
            }
            self.put_in = Some(Reading::now());
            Ok(())
        })
    }

    fn verify(&mut self) -> Pending<'_, Effect> {
        Box::pin(async {
            let mut said = Vec::new();
            if self.changed.drifts() {
                sleep(TAKES_EFFECT).await;
                let before = Reading::now();
                sleep(MEASURED_FOR).await;
                let now = Reading::now();
                let (wall, raw) = (now.wall - before.wall, now.raw - before.raw);
                let measured = wall as f64 / raw as f64 / self.changed.before.factor() - 1.0;
                let asked = self.changed.gain();
                let figures =
                    format!("asked {:+.0} ppm, measured {:+.1} ppm over a second", asked * 1e6, measured * 1e6);
                if (measured - asked).abs() > asked.abs() / 4.0 {
                    return Effect::NotSeen(figures);
                }
                said.push(figures);
            }
            let (ahead, _) = self.compare(&Reading::now());
            if self.changed.offset_ns != 0 {
                let asked = seconds(self.changed.offset_ns);
                said.push(format!("asked {asked}, measured {} against clocks that nobody sets", seconds(ahead)));
            }
            let figures = said.join("; ");
            match self.in_force(10) {
                Ok(()) => Effect::Seen(figures),
                Err(why) => Effect::NotSeen(format!("{figures}; {why}")),
            }
        })
    }

    fn renew(&mut self, _lease: Duration) -> Result<(), String> {
        self.in_force(2)
    }
}

fn undo(undo: &Undo) -> Pending<'_, Result<(), Failure>> {
    Box::pin(async move {
        let Some(changed) = undo.read::<Changed>()? else { return Ok(()) };
        if changed.is_ours(clock::keeping()?.rate) {
            clock::set_rate(changed.before)?;
            sleep(TAKES_EFFECT).await;
        }
        for _ in 0..TRIES_MAX {
            let ahead = changed.ahead(&Reading::now());
            if changed.is_right(ahead) {
                break;
            }
            clock::step(-ahead)?;
        }
        if changed.vouched_for && !clock::keeping()?.vouched_for {
            clock::vouch(true)?;
        }
        Ok(())
    })
}

fn verify_undone(undo: &Undo) -> Pending<'_, Result<String, StillThere>> {
    Box::pin(async move {
        let Some(changed) = undo.read::<Changed>()? else { return Ok("no clock was changed".to_owned()) };
        let ahead = changed.ahead(&Reading::now());
        if changed.is_ours(clock::keeping()?.rate) {
            return Err(StillThere("the machine's clocks still run at another speed".to_owned()));
        }
        if !changed.is_right(ahead) {
            return Err(StillThere(format!("the machine's clock is still {} ahead", seconds(ahead))));
        }
        Ok(format!("the machine's clock is right again, to {}", seconds(ahead)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: Rate = Rate { tick: 10_000, frequency: 0 };
    const SECOND: i64 = 1_000_000_000;

    fn changed(offset_ns: i64, drift_ppm: i32) -> Changed {
        let right = Reading { wall: 1_700_000_000 * SECOND, since_boot: 50 * SECOND, raw: 40 * SECOND, asleep: 0 };
        let during = faster(BEFORE, drift_ppm);
        Changed { claim: String::new(), right, offset_ns, before: BEFORE, during, vouched_for: false }
    }

    /// So long after a reading.
    fn later(from: &Reading, seconds: i64) -> Reading {
        let by = seconds * SECOND;
        Reading { wall: from.wall + by, since_boot: from.since_boot + by, raw: from.raw + by, asleep: from.asleep }
    }

    fn check(text: &str) -> Result<(), String> {
        serde_json::from_str::<HostClock>(text).map_err(|problem| problem.to_string())?.check()
    }

    #[test]
    fn it_must_be_meant_and_must_do_something() {
        assert!(check(r#"{"offset": "1h"}"#).is_err_and(|why| why.contains("whole_machine")));
        for nothing in ["", r#", "offset": "1us""#, r#", "offset": "4000d""#, r#", "drift_ppm": 200000"#] {
            assert!(check(&format!(r#"{{"whole_machine": true{nothing}}}"#)).is_err(), "{nothing}");
        }
        assert!(check(r#"{"whole_machine": true, "offset": "-1h", "drift_ppm": -100}"#).is_ok());
    }

    #[test]
    fn a_rate_is_made_of_ticks_and_the_rest() {
        assert_eq!(faster(BEFORE, 1250), Rate { tick: 10_012, frequency: 50 * 65_536 });
        assert_eq!(faster(BEFORE, -60), Rate { tick: 10_000, frequency: -60 * 65_536 });
    }

    #[test]
    fn the_right_time_has_gone_on_meanwhile() {
        let jumped = changed(3600 * SECOND, 0);
        let mut now = later(&jumped.right, 10);
        assert_eq!(jumped.ahead(&now), 0);
        now.wall += 3600 * SECOND;
        assert_eq!(jumped.ahead(&now), 3600 * SECOND);
        assert!(!jumped.is_right(3600 * SECOND) && jumped.is_right(30_000_000), "a client of NTP knows better");
    }

    #[test]
    fn a_drift_moves_every_clock_but_the_raw_one() {
        let fast = changed(0, 1000);
        let mut now = later(&fast.right, 1000);
        now.wall += SECOND;
        now.since_boot += SECOND;
        assert_eq!(fast.ahead(&now), SECOND);
        // Two minutes asleep, which the raw clock does not see.
        (now.wall, now.asleep) = (now.wall + 120 * SECOND, now.asleep + 120 * SECOND);
        assert_eq!(fast.ahead(&now), SECOND);
        assert!(fast.is_ours(fast.during) && !fast.is_ours(fast.before));
        assert!(!changed(SECOND, 0).is_ours(BEFORE), "without a drift there is no rate of ours");
    }
}
