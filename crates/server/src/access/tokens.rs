//! API tokens: for scripts, limited to what they are for.

use super::accounts::{can_give, failed, listed};
use super::acting::Acting;
use super::{account, secrets};
use crate::authority::sha256_hex;
use crate::clock::now;
use crate::problem::not_found;
use crate::server::Server;
use firedrill_api::access::{CreateToken, CreatedToken, TokenView};
use firedrill_api::http::Problem;
use firedrill_model::access::{Action, Object, authorise};
use firedrill_model::{Span, UserName};
use firedrill_store::TokenRecord;

/// No token outlives a year: who needs it makes it anew, and who has left does not.
const GOOD_FOR_MAX: Span = Span::secs(366 * 24 * 3600);
/// Tokens of one user that are good at once: more are forgotten ones.
const TOKENS_MAX: usize = 100;
const LABEL_CHARS_MAX: usize = 80;
/// Digits of an id: unique among the tokens of one server, short enough to be typed.
const ID_DIGITS: usize = 12;

fn view(token: TokenRecord) -> TokenView {
    let TokenRecord { id, label, owner, grants, created, expires, last_used, revoked } = token;
    TokenView { id, label, owner, grants, created, expires, last_used, revoked }
}

/// Whose tokens they see; `None`: everybody's.
fn whose(acting: &Acting) -> Result<Option<UserName>, Problem> {
    if authorise(acting.principal(), Action::Govern, &Object::Everything).is_ok() {
        return Ok(None);
    }
    let name = acting.principal().name.parse();
    name.map(Some).map_err(|_| account("only users have API tokens"))
}

/// API tokens: one's own, or everybody's for those who manage users.
pub(crate) async fn tokens(server: &Server, acting: &Acting) -> Result<Vec<TokenView>, Problem> {
    let owner = whose(acting)?;
    Ok(server.store.api_tokens(owner.as_ref()).await.map_err(failed)?.into_iter().map(view).collect())
}

/// Makes an API token of whoever asks.
pub(crate) async fn create_token(
    server: &Server,
    acting: &Acting,
    create: CreateToken,
) -> Result<CreatedToken, Problem> {
    let CreateToken { label, grants, good_for } = create;
    if server.access.is_open() {
        return Err(account("there is no user yet, so nobody needs a token; `firedrill user add --role admin` first"));
    }
    if grants.is_empty()
        || label.is_empty()
        || label.chars().count() > LABEL_CHARS_MAX
        || label.contains(char::is_control)
    {
        return Err(account(format!(
            "a token has a label of 1 to {LABEL_CHARS_MAX} characters, and at least one role"
        )));
    }
    if good_for == Span::ZERO || good_for > GOOD_FOR_MAX {
        return Err(account(format!("a token is good for {GOOD_FOR_MAX} at most, and for longer than nothing")));
    }
    can_give(acting, &grants)?;
    let owner: UserName = acting.principal().name.parse().map_err(|_| account("only users have API tokens"))?;
    let created = now();
    let have = server.store.api_tokens(Some(&owner)).await.map_err(failed)?;
    if have.iter().filter(|token| !token.revoked && token.expires > created).count() >= TOKENS_MAX {
        return Err(account(format!("{owner} has {TOKENS_MAX} tokens; revoke those that nobody uses")));
    }
    let no_random = || account("the operating system gives no random numbers");
    let secret = secrets::token("fdt_").ok_or_else(no_random)?;
    let id: String = uuid::Uuid::new_v4().simple().to_string().chars().take(ID_DIGITS).collect();
    let expires = created + good_for;
    let token = TokenRecord { id, label, owner, grants, created, expires, last_used: None, revoked: false };
    super::note(&format!("token {}: {}", token.id, listed(&token.grants)));
    server.store.add_api_token(&token, &sha256_hex(secret.as_bytes())).await.map_err(failed)?;
    Ok(CreatedToken { secret, token: view(token) })
}

/// Makes an API token no good any more.
pub(crate) async fn revoke_token(server: &Server, acting: &Acting, id: &str) -> Result<(), Problem> {
    let owner = whose(acting)?;
    let found = server.store.api_token(id).await.map_err(failed)?;
    // Another's token is as unknown as one that there is not.
    let mine = |token: &TokenRecord| owner.as_ref().is_none_or(|owner| token.owner == *owner);
    let found = found.filter(mine).ok_or_else(|| not_found("API token", id, "`firedrill token list` shows yours"))?;
    server.store.revoke_api_token(&found.id).await.map_err(failed)
}
