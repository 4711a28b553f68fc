//! The command line of `plimsoll`.

use crate::process::StopMode;
use crate::programs::initdb::InitArgs;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

/// What `--version` says: our version, the commit that was built, and whose formats and protocols these are.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let (own, commit) = (env!("CARGO_PKG_VERSION"), env!("PLIMSOLL_COMMIT"));
    format!("{own} (commit {commit}, PostgreSQL {})", server::POSTGRESQL_RELEASE)
});

/// A PostgreSQL-style WAL streaming replication engine.
#[derive(Debug, Parser)]
#[command(name = "plimsoll", version = VERSION.as_str(), propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// Commands whose -D means nothing beside another option: PGDATA is then passed over, a -D is a mistake.
const WITHOUT_DATA: [(&str, &str, &str); 3] = [
    ("promote", "dbname", "--dbname <CONNINFO>"),
    ("switchover", "dbname", "--dbname <CONNINFO>"),
    ("rewind", "replay", "--replay <FILE>"),
];

impl Cli {
    /// Reads a command line.
    ///
    /// # Errors
    /// It is wrong, or asks for help: the error says it, and ends the process with the code for that.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let matches = Self::command().try_get_matches_from(words)?;
        let (name, given) = matches.subcommand().unwrap_or(("", &matches));
        for (command, other, shown) in WITHOUT_DATA {
            if name == command
                && given.value_source(other).is_some()
                && given.value_source("data") == Some(ValueSource::CommandLine)
            {
                let what = format!("the argument '--pgdata <DIR>' cannot be used with '{shown}'");
                let mut all = Self::command();
                all.build();
                let mut refusing = all.find_subcommand(command).cloned().unwrap_or(all);
                return Err(refusing.error(ErrorKind::ArgumentConflict, what));
            }
        }
        Self::from_arg_matches(&matches)
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a data directory
    Init(Box<InitArgs>),
    /// Start a server, in the foreground or with -d in the background
    Start(StartArgs),
    /// Stop the server of a data directory
    Stop(StopArgs),
    /// Stop the server of a data directory and start it again in the background, with the options of its last
    /// start; one that does not run is started
    Restart(RestartArgs),
    /// Let the server of a data directory read its configuration files again
    Reload(DataArgs),
    /// Let the server of a data directory go on in a new log file (logging_collector)
    Logrotate(DataArgs),
    /// Say whether a server runs on a data directory (exit code 0: yes, 3: no, 4: no data directory)
    Status(DataArgs),
    /// Copy a running server into a new data directory that starts as its standby
    Clone(CloneArgs),
    /// Show how far each standby is behind (exit code 2: further than allowed, 3: no standby at the last
    /// look)
    Lag(LagArgs),
    /// Make a standby the primary of a new timeline
    Promote(PromoteArgs),
    /// Hand the primary's role over to a standby, and let the old primary follow it (exit code 0: done, 1:
    /// not)
    Switchover(SwitchoverArgs),
    /// Make an old primary, or a standby that went another way, a standby of the branch that counts, copying
    /// only what differs
    Rewind(RewindArgs),
    /// Let a stopped primary that was replaced take writes again
    Unfence(UnfenceArgs),
    /// Print the records of WAL segments
    Waldump(WaldumpArgs),
    /// Draw the tree of timelines that data directories, archives and servers know of
    Timelines(TimelinesArgs),
    /// Count pages and files that nothing leads to in a data directory whose server is stopped (exit code 0:
    /// none, 1: some, or damage)
    Check(DataArgs),
    /// Show what a recovery target would bring back and lose, commit by commit
    Restore(RestoreArgs),
    /// Tell the main job as a story, with measured figures, in a temporary folder
    Demo(DemoArgs),
    /// Run whole clusters in simulated time, with faults that a seed decides
    #[cfg(feature = "simulate")]
    Simulate(crate::commands::simulate::SimulateArgs),
    /// Run as initdb
    #[command(hide = true, disable_help_flag = true, disable_version_flag = true)]
    Initdb(PassedOn),
    /// Run as postgres
    #[command(hide = true, disable_help_flag = true, disable_version_flag = true)]
    Run(PassedOn),
    /// Run as pg_ctl
    #[command(hide = true, name = "pg_ctl", disable_help_flag = true, disable_version_flag = true)]
    PgCtl(PassedOn),
}

/// Arguments that another parser reads.
#[derive(Args, Debug)]
pub struct PassedOn {
    /// The arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<OsString>,
}

impl PassedOn {
    /// The words of a command line of that program.
    pub fn words(self, program: &str) -> impl Iterator<Item = OsString> {
        std::iter::once(OsString::from(program)).chain(self.arguments)
    }
}

/// A data directory.
#[derive(Args, Debug)]
pub struct DataArgs {
    /// The data directory
    #[arg(short = 'D', long = "pgdata", value_name = "DIR", env = "PGDATA")]
    pub data: PathBuf,
}

/// Options of `start`.
#[derive(Args, Debug)]
pub struct StartArgs {
    /// The data directory
    #[command(flatten)]
    pub data: DataArgs,
    /// Return once the server accepts connections, and leave it running
    #[arg(short, long)]
    pub detach: bool,
    /// Port to listen on
    #[arg(short, long)]
    pub port: Option<u16>,
    /// Setting for this run
    #[arg(short = 'c', long = "set", value_name = "NAME=VALUE")]
    pub settings: Vec<String>,
    /// Log file of a detached server [default: plimsoll/server.log in the data directory]
    #[arg(short, long, value_name = "FILE", requires = "detach")]
    pub log: Option<PathBuf>,
    /// Seconds to wait for a detached server
    #[arg(short, long, default_value_t = 60, value_name = "SECONDS")]
    pub timeout: u64,
}

/// Options of `stop`.
#[derive(Args, Debug)]
pub struct StopArgs {
    /// The data directory
    #[command(flatten)]
    pub data: DataArgs,
    /// How to stop
    #[arg(short, long, value_enum, default_value = "fast")]
    pub mode: StopMode,
    /// Seconds to wait
    #[arg(short, long, default_value_t = 60, value_name = "SECONDS")]
    pub timeout: u64,
}

/// Options of `restart`.
#[derive(Args, Debug)]
pub struct RestartArgs {
    /// The data directory
    #[command(flatten)]
    pub data: DataArgs,
    /// How to stop
    #[arg(short, long, value_enum, default_value = "fast")]
    pub mode: StopMode,
    /// Port to listen on, instead of that of the last start
    #[arg(short, long)]
    pub port: Option<u16>,
    /// Setting for the next run, beside those of the last start
    #[arg(short = 'c', long = "set", value_name = "NAME=VALUE")]
    pub settings: Vec<String>,
    /// Log file [default: plimsoll/server.log in the data directory]
    #[arg(short, long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Seconds to wait for the stop, and again for the start
    #[arg(short, long, default_value_t = 60, value_name = "SECONDS")]
    pub timeout: u64,
}

/// Options of `clone`.
#[derive(Args, Debug)]
pub struct CloneArgs {
    /// Where the server to copy is, as a conninfo string or URI
    #[arg(long, value_name = "CONNINFO")]
    pub from: String,
    /// The folder to create; it must be missing or empty
    #[arg(short = 'D', long = "pgdata", value_name = "DIR", env = "PGDATA")]
    pub data: PathBuf,
    /// Replication slot on the primary for this standby, created if it is missing
    #[arg(short = 'S', long, value_name = "NAME")]
    pub slot: Option<String>,
    /// Let the checkpoint that the copy begins with take its time
    #[arg(long)]
    pub spread_checkpoint: bool,
}

/// Options of `lag`.
#[derive(Args, Debug)]
pub struct LagArgs {
    /// Where the primary is, as a conninfo string or URI
    #[arg(value_name = "CONNINFO")]
    pub conninfo: String,
    /// Print a JSON object a line; {"standbys":0} if no standby is connected
    #[arg(long)]
    pub json: bool,
    /// Show a screen with each standby's last minutes; q leaves it. Limits are shown as alarms, and the exit
    /// code is that of the last look
    #[arg(long, conflicts_with = "json")]
    pub watch: bool,
    /// End after this many looks, one a second [default: go on]
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// End with exit code 2 as soon as replay on a standby is more than this many seconds behind, or none is
    /// connected; copies in the making do not count
    #[arg(long, value_name = "SECONDS")]
    pub max_seconds: Option<f64>,
    /// End with exit code 2 as soon as replay on a standby is more than this many bytes behind, or none is
    /// connected; copies in the making do not count
    #[arg(long, value_name = "BYTES")]
    pub max_bytes: Option<u64>,
}

/// Options of `promote`.
#[derive(Args, Debug)]
pub struct PromoteArgs {
    /// The standby's data directory
    #[arg(
        short = 'D',
        long = "pgdata",
        value_name = "DIR",
        env = "PGDATA",
        required_unless_present = "dbname"
    )]
    pub data: Option<PathBuf>,
    /// The standby, as a conninfo string or URI
    #[arg(short, long, value_name = "CONNINFO")]
    pub dbname: Option<String>,
    /// Seconds to wait
    #[arg(short, long, default_value_t = 60, value_name = "SECONDS")]
    pub timeout: u64,
    /// Say what the promotion would lose, and promote nobody
    #[arg(long)]
    pub explain: bool,
    /// As lines of JSON, one a node
    #[arg(long, requires = "explain")]
    pub json: bool,
    /// Refuse if the promotion may lose a commit that synchronous standbys confirmed
    #[arg(long)]
    pub require_no_loss: bool,
    /// Name the standby that has the most log, of all that this one knows
    #[arg(long, conflicts_with = "explain")]
    pub best: bool,
    /// Promote the one that --best names
    #[arg(long, requires = "best")]
    pub yes: bool,
}

/// Options of `switchover`.
#[derive(Args, Debug)]
pub struct SwitchoverArgs {
    /// The standby that becomes the primary, by its name in pg_stat_replication
    #[arg(long, value_name = "NAME")]
    pub to: String,
    /// The primary's data directory
    #[arg(
        short = 'D',
        long = "pgdata",
        value_name = "DIR",
        env = "PGDATA",
        required_unless_present = "dbname"
    )]
    pub data: Option<PathBuf>,
    /// The primary, as a conninfo string or URI
    #[arg(short, long, value_name = "CONNINFO")]
    pub dbname: Option<String>,
    /// How long the standby may take to have the end of the log: with s or ms, else in seconds
    #[arg(short, long, default_value = "10s", value_name = "TIME", value_parser = time)]
    pub timeout: Duration,
    /// How the old primary reaches the new one [default: as plimsoll.peers and the roster know the standby
    /// of this name]
    #[arg(long, value_name = "CONNINFO")]
    pub rejoin: Option<String>,
}

/// A time like 10s, 500ms or 3.
fn time(text: &str) -> Result<Duration, String> {
    let (number, unit_ms) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1),
        (None, Some(number)) => (number, 1000),
        (None, None) => (text, 1000),
    };
    let number: u64 = number.trim().parse().map_err(|_| "it is no time like 10s or 500ms".to_owned())?;
    match number.checked_mul(unit_ms) {
        Some(ms) if ms > 0 && i32::try_from(ms).is_ok() => Ok(Duration::from_millis(ms)),
        _ => Err("it must be above 0 and at most 24 days".to_owned()),
    }
}

/// Options of `rewind`.
#[derive(Args, Debug)]
pub struct RewindArgs {
    /// The node whose branch counts: a running server as a conninfo string or URI, or the data directory of
    /// one that was stopped
    #[arg(long, value_name = "CONNINFO|DIR", required_unless_present = "replay")]
    pub source: Option<String>,
    /// The data directory to rewind; its server must not run
    #[arg(
        short = 'D',
        long = "pgdata",
        value_name = "DIR",
        env = "PGDATA",
        required_unless_present = "replay"
    )]
    pub data: Option<PathBuf>,
    /// Print a JSON object a line for each discarded commit, after one that names the discard, and nothing
    /// else
    #[arg(long)]
    pub json: bool,
    /// Print SQL that would do again what a rewind has discarded, out of the file that it kept; nothing runs
    /// it
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["source", "dry_run", "json", "progress", "restore_target_wal"]
    )]
    pub replay: Option<PathBuf>,
    /// Fetch segments of the directory's own WAL that are gone from the archive, by its restore_command
    #[arg(short = 'c', long)]
    pub restore_target_wal: bool,
    /// Only show what would be discarded and copied; nothing is changed
    #[arg(long)]
    pub dry_run: bool,
    /// Show a progress bar
    #[arg(long)]
    pub progress: bool,
}

/// Options of `unfence`.
#[derive(Args, Debug)]
pub struct UnfenceArgs {
    /// The data directory
    #[command(flatten)]
    pub data: DataArgs,
    /// The server that replaced this one is gone for good, and so is what it wrote
    #[arg(long)]
    pub i_know: bool,
}

/// Options of `waldump`.
#[derive(Args, Debug)]
pub struct WaldumpArgs {
    /// First segment: a file, or a name inside --path
    #[arg(value_name = "STARTSEG")]
    pub first: Option<PathBuf>,
    /// Last segment
    #[arg(value_name = "ENDSEG")]
    pub last: Option<String>,
    /// Folder of the segments
    #[arg(short, long, value_name = "DIR")]
    pub path: Option<PathBuf>,
    /// LSN to begin at
    #[arg(short, long, value_name = "LSN")]
    pub start: Option<String>,
    /// LSN to end at
    #[arg(short, long, value_name = "LSN")]
    pub end: Option<String>,
    /// Timeline [default: the highest of the folder that has the start]
    #[arg(short, long, value_name = "TLI")]
    pub timeline: Option<u32>,
    /// Number of records to print
    #[arg(short = 'n', long, value_name = "N")]
    pub limit: Option<u64>,
    /// Resource manager to print only
    #[arg(short, long, value_name = "RMGR")]
    pub rmgr: Option<String>,
    /// Transaction to print only
    #[arg(short, long, value_name = "XID")]
    pub xid: Option<u32>,
    /// Table or index to print only: by name, which a server is asked for, by its file's number as in
    /// pg_relation_filenode(), or as database/number
    #[arg(long, value_name = "TABLE")]
    pub table: Option<String>,
    /// Server that knows the table's name [default: the one that runs on the data directory of --path]
    #[arg(short, long, value_name = "CONNINFO")]
    pub dbname: Option<String>,
    /// Print only what was committed at this time or later
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Print only what was committed at this time or earlier
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Go on as the log grows, until interrupted or --end or --limit is reached
    #[arg(short, long)]
    pub follow: bool,
    /// Print counts and sizes a resource manager, or with =record a kind of record, instead of the records
    #[arg(short = 'z', long, value_name = "record", num_args = 0..=1, require_equals = true,
          default_missing_value = "rmgr", value_parser = ["rmgr", "record"])]
    pub stats: Option<String>,
    /// Print nothing but errors
    #[arg(short, long)]
    pub quiet: bool,
}

/// Options of `timelines`.
#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
pub struct TimelinesArgs {
    /// Data directory (may be given several times, as the others may)
    #[arg(short = 'D', long, value_name = "DIR")]
    pub data: Vec<PathBuf>,
    /// Folder of WAL segments and history files, an archive's
    #[arg(long, value_name = "DIR")]
    pub wal: Vec<PathBuf>,
    /// Server, as a conninfo string or URI
    #[arg(short, long, value_name = "CONNINFO")]
    pub dbname: Vec<String>,
}

/// Options of `restore`.
#[derive(Args, Debug)]
pub struct RestoreArgs {
    /// The data directory: a backup, or one that is to go back in time
    #[command(flatten)]
    pub data: DataArgs,
    /// Only show what the target would bring back and what it would lose; nothing is changed
    #[arg(long)]
    pub preview: bool,
    /// Folder of WAL segments, an archive's (may be given several times); pg_wal is always looked at too
    #[arg(long, value_name = "DIR")]
    pub wal: Vec<PathBuf>,
    /// Command that fetches a segment %f from the archive to the path %p [default: restore_command of the
    /// data directory]
    #[arg(long, value_name = "COMMAND")]
    pub restore_command: Option<String>,
    /// Stop at this time, as recovery_target_time has it: without a zone in it TimeZone of the data directory
    /// is meant
    #[arg(long, value_name = "TIME", group = "target")]
    pub target_time: Option<String>,
    /// Stop at this transaction
    #[arg(long, value_name = "XID", group = "target")]
    pub target_xid: Option<u32>,
    /// Stop at this position
    #[arg(long, value_name = "LSN", group = "target")]
    pub target_lsn: Option<String>,
    /// Stop at this restore point
    #[arg(long, value_name = "NAME", group = "target")]
    pub target_name: Option<String>,
    /// Leave out what is exactly at the target (recovery_target_inclusive = off)
    #[arg(long)]
    pub exclusive: bool,
    /// Timeline to follow; the newest that is known, if not given
    #[arg(long, value_name = "TLI")]
    pub target_timeline: Option<u32>,
    /// Commits to show on either side of the target
    #[arg(short = 'n', long, default_value_t = 10, value_name = "N")]
    pub around: usize,
}

/// Options of `demo`.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Leave the demo's folder behind
    #[arg(long)]
    pub keep: bool,
    /// Seed of the load
    #[arg(long, default_value_t = 1876, value_name = "N")]
    pub seed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_would_be_passed_over_is_refused() {
        for (command, rest) in [
            ("promote", &["-d", "host=a"][..]),
            ("switchover", &["--to", "two", "-d", "host=a"][..]),
            ("rewind", &["--replay", "file"][..]),
        ] {
            let read = |more: &[&str]| {
                let words = [&["plimsoll", command][..], rest, more].concat();
                Cli::read(words.into_iter().map(OsString::from))
            };
            assert!(read(&[]).is_ok(), "{command}");
            let refused = read(&["-D", "one"]).expect_err("it is one too many");
            assert_eq!(refused.kind(), ErrorKind::ArgumentConflict, "{command}");
            let said = refused.to_string();
            assert!(said.contains(&format!("Usage: plimsoll {command} ")), "{said}");
        }
    }
}
