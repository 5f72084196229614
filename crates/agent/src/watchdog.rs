//! What a service manager is told: that the agent works, and again and again that it still does. An agent that hangs is
//! ended and started again by its watchdog, and the new one takes out what the old one had in place.

use sd_notify::NotifyState;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// Signs of life in one watchdog interval; with two, one may come late.
const SIGNS: u32 = 3;

/// Says that the agent works, then gives signs of life, for ever. Nothing without a service manager that wants to know.
pub(crate) async fn keep() {
    tell(NotifyState::Ready);
    let Some(patience) = sd_notify::watchdog_enabled().filter(|patience| !patience.is_zero()) else {
        return std::future::pending().await;
    };
    let mut beat = interval((patience / SIGNS).max(Duration::from_millis(1)));
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        tell(NotifyState::Watchdog);
    }
}

fn tell(state: NotifyState<'_>) {
    // Without a service manager there is nobody to tell, which is no error; this is one.
    if let Err(problem) = sd_notify::notify(&[state]) {
        tracing::warn!(%problem, "the service manager cannot be told that the agent works");
    }
}
