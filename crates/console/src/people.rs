//! Users and teams: who may log in, what they may do, and the API tokens of all.

use crate::format;
use crate::frame::Frame;
use crate::pages::finish;
use crate::typed::Typed;
use askama::Template;
use firedrill_api::access::{TeamView, TokenView, UserView};
use firedrill_api::http::Problem;
use firedrill_model::{ClusterName, Timestamp, UserName};
use std::collections::BTreeSet;

/// Users, teams and tokens that one page lists; a filter finds the others.
const ROWS_MAX: usize = 200;

/// What the page of all shows.
#[derive(Debug, Clone, Default)]
pub struct People {
    /// All of them.
    pub users: Vec<UserView>,
    /// All of them.
    pub teams: Vec<TeamView>,
    /// Everybody's.
    pub tokens: Vec<TokenView>,
    /// What a role can be limited to.
    pub clusters: Vec<ClusterName>,
    /// Only names that have this in them.
    pub q: String,
    /// What was typed into a form; `form` says into which.
    pub typed: Typed,
    /// Now.
    pub now: Timestamp,
    /// Why something was not done.
    pub problem: Option<Problem>,
}

#[derive(Template)]
#[template(path = "people.html")]
struct Page<'a> {
    frame: &'a Frame,
    page: &'a People,
    users: Vec<&'a UserView>,
    teams: Vec<&'a TeamView>,
    tokens: Vec<&'a TokenView>,
    of_user: Typed,
    of_team: Typed,
}

/// All users, teams and tokens.
#[must_use]
pub fn page(frame: &Frame, page: &People) -> String {
    let wanted = page.q.trim().to_lowercase();
    let is_wanted = |name: &str| name.contains(&wanted);
    let users = page.users.iter().filter(|user| is_wanted(user.name.as_str())).take(ROWS_MAX).collect();
    let teams = page.teams.iter().filter(|team| is_wanted(team.name.as_str())).take(ROWS_MAX).collect();
    let tokens = page.tokens.iter().filter(|token| is_wanted(token.owner.as_str())).take(ROWS_MAX).collect();
    let typed = |form: &str| if page.typed.get("form") == form { page.typed.clone() } else { Typed::default() };
    finish(Page { frame, page, users, teams, tokens, of_user: typed("user"), of_team: typed("team") }.render())
}

impl Page<'_> {
    /// The teams that somebody is in.
    fn teams_of(&self, user: &UserName) -> Vec<&TeamView> {
        self.page.teams.iter().filter(|team| team.members.contains(user)).collect()
    }

    fn is_cut(&self) -> bool {
        let longest = self.page.users.len().max(self.page.teams.len()).max(self.page.tokens.len());
        longest > ROWS_MAX
    }
}

/// What the page of a user shows.
#[derive(Debug, Clone)]
pub struct OneUser {
    /// Who.
    pub user: UserView,
    /// The teams that they are in.
    pub teams: Vec<TeamView>,
    /// What a role can be limited to.
    pub clusters: Vec<ClusterName>,
    /// What was typed.
    pub typed: Typed,
    /// Why something was not done.
    pub problem: Option<Problem>,
}

#[derive(Template)]
#[template(path = "user.html")]
struct UserPage<'a> {
    frame: &'a Frame,
    page: &'a OneUser,
    path: String,
}

/// One user.
#[must_use]
pub fn user(frame: &Frame, page: &OneUser) -> String {
    finish(UserPage { frame, page, path: format!("/people/users/{}", page.user.name) }.render())
}

impl UserPage<'_> {
    /// Whether who looks looks at themselves.
    fn is_me(&self) -> bool {
        self.frame.me.name == self.page.user.name.as_str()
    }
}

/// What the page of a team shows.
#[derive(Debug, Clone)]
pub struct OneTeam {
    /// Which.
    pub team: TeamView,
    /// Who could be in it.
    pub users: Vec<UserName>,
    /// What a role can be limited to.
    pub clusters: Vec<ClusterName>,
    /// What was typed.
    pub typed: Typed,
    /// Why something was not done.
    pub problem: Option<Problem>,
}

#[derive(Template)]
#[template(path = "team.html")]
struct TeamPage<'a> {
    frame: &'a Frame,
    page: &'a OneTeam,
    path: String,
}

/// One team.
#[must_use]
pub fn team(frame: &Frame, page: &OneTeam) -> String {
    finish(TeamPage { frame, page, path: format!("/people/teams/{}", page.team.name) }.render())
}

impl TeamPage<'_> {
    /// Those who are not in it.
    fn others(&self) -> Vec<&UserName> {
        self.page.users.iter().filter(|user| !self.page.team.members.contains(user)).collect()
    }
}

/// Names out of a text, between commas, blanks or line ends.
///
/// # Errors
/// One of them is no name of a user.
pub fn members(text: &str) -> Result<Vec<UserName>, String> {
    let names = text.split([',', ' ', '\n', '\r', '\t']).filter(|name| !name.is_empty());
    let names = names.map(|name| name.parse::<UserName>().map_err(|why| why.to_string()));
    Ok(names.collect::<Result<BTreeSet<_>, String>>()?.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedules::tests::HOSTILE;
    use firedrill_model::access::Role;
    use serde_json::json;

    fn ada() -> UserView {
        let user = json!({"name": "ada", "grants": [{"role": "operator", "cluster": "shop"}], "disabled": true,
                          "totp": true, "created": 0, "last_login": null});
        serde_json::from_value(user).expect("a user")
    }

    fn team_of(members: &[&str]) -> TeamView {
        let team = json!({"name": "dba", "grants": [{"role": "admin"}], "members": members});
        serde_json::from_value(team).expect("a team")
    }

    fn token() -> TokenView {
        let token = json!({"id": "018f", "label": HOSTILE, "owner": "ada", "grants": [{"role": "viewer"}],
                           "created": 0, "expires": 9, "last_used": null, "revoked": false});
        serde_json::from_value(token).expect("a token")
    }

    #[test]
    fn the_list_tells_who_may_do_what_and_keeps_what_was_typed() {
        let typed = Typed::of(vec![
            ("form".to_owned(), "user".to_owned()),
            ("name".to_owned(), HOSTILE.to_owned()),
            ("password".to_owned(), "secret-word".to_owned()),
        ]);
        let shown = People {
            users: vec![ada()],
            teams: vec![team_of(&["ada"])],
            tokens: vec![token()],
            typed,
            ..People::default()
        };
        let html = page(&Frame::shown_to(Role::Admin), &shown);
        assert!(!html.contains("<script>alert") && html.matches("alert(1)").count() > 1, "{html}");
        assert!(html.contains("operator of cluster shop") && html.contains("✖ may not log in"), "{html}");
        assert!(html.contains("/people/teams/dba") && html.contains("✔ good"), "{html}");
        assert!(!html.contains("secret-word"), "a password is typed again: {html}");
        let none = page(&Frame::shown_to(Role::Admin), &People { q: "zoe".into(), ..shown });
        assert!(!none.contains("/people/users/ada\"") && none.contains("Nobody"), "{none}");
    }

    #[test]
    fn an_open_server_asks_for_its_first_admin() {
        let mut frame = Frame::shown_to(Role::Admin);
        frame.me.open = true;
        let html = page(&frame, &People::default());
        assert!(html.contains("No user yet") && html.contains("from then on everybody has to log in"), "{html}");
    }

    #[test]
    fn one_user_and_one_team() {
        let problem = Some(Problem { code: "S028".into(), message: HOSTILE.into(), refused: true });
        let shown = OneUser {
            user: ada(),
            teams: vec![team_of(&["ada"])],
            clusters: vec!["shop".parse().expect("a name")],
            typed: Typed::default(),
            problem,
        };
        let html = user(&Frame::shown_to(Role::Admin), &shown);
        assert!(html.contains("Let ada log in again") && html.contains("/people/users/ada/take"), "{html}");
        assert!(html.contains("from team <a href=\"/people/teams/dba\"") && !html.contains("<script>alert"), "{html}");
        let shown = OneTeam {
            team: team_of(&["ada"]),
            users: vec!["ada".parse().expect("a name"), "bob".parse().expect("a name")],
            clusters: Vec::new(),
            typed: Typed::default(),
            problem: None,
        };
        let html = team(&Frame::shown_to(Role::Admin), &shown);
        assert!(html.contains("Remove team dba") && html.contains("value=\"bob\""), "{html}");
        assert!(html.contains("aria-label=\"Take away “admin of everything” from dba\""), "{html}");
    }

    #[test]
    fn members_are_names_once() {
        let names = members("bob, ada\r\nbob").expect("names");
        assert_eq!(names.iter().map(UserName::as_str).collect::<Vec<_>>(), ["ada", "bob"]);
        assert!(members("ada, No One!").is_err());
    }
}
