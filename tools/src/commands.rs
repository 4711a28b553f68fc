//! What each command does, and how it ends.

use crate::cli::{Command, DataArgs, PromoteArgs, StartArgs, StopArgs};
use crate::initdb::InitArgs;
use crate::pid_file::{PidFile, Status};
use crate::process::{Launch, Readiness, print_now, stop};
use crate::{check, clone, demo, lag, pg_ctl, postgres, restore, serve, waldump};
use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use std::ffi::OsString;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

/// Runs a command; returns the exit code.
pub fn run(command: Command) -> u8 {
    let done = match command {
        Command::Init(arguments) => init(&arguments, "plimsoll start -D"),
        Command::Initdb(arguments) => init(&arguments, "pg_ctl start -D"),
        Command::Start(arguments) => return finish(start(&arguments)),
        Command::Stop(arguments) => end(&arguments),
        Command::Status(arguments) => return finish(status(&arguments)),
        Command::Clone(arguments) => clone::run(&arguments),
        Command::Lag(arguments) => return finish(lag::run(&arguments)),
        Command::Promote(arguments) => promote(&arguments),
        Command::Waldump(arguments) => waldump::run(&arguments),
        Command::Check(arguments) => return finish(check::run(&arguments)),
        Command::Restore(arguments) => restore::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Run(passed) => return serve::main(&passed.arguments),
        Command::PgCtl(passed) => return pg_ctl::main(&passed.arguments),
    };
    finish(done.map(|()| 0))
}

/// An error becomes one line on standard error and exit code 1.
fn finish(done: Result<u8>) -> u8 {
    done.unwrap_or_else(|error| {
        let text = format!("{error:#}").replace('\n', " ");
        eprintln!("plimsoll: error: {}", text.trim_end());
        1
    })
}

/// initdb's command line.
#[derive(Debug, Parser)]
#[command(name = "initdb", disable_version_flag = true)]
struct InitdbCli {
    #[command(flatten)]
    arguments: InitArgs,
}

/// The personality of initdb; the first word is the program's name. Returns the exit code.
pub fn initdb(words: impl Iterator<Item = OsString>) -> u8 {
    let words: Vec<OsString> = words.collect();
    if words.iter().skip(1).any(|word| word == "-V" || word == "--version") {
        println!("initdb (PostgreSQL) {}", serve::long_version());
        return 0;
    }
    match InitdbCli::try_parse_from(words) {
        Ok(cli) => match init(&cli.arguments, "pg_ctl start -D") {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("initdb: error: {error:#}");
                1
            }
        },
        Err(error) => {
            let _ = error.print();
            u8::from(error.use_stderr())
        }
    }
}

fn init(arguments: &InitArgs, next: &str) -> Result<()> {
    arguments.check()?;
    let folder = arguments.folder()?;
    serve::init(arguments)?;
    if !arguments.no_instructions {
        println!("\nSuccess. You can now start the server using:\n\n    {next} {}\n", folder.display());
    }
    Ok(())
}

/// Refuses a folder that no server can run on, before a process is made for it.
fn check_data_directory(data: &Path) -> Result<()> {
    let shown = data.display();
    if !data.exists() {
        bail!("directory \"{shown}\" does not exist: create one with `plimsoll init -D {shown}`");
    }
    if !data.join("PG_VERSION").exists() {
        bail!(
            "\"{shown}\" is not a database cluster directory: name one that `plimsoll init` or `plimsoll clone` made"
        );
    }
    // A control file that cannot be read is for the server to tell.
    if let Ok(control) = serve::control_file(data) {
        serve::check_format(data, &control)?;
    }
    Ok(())
}

fn start(arguments: &StartArgs) -> Result<u8> {
    let data = &arguments.data.data;
    check_data_directory(data)?;
    let mut words: Vec<OsString> = Vec::new();
    for text in &arguments.settings {
        postgres::setting(text)?;
        words.extend(["-c".into(), text.into()]);
    }
    if let Some(port) = arguments.port {
        words.extend(["-p".into(), port.to_string().into()]);
    }
    if !arguments.detach {
        let mut all: Vec<OsString> = vec!["-D".into(), data.into()];
        all.extend(words);
        return Ok(serve::main(&all));
    }
    let log = match &arguments.log {
        Some(log) => log.clone(),
        None => {
            // No copy of a data directory has this folder.
            let own = data.join("plimsoll");
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&own)
                .with_context(|| format!("could not create directory \"{}\"", own.display()))?;
            own.join("server.log")
        }
    };
    let launch =
        Launch { data: data.clone(), arguments: words, shell_options: Vec::new(), log: Some(log.clone()) };
    match launch.spawn()?.wait(
        &[Status::Ready, Status::Standby],
        Duration::from_secs(arguments.timeout),
        || {},
    )? {
        Readiness::Ready => {
            let pid = PidFile::read(data)?.map(|file| file.pid.to_string()).unwrap_or_default();
            println!("server started (PID: {pid}, log: {})", log.display());
            Ok(0)
        }
        Readiness::Ended(Some(cause)) => bail!("{cause}"),
        Readiness::Ended(None) => bail!("the server ended while it started: see {}", log.display()),
        Readiness::TimedOut => bail!(
            "the server did not start within {} seconds and goes on trying: see {}",
            arguments.timeout,
            log.display()
        ),
    }
}

fn end(arguments: &StopArgs) -> Result<()> {
    stop(&arguments.data.data, arguments.mode, Some(Duration::from_secs(arguments.timeout)), || {})?;
    println!("server stopped");
    Ok(())
}

fn status(arguments: &DataArgs) -> Result<u8> {
    let data = &arguments.data;
    if !data.join("PG_VERSION").exists() {
        eprintln!("plimsoll: error: \"{}\" is not a database cluster directory", data.display());
        return Ok(pg_ctl::NO_DATA_DIRECTORY);
    }
    let Some(file) = PidFile::of_running(data)? else {
        println!("no server running");
        return Ok(pg_ctl::NOT_RUNNING);
    };
    let how = match file.status {
        Some(Status::Starting) => "is starting",
        Some(Status::Stopping) => "is stopping",
        _ => "is running",
    };
    println!("server {how} (PID: {}, port: {})", file.pid, file.port.unwrap_or_default());
    let control = serve::control_file(data)?;
    println!("state: {}", control.state.text());
    println!("timeline: {}", control.checkpoint_copy.timeline);
    println!("latest checkpoint: {}", control.checkpoint);
    Ok(0)
}

fn promote(arguments: &PromoteArgs) -> Result<()> {
    let data = &arguments.data.data;
    check_data_directory(data)?;
    let limit = Duration::from_secs(arguments.timeout);
    pg_ctl::promote(data, Some(limit), || print_now("."))?;
    let history = std::fs::read_dir(data.join("pg_wal"))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".history"))
        .max()
        .ok_or_else(|| anyhow!("the server was promoted but left no history file in pg_wal"))?;
    println!("server promoted: timeline {}", u32::from_str_radix(history.trim_end_matches(".history"), 16)?);
    Ok(())
}
