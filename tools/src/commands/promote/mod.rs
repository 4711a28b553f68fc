//! `plimsoll promote`: a standby becomes the primary of a new timeline. With its options it says first what
//! that would lose, refuses if it may lose something, or finds the standby that has the most log.

mod report;

use super::check_data_directory;
use crate::cli::PromoteArgs;
use crate::connect::{connect, leading_there, of_directory};
use crate::identity::Identity;
use crate::output::{complain, say};
use crate::programs::pg_ctl;
use anyhow::{Context, Result, anyhow, bail};
use protocol::Client;
use protocol::conninfo::{join, split};
use report::{Line, Report};
use std::path::Path;
use std::time::Duration;
use wal::{Lsn, TimelineId};

/// Runs the command; gives the exit code.
pub fn run(arguments: &PromoteArgs) -> Result<u8> {
    let asks = arguments.explain || arguments.require_no_loss || arguments.best;
    let (conninfo, folder) = match (&arguments.dbname, &arguments.data) {
        (Some(conninfo), _) => (conninfo.clone(), None),
        (None, Some(data)) => {
            check_data_directory(data)?;
            if !asks {
                return of_folder(data, arguments.timeout).map(|()| 0);
            }
            (of_directory(data)?, Some(data))
        }
        (None, None) => bail!("name the standby with -D or -d"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Of several hosts another connection may reach another one, of which the report says nothing.
    let connected = runtime.block_on(connect(&conninfo));
    let mut standby = connected.context("could not connect to the standby")?;
    if asks && !runtime.block_on(asked(arguments, &conninfo, &mut standby))? {
        return Ok(1);
    }
    match folder {
        _ if arguments.explain || arguments.best => {}
        Some(data) => of_folder(data, arguments.timeout)?,
        None => runtime.block_on(promote(&mut standby, arguments.timeout))?,
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
async fn asked(arguments: &PromoteArgs, conninfo: &str, server: &mut Client) -> Result<bool> {
    let report = Report::ask(server).await?;
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
        promote_best(conninfo, server, line, arguments.timeout).await?;
    }
    Ok(true)
}

/// Promotes the standby that has the most log: the one that was asked, or another one, reached as that one
/// was.
async fn promote_best(conninfo: &str, asked: &mut Client, line: &Line, timeout_s: u64) -> Result<()> {
    let Some(address) = line.address() else { return promote(asked, timeout_s).await };
    let place = split(address)?;
    let mut pairs = split(conninfo)?;
    pairs.retain(|(name, _)| !matches!(&**name, "host" | "hostaddr" | "port" | "target_session_attrs"));
    pairs.extend(place.iter().cloned());
    let pairs = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let other = leading_there(&join(pairs))?;
    let mut other =
        connect(&other).await.with_context(|| format!("could not connect to {}", line.place()))?;
    check(asked, &mut other, line, &place).await?;
    promote(&mut other, timeout_s).await
}

/// That the server which was reached is the node that the report means, and has not less than that says. The
/// address is the one at which the server that was asked reaches it: from here another one may be there.
async fn check(
    asked: &mut Client,
    other: &mut Client,
    line: &Line,
    place: &[(String, String)],
) -> Result<()> {
    let told = |keyword: &str| place.iter().find(|(name, _)| name == keyword);
    let told = |keyword| told(keyword).map_or("", |(_, value)| value.as_str());
    let (host, port) = (told("host"), told("port"));
    let knows = Identity::ask(asked).await.context("could not ask whom the standby knows")?;
    let found = Identity::ask(other).await;
    let found = found.with_context(|| format!("could not ask who answers for {}", line.place()))?;
    if let Some(who) = knows.another_than(&found, line.node(), (host, port)) {
        bail!(
            "nobody was promoted: at host={host} port={port} answers, from here, {who}, not the node \"{}\" \
             of the report: promote that one by -d with an address that leads to it, or by -D on its machine",
            line.node()
        );
    }
    if !found.is_standby {
        bail!("nobody was promoted: {} is no standby any more", line.place());
    }
    if found.replayed < line.replayed() {
        let [has, had] = [found.replayed, line.replayed()].map(|at| at.unwrap_or(Lsn::INVALID));
        let who = line.place();
        bail!("nobody was promoted: {who} has replayed up to {has} alone, and the report says {had}");
    }
    Ok(())
}
