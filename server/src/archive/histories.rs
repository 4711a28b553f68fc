//! A timeline's history goes into the archive before its log.
//!
//! Whoever recovers from an archive tells by the histories there whose the segments are. Beside the history
//! of another branch of the same number, a segment of ours would be replayed as that branch's.
//!
//! | the history's mark | what comes before the timeline's other files |
//! | ---- | ---- |
//! | it waits (or has no mark, with archive_mode = always) | archive_command takes it |
//! | it is done, or has none | nothing, if restore_command gives it, or is not set (as in PostgreSQL) |
//!
//! A mark that is done may have come with a copy, and no mark is left of what came in a stream. So if
//! restore_command gives none, or another branch's, archive_command is asked to take the history all the
//! same. If it refuses that, too, nothing of the timeline is archived where the archive has another branch's;
//! else it may be another archive that is read, or one that is away: the mark is believed for this file, and
//! the next has both asked again, until two files went through. A change of either command has all asked
//! anew.

use super::archiver::{Archiver, Mode};
use super::restore::{Asked, brought, remove};
use super::shell::Outcome;
use std::io;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use wal::history::{HISTORY_FILE_SIZE_MAX, TimelineHistory};
use wal::{Archived, TimelineId};

/// How long restore_command may take for a history.
const ASKED_LIMIT: Duration = Duration::from_secs(30);

/// Where the archive's history is put to be compared.
const ARCHIVED_HISTORY: &str = "plimsoll/archived_history";

/// What a file waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    Nothing,
    /// Its timeline's history, which is marked to go.
    History,
    /// Somebody to mend the archive, which has another branch of the timeline.
    Mending,
    /// The server stops at once.
    Stopped,
}

/// What restore_command has.
enum There {
    /// It is not set.
    Unasked,
    Ours,
    Anothers,
    /// Nothing, as far as can be told.
    Nothing,
    Stopped,
}

/// The timeline whose files wait for a history; the first has none.
pub(super) fn timeline_of(name: &str) -> Option<TimelineId> {
    TimelineId::of_file_name(name).filter(|timeline| *timeline > TimelineId::FIRST)
}

impl Archiver {
    /// What must be done before a file is archived.
    pub(super) async fn before(&self, name: &str, stop: &CancellationToken) -> io::Result<Before> {
        let Some(timeline) = timeline_of(name) else { return Ok(Before::Nothing) };
        let history = timeline.history_file_name();
        let is_clear = history == name || self.cleared.lock().contains(&timeline);
        if is_clear || !self.status.file_exists(&history)? {
            return Ok(Before::Nothing);
        }
        if self.mode == Mode::Always {
            self.status.notify(&history)?;
        }
        if self.status.of(&history)? == Archived::Ready {
            return Ok(Before::History);
        }
        let there = self.archived_history(timeline, stop).await?;
        let is_anothers = match there {
            There::Unasked => return Ok(Before::Nothing),
            There::Stopped => return Ok(Before::Stopped),
            There::Ours => return Ok(self.clear(timeline)),
            There::Anothers => true,
            There::Nothing => false,
        };
        let template = self.ground.settings().show("archive_command").unwrap_or_default();
        if template.trim().is_empty() {
            return Ok(Before::Nothing);
        }
        match self.run(&template, &history, stop).await {
            Outcome::Stopped => return Ok(Before::Stopped),
            Outcome::Done => {
                self.status.force_done(&history)?;
                self.count(&history, true);
            }
            Outcome::Failed { .. } | Outcome::Broken { .. } if is_anothers => {
                self.count(&history, false);
                if self.refused.lock().insert(timeline) {
                    self.warn_of_twin(timeline);
                }
                return Ok(Before::Mending);
            }
            // The archive may be away: the next file has it asked again.
            Outcome::Failed { .. } | Outcome::Broken { .. } => return Ok(Before::Nothing),
        }
        Ok(self.clear(timeline))
    }

    /// The archive has our history for sure: nothing is asked for the timeline's other files.
    fn clear(&self, timeline: TimelineId) -> Before {
        self.cleared.lock().insert(timeline);
        Before::Nothing
    }

    /// A file is archived. The second of a timeline shows that the archive takes its files, and is not one
    /// that came back between the looks.
    pub(super) fn passed(&self, name: &str) {
        let Some(timeline) = timeline_of(name) else { return };
        if !self.passed.lock().insert(timeline) {
            self.clear(timeline);
        }
    }

    /// The commands that give the answers.
    pub(super) fn commands_in_force(&self) -> [Option<String>; 2] {
        let settings = self.ground.settings();
        ["archive_command", "restore_command"].map(|name| settings.show(name).ok())
    }

    /// The commands are others, and may speak of another archive.
    pub(super) fn forget_answers(&self) {
        for answers in [&self.cleared, &self.refused, &self.passed] {
            answers.lock().clear();
        }
    }

    /// Asks restore_command for the history of a timeline, and compares it with the own one.
    async fn archived_history(&self, timeline: TimelineId, stop: &CancellationToken) -> io::Result<There> {
        let (disk, name) = (&*self.ground.host.disk, timeline.history_file_name());
        let oldest = super::oldest_needed(self.database());
        let asked = Asked { name: &name, path: ARCHIVED_HISTORY, oldest: &oldest };
        // What is not waited for any more ends with the guard.
        let limit = stop.child_token();
        let _ends = limit.clone().drop_guard();
        let running = asked.run(&self.ground, &self.commands, &limit);
        let Ok(ran) = tokio::time::timeout(ASKED_LIMIT, running).await else {
            let seconds = ASKED_LIMIT.as_secs();
            self.ground.log.warning(format!(
                "restore_command did not bring \"{name}\" within {seconds} s, by which it is known whether the \
                 archive has this server's history of timeline {timeline}: files of that are archived without"
            ));
            return Ok(There::Nothing);
        };
        match ran? {
            None => return Ok(There::Unasked),
            Some(Outcome::Stopped) => return Ok(There::Stopped),
            Some(Outcome::Done) => {}
            Some(_) => return Ok(There::Nothing),
        }
        let path = self.ground.data_dir.join(ARCHIVED_HISTORY);
        let read = match brought(disk, &path, &name) {
            Ok(None) => return Ok(There::Nothing),
            Ok(Some(_)) => disk.read(&path, HISTORY_FILE_SIZE_MAX),
            Err(error) => Err(error),
        };
        remove(disk, &path)?;
        let text = String::from_utf8_lossy(&read?).into_owned();
        let pg_wal = self.ground.data_dir.join("pg_wal");
        let own = TimelineHistory::load(disk, &pg_wal, timeline).map_err(io::Error::other)?;
        Ok(match TimelineHistory::parse(timeline, &text) {
            Ok(archived) if archived == own => There::Ours,
            Ok(archived) if own.is_twin_of(&archived) => There::Anothers,
            _ => There::Nothing,
        })
    }

    fn warn_of_twin(&self, timeline: TimelineId) {
        let message = format!(
            "the archive has the history of another branch with the number of timeline {timeline}, whose \
             files are not archived"
        );
        let hint = "Archive this server's log elsewhere, or promote it once more: a timeline's number is \
                    free if the archive does not know it. If it is only restore_command that reads \
                    another archive, unset it.";
        let report = protocol::Report::warning(protocol::SqlState::WARNING, message);
        self.ground.log.write(None, &protocol::Report { hint: Some(hint.to_owned()), ..report }, None);
    }
}
