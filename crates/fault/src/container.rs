//! Which container a fault means, and what became of it meanwhile.

use crate::kinds::Refusal;
use firedrill_host::container::{self, Container};
use firedrill_host::controller::{Controller, Membership};

/// Says whether a container that is under attack still runs; when not, why, and whether it has been started again. What
/// has been started again is another one: the attack does not follow it.
pub(crate) fn still_runs(container: &Container) -> Result<(), String> {
    if container.init.alive() {
        return Ok(());
    }
    let name = container.names.first().unwrap_or(&container.id);
    let again = container::find(name).ok().filter(|other| other.init != container.init);
    Err(match again {
        Some(other) => format!(
            "the container {} has ended and was started again as {} (process {}), which is not under attack",
            container.title(),
            other.title(),
            other.init.pid
        ),
        None => format!("the container {} has ended", container.title()),
    })
}

/// Its group in the hierarchy of a controller; an error says that there is none, or that it is nobody's own.
pub(crate) fn membership(container: &Container, controller: Controller) -> Result<Option<Membership>, Refusal> {
    let member = container.membership(controller)?;
    if member.as_ref().is_some_and(Membership::is_root) {
        let name = container.title();
        return Err(Refusal(format!("the container {name} is in no cgroup of its own, by which it could be limited")));
    }
    Ok(member)
}
