//! The clock functions that the kernel maps into every process (the vDSO), and the room that is left behind them.

use std::collections::BTreeMap;
use std::ops::Range;

/// The functions that tell the wall clock's time.
pub(super) const CLOCKS: [&str; 3] = ["__vdso_clock_gettime", "__vdso_gettimeofday", "__vdso_time"];

/// What is known of the vDSO, as offsets from its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Vdso {
    /// Where each of [`CLOCKS`] begins, and how many bytes it has.
    pub(super) clocks: [(usize, usize); 3],
    /// Bytes that belong to nothing: zeros behind the last thing that the image has.
    pub(super) room: Range<usize>,
}

const SECTION_DYNSYM: u32 = 11;
const SEGMENT_LOAD: u32 = 1;
const SYMBOL_BYTES: usize = 24;
/// A vDSO has about fifteen of each; more is no vDSO.
const ENTRIES_MAX: usize = 4096;

/// Reads the ELF image of a 64-bit vDSO. `None` when it is something else, or damaged.
pub(super) fn parse(image: &[u8]) -> Option<Vdso> {
    if image.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let sections = table(image, 0x28, 0x3a, 0x3c)?;
    let segments = table(image, 0x20, 0x36, 0x38)?;
    let mut end = sections.end.max(segments.end);
    for segment in segments.entries(image) {
        if word(segment, 0)? == SEGMENT_LOAD {
            end = end.max(offset(segment, 8)?.checked_add(offset(segment, 32)?)?);
        }
    }
    let symbols = symbols(image, &sections)?;
    let mut clocks = [(0, 0); 3];
    for (place, name) in clocks.iter_mut().zip(CLOCKS) {
        *place = *symbols.get(name)?;
        image.get(place.0..place.0.checked_add(place.1)?)?;
    }
    let begin = end.checked_next_multiple_of(16)?;
    let unused = image.get(begin..)?.iter().all(|byte| *byte == 0);
    Some(Vdso { clocks, room: if unused { begin..image.len() } else { begin..begin } })
}

/// A table of entries of one size, within the image.
struct Table {
    begin: usize,
    end: usize,
    each: usize,
}

impl Table {
    fn entries<'a>(&self, image: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        image.get(self.begin..self.end).unwrap_or_default().chunks_exact(self.each.max(1))
    }
}

/// The table whose place, size of an entry and number of entries stand at these offsets of the header.
fn table(image: &[u8], place: usize, each: usize, count: usize) -> Option<Table> {
    let (begin, each, count) = (offset(image, place)?, half(image, each)?, half(image, count)?);
    if count > ENTRIES_MAX || each == 0 {
        return None;
    }
    let end = begin.checked_add(each.checked_mul(count)?)?;
    image.get(begin..end)?;
    Some(Table { begin, end, each })
}

/// Where each dynamic symbol is, and how long.
fn symbols<'a>(image: &'a [u8], sections: &Table) -> Option<BTreeMap<&'a str, (usize, usize)>> {
    let dynamic = sections.entries(image).find(|section| word(section, 4) == Some(SECTION_DYNSYM))?;
    let names = sections.entries(image).nth(usize::try_from(word(dynamic, 0x28)?).ok()?)?;
    let content = |section: &[u8]| {
        let begin = offset(section, 0x18)?;
        image.get(begin..begin.checked_add(offset(section, 0x20)?)?)
    };
    let (list, names) = (content(dynamic)?, content(names)?);
    let one = |symbol: &[u8]| {
        let name = names.get(usize::try_from(word(symbol, 0)?).ok()?..)?;
        let name = name.split(|byte| *byte == 0).next().and_then(|name| str::from_utf8(name).ok())?;
        // The image is linked to begin at address 0.
        Some((name, (offset(symbol, 8)?, offset(symbol, 16)?)))
    };
    Some(list.chunks_exact(SYMBOL_BYTES).take(ENTRIES_MAX).filter_map(one).collect())
}

fn half(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?)))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn offset(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use firedrill_host::process::{Identity, Image, mappings};
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    fn own() -> Vec<u8> {
        let me = Identity::current().expect("exists");
        let all = mappings(me).expect("lists");
        let mapping = all.iter().find(|mapping| mapping.name == "[vdso]").expect("this kernel has a vDSO");
        let bytes = usize::try_from(mapping.bytes()).expect("small");
        Image::open(me).expect("opens").read(mapping.start, bytes).expect("reads")
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_kernels_own_image_is_read() {
        let image = own();
        let vdso = parse(&image).expect("is one");
        assert!(vdso.clocks.iter().all(|(begin, bytes)| *begin > 0 && *bytes >= 16), "{vdso:?}");
        assert!(vdso.room.len() > 400, "{vdso:?}");
    }

    #[test]
    fn damaged_images_are_refused_or_read_within_their_bounds() {
        let (image, mut random) = (own(), SmallRng::seed_from_u64(11));
        for _ in 0..20_000 {
            let mut damaged = image.clone();
            damaged.truncate(random.random_range(0..=image.len()));
            for _ in 0..random.random_range(0..8) {
                // Headers and tables are where damage matters.
                let places = damaged.len().min(if random.random() { 64 } else { damaged.len() });
                if places > 0 {
                    let place = random.random_range(0..places);
                    damaged[place] = random.random();
                }
            }
            if let Some(vdso) = parse(&damaged) {
                let within = vdso.clocks.iter().all(|(begin, bytes)| begin + bytes <= damaged.len());
                assert!(within && vdso.room.end <= damaged.len(), "{vdso:?}");
            }
        }
        assert_eq!(parse(b""), None);
    }
}
