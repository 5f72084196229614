//! `attack start KIND`: a subcommand for each kind of fault, with options made from the fault's own description.

use anyhow::{Context, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};
use firedrill_fault::kinds::{self, Kind, Scope};
use firedrill_fault::{Input, Parameter};
use firedrill_model::attack::{Fault, Selector};
use firedrill_model::guard::{Guard, Override};
use firedrill_model::{ClusterName, Span};
use std::path::PathBuf;

/// What is started, and where.
pub(crate) struct StartAttack {
    pub(crate) fault: Fault,
    /// Hosts of a cluster; `None`: this host, without a server.
    pub(crate) target: Option<Selector>,
    pub(crate) cluster: Option<ClusterName>,
    pub(crate) duration: Span,
    /// The random number of the choice of hosts.
    pub(crate) seed: Option<u32>,
    /// Begin nothing, show what would be done.
    pub(crate) dry_run: bool,
    /// Guards that are passed over.
    pub(crate) overrides: Vec<Override>,
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
const SEED: &str = "with-seed";
const DRY_RUN: &str = "only-planned";
const OVERRIDE: &str = "guards-overridden";
const REASON: &str = "override-reason";
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
    let mut where_to =
        vec![
            Arg::new(TARGET).long("target").value_name("SELECTOR").help(
                "On these hosts of a cluster: `cluster=orders`, `role=primary` (or replica, donor, …), `lag=max`, \
             `region=east`, `node=east-1`, `host=app`, `tag.service=db`, and of those `choose=all`, `2`, `50%`, \
             `random`, `random:2` or `one-per-zone`; joined by commas. Without it: on this host, without a server, \
             until it ends or Ctrl-C",
            ),
            Arg::new(CLUSTER).long("cluster").requires(TARGET).help("On which cluster, when there are several"),
            Arg::new(SEED).long("seed").requires(TARGET).value_parser(clap::value_parser!(u32)).help(
                "Of a random choice: the number that an earlier one was recorded with chooses the same hosts again",
            ),
            Arg::new(DRY_RUN)
                .long("dry-run")
                .requires(TARGET)
                .action(ArgAction::SetTrue)
                .help("Show which hosts, what would be done, the blast radius and what the guards say; begin nothing"),
            Arg::new(OVERRIDE)
                .long("override")
                .value_name("GUARD")
                .requires_all([TARGET, REASON])
                .action(ArgAction::Append)
                .value_parser(|text: &str| text.parse::<Guard>())
                .help("Pass this guard over; kept, with the reason; may be given again"),
            Arg::new(REASON).long("reason").value_name("TEXT").requires(OVERRIDE).help("Why guards are passed over"),
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
        let value = parameter
            .read(&given.join(","))
            .map_err(anyhow::Error::msg)
            .with_context(|| format!("--{}", parameter.name.replace('_', "-")))?;
        fault = fault.with(&parameter.name, value);
    }
    firedrill_fault::check(&fault)?;
    let target = text(TARGET).map(|target| target.parse::<Selector>()).transpose().context("--target")?;
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
        seed: matches.get_one::<u32>(SEED).copied(),
        dry_run: matches.get_flag(DRY_RUN),
        overrides: overrides(matches.get_many::<Guard>(OVERRIDE).into_iter().flatten(), text(REASON).as_deref()),
        duration: text(DURATION).unwrap_or_default().parse().context("--duration")?,
        data: path(DATA).unwrap_or_else(|| PathBuf::from(DATA_DIR)),
        socket,
        expendable: matches.try_get_one::<bool>(EXPENDABLE).ok().flatten().is_some_and(|given| *given),
    })
}

/// Each guard with the one reason that is given for all.
pub(crate) fn overrides<'a>(guards: impl Iterator<Item = &'a Guard>, reason: Option<&str>) -> Vec<Override> {
    let reason = reason.unwrap_or_default();
    guards.map(|guard| Override { guard: *guard, reason: reason.to_owned() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args as _, FromArgMatches as _};
    use serde_json::json;

    fn parse(words: &[&str]) -> Result<StartAttack, clap::Error> {
        let command = StartAttack::augment_args(Command::new("start"));
        let matches = command.try_get_matches_from([&["start"], words].concat())?;
        StartAttack::from_arg_matches(&matches)
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
        let words = ["pause", "--target", "role=replica,choose=random", "--seed", "7", "--dry-run"];
        let started = parse(&words).expect("parses");
        assert_eq!((started.seed, started.dry_run, started.overrides), (Some(7), true, Vec::new()));
        let overriding = [&words[..3], &["--override", "degraded", "--reason", "a drill"]].concat();
        let wanted = Override { guard: Guard::Degraded, reason: "a drill".to_owned() };
        assert_eq!(parse(&overriding).expect("parses").overrides, [wanted]);
        for bad in [&overriding[..5], &[&words[..3], &["--override", "mood", "--reason", "x"]].concat(), &words[..1]] {
            let local = bad.len() == 1;
            assert_eq!(parse(bad).is_err(), !local, "{bad:?}");
        }
        for bad in [&["tickle"][..], &["latency"], &["latency", "--delay", "soon"], &["loss", "--percent", "200"]] {
            assert!(parse(bad).is_err(), "{bad:?} must be refused");
        }
    }
}
