//! `plimsoll promote`: a standby becomes the primary of a new timeline.

use super::check_data_directory;
use crate::cli::PromoteArgs;
use crate::output::{self, say};
use crate::programs::pg_ctl;
use anyhow::{Result, anyhow};
use std::time::Duration;
use wal::TimelineId;

/// Promotes it and waits until it accepts writes.
pub fn run(arguments: &PromoteArgs) -> Result<()> {
    let data = &arguments.data.data;
    check_data_directory(data)?;
    let limit = Duration::from_secs(arguments.timeout);
    pg_ctl::promote(data, Some(limit), || output::text("."))?;
    let timeline = std::fs::read_dir(data.join("pg_wal"))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| TimelineId::parse_history_file_name(&name))
        .max()
        .ok_or_else(|| anyhow!("the server was promoted but left no history file in pg_wal"))?;
    say!("server promoted: timeline {timeline}");
    Ok(())
}
