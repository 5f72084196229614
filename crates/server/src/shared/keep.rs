//! Saying that this server acts, and stopping in time when that cannot be said.

use super::LASTING;
use crate::problem::chain;
use firedrill_store::{Epoch, Lease};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout_at};
use tokio_util::sync::CancellationToken;

/// Four times while it lasts.
const SAY_EVERY: Duration = Duration::from_millis(500);
/// After the database gave an error.
const SAY_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Says it again and again; cancels `acting` at the moment from which on another server may act.
pub(super) async fn keep(lease: Lease, epoch: Epoch, mut until: Instant, acting: CancellationToken) {
    let reason = loop {
        // Measured from before the question: in the database it lasts a little longer.
        let asked = Instant::now();
        let answer = tokio::select! {
            () = acting.cancelled() => return,
            answer = timeout_at(until.into(), lease.renew(epoch, LASTING)) => answer,
        };
        let wait = match answer {
            Ok(Ok(true)) => {
                until = asked + LASTING;
                SAY_EVERY
            }
            Ok(Ok(false)) => break "another server may act since".to_owned(),
            Ok(Err(error)) => {
                tracing::warn!(error = %chain(&error), "it could not be said that this server acts; trying again");
                SAY_AGAIN_AFTER
            }
            Err(_) => break format!("the database has not taken it for {LASTING:?}"),
        };
        if Instant::now() + wait >= until {
            sleep(until.saturating_duration_since(Instant::now())).await;
            break format!("the database has not taken it for {LASTING:?}");
        }
        tokio::select! {
            () = acting.cancelled() => return,
            () = sleep(wait) => {}
        }
    };
    tracing::error!(%epoch, %reason, "this server must not act any more");
    acting.cancel();
}
