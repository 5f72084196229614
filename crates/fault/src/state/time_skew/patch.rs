//! The change of a process's clock functions: five bytes at the beginning of each, which jump to the stub behind them.
//!
//! The pages are the process's own copies from then on; no other process sees the change, but those that it forks get a
//! copy. Code is only changed while all threads stand still and none is inside what changes, nor will return there
//! from a signal handler.

use super::stub::{Stub, Terms};
use super::vdso::{self, Vdso};
use firedrill_host::HostError;
use firedrill_host::process::{Identity, Image, Mapping, Standing, as_tracer, mappings, stand_still};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::time::Duration;

/// How long a process stands still at most while one of its threads hangs in a device.
const STILL_WITHIN: Duration = Duration::from_millis(100);
/// It is let go and held again so often when a thread was in the way.
const ATTEMPTS_MAX: u32 = 50;
const LET_GO: Duration = Duration::from_millis(5);
/// What a signal handler returns to stands that near to the top of the stack, unless it calls very deep.
const STACK_BYTES: usize = 16 * 1024;
/// A jump: one byte that says so, four that say how far.
const JUMP_BYTES: usize = 5;
/// Addresses of functions are looked for in that much of a program's and its libraries' data.
const DATA_BYTES_MAX: u64 = 64 << 20;
const AT_ONCE: usize = 1 << 20;

const VDSO: &str = "[vdso]";

/// The vDSO that this kernel gives to all 64-bit processes.
pub(super) struct Kernel {
    image: Vec<u8>,
    vdso: Vdso,
}

impl Kernel {
    /// As this process has it.
    pub(super) fn look() -> Result<Self, String> {
        let me = Identity::current().map_err(|problem| problem.full())?;
        let (_, image) = vdso_of(me)?.ok_or("this kernel maps no clock functions (vDSO) into processes")?;
        let unknown = "this kernel's clock functions (vDSO) are not of the form that is known here";
        let vdso = vdso::parse(&image).ok_or(unknown)?;
        Ok(Self { image, vdso })
    }

    /// Whether so many bytes have room behind the functions.
    pub(super) fn has_room(&self, bytes: usize) -> Result<(), String> {
        if self.vdso.clocks.iter().any(|(_, length)| *length < JUMP_BYTES) || self.vdso.room.len() < bytes {
            let room = self.vdso.room.len();
            return Err(format!(
                "this kernel's vDSO has room for {room} bytes behind its functions, {bytes} are needed"
            ));
        }
        Ok(())
    }
}

/// Where a process has its vDSO, and what is in it.
fn vdso_of(process: Identity) -> Result<Option<(Mapping, Vec<u8>)>, String> {
    let found = || {
        let Some(mapping) = mappings(process)?.into_iter().find(|mapping| mapping.name == VDSO) else {
            return Ok(None);
        };
        let bytes = usize::try_from(mapping.bytes()).unwrap_or(usize::MAX).min(AT_ONCE);
        let image = Image::open(process)?.read(mapping.start, bytes)?;
        Ok(Some((mapping, image)))
    };
    found().map_err(|problem: HostError| problem.full())
}

/// What is changed in one process. This is also its undo record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Patch {
    pub(super) process: Identity,
    /// Where its vDSO begins: another address means that it runs another program since.
    vdso: u64,
    /// Where the stub goes, and how many bytes it has; zeros were there before.
    stub: u64,
    length: usize,
    /// Where in the stub its owner and its deadline stand.
    owner: Range<usize>,
    deadline: usize,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    address: u64,
    before: Vec<u8>,
    jump: Vec<u8>,
}

/// What was found in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// It has ended, or runs another program.
    Gone,
    /// Nothing of the patch is there.
    Nothing,
    /// Something of it is there.
    Patched,
}

/// How a try ended.
enum Tried {
    Done,
    /// A thread was in the way.
    Busy,
}

impl Patch {
    /// What would be changed in a process, or why that cannot be.
    pub(super) fn plan(process: Identity, kernel: &Kernel, stub: &Stub) -> Result<Self, String> {
        kernel.has_room(stub.bytes.len())?;
        let Some((mapping, image)) = vdso_of(process)? else {
            return Err("it has no clock functions of the kernel (vDSO), so it asks the kernel itself".to_owned());
        };
        if image != kernel.image {
            return Err(
                "its clock functions (vDSO) are not the kernel's own: it is a 32-bit program, or somebody has \
                        changed them, an attack on it or on a process that it was forked from, perhaps"
                    .to_owned(),
            );
        }
        let far = |offset: usize| mapping.start + offset as u64;
        let room = kernel.vdso.room.start;
        let entries = kernel.vdso.clocks.iter().zip(stub.entries).map(|((begin, _), to)| {
            let distance = (room + to) as i64 - (begin + JUMP_BYTES) as i64;
            let distance = i32::try_from(distance).map_err(|_| "its vDSO is larger than a jump".to_owned())?;
            let jump = [&[0xe9][..], &distance.to_le_bytes()].concat();
            Ok(Entry { address: far(*begin), before: image[*begin..begin + JUMP_BYTES].to_vec(), jump })
        });
        Ok(Self {
            process,
            vdso: mapping.start,
            stub: far(room),
            length: stub.bytes.len(),
            owner: stub.owner.clone(),
            deadline: stub.deadline,
            entries: entries.collect::<Result<_, String>>()?,
        })
    }

    /// Puts the stub in, and then the jumps to it: a crash in between leaves what nobody calls.
    pub(super) fn put_in(&self, stub: &Stub) -> Result<(), String> {
        let image = Image::open(self.process).map_err(|problem| problem.full())?;
        self.while_still(|standing| {
            for entry in &self.entries {
                if image.read(entry.address, JUMP_BYTES)? != entry.before {
                    return Ok(Err("its clock functions were changed by somebody else just now".to_owned()));
                }
                // Its first byte may be the next to run: that is where the jump begins.
                let inside = entry.address + 1..entry.address + JUMP_BYTES as u64;
                if standing.iter().any(|thread| is_inside(&image, thread, &inside)) {
                    return Ok(Ok(Tried::Busy));
                }
            }
            image.write(self.stub, &stub.bytes)?;
            for entry in &self.entries {
                image.write(entry.address, &entry.jump)?;
            }
            Ok(Ok(Tried::Done))
        })
    }

    /// Takes the jumps out, and then the stub. What is not of this owner is left alone.
    pub(super) fn take_out(&self, owner: u64) -> Result<(), String> {
        if self.find(owner)? != Found::Patched {
            return Ok(());
        }
        let opened = Image::open(self.process).and_then(|image| {
            // From here on the time is right, whatever happens below.
            self.set_deadline(&image, 0)?;
            Ok(image)
        });
        let image = match opened {
            Err(HostError::NoProcess { .. }) => return Ok(()),
            other => other.map_err(|problem| problem.full())?,
        };
        self.while_still(|standing| {
            for entry in &self.entries {
                if image.read(entry.address, JUMP_BYTES)? == entry.jump {
                    image.write(entry.address, &entry.before)?;
                }
            }
            let inside = self.stub..self.stub + self.length as u64;
            if standing.iter().any(|thread| is_inside(&image, thread, &inside)) {
                return Ok(Ok(Tried::Busy));
            }
            image.write(self.stub, &vec![0; self.length])?;
            Ok(Ok(Tried::Done))
        })
        .or_else(|problem| if self.process.alive() { Err(problem) } else { Ok(()) })
    }

    /// Looks for it. Bytes of another owner are not of this patch.
    pub(super) fn find(&self, owner: u64) -> Result<Found, String> {
        let Some((mapping, image)) = (match vdso_of(self.process) {
            Err(_) if !self.process.alive() => return Ok(Found::Gone),
            other => other?,
        }) else {
            return Ok(Found::Gone);
        };
        if mapping.start != self.vdso {
            return Ok(Found::Gone);
        }
        let at = |address: u64, bytes: usize| {
            let begin = usize::try_from(address.checked_sub(self.vdso)?).ok()?;
            image.get(begin..begin.checked_add(bytes)?)
        };
        let stub = at(self.stub, self.length).unwrap_or_default();
        let ours = stub.get(self.owner.clone()) == Some(&owner.to_le_bytes());
        Ok(if ours { Found::Patched } else { Found::Nothing })
    }

    /// The terms that hold in the process now, if all of the patch is there as it was put in.
    pub(super) fn read_back(&self, stub: &Stub) -> Result<Terms, String> {
        let image = Image::open(self.process).map_err(|problem| problem.full())?;
        let read = |address, bytes| image.read(address, bytes).map_err(|problem: HostError| problem.full());
        let there = read(self.stub, self.length)?;
        let whole = there.len() == stub.bytes.len() && there[..self.deadline] == stub.bytes[..self.deadline];
        let owned = there.get(self.owner.clone()) == stub.bytes.get(self.owner.clone());
        let mut jumps = true;
        for entry in &self.entries {
            jumps &= read(entry.address, JUMP_BYTES)? == entry.jump;
        }
        if !(whole && owned && jumps) {
            return Err("what was put into its clock functions is not there any more".to_owned());
        }
        Terms::read(&there[self.deadline..]).ok_or_else(|| "the stub is cut short".to_owned())
    }

    /// One aligned store of eight bytes: a thread that reads them meanwhile gets the old ones or the new ones.
    pub(super) fn set_deadline(&self, image: &Image, deadline: u64) -> Result<(), HostError> {
        let address = self.stub + self.deadline as u64;
        match image.write(address, &deadline.to_le_bytes()) {
            Err(problem) if problem.errno() == Some(libc::EIO) => {
                as_tracer(self.process, || image.write(address, &deadline.to_le_bytes()))?
            }
            other => other,
        }
    }

    /// Whether a C library or a runtime in the process has looked the functions up: their addresses stand in its data.
    pub(super) fn is_known_to_its_libraries(&self) -> bool {
        let Ok(image) = Image::open(self.process) else { return false };
        let wanted: Vec<[u8; 8]> = self.entries.iter().map(|entry| entry.address.to_le_bytes()).collect();
        let mut left = DATA_BYTES_MAX;
        for mapping in mappings(self.process).unwrap_or_default() {
            // Data of the program and of its libraries: read-only after relocation, or writable; never code.
            let data = mapping.rights.starts_with('r') && !mapping.rights.contains('x');
            if !data || !mapping.name.starts_with('/') || mapping.bytes() > left {
                continue;
            }
            left -= mapping.bytes();
            let mut address = mapping.start;
            while address < mapping.end {
                let bytes = usize::try_from(mapping.end - address).unwrap_or(AT_ONCE).min(AT_ONCE);
                let chunk = image.read_some(address, bytes);
                if chunk.chunks_exact(8).any(|word| wanted.iter().any(|wanted| wanted == word)) {
                    return true;
                }
                address += bytes as u64;
            }
        }
        false
    }

    /// Has something done while all threads stand still, again and again until none is in the way.
    fn while_still(
        &self,
        work: impl Fn(&[Standing]) -> Result<Result<Tried, String>, HostError> + Sync,
    ) -> Result<(), String> {
        let mut why = String::new();
        for _ in 0..ATTEMPTS_MAX {
            match stand_still(self.process, STILL_WITHIN, |standing| work(standing)) {
                Ok(Ok(Ok(Tried::Done))) => return Ok(()),
                Ok(Ok(Ok(Tried::Busy))) => "a thread was always in its clock functions".clone_into(&mut why),
                Err(problem @ HostError::TimedOut { .. }) => why = problem.full(),
                Ok(Ok(Err(problem))) => return Err(problem),
                Err(problem) | Ok(Err(problem)) => return Err(problem.full()),
            }
            std::thread::sleep(LET_GO);
        }
        Err(format!("process {} was held {ATTEMPTS_MAX} times in vain: {why}", self.process.pid))
    }
}

/// Whether a thread goes on there, at once or when a signal handler returns.
fn is_inside(image: &Image, thread: &Standing, range: &Range<u64>) -> bool {
    let stack = image.read_some(thread.stack, STACK_BYTES);
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
    range.contains(&thread.instruction) || stack.chunks_exact(8).any(|bytes| range.contains(&word(bytes)))
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use firedrill_host::process::{Signal, Spawn};

    const OWNER: u64 = 0x0123_4567_89ab_cdef;

    #[tokio::test(flavor = "current_thread")]
    async fn what_a_crash_left_half_done_is_taken_out_and_nothing_of_others() {
        let terms = Terms { deadline: 0, start: 0, rate: 0, jump: 0, offset: 0 };
        let stub = Stub::new(terms, OWNER).expect("this machine has one");
        let kernel = Kernel::look().expect("this kernel has a vDSO");
        // Nothing, the stub alone, and the stub with one, two and three jumps.
        for written in 0..=4 {
            let child = Spawn::new("sleep").arg("600").spawn().expect("starts");
            let patch = Patch::plan(child.identity(), &kernel, &stub).expect("can be changed");
            let image = Image::open(child.identity()).expect("opens");
            if written > 0 {
                image.write(patch.stub, &stub.bytes).expect("writes");
            }
            for entry in patch.entries.iter().take(usize::saturating_sub(written, 1)) {
                image.write(entry.address, &entry.jump).expect("writes");
            }
            let there = || vdso_of(child.identity()).expect("reads").expect("has one").1;
            patch.take_out(OWNER + 1).expect("another's is left alone");
            assert_eq!(there() == kernel.image, written == 0);
            for _ in 0..2 {
                patch.take_out(OWNER).expect("takes out");
                assert_eq!(patch.find(OWNER), Ok(Found::Nothing));
                assert!(there() == kernel.image, "{written} writes");
            }
            assert!(patch.read_back(&stub).is_err());
            child.signal(Signal::SIGKILL).expect("is sent");
            child.exited().await.expect("ends");
            assert_eq!(patch.find(OWNER), Ok(Found::Gone));
            patch.take_out(OWNER).expect("there is nothing to take out");
        }
    }
}
