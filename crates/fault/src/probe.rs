//! Measuring a path by TCP handshakes that are begun and thrown away. A refusal is an answer, too: a closed port on a
//! live host measures as well as an open one, and disturbs nobody.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// A port that is closed nearly everywhere (tcpmux). Open ones are not used unless told: a database counts, and after
/// a hundred refuses, handshakes that break off.
pub(crate) const CLOSED_PORT: u16 = 1;

/// Most hosts probed: enough to say that a fault landed.
pub(crate) const TARGETS_MAX: usize = 8;

/// The time until an answer, of each target; `None` where none came within the bound. All at once.
pub(crate) async fn round_trips(targets: &[SocketAddr], within: Duration) -> Vec<Option<Duration>> {
    let mut pending = JoinSet::new();
    for (place, target) in targets.iter().copied().enumerate() {
        pending.spawn(async move { (place, round_trip(target, within).await) });
    }
    let mut answers = vec![None; targets.len()];
    while let Some(done) = pending.join_next().await {
        if let Ok((place, answer)) = done {
            answers[place] = answer;
        }
    }
    answers
}

async fn round_trip(target: SocketAddr, within: Duration) -> Option<Duration> {
    let began = Instant::now();
    let answer = tokio::time::timeout(within, TcpStream::connect(target)).await.ok()?;
    match answer {
        Ok(stream) => {
            let took = began.elapsed();
            // A reset instead of a goodbye: nothing waits in TIME_WAIT.
            let _no_matter = stream.set_zero_linger();
            Some(took)
        }
        Err(problem) if problem.kind() == std::io::ErrorKind::ConnectionRefused => Some(began.elapsed()),
        Err(_) => None,
    }
}

/// The middle of the values; `None` of none.
pub(crate) fn median(values: &[Duration]) -> Option<Duration> {
    let mut sorted = values.to_vec();
    sorted.sort();
    sorted.get(sorted.len() / 2).copied()
}

/// Addresses that this host has exchanged packets with lately: the neighbours of its links.
pub(crate) fn neighbours() -> Vec<IpAddr> {
    let table = std::fs::read_to_string("/proc/thread-self/net/arp").unwrap_or_default();
    parse_neighbours(&table)
}

/// `address  type  flags  …`; flag 2 is a resolved address.
fn parse_neighbours(table: &str) -> Vec<IpAddr> {
    let resolved = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.next()?.parse().ok()?;
        let flags = u32::from_str_radix(words.nth(1)?.strip_prefix("0x")?, 16).ok()?;
        (flags & 2 != 0).then_some(address)
    };
    table.lines().skip(1).filter_map(resolved).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolved_neighbours_are_read() {
        let table = "IP address       HW type     Flags       HW address            Mask     Device\n\
                     10.0.0.2         0x1         0x2         aa:bb:cc:dd:ee:ff     *        eth0\n\
                     10.0.0.9         0x1         0x0         00:00:00:00:00:00     *        eth0\n";
        assert_eq!(parse_neighbours(table), ["10.0.0.2".parse::<IpAddr>().expect("address")]);
    }

    #[test]
    fn the_median_is_of_the_sorted_values() {
        let millis = |values: &[u64]| values.iter().map(|v| Duration::from_millis(*v)).collect::<Vec<_>>();
        assert_eq!(median(&millis(&[30, 10, 20])), Some(Duration::from_millis(20)));
        assert_eq!(median(&[]), None);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn open_and_closed_ports_answer() {
        let open = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let targets = [open.local_addr().expect("bound"), SocketAddr::from(([127, 0, 0, 1], CLOSED_PORT))];
        let answers = round_trips(&targets, Duration::from_secs(2)).await;
        assert!(answers.iter().all(Option::is_some), "{answers:?}");
    }
}
