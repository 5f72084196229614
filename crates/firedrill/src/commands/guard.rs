//! `firedrill guard`.

use crate::args::Connect;
use crate::exit::Outcome;
use crate::{connect, output};
use anyhow::{Context, bail};
use clap::Subcommand;
use firedrill_model::guard::GuardPolicy;
use serde_json::{Map, Value, json};

#[derive(Subcommand)]
pub(crate) enum GuardCommand {
    /// The limits in force
    Show,
    /// Change limits; the others stay as they are
    Set {
        /// Such as `cluster-share-max=30`, `protected-hosts=app,db-1`, `approval-tags=team=vault`, `off=window`,
        /// `windows=mon-fri 09:00-17:00` (UTC); an empty value empties a list
        #[arg(required = true, value_name = "LIMIT=VALUE")]
        limits: Vec<String>,
    },
    /// Guards that were passed over: when, by whom, why
    Overrides,
}

pub(crate) async fn run(command: GuardCommand, connect: &Connect) -> anyhow::Result<Outcome> {
    let client = connect::client(connect).await?;
    match command {
        GuardCommand::Show => print(&client.guards().await?, connect.json)?,
        GuardCommand::Set { limits } => {
            let changed = changed(&client.guards().await?, &limits)?;
            print(&client.set_guards(&changed).await?, connect.json)?;
        }
        GuardCommand::Overrides => {
            let overrides = client.overrides().await?;
            if connect.json {
                output::json(&overrides)?;
                return Ok(Outcome::done());
            }
            let rows = overrides.into_iter().map(|one| {
                let (guard, figure) = (one.refusal.guard.to_string(), one.refusal.figure);
                vec![guard, one.cluster.to_string(), one.attack, one.by, one.reason, figure]
            });
            output::table(&["GUARD", "CLUSTER", "ATTACK", "BY", "REASON", "IT HAD SAID"], rows.collect())?;
        }
    }
    Ok(Outcome::done())
}

fn print(policy: &GuardPolicy, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(policy);
    }
    let rows = fields(policy)?.into_iter().map(|(name, value)| vec![name.replace('_', "-"), shown(&value)]);
    output::table(&["LIMIT", "VALUE"], rows.collect())
}

fn fields(policy: &GuardPolicy) -> anyhow::Result<Map<String, Value>> {
    match serde_json::to_value(policy)? {
        Value::Object(fields) => Ok(fields),
        other => bail!("the limits have an unexpected form: {other}"),
    }
}

/// As it is given to `set`.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(","),
        Value::Object(pairs) => {
            pairs.iter().map(|(key, value)| format!("{key}={}", shown(value))).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}

/// The limits with some of them changed.
fn changed(policy: &GuardPolicy, limits: &[String]) -> anyhow::Result<GuardPolicy> {
    let mut fields = fields(policy)?;
    for limit in limits {
        let (name, text) = limit.split_once('=').with_context(|| format!("{limit:?} is not LIMIT=VALUE"))?;
        let known = fields.keys().map(|name| name.replace('_', "-")).collect::<Vec<_>>().join(", ");
        let Some(field) = fields.get_mut(&name.replace('-', "_")) else {
            bail!("there is no limit {name:?}; there are {known}");
        };
        *field = value(field, text).with_context(|| limit.clone())?;
    }
    serde_json::from_value(Value::Object(fields)).with_context(|| format!("{} is not taken", limits.join(" ")))
}

/// A text as a value of the same form as the one that it replaces.
fn value(like: &Value, text: &str) -> anyhow::Result<Value> {
    let parts = || text.split(',').map(str::trim).filter(|part| !part.is_empty());
    Ok(match like {
        Value::Array(_) => parts().map(|part| json!(part)).collect(),
        Value::Object(_) => {
            let pair = |part: &str| {
                let (key, value) = part.split_once('=').with_context(|| format!("{part:?} is not KEY=VALUE"))?;
                anyhow::Ok((key.to_owned(), json!(value)))
            };
            Value::Object(parts().map(pair).collect::<anyhow::Result<_>>()?)
        }
        Value::String(_) => json!(text),
        _ => serde_json::from_str(text).with_context(|| format!("{text:?} is no number"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(limits: &[&str]) -> anyhow::Result<GuardPolicy> {
        changed(&GuardPolicy::default(), &limits.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn limits_are_changed_one_by_one() {
        let policy = set(&[
            "cluster-share-max=30",
            "concurrent_cluster_max=3",
            "protected-hosts=app, db-1",
            "protected-tags=",
            "approval-tags=team=vault,tier=0",
            "windows=mon-fri 09:00-17:00,sat 10:00-12:00",
            "off=degraded",
            "service-tag=app",
        ])
        .expect("limits");
        assert_eq!((f64::from(policy.cluster_share_max), policy.concurrent_cluster_max), (30.0, 3));
        assert_eq!((policy.protected_hosts.len(), policy.protected_tags.len(), policy.windows.len()), (2, 0, 2));
        assert_eq!((policy.approval_tags["tier"].as_str(), policy.off.len()), ("0", 1));
        // What is shown can be set again.
        let shown: Vec<String> =
            fields(&policy).expect("fields").iter().map(|(name, value)| format!("{name}={}", shown(value))).collect();
        assert_eq!(changed(&GuardPolicy::default(), &shown).expect("limits"), policy);
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        for wrong in [
            "mood=good",
            "cluster-share-max",
            "cluster-share-max=most",
            "cluster-share-max=200",
            "off=mood",
            "windows=never",
        ] {
            assert!(set(&[wrong]).is_err(), "{wrong}");
        }
    }
}
