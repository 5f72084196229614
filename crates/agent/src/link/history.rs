//! Sends the recorded history of a run: over a connection of its own, so that a long upload delays no report.

use super::connection::{Connection, LinkError, Server};
use bytes::Bytes;
use firedrill_model::RunId;
use futures_util::{Stream, TryStreamExt};
use http_body_util::StreamBody;
use hyper::Request;
use hyper::body::Frame;
use rustls::ClientConfig;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::io::ReaderStream;

/// Bytes read at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// An upload may take this long and a second more for each [`SLOWEST_BYTES_PER_SECOND`].
const UPLOAD_WITHIN: Duration = Duration::from_secs(30);
/// A link slower than this is as good as broken for a history (a run of 5 minutes makes about 20 MiB).
const SLOWEST_BYTES_PER_SECOND: u64 = 256 * 1024;

type Chunks = Pin<Box<dyn Stream<Item = io::Result<Frame<Bytes>>> + Send>>;

/// Streams the file at `path` as the history of `run`.
pub(crate) async fn upload(
    server: &Server,
    tls: &Arc<ClientConfig>,
    run: &RunId,
    path: &Path,
) -> Result<(), LinkError> {
    const DOING: &str = "sending the history";
    let open = async {
        let file = tokio::fs::File::open(path).await?;
        let bytes = file.metadata().await?.len();
        Ok::<_, io::Error>((file, bytes))
    };
    let (file, bytes) = open.await.map_err(|error| LinkError::broken(DOING, error))?;
    let within = UPLOAD_WITHIN + Duration::from_secs(bytes / SLOWEST_BYTES_PER_SECOND);
    let send = async {
        let mut connection: Connection<StreamBody<Chunks>> = Connection::open(server, tls).await?;
        let chunks: Chunks = Box::pin(ReaderStream::with_capacity(file, CHUNK_BYTES).map_ok(Frame::data));
        let request = Request::put(format!("/link/v1/history/{}", path_segment(run)))
            .header(hyper::header::CONTENT_TYPE, "application/octet-stream");
        connection.send(DOING, request, StreamBody::new(chunks)).await
    };
    timeout(within, send).await.map_err(|_| LinkError::TimedOut { doing: DOING, within })?.map(|_answer| ())
}

/// A run's id as one segment of a path: everything but letters, digits, `-`, `_` and `.` is percent-encoded.
fn path_segment(run: &RunId) -> String {
    let mut segment = String::with_capacity(run.0.len());
    for byte in run.0.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            segment.push(char::from(byte));
        } else {
            segment.push_str(&format!("%{byte:02X}"));
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_leave_its_segment() {
        assert_eq!(path_segment(&RunId("0197-ab_c.1".to_owned())), "0197-ab_c.1");
        assert_eq!(path_segment(&RunId("a/b?c".to_owned())), "a%2Fb%3Fc");
    }
}
