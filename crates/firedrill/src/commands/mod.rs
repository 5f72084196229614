//! One module per subcommand.

mod attack;
mod audit;
mod cluster;
mod demo;
pub(crate) mod evidence;
mod experiment;
pub(crate) mod guard;
mod halt;
mod host;
mod ledger;
pub(crate) mod login;
pub(crate) mod message;
mod operation;
mod people;
mod plan;
mod roles;
mod sandbox;
mod schedule;
pub(crate) mod store;
pub(crate) mod template;
mod template_import;

use crate::args::{Args, Command};
use crate::exit::Outcome;

/// Carries a command out.
pub(crate) async fn run(args: Args) -> anyhow::Result<Outcome> {
    let connect = &args.connect;
    match args.command {
        Command::Demo(demo) => demo::run(demo).await,
        Command::Sandbox(command) => sandbox::run(command, connect.json).await,
        Command::Server(server) => roles::server(server).await,
        Command::Store(command) => store::run(command).await,
        Command::Api => Ok(roles::api()),
        Command::Agent(file) => roles::agent(&file.config).await,
        Command::Gateway(file) => roles::gateway(&file.config).await,
        Command::Workload { spec, dir } => roles::workload(&spec, &dir).await,
        Command::StorageLayer { arguments } => roles::storage_layer(arguments).await,
        Command::Rescue { journal } => roles::rescue(&journal).await,
        Command::Worker { job } => Ok(roles::worker(&job)),
        Command::Experiment(command) => experiment::run(command, connect).await,
        Command::Template(command) => template::run(command, connect).await,
        Command::Attack(command) => attack::run(command, connect).await,
        Command::Halt(halt) => halt::halt(&halt.reason, connect).await,
        Command::Resume(resume) => halt::resume(&resume.reason, connect).await,
        Command::Guard(command) => guard::run(command, connect).await,
        Command::Cluster(command) => cluster::run(command, connect).await,
        Command::Operation(command) => operation::run(command, connect).await,
        Command::Ledger(command) => ledger::run(command, connect.json),
        Command::Login(login) => login::login(login, connect).await,
        Command::Whoami => people::whoami(connect).await,
        Command::Logout => login::logout(connect).await,
        Command::User(command) => people::user(command, connect).await,
        Command::Team(command) => people::team(command, connect).await,
        Command::Token(command) => people::token(command, connect).await,
        Command::Audit(command) => audit::run(command, connect).await,
        Command::Host(command) => host::run(command, connect).await,
        Command::Schedule(command) => schedule::run(command, connect).await,
        Command::Evidence(command) => evidence::run(command, connect).await,
        Command::Message(command) => message::run(command, connect).await,
    }
}
