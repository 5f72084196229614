//! One's own account: what one may do, password, one-time codes, API tokens.

use crate::format;
use crate::frame::Frame;
use crate::pages::finish;
use crate::typed::Typed;
use askama::Template;
use firedrill_api::access::{CreatedToken, TokenView, TotpKey};
use firedrill_api::http::Problem;
use firedrill_model::{ClusterName, Timestamp};

/// What the page shows.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// One-time codes are on.
    pub codes: bool,
    /// The key of codes that are to be confirmed; shown once.
    pub key: Option<TotpKey>,
    /// One's own.
    pub tokens: Vec<TokenView>,
    /// What a token can be limited to.
    pub clusters: Vec<ClusterName>,
    /// What was typed for a token.
    pub typed: Typed,
    /// Now.
    pub now: Timestamp,
    /// Why something was not done.
    pub problem: Option<Problem>,
}

#[derive(Template)]
#[template(path = "account.html")]
struct Page<'a> {
    frame: &'a Frame,
    page: &'a Account,
}

/// One's own account.
#[must_use]
pub fn page(frame: &Frame, page: &Account) -> String {
    finish(Page { frame, page }.render())
}

impl Page<'_> {
    /// For how long a token is good when nothing else is typed.
    fn good_for(&self) -> &str {
        self.page.typed.text("good_for").unwrap_or("90d")
    }
}

#[derive(Template)]
#[template(path = "api_token.html")]
struct TokenPage<'a> {
    frame: &'a Frame,
    created: &'a CreatedToken,
}

/// A token, which is shown this once.
#[must_use]
pub fn token(frame: &Frame, created: &CreatedToken) -> String {
    finish(TokenPage { frame, created }.render())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedules::tests::HOSTILE;
    use firedrill_model::access::Role;
    use serde_json::json;

    fn created() -> CreatedToken {
        let token = json!({"secret": "fdt_abc", "id": "018f", "label": HOSTILE, "owner": "ada",
                           "grants": [{"role": "viewer"}], "created": 0, "expires": 9, "last_used": 3, "revoked": false});
        serde_json::from_value(token).expect("a token")
    }

    #[test]
    fn it_tells_what_is_on_and_keeps_what_was_typed() {
        let frame = Frame::shown_to(Role::Operator);
        let typed = Typed::of(vec![("label".to_owned(), HOSTILE.to_owned()), ("role".to_owned(), "viewer".to_owned())]);
        let shown = Account { tokens: vec![created().token], typed, now: Timestamp(10), ..Account::default() };
        let html = page(&frame, &shown);
        assert!(html.contains("operator of everything") && html.contains("Make a key"), "{html}");
        assert!(html.contains("– expired") && !html.contains("/revoke") && !html.contains("<script>alert"), "{html}");
        let key = TotpKey { key: "ABCD".into(), address: "otpauth://totp/firedrill:ada?secret=ABCD".into() };
        let html = page(&frame, &Account { key: Some(key), ..Account::default() });
        assert!(html.contains("ABCD") && html.contains("/account/codes/confirm"), "{html}");
        let html = page(&frame, &Account { codes: true, ..Account::default() });
        assert!(html.contains("/account/codes/remove") && !html.contains("Make a key"), "{html}");
    }

    #[test]
    fn a_token_is_shown_with_what_it_is_good_for() {
        let html = token(&Frame::shown_to(Role::Operator), &created());
        assert!(html.contains("fdt_abc") && html.contains("viewer of everything"), "{html}");
        assert!(!html.contains("<script>alert"), "{html}");
    }

    #[test]
    fn on_an_open_server_there_is_no_account() {
        let mut frame = Frame::shown_to(Role::Admin);
        frame.me.open = true;
        let html = page(&frame, &Account::default());
        assert!(html.contains("href=\"/people\"") && !html.contains("/account/password"), "{html}");
    }
}
