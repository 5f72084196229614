//! The database servers: made and started by `engine::install`, side by side.

use crate::error::SandboxError;
use crate::layout::{Choices, HostLayout, Layout, Profile};
use crate::name::Home;
use crate::side_by_side;
use firedrill_engine::install::{self, Accounts, Settings, Workshop};
use firedrill_engine::{Binaries, Instance, InstanceConfig, Login, PortRange};
use firedrill_fault::storage::Layer;
use firedrill_host::cgroup::Cgroup;
use firedrill_host::netns;
use firedrill_host::process::Spawn;
use firedrill_model::{HostName, NodeCommand, NodeSpec, Span};
use std::collections::BTreeMap;
use tokio::task::JoinSet;

/// The system user that Debian's packages make for the server; it may enter nothing but its own directory.
const OS_USER: &str = "mysql";

const REPLICATION_USER: &str = "firedrill_replication";
const HEARTBEAT_USER: &str = "firedrill_heartbeat";

/// Ports on which clones are received: one clone at a time per node, and a spare for one that is being given up.
const CLONE_PORTS: PortRange = PortRange { first: 4444, last: 4447 };

/// A start takes a fraction of a second; six at once on a busy machine take longer.
const START_WITHIN: Span = Span::secs(60);

/// Makes and starts every database server: read-only, following nobody. What each does next is the keeper's affair.
///
/// # Errors
/// [`SandboxError::Step`] for the first that failed.
pub(crate) async fn start(layout: &Layout) -> Result<BTreeMap<HostName, InstanceConfig>, SandboxError> {
    let found = firedrill_engine::preflight().map_err(SandboxError::step("find the MariaDB programs"))?;
    let templates = Home::at(&layout.choices.home).templates();
    std::fs::create_dir_all(&templates).map_err(SandboxError::file("make", &templates))?;
    let group = Cgroup::at(&layout.setup_cgroup()).map_err(SandboxError::step("find the control groups"))?;
    // Made inside the sandbox, so that it goes away with it when this process is killed meanwhile.
    let workshop = Workshop { dir: &layout.directory, cgroup: Some(group.dir()) };
    let template = install::template_made_in(&workshop, &templates, &found, Some(OS_USER), &accounts(layout))
        .await
        .map_err(SandboxError::step(format!("make a template data directory in {}", templates.display())))?;
    let mut instances = Vec::new();
    for (host, node) in layout.hosts.iter().filter_map(|host| Some((host, host.node()?))) {
        if layout.choices.storage_layer {
            mount_layer(layout, host).await?;
        }
        instances.push((host.clone(), instance(layout, host, node, &found.binaries)?));
    }
    let mut starting = JoinSet::new();
    for (host, config) in instances {
        let (template, settings) = (template.clone(), settings(&layout.choices));
        starting.spawn(async move {
            let failed = || SandboxError::step(format!("start database node {}", config.node));
            install::place(&template, &config, &settings).await.map_err(failed())?;
            start_inside(&host, config.clone()).await?;
            Ok::<_, SandboxError>((host.name, config))
        });
    }
    Ok(side_by_side::all(starting).await?.into_iter().collect())
}

/// Puts a storage layer under the host's database node, before its database runs. Its processes belong to the host and go with it.
pub(crate) async fn mount_layer(layout: &Layout, host: &HostLayout) -> Result<(), SandboxError> {
    let failed = || SandboxError::step(format!("mount a storage layer for {}", host.name));
    std::fs::create_dir_all(&host.volume).map_err(SandboxError::file("make", &host.volume))?;
    let group = Cgroup::at(&host.cgroup).map_err(failed())?.dir().to_owned();
    let program = layout.choices.program.clone();
    let start = move || Spawn::new(&program).arg("storage-layer").cgroup(&group);
    Layer::mount(&start, &host.layer_dir(), &host.volume).await.map_err(failed())?;
    Ok(())
}

/// Starts a server as the host's agent would: from inside the host's network namespace.
async fn start_inside(host: &HostLayout, config: InstanceConfig) -> Result<(), SandboxError> {
    let doing = format!("start database node {} inside {}", config.node, host.netns);
    let path = netns::path(&host.netns);
    let inside = move || {
        netns::enter(&path, move || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
            let node = config.node.clone();
            let instance = Instance::new(config);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(instance.carry_out(NodeCommand::Start { node }, START_WITHIN))?;
            Ok(())
        })
    };
    let answer =
        tokio::task::spawn_blocking(inside).await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    answer.map_err(SandboxError::step(&doing))?.map_err(SandboxError::step(&doing))
}

fn accounts(layout: &Layout) -> Accounts {
    let Choices { secrets, login: application, .. } = &layout.choices;
    Accounts {
        replication: login(REPLICATION_USER, &secrets.replication),
        heartbeat: login(HEARTBEAT_USER, &secrets.heartbeat),
        application: login(&application.user, &application.password),
        database: application.database.clone(),
    }
}

fn settings(choices: &Choices) -> Settings {
    let profile = match choices.profile {
        Profile::Safe => install::Profile::Safe,
        // What is received is held back by packets (`hold_back`), which loses the newest writes also under light load.
        Profile::Unsafe => install::Profile::Unsafe { receive_kib_per_second: 0 },
    };
    let extra = choices.settings.iter().map(ToString::to_string).collect();
    Settings { profile, extra, ..Settings::default() }
}

fn login(user: &str, password: &str) -> Login {
    Login { user: user.to_owned(), password: password.to_owned() }
}

fn instance(
    layout: &Layout,
    host: &HostLayout,
    node: NodeSpec,
    binaries: &Binaries,
) -> Result<InstanceConfig, SandboxError> {
    let group = Cgroup::at(&host.cgroup).map_err(SandboxError::step("find the control groups"))?;
    let directory = &host.directory;
    // Made by `place` and owned by the server's user, which may write nowhere else.
    let run = directory.join("run");
    let secrets = &layout.choices.secrets;
    Ok(InstanceConfig {
        cluster: Layout::cluster_name(),
        node: node.name,
        server_id: node.server_id,
        endpoint: node.endpoint,
        binaries: binaries.clone(),
        config_file: directory.join("my.cnf"),
        data_dir: host.data_dir(),
        socket: run.join("mariadbd.sock"),
        pid_file: run.join("mariadbd.pid"),
        error_log: run.join("error.log"),
        os_user: Some(OS_USER.to_owned()),
        replication: login(REPLICATION_USER, &secrets.replication),
        heartbeat: Some(login(HEARTBEAT_USER, &secrets.heartbeat)),
        work_dir: host.work_dir(),
        cgroup: Some(group.dir().to_owned()),
        clone_ports: CLONE_PORTS,
    })
}
