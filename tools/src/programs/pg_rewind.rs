//! The personality of pg_rewind: its options, its messages, and its way with settings, which come from the
//! source. The report of what is discarded is kept as `plimsoll rewind` keeps it.

use crate::commands::rewind::{archive_of, runtime, say_dropped, with_bar};
use crate::output::{complain, error_text, say};
use crate::serve;
use anyhow::{Result, bail};
use clap::Parser;
use host::{Access, RealDisk};
use rewind::{Need, NodeFiles, Rewind, RewindOptions, SourceName};
use std::ffi::OsString;
use std::path::PathBuf;

/// pg_rewind's command line.
#[derive(Debug, Parser)]
#[command(name = "pg_rewind", disable_version_flag = true, disable_help_flag = true)]
struct Arguments {
    /// Existing data directory to modify
    #[arg(short = 'D', long, value_name = "DIRECTORY")]
    target_pgdata: Option<PathBuf>,
    /// Source data directory to synchronize with
    #[arg(long, value_name = "DIRECTORY")]
    source_pgdata: Option<PathBuf>,
    /// Source server to synchronize with
    #[arg(long, value_name = "CONNSTR")]
    source_server: Option<String>,
    /// Use restore_command in target configuration to retrieve WAL files from archives
    #[arg(short = 'c', long)]
    restore_target_wal: bool,
    /// Use specified main server configuration file when running target cluster
    #[arg(long, value_name = "FILENAME")]
    config_file: Option<PathBuf>,
    /// Stop before modifying anything
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Accepted; all is written to disk safely all the same
    #[arg(short = 'N', long)]
    no_sync: bool,
    /// Write progress messages
    #[arg(short = 'P', long)]
    progress: bool,
    /// Write configuration for replication (requires --source-server)
    #[arg(short = 'R', long)]
    write_recovery_conf: bool,
    /// Write a lot of debug messages
    #[arg(long)]
    debug: bool,
    /// Accepted; a clean shutdown is never needed
    #[arg(long)]
    no_ensure_shutdown: bool,
    /// Output version information, then exit
    #[arg(short = 'V', long)]
    version: bool,
    /// Show this help, then exit
    #[arg(short = '?', long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

/// Runs as pg_rewind; the first word is the program's name. Returns the exit code.
pub fn main(words: impl Iterator<Item = OsString>) -> u8 {
    let arguments = match Arguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return u8::from(error.use_stderr());
        }
    };
    if arguments.version {
        say!("pg_rewind (PostgreSQL) {}", serve::long_version());
        return 0;
    }
    match run(&arguments) {
        Ok(()) => 0,
        Err(error) => {
            complain!("pg_rewind: error: {}", error_text(&error));
            1
        }
    }
}

/// The options that exclude or need each other, in pg_rewind's words.
fn options(arguments: &Arguments) -> Result<RewindOptions> {
    let source = match (&arguments.source_pgdata, &arguments.source_server) {
        (None, None) => bail!("no source specified (--source-pgdata or --source-server)"),
        (Some(_), Some(_)) => bail!("only one of --source-pgdata or --source-server can be specified"),
        (Some(folder), None) => SourceName::Directory(folder.clone()),
        (None, Some(conninfo)) => SourceName::Server(conninfo.clone()),
    };
    let Some(target) = arguments.target_pgdata.clone() else {
        bail!("no target data directory specified (--target-pgdata)");
    };
    if arguments.source_server.is_none() && arguments.write_recovery_conf {
        bail!("no source server information (--source-server) specified for --write-recovery-conf");
    }
    let supply = match arguments.restore_target_wal {
        true => Some(archive_of(&target, arguments.config_file.as_deref())?),
        false => None,
    };
    let standby = arguments.write_recovery_conf;
    Ok(RewindOptions {
        source,
        target,
        node_files: NodeFiles::Replace,
        standby,
        supply,
        stop: Default::default(),
    })
}

fn run(arguments: &Arguments) -> Result<()> {
    let options = options(arguments)?;
    let target = options.target.clone();
    let host = Access::of(&RealDisk, &target).host();
    runtime()?.block_on(async {
        if arguments.source_server.is_some() && arguments.progress {
            complain!("pg_rewind: connected to server");
        }
        let mut rewind = Rewind::prepare(&host, options).await?;
        match rewind.need() {
            Need::Nothing => {
                complain!("pg_rewind: no rewind required");
                if arguments.dry_run {
                    return Ok(());
                }
                server::leave_as_is(&host, &target, &mut rewind)?;
                return Ok(rewind.follow()?);
            }
            Need::Rest => complain!("pg_rewind: going on with a rewind that was broken off"),
            Need::Diverged(divergence) => {
                let (at, timeline) = (divergence.fork.at, divergence.fork.timeline);
                complain!("pg_rewind: servers diverged at WAL location {at} on timeline {timeline}");
            }
        }
        if let Some(start) = rewind.start() {
            let (at, timeline) = (start.at, start.contents.timeline);
            complain!("pg_rewind: rewinding from last common checkpoint at {at} on timeline {timeline}");
        }
        if let Some(plan) = rewind.plan().await?.filter(|_| arguments.progress || arguments.debug) {
            let (copied, all) = (plan.bytes() >> 20, plan.source_bytes >> 20);
            complain!("pg_rewind: need to copy {copied} MB (total source directory size is {all} MB)");
        }
        if !arguments.dry_run {
            server::keep_discarded(&host, &target, &mut rewind, &mut |_| {}).await?;
            say_dropped(&with_bar(rewind, arguments.progress).await?);
        }
        complain!("pg_rewind: Done!");
        Ok(())
    })
}
