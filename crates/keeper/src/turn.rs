//! One turn: what is looked at, in which order.

use crate::core::Core;
use crate::event::{Action, Event};
use firedrill_model::Timestamp;

pub(crate) fn take(core: &mut Core, now: Timestamp, event: Event) -> Vec<Action> {
    core.now = now;
    let _ = event;
    core.journal.seal();
    std::mem::take(&mut core.actions)
}

pub(crate) fn resume(core: &mut Core) -> Vec<Action> {
    std::mem::take(&mut core.actions)
}
