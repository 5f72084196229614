//! Sizes and habits of the Rust sources. Text only: rustfmt has made it regular enough.

use super::Finding;
use anyhow::{Context, Result};

/// A longer file holds more than one idea.
const FILE_LINES_MAX: usize = 600;
/// A longer function does more than one thing.
const FUNCTION_LINES_MAX: usize = 70;

/// Words that must not be in sources, with what to do instead. Split, so that this file does not find itself.
const FORBIDDEN: &[(&str, &str)] = &[
    (concat!("todo", "!("), "finish it, or leave it out"),
    (concat!("unimplemented", "!("), "finish it, or leave it out"),
    (concat!("dbg", "!("), "remove it"),
    (concat!("#[", "ignore"), "a test that is not run proves nothing: fix it or delete it"),
    (concat!("should", "_panic"), "assert on the error value instead"),
    (concat!("allow(", "dead_code"), "delete what nobody uses"),
];

/// Module names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 5] = ["utils.rs", "util.rs", "common.rs", "helpers.rs", "misc.rs"];

/// Checks all Rust files.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn check(files: &[String]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for path in files.iter().filter(|path| path.ends_with(".rs")) {
        let text = std::fs::read_to_string(path).with_context(|| path.clone())?;
        findings.extend(check_file(path, &text));
    }
    findings.extend(test_layout(files)?);
    Ok(findings)
}

fn check_file(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() > FILE_LINES_MAX {
        findings.push(Finding::new(path, format!("{} lines; at most {FILE_LINES_MAX}: split it", lines.len())));
    }
    for (line, length) in functions(&lines).into_iter().filter(|(_, length)| *length > FUNCTION_LINES_MAX) {
        let message = format!("a function of {length} lines; at most {FUNCTION_LINES_MAX}: split it");
        findings.push(Finding::new(format!("{path}:{line}"), message));
    }
    for (number, line) in lines.iter().enumerate() {
        for (word, instead) in FORBIDDEN {
            if line.contains(word) {
                findings.push(Finding::new(format!("{path}:{}", number + 1), format!("`{word}`: {instead}")));
            }
        }
    }
    if path.rsplit('/').next().is_some_and(|name| EMPTY_NAMES.contains(&name)) {
        findings.push(Finding::new(path, "the name says nothing about what is inside"));
    }
    if path.starts_with("crates/") && path.ends_with("/src/lib.rs") {
        for heading in ["**What it never does**", "**Where to begin**"] {
            if !text.contains(heading) {
                findings.push(Finding::new(path, format!("the crate's documentation lacks {heading}")));
            }
        }
    }
    findings
}

/// First line (from 1) and number of lines of each function. In formatted code a function ends at the first line that
/// is its indentation and a closing brace.
fn functions(lines: &[&str]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        if !begins_function(line) || line.ends_with('}') {
            continue;
        }
        let indentation = line.len() - line.trim_start().len();
        let is_end = |candidate: &&str| candidate.len() - candidate.trim_start().len() == indentation;
        let body = lines[start + 1..].iter();
        let end = body.clone().position(|line| is_end(line) && (line.trim() == "}" || line.trim_end().ends_with(';')));
        if let Some(length) = end
            && lines[start + 1 + length].trim() == "}"
        {
            found.push((start + 1, length + 2));
        }
    }
    found
}

fn begins_function(line: &str) -> bool {
    let mut words = line.trim_start();
    for prefix in ["pub ", "pub(crate) ", "pub(super) ", "const ", "async ", "unsafe ", "extern \"C\" "] {
        words = words.strip_prefix(prefix).unwrap_or(words);
    }
    words.starts_with("fn ")
}

/// Integration tests of a crate are one program, `tests/it/main.rs`: each further program is linked anew.
fn test_layout(files: &[String]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for path in files.iter().filter(|path| path.starts_with("crates/") && path.ends_with(".rs")) {
        let parts: Vec<&str> = path.split('/').collect();
        let ["crates", name, "tests", rest @ ..] = parts.as_slice() else { continue };
        match rest {
            ["it", "main.rs"] => {}
            ["it", module] => {
                let main = format!("crates/{name}/tests/it/main.rs");
                let text = std::fs::read_to_string(&main).with_context(|| main.clone())?;
                let declaration = format!("mod {};", module.trim_end_matches(".rs"));
                if !text.lines().any(|line| line.trim_end().ends_with(&declaration)) {
                    findings.push(Finding::new(path.as_str(), format!("not run: {main} does not say `{declaration}`")));
                }
            }
            ["it", ..] => {}
            _ => {
                findings.push(Finding::new(path.as_str(), "integration tests live in tests/it, as modules of main.rs"))
            }
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        check_file(path, text).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn functions_are_measured_from_signature_to_brace() {
        let text = "fn short() {}\n\nimpl X {\n    pub(crate) async fn long(\n        &self,\n    ) -> u8 {\n        \
                    if true {\n            1\n        }\n    }\n\n    fn declared(&self)\n    where\n        Self: Sized;\n}\n";
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(functions(&lines), [(4, 7)]);
    }

    #[test]
    fn a_long_function_and_a_long_file_are_found() {
        let body = "    x();\n".repeat(FUNCTION_LINES_MAX);
        assert_eq!(messages("a.rs", &format!("fn f() {{\n{body}}}\n")).len(), 1);
        assert_eq!(messages("a.rs", &"\n".repeat(FILE_LINES_MAX)).len(), 0);
        assert_eq!(messages("a.rs", &"\n".repeat(FILE_LINES_MAX + 1)).len(), 1);
    }

    #[test]
    fn forbidden_words_and_names_are_found() {
        assert_eq!(messages("a.rs", concat!("    todo", "!()\n")).len(), 1);
        assert_eq!(messages("crates/x/src/utils.rs", "").len(), 1);
        assert_eq!(messages("crates/x/src/lib.rs", "//! **What it never does**: x\n").len(), 1);
    }
}
