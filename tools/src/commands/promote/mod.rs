//! `plimsoll promote`: a standby becomes the primary of a new timeline. With its options it says first what
//! that would lose, refuses if it may lose something, or finds the standby that has the most log.

mod report;

use super::check_data_directory;
use crate::cli::PromoteArgs;
use crate::connect::{connect, of_directory};
use crate::output::{complain, say};
use crate::programs::pg_ctl;
use anyhow::{Context, Result, anyhow, bail};
use protocol::Client;
use protocol::conninfo::{join, split};
use report::{Line, Report};
use std::path::Path;
use std::time::Duration;
use wal::TimelineId;

/// Runs the command; gives the exit code.
pub fn run(arguments: &PromoteArgs) -> Result<u8> {
    if let (None, Some(data)) = (&arguments.dbname, &arguments.data) {
        check_data_directory(data)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asks = arguments.explain || arguments.require_no_loss || arguments.best;
    if asks && !runtime.block_on(asked(arguments))? {
        return Ok(1);
    }
    match (&arguments.dbname, &arguments.data) {
        _ if arguments.explain || arguments.best => {}
        (None, Some(data)) => of_folder(data, arguments.timeout)?,
        (Some(conninfo), _) => runtime.block_on(async {
            let mut standby = connect(conninfo).await.context("could not connect to the standby")?;
            promote(&mut standby, arguments.timeout).await
        })?,
        (None, None) => bail!("name the standby with -D or -d"),
    }
    Ok(0)
}

/// Promotes the server of a data directory and waits until it accepts writes.
fn of_folder(data: &Path, timeout_s: u64) -> Result<()> {
    pg_ctl::promote(data, Some(Duration::from_secs(timeout_s)), || {})?;
    let timeline = std::fs::read_dir(data.join("pg_wal"))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| TimelineId::parse_history_file_name(&name))
        .max()
        .ok_or_else(|| anyhow!("the server was promoted but left no history file in pg_wal"))?;
    say!("server promoted: timeline {timeline}");
    Ok(())
}

/// Promotes a server over a connection.
async fn promote(standby: &mut Client, timeout_s: u64) -> Result<()> {
    let answer = standby.query(&format!("SELECT pg_promote(true, {timeout_s})")).await?;
    if answer.text(0, 0) != Some("t") {
        bail!("server did not promote in time");
    }
    let answer = standby.query("SELECT pg_walfile_name(pg_current_wal_lsn())").await?;
    let number = answer.text(0, 0).and_then(|file| u32::from_str_radix(file.get(..8)?, 16).ok());
    match number.map(TimelineId::new) {
        Some(timeline) => say!("server promoted: timeline {timeline}"),
        None => say!("server promoted"),
    }
    Ok(())
}

/// Asks for the report and does with it what the options say. False: that refuses to go on.
async fn asked(arguments: &PromoteArgs) -> Result<bool> {
    let conninfo = match (&arguments.dbname, &arguments.data) {
        (Some(conninfo), _) => conninfo.clone(),
        (None, Some(data)) => of_directory(data)?,
        (None, None) => bail!("name the standby with -D or -d"),
    };
    let mut server = connect(&conninfo).await.context("could not connect to the standby")?;
    let report = Report::ask(&mut server).await?;
    if arguments.explain {
        if arguments.json { report.say_json() } else { report.say() }
    }
    let line = if arguments.best { report.best()? } else { report.asked()? };
    if arguments.best {
        say!("{} has the most log: {}", line.place(), line.verdict());
    }
    if arguments.require_no_loss && line.may_lose() {
        complain!("plimsoll: error: nobody was promoted: {} ({})", line.verdict(), line.reason());
        return Ok(false);
    }
    if arguments.best && arguments.yes {
        promote_best(&conninfo, &mut server, line, arguments.timeout).await?;
    }
    Ok(true)
}

/// Promotes the standby that has the most log: the one that was asked, or another one, reached as that one
/// was.
async fn promote_best(conninfo: &str, asked: &mut Client, line: &Line, timeout_s: u64) -> Result<()> {
    let Some(address) = line.address() else { return promote(asked, timeout_s).await };
    let is_place = |name: &str| matches!(name, "host" | "hostaddr" | "port");
    let mut pairs = split(conninfo)?;
    pairs.retain(|(name, _)| !is_place(name));
    pairs.extend(split(address)?);
    let pairs = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let other = join(pairs);
    let mut other =
        connect(&other).await.with_context(|| format!("could not connect to {}", line.place()))?;
    promote(&mut other, timeout_s).await
}
