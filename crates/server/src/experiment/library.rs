//! The experiments that ship: the ladder, from the least to the most damaging.

use firedrill_api::http::ExperimentEntry;
use std::collections::BTreeMap;

/// The files: the ladder in the order of its rungs, then what stands beside it.
const FILES: [&str; 14] = [
    include_str!("../../../../experiments/1-kill-replica.yaml"),
    include_str!("../../../../experiments/2-kill-pseudo-primary.yaml"),
    include_str!("../../../../experiments/3-kill-primary.yaml"),
    include_str!("../../../../experiments/4-pause-primary.yaml"),
    include_str!("../../../../experiments/5-isolate-primary.yaml"),
    include_str!("../../../../experiments/6-cut-region-link.yaml"),
    include_str!("../../../../experiments/power-loss-primary.yaml"),
    include_str!("../../../../experiments/hung-disk-primary.yaml"),
    include_str!("../../../../experiments/full-disk-primary.yaml"),
    include_str!("../../../../experiments/full-binlog-primary.yaml"),
    include_str!("../../../../experiments/kill-region.yaml"),
    include_str!("../../../../experiments/power-loss-region.yaml"),
    include_str!("../../../../experiments/reboot-primary.yaml"),
    include_str!("../../../../experiments/power-off-region.yaml"),
];

/// The library, in the order of the rungs.
#[must_use]
pub fn library() -> Vec<ExperimentEntry> {
    let read = |yaml: &&str| {
        let experiment = firedrill_api::experiment_file::read(yaml, &BTreeMap::new(), firedrill_fault::check).ok()?;
        Some(ExperimentEntry {
            name: experiment.name,
            title: experiment.title,
            rung: experiment.rung,
            yaml: (*yaml).to_owned(),
        })
    };
    FILES.iter().filter_map(read).collect()
}

/// The experiment of that rung.
#[must_use]
pub(crate) fn of_rung(rung: u32) -> Option<ExperimentEntry> {
    library().into_iter().find(|entry| entry.rung == Some(rung))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_file_is_in_the_library() {
        assert_eq!(library().len(), FILES.len());
        let shipped = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../experiments")).expect("the files");
        assert_eq!(shipped.count(), FILES.len(), "a file is not in the list");
        assert_eq!(of_rung(3).map(|entry| entry.name).as_deref(), Some("kill-primary"));
        assert_eq!(of_rung(0), None);
    }
}
