//! `firedrill host`.

use crate::args::{Connect, Host};
use crate::exit::Outcome;
use crate::{connect, output};
use firedrill_api::http::HostView;

pub(crate) async fn run(command: Host, connect: &Connect) -> anyhow::Result<Outcome> {
    match command {
        Host::Check => check(connect.json)?,
        Host::List => {
            let client = connect::client(connect).await?;
            let hosts = client.hosts().await?;
            if connect.json {
                output::json(&hosts)?;
            } else {
                let rows = hosts.iter().map(|host| {
                    vec![
                        host.name.to_string(),
                        host.region.as_ref().map_or_else(String::new, ToString::to_string),
                        host.address.map_or_else(String::new, |address| address.to_string()),
                        if host.connected { "connected".into() } else { "away".into() },
                        host.nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
                    ]
                });
                output::table(&["HOST", "REGION", "ADDRESS", "AGENT", "NODES"], rows.collect())?;
            }
        }
        Host::Token { host } => {
            let client = connect::client(connect).await?;
            let token = client.token(&host).await?;
            if connect.json {
                output::json(&token)?;
            } else {
                output::text(&format!(
                    "token {}\nserver {}\nauthority sha256 {}",
                    token.token, token.link_address, token.authority_sha256
                ));
            }
        }
        Host::Show { host } => show(&connect::client(connect).await?.host(&host).await?, connect.json)?,
        Host::Revoke { host, reason } => {
            show(&connect::client(connect).await?.revoke_host(&host, &reason).await?, connect.json)?;
        }
    }
    Ok(Outcome::done())
}

fn show(host: &HostView, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(host);
    }
    let words = |words: Vec<String>| if words.is_empty() { "none".to_owned() } else { words.join(" ") };
    let mut lines = vec![
        format!("host         {}", host.name),
        format!("agent        {}", if host.connected { "connected" } else { "away" }),
        format!("certificate  {}", certificate(host)),
        format!("address      {}", host.address.map_or_else(|| "not known".to_owned(), |address| address.to_string())),
        format!("region       {}", host.region.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string)),
        format!("tags         {}", words(host.tags.iter().map(|(key, value)| format!("{key}={value}")).collect())),
        format!("nodes        {}", words(host.nodes.iter().map(ToString::to_string).collect())),
    ];
    lines.push(format!(
        "allowed      {}",
        host.allowed.as_ref().map_or_else(|| "everything (its owner has set no list)".to_owned(), ToString::to_string)
    ));
    lines.extend(host.last_seen.map(|seen| format!("last seen    {}", output::moment(seen))));
    lines.extend(host.agent_version.iter().map(|version| format!("version      {version}")));
    output::text(&lines.join("\n"));
    Ok(())
}

/// How the host stands with the server, in one line.
fn certificate(host: &HostView) -> String {
    match (&host.revoked, host.certificate_until) {
        (Some(revoked), _) => {
            format!("revoked by {} at {}: {}", revoked.by, output::moment(revoked.at), revoked.reason)
        }
        (None, Some(until)) => format!("good until {}", output::moment(until)),
        (None, None) => "none, or to be renewed at once".to_owned(),
    }
}

/// What faults this host can bear, and at what they can be aimed. Anything missing is said, and is no error of this command.
fn check(json: bool) -> anyhow::Result<()> {
    let mut all = firedrill_fault::check_host();
    all.extend(firedrill_fault::check_scopes());
    if json {
        return output::json(&all);
    }
    let rows = all.into_iter().map(|one| {
        let how = if one.available { one.mechanism } else { one.missing.join("; ") };
        vec![one.kind.to_owned(), if one.available { "available".into() } else { "MISSING".into() }, how]
    });
    output::table(&["ATTACK", "HERE", "BY, OR WHAT IS MISSING"], rows.collect())
}
