//! `plimsoll init`: a new data directory.

use crate::output::say;
use crate::programs::initdb::InitArgs;
use crate::serve;
use anyhow::Result;

/// As which program a directory is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Personality {
    /// `plimsoll init`: pages have checksums unless they are not wanted.
    Plimsoll,
    /// initdb: pages have checksums if they are asked for.
    Initdb,
}

/// Makes it, and says what comes next.
pub fn run(arguments: &InitArgs, personality: Personality) -> Result<()> {
    arguments.check()?;
    let folder = arguments.folder()?;
    let checksums = match personality {
        Personality::Plimsoll => !arguments.no_data_checksums,
        Personality::Initdb => arguments.data_checksums,
    };
    serve::init(arguments, checksums)?;
    if !checksums {
        say!("Data page checksums are disabled.");
    }
    if !arguments.no_instructions {
        let folder = host::shell_word(&folder.to_string_lossy());
        let next = match personality {
            Personality::Plimsoll => format!("plimsoll start -D {folder}"),
            Personality::Initdb => format!("pg_ctl -D {folder} -l logfile start"),
        };
        say!("\nSuccess. You can now start the server using:\n\n    {next}\n");
    }
    Ok(())
}
