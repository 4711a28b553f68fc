//! The commands, a file each, and how they end.

mod check;
mod clone;
mod demo;
pub mod init;
mod lag;
mod logrotate;
mod promote;
mod reload;
mod restart;
mod restore;
pub mod rewind;
#[cfg(feature = "simulate")]
pub mod simulate;
mod start;
mod status;
mod stop;
mod switchover;
mod timelines;
mod unfence;
mod waldump;

use crate::cli::Command;
use crate::output::{complain, error_text};
use crate::programs::{initdb, pg_ctl};
use crate::serve::{self, FolderKind};
use anyhow::{Result, bail};
use std::path::Path;

/// Runs a command; returns the exit code.
pub fn run(command: Command) -> u8 {
    let done = match command {
        Command::Init(arguments) => init::run(&arguments, init::Personality::Plimsoll),
        Command::Initdb(passed) => return initdb::main(passed.words("initdb")),
        Command::Start(arguments) => return finish(start::run(&arguments)),
        Command::Stop(arguments) => stop::run(&arguments),
        Command::Restart(arguments) => return finish(restart::run(&arguments)),
        Command::Reload(arguments) => reload::run(&arguments),
        Command::Logrotate(arguments) => logrotate::run(&arguments),
        Command::Status(arguments) => return finish(status::run(&arguments)),
        Command::Clone(arguments) => clone::run(&arguments),
        Command::Lag(arguments) => return finish(lag::run(&arguments)),
        Command::Promote(arguments) => return finish(promote::run(&arguments)),
        Command::Rewind(arguments) => rewind::run(&arguments),
        Command::Switchover(arguments) => return finish(switchover::run(&arguments)),
        Command::Waldump(arguments) => waldump::run(&arguments),
        Command::Unfence(arguments) => return finish(unfence::run(&arguments)),
        Command::Timelines(arguments) => return finish(timelines::run(&arguments)),
        Command::Check(arguments) => return finish(check::run(&arguments)),
        Command::Restore(arguments) => restore::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        #[cfg(feature = "simulate")]
        Command::Simulate(arguments) => return finish(simulate::run(&arguments)),
        Command::Run(passed) => return serve::main(&passed.arguments),
        Command::PgCtl(passed) => return pg_ctl::main(&passed.arguments),
    };
    finish(done.map(|()| 0))
}

/// An error becomes one line on standard error and exit code 1.
fn finish(done: Result<u8>) -> u8 {
    done.unwrap_or_else(|error| {
        let text = error_text(&error).replace('\n', " ");
        complain!("plimsoll: error: {}", text.trim_end());
        1
    })
}

/// Refuses a folder that no server can run on, before a process is made for it.
fn check_data_directory(data: &Path) -> Result<()> {
    let shown = serve::named(data);
    match serve::folder_kind(data)? {
        FolderKind::Cluster => {}
        FolderKind::Missing => {
            let word = host::shell_word(&data.to_string_lossy());
            bail!("directory {shown} does not exist: create one with `plimsoll init -D {word}`");
        }
        FolderKind::Other => bail!(
            "{shown} is not a database cluster directory: name one that `plimsoll init` or `plimsoll clone` made"
        ),
    }
    crate::owner::check_own(data)?;
    // A control file that cannot be read is for the server to tell.
    if let Ok(control) = serve::control_file(data) {
        control.check_ours(data)?;
        serve::check_format(data, &control)?;
    }
    Ok(())
}
