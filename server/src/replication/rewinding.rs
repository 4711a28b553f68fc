//! What a rewind means to a node: the record of what it discards, and the command that carries one out.

use super::ledger::{LedgerEntry, read_ledger, record_once, take_back_last};
use crate::archive::shell::has_placeholder;
use crate::configuration::{Ground, recovery_target};
use host::{FileKind, Host, shell_word};
use replica::ReplicaError;
use rewind::{Counts, Draft, Need, Report, Rewind, RewindError, SourceName, remove_report};
use std::path::{Path, PathBuf};

/// The ledger's event of a rewind: the range goes.
pub(crate) const DISCARDED: &str = "discarded";

/// Writes down durably what a rewind will discard, when it is ready and before anything changes: in a file,
/// whose path it gives, and in the ledger. What an earlier run of this rewind wrote stays: it saw the files
/// as they were. Each line of the file is shown, too. None if there is nothing to discard.
///
/// The file gets its name when the marker stands, and then the ledger says it: the ledger names no file that
/// is not there. Before the marker a run that is killed leaves a directory whose server may start and write
/// on: what the next rewind discards would be another range, told and kept anew. What a run that is killed
/// after the marker has not done the next one does, from the same files, and tells nothing twice: the file's
/// name tells them apart.
///
/// # Errors
///
/// If the rewind cannot be made ready, its log cannot be read, or the file, the marker or the ledger cannot
/// be written.
pub async fn keep_discarded(
    host: &Host,
    data_dir: &Path,
    rewind: &mut Rewind,
    show: &mut (dyn FnMut(&serde_json::Value) + Send),
) -> Result<Option<(PathBuf, Counts)>, RewindError> {
    rewind.make_ready().await?;
    let Need::Diverged(divergence) = rewind.need() else { return Ok(None) };
    let given_up = Report::given_up(rewind)?;
    let of_draft = |draft: &Draft| (draft.path().to_owned(), draft.counts());
    let (draft, (path, counts)) = match (Report::of_earlier_run(rewind, divergence, show)?, given_up.first())
    {
        (Some(kept), _) => (None, kept),
        (None, Some(told)) if rewind.begun().is_some_and(|begun| !begun.is_untouched) => {
            // The marker stands already, and what is narrowed goes before it says another branch.
            let draft = Report::narrowed(rewind, divergence, told, show)?;
            draft.keep()?;
            (None, of_draft(&draft))
        }
        (None, _) => {
            let draft = Report::new(rewind, divergence)?.draft(show)?;
            let kept = of_draft(&draft);
            (Some(draft), kept)
        }
    };
    // Up to here nothing is changed.
    rewind.target().goes_on()?;
    take_back(host, data_dir, given_up)?;
    let (from, to) = (rewind.target().timeline(), rewind.timeline());
    let Counts { commits, changes } = counts;
    let kept = kept_in(&path);
    let entry = LedgerEntry {
        at: host.clock.now(),
        event: DISCARDED.to_owned(),
        after: divergence.fork.at,
        upto: divergence.end,
        reason: format!(
            "rewind from timeline {from} to {to}{}: {commits} commits with {changes} changes, {kept}",
            dropped_slots(host, data_dir)?
        ),
    };
    let is_same = |told: &LedgerEntry| is_told_as(told, &kept);
    rewind.mark()?;
    let named = match &draft {
        Some(draft) => draft.keep(),
        None => settle_name(host, &path),
    };
    let told = named.and_then(|()| record_once(host, data_dir, &entry, &is_same).map_err(ledger_error));
    if let Err(error) = told {
        // Nothing has changed, so the server may go on; unless the ledger has the entry nevertheless, since
        // the disk did not let it be taken back. Where the marker stays, the next rewind goes on.
        let is_told = read_ledger(host, data_dir).is_ok_and(|entries| entries.iter().any(is_same));
        if !is_told && draft.as_ref().is_none_or(|draft| draft.take_back().is_ok()) {
            let _ = rewind.unmark();
        }
        return Err(error);
    }
    Ok(Some((path, counts)))
}

/// Leaves a directory that has nothing to give up as it is: also one in which an earlier run was broken off
/// before it changed anything. What that has told goes, and then its marker.
///
/// # Errors
///
/// If the log cannot be read, or the ledger, the file or the marker cannot be changed.
pub fn leave_as_is(host: &Host, data_dir: &Path, rewind: &mut Rewind) -> Result<(), RewindError> {
    if !matches!(rewind.need(), Need::Nothing) {
        return Ok(());
    }
    take_back(host, data_dir, Report::given_up(rewind)?)?;
    rewind.give_up_begun()
}

/// What earlier runs have told that were to go to other branches is not what they said: their entries, the
/// last first, and their files go while the marker still says that they were begun. Nothing is lost by an
/// entry that stays since others follow it: it tells of commits as discarded that are there.
fn take_back(host: &Host, data_dir: &Path, mut told: Vec<PathBuf>) -> Result<(), RewindError> {
    loop {
        let before = told.len();
        for path in std::mem::take(&mut told) {
            let kept = kept_in(&path);
            if take_back_last(host, data_dir, &|told| is_told_as(told, &kept)).map_err(ledger_error)? {
                remove_report(&*host.disk, &path)?;
            } else {
                told.push(path);
            }
        }
        if told.len() == before {
            return Ok(());
        }
    }
}

/// How the ledger names a file of what was discarded.
fn kept_in(path: &Path) -> String {
    format!("kept in plimsoll/{}", path.file_name().unwrap_or_default().to_string_lossy())
}

/// The slots of a directory, none of which a rewind keeps, as its entry of the ledger names them.
fn dropped_slots(host: &Host, data_dir: &Path) -> Result<String, RewindError> {
    let folder = data_dir.join("pg_replslot");
    let entries = match host.disk.list(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        entries => entries.map_err(|error| RewindError::Io { path: folder.display().to_string(), error })?,
    };
    let folders = entries.iter().filter(|entry| entry.kind == FileKind::Directory);
    let names: Vec<_> = folders.map(|entry| format!("\"{}\"", entry.name)).collect();
    Ok(if names.is_empty() {
        String::new()
    } else {
        format!(", without replication slots {}", names.join(", "))
    })
}

fn is_told_as(told: &LedgerEntry, kept: &str) -> bool {
    told.event == DISCARDED && told.reason.ends_with(kept)
}

fn ledger_error(error: std::io::Error) -> RewindError {
    RewindError::Io { path: "plimsoll/ledger".to_owned(), error }
}

/// Makes the name of an earlier run's file durable: that run may have been killed before it was.
fn settle_name(host: &Host, path: &Path) -> Result<(), RewindError> {
    let folder = path.parent().unwrap_or(path);
    let failed = |error| RewindError::Io { path: folder.display().to_string(), error };
    host.disk.sync_dir(folder).map_err(failed)
}

/// Whether a receiver fails because the log here goes on where its upstream's does not.
pub(crate) fn is_astray(error: &ReplicaError) -> bool {
    matches!(
        error,
        ReplicaError::ForkedBefore { .. } | ReplicaError::NotAChild { .. } | ReplicaError::Twin { .. }
    )
}

/// Why a standby does not rewind itself: it is to stay behind its upstream, or on its own timeline, and what
/// a rewind brings is as new as the source.
pub(crate) fn why_held(ground: &Ground) -> Option<String> {
    let (settings, config) = (ground.settings(), ground.config());
    let timeline = config.recovery_target_timeline.as_ref() != "latest";
    let delay = !config.recovery_min_apply_delay.is_zero();
    let others = [("recovery_target_timeline", timeline), ("recovery_min_apply_delay", delay)];
    let others = others.into_iter().filter_map(|(name, holds)| holds.then_some(name));
    let held_by = recovery_target::named(&settings).map(|(name, _)| name).chain(others).next()?;
    Some(format!("{held_by} holds it back, and what it would be rewound to is newer"))
}

/// What to run on this server's machine to have its directory follow the server of this connection string.
pub(crate) fn commands(ground: &Ground, upstream: &str) -> String {
    let source = SourceName::Server(upstream.to_owned()).shown();
    let (source, data) = (shell_word(&source), shell_word(&ground.data_dir.display().to_string()));
    let config = ground.config();
    let command = config.restore_command.trim();
    // It refuses a command that is told what may go from the archive.
    let archive = if command.is_empty() || has_placeholder(command, 'r') { "" } else { " -c" };
    format!("plimsoll stop -D {data} && plimsoll rewind --source {source} -D {data}{archive}")
}

#[cfg(test)]
mod tests;
