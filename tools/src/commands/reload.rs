//! `plimsoll reload`.

use crate::cli::DataArgs;
use crate::output::say;
use crate::process::{running, signal};
use crate::serve;
use anyhow::Result;
use nix::sys::signal::Signal;

/// Lets the server of a data directory read its configuration files again.
pub fn run(arguments: &DataArgs) -> Result<()> {
    serve::check_is_there(&arguments.data)?;
    signal(&running(&arguments.data)?, Signal::SIGHUP)?;
    say!("server signaled: its log says what changed, and what is wrong");
    Ok(())
}
