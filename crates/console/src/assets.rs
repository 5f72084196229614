//! The files that the live pages refer to, compiled in: no network and no build step is needed.

/// One file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asset {
    /// Its media type.
    pub media_type: &'static str,
    /// Its bytes.
    pub bytes: &'static [u8],
}

pub(crate) const STYLE: &str = include_str!("../assets/firedrill.css");
pub(crate) const CHARTS: &str = include_str!("../assets/charts.js");
pub(crate) const UPLOT: &str = include_str!("../assets/vendor/uplot.min.js");
pub(crate) const UPLOT_STYLE: &str = include_str!("../assets/vendor/uplot.min.css");
const HTMX: &str = include_str!("../assets/vendor/htmx.min.js");
const HTMX_SSE: &str = include_str!("../assets/vendor/htmx-sse.min.js");

/// The file of that name below `/assets/`.
#[must_use]
pub fn get(name: &str) -> Option<Asset> {
    let (media_type, text) = match name {
        "firedrill.css" => ("text/css; charset=utf-8", STYLE),
        "uplot.min.css" => ("text/css; charset=utf-8", UPLOT_STYLE),
        "charts.js" => ("text/javascript; charset=utf-8", CHARTS),
        "uplot.min.js" => ("text/javascript; charset=utf-8", UPLOT),
        "htmx.min.js" => ("text/javascript; charset=utf-8", HTMX),
        "htmx-sse.min.js" => ("text/javascript; charset=utf-8", HTMX_SSE),
        _ => return None,
    };
    Some(Asset { media_type, bytes: text.as_bytes() })
}
