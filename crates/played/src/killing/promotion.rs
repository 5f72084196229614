//! A primary dies, and with it the server that was about to promote another one.

use super::{LIVES_MS, Plan, Scene, Site, cluster, prepare};
use crate::until;
use anyhow::{Context, bail, ensure};
use firedrill_model::NodeName;
use firedrill_model::operation::{Operation, OperationKind, OperationState};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// From the death of the primary to that of the server: before it is noticed, in the middle of the promotion, behind it.
const BETWEEN_MS: std::ops::Range<u64> = 0..60;

/// How one promotion went on.
#[derive(Debug, Clone, Copy)]
pub struct CarriedOn {
    /// The killed server had begun it.
    pub begun_before: bool,
    /// From the kill of the server until another node was primary and the gateway went there.
    pub after: Duration,
}

/// Kills the primary's database and then the acting server, once.
///
/// # Errors
/// The promotion was not carried on, or more than one was.
pub async fn promotion(plan: &Plan) -> anyhow::Result<CarriedOn> {
    let mut random = SmallRng::seed_from_u64(plan.seed);
    let mut site = Site::start(plan).await?;
    let scene = prepare(&site).await?;
    tokio::time::sleep(Duration::from_millis(random.random_range(LIVES_MS))).await;
    let dead = scene.client().cluster(&cluster()?).await?.primary.context("there is a primary")?;
    scene.databases.kill(&dead);
    tokio::time::sleep(Duration::from_millis(random.random_range(BETWEEN_MS))).await;
    site.kill()?;
    let (killed, at) = (Instant::now(), crate::now());
    site.go_on().await?;
    scene.acting.store(site.acting_number(), Ordering::Relaxed);
    let primary = match until("another node is primary", || replaced(&scene, &dead)).await {
        Ok(primary) => primary,
        Err(problem) => {
            let (view, operations) =
                (scene.client().cluster(&cluster()?).await?, scene.client().operations(Some(&cluster()?)).await?);
            bail!("{problem:#}; the cluster is {view:#?}; its operations are {operations:#?}");
        }
    };
    let after = killed.elapsed();
    let promotions = until("the promotion has finished", || promotions(&scene)).await?;
    ensure!(promotions.len() == 1, "{} promotions of {dead}, where {primary} is the next one", promotions.len());
    Ok(CarriedOn { begun_before: promotions[0].began < at, after })
}

async fn replaced(scene: &Scene, dead: &NodeName) -> anyhow::Result<Option<NodeName>> {
    let view = scene.client().cluster(&cluster()?).await?;
    Ok(view.primary.filter(|primary| primary != dead && view.route.as_ref() == Some(primary)))
}

/// All of them, once none is under way.
async fn promotions(scene: &Scene) -> anyhow::Result<Option<Vec<Operation>>> {
    let operations = scene.client().operations(Some(&cluster()?)).await?;
    let promotions: Vec<_> = operations.into_iter().filter(|one| one.kind == OperationKind::Promotion).collect();
    Ok(promotions.iter().all(|one| one.state == OperationState::Finished).then_some(promotions))
}
