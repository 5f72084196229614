//! Which of several servers that share a store is asked.

use reqwest::Url;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A take-over lasts 5 s at most; with a busy machine on top.
const SEARCH_WITHIN: Duration = Duration::from_secs(10);
/// After all of them were asked in vain.
const ROUND_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Their addresses, and the one that answered last. Clones agree on it.
#[derive(Debug, Clone)]
pub(super) struct Servers {
    bases: Arc<[String]>,
    current: Arc<AtomicUsize>,
}

/// One search for a server that acts.
pub(super) struct Search<'s> {
    servers: &'s Servers,
    until: Instant,
    asked: usize,
}

impl Servers {
    /// At least one.
    pub(super) fn new(bases: Vec<String>) -> Self {
        Self { bases: bases.into(), current: Arc::default() }
    }

    pub(super) fn first(&self) -> &str {
        self.bases.first().map_or("", String::as_str)
    }

    /// Without a slash at the end.
    pub(super) fn current(&self) -> &str {
        self.bases.get(self.current.load(Ordering::Relaxed)).map_or_else(|| self.first(), String::as_str)
    }

    pub(super) fn search(&self) -> Search<'_> {
        Search { servers: self, until: Instant::now() + SEARCH_WITHIN, asked: 0 }
    }

    /// The same call, of the server that is asked now.
    pub(super) fn redirect(&self, url: &mut Url) {
        let Ok(mut there) = Url::parse(self.current()) else { return };
        // What follows the address of a server in a call begins with `/api/`.
        let call = url.path().find("/api/").map_or("/", |at| &url.path()[at..]).to_owned();
        let whole = format!("{}{call}", there.path().trim_end_matches('/'));
        there.set_path(&whole);
        there.set_query(url.query());
        *url = there;
    }
}

impl Search<'_> {
    /// Turns to the next server and says how long to wait before it is asked; `None`: it was looked for long enough, or
    /// there is only one.
    pub(super) fn next(&mut self) -> Option<Duration> {
        let servers = self.servers.bases.len();
        if servers < 2 || Instant::now() > self.until {
            return None;
        }
        self.asked += 1;
        let next = (self.servers.current.load(Ordering::Relaxed) + 1) % servers;
        self.servers.current.store(next, Ordering::Relaxed);
        Some(if self.asked.is_multiple_of(servers) { ROUND_AGAIN_AFTER } else { Duration::ZERO })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_asked_in_turn_with_a_pause_after_each_round() {
        let servers = Servers::new(vec!["http://a:1".into(), "http://b:2/fd".into()]);
        let mut search = servers.search();
        assert_eq!(servers.current(), "http://a:1");
        assert_eq!(search.next(), Some(Duration::ZERO));
        let mut url = Url::parse("http://a:1/api/v1/runs?limit=2").expect("a URL");
        servers.redirect(&mut url);
        assert_eq!(url.as_str(), "http://b:2/fd/api/v1/runs?limit=2");
        assert_eq!(search.next(), Some(ROUND_AGAIN_AFTER));
        servers.redirect(&mut url);
        assert_eq!(url.as_str(), "http://a:1/api/v1/runs?limit=2");
        assert_eq!(Servers::new(vec!["http://a:1".into()]).search().next(), None);
    }
}
