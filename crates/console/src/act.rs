//! The page on which an operator sees what a promotion, a switchover, a clone or a rejoin would do, and asks for it.

use crate::format;
use crate::frame::Frame;
use crate::pages::finish;
use askama::Template;
use firedrill_api::http::Problem;
use firedrill_model::foreseen::Risk;
use firedrill_model::{ClusterView, Foreseen, NodeName, NodeView};
use serde::Deserialize;

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Another node becomes the primary, whether or not the present one works.
    Promote,
    /// The primary's role moves in peace, also back to where it was.
    Switchover,
    /// A node is made anew.
    Clone,
    /// A node takes its place again.
    Rejoin,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Promote, Self::Switchover, Self::Clone, Self::Rejoin];

    /// As it stands in the address.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Switchover => "switchover",
            Self::Clone => "clone",
            Self::Rejoin => "rejoin",
        }
    }

    /// What the page is called.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Promote => "Promote another node",
            Self::Switchover => "Switch over",
            Self::Clone => "Clone a node",
            Self::Rejoin => "Take a node back",
        }
    }

    /// When it is the right thing.
    const fn about(self) -> &'static str {
        match self {
            Self::Promote => {
                "For when the primary does not work and has not been replaced by itself. The old primary is killed first."
            }
            Self::Switchover => {
                "Moves the role of the primary while all is well: for maintenance, or back to where it was before."
            }
            Self::Clone => "Replaces the data of a node by a copy of another node's.",
            Self::Rejoin => "For a node that was the primary, or was out of service: it follows the primary again.",
        }
    }

    /// The label of the choice of a node.
    const fn choice(self) -> &'static str {
        match self {
            Self::Promote | Self::Switchover => "New primary",
            Self::Clone => "Node to be made anew",
            Self::Rejoin => "Node to be taken back",
        }
    }

    /// It can be left to the keeper.
    const fn chooses(self) -> bool {
        matches!(self, Self::Promote | Self::Switchover)
    }

    /// What the button says.
    fn button(self, foreseen: &Foreseen) -> String {
        let partner = foreseen.partner.as_ref().map_or_else(|| "the best node".to_owned(), ToString::to_string);
        match self {
            Self::Promote => format!("Promote {partner} now"),
            Self::Switchover => format!("Switch over to {partner} now"),
            Self::Clone => format!("Replace the data of {} now", foreseen.subject),
            Self::Rejoin => format!("Restart {} and take it back now", foreseen.subject),
        }
    }
}

/// What the forms of the page say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// The node that takes over, or that is made anew or taken back; empty: not chosen.
    pub node: String,
    /// The node that is copied from; empty: the keeper chooses.
    pub donor: String,
    /// Also when acknowledged writes may be missing.
    pub without_proof: bool,
    /// The cluster as the page has shown it.
    pub generation: Option<u64>,
}

/// What the page shows.
#[derive(Debug, Clone)]
pub struct Act {
    /// The cluster.
    pub view: ClusterView,
    /// What is asked for.
    pub kind: Kind,
    /// With which choices.
    pub asked: Asked,
    /// What would come of it; `None`: a node has to be chosen first.
    pub foreseen: Option<Foreseen>,
    /// Why it was not done.
    pub problem: Option<Problem>,
}

#[derive(Template)]
#[template(path = "act.html")]
struct Page<'a> {
    frame: &'a Frame,
    page: &'a Act,
    cluster: &'a ClusterView,
}

/// What would be done, what could be lost, and a button.
#[must_use]
pub fn page(frame: &Frame, page: &Act) -> String {
    finish(Page { frame, page, cluster: &page.view }.render())
}

impl Page<'_> {
    /// The nodes among which there is a choice.
    fn nodes(&self) -> impl Iterator<Item = &NodeView> {
        self.cluster.nodes.iter().filter(|node| Some(&node.name) != self.cluster.primary.as_ref())
    }

    fn is_chosen(&self, node: &NodeName) -> bool {
        self.page.asked.node == node.as_str()
    }

    fn is_donor(&self, node: &NodeName) -> bool {
        self.page.asked.donor == node.as_str()
    }
}

/// A class and words for what is at risk.
pub(crate) fn risk(risk: Risk) -> (&'static str, &'static str) {
    match risk {
        Risk::Nothing => ("passed", "✔ Nothing that was acknowledged can be lost."),
        Risk::Possible => ("critical", "✖ Data can be lost."),
        Risk::Unknown => ("critical", "? Nobody can tell what would be lost."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firedrill_model::access::Role;
    use serde_json::json;

    const HOSTILE: &str = "<script>alert(1)</script>\"'&";

    fn foreseen(refused: serde_json::Value) -> Foreseen {
        serde_json::from_value(json!({
            "kind": "promotion", "subject": "east-1", "partner": "east-2", "refused": refused, "waits": HOSTILE,
            "steps": ["The gateway holds."], "risk": "possible", "loss": [HOSTILE], "effects": [HOSTILE],
            "generation": 3, "choices": [{
                "node": "east-2", "role": "replica", "health": "healthy", "acker": true, "received": "0-1-9",
                "missing": 1, "refused": {"code": "K004", "message": HOSTILE}
            }]
        }))
        .expect("what is foreseen")
    }

    fn shown(kind: Kind, foreseen: Option<Foreseen>) -> String {
        let problem = Problem { code: "K002".to_owned(), message: HOSTILE.to_owned(), refused: true };
        let asked = Asked { node: HOSTILE.to_owned(), ..Asked::default() };
        let view = crate::topology::example();
        let act = Act { view, kind, asked, foreseen, problem: Some(problem) };
        page(&Frame::shown_to(Role::Operator), &act)
    }

    #[test]
    fn the_page_says_what_could_be_lost_and_asks_once() {
        let page = shown(Kind::Promote, Some(foreseen(serde_json::Value::Null)));
        assert!(page.contains("Data can be lost") && page.contains("Promote east-2 now"), "{page}");
        assert_eq!(page.matches("method=\"post\" action=\"/clusters/shop/act/promote\"").count(), 1);
        assert!(page.contains("name=\"generation\" value=\"3\"") && page.contains("role=\"alert\""));
        assert!(!page.contains("<script>alert") && !page.contains("style=\""), "{page}");
    }

    #[test]
    fn what_would_be_refused_has_no_button() {
        let page = shown(Kind::Promote, Some(foreseen(json!({"code": "K004", "message": HOSTILE}))));
        assert!(!page.contains("act/promote\"><input") && !page.contains("Promote east-2 now"), "{page}");
        assert!(page.contains("/errors/K004") && !page.contains("<script>alert"));
    }

    #[test]
    fn a_node_is_chosen_before_anything_is_shown() {
        for kind in [Kind::Clone, Kind::Rejoin] {
            let page = shown(kind, None);
            assert!(page.contains("Choose a node") && !page.contains("name=\"generation\""), "{page}");
            let donors = usize::from(kind == Kind::Clone);
            assert_eq!(page.matches("<option value=\"east-1\">").count(), donors, "the primary may be copied from");
            assert_eq!(page.matches("<option value=\"east-2\">").count(), 1 + donors);
        }
    }
}
