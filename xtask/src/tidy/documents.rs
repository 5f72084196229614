//! Documents: links that lead somewhere, a page for each error code, a changelog fragment that tells users.

use super::Finding;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Kinds of changelog fragments.
const FRAGMENT_KINDS: [&str; 5] = ["feature", "fix", "breaking", "security", "enhancement"];

/// Checks all documents.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn check(files: &[String]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for path in files.iter().filter(|path| path.ends_with(".md")) {
        let text = std::fs::read_to_string(path).with_context(|| path.clone())?;
        let exists = |target: &str| {
            let base = Path::new(path).parent().unwrap_or(Path::new(""));
            base.join(target).exists()
        };
        for (line, target) in links(&text) {
            if !exists(target) {
                findings.push(Finding::new(format!("{path}:{line}"), format!("the link to {target} leads nowhere")));
            }
        }
    }
    findings.extend(fragments(files)?);
    findings.extend(error_pages(files)?);
    Ok(findings)
}

/// Line and target of each relative link, without its anchor. Code blocks are skipped.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut in_code = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            let target = line[at + 2..].split([')', ' ']).next().unwrap_or("");
            let target = target.split('#').next().unwrap_or("");
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                found.push((number + 1, target));
            }
        }
    }
    found
}

fn fragments(files: &[String]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut any = false;
    for path in files.iter().filter(|path| path.starts_with("changelog.d/") && !path.ends_with("/README.md")) {
        any = true;
        let name = path.rsplit('/').next().unwrap_or("");
        if !is_fragment_name(name) {
            let message = format!("name it NNNN_slug.KIND.md, with a KIND of {}", FRAGMENT_KINDS.join(", "));
            findings.push(Finding::new(path.as_str(), message));
        }
        if std::fs::read_to_string(path).with_context(|| path.clone())?.trim().is_empty() {
            findings.push(Finding::new(path.as_str(), "is empty: say what changes for a user"));
        }
    }
    if !any {
        findings.push(Finding::new("changelog.d", "no fragment: say what changes for a user"));
    }
    Ok(findings)
}

fn is_fragment_name(name: &str) -> bool {
    let parts: Vec<&str> = name.split('.').collect();
    let [stem, kind, "md"] = parts.as_slice() else { return false };
    let Some((number, slug)) = stem.split_once('_') else { return false };
    number.len() == 4
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && !slug.is_empty()
        && FRAGMENT_KINDS.contains(kind)
}

/// Every error code in the sources has a page, every page a code, and the index lists them all.
fn error_pages(files: &[String]) -> Result<Vec<Finding>> {
    let mut codes: BTreeMap<String, String> = BTreeMap::new();
    for path in files.iter().filter(|path| path.starts_with("crates/") && path.contains("/src/")) {
        if path.ends_with(".rs") {
            let text = std::fs::read_to_string(path).with_context(|| path.clone())?;
            for code in error_codes(product_part(&text)) {
                codes.entry(code.to_owned()).or_insert_with(|| path.clone());
            }
        }
    }
    let pages: BTreeSet<String> = files
        .iter()
        .filter_map(|path| path.strip_prefix("docs/errors/")?.strip_suffix(".md"))
        .filter(|name| *name != "README")
        .map(str::to_owned)
        .collect();
    let index = std::fs::read_to_string("docs/errors/README.md").unwrap_or_default();
    let mut findings = Vec::new();
    for (code, path) in &codes {
        if !pages.contains(code) {
            findings.push(Finding::new(path.as_str(), format!("the code {code} has no page docs/errors/{code}.md")));
        }
    }
    for page in &pages {
        let place = format!("docs/errors/{page}.md");
        if !codes.contains_key(page) {
            findings.push(Finding::new(place.clone(), format!("nothing in the sources has the code {page}")));
        }
        if !index.contains(&format!("({page}.md)")) {
            findings.push(Finding::new(place, "docs/errors/README.md does not list it"));
        }
    }
    Ok(findings)
}

/// The source without its unit tests, which stand at its end.
fn product_part(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text)
}

/// Text literals that are an error code: a capital letter and three digits.
fn error_codes(text: &str) -> Vec<&str> {
    let code_lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let literals = code_lines.flat_map(|line| line.split('"').skip(1).step_by(2));
    literals
        .filter(|literal| {
            let bytes = literal.as_bytes();
            bytes.len() == 4 && bytes[0].is_ascii_uppercase() && bytes[1..].iter().all(u8::is_ascii_digit)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_links_are_found_and_code_is_not() {
        let text = "see [a](x/y.md#part) and [b](https://z)\n```\n[c](no)\n```\n[d](#here) [e](e.md \"title\")\n";
        assert_eq!(links(text), [(1, "x/y.md"), (5, "e.md")]);
    }

    #[test]
    fn fragments_have_a_number_a_slug_and_a_kind() {
        assert!(is_fragment_name("0002_loop.feature.md"));
        for bad in ["2_loop.feature.md", "0002.feature.md", "0002_.fix.md", "0002_x.story.md", "0002_x.md"] {
            assert!(!is_fragment_name(bad), "{bad}");
        }
    }

    #[test]
    fn error_codes_are_literals_outside_of_tests_and_comments() {
        let text = "/// `\"S001\"`\nlet code = (\"S004\", \"K1234\", \"x\");\n#[cfg(test)]\nmod tests {\n\"T001\"\n}";
        assert_eq!(error_codes(product_part(text)), ["S004"]);
    }
}
