//! `plimsoll logrotate`.

use crate::cli::DataArgs;
use crate::output::say;
use crate::process::ask_to_rotate;
use crate::serve;
use anyhow::Result;

/// Lets the server of a data directory go on in a new log file.
pub fn run(arguments: &DataArgs) -> Result<()> {
    serve::check_is_there(&arguments.data)?;
    ask_to_rotate(&arguments.data)?;
    say!("server signaled to rotate log file");
    Ok(())
}
