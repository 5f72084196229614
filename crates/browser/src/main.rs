//! A browser from the command line: `screenshots SERVER DIRECTORY` takes pictures of every page of a console, in both
//! widths and both themes; `chart SERVER CLUSTER TIMES` measures how long the charts of a day take to draw.
#![allow(clippy::print_stdout, reason = "a program that says what it does")]

use anyhow::{Context, bail};
use firedrill_browser::{Browser, View, site};
use std::path::Path;
use std::time::Duration;

/// Live parts and charts are drawn within this.
const DRAWN_WITHIN: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["screenshots", server, directory] => screenshots(server.trim_end_matches('/'), Path::new(directory)).await,
        ["chart", server, cluster, times] => chart(server.trim_end_matches('/'), cluster, times.parse()?).await,
        _ => bail!("usage: firedrill-browser screenshots SERVER DIRECTORY | chart SERVER CLUSTER TIMES"),
    }
}

async fn screenshots(server: &str, directory: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let browser = Browser::open(View::WIDE).await?;
    let pages = site::pages(&browser, server).await?;
    for page in &pages {
        for view in [View::WIDE, View::WIDE.dark(), View::NARROW, View::NARROW.dark()] {
            browser.show(view).await?;
            browser.go(&format!("{server}{}", page.path)).await?;
            browser.see("h1", DRAWN_WITHIN).await?;
            if browser.text("#link").await.is_some() {
                browser.read("#link", "live", DRAWN_WITHIN).await?;
            }
            let name = format!("{}-{}-{}.webp", file_name(&page.kind), view.width, view.theme.name());
            let file = directory.join(&name);
            std::fs::write(&file, browser.picture().await?)
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        println!("{}", page.kind);
    }
    println!("{} pages, {} pictures in {}", pages.len(), pages.len() * 4, directory.display());
    browser.close().await
}

/// A day at one point a second.
const POINTS: u32 = 86_400;

/// Draws a day of seven lines as the page of a cluster does: with its own thinning and the drawing library.
async fn chart(server: &str, cluster: &str, times: u32) -> anyhow::Result<()> {
    let browser = Browser::open(View::WIDE).await?;
    browser.go(&format!("{server}/clusters/{cluster}")).await?;
    browser.see("h1", DRAWN_WITHIN).await?;
    let script = r##"
        const [points, done] = [arguments[0], arguments[arguments.length - 1]];
        const lines = Array.from({ length: 7 }, (_, line) => Float64Array.from({ length: points },
            (_, at) => 500 + line * 50 + 200 * Math.sin(at / 900 + line) + 80 * Math.random()));
        const seconds = Float64Array.from({ length: points }, (_, at) => 1795000000 + at);
        const draw = () => {
            const host = document.createElement("div");
            document.querySelector("main").append(host);
            const series = [{}].concat(lines.map((_, line) => ({ label: "n" + line, stroke: "#2457c5", width: 1.5, points: { show: false } })));
            const began = performance.now();
            const plot = new uPlot({ width: 1200, height: 220, series }, firedrill.thin(seconds, lines, 1200), host);
            // uPlot draws in a microtask; the next frame comes after it.
            queueMicrotask(() => queueMicrotask(() => {
                // What is asked back has been painted; without this only the commands are counted.
                plot.ctx.getImageData(0, 0, 1, 1);
                const took = performance.now() - began;
                plot.destroy();
                host.remove();
                done(took);
            }));
        };
        // The page has loaded both for its own charts.
        window.uPlot && firedrill.thin ? draw() : done(null);
    "##;
    let mut drawn_ms = Vec::new();
    for _ in 0..times {
        drawn_ms
            .push(browser.run_async(script, vec![POINTS.into()]).await?.as_f64().context("the chart was not drawn")?);
    }
    println!("{}", serde_json::json!({ "points": POINTS, "lines": 7, "drawn_ms": drawn_ms }));
    browser.close().await
}

/// `/runs/{}/gameday` is `runs-one-gameday`.
fn file_name(kind: &str) -> String {
    let words: Vec<String> = kind
        .replace("{}", "one")
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    if words.is_empty() { "fleet".to_owned() } else { words.join("-") }
}
