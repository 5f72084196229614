//! Clusters that are short of a node without a drill. No event says so: it is what lasts that matters.

use super::drill;
use super::observe::Looked;
use crate::Server;
use firedrill_model::message::Topic;
use firedrill_model::timeline::{EventKind, Scope};
use firedrill_model::{ClusterView, Severity, Span, TimelineEvent, Timestamp};
use firedrill_store::StoreError;

/// A replica lags for a moment, a clone of a small node is done: people are told of what lasts longer.
const SHORT_FOR: Span = Span::secs(60);

/// Tells of clusters that are not whole for a while, and of those that are whole again.
pub(super) async fn look(server: &Server, looked: &mut Looked, now: Timestamp) -> Result<(), StoreError> {
    if looked.troubles.is_none() {
        looked.troubles = Some(server.store.troubles().await?.into_iter().collect());
    }
    for view in server.keepers.views() {
        let key = format!("redundancy/{}", view.cluster);
        let told = looked.troubles.iter().any(|troubles| troubles.contains(&key));
        if view.fully_redundant {
            looked.short_since.remove(&view.cluster);
            if told {
                let text = format!("cluster {} is fully redundant again", view.cluster);
                let event = line(&view, Severity::Info, Topic::RedundancyRestored, text, now);
                tell(server, server.store.end_trouble(&key, &event).await?);
                if let Some(troubles) = &mut looked.troubles {
                    troubles.remove(&key);
                }
            }
            continue;
        }
        let since = *looked.short_since.entry(view.cluster.clone()).or_insert(now);
        if told || now.since(since) < SHORT_FOR {
            continue;
        }
        let why =
            if view.problems.is_empty() { "a node is missing or behind".to_owned() } else { view.problems.join("; ") };
        let text = format!("cluster {} has not been fully redundant for {}: {why}", view.cluster, now.since(since));
        let event = line(&view, Severity::Warning, Topic::RedundancyLost, text, now);
        if !drill::explains(server, &event).await? {
            tell(server, server.store.begin_trouble(&key, &event).await?);
            if let Some(troubles) = &mut looked.troubles {
                troubles.insert(key);
            }
        }
    }
    Ok(())
}

fn line(view: &ClusterView, severity: Severity, topic: Topic, text: String, at: Timestamp) -> TimelineEvent {
    let scope = Scope { cluster: Some(view.cluster.clone()), about: Some(topic), ..Scope::default() };
    TimelineEvent { sequence: 0, at, severity, kind: EventKind::Health, text, scope }
}

fn tell(server: &Server, stored: Option<TimelineEvent>) {
    if let Some(event) = stored {
        server.timeline.stored(event);
    }
}
