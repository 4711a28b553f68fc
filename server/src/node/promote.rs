//! The promotion of a standby: from the end of redo to the first write on a timeline of its own.

use super::Node;
use super::signals::take_promote_file;
use crate::archive::restore::Restorer;
use crate::configuration::recovery_target;
use crate::error::ServerError;
use crate::log::Log;
use crate::replication::handover::{self, Marker};
use crate::replication::standby::settings::tell_lower_settings;
use crate::replication::standby::{Ended, Standby};
use crate::replication::{Replication, fencing};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use storage::{Database, PromoteOptions, Promotion, RedoEnd};
use wal::history::TimelineHistory;
use wal::timelines::Unreached;
use wal::{Lsn, TimelineId, timelines};

/// How long a promotion by which the primary hands its role over waits for the archive's word.
const ARCHIVE_LIMIT: Duration = Duration::from_secs(5);
/// How long it waits then for a command that is told to end.
const ENDING_LIMIT: Duration = Duration::from_secs(1);

/// Turns the standby into a primary, if redo ended for that.
pub(super) async fn promote(
    node: &Arc<Node>,
    mut standby: Standby,
    ended: Ended,
    database: &Database,
) -> Result<(), ServerError> {
    let end = ended.map_err(ServerError::new)?;
    let RedoEnd::Promote { at, timeline } = end else {
        return Err(ServerError::new("redo ended without a reason"));
    };
    // Redo may have ended without anybody asking: other nodes are told so, and what bars a promotion bars
    // this.
    node.life.request_promotion();
    node.archive.promotes();
    let stopped = standby.end_receiving().await;
    let log = &node.ground.log;
    log.log(format!("redo done at {at}"));
    if let Some(last) = database.last_redone_commit() {
        log.log(format!("last completed transaction was at log time {}", recovery_target::time_text(last)));
    }
    let replication = node.replication().ok_or_else(|| ServerError::new("replication is not set up"))?;
    fencing::check_promotion(replication)?;
    let new_timeline = new_timeline(node, replication, (timeline, at), standby.is_handed_over()).await?;
    let reason = recovery_target::reason(stopped.as_ref());
    let options = PromoteOptions { new_timeline, reason };
    end_recovery_files(node).await?;
    tell_lower_settings(&node.ground, database);
    match database.tail_behind_redo().filter(|tail| tail.bytes() > 0) {
        Some(tail) if stopped.is_some() => replication.tell_left_behind_target(&tail, timeline),
        Some(tail) => replication.tell_cut(&tail, timeline, "at the promotion"),
        None => {}
    }
    if !host::planted!("the log is not left at a promotion") {
        replication.end_log(at)?;
    }
    let failed = |error: storage::Error| ServerError::new(error.to_string());
    let promotion = database.promote(end, options).await.map_err(failed)?;
    let promoted = promotion.promoted();
    log.log(format!("selected new timeline ID: {}", promoted.timeline));
    replication.promoted(&promoted)?;
    // A start that finds the marker of a handover does not lead: it goes before anybody is acknowledged.
    handover::settle(&node.ground, "this server was promoted");
    // The first writes wait for nothing of what follows.
    promotion.take_writes();
    replication.leave_recovery();
    settle_ended(node, &promotion).await?;
    // Who is told that the server is promoted finds the ended timeline settled.
    log.log("archive recovery complete");
    promotion.end_recovery().await.map_err(failed)?;
    take_promote_file(&node.ground);
    Ok(())
}

/// What belongs to the ended timeline only. Writes were acknowledged by now: whatever of it cannot be done,
/// as for want of space for a file of its own, the server does not end, and a checkpoint does it.
async fn settle_ended(node: &Node, promotion: &Promotion) -> Result<(), ServerError> {
    if let Err(error) = promotion.separate_ended().await {
        tell_shared(&node.ground.log, &error);
        return Ok(());
    }
    let Some(archiver) = node.archive.archiver().cloned() else { return Ok(()) };
    let promoted = promotion.promoted();
    let settle = move || archiver.end_timeline(promoted.old_timeline, promoted.end_file, promoted.switch_at);
    let settled = host::task::blocking(settle).await;
    settled.map_err(|error| ServerError::new(error.to_string()))
}

/// Warns of an ended timeline's last segment that is the log's file still.
pub(super) fn tell_shared(log: &Log, error: &dyn std::fmt::Display) {
    log.warning(format!(
        "could not give the last segment of the ended timeline a file of its own: {error}; it is neither \
         archived nor removed until a checkpoint can"
    ));
}

/// A number for the new timeline, above all that this directory and the archive have seen, of which other
/// nodes have told in this life or an earlier one, and that a standby may have taken to which this
/// node's role was offered. Asks no other node: a promotion does not wait for those, who are asked, and told
/// of it, beside its first writes ([`fencing::watch`]).
///
/// An archive that fails ends a promotion that somebody asked for, as it does PostgreSQL's, and one that
/// hangs holds it up: who asked can mend it and ask again. If the primary has handed its role over nobody is
/// the primary meanwhile, so this node goes on by what it knows itself. Should the archive have that number,
/// branch ids tell the two apart, and `archive_command` refuses the second history file.
async fn new_timeline(
    node: &Node,
    replication: &Replication,
    (parent, at): (TimelineId, Lsn),
    is_handed_over: bool,
) -> Result<TimelineId, ServerError> {
    let failed = |error: io::Error| ServerError::new(format!("could not look for timelines: {error}"));
    let mut newest = newest_here(node, replication, parent).await.map_err(failed)?;
    let asks = !host::planted!("a promotion takes its parent's next number");
    if let Some(restorer) = node.archive.restorer().filter(|_| asks) {
        match newest_archived(restorer, parent, newest, is_handed_over).await {
            Ok(archived) => newest = archived,
            // A stop breaks the promotion off.
            Err(error) if is_handed_over && !node.archive.stop.is_cancelled() => {
                // It may have told a part.
                newest = newest_here(node, replication, parent).await.map_err(failed)?;
                node.ground.log.warning(format!(
                    "could not look for timelines in the archive: {error}; this server takes the number after \
                     {newest}, the newest that it knows"
                ));
            }
            Err(error) => return Err(failed(error)),
        }
    }
    let recovery = &replication.database.options().recovery;
    if recovery.ends_with_log && recovery.follows_latest && recovery.target.is_none() {
        check_continued(node, (parent, at), newest).await?;
    }
    newest.next().ok_or_else(|| ServerError::new("there is no timeline number left"))
}

/// Recovery along the latest timeline may come to know of a later one only when it is over, since the archive
/// did not answer before: then that one must not go on from where the log here never came to.
async fn check_continued(
    node: &Node,
    (timeline, at): (TimelineId, Lsn),
    newest: TimelineId,
) -> Result<(), ServerError> {
    let (disk, pg_wal) = (node.ground.host.disk.clone(), node.ground.data_dir.join("pg_wal"));
    let look = move || {
        let ours = TimelineHistory::load(&*disk, &pg_wal, timeline).map_err(io::Error::other)?;
        // A timeline of the same number may be another branch's.
        let is_ours = |theirs: &TimelineHistory| !theirs.is_twin_of(&ours);
        let later = std::iter::successors(timeline.next(), |last| last.next());
        for later in later.take_while(|later| *later <= newest) {
            if !disk.exists(&pg_wal.join(later.history_file_name()))? {
                continue;
            }
            let history = TimelineHistory::load(&*disk, &pg_wal, later).map_err(io::Error::other)?;
            // One that leaves this timeline before the log's end is no continuation of it.
            let left_at =
                history.up_to(timeline).filter(is_ours).and_then(|_| history.end_of(timeline).ok()?);
            if let Some(end) = left_at.filter(|end| *end > at) {
                let unreached = Unreached { at, timeline, end, target: later };
                return Err(io::Error::other(format!(
                    "recovery cannot end here: {unreached}, which was found only now; start again to follow it, or \
                     set recovery_target_timeline to {timeline} to give it up"
                )));
            }
        }
        Ok(())
    };
    let looked = host::task::blocking(look).await.map_err(|error| ServerError::new(error.to_string()))?;
    looked.map_err(|error: io::Error| ServerError::new(error.to_string()))
}

/// The newest timeline that was seen here, or of which others told.
async fn newest_here(node: &Node, replication: &Replication, parent: TimelineId) -> io::Result<TimelineId> {
    let heard = replication.roster.newest_heard();
    let (control, disk) = (replication.database.control(), node.ground.host.disk.clone());
    let (data_dir, pg_wal) = (node.ground.data_dir.clone(), node.ground.data_dir.join("pg_wal"));
    let looked = host::task::blocking(move || {
        let here = timelines::newest_seen(&*disk, &pg_wal, &control)?;
        if host::planted!("a promotion takes its parent's next number") {
            return Ok(parent);
        }
        let marker = Marker::load(&*disk, &data_dir).map_err(|error| io::Error::other(error.message))?;
        let taken = marker.map_or(TimelineId::INVALID, |marker| marker.taken);
        Ok(here.max(parent).max(heard).max(taken))
    });
    looked.await.map_err(io::Error::other)?
}

/// The newest timeline after `newest` that the archive has without a gap, or `newest`. After a handover,
/// whose log came by a stream with its timeline's history, it is asked for nothing else, and within a limit.
async fn newest_archived(
    restorer: &Arc<Restorer>,
    parent: TimelineId,
    newest: TimelineId,
    is_handed_over: bool,
) -> io::Result<TimelineId> {
    let asked = restorer.clone();
    let mut answer = host::task::blocking(move || {
        if parent > TimelineId::FIRST && !is_handed_over {
            // The new history continues this one: the archive's word on it, if it has one.
            asked.history(parent)?;
        }
        asked.fetch_taken(newest)
    });
    if !is_handed_over {
        return answer.await.map_err(io::Error::other)?;
    }
    let Ok(answered) = tokio::time::timeout(ARCHIVE_LIMIT, &mut answer).await else {
        restorer.give_up();
        // What it just brought is put in its place; a command that does not end brings nothing any more.
        let _ = tokio::time::timeout(ENDING_LIMIT, answer).await;
        let what = format!("restore_command did not end within {} s", ARCHIVE_LIMIT.as_secs());
        return Err(io::Error::new(io::ErrorKind::TimedOut, what));
    };
    answered.map_err(io::Error::other)?
}

/// What comes between the end of redo and the first write: nothing of the fetching stays,
/// recovery_end_command runs.
async fn end_recovery_files(node: &Node) -> Result<(), ServerError> {
    let archive = node.archive.clone();
    let ended = host::task::blocking(move || {
        // Nobody reads them; the next start tries again.
        if let Err(error) = Restorer::remove_temporaries(&archive.ground) {
            archive.ground.log.warning(error.to_string());
        }
        archive.end_recovery()
    });
    match ended.await {
        Ok(ended) => ended.map_err(ServerError::new),
        Err(error) => Err(ServerError::new(error.to_string())),
    }
}
