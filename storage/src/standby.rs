//! A database in recovery: redo that follows a growing log while readers read.

use crate::engine::Engine;
use crate::replay::Replay;
use crate::{Error, open};
use std::sync::Arc;
use wal::history::TimelineHistory;
use wal::reader::{EndOfWal, Next, SegmentFiles, WalReader};
use wal::{Lsn, TimelineId, Xid};

/// Tells redo how far the log in pg_wal may be read.
pub trait WalFeed: Send + Sync {
    /// Blocks until there is log past `lsn`, or redo shall end. Called on redo's own thread; the first time when
    /// everything is redone that pg_wal held, with the position from which more is needed.
    fn wait_past(&self, lsn: Lsn) -> Feed;
    /// Called after each batch with the new replayed position, before the next wait.
    fn replayed(&self, lsn: Lsn) {
        let _ = lsn;
    }
    /// Called before snapshots are given up that do not see all xids below `horizon`. It may block for as long as
    /// such snapshots shall be waited for (max_standby_streaming_delay); they are given up when it returns.
    fn before_conflict(&self, horizon: Xid) {
        let _ = horizon;
    }
    /// Whether to go on with the record that ends at `end`: asked before each commit record's batch, it may block
    /// (paused replay).
    fn may_replay(&self, end: Lsn) -> bool {
        let _ = end;
        true
    }
}

/// What [`WalFeed::wait_past`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    /// The log in pg_wal is flushed up to here (exclusive), on the history of this timeline.
    Available {
        /// The end, exclusive; need not be a record's.
        upto: Lsn,
        /// The latest timeline; history files say where it forks off.
        timeline: TimelineId,
    },
    /// Redo what is whole, then end for a promotion.
    Promote,
    /// End now.
    Stop,
}

/// Why [`StandbyRedo::run`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedoEnd {
    /// The feed said [`Feed::Promote`]: all whole records are redone.
    Promote {
        /// The end of the last one, aligned: where a new timeline begins.
        at: Lsn,
        /// The timeline that it is on.
        timeline: TimelineId,
    },
    /// The feed said [`Feed::Stop`].
    Stopped {
        /// The end of the last record redone.
        at: Lsn,
    },
}

/// Redo of a standby, to be run on a thread of its own.
pub struct StandbyRedo {
    engine: Arc<Engine>,
    replay: Replay,
    reader: WalReader<SegmentFiles>,
}

impl std::fmt::Debug for StandbyRedo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StandbyRedo").field("next_lsn", &self.next_lsn()).finish_non_exhaustive()
    }
}

/// Records between two looks at who waits for the replayed position.
const BATCH_RECORDS: u32 = 256;

impl StandbyRedo {
    pub(crate) fn new(engine: Arc<Engine>, replay: Replay, reader: WalReader<SegmentFiles>) -> Self {
        Self { engine, replay, reader }
    }

    /// Redoes the log as `feed` lets it, until the feed ends it or a record is damaged. All that pg_wal holds is
    /// redone before the feed is asked for the first time.
    pub fn run(&mut self, feed: &dyn WalFeed) -> Result<RedoEnd, Error> {
        self.reader.source_mut().clear_limit();
        self.redo_available(feed)?;
        let mut asked_from = self.replay.at;
        loop {
            match feed.wait_past(asked_from) {
                Feed::Available { upto, timeline } => {
                    if timeline != self.reader.source().history().target() {
                        self.follow(timeline)?;
                    }
                    self.reader.source_mut().set_limit(upto);
                    self.redo_available(feed)?;
                    asked_from = asked_from.max(upto);
                }
                Feed::Promote => {
                    self.redo_available(feed)?;
                    self.engine.park_replay(&self.replay);
                    let (at, timeline) = (self.replay.at, self.replay.timeline);
                    return Ok(RedoEnd::Promote { at, timeline });
                }
                Feed::Stop => return Ok(RedoEnd::Stopped { at: self.replay.at }),
            }
        }
    }

    fn follow(&mut self, timeline: TimelineId) -> Result<(), Error> {
        let history = TimelineHistory::load(&*self.engine.host.disk, &self.engine.wal_dir(), timeline)
            .map_err(|error| Error::Unusable(error.to_string()))?;
        let ends =
            history.end_of(self.replay.timeline).map_err(|error| Error::Unusable(error.to_string()))?;
        if !history.contains(self.replay.timeline) || ends.is_some_and(|end| self.replay.at > end) {
            let what = format!(
                "timeline {timeline} is no continuation of timeline {}, which was replayed up to {}",
                self.replay.timeline, self.replay.at
            );
            return Err(Error::Unusable(what));
        }
        self.reader.source_mut().set_history(history);
        Ok(())
    }

    fn redo_available(&mut self, feed: &dyn WalFeed) -> Result<Option<EndOfWal>, Error> {
        let mut in_batch = 0;
        loop {
            match self.reader.next().map_err(open::read_error)? {
                Next::Record(record) => {
                    if !feed.may_replay(record.end()) {
                        self.reader.seek(record.start(), Some(self.replay.last_record));
                        return Ok(None);
                    }
                    if let Some(timeline) = self.reader.page_timeline() {
                        self.replay.timeline = self.replay.timeline.max(timeline);
                        self.engine.set_timeline(self.replay.timeline);
                    }
                    self.replay.redo(&record, Some(feed))?;
                    in_batch += 1;
                    if in_batch == BATCH_RECORDS {
                        in_batch = 0;
                        feed.replayed(self.replay.at);
                    }
                }
                Next::End(end) => {
                    self.replay.check_consistent()?;
                    self.replay.tell_progress();
                    self.engine.remove_dropped()?;
                    feed.replayed(self.replay.at);
                    return Ok(Some(end));
                }
            }
        }
    }

    /// Where the next record begins that will be redone: where streaming starts if pg_wal holds no more.
    pub fn next_lsn(&self) -> Lsn {
        self.replay.at
    }
}
