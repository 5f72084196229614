//! Bringing a sandbox up. The plan is on disk before anything is made; what can be made side by side is.

use crate::error::SandboxError;
use crate::layout::{Choices, Layout, Secrets};
use crate::lock::Lock;
use crate::name::{Home, SandboxName};
use crate::{
    Profile, SandboxStatus, UpOptions, claim, databases, enlist, hold_back, network, observe, plan_file, preflight,
    readiness, running, supervise, teardown,
};
use firedrill_api::client::Client;
use firedrill_host::cgroup::Cgroup;
use firedrill_model::workload::Login;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;
use uuid::Uuid;

/// As [`crate::up`].
///
/// # Errors
/// [`SandboxError`]; what was made by then has been removed.
pub(crate) async fn run(options: UpOptions) -> Result<SandboxStatus, SandboxError> {
    let UpOptions { name, home, progress, .. } = &options;
    preflight::check(home, name, &options.program)?;
    let _lock = Lock::sandbox(name).await?;
    if is_up(home, name)? {
        return Err(SandboxError::AlreadyUp { name: name.to_string() });
    }
    if teardown::anything_left(home, name) {
        progress("removing what an earlier sandbox of this name left");
        teardown::remove(home, name, progress).await?;
    }
    let brought_up = bring_up(&options).await;
    if let Err(problem) = &brought_up {
        progress("taking away what was made");
        if let Err(second) = teardown::remove(home, name, progress).await {
            tracing::error!(%second, %problem, "the sandbox that could not be brought up is not gone entirely");
        }
    }
    brought_up
}

/// Whether an earlier `up` has come to its end and what it started is still looked after. Anything less is a leftover,
/// a damaged plan too.
fn is_up(home: &Home, name: &SandboxName) -> Result<bool, SandboxError> {
    let Ok(Some(layout)) = plan_file::load(home, name) else { return Ok(false) };
    Ok(ready_file(&layout).exists() && running::supervisor(&layout)?.is_some())
}

/// Written last, when all is well.
fn ready_file(layout: &Layout) -> PathBuf {
    layout.directory.join("ready")
}

async fn bring_up(options: &UpOptions) -> Result<SandboxStatus, SandboxError> {
    let began = Instant::now();
    let progress = &options.progress;
    let choosing = Lock::choosing().await?;
    let layout = Layout::new(choose(options)?);
    make_directories(&layout)?;
    plan_file::store(&layout.choices)?;
    make_groups(&layout)?;
    network::make_fabric(&layout).await?;
    let client = Client::new(&layout.url()).map_err(SandboxError::step("use the server's address"))?;
    let server = async {
        supervise::start(&layout)?;
        readiness::server(&layout, &client).await?;
        // Network and port can be seen to be in use from here on.
        drop(choosing);
        progress(&format!("server answers at {} ({} ms)", layout.url(), began.elapsed().as_millis()));
        Ok(())
    };
    let fleet = async {
        network::make_hosts(&layout).await?;
        progress(&format!("{} hosts are on the network ({} ms)", layout.hosts.len(), began.elapsed().as_millis()));
        let instances = databases::start(&layout).await?;
        progress(&format!("{} database servers run ({} ms)", instances.len(), began.elapsed().as_millis()));
        Ok(instances)
    };
    // Both to their ends, also when one fails: a removal must not race with what is still being made.
    let (served, made) = tokio::join!(server, fleet);
    served?;
    let instances = made?;
    enlist::enlist(&layout, &client, instances).await?;
    progress(&format!("agents start ({} ms)", began.elapsed().as_millis()));
    readiness::fleet(&layout, &client).await?;
    progress(&format!("the cluster is fully redundant, the gateway open ({} ms)", began.elapsed().as_millis()));
    if layout.choices.profile == Profile::Unsafe {
        hold_back::request(&layout).await?;
        progress(&format!("replication is held back ({} ms)", began.elapsed().as_millis()));
    }
    plan_file::write_durably(&ready_file(&layout), b"", 0o644)?;
    observe::status(&layout).await
}

/// Chooses what the name alone does not say.
fn choose(options: &UpOptions) -> Result<Choices, SandboxError> {
    let secrets = secrets(&options.home)?;
    let (user, database) = ("app".to_owned(), "app".to_owned());
    Ok(Choices {
        name: options.name.clone(),
        profile: options.profile,
        home: options.home.path().to_owned(),
        program: options.program.clone(),
        http_port: claim::http_port(options.http_port)?,
        storage_layer: options.storage_layer,
        settings: options.settings.clone(),
        subnet: claim::subnet(&options.name)?,
        login: Login { user, password: secrets.application.clone(), database },
        secrets,
    })
}

/// The passwords of this home, made with its first sandbox. Called under the lock for choosing.
fn secrets(home: &Home) -> Result<Secrets, SandboxError> {
    let path = home.path().join("secrets.json");
    if let Some(secrets) = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok()) {
        return Ok(secrets);
    }
    // Long enough that nobody guesses it, short enough for `CHANGE MASTER`, which takes 32 characters.
    let secret = || Uuid::new_v4().simple().to_string();
    let secrets = Secrets { application: secret(), replication: secret(), heartbeat: secret() };
    let text = serde_json::to_vec_pretty(&secrets).map_err(SandboxError::step("write passwords as JSON"))?;
    plan_file::write_durably(&path, &text, 0o600)?;
    Ok(secrets)
}

/// All directories on the way to a data directory can be entered by the database servers' own user.
fn make_directories(layout: &Layout) -> Result<(), SandboxError> {
    let logs = layout.directory.join("log");
    let mut directories = vec![layout.directory.clone(), logs, layout.server_directory()];
    directories.extend(layout.hosts.iter().map(|host| host.directory.clone()));
    for directory in &directories {
        std::fs::create_dir_all(directory).map_err(SandboxError::file("make", directory))?;
    }
    let below_home = layout.directory.ancestors().take_while(|path| path.starts_with(&layout.choices.home));
    for directory in below_home.chain(layout.hosts.iter().map(|host| host.directory.as_path())) {
        open_for_passage(directory)?;
    }
    Ok(())
}

fn open_for_passage(directory: &Path) -> Result<(), SandboxError> {
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755))
        .map_err(SandboxError::file("set the permissions of", directory))
}

/// Under the lock for choosing, so that a sandbox that goes down does not remove their common parent meanwhile.
fn make_groups(layout: &Layout) -> Result<(), SandboxError> {
    let hosts = layout.hosts.iter().map(|host| host.cgroup.clone());
    for group in hosts.chain([layout.server_cgroup(), layout.supervisor_cgroup(), layout.setup_cgroup()]) {
        Cgroup::create(&group).map_err(SandboxError::step("make the control groups"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Progress;

    fn options(home: &Path, name: &str, program: &str) -> UpOptions {
        UpOptions {
            name: name.parse().expect("a good name"),
            profile: Profile::Safe,
            http_port: None,
            storage_layer: false,
            settings: Vec::new(),
            program: PathBuf::from(program),
            home: Home::at(home),
            progress: Box::new(|_| {}),
        }
    }

    /// Takes everything of one name away at the end of a test, however it ends.
    struct Cleanup(Home, SandboxName);

    impl Drop for Cleanup {
        fn drop(&mut self) {
            let (home, name) = (self.0.clone(), self.1.clone());
            let removal = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime
                    .block_on(teardown::remove(&home, &name, &(Box::new(|_: &str| {}) as Progress)))
                    .map_err(std::io::Error::other)
            });
            let removed = removal.join();
            if !std::thread::panicking() {
                removed.expect("no panic").expect("removed");
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn database_servers_run_in_their_namespaces_and_go_away_by_name_alone() {
        let directory = tempfile::tempdir_in("/var/tmp").expect("a directory");
        let options = options(directory.path(), "unit-databases", "/bin/true");
        let cleanup = Cleanup(options.home.clone(), options.name.clone());
        let choosing = Lock::choosing().await.expect("the lock");
        let layout = Layout::new(choose(&options).expect("something is free"));
        make_directories(&layout).expect("directories");
        make_groups(&layout).expect("groups");
        network::make_fabric(&layout).await.expect("a fabric");
        drop(choosing);
        network::make_hosts(&layout).await.expect("hosts");
        let started = databases::start(&layout).await.expect("databases");
        assert_eq!(started.len(), 6);
        for host in layout.databases() {
            assert!(readiness::greets(host).await, "{} answers from the machine itself", host.name);
            let pid = running::find(running::Kind::Database, &host.cgroup).expect("readable").expect("runs");
            let inside = firedrill_host::netns::processes(&firedrill_host::netns::path(&host.netns)).expect("readable");
            assert!(inside.contains(&pid), "{} lives in its namespace", host.name);
        }
        // As when somebody has removed the directory by hand: the plan is not needed.
        std::fs::remove_dir_all(&layout.directory).expect("removed");
        let removed = teardown::remove(&options.home, &options.name, &options.progress).await.expect("removed");
        assert!(removed.processes >= 6, "{removed:?}");
        assert_eq!(removed.namespaces, 10);
        assert!(!teardown::anything_left(&options.home, &options.name));
        let names = firedrill_host::link::names(None).expect("readable");
        assert!(!names.contains(&layout.uplink()), "{names:?}");
        drop(cleanup);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_program_that_ends_at_once_is_reported_and_nothing_stays() {
        let directory = tempfile::tempdir_in("/var/tmp").expect("a directory");
        let options = options(directory.path(), "unit-broken", "/bin/false");
        let (home, name) = (options.home.clone(), options.name.clone());
        let _cleanup = Cleanup(home.clone(), name.clone());
        let error = run(options).await.expect_err("the supervisor ends");
        assert!(error.to_string().contains("the supervisor was not ready"), "{error}");
        assert!(!teardown::anything_left(&home, &name));
    }
}
