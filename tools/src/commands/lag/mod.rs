//! `plimsoll lag`: how far each standby is behind, a line a standby a second.
//!
//! Bytes behind are counted from the server's flushed end of WAL to what the standby reports. A Plimsoll
//! server (plimsoll_stat_lag) says for each stage how long the oldest byte that has not reached it has been
//! there; from a PostgreSQL server come the round trips of pg_stat_replication.

mod watch;

use crate::cli::LagArgs;
use crate::connect::connect;
use crate::output::{self, say};
use anyhow::{Context, Result};
use protocol::{Client, ClientError};
use std::fmt;
use std::time::Duration;
use wal::Lsn;

/// How far one stage of a standby is behind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    /// The position reached, exclusive; None if the standby has not said.
    pub lsn: Option<Lsn>,
    /// From there to the server's end of WAL.
    pub bytes: u64,
    /// As the server measures it; None while it has no measurement.
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
    /// It is no standby but a copy in the making: a backup, or a clone.
    pub copying: bool,
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
    /// The stage that costs most time; None if the server does not say, or there is none.
    pub slowest: Option<String>,
    /// Seconds until the standby has caught up if it goes on like this; None if never, or if the server does
    /// not say.
    pub catch_up: Option<f64>,
}

const QUERY: &str = "SELECT application_name, pid, state, sync_state, current_lsn, sent_lsn, write_lsn, flush_lsn, replay_lsn, \
     write_seconds, flush_seconds, replay_seconds, slowest, catch_up_seconds, sent_seconds, copying \
     FROM plimsoll_stat_lag ORDER BY application_name, pid";

/// The same of a PostgreSQL server, whose backups read their log through a temporary slot.
const POSTGRESQL_QUERY: &str = "SELECT application_name, pid, state, sync_state, \
     CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_flush_lsn() END, \
     sent_lsn, write_lsn, flush_lsn, replay_lsn, \
     extract(epoch FROM write_lag), extract(epoch FROM flush_lag), extract(epoch FROM replay_lag), NULL, NULL, NULL, \
     state = 'backup' OR replay_lsn IS NULL AND pid IN (SELECT active_pid FROM pg_replication_slots WHERE temporary) \
     FROM pg_stat_replication ORDER BY application_name, pid";

/// Asks a server about its standbys.
pub async fn query_lag(client: &mut Client) -> Result<Vec<StandbyLag>, ClientError> {
    let found = match client.query(QUERY).await {
        Err(error) if error.code().is_some_and(|code| code.as_str() == "42P01") => {
            client.query(POSTGRESQL_QUERY).await?
        }
        other => other?,
    };
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
            copying: text(15) == "t",
            current,
            sent: stage(5, Some(14)),
            write: stage(6, Some(9)),
            flush: stage(7, Some(10)),
            replay: stage(8, Some(11)),
            slowest: found.text(row, 12).map(str::to_owned),
            catch_up: found.text(row, 13).and_then(|text| text.parse().ok()),
        }
    };
    Ok((0..found.rows.len()).map(lag).collect())
}

impl fmt::Display for StandbyLag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let copying = if self.copying { " copying" } else { "" };
        write!(f, "{} {} {}{copying} at {}:", self.name, self.state, self.sync_state, self.current)?;
        for (name, stage) in self.stages() {
            let reached = stage.lsn.map_or_else(|| "-".to_owned(), |lsn| lsn.to_string());
            write!(f, "  {name} {reached} -{} B", stage.bytes)?;
            if let Some(seconds) = stage.seconds {
                write!(f, " {seconds:.3} s")?;
            }
        }
        if let Some(slowest) = &self.slowest {
            write!(f, "  slowest {slowest}")?;
            match self.catch_up {
                Some(seconds) => write!(f, ", caught up in {seconds:.1} s")?,
                None => write!(f, ", not catching up")?,
            }
        }
        Ok(())
    }
}

impl StandbyLag {
    /// Whether it replays what it gets.
    fn is_standby(&self) -> bool {
        self.replay.lsn.is_some() && !self.copying
    }

    /// Where the log ends its way: a receiver that replays nothing only writes it.
    fn last_stage(&self) -> Stage {
        if self.replay.lsn.is_some() { self.replay } else { self.write }
    }

    fn stages(&self) -> [(&'static str, Stage); 4] {
        [("sent", self.sent), ("write", self.write), ("flush", self.flush), ("replay", self.replay)]
    }

    fn json(&self) -> serde_json::Value {
        let mut object = serde_json::json!({
            "application_name": self.name,
            "pid": self.pid.parse::<i64>().ok(),
            "state": self.state,
            "sync_state": self.sync_state,
            "copying": self.copying,
            "current_lsn": self.current.to_string(),
            "slowest": self.slowest,
            "catch_up_seconds": self.catch_up,
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

/// The exit code of a standby that is further behind than allowed.
const TOO_FAR: u8 = 2;
/// The exit code if there is no standby at the last look, and no limit that says what that means.
const NO_STANDBY: u8 = 3;

/// How far behind replay on a standby may be.
#[derive(Clone, Copy, Debug, Default)]
struct Limits {
    max_seconds: Option<f64>,
    max_bytes: Option<u64>,
}

impl Limits {
    /// Whether there is one.
    fn any(&self) -> bool {
        self.max_seconds.is_some() || self.max_bytes.is_some()
    }

    /// Whether one keeps within the limits. One that has not reported anything is as far behind as can be; a
    /// copy in the making has none.
    fn near(&self, one: &StandbyLag) -> bool {
        let Stage { lsn, bytes, seconds } = one.last_stage();
        !self.any()
            || one.copying
            || lsn.is_some()
                && self.max_bytes.is_none_or(|limit| bytes <= limit)
                && self.max_seconds.is_none_or(|limit| seconds.unwrap_or(0.0) <= limit)
    }

    /// Whether all keep within the limits, and there is a standby among them.
    fn hold<'a>(&self, mut all: impl Iterator<Item = &'a StandbyLag> + Clone) -> bool {
        !self.any() || (all.clone().any(StandbyLag::is_standby) && all.all(|one| self.near(one)))
    }
}

/// Runs the command; gives the exit code.
pub fn run(arguments: &LagArgs) -> Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let limits = Limits { max_seconds: arguments.max_seconds, max_bytes: arguments.max_bytes };
    if arguments.watch {
        return watch::run(&runtime, &arguments.conninfo, limits, arguments.count);
    }
    runtime.block_on(async {
        let mut client = connect(&arguments.conninfo).await.context("could not connect")?;
        let (mut looks, mut is_alone) = (0, false);
        let mut interval = tokio::time::interval(Duration::from_secs(1));
        while arguments.count.is_none_or(|count| looks < count) && !output::is_over() {
            interval.tick().await;
            let standbys = query_lag(&mut client).await?;
            is_alone = standbys.iter().all(|standby| standby.copying);
            print(&standbys, is_alone, arguments.json);
            if !limits.hold(standbys.iter()) {
                return Ok(TOO_FAR);
            }
            looks += 1;
        }
        Ok(if is_alone && !limits.any() { NO_STANDBY } else { 0 })
    })
}

fn print(standbys: &[StandbyLag], is_alone: bool, json: bool) {
    match (is_alone, json) {
        (true, true) => say!("{}", serde_json::json!({ "standbys": 0 })),
        (true, false) => say!("no standby is connected"),
        (false, _) => {}
    }
    for standby in standbys {
        if json {
            say!("{}", standby.json());
        } else {
            say!("{standby}");
        }
    }
}
