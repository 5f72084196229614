//! From a whole copy to a node in service, and back.

use super::record::Record;
use super::tool::{self, Tool};
use crate::error::EngineError;
use crate::install::blocking;
use crate::mariadb::Server;
use crate::mariadb::sql::literal;
use crate::process::Tail;
use firedrill_host::process::Spawn;
use firedrill_model::{GtidPos, NodeReply, OperationId};
use std::path::{Path, PathBuf};

/// Memory for applying the log, mebibytes: enough that it is read once for a busy donor, and no more, because servers
/// run beside it.
const PREPARE_MEMORY_MIB: u32 = 256;

/// Where the tool writes the position of the copy: file, place and GTID, separated by tabs. The second name is that of
/// MariaDB 11.
const POSITION_FILES: [&str; 2] = ["xtrabackup_binlog_info", "mariadb_backup_binlog_info"];

impl Server {
    /// [`firedrill_model::NodeCommand::ClonePrepare`].
    pub(crate) async fn clone_prepare(&self, operation: &OperationId) -> Result<NodeReply, EngineError> {
        let directory = self.config.clone_dir(operation);
        match Record::load(&directory)? {
            Some(Record::Prepared { position }) => return Ok(NodeReply::Prepared { position }),
            Some(Record::Received) => {}
            Some(Record::Receiving) => return Err(not_yet(operation, "its copy has not arrived in whole")),
            Some(_) => return Err(not_yet(operation, "it is in the node's place already")),
            None => return Err(not_yet(operation, "it was not begun here")),
        }
        let data = directory.join("data");
        let mut spawn = Spawn::new(&self.config.binaries.mariadb_backup)
            .args(["--no-defaults", "--prepare"])
            .arg(format!("--target-dir={}", data.display()))
            .arg(format!("--use-memory={PREPARE_MEMORY_MIB}M"))
            .dir(&data);
        if let Some(user) = &self.config.os_user {
            spawn = spawn.user(user);
        }
        Tool::start(tool::PREPARE, &directory, spawn).await?.finish().await?;
        let position = copied_position(&data)?;
        Record::Prepared { position: position.clone() }.save(&directory)?;
        Ok(NodeReply::Prepared { position })
    }

    /// [`firedrill_model::NodeCommand::CloneActivate`].
    pub(crate) async fn clone_activate(
        &self,
        operation: &OperationId,
        seed: &GtidPos,
    ) -> Result<NodeReply, EngineError> {
        let _arranging = self.arranging.lock().await;
        let directory = self.config.clone_dir(operation);
        let had_data = match Record::load(&directory)? {
            Some(Record::Activated { .. }) => return self.start(Tail::Dropped).await,
            Some(Record::Activating { had_data }) => had_data,
            Some(Record::Prepared { .. }) => self.config.data_dir.exists(),
            Some(_) => return Err(not_yet(operation, "its copy is not prepared")),
            None => return Err(not_yet(operation, "it was not begun here")),
        };
        let places = Places::of(self, operation);
        if places.copy.exists() {
            self.fence().await?;
            Record::Activating { had_data }.save(&directory)?;
            places.move_in()?;
        }
        self.start(Tail::Dropped).await?;
        // A fresh binary log that says it begins after `seed`: what is older is found in the copy, and a replica that
        // asks for it is told that it is not here. Repeated as a whole when it was cut off: nothing has been written.
        let seed = literal(&seed.to_string());
        let statements = format!("RESET MASTER; SET GLOBAL gtid_slave_pos={seed}; SET GLOBAL gtid_binlog_state={seed}");
        self.admin.run(&statements).await?;
        Record::Activated { had_data }.save(&directory)?;
        self.start(Tail::Dropped).await
    }

    /// [`firedrill_model::NodeCommand::CloneFinish`].
    pub(crate) async fn clone_finish(&self, operation: &OperationId) -> Result<NodeReply, EngineError> {
        let _arranging = self.arranging.lock().await;
        let (directory, aside) = (self.config.clone_dir(operation), self.config.aside_dir(operation));
        match Record::load(&directory)? {
            Some(Record::Activated { .. }) | None => {}
            Some(_) => return Err(not_yet(operation, "it is not in the node's place")),
        }
        // The record last: while it is there, the rest is found again.
        blocking(move || {
            remove(&aside)?;
            remove(&directory)
        })
        .await?;
        Ok(NodeReply::Done)
    }

    /// [`firedrill_model::NodeCommand::CloneAbort`]. Leaves the server down when its earlier data was put back.
    pub(crate) async fn clone_abort(&self, operation: &OperationId) -> Result<NodeReply, EngineError> {
        let directory = self.config.clone_dir(operation);
        self.receiving.end(operation);
        tool::end_all(&directory).await?;
        let _arranging = self.arranging.lock().await;
        let record = Record::load(&directory)?;
        let places = Places::of(self, operation);
        if let Some(had_data) = record.and_then(|record| record.activated_over()) {
            let in_place = if had_data { places.aside.exists() } else { !places.copy.exists() };
            if in_place {
                self.fence().await?;
                places.move_out()?;
            }
        }
        let aside = self.config.aside_dir(operation);
        blocking(move || {
            remove(&aside)?;
            remove(&directory)
        })
        .await?;
        Ok(NodeReply::Done)
    }
}

/// The directories that are moved. Each move is one rename, so that after a crash what exists says how far it came.
struct Places {
    /// The node's data directory.
    node: PathBuf,
    /// The copy before it is moved in.
    copy: PathBuf,
    /// The node's earlier data.
    aside: PathBuf,
    /// A copy that was in place and is given up.
    discarded: PathBuf,
}

impl Places {
    fn of(server: &Server, operation: &OperationId) -> Self {
        let config = &server.config;
        Self {
            node: config.data_dir.clone(),
            copy: config.clone_dir(operation).join("data"),
            aside: config.aside_dir(operation).join("data"),
            discarded: config.clone_dir(operation).join("discarded"),
        }
    }

    fn move_in(&self) -> Result<(), EngineError> {
        if self.node.exists() {
            if self.aside.exists() {
                return Err(EngineError::Failed(format!(
                    "{} and {} both hold data; one of them must be removed by hand before the clone can go on",
                    self.node.display(),
                    self.aside.display()
                )));
            }
            if let Some(parent) = self.aside.parent() {
                std::fs::create_dir_all(parent).map_err(|problem| EngineError::file("make", parent, problem))?;
            }
            move_dir(&self.node, &self.aside)?;
        }
        move_dir(&self.copy, &self.node)
    }

    /// Undoes [`Self::move_in`], from wherever it stopped. The earlier data is never touched but to be put back.
    fn move_out(&self) -> Result<(), EngineError> {
        if self.node.exists() {
            remove(&self.discarded)?;
            move_dir(&self.node, &self.discarded)?;
        }
        if self.aside.exists() {
            move_dir(&self.aside, &self.node)?;
        }
        Ok(())
    }
}

/// One rename, on the disk when this returns.
fn move_dir(from: &Path, to: &Path) -> Result<(), EngineError> {
    let sync = |path: &Path| path.parent().map_or(Ok(()), |parent| std::fs::File::open(parent)?.sync_all());
    std::fs::rename(from, to).and_then(|()| sync(from)).and_then(|()| sync(to)).map_err(|problem| {
        match problem.kind() {
            std::io::ErrorKind::CrossesDevices => EngineError::Failed(format!(
                "{} cannot be moved to {}: the data directory and the work directory must be on one file system, and \
             neither may be a mount point",
                from.display(),
                to.display()
            )),
            _ => EngineError::file("move a data directory to", to, problem),
        }
    })
}

/// Removes a directory; one that is not there is as good.
pub(super) fn remove(directory: &Path) -> Result<(), EngineError> {
    match std::fs::remove_dir_all(directory) {
        Err(problem) if problem.kind() != std::io::ErrorKind::NotFound => {
            Err(EngineError::file("remove", directory, problem))
        }
        _ => Ok(()),
    }
}

fn copied_position(data: &Path) -> Result<GtidPos, EngineError> {
    let text = POSITION_FILES.iter().find_map(|name| std::fs::read_to_string(data.join(name)).ok());
    text.as_deref().and_then(position_in).ok_or_else(|| {
        EngineError::Failed(format!("the copy does not say at which GTID it ends ({}: {text:?})", POSITION_FILES[0]))
    })
}

fn position_in(text: &str) -> Option<GtidPos> {
    text.trim_end_matches('\n').split('\t').nth(2)?.parse().ok()
}

fn not_yet(operation: &OperationId, why: &str) -> EngineError {
    EngineError::Invalid(format!("clone {operation} cannot go on: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(root: &Path) -> Places {
        let at = |name: &str| root.join(name);
        Places { node: at("node"), copy: at("clone/data"), aside: at("aside/data"), discarded: at("clone/discarded") }
    }

    fn holds(directory: &Path, what: &str) -> bool {
        directory.join(what).exists()
    }

    fn make(directory: &Path, what: &str) {
        std::fs::create_dir_all(directory).expect("makes");
        std::fs::write(directory.join(what), "").expect("writes");
    }

    #[test]
    fn a_move_is_undone_from_wherever_it_stopped() {
        for stopped_after in 0..=2 {
            let root = tempfile::tempdir().expect("temp dir");
            let places = places(root.path());
            make(&places.node, "old");
            make(&places.copy, "new");
            std::fs::create_dir_all(root.path().join("aside")).expect("makes");
            if stopped_after >= 1 {
                move_dir(&places.node, &places.aside).expect("moves");
            }
            if stopped_after == 2 {
                move_dir(&places.copy, &places.node).expect("moves");
            }
            if places.aside.exists() {
                places.move_out().expect("undone");
            }
            assert!(holds(&places.node, "old"), "stopped after {stopped_after}");
        }
    }

    #[test]
    fn a_move_goes_on_from_wherever_it_stopped() {
        for stopped_after in 0..=1 {
            let root = tempfile::tempdir().expect("temp dir");
            let places = places(root.path());
            make(&places.node, "old");
            make(&places.copy, "new");
            std::fs::create_dir_all(root.path().join("aside")).expect("makes");
            if stopped_after == 1 {
                move_dir(&places.node, &places.aside).expect("moves");
            }
            places.move_in().expect("moves in");
            assert!(holds(&places.node, "new") && holds(&places.aside, "old"), "stopped after {stopped_after}");
        }
    }

    #[test]
    fn the_position_is_the_third_field() {
        let position = position_in("binlog.000003\t1234\t0-1-500\n").expect("reads");
        assert_eq!(position.to_string(), "0-1-500");
        assert!(position_in("binlog.000003\t1234\n").is_none());
        assert!(position_in("binlog.000003\t1234\t\n").expect("an empty one").is_empty());
    }
}
