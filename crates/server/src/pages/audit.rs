//! The audit log.

use super::frame;
use crate::access::{Acting, audit as log};
use crate::http::Routes;
use crate::problem::Failure;
use crate::server::Server;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use firedrill_console::Place;
use firedrill_console::audit::{self, AuditQuery, Checked, Entry, Log};
use firedrill_store::StoreError;
use futures_util::stream;
use serde::Deserialize;
use std::sync::Arc;

/// Entries on one page.
const ENTRIES: usize = 100;
/// Entries that are looked through for those that are wanted, for one page.
const LOOKED_THROUGH_MAX: u64 = 5000;
/// Entries that are read at once.
const PART: u32 = 1000;

/// The pages of this module.
pub(super) fn router() -> Routes {
    Routes::new().route("/audit", get(list)).route("/audit/check", get(check)).route("/audit/export", get(export))
}

/// `GET /audit`.
async fn list(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Query(query): Query<AuditQuery>,
) -> Result<Html<String>, Failure> {
    let page = look_through(&server, query).await?;
    Ok(Html(audit::page(&frame(&server, &acting, "Audit log", Place::Audit), &page)))
}

/// The newest entries that are wanted. Numbers have no gaps, so that a number says where to read on.
async fn look_through(server: &Server, query: AuditQuery) -> Result<Log, Failure> {
    let newest = server.store.newest_audit(1).await?.last().map_or(0, |row| row.sequence);
    let begin = query.before.map_or(newest, |before| newest.min(before.saturating_sub(1)));
    let (mut at, mut entries) = (begin, Vec::new());
    while at > 0 && begin - at < LOOKED_THROUGH_MAX && entries.len() < ENTRIES {
        let after = at.saturating_sub(u64::from(PART));
        // What was written since the newest was looked up comes behind it and is cut off here.
        let rows = server.store.audit_after(after, PART).await?;
        let before = at;
        at = after;
        for row in rows.into_iter().rev().filter(|row| row.sequence <= before) {
            let entry = Entry::from(log::entry(row));
            if entries.len() == ENTRIES {
                at = entry.sequence;
                break;
            }
            if query.wants(&entry) {
                entries.push(entry);
            }
        }
    }
    let next = (at > 0).then_some(at + 1);
    Ok(Log { entries, query, looked_through: begin - at, next })
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CheckQuery {
    head: String,
}

/// `GET /audit/check`.
async fn check(
    State(server): State<Arc<Server>>,
    acting: Acting,
    Query(query): Query<CheckQuery>,
) -> Result<Html<String>, Failure> {
    let noted = query.head.trim().to_owned();
    let (verified, held) = log::verify_holding(&server, &noted).await?;
    let frame = frame(&server, &acting, "Check of the audit log", Place::Audit);
    Ok(Html(audit::checked(&frame, &Checked { verified, noted, held })))
}

/// `GET /audit/export`: all entries, one JSON object a line, as `firedrill audit verify --file` reads them.
async fn export(State(server): State<Arc<Server>>) -> Response {
    let parts = stream::try_unfold((server, 0), async |(server, after)| {
        let rows = server.store.audit_after(after, PART).await?;
        let Some(last) = rows.last().map(|row| row.sequence) else { return Ok::<_, StoreError>(None) };
        let lines = rows.into_iter().map(|row| {
            // Numbers and texts always have a form in JSON.
            serde_json::to_string(&log::entry(row)).unwrap_or_default() + "\n"
        });
        Ok(Some((Bytes::from(lines.collect::<String>()), (server, last))))
    });
    let headers =
        [(CONTENT_TYPE, "application/x-ndjson"), (CONTENT_DISPOSITION, "attachment; filename=\"audit.jsonl\"")];
    (headers, Body::from_stream(parts)).into_response()
}
