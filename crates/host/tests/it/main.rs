//! The host crate against a real kernel. Needs root; fails loudly without.

mod cgroup;
mod freezer;
mod netns;
mod nft;
mod process;

/// A name that no other test, run or process uses at the same time.
fn unique(stem: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("fdt-{stem}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A named network namespace that goes when dropped.
struct TestNetns(String);

impl TestNetns {
    fn create(stem: &str) -> Self {
        let name = unique(stem);
        firedrill_host::netns::create(&name).expect("these tests need root (CAP_SYS_ADMIN, CAP_NET_ADMIN)");
        Self(name)
    }

    fn path(&self) -> std::path::PathBuf {
        firedrill_host::netns::path(&self.0)
    }
}

impl Drop for TestNetns {
    fn drop(&mut self) {
        if let Err(problem) = firedrill_host::netns::delete(&self.0) {
            assert!(std::thread::panicking(), "{problem}");
        }
    }
}
