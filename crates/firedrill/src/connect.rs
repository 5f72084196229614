//! Which server is meant, and which cluster when none was named.

use crate::args::Connect;
use crate::credentials;
use anyhow::{Context, bail};
use firedrill_api::client::Client;
use firedrill_model::ClusterName;
use firedrill_sandbox::{Home, SandboxName};

/// The client for the server that the command line means, with the token that it gives, else with the session that
/// `firedrill login` has kept for that server.
pub(crate) async fn client(connect: &Connect) -> anyhow::Result<Client> {
    let client = anonymous(connect).await?.in_the_name_of(connect.person.clone().or_else(user));
    let secret = match &connect.token {
        Some(token) => Some(token.clone()),
        None => credentials::of(client.base_url())?,
    };
    Ok(match secret {
        Some(secret) => client.with_credential(&secret),
        None => client,
    })
}

/// The name of the user who types.
fn user() -> Option<String> {
    std::env::var("USER").ok().filter(|name| !name.is_empty())
}

/// The same without a secret: `--server`, else `--sandbox`, else the sandbox "default".
pub(crate) async fn anonymous(connect: &Connect) -> anyhow::Result<Client> {
    if let Some(url) = &connect.server {
        return Ok(Client::new(url)?);
    }
    let named = connect.sandbox.clone();
    let name = match &named {
        Some(name) => name.clone(),
        None => "default".parse::<SandboxName>().context("the name of the default sandbox")?,
    };
    match firedrill_sandbox::status(&Home::from_environment(), &name).await {
        Ok(status) => Ok(Client::new(&status.server.url)?),
        Err(error) if named.is_some() => Err(error.into()),
        // No sandbox was named and the default one is not there: a server on its usual address is meant.
        Err(_) => Ok(Client::new("http://127.0.0.1:7070")?),
    }
}

/// The cluster that was named, or the only one.
pub(crate) async fn cluster(client: &Client, named: Option<ClusterName>) -> anyhow::Result<ClusterName> {
    if let Some(name) = named {
        return Ok(name);
    }
    let clusters = client.clusters().await?;
    match clusters.as_slice() {
        [only] => Ok(only.cluster.clone()),
        [] => bail!("the server at {} knows no cluster; `firedrill sandbox up` makes one", client.base_url()),
        several => {
            let names: Vec<_> = several.iter().map(|view| view.cluster.as_str()).collect();
            bail!("there are several clusters ({}); name one with --cluster", names.join(", "))
        }
    }
}
