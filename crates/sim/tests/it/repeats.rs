//! One seed, one story.

use firedrill_sim::{run, run_many, traced};

/// Seeds run with every `make test`; ten thousand take about a minute on two cores.
const SEEDS: u64 = 10_000;

#[test]
fn a_seed_tells_the_same_story_twice() {
    for seed in 0..40 {
        let (first, second) = (traced(seed), traced(seed));
        assert_eq!(first.fingerprint, second.fingerprint, "seed {seed}");
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert_eq!(first.fingerprint, run(seed).fingerprint, "telling the story must not change it (seed {seed})");
    }
    assert_ne!(run(1).fingerprint, run(2).fingerprint);
}

#[test]
fn ten_thousand_seeds_hold() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let summary = run_many(0, SEEDS, threads);
    let replay: Vec<String> = summary
        .broken
        .iter()
        .map(|(seed, rules)| {
            format!("{}\n  replay: cargo run -p firedrill-sim -- --seed {seed} --trace", rules.join("; "))
        })
        .collect();
    assert_eq!(summary.broken_total, 0, "{} seeds broke a rule:\n{}", summary.broken_total, replay.join("\n"));
    assert_eq!(summary.runs, SEEDS);
    // A simulation that never gets the keeper into trouble proves nothing.
    assert!(summary.with_person + summary.refused > 20, "too few seeds in which the keeper had to refuse");
    assert!(summary.oks > SEEDS * 100, "too few acknowledged writes: {}", summary.oks);
}
