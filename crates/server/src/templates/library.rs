//! The templates that ship: the first outages that can be reproduced with what there is.

use firedrill_model::template::Template;

/// The files, in the order of the outages.
const FILES: [&str; 7] = [
    include_str!("../../../../templates/twilio-2013.yaml"),
    include_str!("../../../../templates/gocardless-2017.yaml"),
    include_str!("../../../../templates/github-2018.yaml"),
    include_str!("../../../../templates/stripe-2019.yaml"),
    include_str!("../../../../templates/razorpay-2019.yaml"),
    include_str!("../../../../templates/github-2023-05.yaml"),
    include_str!("../../../../templates/github-2023-09.yaml"),
];

/// All of them. They are read anew: it takes a millisecond, and nobody asks often.
pub(super) fn shipped() -> Vec<Template> {
    let read = |yaml: &&str| firedrill_api::template_file::read(yaml, firedrill_fault::check).ok();
    FILES.iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_file_is_a_template_with_its_facts() {
        for yaml in FILES {
            let read = firedrill_api::template_file::read(yaml, firedrill_fault::check);
            let template = read.unwrap_or_else(|problem| panic!("{problem}\n{yaml}"));
            let outage = template.outage.expect("an outage");
            assert!(outage.date.len() >= 7 && !outage.sources.is_empty(), "{}", template.name);
            assert!(template.parameters.iter().all(|one| one.default.is_some()), "{} starts as it is", template.name);
        }
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../templates")).expect("the files");
        assert_eq!(files.count(), FILES.len(), "a file is not in the list");
    }
}
