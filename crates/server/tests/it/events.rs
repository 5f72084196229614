//! The live stream.

use crate::fixture::{Fixture, WITHIN};
use crate::keeper::{register, shop};
use firedrill_api::client::{LiveMessage, TimelineQuery};
use firedrill_api::http::Live;
use firedrill_model::Severity;
use firedrill_model::timeline::{EventKind, Scope};
use futures_util::{Stream, StreamExt};

async fn append(fixture: &Fixture, text: &str) {
    fixture.server().timeline.append(Severity::Info, EventKind::Probe, text, Scope::default()).await;
}

/// The next so many lines of the timeline, with their numbers.
async fn lines<E: std::fmt::Debug>(
    stream: &mut (impl Stream<Item = Result<LiveMessage, E>> + Unpin),
    count: usize,
) -> Vec<(u64, String)> {
    let mut lines = Vec::new();
    while lines.len() < count {
        let message = tokio::time::timeout(WITHIN, stream.next()).await.expect("in time").expect("open").expect("good");
        if let Live::Timeline { event } = message.live {
            assert_eq!(message.sequence, Some(event.sequence));
            lines.push((event.sequence, event.text));
        }
    }
    lines
}

fn after(sequence: u64) -> TimelineQuery {
    TimelineQuery { after: Some(sequence), ..TimelineQuery::default() }
}

#[tokio::test]
async fn a_watcher_that_comes_back_misses_nothing_and_gets_nothing_twice() {
    let fixture = Fixture::new().await;
    let mut first = fixture.client.events(&TimelineQuery::default()).await.expect("a stream");
    append(&fixture, "one").await;
    let seen = lines(&mut first, 1).await;
    assert_eq!(seen[0].1, "one");
    drop(first);
    // More than one page of the store's.
    for number in 0..450 {
        append(&fixture, &format!("missed {number}")).await;
    }
    let mut second = fixture.client.events(&after(seen[0].0)).await.expect("a stream");
    let missed = lines(&mut second, 450).await;
    let expected: Vec<_> = (0..450).map(|number| (seen[0].0 + 1 + number, format!("missed {number}"))).collect();
    assert_eq!(missed, expected);
    append(&fixture, "new").await;
    assert_eq!(lines(&mut second, 1).await[0].1, "new");
}

#[tokio::test]
async fn a_browser_comes_back_with_the_last_event_id() {
    let fixture = Fixture::new().await;
    for text in ["one", "two", "three"] {
        append(&fixture, text).await;
    }
    let all = fixture.client.timeline(&TimelineQuery::default()).await.expect("lines");
    let two = all.iter().find(|line| line.text == "two").expect("there").sequence;
    firedrill_api::client::install_crypto();
    let http = reqwest::Client::builder().tls_certs_only([]).no_proxy().build().expect("a client");
    // The number in the address is that of the page's first load, and older.
    let request = http.get(fixture.http("/api/v1/events?after=0")).header("last-event-id", two.to_string());
    let mut answer = request.send().await.expect("an answer");
    let first = tokio::time::timeout(WITHIN, answer.chunk()).await.expect("in time").expect("good").expect("open");
    let text = String::from_utf8_lossy(&first);
    assert!(text.contains("three") && !text.contains("two"), "{text}");
    assert!(text.contains("event: timeline"), "{text}");
    assert!(text.contains(&format!("id: {}", two + 1)), "{text}");
}

#[tokio::test]
async fn a_stream_can_be_of_one_cluster() {
    let fixture = Fixture::new().await;
    fixture.client.register_cluster(&register()).await.expect("registered");
    let query = TimelineQuery { cluster: Some(shop()), after: Some(0), ..TimelineQuery::default() };
    let mut stream = fixture.client.events(&query).await.expect("a stream");
    // What is true now comes first, so that nobody needs to ask.
    let first = stream.next().await.expect("open").expect("good");
    assert!(matches!(first.live, Live::Cluster { .. }), "{first:?}");
    append(&fixture, "of no cluster").await;
    let scope = Scope { cluster: Some(shop()), ..Scope::default() };
    fixture.server().timeline.append(Severity::Info, EventKind::Probe, "of the shop", scope).await;
    loop {
        let (_, text) = lines(&mut stream, 1).await.remove(0);
        assert_ne!(text, "of no cluster");
        if text == "of the shop" {
            break;
        }
    }
}

#[tokio::test]
async fn an_open_stream_does_not_hold_the_shutdown_up() {
    let mut fixture = Fixture::new().await;
    let mut stream = fixture.client.events(&TimelineQuery::default()).await.expect("a stream");
    let began = std::time::Instant::now();
    fixture.stop().await;
    assert!(began.elapsed() < std::time::Duration::from_secs(3), "{:?}", began.elapsed());
    while let Some(Ok(_)) = stream.next().await {}
}
