//! `plimsoll init`: a new data directory.

use crate::output::say;
use crate::programs::initdb::InitArgs;
use crate::serve;
use anyhow::Result;

/// Makes it; `next` is the command that starts a server on it.
pub fn run(arguments: &InitArgs, next: &str) -> Result<()> {
    arguments.check()?;
    let folder = arguments.folder()?;
    serve::init(arguments)?;
    if !arguments.no_instructions {
        let folder = host::shell_word(&folder.to_string_lossy());
        say!("\nSuccess. You can now start the server using:\n\n    {next} {folder}\n");
    }
    Ok(())
}
