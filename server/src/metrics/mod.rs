//! Prometheus text on plimsoll.metrics_listen: GET /metrics, and nothing else of HTTP.
//!
//! A scrape costs what the views cost. Connections are bounded in number, in what they may send and in time;
//! the port takes no secrets and gives none, but it asks for no password either: it belongs on a network that
//! may see figures.

pub(crate) mod table;

use crate::archive::Archive;
use crate::configuration::Ground;
use crate::connection::lobby::Lobby;
use crate::connection::registry::Sessions;
use crate::node::Node;
use crate::replication::Replication;
use host::net::{TcpListener, TcpStream};
use host::task::task;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Scrapes at a time; the oldest gives way to a newer one.
const SCRAPES_MAX: usize = 16;
/// Bytes of a request.
const REQUEST_BYTES_MAX: usize = 8 << 10;
/// Time for a scrape.
const SCRAPE_TIME: Duration = Duration::from_secs(10);

/// What a scrape looks at.
#[derive(Clone)]
struct Shown {
    ground: Arc<Ground>,
    sessions: Arc<Sessions>,
    archive: Arc<Archive>,
    replication: Arc<Replication>,
}

/// Listens if the settings say so. A port that cannot be had is a warning: the server is there for its
/// clients.
pub(crate) async fn start(node: &Arc<Node>) {
    let address = node.ground.config().metrics_listen.trim().to_owned();
    if address.is_empty() {
        return;
    }
    let listener = match TcpListener::bind(&address).await {
        Ok(listener) => listener,
        Err(error) => {
            return node
                .ground
                .log
                .warning(format!("could not listen on plimsoll.metrics_listen \"{address}\": {error}"));
        }
    };
    node.ground.log.log(format!("metrics are served on http://{address}/metrics"));
    let Some(replication) = node.replication() else { return };
    let shown = Shown {
        ground: node.ground.clone(),
        sessions: node.sessions.clone(),
        archive: node.archive.clone(),
        replication: replication.clone(),
    };
    let (tasks, end) = (&node.tasks, node.tasks.background.clone());
    tasks.tracker.spawn(task(async move {
        tokio::select! {
            biased;
            () = end.cancelled() => {}
            () = accept(shown, listener) => {}
        }
    }));
}

async fn accept(shown: Shown, listener: TcpListener) {
    let lobby = Lobby::new(SCRAPES_MAX);
    let mut scrapes = tokio::task::JoinSet::new();
    loop {
        while scrapes.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let (shown, visitor) = (shown.clone(), lobby.enter());
                scrapes.spawn(task(async move {
                    // Who is too slow, or has gone, gets nothing.
                    tokio::select! {
                        biased;
                        () = visitor.shown_out() => {}
                        _ = answer(&shown, stream) => {}
                        () = tokio::time::sleep(SCRAPE_TIME) => {}
                    }
                }));
            }
            Err(error) => {
                shown.ground.log.warning(format!("could not accept a connection for metrics: {error}"));
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn answer(shown: &Shown, mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut piece = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut piece).await?;
        request.extend_from_slice(piece.get(..read).unwrap_or_default());
        if read == 0 || request.len() > REQUEST_BYTES_MAX {
            return Ok(());
        }
    }
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let (status, body) = match (words.next(), words.next()) {
        (Some(b"GET"), Some(b"/metrics")) => ("200 OK", table::text(shown)),
        (Some(b"GET"), _) => ("404 Not Found", "the metrics are at /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", "only GET is known\n".to_owned()),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}
