//! Settings: what this server is, whether it is halted, and where everything else is set.

use crate::format;
use crate::frame::Frame;
use crate::pages::finish;
use askama::Template;
use firedrill_api::http::Status;
use firedrill_model::{Span, Timestamp};

/// What the page shows.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The server, as the API shows it.
    pub status: Status,
    /// Now.
    pub now: Timestamp,
    /// Since when starts are blocked, when the store knows.
    pub halted_since: Option<Timestamp>,
    /// Where people and scripts connect.
    pub http: String,
    /// Where agents connect.
    pub link: String,
    /// Several servers share its store.
    pub shared: bool,
    /// What was said when it was started.
    pub flags: Vec<Flag>,
}

/// Something that is said when the server is started, and cannot be changed while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// As on the command line.
    pub name: &'static str,
    /// What holds.
    pub value: String,
    /// What it is, one sentence.
    pub about: &'static str,
}

/// A page on which something else is set, or looked at.
struct Link {
    path: &'static str,
    name: &'static str,
    about: &'static str,
}

#[derive(Template)]
#[template(path = "settings.html")]
struct Page<'a> {
    frame: &'a Frame,
    page: &'a Settings,
}

/// The page.
#[must_use]
pub fn page(frame: &Frame, page: &Settings) -> String {
    finish(Page { frame, page }.render())
}

impl Page<'_> {
    /// For how long this process has been running, in whole seconds.
    fn uptime(&self) -> String {
        let up = self.page.now.since(self.page.status.started);
        Span::secs(up.duration().as_secs()).to_string()
    }

    fn store(&self) -> &'static str {
        if self.page.shared {
            "a PostgreSQL database that several servers share"
        } else {
            "a file of this server's own"
        }
    }

    /// Those pages that whoever looks may open.
    fn links(&self) -> Vec<Link> {
        let frame = self.frame;
        let all = [
            (true, "/settings/guards", "Guards", "The limits of attacks: what may be hit, how much at once, and when."),
            (
                frame.may_everywhere(crate::Action::View),
                "/settings/messages",
                "Messages",
                "Who is told what, by chat, mail or pager; what waits and what was given up.",
            ),
            (frame.may_everywhere(crate::Action::Govern), "/people", "People", "Users, teams, and what they may do."),
            (!frame.me.open, "/account", "Your account", "Your password, one-time codes, and API tokens."),
            (
                frame.may_everywhere(crate::Action::Audit),
                "/audit",
                "Audit",
                "Who did what, when, and whether the log is whole.",
            ),
            (true, "/schedules", "Schedules", "What starts by itself, and who is there."),
            (true, "/calendar#blackouts", "Black-outs", "Days and hours on which nothing starts by itself."),
            (true, "/evidence", "Evidence", "What was tested and found in a period, to give to others."),
        ];
        let shown = all.into_iter().filter(|(may, ..)| *may);
        shown.map(|(_, path, name, about)| Link { path, name, about }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedules::tests::HOSTILE;
    use firedrill_model::access::Role;
    use serde_json::json;

    fn shown(role: Role, halted: bool) -> String {
        let status = json!({
            "version": HOSTILE, "pid": 4711, "started": 0, "halted": halted.then_some(HOSTILE), "running": ["run-1"],
            "epoch": 7,
        });
        let settings = Settings {
            status: serde_json::from_value(status).expect("a status"),
            now: Timestamp(93_784_500_000),
            halted_since: halted.then_some(Timestamp(0)),
            http: HOSTILE.to_owned(),
            link: "10.0.0.10:7443".to_owned(),
            shared: true,
            flags: vec![Flag { name: "--data-dir", value: HOSTILE.to_owned(), about: "Where state lives." }],
        };
        page(&Frame::shown_to(role), &settings)
    }

    #[test]
    fn the_server_is_shown_as_plain_text() {
        let html = shown(Role::Admin, true);
        assert!(!html.contains("<script>alert") && !html.contains("style=\""), "{html}");
        for text in ["4711", "1day 2h 3m 4s", "/runs/run-1", "take-over 7", "10.0.0.10:7443", "--data-dir", "✖ Halted"]
        {
            assert!(html.contains(text), "{text}: {html}");
        }
        assert!(html.contains("action=\"/halt/resume\"") && html.contains("several servers share"), "{html}");
    }

    #[test]
    fn each_is_led_to_what_is_theirs() {
        let html = shown(Role::Viewer, true);
        for path in ["/settings/guards", "/settings/messages", "/account", "/schedules", "/evidence"] {
            assert!(html.contains(&format!("href=\"{path}\"")), "{path}: {html}");
        }
        assert!(!html.contains("href=\"/audit\"") && !html.contains("href=\"/people\""), "{html}");
        // A viewer may stop everything, and not begin again. What the server was started with is for administrators.
        assert!(html.contains("action=\"/halt\"") && !html.contains("action=\"/halt/resume\""), "{html}");
        assert!(!html.contains("--data-dir"), "{html}");
        let html = shown(Role::Admin, false);
        assert!(html.contains("href=\"/audit\"") && html.contains("href=\"/people\""), "{html}");
        assert!(html.contains("✔ Starts are allowed") && !html.contains("action=\"/halt/resume\""), "{html}");
    }
}
