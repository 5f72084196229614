//! Data destroyed or made to differ: faults that cannot be taken back.

use super::table::TableName;
use super::{ASKED_WITHIN, connect, failed, number, reach, replica, unanswered, within};
use crate::FaultError;
use crate::journal::Undo;
use crate::kinds::{Asked, Checking, Effect, Failure, Family, Kind, Mechanism, Pending, Refusal, Scope, StillThere};
use crate::shape::{Parameters, Shape};
use firedrill_engine::{Admin, EngineError, Session, identifier, literal};
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;

/// A statement on a large table takes long, and must not hang for ever.
const DESTROYED_WITHIN: Duration = Duration::from_secs(60);
const ROWS_MAX: u64 = 10_000_000;

/// Rows of a table are deleted, as by a statement with a wrong condition, and the deletion goes to all replicas. Nothing
/// brings them back but a backup. Refused unless the cluster is marked expendable.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeleteRows {
    /// The table.
    table: TableName,
    /// How many rows, the first that the server finds; 1 to 10,000,000.
    rows: u64,
}

/// A table is dropped, on all replicas too. Nothing brings it back but a backup. Refused unless the cluster is marked
/// expendable.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DropTable {
    /// The table.
    table: TableName,
}

/// A database with all its tables is dropped, on all replicas too. Nothing brings it back but a backup. Refused unless
/// the cluster is marked expendable.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DropDatabase {
    /// Its name.
    database: String,
}

/// A replica commits a transaction of its own, which no other server has: it can follow no source any more that does not
/// have it, and must be made anew before it may be promoted. The table that it is written to is made for the attack and
/// stays. Refused unless the cluster is marked expendable.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ErrantTransaction {}

/// A row of a table differs on this server from all others: it is deleted here alone, and the binary log does not have
/// it. Nobody notices until it is read here, or until a change of it arrives and the applier stops with error 1032. Refused
/// unless the cluster is marked expendable.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DivergedRow {
    /// The table; its first row is the one.
    table: TableName,
}

impl Parameters for DeleteRows {
    const PULSES: bool = false;

    fn check(&self) -> Result<(), String> {
        if !(1..=ROWS_MAX).contains(&self.rows) {
            return Err(format!("{} rows are not between 1 and {ROWS_MAX}", self.rows));
        }
        self.table.check()
    }
}

impl Parameters for DropTable {
    const PULSES: bool = false;

    fn check(&self) -> Result<(), String> {
        self.table.check()
    }
}

impl Parameters for DropDatabase {
    const PULSES: bool = false;

    fn check(&self) -> Result<(), String> {
        TableName::try_from(format!("{}.t", self.database)).and_then(|any| any.check())
    }
}

impl Parameters for ErrantTransaction {
    const PULSES: bool = false;
}

impl Parameters for DivergedRow {
    const PULSES: bool = false;

    fn check(&self) -> Result<(), String> {
        self.table.check()
    }
}

/// What is done, and what is counted before and after.
struct Plan {
    statements: String,
    counted: String,
    /// What is counted, in words.
    of: String,
    grows: bool,
}

trait Destroys: Parameters + Send {
    fn plan(self, asked: &Asked) -> Plan;

    /// Whether it means something on a replica only.
    fn wants_a_replica() -> bool {
        false
    }
}

fn shrinks(statements: String, counted: String, of: String) -> Plan {
    Plan { statements, counted, of, grows: false }
}

fn rows_of(table: &TableName) -> (String, String) {
    (format!("SELECT COUNT(*) FROM {}", table.quoted()), format!("rows of {}", String::from(table.clone())))
}

impl Destroys for DeleteRows {
    fn plan(self, _asked: &Asked) -> Plan {
        let (counted, of) = rows_of(&self.table);
        shrinks(format!("DELETE FROM {} LIMIT {}", self.table.quoted(), self.rows), counted, of)
    }
}

impl Destroys for DropTable {
    fn plan(self, _asked: &Asked) -> Plan {
        let counted = format!("SELECT COUNT(*) FROM information_schema.TABLES WHERE {}", self.table.condition());
        let name = String::from(self.table.clone());
        shrinks(format!("DROP TABLE {}", self.table.quoted()), counted, format!("tables {name}"))
    }
}

impl Destroys for DropDatabase {
    fn plan(self, _asked: &Asked) -> Plan {
        let name = literal(&self.database);
        let counted = format!("SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME={name}");
        let of = format!("databases {}", self.database);
        shrinks(format!("DROP DATABASE {}", identifier(&self.database)), counted, of)
    }
}

impl Destroys for ErrantTransaction {
    fn wants_a_replica() -> bool {
        true
    }

    fn plan(self, asked: &Asked) -> Plan {
        // Not a name that is swept.
        let schema = identifier(&super::held::Mark::of(&asked.id).schema().replace("attack", "errant"));
        Plan {
            statements: format!(
                "CREATE DATABASE {schema}; CREATE TABLE {schema}.t (id BIGINT PRIMARY KEY) ENGINE=InnoDB; \
                 INSERT INTO {schema}.t VALUES (1)"
            ),
            counted: "SELECT COALESCE(MAX(CAST(SUBSTRING_INDEX(@@gtid_binlog_pos, '-', -1) AS UNSIGNED)), 0)"
                .to_owned(),
            of: "the last sequence number of the binary log".to_owned(),
            grows: true,
        }
    }
}

impl Destroys for DivergedRow {
    fn plan(self, _asked: &Asked) -> Plan {
        let (counted, of) = rows_of(&self.table);
        shrinks(format!("SET SESSION sql_log_bin=0; DELETE FROM {} LIMIT 1", self.table.quoted()), counted, of)
    }
}

/// Those that destroy data.
pub(crate) static DESTROYING: [&Kind; 5] =
    [&DELETE_ROWS, &DROP_TABLE, &DROP_DATABASE, &ERRANT_TRANSACTION, &DIVERGED_ROW];

pub(crate) static DELETE_ROWS: Kind = kind::<DeleteRows>("delete-rows", "Rows are deleted for good.");
pub(crate) static DROP_TABLE: Kind = kind::<DropTable>("drop-table", "A table is dropped for good.");
pub(crate) static DROP_DATABASE: Kind = kind::<DropDatabase>("drop-database", "A database is dropped for good.");
pub(crate) static ERRANT_TRANSACTION: Kind =
    kind::<ErrantTransaction>("errant-transaction", "A replica has a transaction that nobody else has.");
pub(crate) static DIVERGED_ROW: Kind = kind::<DivergedRow>("diverged-row", "A row is missing on one server alone.");

const fn kind<P: Destroys + 'static>(name: &'static str, summary: &'static str) -> Kind {
    Kind {
        name,
        summary,
        family: Family::Engine,
        scope: Scope::Node,
        instant: true,
        shape: Shape::of::<P>(),
        needs: &[],
        mechanism: super::by_sql,
        preflight: preflight::<P>,
        undo,
        verify_undone,
    }
}

fn preflight<P: Destroys + 'static>(asked: Asked) -> Checking {
    Box::pin(async move {
        let wanted: P = asked.parameters()?;
        let admin = reach(&asked)?;
        if !asked.context.expendable {
            return Err(Refusal(format!(
                "{} has no undo, and {} is not marked expendable; if the data of its cluster may be lost, give its hosts the \
                 tag `expendable: \"true\"`, or say --expendable on the spot",
                asked.fault.kind, admin.node
            )));
        }
        let plan = wanted.plan(&asked);
        let mut session = connect(&admin).await.map_err(|problem| unanswered(&admin, &problem))?;
        let follows = within(ASKED_WITHIN, replica::look(&mut session)).await;
        let follows = follows.map_err(|problem| unanswered(&admin, &problem))?.is_some();
        if P::wants_a_replica() && !follows {
            return Err(Refusal(format!(
                "{} replicates from nobody; aim {} at a replica",
                admin.node, asked.fault.kind
            )));
        }
        let before = within(DESTROYED_WITHIN, number(&mut session, &plan.counted)).await;
        let before = before.map_err(|problem| unanswered(&admin, &problem))?;
        if before == 0 && !plan.grows {
            return Err(Refusal(format!("there are no {} at {}", plan.of, admin.node)));
        }
        Ok(Box::new(Destruction { admin, plan, before }) as Box<dyn Mechanism>)
    })
}

struct Destruction {
    admin: Admin,
    plan: Plan,
    before: u64,
}

impl Destruction {
    async fn session(&self) -> Result<Session, EngineError> {
        let mut session = connect(&self.admin).await?;
        let most = DESTROYED_WITHIN.as_secs();
        session.run(&format!("SET SESSION lock_wait_timeout={most}, max_statement_time={most}")).await?;
        Ok(session)
    }
}

impl Mechanism for Destruction {
    fn describe(&self) -> String {
        self.plan.statements.clone()
    }

    fn undo(&self) -> Result<Undo, FaultError> {
        Ok(Undo::NOTHING)
    }

    fn inject(&mut self, _lease: Duration) -> Pending<'_, Result<(), Failure>> {
        Box::pin(async {
            let done = async { self.session().await?.run(&self.plan.statements).await.map(drop) };
            within(2 * DESTROYED_WITHIN, done).await.map_err(|problem| failed("destroy data at", &self.admin, &problem))
        })
    }

    fn verify(&mut self) -> Pending<'_, Effect> {
        Box::pin(async {
            let count = async { number(&mut self.session().await?, &self.plan.counted).await };
            let (of, before) = (&self.plan.of, self.before);
            let changed = |after: u64| if self.plan.grows { after > before } else { after < before };
            match within(2 * DESTROYED_WITHIN, count).await {
                Ok(after) if changed(after) => Effect::Seen(format!("{of}: {before} before, {after} after")),
                Ok(after) => Effect::NotSeen(format!("{of}: {before} before, {after} after")),
                Err(problem) => Effect::NotSeen(format!("{of} could not be counted: {}", problem.full())),
            }
        })
    }

    fn renew(&mut self, _lease: Duration) -> Result<(), String> {
        Ok(())
    }
}

fn undo(_undo: &Undo) -> Pending<'_, Result<(), Failure>> {
    Box::pin(async { Ok(()) })
}

fn verify_undone(_undo: &Undo) -> Pending<'_, Result<String, StillThere>> {
    Box::pin(async { Ok("what was destroyed cannot be taken back".to_owned()) })
}
