//! The grammar of the command line.

use crate::attack_options::StartAttack;
use crate::commands::template::Template;
use crate::people_args::{Audit, Login, Team, Token, User};
use crate::schedule_options::ScheduleCommand;
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use firedrill_model::{AttackId, ClusterName, HostName, NodeName, OperationId, RunId};
use firedrill_sandbox::{SandboxName, ServerSetting};
use std::path::PathBuf;

/// Chaos engineering for databases: break a replicated fleet on purpose, watch it heal, prove that nothing was lost.
#[derive(Parser)]
#[command(name = "firedrill", version, about, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) connect: Connect,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which server a client command talks to.
#[derive(ClapArgs, Clone)]
pub(crate) struct Connect {
    /// Address of the server, or of several that share a store, with commas (default: that of the sandbox "default")
    #[arg(long, global = true, env = "FIREDRILL_SERVER", value_name = "URL")]
    pub(crate) server: Option<String>,
    /// Talk to the server of this sandbox
    #[arg(long, global = true, value_name = "NAME", conflicts_with = "server")]
    pub(crate) sandbox: Option<SandboxName>,
    /// Who you are, for the log and for approvals, as long as the server has no users (default: the user's name)
    #[arg(long = "as", global = true, env = "FIREDRILL_PERSON", value_name = "NAME")]
    pub(crate) person: Option<String>,
    /// An API token (default: the session of `firedrill login`)
    #[arg(long, global = true, env = "FIREDRILL_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Print JSON on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Bring a sandbox up, climb the ladder, write the reports
    Demo(Demo),
    /// A whole local fleet on this machine
    #[command(subcommand)]
    Sandbox(Sandbox),
    /// Run the server
    Server(Server),
    /// Copies of what a server remembers
    #[command(subcommand)]
    Store(crate::commands::store::StoreCommand),
    /// Print the description of the HTTP API (OpenAPI 3.1)
    Api,
    /// Run the agent of this host
    Agent(ConfigFile),
    /// Experiments: run, list, show, validate, halt
    #[command(subcommand)]
    Experiment(Experiment),
    /// Templates: experiments with parameters, and outages that others had
    #[command(subcommand)]
    Template(Template),
    /// Single attacks by hand
    #[command(subcommand)]
    Attack(Attack),
    /// Stop everything and block new starts
    Halt(Halt),
    /// Allow starts again
    Resume(ReasonArg),
    /// The limits of the guards, and who passed one over
    #[command(subcommand)]
    Guard(crate::commands::guard::GuardCommand),
    /// Clusters: look, promote, switch over, clone, rejoin
    #[command(subcommand)]
    Cluster(Cluster),
    /// What the automation does and did
    #[command(subcommand)]
    Operation(Operation),
    /// Check or export a recorded history
    #[command(subcommand)]
    Ledger(Ledger),
    /// Hosts and their agents
    #[command(subcommand)]
    Host(Host),
    /// Experiments that start by themselves: schedules, calendar, the message of the day
    #[command(subcommand)]
    Schedule(ScheduleCommand),
    /// Log in; the session is kept for the commands that follow
    Login(Login),
    /// End the session
    Logout,
    /// As whom the server sees this command line, and what they may do
    Whoami,
    /// Who may log in, and what they may do
    #[command(subcommand)]
    User(User),
    /// What several users may do together
    #[command(subcommand)]
    Team(Team),
    /// API tokens for scripts
    #[command(subcommand)]
    Token(Token),
    /// Who did what
    #[command(subcommand)]
    Audit(Audit),
    /// Messages to chats, mailboxes and pagers: who gets what, and what waits
    #[command(subcommand)]
    Message(crate::commands::message::MessageCommand),
    /// What was tested, found and re-tested in a period, and how long recovery takes
    #[command(subcommand)]
    Evidence(crate::commands::evidence::EvidenceCommand),
    /// Run the gateway of a cluster (started by the agent)
    #[command(hide = true)]
    Gateway(ConfigFile),
    /// Make the live load of a run (started by the agent)
    #[command(hide = true)]
    Workload {
        /// What load
        #[arg(long)]
        spec: PathBuf,
        /// Where to put history, samples and state
        #[arg(long)]
        dir: PathBuf,
    },
    /// A process of a storage layer (started by whoever mounts one)
    #[command(hide = true)]
    StorageLayer {
        /// Which of the two, and where
        arguments: Vec<std::ffi::OsString>,
    },
    /// Take faults out when the agent dies (started by the agent; the pipe is standard input)
    #[command(hide = true)]
    Rescue {
        /// The undo journal
        #[arg(long)]
        journal: PathBuf,
    },
    /// Hold what a fault takes (started by the agent; its pipes are standard input and output)
    #[command(hide = true)]
    Worker {
        /// What to do, as JSON
        job: String,
    },
}

impl Command {
    /// Runs until it is stopped.
    pub(crate) fn is_long_running(&self) -> bool {
        matches!(
            self,
            Self::Server(_)
                | Self::Agent(_)
                | Self::Gateway(_)
                | Self::Workload { .. }
                | Self::Rescue { .. }
                | Self::StorageLayer { .. }
                | Self::Worker { .. }
                | Self::Sandbox(Sandbox::Supervise { .. })
        )
    }
}

#[derive(ClapArgs)]
pub(crate) struct Demo {
    /// Leave the fleet and the server running
    #[arg(long)]
    pub(crate) keep: bool,
    /// Where to write the reports
    #[arg(long, value_name = "DIR", default_value = "firedrill-reports")]
    pub(crate) report: PathBuf,
    /// Name of the sandbox
    #[arg(long, default_value = "demo")]
    pub(crate) name: SandboxName,
    /// Only these experiments of the ladder (default: all)
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// Safe, or set up to lose writes (then the ladder must fail)
    #[arg(long, value_enum, default_value_t = Profile::Safe)]
    pub(crate) profile: Profile,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Profile {
    /// Lossless
    Safe,
    /// Set up to lose acknowledged writes, to see that the ledger finds them
    Unsafe,
}

impl From<Profile> for firedrill_sandbox::Profile {
    fn from(profile: Profile) -> Self {
        match profile {
            Profile::Safe => Self::Safe,
            Profile::Unsafe => Self::Unsafe,
        }
    }
}

#[derive(Subcommand)]
pub(crate) enum Sandbox {
    /// Bring it up
    Up {
        /// Two of different names run side by side
        #[arg(long, default_value = "default")]
        name: SandboxName,
        /// Safe, or set up to lose writes
        #[arg(long, value_enum, default_value_t = Profile::Safe)]
        profile: Profile,
        /// The server's port on 127.0.0.1 (default: 7070 or the next free one)
        #[arg(long)]
        http_port: Option<u16>,
        /// Mount a storage layer under each database node: storage faults and power losses become possible
        #[arg(long)]
        storage_layer: bool,
        /// A line for every database server's option file, such as sync-binlog=0; may be given again
        #[arg(long, value_name = "NAME=VALUE")]
        set: Vec<ServerSetting>,
    },
    /// What runs
    Status {
        /// Which
        #[arg(long, default_value = "default")]
        name: SandboxName,
    },
    /// Take it down; nothing is left behind
    Down {
        /// Which
        #[arg(long, default_value = "default")]
        name: SandboxName,
    },
    /// Keep its server and agents running (started by `up`)
    #[command(hide = true)]
    Supervise {
        /// Which
        #[arg(long)]
        name: SandboxName,
    },
}

#[derive(ClapArgs)]
pub(crate) struct Server {
    /// Where state, keys and histories live
    #[arg(long, value_name = "DIR", default_value = "/var/lib/firedrill/server")]
    pub(crate) data_dir: PathBuf,
    /// A PostgreSQL database that several servers share, postgres://user@host:port/database, instead of a file of this
    /// server's own; the password may be in PGPASSWORD or a file that PGPASSFILE names
    #[arg(long, value_name = "URL", env = "FIREDRILL_STORE", hide_env_values = true)]
    pub(crate) store: Option<firedrill_server::PostgresUrl>,
    /// Address for people, scripts and pages; loopback only until there is a user
    #[arg(long, default_value = "127.0.0.1:7070")]
    pub(crate) http: std::net::SocketAddr,
    /// Address for agents (mutual TLS)
    #[arg(long, default_value = "127.0.0.1:7443")]
    pub(crate) link: std::net::SocketAddr,
    /// What agents are told to connect to, when it is not --link itself (0.0.0.0, a translated address)
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) link_advertised: Option<std::net::SocketAddr>,
    /// What people and scripts of other servers are led to, when it is not --http itself
    #[arg(long, value_name = "URL")]
    pub(crate) http_advertised: Option<String>,
    /// A proxy in front ends TLS and sets X-Forwarded-For: cookies for TLS alone, addresses as the proxy names them
    #[arg(long)]
    pub(crate) behind_tls_proxy: bool,
    /// Networks to which probes of experiments may connect (default: all but link-local ones); may be given again
    #[arg(long, value_name = "NETWORK")]
    pub(crate) probe_destination: Vec<firedrill_model::Network>,
    /// Send traces to a collector of OpenTelemetry (OTLP over HTTP), such as http://127.0.0.1:4318
    #[arg(long, value_name = "URL")]
    pub(crate) otlp: Option<firedrill_server::Collector>,
}

#[derive(ClapArgs)]
pub(crate) struct ConfigFile {
    /// Its configuration
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
}

#[derive(Subcommand)]
pub(crate) enum Experiment {
    /// Run one and wait for its verdict
    Run {
        /// A file, or a name from the library
        experiment: String,
        /// On this cluster (default: the file's, or the only one)
        #[arg(long)]
        cluster: Option<ClusterName>,
        /// Fill in ${K} in the file
        #[arg(long, value_name = "K=V", value_parser = key_value)]
        var: Vec<(String, String)>,
        /// Write report.html, report.json and the history here
        #[arg(long, value_name = "DIR")]
        report: Option<PathBuf>,
        /// Also when the rung below has not passed on this cluster
        #[arg(long)]
        force: bool,
        /// Show what its attacks would do now and what the guards say; begin nothing
        #[arg(long)]
        dry_run: bool,
        /// Pass this guard over; kept, with the reason; may be given again
        #[arg(long = "override", value_name = "GUARD", requires = "reason")]
        overrides: Vec<firedrill_model::guard::Guard>,
        /// Why guards are passed over
        #[arg(long, value_name = "TEXT", requires = "overrides")]
        reason: Option<String>,
    },
    /// The library, and past runs
    List,
    /// A run's report, or an experiment of the library
    Show {
        /// A run's id or an experiment's name
        what: String,
    },
    /// Check a file without running it
    Validate {
        /// The file
        file: PathBuf,
        /// Fill in ${K} in the file
        #[arg(long, value_name = "K=V", value_parser = key_value)]
        var: Vec<(String, String)>,
    },
    /// Stop a run: its attacks come out, its load stops
    Halt {
        /// The run's id
        run: String,
        /// For the log
        #[arg(long)]
        reason: String,
    },
}

/// `K=V`.
pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not of the form K=V"))?;
    Ok((key.to_owned(), value.to_owned()))
}

#[derive(Subcommand)]
pub(crate) enum Attack {
    /// Start one: on hosts of a cluster (`--target`), or on this host without a server
    Start(Box<StartAttack>),
    /// Attacks and how they stand
    List,
    /// One attack
    Show {
        /// Its id
        #[arg(value_parser = attack_id)]
        id: AttackId,
    },
    /// Take one out; or, as the last resort, everything on this host
    Undo {
        /// Its id
        #[arg(value_parser = attack_id, required_unless_present = "all", conflicts_with = "all")]
        id: Option<AttackId>,
        /// Everything that any firedrill process has put in place on this host, without a server
        #[arg(long)]
        all: bool,
        /// With --all: also the journals under this directory
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
    },
    /// The kinds
    Kinds,
    /// Approve, as the second person, what waits for one; it begins at once
    Approve {
        /// The request's id
        id: String,
    },
    /// What waits for a second person, or did
    Approvals,
}

fn attack_id(text: &str) -> Result<AttackId, String> {
    Ok(AttackId(text.to_owned()))
}

#[derive(ClapArgs)]
pub(crate) struct Halt {
    /// Everything (there is nothing less yet)
    #[arg(long, required = true)]
    pub(crate) all: bool,
    /// For the log
    #[arg(long)]
    pub(crate) reason: String,
}

#[derive(ClapArgs)]
pub(crate) struct ReasonArg {
    /// For the log
    #[arg(long, default_value = "resumed from the command line")]
    pub(crate) reason: String,
}

#[derive(Subcommand)]
pub(crate) enum Cluster {
    /// All clusters
    List,
    /// One cluster with its nodes
    Show {
        /// Which (default: the only one)
        cluster: Option<ClusterName>,
    },
    /// Register a cluster, or change the login and the policy of one that is registered
    Register {
        /// A file with its nodes (docs/install.md shows one)
        file: PathBuf,
    },
    /// Show it again at every change, until interrupted
    Watch {
        /// Which (default: the only one)
        cluster: Option<ClusterName>,
    },
    /// Replace the primary now, though it may be alive
    Promote {
        /// On which cluster (default: the only one)
        #[arg(long)]
        cluster: Option<ClusterName>,
        /// By this node (default: the best)
        #[arg(long)]
        to: Option<NodeName>,
        /// Also when acknowledged writes may be missing
        #[arg(long)]
        without_proof: bool,
    },
    /// Move the primary's role in peace
    Switchover {
        /// On which cluster (default: the only one)
        #[arg(long)]
        cluster: Option<ClusterName>,
        /// To this node (default: the best)
        #[arg(long)]
        to: Option<NodeName>,
    },
    /// Make a node anew from a donor
    Clone {
        /// Which node
        node: NodeName,
        /// From whom (default: the keeper chooses)
        #[arg(long)]
        donor: Option<NodeName>,
        /// On which cluster (default: the only one)
        #[arg(long)]
        cluster: Option<ClusterName>,
    },
    /// Take a node that runs back into service
    Rejoin {
        /// Which node
        node: NodeName,
        /// On which cluster (default: the only one)
        #[arg(long)]
        cluster: Option<ClusterName>,
    },
}

#[derive(Subcommand)]
pub(crate) enum Operation {
    /// Newest first
    List {
        /// Only of this cluster
        #[arg(long)]
        cluster: Option<ClusterName>,
    },
    /// One, with its steps, logs and durations
    Show {
        /// Its id
        id: String,
    },
    /// Give one up and undo it, where that is still possible
    Cancel {
        /// Its id
        id: String,
        /// On which cluster (default: the only one)
        #[arg(long)]
        cluster: Option<ClusterName>,
    },
}

impl Operation {
    pub(crate) fn id(text: &str) -> OperationId {
        OperationId(text.to_owned())
    }
}

#[derive(Subcommand)]
pub(crate) enum Ledger {
    /// The verdict over a recorded history
    Check {
        /// The history (history.fdh)
        file: PathBuf,
    },
    /// Write a history in a form that other checkers read
    Export {
        /// The history (history.fdh)
        file: PathBuf,
        /// The form
        #[arg(long, value_enum, default_value_t = ExportFormat::Jepsen)]
        format: ExportFormat,
        /// Where to (default: standard output)
        #[arg(long)]
        output: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum ExportFormat {
    /// A JSON array of operations, as elle-cli reads it
    Jepsen,
}

#[derive(Subcommand)]
pub(crate) enum Host {
    /// All hosts
    List,
    /// What can be done to this host, by which mechanism, and what is missing (asks no server)
    Check,
    /// Make a one-time token with which the agent of that host enrols
    Token {
        /// Which
        host: HostName,
    },
    /// One host: what it is, and until when its certificate is good
    Show {
        /// Which
        host: HostName,
    },
    /// Keep a host out: its link is closed, its certificate and its tokens are not accepted until it is enrolled anew
    Revoke {
        /// Which
        host: HostName,
        /// For the log, and for whoever looks at the host
        #[arg(long)]
        reason: String,
    },
}

pub(crate) fn run_id(text: &str) -> RunId {
    RunId(text.to_owned())
}
