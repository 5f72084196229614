//! Power loss: what was not synced is gone, and everybody who could know better is dead.
//!
//! In this order: no operation is let in and those under way end; the processes that use the file system are killed;
//! what the kernel still holds of it is dropped; the last durable state is put back; operations are let in again. A
//! file marks that this is under way, so that the successor of a killed server goes on with it.

use super::server::Server;
use super::wire::forget_pages_of;
use firedrill_host::fuse::{self, Mounted};
use firedrill_host::process::{Identity, Signal};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Operations under way end as the disk below answers.
const ENDED_WITHIN: Duration = Duration::from_secs(10);
/// Killed processes are gone after milliseconds, unless they hang in another device.
const DEAD_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// What a power loss did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Loss {
    /// The processes that were killed.
    pub(crate) killed: Vec<u32>,
    /// Files that had unsynced changes.
    pub(crate) files: u64,
    /// Bytes of old content that were put back.
    pub(crate) bytes: u64,
    /// Changes of names that were taken back.
    pub(crate) names: u64,
    /// How often a file was synced before, because the layer keeps no more than a bounded number of bytes.
    pub(crate) written_back: u64,
    /// How long the file system stood still.
    pub(crate) stood_still: Duration,
}

/// A power loss that is asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Order {
    /// Which.
    pub(super) id: String,
    /// Processes that use the file system and must not be killed.
    pub(super) spare: Vec<u32>,
}

/// Cuts the power. One that was done already (by a server that died before it could say so) is only told about.
pub(super) fn cut(server: &Server, order: Order) -> Result<Loss, String> {
    let done = fs::read(server.places.lost()).ok();
    let done = done.and_then(|text| serde_json::from_slice::<(String, Result<Loss, String>)>(&text).ok());
    if let Some((_, outcome)) = done.filter(|(id, _)| *id == order.id) {
        return outcome;
    }
    if !server.keep.armed() {
        return Err("nothing is kept for a power loss: a rule that keeps must be in force before".to_owned());
    }
    server
        .gate
        .close(ENDED_WITHIN)
        .map_err(|problem| format!("operations under way do not end ({problem}), so the state could not be told"))?;
    if let Err(problem) = save(&server.places.cut(), &order) {
        server.gate.open();
        return Err(format!("{} cannot be written: {problem}", server.places.cut().display()));
    }
    lose(server, order)
}

/// Goes on with what a killed server had begun.
pub(super) fn finish(server: &Server) {
    let Ok(text) = fs::read(server.places.cut()) else { return };
    let order = serde_json::from_slice(&text).unwrap_or(Order { id: String::new(), spare: Vec::new() });
    match lose(server, order) {
        Ok(loss) => tracing::warn!(?loss, "a power loss that a killed server had begun is over"),
        Err(problem) => tracing::error!(problem, "a power loss that a killed server had begun came to nothing"),
    }
}

/// Whole or not at all; it needs to survive this process, not the machine.
fn save(path: &Path, what: &impl Serialize) -> std::io::Result<()> {
    let draft = path.with_extension("draft");
    fs::write(&draft, serde_json::to_vec(what)?)?;
    fs::rename(&draft, path)
}

fn lose(server: &Server, order: Order) -> Result<Loss, String> {
    let began = Instant::now();
    let outcome = kill_users(server, &order.spare).and_then(|killed| {
        drop_pages(server);
        let put_back =
            server.keep.put_back().map_err(|problem| format!("old content cannot be put back: {problem}"))?;
        let names = server.keep.names().take_back();
        let names = names.map_err(|problem| format!("old names cannot be put back: {problem}"))?;
        let written_back = server.keep.written_back();
        Ok(Loss {
            killed,
            files: put_back.files,
            bytes: put_back.bytes,
            names,
            written_back,
            stood_still: began.elapsed(),
        })
    });
    let told = save(&server.places.lost(), &(order.id, &outcome));
    if let Err(problem) = told.and_then(|()| fs::remove_file(server.places.cut())) {
        tracing::error!(%problem, "the mark of a power loss cannot be removed");
    }
    server.gate.open();
    outcome
}

/// Kills whoever uses the file system until nobody does.
fn kill_users(server: &Server, spare: &[u32]) -> Result<Vec<u32>, String> {
    let mounts = fuse::mounts().map_err(|problem| problem.full())?;
    let mount = mounts.into_iter().find(|mount| mount.source == server.places.0);
    let began = Instant::now();
    let mut killed = HashSet::new();
    loop {
        let users = mount.as_ref().map(Mounted::users).unwrap_or_default();
        let users: Vec<Identity> = users.into_iter().filter(|user| !spare.contains(&user.pid)).collect();
        killed.extend(users.iter().map(|user| user.pid));
        server.gate.kill(killed.clone());
        if users.is_empty() {
            let mut all: Vec<u32> = killed.into_iter().collect();
            all.sort_unstable();
            return Ok(all);
        }
        for user in &users {
            if let Ok(Some(process)) = user.open() {
                // Gone meanwhile is as good.
                let _gone = process.signal(Signal::SIGKILL);
            }
        }
        if began.elapsed() > DEAD_WITHIN {
            return Err(format!("processes {users:?} do not die of SIGKILL; nothing was put back"));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Drops what the kernel has of files; pages that were changed through mappings come as writes now and are thrown away.
fn drop_pages(server: &Server) {
    for node in server.tree.all() {
        match nix::unistd::write(&server.base.device, &forget_pages_of(node)) {
            Ok(_) | Err(Errno::ENOENT) => {}
            Err(problem) => tracing::error!(%problem, node, "pages of a file cannot be dropped"),
        }
    }
}
