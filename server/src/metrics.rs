//! Prometheus text on plimsoll.metrics_listen: GET /metrics, and nothing else of HTTP.
//!
//! A scrape costs what the views cost. Connections are bounded in number, in what they may send and in time; the port takes no
//! secrets and gives none, but it asks for no password either: it belongs on a network that may see figures.

use crate::connection::lobby::Lobby;
use crate::connection::registry::{Activity, SessionKind};
use crate::node::Node;
use crate::replication::Replication;
use std::fmt::{Display, Write as _};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Scrapes at a time; the oldest gives way to a newer one.
const SCRAPES_MAX: usize = 16;
/// Bytes of a request.
const REQUEST_BYTES_MAX: usize = 8 << 10;
/// Time for a scrape.
const SCRAPE_TIME: Duration = Duration::from_secs(10);

/// Listens if the settings say so. A port that cannot be had is a warning: the server is there for its clients.
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
    let (tasks, end) = (&node.tasks, node.tasks.background.clone());
    let node = node.clone();
    tasks.tracker.spawn(async move {
        tokio::select! {
            () = end.cancelled() => {}
            () = accept(node, listener) => {}
        }
    });
}

async fn accept(node: Arc<Node>, listener: TcpListener) {
    let lobby = Lobby::new(SCRAPES_MAX);
    let mut scrapes = tokio::task::JoinSet::new();
    loop {
        while scrapes.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let (node, visitor) = (node.clone(), lobby.enter());
                scrapes.spawn(async move {
                    // Who is too slow, or has gone, gets nothing.
                    tokio::select! {
                        _ = answer(&node, stream) => {}
                        () = visitor.shown_out() => {}
                        () = tokio::time::sleep(SCRAPE_TIME) => {}
                    }
                });
            }
            Err(error) => {
                node.ground.log.warning(format!("could not accept a connection for metrics: {error}"));
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn answer(node: &Arc<Node>, mut stream: TcpStream) -> std::io::Result<()> {
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
        (Some(b"GET"), Some(b"/metrics")) => ("200 OK", text(node)),
        (Some(b"GET"), _) => ("404 Not Found", "the metrics are at /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", "only GET is known\n".to_owned()),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

/// Metrics as Prometheus reads them.
#[derive(Default)]
struct Text(String);

impl Text {
    /// Begins a metric: all its samples follow.
    fn metric(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "# HELP plimsoll_{name} {help}\n# TYPE plimsoll_{name} {kind}");
    }
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.0, "plimsoll_{name}");
        for (at, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{label}=\"{text}\"", if at == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
    fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.metric(name, kind, help);
        self.sample(name, &[], value);
    }
}

fn text(node: &Arc<Node>) -> String {
    let mut out = Text::default();
    let (Some(database), Some(replication)) = (node.database(), node.replication()) else { return out.0 };
    let standby = database.is_in_recovery();
    out.single("in_recovery", "gauge", "1 on a standby, 0 on a primary.", u8::from(standby));
    out.single("timeline", "gauge", "The timeline that is written or replayed.", database.timeline());
    let end = match database.positions() {
        Some(positions) => {
            for (name, help, at) in [
                (
                    "wal_inserted_bytes_total",
                    "End of the log, in bytes from its beginning.",
                    positions.inserted(),
                ),
                ("wal_written_bytes_total", "Log handed to the kernel.", positions.written()),
                ("wal_flushed_bytes_total", "Log that is durable here.", positions.flushed()),
                ("wal_visible_bytes_total", "Log whose commits are visible.", database.visible()),
            ] {
                out.single(name, "counter", help, at.get());
            }
            positions.flushed()
        }
        None => {
            let received = node.received();
            out.single(
                "wal_received_bytes_total",
                "counter",
                "Log received and durable here.",
                received.get(),
            );
            out.single(
                "wal_replayed_bytes_total",
                "counter",
                "Log replayed here.",
                database.replayed().get(),
            );
            received
        }
    };
    sessions(node, &mut out);
    let counts = replication.semi_sync.counts();
    let suspended = database.commit_gate().suspended();
    out.single(
        "sync_suspended",
        "gauge",
        "1 while commits do not wait for all that is set.",
        u8::from(suspended.is_some()),
    );
    out.metric("sync_suspended_level", "gauge", "The level of synchronous_commit that is not waited for.");
    if let Some(level) = suspended {
        out.sample("sync_suspended_level", &[("level", level.name())], 1);
    }
    out.single(
        "sync_fallbacks_total",
        "counter",
        "Fallbacks by plimsoll.synchronous_timeout since the start.",
        counts.fallbacks,
    );
    out.single("sync_returns_total", "counter", "Returns from them.", counts.returns);
    standbys(&replication.senders.rows(end, node.ground.host.clock.now()), &mut out);
    slots(node, replication, &mut out);
    if let Some(archiver) = node.archive.archiver() {
        let stats = archiver.stats();
        out.single("archived_segments_total", "counter", "Segments archived.", stats.archived);
        out.single(
            "archive_failures_total",
            "counter",
            "Tries of archive_command that failed.",
            stats.failed,
        );
    }
    out.0
}

fn sessions(node: &Node, out: &mut Text) {
    out.metric("sessions", "gauge", "Client sessions by state.");
    let sessions = node.sessions.list();
    for (state, name) in [
        (Activity::Active, "active"),
        (Activity::Idle, "idle"),
        (Activity::IdleInTransaction, "idle in transaction"),
        (Activity::IdleInFailedTransaction, "idle in transaction (aborted)"),
    ] {
        let has = |session: &&Arc<crate::connection::registry::SessionHandle>| {
            session.kind == SessionKind::Client && session.activity() == state
        };
        out.sample("sessions", &[("state", name)], sessions.iter().filter(has).count());
    }
}

fn standbys(rows: &[::replica::sender::streams::SenderRow], out: &mut Text) {
    out.metric("standby_lag_bytes", "gauge", "Log that has not reached a stage of a standby.");
    for row in rows {
        for (stage, lag) in stages(row) {
            out.sample(
                "standby_lag_bytes",
                &[("standby", &row.info.application_name), ("stage", stage)],
                lag.bytes,
            );
        }
    }
    out.metric(
        "standby_lag_seconds",
        "gauge",
        "Age of the oldest log that has not reached a stage of a standby.",
    );
    for row in rows {
        for (stage, lag) in stages(row) {
            let labels = [("standby", row.info.application_name.as_str()), ("stage", stage)];
            out.sample("standby_lag_seconds", &labels, lag.age.as_secs_f64());
        }
    }
    out.metric("standby_silent_seconds", "gauge", "Time since a standby's last report.");
    for row in rows {
        let labels = [("standby", row.info.application_name.as_str()), ("sync_state", row.sync_state.name())];
        out.sample("standby_silent_seconds", &labels, row.lag.silent.as_secs_f64());
    }
    out.metric(
        "standby_catch_up_seconds",
        "gauge",
        "Time until a standby has replayed everything at its present pace; +Inf if never.",
    );
    for row in rows {
        let forecast = row.catch_up.map_or_else(|| "+Inf".to_owned(), |time| time.as_secs_f64().to_string());
        out.sample("standby_catch_up_seconds", &[("standby", &row.info.application_name)], forecast);
    }
}

fn stages(row: &::replica::sender::streams::SenderRow) -> [(&'static str, ::replica::lag::StageLag); 4] {
    let lag = row.lag;
    [("sent", lag.sent), ("written", lag.written), ("flushed", lag.flushed), ("replayed", lag.replayed)]
}

fn slots(node: &Node, replication: &Replication, out: &mut Text) {
    let limits = replication.limits();
    let slots = replication.slots.list();
    out.metric("slot_retained_bytes", "gauge", "Log that a slot keeps.");
    for slot in slots.iter().filter(|slot| slot.restart.is_valid()) {
        let kept = limits.end.bytes_since(slot.restart);
        out.sample("slot_retained_bytes", &[("slot", &slot.name)], kept);
    }
    out.metric(
        "slot_lost_in_seconds",
        "gauge",
        "Time until a slot loses its log to a setting, as things go; +Inf if never.",
    );
    let (idle_limit, now) =
        (node.ground.config().idle_replication_slot_timeout, node.ground.host.clock.monotonic());
    for slot in slots.iter().filter(|slot| slot.restart.is_valid()) {
        let lost = crate::views::slots::forecast(slot, &limits, idle_limit, now);
        let left = lost.map_or_else(|| "+Inf".to_owned(), |(left, _)| left.as_secs_f64().to_string());
        out.sample("slot_lost_in_seconds", &[("slot", &slot.name)], left);
    }
    out.metric("slots_lost_total", "counter", "Slots invalidated since the start.");
    out.sample("slots_lost_total", &[], replication.slots_lost.load(std::sync::atomic::Ordering::Relaxed));
    out.metric("slot_lost", "gauge", "1 for a slot whose log was removed.");
    for slot in &slots {
        out.sample("slot_lost", &[("slot", &slot.name)], u8::from(slot.invalidated_at.is_valid()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_quoted_as_prometheus_reads_them() {
        let mut out = Text::default();
        out.single("up", "gauge", "Up.", 1);
        out.sample("lag", &[("standby", "a\"b\\c\nd"), ("stage", "sent")], 0.5);
        let lines: Vec<&str> = out.0.lines().collect();
        assert_eq!(lines[..3], ["# HELP plimsoll_up Up.", "# TYPE plimsoll_up gauge", "plimsoll_up 1"]);
        assert_eq!(lines[3], r#"plimsoll_lag{standby="a\"b\\c\nd",stage="sent"} 0.5"#);
    }
}
