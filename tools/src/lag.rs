//! `plimsoll lag`: how far each standby is behind, a line a standby a second.
//!
//! Positions come from pg_stat_replication. Bytes behind are counted from the server's flushed end of WAL to what
//! the standby reports; seconds are those that the server measured, by the standby's replies, for each stage.

use crate::cli::LagArgs;
use anyhow::{Context, Result, anyhow};
use protocol::{Client, ClientError};
use std::fmt;
use std::io::Write as _;
use std::time::Duration;
use wal::Lsn;

/// How far one stage of a standby is behind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    /// The position reached, exclusive; None if the standby has not said.
    pub lsn: Option<Lsn>,
    /// From there to the server's end of WAL.
    pub bytes: u64,
    /// As the server measured it; None while it has no measurement.
    pub seconds: Option<f64>,
}

/// One standby, seen from the server that sends to it.
#[derive(Clone, Debug, PartialEq)]
pub struct StandbyLag {
    /// The standby's application_name.
    pub name: String,
    /// The sender's pid.
    pub pid: String,
    /// startup, catchup, streaming, backup, stopping.
    pub state: String,
    /// async, potential, sync, quorum.
    pub sync_state: String,
    /// The server's own end of WAL.
    pub current: Lsn,
    /// What the server has sent.
    pub sent: Stage,
    /// What the standby has written.
    pub write: Stage,
    /// What the standby has flushed.
    pub flush: Stage,
    /// What the standby has replayed.
    pub replay: Stage,
}

const QUERY: &str = "SELECT application_name, pid, state, sync_state, \
     CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_flush_lsn() END, \
     sent_lsn, write_lsn, flush_lsn, replay_lsn, \
     extract(epoch FROM write_lag), extract(epoch FROM flush_lag), extract(epoch FROM replay_lag) \
     FROM pg_stat_replication ORDER BY application_name, pid";

/// Asks a server about its standbys.
pub async fn query_lag(client: &mut Client) -> Result<Vec<StandbyLag>, ClientError> {
    let found = client.query(QUERY).await?;
    let lag = |row: usize| {
        let text = |column: usize| found.text(row, column).unwrap_or_default().to_owned();
        let lsn = |column: usize| found.text(row, column).and_then(|text| text.parse::<Lsn>().ok());
        let current = lsn(4).unwrap_or_default();
        let stage = |column: usize, seconds: Option<usize>| {
            let reached = lsn(column);
            Stage {
                lsn: reached,
                bytes: reached.map_or(0, |reached| current.bytes_since(reached)),
                seconds: seconds.and_then(|column| found.text(row, column)?.parse().ok()),
            }
        };
        StandbyLag {
            name: text(0),
            pid: text(1),
            state: text(2),
            sync_state: text(3),
            current,
            sent: stage(5, None),
            write: stage(6, Some(9)),
            flush: stage(7, Some(10)),
            replay: stage(8, Some(11)),
        }
    };
    Ok((0..found.rows.len()).map(lag).collect())
}

impl fmt::Display for StandbyLag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} at {}:", self.name, self.state, self.sync_state, self.current)?;
        for (name, stage) in self.stages() {
            let reached = stage.lsn.map_or_else(|| "-".to_owned(), |lsn| lsn.to_string());
            write!(f, "  {name} {reached} -{} B", stage.bytes)?;
            if let Some(seconds) = stage.seconds {
                write!(f, " {seconds:.3} s")?;
            }
        }
        Ok(())
    }
}

impl StandbyLag {
    fn stages(&self) -> [(&'static str, Stage); 4] {
        [("sent", self.sent), ("write", self.write), ("flush", self.flush), ("replay", self.replay)]
    }

    fn json(&self) -> serde_json::Value {
        let mut object = serde_json::json!({
            "application_name": self.name,
            "pid": self.pid.parse::<i64>().ok(),
            "state": self.state,
            "sync_state": self.sync_state,
            "current_lsn": self.current.to_string(),
        });
        for (name, stage) in self.stages() {
            object[name] = serde_json::json!({
                "lsn": stage.lsn.map(|lsn| lsn.to_string()),
                "bytes_behind": stage.bytes,
                "seconds_behind": stage.seconds,
            });
        }
        object
    }
}

/// Runs the command.
pub fn run(arguments: &LagArgs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut client = Client::connect_to(&arguments.conninfo).await.context("could not connect")?;
        let mut looks = 0;
        let mut interval = tokio::time::interval(Duration::from_secs(1));
        while arguments.count.is_none_or(|count| looks < count) {
            interval.tick().await;
            print(&query_lag(&mut client).await?, arguments.json)?;
            looks += 1;
        }
        Ok(())
    })
}

fn print(standbys: &[StandbyLag], json: bool) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let mut line = |text: String| match writeln!(out, "{text}") {
        // The reader of our output has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other.map_err(|error| anyhow!(error)),
    };
    if standbys.is_empty() && !json {
        line("no standby is connected".to_owned())?;
    }
    for standby in standbys {
        line(if json { standby.json().to_string() } else { standby.to_string() })?;
    }
    Ok(())
}
