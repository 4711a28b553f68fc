//! The one binary: `plimsoll`, and under the names `initdb`, `pg_ctl`, `pg_rewind` and `postgres` what those
//! programs do.
//!
//! Owns the command line, its exit codes and its progress lines. Knows nothing of pages or records: all work
//! is done by the crates below. Errors are one line on standard error with the cause and what to do, exit
//! code 1; wrong usage exits with 2.

#![warn(clippy::print_stdout, clippy::print_stderr)] // the module `output` says it

mod bar;
mod cli;
mod commands;
mod connect;
mod identity;
mod new_folders;
mod output;
mod owner;
mod pid_file;
mod process;
mod programs;
mod prompt;
mod secure;
mod serve;
mod signals;
mod sync_only;
mod wal_files;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    host::bound_kept_memory();
    let words: Vec<OsString> = std::env::args_os().collect();
    let program = words.first().cloned().unwrap_or_default();
    let name =
        Path::new(&program).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let rest: Vec<OsString> = words.iter().skip(1).cloned().collect();
    let code = match name.as_str() {
        "postgres" | "postmaster" => serve::main(&rest),
        "pg_ctl" => programs::pg_ctl::main(&rest),
        "pg_rewind" => programs::pg_rewind::main(std::iter::once(OsString::from("pg_rewind")).chain(rest)),
        "initdb" => programs::initdb::main(std::iter::once(OsString::from("initdb")).chain(rest)),
        _ => commands::run(cli::Cli::read(words).unwrap_or_else(|error| error.exit()).command),
    };
    ExitCode::from(output::exit_code(code))
}
