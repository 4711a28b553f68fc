//! What redo asks of the server around it: where the log goes on, and what to do at the target.

use crate::archive::restore::Restorer;
use crate::configuration::Ground;
use crate::configuration::recovery_target::{self, TargetAction};
use crate::replication::{AT_LATER, Replication};
use host::Timestamp;
use host::sync::Mutex;
use protocol::{Report, Severity, SqlState};
use replica::driver::StandbyFeed;
use std::sync::{Arc, Weak};
use storage::{AtTarget, Conflict, Feed, RecoveryStop, WalFeed};
use wal::reader::EndOfWal;
use wal::timelines::{self, Place, Standing, TargetTimeline, TimelineError};
use wal::{Lsn, ReadError, TimelineId};

/// Redo's view of the node.
pub(super) struct RedoFeed {
    pub(super) ground: Arc<Ground>,
    pub(super) inner: Arc<StandbyFeed>,
    /// Pages may be as new as that: minRecoveryPoint as recovery began.
    pub(super) needed: Lsn,
    pub(super) restorer: Option<Arc<Restorer>>,
    /// Weak, since it has the database, which has this.
    pub(super) replication: Weak<Replication>,
    /// Where redo stopped at its target.
    pub(super) stopped: Arc<Mutex<Option<RecoveryStop>>>,
    /// The cut for a later timeline that was told last: where, and of which one.
    pub(super) told: Mutex<Option<(Lsn, TimelineId)>>,
}

impl RedoFeed {
    /// The view of a node that begins to redo.
    pub(super) fn new(replication: &Arc<Replication>, inner: &Arc<StandbyFeed>) -> Self {
        Self {
            ground: replication.ground.clone(),
            inner: inner.clone(),
            needed: replication.database.control().min_recovery_point,
            restorer: replication.archive.restorer().cloned(),
            replication: Arc::downgrade(replication),
            stopped: Arc::default(),
            told: Mutex::default(),
        }
    }

    /// A newer timeline that continues what is replayed, if the node follows the latest.
    fn newer_timeline(&self) -> Option<TimelineId> {
        // Where replay stands still is not where the log that was received ends.
        if self.inner.damage().is_some() {
            return None;
        }
        if recovery_target::timeline(&self.ground) != TargetTimeline::Latest {
            return None;
        }
        let replication = self.replication.upgrade()?;
        let ours = replication.log.state().history.clone();
        let current = ours.target();
        let log = &self.ground.log;
        if let Some(restorer) = &self.restorer
            && let Err(error) = restorer.fetch_later(current)
        {
            log.warning(format!("could not look for new timelines: {error}"));
        }
        let replayed = self.inner.positions().replayed();
        let (place, record) = (&replication.place, replication.log.record().record());
        let received = record.map_or(TimelineId::INVALID, |record| record.received);
        let pg_wal = Place { disk: &place.disk, pg_wal: &place.pg_wal, segment_size: place.segment_size };
        match timelines::newer(&pg_wal, Standing { current, replayed, needed: self.needed, received }) {
            Ok(history) => {
                let history = history?;
                let newest = history.target();
                let received = replication.log.record().received();
                match timelines::left_behind(&pg_wal, (&ours, &history), received, replayed) {
                    Ok(Some((tail, timeline)))
                        if !host::planted!("a part of a record goes for an archive's history in silence") =>
                    {
                        let cut = Some((tail.from, newest));
                        // What cannot be done now is tried again, and told once.
                        if std::mem::replace(&mut *self.told.lock(), cut) != cut {
                            replication.tell_cut(&tail, timeline, AT_LATER);
                        }
                    }
                    Ok(_) => {}
                    Err(error) => {
                        log.warning(format!("could not read the log of timeline {current}: {error}"));
                        return None;
                    }
                }
                // Nobody writes the log now, and redo looks again from where it is: that much is kept.
                if let Err(error) = replication.log.branch(history, replayed) {
                    log.warning(format!("could not turn to timeline {newest}: {error}"));
                    return None;
                }
                log.log(format!("new target timeline is {newest}"));
                Some(newest)
            }
            Err(error @ TimelineError::History(_)) => {
                log.warning(error.to_string());
                None
            }
            Err(other) => {
                log.log(other.to_string());
                None
            }
        }
    }
}

impl WalFeed for RedoFeed {
    fn wait_past(&self, lsn: Lsn) -> Feed {
        match self.inner.wait_past(lsn) {
            Feed::Again { timeline } => Feed::Again { timeline: self.newer_timeline().unwrap_or(timeline) },
            other => other,
        }
    }

    fn redone(&self, lsn: Lsn) {
        self.inner.redone(lsn);
    }

    fn damaged(&self, at: Lsn, error: &ReadError) {
        self.inner.damaged(at, error);
    }

    fn torn(&self, end: &EndOfWal) {
        self.inner.torn(end);
    }

    fn before_conflict(&self, conflict: &Conflict, are_held: &dyn Fn() -> bool) -> u64 {
        self.inner.before_conflict(conflict, are_held)
    }

    fn may_replay(&self, at: Lsn, end: Lsn, committed: Option<Timestamp>) -> bool {
        self.inner.may_replay(at, end, committed)
    }

    fn at_target(&self, stop: &RecoveryStop) -> AtTarget {
        self.ground.log.log(recovery_target::stopping(stop));
        *self.stopped.lock() = Some(stop.clone());
        match recovery_target::action(&self.ground) {
            TargetAction::Promote => AtTarget::Promote,
            TargetAction::ShutDown => AtTarget::ShutDown,
            TargetAction::Pause => {
                let report = Report::new(
                    Severity::Log,
                    SqlState::SUCCESSFUL_COMPLETION,
                    "pausing at the end of recovery",
                );
                let hint = "Execute pg_wal_replay_resume() to promote.".to_owned();
                self.ground.log.write(None, &Report { hint: Some(hint), ..report }, None);
                self.inner.hold_at_target()
            }
        }
    }
}
