//! One value a second for a day, small: two bytes a value, and next to nothing for as long as it does not change.

/// How far back it reaches.
pub(super) const SECONDS: i64 = 24 * 3600;
/// Values of one chunk: ten minutes in which nothing changes cost one value.
const CHUNK: usize = 600;
/// One more than a day has: the one that is being written has no oldest values any more.
const CHUNKS: usize = SECONDS as usize / CHUNK + 1;

/// There is no value.
const NONE: u16 = u16::MAX;
/// From here on a code stands for steps of [`COARSE`].
const EXACT: u32 = 0x8000;
const COARSE: u32 = 256;

#[derive(Debug, Clone)]
enum Chunk {
    /// All that were written of it are this.
    Same(u16),
    Each(Box<[u16; CHUNK]>),
}

/// The values of the last day. At most 174 kB, when every ten minutes have two different values.
#[derive(Debug)]
pub(super) struct Column {
    /// Units in one: a value is kept as a whole number of units, exactly up to 32,767 of them and in steps of 256 beyond.
    scale: f64,
    chunks: Vec<Chunk>,
}

impl Column {
    pub(super) fn new(scale: f64) -> Self {
        Self { scale, chunks: vec![Chunk::Same(NONE); CHUNKS] }
    }

    /// Keeps the value of a second; seconds come one after the other, none is left out.
    pub(super) fn put(&mut self, second: i64, value: Option<f64>) {
        let code = value.map_or(NONE, |value| pack(value * self.scale));
        let (chunk, at) = place(second);
        let chunk = &mut self.chunks[chunk];
        match chunk {
            _ if at == 0 => *chunk = Chunk::Same(code),
            Chunk::Same(before) if *before == code => {}
            Chunk::Same(before) => {
                let mut each = Box::new([*before; CHUNK]);
                each[at] = code;
                *chunk = Chunk::Each(each);
            }
            Chunk::Each(each) => each[at] = code,
        }
    }

    /// The value of a second of the last day.
    pub(super) fn get(&self, second: i64) -> Option<f64> {
        let (chunk, at) = place(second);
        let code = match &self.chunks[chunk] {
            Chunk::Same(code) => *code,
            Chunk::Each(each) => each[at],
        };
        (code != NONE).then(|| f64::from(unpack(code)) / self.scale)
    }

    /// What it takes, about.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let each = |chunk: &Chunk| if matches!(chunk, Chunk::Each(_)) { CHUNK * 2 } else { 0 };
        self.chunks.iter().map(|chunk| each(chunk) + size_of::<Chunk>()).sum()
    }
}

fn place(second: i64) -> (usize, usize) {
    // Both are below what they are divided by, and not negative.
    let slot = usize::try_from(second.rem_euclid((CHUNKS * CHUNK) as i64)).unwrap_or(0);
    (slot / CHUNK, slot % CHUNK)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
fn pack(units: f64) -> u16 {
    let most = f64::from((EXACT - 2) * COARSE);
    let units = if units.is_finite() { units.round().clamp(0.0, most) as u32 } else { 0 };
    if units < EXACT { units as u16 } else { (EXACT + units / COARSE) as u16 }
}

fn unpack(code: u16) -> u32 {
    let code = u32::from(code);
    if code < EXACT { code } else { (code - EXACT) * COARSE }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_does_not_change_costs_next_to_nothing_and_the_worst_is_bounded() {
        let (mut quiet, mut busy) = (Column::new(10.0), Column::new(10.0));
        for second in 0..3 * SECONDS {
            quiet.put(second, Some(0.0));
            busy.put(second, Some((second % 977) as f64));
        }
        assert!(quiet.bytes() < 4 << 10, "{}", quiet.bytes());
        assert!(busy.bytes() < 180_000, "{}", busy.bytes());
        let last = 3 * SECONDS - 1;
        assert!((last - SECONDS + 1..=last).all(|second| busy.get(second) == Some((second % 977) as f64)));
    }

    proptest! {
        #[test]
        fn what_was_kept_comes_back(start in 0_i64..4_000_000_000, values in prop::collection::vec(prop::option::of(0.0_f64..3000.0), 1..2000)) {
            let mut column = Column::new(10.0);
            for (second, value) in (start..).zip(&values) {
                column.put(second, *value);
            }
            for (second, value) in (start..).zip(&values) {
                match (column.get(second), value) {
                    (Some(kept), Some(value)) => prop_assert!((kept - value).abs() <= 0.051, "{kept} {value}"),
                    (kept, value) => prop_assert_eq!(kept, *value),
                }
            }
        }

        #[test]
        fn large_values_keep_three_digits(value in 32_768.0_f64..8_000_000.0) {
            let mut column = Column::new(1.0);
            column.put(7, Some(value));
            let kept = column.get(7).expect("a value");
            prop_assert!((kept - value).abs() <= 256.0, "{kept} {value}");
        }
    }
}
