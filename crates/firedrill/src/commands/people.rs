//! `firedrill user`, `firedrill team` and `firedrill token`.

use crate::args::Connect;
use crate::commands::login::{Prompt, new_password};
use crate::exit::Outcome;
use crate::people_args::{Team, Token, User};
use crate::{connect, output};
use anyhow::bail;
use firedrill_api::access::{AddUser, ChangePassword, Code, CreateToken, Grants, SetTeam, UserView};
use firedrill_api::client::Client;
use firedrill_model::access::Grant;
use firedrill_model::{Timestamp, UserName};

pub(crate) async fn user(command: User, connect: &Connect) -> anyhow::Result<Outcome> {
    let client = connect::client(connect).await?;
    match command {
        User::Add { name, grants, password } => {
            let add = AddUser { name, password: new_password(&password)?, grants: grants.grants() };
            let was_open = client.me().await.is_ok_and(|me| me.open);
            show(&client.add_user(&add).await?, connect.json)?;
            if was_open {
                eprintln!("from now on everybody has to log in: `firedrill login`");
            }
        }
        User::List => {
            let users = client.users().await?;
            if connect.json {
                output::json(&users)?;
            } else {
                let header = ["USER", "MAY", "CODES", "LAST LOG-IN"];
                output::table(&header, users.iter().map(user_row).collect())?;
            }
        }
        User::Grant { name, only, grants } => {
            let mut all = if only { Vec::new() } else { find(&client, &name).await?.grants };
            let new: Vec<Grant> = grants.grants().into_iter().filter(|grant| !all.contains(grant)).collect();
            all.extend(new);
            show(&client.set_grants(&name, &Grants { grants: all }).await?, connect.json)?;
        }
        User::Disable { name } => show(&client.disable_user(&name, true).await?, connect.json)?,
        User::Enable { name } => show(&client.disable_user(&name, false).await?, connect.json)?,
        User::Password { name, password } => change_password(&client, name, &password).await?,
        User::Totp { remove, name } => totp(&client, remove, name).await?,
    }
    Ok(Outcome::done())
}

/// `firedrill whoami`.
pub(crate) async fn whoami(connect: &Connect) -> anyhow::Result<Outcome> {
    let me = connect::client(connect).await?.me().await?;
    if connect.json {
        output::json(&me)?;
    } else if me.open {
        output::text("local: the server is open, for it has no user; whoever reaches it may do everything");
    } else {
        output::text(&format!("{}: {}", me.name, listed(&me.grants)));
        if let Some(limits) = &me.token {
            output::text(&format!("with a token for: {}", listed(limits)));
        }
    }
    Ok(Outcome::done())
}

async fn find(client: &Client, name: &UserName) -> anyhow::Result<UserView> {
    match client.users().await?.into_iter().find(|user| user.name == *name) {
        Some(user) => Ok(user),
        None => bail!("there is no user {name}; `firedrill user list` shows all"),
    }
}

async fn own_name(client: &Client) -> anyhow::Result<UserName> {
    Ok(client.me().await?.name.parse()?)
}

async fn change_password(client: &Client, name: Option<UserName>, password: &Prompt) -> anyhow::Result<()> {
    let own = own_name(client).await?;
    let name = name.unwrap_or_else(|| own.clone());
    let old = if name == own { Some(Prompt::default().secret("Present password: ")?) } else { None };
    client.change_password(&name, &ChangePassword { old, new: new_password(password)? }).await?;
    eprintln!("the password of {name} is changed, and all sessions of {name} have ended");
    Ok(())
}

async fn totp(client: &Client, remove: bool, name: Option<UserName>) -> anyhow::Result<()> {
    let own = own_name(client).await?;
    let name = name.unwrap_or(own);
    if remove {
        client.remove_totp(&name).await?;
        eprintln!("{name} logs in without a one-time code");
        return Ok(());
    }
    let key = client.make_totp(&name).await?;
    output::text(&format!("key {}\n{}", key.key, key.address));
    let code = Prompt::default().line("Code that the application shows: ")?;
    client.confirm_totp(&name, &Code { code }).await?;
    eprintln!("from now on {name} logs in with a one-time code, too");
    Ok(())
}

fn show(user: &UserView, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(user);
    }
    output::table(&["USER", "MAY", "CODES", "LAST LOG-IN"], vec![user_row(user)])
}

fn user_row(user: &UserView) -> Vec<String> {
    let may = if user.disabled { "disabled".to_owned() } else { listed(&user.grants) };
    let codes = if user.totp { "on" } else { "" };
    vec![user.name.to_string(), may, codes.to_owned(), moment(user.last_login)]
}

fn listed(grants: &[Grant]) -> String {
    grants.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn moment(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "never".to_owned(), output::moment)
}

pub(crate) async fn team(command: Team, connect: &Connect) -> anyhow::Result<Outcome> {
    let client = connect::client(connect).await?;
    let teams = match command {
        Team::List => client.teams().await?,
        Team::Set { name, members, grants } => {
            vec![client.set_team(&name, &SetTeam { grants: grants.grants(), members }).await?]
        }
        Team::Remove { name } => {
            client.remove_team(&name).await?;
            return Ok(Outcome::done());
        }
    };
    if connect.json {
        output::json(&teams)?;
    } else {
        let rows = teams.iter().map(|team| {
            let members = team.members.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            vec![team.name.to_string(), listed(&team.grants), members]
        });
        output::table(&["TEAM", "MAY", "MEMBERS"], rows.collect())?;
    }
    Ok(Outcome::done())
}

pub(crate) async fn token(command: Token, connect: &Connect) -> anyhow::Result<Outcome> {
    let client = connect::client(connect).await?;
    match command {
        Token::Create { label, expires, grants } => {
            let create = CreateToken { label, grants: grants.grants(), good_for: expires };
            let made = client.create_token(&create).await?;
            if connect.json {
                output::json(&made)?;
            } else {
                output::text(&made.secret);
                eprintln!(
                    "token {}, good until {}; it is not shown again",
                    made.token.id,
                    output::moment(made.token.expires)
                );
            }
        }
        Token::List => {
            let tokens = client.api_tokens().await?;
            if connect.json {
                output::json(&tokens)?;
            } else {
                let rows = tokens.iter().map(|token| {
                    let until = if token.revoked { "revoked".to_owned() } else { output::moment(token.expires) };
                    let (owner, used) = (token.owner.to_string(), moment(token.last_used));
                    vec![token.id.clone(), owner, token.label.clone(), listed(&token.grants), until, used]
                });
                output::table(&["TOKEN", "OWNER", "FOR", "MAY", "UNTIL", "LAST USED"], rows.collect())?;
            }
        }
        Token::Revoke { id } => {
            client.revoke_token(&id).await?;
        }
    }
    Ok(Outcome::done())
}
