//! `firedrill message`.

use crate::args::Connect;
use crate::exit::Outcome;
use crate::{connect, output};
use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use firedrill_api::client::Client;
use firedrill_api::messages::{Daily, MessageEntry, MessageState, ReceiverView, RetryMessages};
use firedrill_model::message::{Channel, Encryption, NoticeKind, Rule, Secret};
use firedrill_model::{ClusterName, ReceiverName, RuleName, Severity};
use firedrill_schedule::{TimeOfDay, Zone};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Longest secret that is read from a file.
const SECRET_BYTES_MAX: u64 = 4096;

#[derive(Subcommand)]
pub(crate) enum MessageCommand {
    /// Where messages can go
    #[command(subcommand)]
    Receiver(ReceiverCommand),
    /// Who gets what
    #[command(subcommand)]
    Rule(RuleCommand),
    /// What was sent, waits, or was given up
    Queue(QueueArgs),
    /// When the daily message goes out: what is planned, what is expected, and the recap
    Daily(DailyArgs),
}

#[derive(Subcommand)]
pub(crate) enum ReceiverCommand {
    /// Add one, or replace the one of that name
    #[command(subcommand)]
    Add(AddReceiver),
    /// All receivers, without their secrets
    List,
    /// Remove one; what waits for it is given up
    Remove {
        /// Which
        name: ReceiverName,
    },
    /// Send it a test message and wait for the answer
    Test {
        /// Which
        name: ReceiverName,
    },
}

/// Where its name and its secret come from.
#[derive(Args)]
pub(crate) struct Named {
    /// Its name
    name: ReceiverName,
    /// The file with the secret; `-`: standard input
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,
}

#[derive(Subcommand)]
pub(crate) enum AddReceiver {
    /// An incoming webhook of Slack; the secret is its address
    SlackWebhook(Named),
    /// An app of Slack with the right `chat:write`; the secret is its token
    SlackApp {
        #[command(flatten)]
        named: Named,
        /// The channel's name or id
        #[arg(long)]
        channel: String,
        /// Another address of the API than Slack's own
        #[arg(long, value_name = "URL")]
        api: Option<String>,
    },
    /// A workflow of Microsoft Teams that posts what it gets; the secret is its address
    Teams(Named),
    /// Mailboxes, through a mail server; the secret is the password
    Email(Email),
    /// A service of PagerDuty; the secret is the key of its integration "Events API V2"
    PagerDuty {
        #[command(flatten)]
        named: Named,
        /// Another address of the API than PagerDuty's own
        #[arg(long, value_name = "URL")]
        api: Option<String>,
    },
    /// Whatever listens there, signed by Standard Webhooks; the secret is whsec_ and 24 to 64 bytes in base 64
    Webhook {
        #[command(flatten)]
        named: Named,
        /// The address
        #[arg(long)]
        url: String,
    },
}

#[derive(Args)]
pub(crate) struct Email {
    /// Its name
    name: ReceiverName,
    /// The mail server's name or address
    #[arg(long)]
    host: String,
    /// Its port (default: 587, 465 with --encryption tls, 25 without encryption)
    #[arg(long)]
    port: Option<u16>,
    /// How it is talked to
    #[arg(long, value_enum, default_value_t = Talk::Starttls)]
    encryption: Talk,
    /// As whom
    #[arg(long, requires = "secret_file")]
    user: Option<String>,
    /// The file with the password; `-`: standard input
    #[arg(long, value_name = "FILE", requires = "user")]
    secret_file: Option<PathBuf>,
    /// The sender
    #[arg(long)]
    from: String,
    /// A mailbox; may be given again
    #[arg(long, required = true)]
    to: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Talk {
    /// TLS after the greeting; a server without it is refused
    Starttls,
    /// TLS from the first byte
    Tls,
    /// None; on loopback only
    None,
}

#[derive(Subcommand)]
pub(crate) enum RuleCommand {
    /// Add one, or replace the one of that name; it is for what happens from now on
    Add {
        /// Its name
        name: RuleName,
        /// To which receiver
        #[arg(long)]
        to: ReceiverName,
        /// Only this kind; may be given again (default: all)
        #[arg(long)]
        kind: Vec<NoticeKind>,
        /// Only of this cluster; may be given again (default: of all)
        #[arg(long)]
        cluster: Vec<ClusterName>,
        /// Only what is at least so loud
        #[arg(long, value_enum, default_value_t = Loud::Info)]
        at_least: Loud,
    },
    /// All rules
    List,
    /// Remove one; what it has put into the queue is still sent
    Remove {
        /// Which
        name: RuleName,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Loud {
    /// Everything
    Info,
    /// What is unexpected
    Warning,
    /// What needs a person
    Critical,
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct QueueArgs {
    /// Only in this state
    #[arg(long, value_enum)]
    state: Option<State>,
    #[command(subcommand)]
    command: Option<QueueCommand>,
}

#[derive(Clone, Copy, ValueEnum)]
enum State {
    /// In the queue
    Waiting,
    /// Being tried
    Sending,
    /// The receiver has taken it
    Sent,
    /// Given up
    Dead,
}

#[derive(Subcommand)]
pub(crate) enum QueueCommand {
    /// Put what was given up back into the queue
    Retry {
        /// Its id
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        id: Option<String>,
        /// All
        #[arg(long)]
        all: bool,
    },
}

#[derive(Args)]
pub(crate) struct DailyArgs {
    /// At this time of the day; without it and without --off: show when
    #[arg(long, value_name = "TIME")]
    at: Option<TimeOfDay>,
    /// By the clock of this zone
    #[arg(long, default_value = "UTC", requires = "at")]
    zone: Zone,
    /// Not any more
    #[arg(long, conflicts_with = "at")]
    off: bool,
}

pub(crate) async fn run(command: MessageCommand, connect: &Connect) -> anyhow::Result<Outcome> {
    let client = connect::client(connect).await?;
    match command {
        MessageCommand::Receiver(command) => receiver(&client, command, connect.json).await?,
        MessageCommand::Rule(command) => rule(&client, command, connect.json).await?,
        MessageCommand::Queue(args) => queue(&client, args, connect.json).await?,
        MessageCommand::Daily(args) => daily(&client, args, connect.json).await?,
    }
    Ok(Outcome::done())
}

async fn receiver(client: &Client, command: ReceiverCommand, json: bool) -> anyhow::Result<()> {
    match command {
        ReceiverCommand::Add(add) => {
            let (name, channel) = channel(add)?;
            receivers(&[client.put_receiver(&name, &channel).await?], json)
        }
        ReceiverCommand::List => receivers(&client.receivers().await?, json),
        ReceiverCommand::Remove { name } => {
            client.remove_receiver(&name).await?;
            output::text(&format!("receiver {name} was removed"));
            Ok(())
        }
        ReceiverCommand::Test { name } => {
            client.test_receiver(&name).await?;
            output::text(&format!("receiver {name} has taken the test message"));
            Ok(())
        }
    }
}

fn channel(add: AddReceiver) -> anyhow::Result<(ReceiverName, Channel)> {
    Ok(match add {
        AddReceiver::SlackWebhook(named) => (named.name, Channel::SlackWebhook { url: secret(&named.secret_file)? }),
        AddReceiver::SlackApp { named, channel, api } => {
            (named.name, Channel::SlackApp { token: secret(&named.secret_file)?, channel, api })
        }
        AddReceiver::Teams(named) => (named.name, Channel::Teams { url: secret(&named.secret_file)? }),
        AddReceiver::PagerDuty { named, api } => {
            (named.name, Channel::PagerDuty { routing_key: secret(&named.secret_file)?, api })
        }
        AddReceiver::Webhook { named, url } => {
            (named.name, Channel::Webhook { url: Secret(url), secret: secret(&named.secret_file)? })
        }
        AddReceiver::Email(email) => {
            let Email { name, host, port, encryption, user, secret_file, from, to } = email;
            let (encryption, usual) = match encryption {
                Talk::Starttls => (Encryption::Starttls, 587),
                Talk::Tls => (Encryption::Tls, 465),
                Talk::None => (Encryption::None, 25),
            };
            let password = secret_file.as_deref().map(secret).transpose()?;
            let port = port.unwrap_or(usual);
            (name, Channel::Email { host, port, encryption, user, password, from, to })
        }
    })
}

/// One line out of a file: secrets on a command line can be read by everybody on the host.
fn secret(path: &Path) -> anyhow::Result<Secret> {
    let place = || format!("cannot read the secret from {}", path.display());
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().take(SECRET_BYTES_MAX).read_to_string(&mut text).with_context(place)?;
    } else {
        let file = std::fs::File::open(path).with_context(place)?;
        file.take(SECRET_BYTES_MAX).read_to_string(&mut text).with_context(place)?;
    }
    let line = text.trim();
    if line.is_empty() || line.contains('\n') {
        bail!("{}: one line is expected", place());
    }
    Ok(Secret(line.to_owned()))
}

fn receivers(views: &[ReceiverView], json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(&views);
    }
    let rows =
        views.iter().map(|view| vec![view.name.to_string(), view.kind.clone(), view.to.clone(), utc(view.added)]);
    output::table(&["RECEIVER", "KIND", "TO", "SINCE"], rows.collect())
}

fn utc(at: firedrill_model::Timestamp) -> String {
    Zone::utc().show(at)
}

async fn rule(client: &Client, command: RuleCommand, json: bool) -> anyhow::Result<()> {
    match command {
        RuleCommand::Add { name, to, kind, cluster, at_least } => {
            let at_least = match at_least {
                Loud::Info => Severity::Info,
                Loud::Warning => Severity::Warning,
                Loud::Critical => Severity::Critical,
            };
            let (kinds, clusters) = (kind.into_iter().collect(), cluster.into_iter().collect());
            let rule = Rule { name, to, kinds, clusters, at_least };
            rules(&[client.put_message_rule(&rule).await?], json)
        }
        RuleCommand::List => rules(&client.message_rules().await?, json),
        RuleCommand::Remove { name } => {
            client.remove_message_rule(&name).await?;
            output::text(&format!("rule {name} was removed"));
            Ok(())
        }
    }
}

fn rules(rules: &[Rule], json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(&rules);
    }
    let all = |words: Vec<String>| if words.is_empty() { "all".to_owned() } else { words.join(" ") };
    let rows = rules.iter().map(|rule| {
        vec![
            rule.name.to_string(),
            rule.to.to_string(),
            all(rule.kinds.iter().map(ToString::to_string).collect()),
            all(rule.clusters.iter().map(ToString::to_string).collect()),
            output::name(&rule.at_least),
        ]
    });
    output::table(&["RULE", "TO", "KINDS", "CLUSTERS", "AT LEAST"], rows.collect())
}

async fn queue(client: &Client, args: QueueArgs, json: bool) -> anyhow::Result<()> {
    if let Some(QueueCommand::Retry { id, all: _ }) = args.command {
        let retried = client.retry_messages(&RetryMessages { id }).await?;
        if json {
            return output::json(&retried);
        }
        output::text(&format!("{} messages are in the queue again", retried.messages));
        return Ok(());
    }
    let state = args.state.map(|state| match state {
        State::Waiting => MessageState::Waiting,
        State::Sending => MessageState::Sending,
        State::Sent => MessageState::Sent,
        State::Dead => MessageState::Dead,
    });
    let entries = client.message_queue(state).await?;
    if json {
        return output::json(&entries);
    }
    output::table(&["MESSAGE", "STATE", "TO", "TRIES", "WHEN", "ABOUT", "PROBLEM"], entries.iter().map(row).collect())
}

fn row(entry: &MessageEntry) -> Vec<String> {
    vec![
        entry.id.clone(),
        output::name(&entry.state),
        entry.receiver.to_string(),
        entry.attempts.to_string(),
        utc(entry.enqueued),
        entry.title.clone(),
        entry.problem.clone().unwrap_or_default(),
    ]
}

async fn daily(client: &Client, args: DailyArgs, json: bool) -> anyhow::Result<()> {
    let daily = match args {
        DailyArgs { at: Some(at), zone, .. } => client.set_daily_message(Some(&Daily { at, zone })).await?,
        DailyArgs { off: true, .. } => client.set_daily_message(None).await?,
        _ => client.daily_message().await?,
    };
    if json {
        return output::json(&daily);
    }
    output::text(&match daily {
        Some(Daily { at, zone }) => format!("the daily message goes out at {at} ({zone}), to whom a rule names"),
        None => "no daily message goes out; `firedrill message daily --at 08:30 --zone ZONE` sets when".to_owned(),
    });
    Ok(())
}
