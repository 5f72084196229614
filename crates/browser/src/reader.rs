//! Somebody who looks at pages: goes to them, reads, clicks, types.

use crate::axe::{AXE, CHECK, Violation};
use crate::driver::Driver;
use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fantoccini::actions::{InputSource, KeyAction, KeyActions};
use fantoccini::elements::Element;
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use http::Method;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use url::{ParseError, Url};

/// No page of a test takes longer to come, on a machine that does ten other things.
const PAGE_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks at whether something is there.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Light or dark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

impl Theme {
    /// As style sheets call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

/// How a page is shown. Pixels of the style sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// Of the window.
    pub width: u32,
    /// Of the window.
    pub height: u32,
    /// What the system prefers.
    pub theme: Theme,
}

impl View {
    /// A laptop.
    pub const WIDE: Self = Self { width: 1280, height: 900, theme: Theme::Light };
    /// A telephone.
    pub const NARROW: Self = Self { width: 390, height: 844, theme: Theme::Light };

    /// The same in the other theme.
    #[must_use]
    pub const fn dark(self) -> Self {
        Self { theme: Theme::Dark, ..self }
    }
}

/// A browser with one window.
#[derive(Debug)]
pub struct Browser {
    client: Client,
    _driver: Driver,
}

/// A command that only Chromium has.
#[derive(Debug)]
struct OwnCommand {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for OwnCommand {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _url: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}

impl Browser {
    /// Starts one.
    ///
    /// # Errors
    /// There is no chromedriver or no Chromium, or they do not answer.
    pub async fn open(view: View) -> anyhow::Result<Self> {
        let driver = Driver::start().await?;
        let profile = driver.profile.path().join("profile");
        let options = json!({
            "goog:chromeOptions": { "args": [
                // Containers and root have no user namespaces to put it in; it reaches loopback only.
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                "--no-first-run", "--disable-background-networking", "--disable-component-update",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
                format!("--user-data-dir={}", profile.display()),
            ] },
            "goog:loggingPrefs": { "browser": "ALL" },
            "unhandledPromptBehavior": "ignore",
        });
        let Value::Object(capabilities) = options else { bail!("capabilities are an object") };
        let capabilities: Capabilities = capabilities;
        let client =
            ClientBuilder::new(HttpConnector::new()).capabilities(capabilities).connect(&driver.address).await?;
        let browser = Self { client, _driver: driver };
        browser.show(view).await?;
        Ok(browser)
    }

    /// Another size or theme from now on.
    ///
    /// # Errors
    /// The browser does not answer.
    pub async fn show(&self, view: View) -> anyhow::Result<()> {
        let metrics = json!({ "width": view.width, "height": view.height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await?;
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": view.theme.name() }] });
        self.devtools("Emulation.setEmulatedMedia", features).await?;
        Ok(())
    }

    async fn devtools(&self, command: &str, parameters: Value) -> anyhow::Result<Value> {
        let body = json!({ "cmd": command, "params": parameters });
        Ok(self.client.issue_cmd(OwnCommand { path: "goog/cdp/execute", body }).await?)
    }

    /// Goes to an address and waits until the page is there.
    ///
    /// # Errors
    /// The browser does not answer.
    pub async fn go(&self, address: &str) -> anyhow::Result<()> {
        tokio::time::timeout(PAGE_WITHIN, self.client.goto(address))
            .await
            .with_context(|| format!("{address} does not come"))??;
        Ok(())
    }

    /// The address of the page.
    ///
    /// # Errors
    /// The browser does not answer.
    pub async fn address(&self) -> anyhow::Result<String> {
        Ok(self.client.current_url().await?.to_string())
    }

    /// Waits until something is there that can be seen.
    ///
    /// # Errors
    /// It does not come within `within`.
    pub async fn see(&self, css: &str, within: Duration) -> anyhow::Result<Element> {
        let began = Instant::now();
        loop {
            if let Ok(element) = self.client.find(Locator::Css(css)).await
                && element.is_displayed().await.unwrap_or(false)
            {
                return Ok(element);
            }
            self.still_waits(began, within, &format!("{css} on the page")).await?;
        }
    }

    /// Waits until the text of something has `part` in it, and gives all of it.
    ///
    /// # Errors
    /// It does not come within `within`.
    pub async fn read(&self, css: &str, part: &str, within: Duration) -> anyhow::Result<String> {
        let began = Instant::now();
        loop {
            let text = self.text(css).await;
            if let Some(text) = text.filter(|text| text.contains(part)) {
                return Ok(text);
            }
            self.still_waits(began, within, &format!("{part:?} in {css}")).await?;
        }
    }

    /// The text of something as it is shown; `None`: it is not there.
    pub async fn text(&self, css: &str) -> Option<String> {
        // In one step: a part of the page may be replaced between two.
        let script = "const found = document.querySelector(arguments[0]); return found ? found.innerText : null;";
        let text = self.run(script, vec![css.into()]).await.ok()?;
        text.as_str().map(str::to_owned)
    }

    /// Waits until the address has `part` in it, and gives it.
    ///
    /// # Errors
    /// It does not come within `within`.
    pub async fn arrive(&self, part: &str, within: Duration) -> anyhow::Result<String> {
        let began = Instant::now();
        loop {
            let address = self.address().await?;
            if address.contains(part) {
                return Ok(address);
            }
            self.still_waits(began, within, &format!("an address with {part}")).await?;
        }
    }

    async fn still_waits(&self, began: Instant, within: Duration, what: &str) -> anyhow::Result<()> {
        if began.elapsed() > within {
            let (address, page) =
                (self.address().await.unwrap_or_default(), self.text("body").await.unwrap_or_default());
            bail!("waited in vain for {what}; the page {address} says:\n{page}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
        Ok(())
    }

    /// Clicks on something.
    ///
    /// # Errors
    /// It does not come, or cannot be clicked.
    pub async fn click(&self, css: &str) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let element = self.see(css, PAGE_WITHIN).await?;
            // A live part may be drawn anew between the look and the click.
            match element.click().await {
                Ok(()) => return Ok(()),
                Err(error) if began.elapsed() > PAGE_WITHIN => {
                    return Err(error).with_context(|| format!("{css} cannot be clicked"));
                }
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Types into a field, instead of what was in it.
    ///
    /// # Errors
    /// It does not come, or cannot be typed into.
    pub async fn fill(&self, css: &str, text: &str) -> anyhow::Result<()> {
        let field = self.see(css, PAGE_WITHIN).await?;
        field.clear().await?;
        field.send_keys(text).await?;
        Ok(())
    }

    /// Presses keys, wherever the focus is.
    ///
    /// # Errors
    /// The browser does not answer.
    pub async fn press(&self, keys: &str) -> anyhow::Result<()> {
        let down_and_up = |key: char| [KeyAction::Down { value: key }, KeyAction::Up { value: key }];
        let actions = KeyActions::new("keyboard".to_owned());
        let actions = keys.chars().flat_map(down_and_up).fold(actions, KeyActions::then);
        self.client.perform_actions(actions).await?;
        Ok(())
    }

    /// Runs a script in the page; `arguments` has what is given, `return` gives its value.
    ///
    /// # Errors
    /// It throws, or the browser does not answer.
    pub async fn run(&self, script: &str, given: Vec<Value>) -> anyhow::Result<Value> {
        Ok(self.client.execute(script, given).await?)
    }

    /// The same for a script that calls its last argument with its value.
    ///
    /// # Errors
    /// It throws, or the browser does not answer.
    pub async fn run_async(&self, script: &str, given: Vec<Value>) -> anyhow::Result<Value> {
        Ok(self.client.execute_async(script, given).await?)
    }

    /// The rules of accessibility that the page breaks.
    ///
    /// # Errors
    /// The browser does not answer.
    pub async fn violations(&self) -> anyhow::Result<Vec<Violation>> {
        self.run(AXE, Vec::new()).await?;
        Ok(Violation::read(&self.run_async(CHECK, Vec::new()).await?))
    }

    /// How much wider than the window the page is, in pixels.
    ///
    /// # Errors
    /// The browser does not answer.
    pub async fn overhang(&self) -> anyhow::Result<i64> {
        let script = "return document.documentElement.scrollWidth - document.documentElement.clientWidth;";
        self.run(script, Vec::new()).await?.as_i64().context("a width is a number")
    }

    /// How much what was there has moved while the page was open: the browser's own sum of layout shifts, of which 0.1
    /// is felt.
    ///
    /// # Errors
    /// The browser does not answer.
    pub async fn shifted(&self) -> anyhow::Result<f64> {
        let script = r#"
            const done = arguments[arguments.length - 1];
            let sum = 0;
            new PerformanceObserver((list) => { for (const entry of list.getEntries()) if (!entry.hadRecentInput) sum += entry.value; })
                .observe({ type: "layout-shift", buffered: true });
            setTimeout(() => done(sum), 50);
        "#;
        self.run_async(script, Vec::new()).await?.as_f64().context("a sum is a number")
    }

    /// What the browser has complained of since the last look: errors of scripts, what its rules of security refused,
    /// files that did not come.
    ///
    /// # Errors
    /// The browser does not answer.
    pub async fn complaints(&self) -> anyhow::Result<Vec<String>> {
        let log = self.client.issue_cmd(OwnCommand { path: "se/log", body: json!({ "type": "browser" }) }).await?;
        let entries = log.as_array().context("a log is a list")?;
        let serious = |entry: &&Value| matches!(entry["level"].as_str(), Some("SEVERE" | "WARNING"));
        Ok(entries
            .iter()
            .filter(serious)
            .map(|entry| entry["message"].as_str().unwrap_or_default().to_owned())
            .collect())
    }

    /// The addresses on this server that the page leads to, as paths with their questions, in the order of the page.
    ///
    /// # Errors
    /// The browser does not answer.
    pub async fn links(&self) -> anyhow::Result<Vec<String>> {
        let script = "return [...document.querySelectorAll('a[href]')].map((link) => new URL(link.href))
            .filter((to) => to.origin === location.origin).map((to) => to.pathname + to.search);";
        let links = self.run(script, Vec::new()).await?;
        Ok(links.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// The page as a picture (WebP), as far down as a person would scroll.
    ///
    /// # Errors
    /// The browser does not answer.
    pub async fn picture(&self) -> anyhow::Result<Vec<u8>> {
        const HEIGHT_MAX: u64 = 2000;
        /// Text stays sharp, and a hundred pictures are a few megabytes.
        const QUALITY: u8 = 70;
        let size = self
            .run("const root = document.documentElement; return [root.clientWidth, root.scrollHeight];", vec![])
            .await?;
        let height = size[1].as_u64().context("a height is a number")?.min(HEIGHT_MAX);
        let clip = json!({ "x": 0, "y": 0, "width": size[0], "height": height, "scale": 1 });
        let asked = json!({ "format": "webp", "quality": QUALITY, "clip": clip, "captureBeyondViewport": true });
        let picture = self.devtools("Page.captureScreenshot", asked).await?;
        let picture = BASE64_STANDARD.decode(picture["data"].as_str().context("a picture is text")?)?;
        ensure!(!picture.is_empty(), "the browser gave no picture");
        Ok(picture)
    }

    /// Ends it.
    ///
    /// # Errors
    /// The browser does not answer; it is gone nevertheless.
    pub async fn close(self) -> anyhow::Result<()> {
        Ok(self.client.close().await?)
    }
}
