//! The one binary: `plimsoll`.

mod init;
mod node;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// A replicated storage engine that keeps PostgreSQL's formats and protocols.
#[derive(Debug, Parser)]
#[command(name = "plimsoll", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a data directory
    Init(init::Arguments),
    /// Start a server
    Start(node::StartArguments),
    /// Stop a server
    Stop(node::StopArguments),
    /// Say whether a server runs
    Status(node::StatusArguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Init(arguments) => init::run(arguments),
        Command::Start(arguments) => node::start(arguments),
        Command::Stop(arguments) => node::stop(&arguments),
        Command::Status(arguments) => node::status(&arguments),
    };
    done.unwrap_or_else(|error| {
        eprintln!("plimsoll: {error:#}");
        ExitCode::FAILURE
    })
}
