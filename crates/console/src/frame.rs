//! What every page has around its own part: navigation, who looks, the halt.

use firedrill_api::access::Me;
use firedrill_model::ClusterName;
use firedrill_model::access::{Action, Object, Principal, authorise};

/// The parts of the console, as the navigation names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Clusters.
    Fleet,
    /// Templates, the ladder, attacks: what can be started.
    Experiments,
    /// What was started.
    Runs,
    /// What starts by itself, and when.
    Schedules,
    /// Machines and their tags.
    Hosts,
    /// What was tested and found in a period.
    Evidence,
    /// Users, teams, tokens.
    People,
    /// Who did what.
    Audit,
    /// Guards, messages, the server.
    Settings,
}

impl Place {
    /// All of them, in the order of the navigation.
    pub const ALL: [Self; 9] = [
        Self::Fleet,
        Self::Experiments,
        Self::Runs,
        Self::Schedules,
        Self::Hosts,
        Self::Evidence,
        Self::People,
        Self::Audit,
        Self::Settings,
    ];

    /// The address of its first page.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Fleet => "/",
            Self::Experiments => "/experiments",
            Self::Runs => "/runs",
            Self::Schedules => "/schedules",
            Self::Hosts => "/hosts",
            Self::Evidence => "/evidence",
            Self::People => "/people",
            Self::Audit => "/audit",
            Self::Settings => "/settings",
        }
    }

    /// As the navigation names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fleet => "Fleet",
            Self::Experiments => "Experiments",
            Self::Runs => "Runs",
            Self::Schedules => "Schedules",
            Self::Hosts => "Hosts",
            Self::Evidence => "Evidence",
            Self::People => "People",
            Self::Audit => "Audit",
            Self::Settings => "Settings",
        }
    }

    /// The key that leads there after `g`.
    #[must_use]
    pub const fn key(self) -> char {
        match self {
            Self::Fleet => 'f',
            Self::Experiments => 'e',
            Self::Runs => 'r',
            Self::Schedules => 's',
            Self::Hosts => 'h',
            Self::Evidence => 'v',
            Self::People => 'p',
            Self::Audit => 'a',
            Self::Settings => 't',
        }
    }
}

/// What a page needs to draw what is around it.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Of the page.
    pub title: String,
    /// Where it belongs.
    pub place: Place,
    /// Who looks.
    pub me: Me,
    /// Why starts are blocked, when they are.
    pub halted: Option<String>,
}

impl Frame {
    /// The parts that who looks may look at.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        let may_see = |place: &Place| match place {
            Place::People => self.may_everywhere(Action::Govern),
            Place::Audit => self.may_everywhere(Action::Audit),
            _ => true,
        };
        Place::ALL.into_iter().filter(may_see).collect()
    }

    /// Whether who looks may do that to something, so that it is worth a button. The server decides again.
    #[must_use]
    pub fn may(&self, action: Action) -> bool {
        self.allowed(action, &Object::Somewhere)
    }

    /// Whether who looks may do that to the whole installation.
    #[must_use]
    pub fn may_everywhere(&self, action: Action) -> bool {
        self.allowed(action, &Object::Everything)
    }

    /// Whether who looks may do that to this cluster.
    #[must_use]
    pub fn may_on(&self, action: Action, cluster: &ClusterName) -> bool {
        self.allowed(action, &Object::Cluster(cluster.clone()))
    }

    fn allowed(&self, action: Action, object: &Object) -> bool {
        let Me { name, grants, token, .. } = &self.me;
        let principal = Principal { name: name.clone(), grants: grants.clone(), token: token.clone() };
        authorise(&principal, action, object).is_ok()
    }
}

#[cfg(test)]
impl Frame {
    /// A page as somebody with that role on everything sees it.
    pub(crate) fn shown_to(role: firedrill_model::access::Role) -> Self {
        let grants = vec![firedrill_model::access::Grant::everywhere(role)];
        let me = Me { name: "ada".to_owned(), open: false, grants, token: None };
        Self { title: "A page".to_owned(), place: Place::Fleet, me, halted: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firedrill_model::access::Role;
    use std::collections::BTreeSet;

    #[test]
    fn each_place_has_an_address_and_a_key_of_its_own() {
        let paths: BTreeSet<&str> = Place::ALL.iter().map(|place| place.path()).collect();
        let keys: BTreeSet<char> = Place::ALL.iter().map(|place| place.key()).collect();
        assert_eq!((paths.len(), keys.len()), (Place::ALL.len(), Place::ALL.len()));
    }

    #[test]
    fn only_who_may_look_at_a_part_is_led_there() {
        assert_eq!(Frame::shown_to(Role::Admin).places(), Place::ALL);
        let places = Frame::shown_to(Role::Operator).places();
        assert!(
            places.contains(&Place::Settings) && !places.contains(&Place::People) && !places.contains(&Place::Audit)
        );
    }

    #[test]
    fn a_viewer_is_offered_the_halt_and_no_start() {
        let frame = Frame::shown_to;
        assert!(frame(Role::Viewer).may(Action::Stop) && !frame(Role::Viewer).may(Action::Attack));
        assert!(frame(Role::Operator).may(Action::Attack) && !frame(Role::Operator).may_everywhere(Action::Govern));
    }
}
