//! `plimsoll unfence`: a primary that was replaced takes writes again.

use super::check_data_directory;
use crate::cli::UnfenceArgs;
use crate::output::{complain, say};
use crate::pid_file::PidFile;
use anyhow::{Result, anyhow, bail};
use host::{Access, RealDisk};

/// The exit code of a refusal to do it without the word that it takes.
const NOT_KNOWN: u8 = 2;

/// Takes the fence off, or says what that would mean; gives the exit code.
pub fn run(arguments: &UnfenceArgs) -> Result<u8> {
    let data = &arguments.data.data;
    check_data_directory(data)?;
    let host = Access::of(&RealDisk, data).host();
    let failed = |error: server::ServerError| anyhow!("{}", error.message);
    let Some(fence) = server::fence_of(&host, data).map_err(failed)? else {
        say!("server is not fenced");
        return Ok(0);
    };
    if !arguments.i_know {
        complain!("plimsoll: error: this server is fenced: {fence}");
        complain!(
            "With --i-know it takes writes again. What the server that replaced it has committed is not here, and \
             is lost if that one is gone; if it is not, both take writes, and the data parts for good. Clone or \
             rewind this server from the one that replaced it, if there is any way."
        );
        return Ok(NOT_KNOWN);
    }
    if let Some(file) = PidFile::of_running(data)? {
        bail!("a server runs on \"{}\" (PID: {}): stop it first", data.display(), file.pid);
    }
    server::unfence(&host, data).map_err(failed)?;
    say!("server unfenced (recorded in plimsoll/ledger): {fence}");
    say!(
        "It is fenced again if it meets a server of the timeline that replaced it, but not once another server has \
         taken its role over: then both take writes, and warn of each other."
    );
    Ok(0)
}
