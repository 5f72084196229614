//! `attack start KIND`: a subcommand for each kind of fault, with options made from the fault's own description.

use anyhow::{Context, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};
use firedrill_fault::kinds::{self, Kind, Scope};
use firedrill_fault::{Input, Parameter};
use firedrill_model::attack::{Fault, Selector};
use firedrill_model::{ClusterName, Network, Span};
use serde_json::{Value, json};
use std::path::PathBuf;

/// What is started, and where.
pub(crate) struct StartAttack {
    pub(crate) fault: Fault,
    /// Hosts of a cluster; `None`: this host, without a server.
    pub(crate) target: Option<Selector>,
    pub(crate) cluster: Option<ClusterName>,
    pub(crate) duration: Span,
    /// Where a local attack keeps its undo journal.
    pub(crate) data: PathBuf,
    /// Where the database server listens that a local attack is about.
    pub(crate) socket: Option<PathBuf>,
    /// Whether a local attack may destroy its data.
    pub(crate) expendable: bool,
}

/// Where journals of this host are when nothing else is said.
pub(crate) const DATA_DIR: &str = "/var/lib/firedrill";

const TARGET: &str = "on-target";
const CLUSTER: &str = "on-cluster";
const DURATION: &str = "for-duration";
const DATA: &str = "data-dir";
const SOCKET: &str = "at-socket";
const EXPENDABLE: &str = "data-expendable";

impl clap::Args for StartAttack {
    fn augment_args(command: Command) -> Command {
        command
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommands(kinds::KINDS.iter().map(|kind| subcommand(kind)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn subcommand(kind: &Kind) -> Command {
    let mut where_to = vec![
        Arg::new(TARGET).long("target").value_name("SELECTOR").help(
            "On these hosts of a cluster: `role=primary`, `region=east`, `node=east-1`, `host=app`, `tag.service=db`, \
             `limit=1`, joined by commas. Without it: on this host, without a server, until it ends or Ctrl-C",
        ),
        Arg::new(CLUSTER).long("cluster").requires(TARGET).help("On which cluster, when there are several"),
        Arg::new(DURATION).long("duration").default_value("30s").help(if kind.instant {
            "Needless: it is over at once"
        } else {
            "It comes out after this long"
        }),
        Arg::new(DATA)
            .long("data")
            .value_name("DIR")
            .conflicts_with(TARGET)
            .help("On this host: the undo journal is kept under this directory")
            .default_value(DATA_DIR),
    ];
    if kind.scope != Scope::Host {
        where_to.push(Arg::new(SOCKET).long("socket").value_name("PATH").conflicts_with(TARGET).help(
            "On this host: the database server that listens at this unix socket; root must be its administrator there",
        ));
    }
    if kind.destroys() {
        where_to.push(
            Arg::new(EXPENDABLE)
                .long("expendable")
                .conflicts_with(TARGET)
                .num_args(0)
                .action(ArgAction::SetTrue)
                .help("On this host: the data of that server may be lost"),
        );
    }
    Command::new(kind.name)
        .about(kind.summary)
        .long_about(kind.shape.documentation())
        .args(kind.shape.parameters().iter().map(option))
        .args(where_to)
}

fn option(parameter: &Parameter) -> Arg {
    let mut help = parameter.documentation.clone();
    if parameter.required {
        help.push_str(" [required]");
    }
    if let Some(default) = &parameter.default {
        help.push_str(&format!(" [default: {default}]"));
    }
    let arg =
        Arg::new(parameter.name.clone()).long(parameter.name.replace('_', "-")).help(help).required(parameter.required);
    match parameter.input {
        Input::Flag => arg.num_args(0..=1).default_missing_value("true").value_name("true|false"),
        Input::Peers if parameter.name == "peers" => arg.visible_alias("to").value_name("SELECTOR|NETWORKS"),
        Input::Peers => arg.value_name("SELECTOR|NETWORKS"),
        Input::List(_) => arg.value_name("VALUE,…").action(ArgAction::Append),
        Input::Object => arg.value_name("NAME=VALUE,…"),
        Input::Text | Input::Number => arg.value_name("VALUE").allow_hyphen_values(true),
    }
}

impl clap::FromArgMatches for StartAttack {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        read(matches)
            .map_err(|problem| clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("{problem:#}\n")))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn read(matches: &ArgMatches) -> anyhow::Result<StartAttack> {
    let (name, matches) = matches.subcommand().context("no kind of attack is given")?;
    let kind = kinds::find(name).with_context(|| format!("there is no attack of kind {name:?}"))?;
    let text = |id: &str| matches.get_one::<String>(id).cloned();
    let mut fault = Fault::new(kind.name);
    for parameter in kind.shape.parameters() {
        let Some(given) = matches.get_many::<String>(&parameter.name) else { continue };
        let given: Vec<&str> = given.map(String::as_str).collect();
        let value = value(&parameter.input, &given.join(","))
            .with_context(|| format!("--{}", parameter.name.replace('_', "-")))?;
        fault = fault.with(&parameter.name, value);
    }
    firedrill_fault::check(&fault)?;
    let target = text(TARGET).map(|target| selector(&target)).transpose().context("--target")?;
    let path = |id: &str| matches.try_get_one::<String>(id).ok().flatten().map(PathBuf::from);
    let socket = path(SOCKET);
    if target.is_none() && socket.is_none() && kind.scope == Scope::Node {
        bail!(
            "an attack of kind {name} is about a database server; say which with --target, or with --socket the one of \
             this host"
        );
    }
    Ok(StartAttack {
        fault,
        target,
        cluster: text(CLUSTER).map(|name| name.parse()).transpose().context("--cluster")?,
        duration: text(DURATION).unwrap_or_default().parse().context("--duration")?,
        data: path(DATA).unwrap_or_else(|| PathBuf::from(DATA_DIR)),
        socket,
        expendable: matches.try_get_one::<bool>(EXPENDABLE).ok().flatten().is_some_and(|given| *given),
    })
}

fn value(input: &Input, text: &str) -> anyhow::Result<Value> {
    let parts = || text.split(',').map(str::trim).filter(|part| !part.is_empty());
    Ok(match input {
        Input::Text => json!(text),
        // What is no number may be one with a unit.
        Input::Number => serde_json::from_str::<serde_json::Number>(text).map_or_else(|_| json!(text), Value::Number),
        Input::Flag => json!(text.parse::<bool>().with_context(|| format!("{text:?} is neither true nor false"))?),
        Input::List(item) => Value::Array(parts().map(|part| value(item, part)).collect::<anyhow::Result<_>>()?),
        Input::Peers => match parts().map(str::parse::<Network>).collect::<Result<Vec<_>, _>>() {
            Ok(networks) => serde_json::to_value(networks)?,
            Err(_) => serde_json::to_value(selector(text)?)?,
        },
        Input::Object => {
            let pair = |part: &str| {
                let (name, text) = part.split_once('=').with_context(|| format!("{part:?} is not NAME=VALUE"))?;
                let value = serde_json::from_str(text).unwrap_or_else(|_| json!(text));
                anyhow::Ok((name.to_owned(), value))
            };
            Value::Object(parts().map(pair).collect::<anyhow::Result<_>>()?)
        }
    })
}

/// `role=replica,region=east,limit=1`.
pub(crate) fn selector(text: &str) -> anyhow::Result<Selector> {
    let mut selector = Selector::default();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        match key {
            "node" => selector.nodes.push(value.parse()?),
            "host" => selector.hosts.push(value.parse()?),
            "region" => selector.region = Some(value.parse()?),
            "role" => {
                let role = serde_json::from_value(json!(value));
                selector.role = Some(role.with_context(|| format!("there is no role {value:?}"))?);
            }
            "limit" => selector.limit = Some(value.parse().with_context(|| format!("limit {value:?} is no number"))?),
            "server" => selector.server = true,
            tag => match tag.strip_prefix("tag.") {
                Some(tag) => drop(selector.tags.insert(tag.to_owned(), value.to_owned())),
                None => bail!("{part:?} is not part of a selector; use node=, host=, role=, region=, tag.KEY=, limit="),
            },
        }
    }
    if selector.is_empty() {
        bail!("{text:?} selects nothing");
    }
    Ok(selector)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args as _, FromArgMatches as _};
    use firedrill_model::Role;

    fn parse(words: &[&str]) -> Result<StartAttack, clap::Error> {
        let command = StartAttack::augment_args(Command::new("start"));
        let matches = command.try_get_matches_from([&["start"], words].concat())?;
        StartAttack::from_arg_matches(&matches)
    }

    #[test]
    fn a_selector_reads_as_it_is_written() {
        let parsed = selector("role=replica, region=east,tag.service=db,limit=1").expect("a selector");
        assert_eq!(parsed.role, Some(Role::Replica));
        assert_eq!(parsed.limit, Some(1));
        assert_eq!(parsed.tags["service"], "db");
        for bad in ["", "limit=1", "role=boss", "colour=red", "limit=x,role=primary", "node=../x"] {
            assert!(selector(bad).is_err(), "{bad:?} must be refused");
        }
    }

    #[test]
    fn options_become_parameters() {
        let started =
            parse(&["latency", "--delay", "100ms", "--to", "10.0.0.0/8", "--duration", "1m"]).expect("parses");
        let wanted = Fault::new("latency").with("delay", "100ms").with("peers", vec!["10.0.0.0/8"]);
        assert_eq!(started.fault, wanted);
        assert_eq!((started.target, started.duration), (None, Span::secs(60)));
        let started = parse(&[
            "partition",
            "--peers",
            "role=replica",
            "--remote-ports",
            "3306,4000-4010",
            "--target",
            "role=primary",
        ]);
        let started = started.expect("parses");
        assert_eq!(started.fault.parameters["peers"], json!({ "role": "replica" }));
        assert_eq!(started.fault.parameters["remote_ports"], json!(["3306", "4000-4010"]));
        let started = parse(&["kill", "--process", "select=pid,pid=42"]).expect("parses");
        assert_eq!(started.fault.parameters["process"], json!({ "select": "pid", "pid": 42 }));
        for bad in [&["tickle"][..], &["latency"], &["latency", "--delay", "soon"], &["loss", "--percent", "200"]] {
            assert!(parse(bad).is_err(), "{bad:?} must be refused");
        }
    }
}
