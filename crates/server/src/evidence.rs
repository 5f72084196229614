//! Evidence: gathers the facts. What they come to is [`firedrill_model::evidence::Evidence::of`].

use crate::Server;
use crate::clock::now;
use crate::problem::{PERIOD, problem, store_failed};
use firedrill_api::http::Problem;
use firedrill_model::evidence::{Evidence, Facts, RunFact};
use firedrill_model::{ClusterName, Operation, OperationId, RunId, Timestamp};
use firedrill_schedule::Zone;
use firedrill_store::StoreError;

/// Reports read at once: each may have some hundred kilobytes.
const PAGE_ROWS: u32 = 50;
/// Most runs of a document, with those after its period: a run an hour for half a year.
const RUNS_MAX: usize = 5000;
/// Most operations likewise; a run has a few.
const OPERATIONS_MAX: usize = 20_000;
/// So many runs and operations before the period are looked at for when something was proven last.
const BEFORE_MAX: usize = 200;

/// Makes the evidence of a period, as people write it, by the clock of a zone.
///
/// # Errors
/// The period cannot be used, there is too much in it, or the store cannot be read.
pub async fn evidence(
    server: &Server,
    from: &str,
    to: &str,
    cluster: Option<ClusterName>,
    zone: &Zone,
) -> Result<Evidence, Problem> {
    let made = now();
    let (from, until) = zone.period(from, to, made).map_err(|why| problem(PERIOD, why))?;
    if let Some(cluster) = &cluster {
        server.keepers.view(cluster)?;
    }
    let runs = runs(server, cluster.as_ref(), from).await.map_err(|error| store_failed(&error))?;
    let operations = operations(server, cluster.as_ref(), from).await.map_err(|error| store_failed(&error))?;
    let (Some(runs), Some(operations)) = (runs, operations) else {
        let text = format!(
            "there are more than {RUNS_MAX} runs or {OPERATIONS_MAX} operations since {}; ask for one cluster, or for a later beginning",
            zone.show(from)
        );
        return Err(problem(PERIOD, text));
    };
    let records = server.keepers.records();
    let nodes = records.iter().flat_map(|record| record.spec.nodes.iter());
    Ok(Evidence::of(&Facts {
        from,
        until,
        now: made,
        cluster,
        zone: zone.name().to_owned(),
        wall: &|at| zone.weekday_and_hour(at),
        clusters: records.iter().map(|record| record.spec.name.clone()).collect(),
        regions: nodes.map(|node| (node.name.clone(), node.region.clone())).collect(),
        runs,
        operations,
    }))
}

/// All runs since a moment, and some before; `None`: too many.
async fn runs(
    server: &Server,
    cluster: Option<&ClusterName>,
    from: Timestamp,
) -> Result<Option<Vec<RunFact>>, StoreError> {
    let (mut all, mut before) = (Vec::<RunFact>::new(), 0);
    loop {
        let last = all.last().map_or((Timestamp(i64::MAX), RunId(String::new())), |run| (run.began, run.run.clone()));
        let page = server.store.run_facts(cluster, (last.0, &last.1), PAGE_ROWS).await?;
        let over = page.is_empty();
        before += page.iter().filter(|run| run.began < from).count();
        all.extend(page);
        if over || before >= BEFORE_MAX {
            return Ok(Some(all));
        }
        if all.len() - before > RUNS_MAX {
            return Ok(None);
        }
    }
}

/// All operations since a moment, and some before; `None`: too many.
pub(crate) async fn operations(
    server: &Server,
    cluster: Option<&ClusterName>,
    from: Timestamp,
) -> Result<Option<Vec<Operation>>, StoreError> {
    let (mut all, mut before) = (Vec::<Operation>::new(), 0);
    loop {
        let newest = || (Timestamp(i64::MAX), OperationId(String::new()));
        let last = all.last().map_or_else(newest, |operation| (operation.began, operation.id.clone()));
        let page = server.store.operations_before(cluster, (last.0, &last.1), PAGE_ROWS).await?;
        let over = page.is_empty();
        before += page.iter().filter(|operation| operation.began < from).count();
        all.extend(page);
        if over || before >= BEFORE_MAX {
            return Ok(Some(all));
        }
        if all.len() - before > OPERATIONS_MAX {
            return Ok(None);
        }
    }
}
