//! The pages of error codes, as they are in `docs/errors/`, for whoever has met one.

use include_dir::{Dir, include_dir};

static PAGES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../docs/errors");

/// What a code means in a few words: the head of its page.
pub(crate) fn title(code: &str) -> &'static str {
    let head = page(code).and_then(|page| page.lines().next());
    head.and_then(|head| head.split_once(": ")).map_or("A problem", |(_, title)| title)
}

/// The page of a code, as Markdown.
pub(crate) fn page(code: &str) -> Option<&'static str> {
    PAGES.get_file(format!("{code}.md"))?.contents_utf8()
}

/// Where the page of a code is on this server.
pub(crate) fn address(code: &str) -> String {
    format!("/errors/{code}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_titles_and_others_have_no_page() {
        assert_eq!(title("S004"), "Halted");
        assert_eq!((title("S999"), page("S999"), page("../README")), ("A problem", None, None));
    }
}
