//! Work done side by side, none of which goes on once its result is known.

use tokio::task::JoinSet;

/// What all tasks answered, in the order of their ends, or the first failure, after every task has ended: what a
/// teardown removes must not be made once more behind its back by a task that nobody waits for.
///
/// # Errors
/// The first failure.
///
/// # Panics
/// When a task did.
pub(crate) async fn all<T: 'static, E: 'static>(mut tasks: JoinSet<Result<T, E>>) -> Result<Vec<T>, E> {
    let mut results = Vec::with_capacity(tasks.len());
    while let Some(ended) = tasks.join_next().await {
        results.push(ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())));
    }
    results.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    #[tokio::test]
    async fn a_failure_is_told_when_the_others_have_ended() {
        static ENDED: AtomicBool = AtomicBool::new(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(async { Err("failed") });
        tasks.spawn_blocking(|| {
            std::thread::sleep(Duration::from_millis(50));
            ENDED.store(true, Ordering::SeqCst);
            Ok(())
        });
        assert_eq!(all(tasks).await, Err("failed"));
        assert!(ENDED.load(Ordering::SeqCst));
    }
}
