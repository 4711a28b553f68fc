//! `plimsoll status`: whether a server runs on a data directory.

use crate::cli::DataArgs;
use crate::output::{complain, say};
use crate::pid_file::{PidFile, Status};
use crate::programs::pg_ctl;
use crate::serve;
use anyhow::Result;
use host::Host;
use wal::TimelineId;

/// Says it; gives the exit code.
pub fn run(arguments: &DataArgs) -> Result<u8> {
    let data = &arguments.data;
    if let Some(why) = serve::no_data_directory(data) {
        complain!("plimsoll: error: {why}");
        return Ok(pg_ctl::NO_DATA_DIRECTORY);
    }
    let Some(file) = PidFile::of_running(data)? else {
        say!("no server running");
        return Ok(pg_ctl::NOT_RUNNING);
    };
    let how = match file.status {
        Some(Status::Starting) => "is starting",
        Some(Status::Stopping) => "is stopping",
        _ => "is running",
    };
    say!("server {how} (PID: {}, port: {})", file.pid, file.port.unwrap_or_default());
    let control = serve::control_file(data)?;
    say!("state: {}", control.state.text());
    // A standby comes to another before its next restartpoint.
    let of_branch = wal::BranchRecord::load(&*Host::real().disk, data, &control).ok().flatten();
    let timeline = of_branch.map_or(TimelineId::INVALID, |branch| branch.timeline);
    say!("timeline: {}", control.checkpoint_copy.timeline.max(timeline));
    say!("latest checkpoint: {}", control.checkpoint);
    match server::fence_of(&Host::real(), data) {
        Ok(Some(fence)) => say!("fenced: {fence}"),
        Ok(None) => {}
        Err(error) => say!("whether it is fenced is not known: {}", error.message),
    }
    Ok(0)
}
