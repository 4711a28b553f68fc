//! `plimsoll init`

use anyhow::{Context, Result, anyhow};
use clap::Args;
use server::InitOptions;
use std::path::PathBuf;
use std::process::ExitCode;
use wal::SegmentSize;

/// Make a data directory
#[derive(Debug, Args)]
pub struct Arguments {
    /// The data directory: missing, or empty
    #[arg(short = 'D', long = "pgdata", env = "PGDATA")]
    data_dir: PathBuf,
    /// Name of the first role, a superuser
    #[arg(short = 'U', long, default_value = "postgres")]
    username: String,
    /// Method for all connections in pg_hba.conf: trust, scram-sha-256, reject
    #[arg(short = 'A', long, default_value = "trust")]
    auth: String,
    /// File that holds the superuser's password in its first line
    #[arg(long)]
    pwfile: Option<PathBuf>,
    /// Size of WAL segments in megabytes: a power of two from 1 to 1024
    #[arg(long, default_value_t = 16)]
    wal_segsize: u64,
    /// Leave page checksums out
    #[arg(long)]
    no_data_checksums: bool,
    /// Setting for postgresql.conf
    #[arg(short = 'c', long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
}

/// Runs it.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let segment_size = SegmentSize::new(arguments.wal_segsize.saturating_mul(1 << 20))
        .ok_or_else(|| anyhow!("--wal-segsize must be a power of two between 1 and 1024"))?;
    let password = match &arguments.pwfile {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("could not read password file {}", path.display()))?;
            Some(text.lines().next().unwrap_or_default().to_owned())
        }
    };
    let options = InitOptions {
        superuser: arguments.username,
        password,
        auth_local: arguments.auth.clone(),
        auth_host: arguments.auth,
        segment_size,
        data_checksums: !arguments.no_data_checksums,
        settings: crate::node::parse_settings(&arguments.settings)?,
        ..InitOptions::new(&arguments.data_dir)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let id = runtime.block_on(server::init(&options))?;
    println!("made data directory {} (system identifier {id})", arguments.data_dir.display());
    println!("start it with:  plimsoll start -D {}", arguments.data_dir.display());
    Ok(ExitCode::SUCCESS)
}
