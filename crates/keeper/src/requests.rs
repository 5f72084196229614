//! What a person asks for.

use crate::core::Core;
use crate::event::{Action, Refusal, Request};
use firedrill_model::{OperationId, Timestamp};

pub(crate) fn ask(
    core: &mut Core,
    now: Timestamp,
    request: Request,
) -> Result<(Option<OperationId>, Vec<Action>), Refusal> {
    core.now = now;
    let _ = request;
    Err(Refusal { code: "K000".to_owned(), message: "not yet".to_owned() })
}
