//! A database in recovery: redo that follows a growing log while readers read.
//!
//! Redo reads pg_wal alone. What brings log there is outside: a supply that is asked for each segment before
//! it is opened (an archive), and a feed that says how far a receiver has come. Never both at once: while the
//! feed says [`Feed::Available`] the supply is off, since the receiver writes the segments that it would
//! replace; with [`Feed::Again`] it is on, and nobody else writes.

use super::read_ahead::{Ended, read_ahead};
use super::replay::Replay;
use crate::changes::redo::Pins;
use crate::engine::Engine;
use crate::engine::recovery_state::Parked;
use crate::error::read_error;
use crate::{ConflictKind, Error, RecoveryStop, TreeId};
use host::Timestamp;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use wal::history::TimelineHistory;
use wal::log_branch::RECEIVED_FILE;
use wal::reader::{ArchivedEnd, CutTail, EndOfWal, Next, ReadError, SegmentFiles, WalReader};
use wal::timelines::Unreached;
use wal::{Lsn, Record, TimelineId, Xid};

/// Tells redo how far the log in pg_wal may be read.
pub trait WalFeed: Send + Sync {
    /// Blocks until there is log past `lsn`, or redo shall end. Called on redo's own thread; the first time
    /// when everything is redone that pg_wal held. `lsn`: the end of the last record redone.
    fn wait_past(&self, lsn: Lsn) -> Feed;
    /// Called after each batch with the end of what is redone, before the next wait.
    fn redone(&self, lsn: Lsn) {
        let _ = lsn;
    }
    /// Called when readers are in redo's way. It may block for as long as they shall be waited for
    /// (max_standby_streaming_delay) and `are_held` says that there are some; they are given up when it
    /// returns, which says how many had to be told.
    fn before_conflict(&self, conflict: &Conflict, are_held: &dyn Fn() -> bool) -> u64 {
        let _ = (conflict, are_held);
        0
    }
    /// Whether to go on with the record that ends at `end`: asked before each record, it may block (paused or
    /// delayed replay), and tells [`WalFeed::redone`] first, `at`. `committed` is the time of a commit that
    /// readers would see.
    fn may_replay(&self, at: Lsn, end: Lsn, committed: Option<Timestamp>) -> bool {
        let _ = (at, end, committed);
        true
    }
    /// What was received cannot be read behind `at`, to where all is redone: it has to come again from there.
    /// Told each time that redo comes upon it.
    fn damaged(&self, at: Lsn, error: &ReadError) {
        let _ = (at, error);
    }
    /// What lies behind the last record that could be redone is not whole. Told each time that redo comes
    /// upon it.
    fn torn(&self, end: &EndOfWal) {
        let _ = end;
    }
    /// The recovery target is reached: what now? It may block (recovery_target_action = pause).
    fn at_target(&self, stop: &RecoveryStop) -> AtTarget {
        let _ = stop;
        AtTarget::Promote
    }
}

/// What [`WalFeed::at_target`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtTarget {
    /// End redo for a promotion.
    Promote,
    /// End it and shut down; the next start goes on from here.
    ShutDown,
    /// End it: the node stops.
    Stop,
}

/// What replay is about to do to readers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Snapshots are given up that do not see all xids below this.
    Snapshot {
        /// The first xid that they need not see.
        horizon: Xid,
    },
    /// Transactions are given up that hold a lock on one of these tables or indexes.
    Lock {
        /// Those that are dropped.
        trees: Arc<[TreeId]>,
    },
}

impl Conflict {
    /// Why.
    pub const fn kind(&self) -> ConflictKind {
        match self {
            Self::Snapshot { .. } => ConflictKind::Snapshot,
            Self::Lock { .. } => ConflictKind::Lock,
        }
    }
}

/// What [`WalFeed::wait_past`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    /// The log in pg_wal is written up to here (exclusive), on the history of this timeline.
    Available {
        /// The end, exclusive; need not be a record's.
        upto: Lsn,
        /// The latest timeline; history files say where it forks off.
        timeline: TimelineId,
        /// Moves when the log behind the last whole record may be another one than before.
        generation: u64,
    },
    /// Look again for log in the archive and in pg_wal; nobody else writes there now.
    Again {
        /// The latest timeline; the receiver may have turned to another one before it ended.
        timeline: TimelineId,
    },
    /// Nothing has come for a while, and what came last is a part of a record: look whether it can be one.
    Stalled,
    /// Redo what is whole, then end for a promotion.
    Promote {
        /// The latest timeline, which the promoted one goes on from if the log reaches its begin.
        timeline: TimelineId,
    },
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
        /// The timeline that ends there: the one that was followed, also if nothing of it is redone, or its
        /// ancestor if it begins later.
        timeline: TimelineId,
    },
    /// The recovery target is reached, and the node shall shut down.
    ShutDown {
        /// The end of the last record redone.
        at: Lsn,
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
    /// The reader asks the supply.
    supplied: bool,
}

/// How a run over the log that is there ended.
enum Ran {
    /// Nothing more is there, for this reason.
    OutOfLog(EndOfWal),
    /// Redo shall not go on.
    BrokenOff,
    /// The target is reached.
    Stopped(RecoveryStop),
}

impl fmt::Debug for StandbyRedo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StandbyRedo").field("next_lsn", &self.next_lsn()).finish_non_exhaustive()
    }
}

/// Records between two looks at who waits for what is redone; few, since each may have to wait for a
/// page from disk.
const BATCH_RECORDS: u32 = 32;
/// Log that waits for redo is read ahead of it from so much on.
const BACKLOG_BYTES: u64 = 1 << 20;

impl StandbyRedo {
    pub(crate) fn new(engine: Arc<Engine>, replay: Replay, reader: WalReader<SegmentFiles>) -> Self {
        Self { engine, replay, reader, supplied: true }
    }

    /// Redoes the log as `feed` lets it, until the feed ends it, the target is reached, or a record is
    /// damaged. All that the archive and pg_wal hold is redone before the feed is asked for the first time. A
    /// panic in it ends the process.
    ///
    /// # Errors
    /// Fails if a record is damaged or does not fit, a file cannot be read or written, or the log ends too
    /// early.
    pub fn run(&mut self, feed: &dyn WalFeed) -> Result<RedoEnd, Error> {
        let _vital = host::vital("redo");
        self.reader.source_mut().clear_limit();
        let mut ran = self.redo_received(feed)?;
        let mut read_generation = None;
        loop {
            if let Ran::Stopped(stop) = ran {
                return self.end_at_target(feed, &stop);
            }
            ran = match feed.wait_past(self.replay.at) {
                Feed::Available { upto, timeline, generation } => {
                    self.follow(timeline)?;
                    if std::mem::take(&mut self.supplied) {
                        self.reader.source_mut().use_supply(false);
                        // What was received and is gone is damage, and can come again.
                        self.reader.source_mut().let_gaps_end_the_log(true);
                    }
                    self.reader.source_mut().set_limit(upto);
                    if read_generation.replace(generation) != Some(generation)
                        && !host::planted!("redo reads on in what was cut")
                    {
                        self.read_anew();
                    }
                    if self.is_backlog(upto) {
                        self.redo_backlog(feed)?;
                    }
                    self.redo_received(feed)?
                }
                Feed::Again { timeline } => {
                    self.look_again(timeline)?;
                    self.redo_received(feed)?
                }
                Feed::Stalled => {
                    if let Ran::OutOfLog(end) = &ran {
                        self.tell_damage(feed, end, false)?;
                    }
                    ran
                }
                Feed::Promote { timeline } => {
                    self.follow(timeline)?;
                    self.read_to_received();
                    self.read_anew();
                    match self.redo_archived(feed)? {
                        ran @ Ran::Stopped(_) => ran,
                        Ran::OutOfLog(end) => return self.end_of_log(Some(end)),
                        Ran::BrokenOff => return self.end_of_log(None),
                    }
                }
                Feed::Stop => return Ok(RedoEnd::Stopped { at: self.replay.at }),
            }
        }
    }

    /// Looks at the archive and pg_wal once more: files may have been replaced.
    fn look_again(&mut self, timeline: TimelineId) -> Result<(), Error> {
        self.follow(timeline)?;
        self.supplied = true;
        self.reader.source_mut().clear_limit();
        self.reader.source_mut().use_supply(true);
        self.read_anew();
        Ok(())
    }

    /// Reads on from the last record's end, with no byte behind it kept from before.
    fn read_anew(&mut self) {
        let previous = (self.replay.records > 0).then_some(self.replay.last_record);
        self.reader.seek(self.replay.at, previous);
    }

    fn end_at_target(&mut self, feed: &dyn WalFeed, stop: &RecoveryStop) -> Result<RedoEnd, Error> {
        feed.redone(self.replay.at);
        self.replay.tell_progress(None);
        self.engine.remove_dropped()?;
        if !self.engine.recovery.is_consistent() {
            let what = "requested recovery stop point is before consistent recovery point";
            return Err(Error::Unusable(what.to_owned()));
        }
        Ok(match feed.at_target(stop) {
            AtTarget::Promote => {
                let tail = self.left_at_target();
                self.end_for_promotion(tail)?
            }
            AtTarget::ShutDown => RedoEnd::ShutDown { at: self.replay.at },
            AtTarget::Stop => RedoEnd::Stopped { at: self.replay.at },
        })
    }

    /// What was received behind the target at which redo ends. What an archive has behind it nobody has
    /// confirmed here. The promotion does not need it, nor that it can be read.
    fn left_at_target(&mut self) -> Option<CutTail> {
        let from = self.replay.at;
        let received = self.received().filter(|received| *received > from)?;
        self.reader.source_mut().clear_limit();
        self.read_here_alone();
        self.read_anew();
        let mut left = CutTail { from, upto: received, whole_records: 0 };
        let mut end = from;
        while let Ok(Next::Record(record)) = self.reader.next() {
            left.whole_records += 1;
            end = record.end();
        }
        let behind = self.reader.tail_behind(end).ok();
        left.whole_records += behind.map_or(0, |behind| behind.whole_records);
        left.upto = left.upto.max(behind.map_or(end, |behind| behind.upto));
        Some(left)
    }

    /// Redoes what there is, and tells if that is not all that there should be.
    fn redo_received(&mut self, feed: &dyn WalFeed) -> Result<Ran, Error> {
        let ran = self.redo_available(feed)?;
        if let Ran::OutOfLog(end) = &ran {
            self.tell_damage(feed, end, true)?;
        }
        Ok(ran)
    }

    /// Tells the feed if the log does not end like this. `more_comes`: as [`WalReader::ends_within`] has it.
    fn tell_damage(&mut self, feed: &dyn WalFeed, end: &EndOfWal, more_comes: bool) -> Result<(), Error> {
        match self.damage(end, more_comes)? {
            Some(error) => feed.damaged(self.replay.at, &error),
            None if end.torn => feed.torn(end),
            None => {}
        }
        Ok(())
    }

    /// What was received before lies here, if no primary has sent it again yet: a promotion leaves none of it
    /// out.
    fn read_to_received(&mut self) {
        let received = self.received();
        let source = self.reader.source_mut();
        if let (Some(limit), Some(received)) = (source.limit(), received) {
            source.set_limit(limit.max(received));
        }
    }

    /// How far the log that is read was received, if that is known.
    fn received(&self) -> Option<Lsn> {
        self.engine.branch.received()?.along(self.reader.source().history())
    }

    /// Why the log cannot end like this, if all below the reader's limit has come, or else all that a
    /// receiver ever made durable.
    fn damage(&mut self, end: &EndOfWal, more_comes: bool) -> Result<Option<ReadError>, Error> {
        if host::planted!("damage in what a standby received passes for the log's end") {
            return Ok(None);
        }
        let came = self.reader.source().limit().or_else(|| self.received());
        let Some(came) = came.filter(|came| *came > end.at) else { return Ok(None) };
        let supplied = self.supplied;
        self.read_here_alone();
        let found = self.reader.ends_within(end, came, more_comes);
        let is_damage = found.map_err(|error| read_error(error.into()))?;
        let error = is_damage.then(|| self.reader.damage_at(end, came));
        if is_damage {
            let upto = self.reader.bad_upto(end).min(came);
            self.reader.source_mut().note_damage(end.at..upto);
            self.engine.branch.keep_received();
        }
        if supplied {
            self.supplied = true;
            self.reader.source_mut().use_supply(true);
        }
        self.read_anew();
        Ok(error)
    }

    /// Asks the supply no more. What it has got since redo came to an end would lie behind that, whole, and
    /// not redone: the next look brings it, or it is no part of what is here.
    fn read_here_alone(&mut self) {
        if std::mem::take(&mut self.supplied) {
            self.reader.source_mut().use_supply(false);
        }
    }

    /// Redoes what there is for a promotion, with all that the archive has by the time that its log ends;
    /// fails if that cannot end there.
    fn redo_archived(&mut self, feed: &dyn WalFeed) -> Result<Ran, Error> {
        let mut grown_at = None;
        loop {
            let ran = self.redo_available(feed)?;
            let Ran::OutOfLog(end) = &ran else { return Ok(ran) };
            if !self.supplied {
                return Ok(ran);
            }
            self.reader.source_mut().clear_limit();
            // Without standby.signal nothing is streamed, unless it was before.
            let Engine { options, branch, .. } = &*self.engine;
            let came_whole = options.recovery.ends_with_log && branch.received().is_none();
            match self.reader.archived_end(end, came_whole).map_err(|error| read_error(error.into()))? {
                ArchivedEnd::Ends => return Ok(ran),
                // An archive that has it at one time and not at another is no better than a bad one.
                ArchivedEnd::Grown(_) if grown_at.replace(self.replay.at) != Some(self.replay.at) => {}
                ArchivedEnd::Grown(error) | ArchivedEnd::Damaged(error) => {
                    return Err(self.cannot_end(&error.to_string(), "a good copy of what is bad"));
                }
            }
        }
    }

    /// The error of an end that is none, and what mends it in the archive.
    fn cannot_end(&self, why: &str, mends: &str) -> Error {
        let mut what = format!("recovery cannot end here: {why}; put {mends} into the archive");
        if self.engine.recovery.is_consistent() {
            what += &format!(
                ", or set recovery_target_lsn to '{}', inclusive and as the only target, to give up what lies behind",
                self.replay.last_record
            );
        }
        Error::Unusable(what)
    }

    /// The log is over. That a target was not reached, the data is not consistent, or log is lost that was
    /// here, must not pass for success.
    fn end_of_log(&mut self, end: Option<EndOfWal>) -> Result<RedoEnd, Error> {
        self.reader.source_mut().clear_limit();
        self.read_here_alone();
        if let Some(end) = end
            && let Some(error) = self.damage(&end, false)?
        {
            return Err(Error::Unusable(format!(
                "this standby cannot be promoted: {error}; a primary or an archive that has it will mend it; a start \
                 without {RECEIVED_FILE} gives up what lies behind"
            )));
        }
        let recovery = &self.engine.options.recovery;
        if recovery.target.is_some() {
            let what = "recovery ended before configured recovery target was reached";
            return Err(Error::Unusable(what.to_owned()));
        }
        if recovery.ends_with_log && !self.engine.recovery.is_consistent() {
            let control = self.engine.control.lock();
            let what = if control.backup_end_required || control.backup_end_point.is_valid() {
                "WAL ends before end of online backup"
            } else {
                "WAL ends before consistent recovery point"
            };
            return Err(Error::Unusable(format!("{what}: it was replayed up to {}", self.replay.at)));
        }
        // A standby may be promoted before all has come to it.
        if recovery.ends_with_log
            && let Some(unreached) = Unreached::of(self.history(), self.replay.at)
        {
            return Err(self.cannot_end(&unreached.to_string(), "what is missing of it"));
        }
        // No whole record follows; what damage hides may have many.
        let tail = self.reader.tail_behind(self.replay.at).map_err(|error| read_error(error.into()))?;
        self.end_for_promotion(Some(tail))
    }

    fn end_for_promotion(&mut self, tail: Option<CutTail>) -> Result<RedoEnd, Error> {
        if let Some(checkpoint) = self.replay.awaited_checkpoint() {
            let what = "could not locate a valid checkpoint record: its log has not come";
            return Err(Error::corrupt("write-ahead log", Some(checkpoint), what));
        }
        let at = self.replay.at;
        // A target may have ended redo.
        self.read_here_alone();
        let file = self.reader.source_mut().file_before(at).map_err(|error| read_error(error.into()))?;
        let (state, timeline) = (self.replay.state(), self.replay.timeline);
        let file = file.unwrap_or(timeline);
        let ended = self.history().timeline_at(at);
        let history =
            self.history().up_to(ended).ok_or(Error::WrongState("a timeline is no part of its history"))?;
        *self.engine.parked.lock() = Some(Parked { state, timeline, file, history, tail });
        Ok(RedoEnd::Promote { at, timeline: ended })
    }

    fn follow(&mut self, timeline: TimelineId) -> Result<(), Error> {
        // A later timeline without a history is one whose file is not here yet.
        let known = self.history();
        let lacks_history = known.entries().is_empty() && timeline > TimelineId::FIRST;
        if timeline == known.target() && !lacks_history {
            return Ok(());
        }
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
        if let Some(shown) = self.engine.shown.recall(&history)? {
            self.engine.visibility.confirm(shown);
        }
        self.reader.source_mut().set_history(history);
        Ok(())
    }

    fn redo_available(&mut self, feed: &dyn WalFeed) -> Result<Ran, Error> {
        let mut in_batch = 0;
        let target = self.engine.options.recovery.target.clone();
        loop {
            match self.reader.next().map_err(read_error)? {
                Next::Record(record) => {
                    if target.is_some() && self.replay.records == 0 {
                        // An immediate target may be reached where redo begins.
                        self.replay.check_consistent()?;
                    }
                    let consistent = self.engine.recovery.is_consistent();
                    if let Some(stop) =
                        target.as_ref().and_then(|target| target.stops_before(&record, consistent))
                    {
                        return Ok(Ran::Stopped(stop));
                    }
                    let timeline = self.reader.page_timeline();
                    if !redo_one(&self.engine, &mut self.replay, &record, timeline, Pins::new(), feed)? {
                        self.reader.seek(record.start(), Some(self.replay.last_record));
                        return Ok(Ran::BrokenOff);
                    }
                    let consistent = self.engine.recovery.is_consistent();
                    if let Some(stop) =
                        target.as_ref().and_then(|target| target.stops_after(&record, consistent))
                    {
                        return Ok(Ran::Stopped(stop));
                    }
                    in_batch += 1;
                    if in_batch == BATCH_RECORDS {
                        in_batch = 0;
                        feed.redone(self.replay.at);
                    }
                }
                Next::End(end) => {
                    self.replay.check_consistent()?;
                    self.replay.tell_progress(None);
                    self.engine.remove_dropped()?;
                    feed.redone(self.replay.at);
                    return Ok(Ran::OutOfLog(end));
                }
            }
        }
    }

    /// Whether so much log waits that a thread which reads ahead is worth its while. A target, or an archive
    /// from which segments would be fetched too early, asks for one record after the other.
    fn is_backlog(&self, upto: Lsn) -> bool {
        let options = &self.engine.options;
        options.background
            && options.recovery.target.is_none()
            && upto.get().saturating_sub(self.replay.at.get()) >= BACKLOG_BYTES
    }

    /// Redoes what the log has up to the reader's limit, unless the feed breaks off.
    fn redo_backlog(&mut self, feed: &dyn WalFeed) -> Result<(), Error> {
        let Self { engine, replay, reader, .. } = self;
        let mut in_batch = 0;
        let ended = read_ahead(engine, reader, |ready| {
            let pins = std::mem::take(&mut ready.pins);
            if !redo_one(engine, replay, &ready.record, ready.timeline, pins, feed)? {
                return Ok(ControlFlow::Break(()));
            }
            in_batch += 1;
            if in_batch == BATCH_RECORDS {
                in_batch = 0;
                feed.redone(replay.at);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if matches!(ended, Ended::Stopped(())) {
            self.read_anew();
        }
        Ok(())
    }

    /// The history along which the log is read.
    pub fn history(&self) -> &TimelineHistory {
        self.reader.source().history()
    }

    /// The checkpoint that redo begins from, if its record is neither in pg_wal nor in the archive and has to
    /// come yet.
    pub fn awaited_checkpoint(&self) -> Option<Lsn> {
        self.replay.awaited_checkpoint()
    }

    /// Where the next record begins that will be redone: where streaming starts if pg_wal holds no more.
    pub fn next_lsn(&self) -> Lsn {
        self.replay.at
    }
}

/// Redoes one record, which ends on a page of this timeline, once the feed lets it; false if that breaks off.
fn redo_one(
    engine: &Engine,
    replay: &mut Replay,
    record: &Record,
    timeline: Option<TimelineId>,
    pins: Pins<'_>,
    feed: &dyn WalFeed,
) -> Result<bool, Error> {
    // Before the data is consistent nobody sees a commit, so none is held back.
    let consistent = engine.recovery.is_consistent();
    let committed = if consistent { wal::xact::commit_time(record) } else { None };
    if !feed.may_replay(replay.at, record.end(), committed) {
        return Ok(false);
    }
    if let Some(timeline) = timeline {
        replay.turn_to(timeline, record)?;
    }
    replay.redo_pinned(record, pins, Some(feed))?;
    Ok(true)
}
