//! The archive of the log: putting finished segments there, fetching them back, and recovery from it to a target.
//!
//! ```text
//!   primary (or any node with archive_mode = always)
//!     log grows --> [archiver] .ready --> archive_command --> .done --> the checkpointer may remove the segment
//!
//!   node in recovery
//!     redo's reader --> [restore] restore_command --> pg_wal/RECOVERYXLOG --> pg_wal/<segment>, .done
//!     redo --> [recovery feed] archive, pg_wal and the primary by turns (replica::receiver::sources decides), target reached --> pause, promote, stop
//! ```
//!
//! Where things are decided: which source has its turn, `replica::receiver::sources`; which timeline is followed, `wal::timelines`; where recovery stops, `storage::target`; which marks a
//! file carries, `wal::archive_status`. Here are the commands, the log lines, and the wiring.
//!
//! Invariants:
//! - A segment is marked `.ready` when it is durable and complete, and removed only when it is `.done` (or nobody archives).
//!   The marking may be late (after a crash it is made up for at the start), the removal never early.
//! - A fetched file gets its name in pg_wal only when it is whole and durable; RECOVERYXLOG and RECOVERYHISTORY are never read.
//! - The archive is asked only while no receiver writes in pg_wal.
//! - A timeline's number is chosen above all that pg_wal, the peers and the archive know.
//! - recovery_end_command has run before the node takes writes.

pub(crate) mod archiver;
pub(crate) mod command;
pub(crate) mod feed;
pub(crate) mod restore;
pub(crate) mod target;

use crate::ServerError;
use crate::node::Node;
use crate::server::Tasks;
use protocol::{Report, SqlState};
use restore::Restorer;
use settings::Settings;
use std::sync::Arc;
use storage::{Database, RecoveryOptions};
use wal::TimelineId;
use wal::backup_label::BackupLabel;
use wal::control::ControlFile;
use wal::timelines::{self, RecoveryStart};

/// Which recovery a signal file asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// standby.signal: follow until promoted.
    Standby,
    /// recovery.signal: recover up to the target, or the log's end.
    Recovery,
}

/// What is wrong whatever the node is started for.
pub(crate) fn check_settings(settings: &Settings) -> Result<(), ServerError> {
    target::of_settings(settings)?;
    let config = settings.config();
    if config.archive_mode.as_ref() != "off" && config.wal_level.as_ref() == "minimal" {
        return Err(ServerError::new("WAL archival cannot be enabled when wal_level is \"minimal\""));
    }
    Ok(())
}

/// What is wrong for a recovery up to a target.
pub(crate) fn check_recovery(settings: &Settings) -> Result<(), ServerError> {
    if settings.config().restore_command.trim().is_empty() {
        return Err(ServerError::new("must specify restore_command when standby mode is not enabled"));
    }
    Ok(())
}

/// Looks at the settings of recovery, fetches the histories that say which way it goes, and chooses its timeline.
pub(crate) async fn prepare(
    node: &Arc<Node>,
    control: &ControlFile,
    signal: Signal,
) -> Result<(RecoveryOptions, TimelineId), ServerError> {
    let config = node.config();
    let (archive, standby) = (!config.restore_command.trim().is_empty(), signal == Signal::Standby);
    if !standby {
        check_recovery(&node.settings())?;
    }
    if standby && !archive && config.primary_conninfo.trim().is_empty() {
        let report =
            Report::warning(SqlState::WARNING, "specified neither primary_conninfo nor restore_command");
        let hint = "The database server will regularly poll the pg_wal subdirectory to check for files placed there.";
        node.log.write(None, &Report { hint: Some(hint.to_owned()), ..report }, None);
    }
    let target = target::of_settings(&node.settings())?;
    node.log.log(if standby {
        "entering standby mode".to_owned()
    } else {
        target::starting(target.as_ref())
    });
    let failed = |error: &dyn std::fmt::Display| ServerError::new(error.to_string());
    let size = control.segment_size;
    let label = BackupLabel::load(&*node.host.disk, &node.data_dir, size).map_err(|error| failed(&error))?;
    let copy = &control.checkpoint_copy;
    let (redo, timeline) =
        label.as_ref().map_or((copy.redo, copy.timeline), |label| (label.start, label.timeline));
    let first = size.segment_of(redo).file_name(timeline, size);
    let restorer = Arc::new(Restorer::new(node, size, first, standby));
    let start = RecoveryStart::found(control, label.as_ref());
    let wanted = target::timeline(node);
    let (fetching, disk, pg_wal) = (restorer.clone(), node.host.disk.clone(), node.data_dir.join("pg_wal"));
    let chosen = tokio::task::spawn_blocking(move || {
        timelines::fetch_for(&start, wanted, |timeline| fetching.history(timeline))
            .map_err(|error| failed(&error))?;
        start.choose(&*disk, &pg_wal, wanted).map_err(|error| failed(&error))
    });
    let chosen = chosen
        .await
        .map_err(|error| ServerError::new(format!("could not fetch timeline histories: {error}")))??;
    node.set_restorer(restorer.clone());
    let options = RecoveryOptions { supply: Some(restorer), target, ends_with_log: !standby };
    Ok((options, chosen.target()))
}

/// Starts the archiver.
pub(crate) fn start(node: &Arc<Node>, tasks: &Tasks) {
    if let (Some(archiver), Some(replicas)) = (node.archiver(), node.replicas()) {
        archiver.make_up(&replicas.log.state());
        archiver::start(node, tasks, archiver);
    }
}

/// Before the shutdown checkpoint of a node that archives: ends the segment, so that all but that checkpoint is archived.
pub(crate) async fn end_segment(node: &Arc<Node>, database: &Database) {
    let archives = node.archiver().is_some_and(|archiver| archiver.archives(database.is_in_recovery()));
    if !archives || database.is_in_recovery() {
        return;
    }
    let (node, database) = (node.clone(), database.clone());
    let ended = tokio::task::spawn_blocking(move || {
        if let Some(wal) = database.wal() {
            wal.switch_segment()?;
            wal.flush_all()?;
            node.notice_segments();
        }
        Ok::<_, wal::WalError>(())
    });
    // A log that cannot be written fails the shutdown checkpoint, which says so.
    let _ = ended.await;
}
