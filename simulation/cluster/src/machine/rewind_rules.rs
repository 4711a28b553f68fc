//! What has to be true when the marker of a rewind goes: all that the rewind writes is there, and a power cut
//! takes none of it away. From then on a server may start there.

use super::rules::fail;
use host::Disk;
use simulation::VirtualDisk;
use std::path::{Path, PathBuf};
use storage::REWIND_MARKER;
use wal::Lsn;
use wal::backup_label::{BACKUP_LABEL_FILE, BackupLabel};
use wal::control::{ClusterState, ControlFile};

const MARKER_MAX: u64 = 1 << 20;
/// What a standby starts from, in a data directory.
const MATTERS: [&str; 5] = ["base", "global", "pg_wal", BACKUP_LABEL_FILE, "standby.signal"];

/// A file is about to be removed; whether that ends a rewind.
pub(super) fn before_removal(files: &VirtualDisk, path: &Path) -> bool {
    let (Some(data), true) = (path.parent(), path.ends_with(REWIND_MARKER)) else { return false };
    if let Err(why) = judge(files, data, path) {
        fail(format!("ends a rewind, and {why}"));
    }
    true
}

fn judge(files: &VirtualDisk, data: &Path, marker: &Path) -> Result<(), String> {
    let marker =
        files.read(marker, MARKER_MAX).map_err(|error| format!("its marker is not there: {error}"))?;
    let marker = String::from_utf8_lossy(&marker);
    if marker.lines().any(|line| line == "phase=begun") {
        // Nothing was changed, and nothing will be.
        return Ok(());
    }
    let end = marker.lines().find_map(|line| line.strip_prefix("end=")?.parse::<Lsn>().ok());
    let end = end.ok_or("its marker does not say that all is copied")?;
    let control = ControlFile::load(files, data).map_err(|error| error.to_string())?;
    if control.state != ClusterState::InArchiveRecovery || control.min_recovery_point < end {
        let (state, minimum) = (control.state, control.min_recovery_point);
        return Err(format!(
            "the control file says {state:?} and {minimum} where recovery must come to {end}"
        ));
    }
    let label = BackupLabel::load(files, data, control.segment_size).map_err(|error| error.to_string())?;
    if !label.is_some_and(|label| label.is_own_rewind()) {
        return Err("its backup_label is not there".to_owned());
    }
    if !files.exists(&data.join("standby.signal")).unwrap_or(false) {
        return Err("standby.signal is not there".to_owned());
    }
    match undurable(files, data) {
        Some(path) => Err(format!("a power cut may take {} away", path.display())),
        None => Ok(()),
    }
}

/// What a power cut would take of what a standby starts from.
pub fn undurable(files: &VirtualDisk, data: &Path) -> Option<PathBuf> {
    let matters = |path: &PathBuf| {
        let within = path.strip_prefix(data).unwrap_or(path);
        MATTERS.iter().any(|part| within.starts_with(part))
    };
    files.undurable_files(data).into_iter().find(matters)
}
