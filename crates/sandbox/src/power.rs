//! The power switch of each host: what a data centre's operator and the machine's firmware do on a real host.
//!
//! An agent that is told to take its host down leaves an order in a file. The supervisor, which lives outside of all
//! hosts, carries it out: the host's cable and all its processes go at once (after its database was stopped in order,
//! unless the power is cut), and some time later the host boots: its volume is mounted, its cable plugged in, its
//! agent started. The order stays in place until then, so that a supervisor that was killed meanwhile goes on with it,
//! and nothing of the host is started before.
//!
//! The database is not started: that is the fleet's automation, which must decide what to do with a node that was away.

use crate::databases::mount_layer;
use crate::error::SandboxError;
use crate::layout::{HostLayout, Layout, Part};
use crate::running::{self, Kind};
use firedrill_fault::Down;
use firedrill_host::cgroup::Cgroup;
use firedrill_host::link::Batch;
use firedrill_host::process::{Identity, Signal};
use firedrill_host::{fuse, netns};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often an order is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What a database gets to stop in order; then the power goes all the same, as with systemd.
const STOPS_WITHIN: Duration = Duration::from_secs(20);
/// A killed process may first have to finish a write to a slow disk.
const KILLED_WITHIN: Duration = Duration::from_secs(20);
/// A machine that reboots is away for so long; a real one takes a minute or more, and nobody wants to wait for that.
const REBOOT_TAKES: Duration = Duration::from_secs(3);
/// Somebody notices a machine that is off and switches it on after so long.
const SWITCHED_ON_AFTER: Duration = Duration::from_secs(10);
/// Between two tries of an order that failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl HostLayout {
    /// Where its agent leaves the order to take it down; while it is there, nothing of the host may be started.
    pub(crate) fn power_switch(&self) -> PathBuf {
        self.directory.join("power")
    }
}

/// Carries out the orders for one host, for ever.
pub(crate) async fn watch(layout: Layout, host: HostLayout) {
    let file = host.power_switch();
    loop {
        let order = std::fs::read_to_string(&file).ok();
        let Some(order) = order else {
            sleep(LOOK_EVERY).await;
            continue;
        };
        let carried_out = match order.trim().parse() {
            Ok(down) => carry_out(&layout, &host, down).await,
            Err(problem) => {
                tracing::error!(host = %host.name, order, %problem, "no order that a power switch knows; ignored");
                Ok(())
            }
        };
        match carried_out.and_then(|()| std::fs::remove_file(&file).map_err(SandboxError::file("remove", &file))) {
            Ok(()) => tracing::info!(host = %host.name, "booted"),
            Err(problem) => {
                tracing::error!(host = %host.name, error = &problem as &dyn std::error::Error, "tried again");
                sleep(RETRY_AFTER).await;
            }
        }
    }
}

async fn carry_out(layout: &Layout, host: &HostLayout, down: Down) -> Result<(), SandboxError> {
    tracing::warn!(host = %host.name, order = %down, "goes down");
    if down != Down::PowerOff {
        stop_database(host).await?;
    }
    let failed = || SandboxError::step(format!("take host {} down", host.name));
    cable(layout, host, "down").await.map_err(failed())?;
    Cgroup::at(&host.cgroup).map_err(failed())?.kill_all(KILLED_WITHIN).await.map_err(failed())?;
    sleep(if down == Down::Reboot { REBOOT_TAKES } else { SWITCHED_ON_AFTER }).await;
    boot(layout, host).await
}

/// Stops the host's database as its service manager would.
async fn stop_database(host: &HostLayout) -> Result<(), SandboxError> {
    let Some(pid) = running::find(Kind::Database, &host.cgroup)? else { return Ok(()) };
    let failed = || SandboxError::step(format!("stop the database of host {}", host.name));
    let Ok(database) = Identity::of(pid) else { return Ok(()) };
    let Some(handle) = database.open().map_err(failed())? else { return Ok(()) };
    handle.signal(Signal::SIGTERM).map_err(failed())?;
    let began = Instant::now();
    while database.alive() && began.elapsed() < STOPS_WITHIN {
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Brings it up again, as far as a machine does by itself; its agent follows when the order is gone.
async fn boot(layout: &Layout, host: &HostLayout) -> Result<(), SandboxError> {
    let failed = || SandboxError::step(format!("boot host {}", host.name));
    if layout.choices.storage_layer && matches!(host.part, Part::Database(_)) {
        // The processes of the layer went with the host; what is left of it is a mount that nobody serves.
        let mut dead = fuse::mounts().map_err(failed())?.into_iter().filter(|mount| mount.point == host.volume);
        dead.try_for_each(|mount| fuse::unmount(&mount.point)).map_err(failed())?;
        mount_layer(layout, host).await?;
    }
    cable(layout, host, "up").await.map_err(failed())
}

/// Plugs the host's cable in or pulls it, at the switch.
async fn cable(layout: &Layout, host: &HostLayout, state: &str) -> Result<(), firedrill_host::HostError> {
    let port = host.name.as_str();
    let change = Batch::new().line(format_args!("link set dev {port} {state}"));
    change.apply(Some(&netns::path(&layout.fabric()))).await
}
