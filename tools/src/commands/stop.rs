//! `plimsoll stop`.

use crate::cli::StopArgs;
use crate::output::say;
use crate::process::stop;
use crate::serve;
use anyhow::Result;
use std::time::Duration;

/// Stops the server of a data directory and waits for its end.
pub fn run(arguments: &StopArgs) -> Result<()> {
    serve::check_is_there(&arguments.data.data)?;
    stop(&arguments.data.data, arguments.mode, Some(Duration::from_secs(arguments.timeout)), || {})?;
    say!("server stopped");
    Ok(())
}
