//! Chance, one source per thread.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::cell::RefCell;

thread_local! {
    static SOURCE: RefCell<SmallRng> = RefCell::new(SmallRng::from_os_rng());
}

/// A number from 0 to just below 1.
pub(super) fn draw() -> f64 {
    SOURCE.with_borrow_mut(|source| source.random())
}

/// A number below `count`, which is not 0.
pub(super) fn below(count: usize) -> usize {
    SOURCE.with_borrow_mut(|source| source.random_range(0..count))
}
