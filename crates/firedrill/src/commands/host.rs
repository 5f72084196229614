//! `firedrill host`.

use crate::args::{Connect, Host};
use crate::exit::Outcome;
use crate::{connect, output};

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
    }
    Ok(Outcome::done())
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
