//! The files that the live pages refer to, compiled in: no network and no build step is needed.

/// One file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asset {
    /// Its media type.
    pub media_type: &'static str,
    /// Its bytes.
    pub bytes: &'static [u8],
}

/// One file for each part of the console; a page's own comes last.
pub(crate) const STYLE: &str = concat!(
    include_str!("../assets/css/base.css"),
    include_str!("../assets/css/cluster.css"),
    include_str!("../assets/css/runs.css"),
    include_str!("../assets/css/schedules.css"),
    include_str!("../assets/css/experiments.css"),
);
pub(crate) const CHARTS: &str = include_str!("../assets/js/charts.js");
pub(crate) const UPLOT: &str = include_str!("../assets/vendor/uplot.min.js");
pub(crate) const UPLOT_STYLE: &str = include_str!("../assets/vendor/uplot.min.css");
const THEME: &str = include_str!("../assets/js/theme.js");
/// What every page needs, in the order in which the one uses the other.
const CONSOLE: &str = concat!(
    include_str!("../assets/js/live.js"),
    include_str!("../assets/js/times.js"),
    include_str!("../assets/js/scroll.js"),
    include_str!("../assets/js/keys.js"),
);
const ICON: &str = include_str!("../assets/icon.svg");
const EDITOR: &str = include_str!("../assets/js/editor.js");
const SERIES: &str = include_str!("../assets/js/series.js");
const RUN: &str = include_str!("../assets/js/run.js");
const IDIOMORPH: &str = include_str!("../assets/vendor/idiomorph.min.js");

/// The file of that name below `/assets/`.
#[must_use]
pub fn get(name: &str) -> Option<Asset> {
    let (media_type, text) = match name {
        "firedrill.css" => ("text/css; charset=utf-8", STYLE),
        "uplot.min.css" => ("text/css; charset=utf-8", UPLOT_STYLE),
        "charts.js" => ("text/javascript; charset=utf-8", CHARTS),
        "uplot.min.js" => ("text/javascript; charset=utf-8", UPLOT),
        "icon.svg" => ("image/svg+xml", ICON),
        "editor.js" => ("text/javascript; charset=utf-8", EDITOR),
        "series.js" => ("text/javascript; charset=utf-8", SERIES),
        "run.js" => ("text/javascript; charset=utf-8", RUN),
        "theme.js" => ("text/javascript; charset=utf-8", THEME),
        "console.js" => ("text/javascript; charset=utf-8", CONSOLE),
        "idiomorph.min.js" => ("text/javascript; charset=utf-8", IDIOMORPH),
        _ => return None,
    };
    Some(Asset { media_type, bytes: text.as_bytes() })
}
