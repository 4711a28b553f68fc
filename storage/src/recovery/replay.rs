//! Redo of the log, record by record: pages through the tree side, transactions and positions here.
//!
//! The same code recovers from a crash, follows on a standby, and restores from a backup. Snapshots move on
//! when a commit record is redone, so a reader sees whole transactions only, in the order of the log.

use crate::changes::records::{self, info};
use crate::changes::redo::Pins;
use crate::changes::state_page::{STATE_CONFIRMED, STATE_EARLY, STATE_FILE};
use crate::commit::confirmed_record::ConfirmedRecord;
use crate::commit::early_list::EarlyList;
use crate::engine::Engine;
use crate::engine::recovery_state::{ReplayState, SeenCheckpoint};
use crate::error::log_error;
use crate::locks::ExclusiveTables;
use crate::pages::barrier::WriteBarrier;
use crate::recovery::consistency::ConsistencyPoint;
use crate::recovery::standby::{Conflict, WalFeed};
use crate::visibility::snapshot::Insertion;
use crate::{Error, RecoveryProgress, SyncLevel, TreeId};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;
use wal::reader::EndReason;
use wal::xact::{Completion, XactEnd, XactRecord};
use wal::xlog::{CheckPoint, XlogRecord};
use wal::{BlockNumber, Lsn, Record, Rmgr, TimelineId, Xid};

/// Where redo stands.
pub(crate) struct Replay {
    engine: Arc<Engine>,
    /// xids with versions in pages and no outcome so far.
    open: BTreeSet<Xid>,
    /// The early xids as the state page has them, once that is known.
    early: EarlyList,
    /// What was committed since as a part of the last commit; the state page may still call it open.
    committed: Vec<Xid>,
    /// What was aborted since the state page last told of early xids, by record: it does not tell of these.
    aborted: Vec<Vec<Xid>>,
    pub(crate) next_xid: Xid,
    /// Where redo began.
    pub(crate) from: Lsn,
    /// The end of the last record redone; where the next one is looked for.
    pub(crate) at: Lsn,
    /// The start of that record.
    pub(crate) last_record: Lsn,
    /// The timeline of the last record.
    pub(crate) timeline: TimelineId,
    pub(crate) records: u64,
    last_commit_end: Option<Lsn>,
    /// The end of the last commit that waits until standbys have replayed it.
    last_apply_end: Lsn,
    /// What the last record of full_page_writes says, of those redone.
    full_page_writes: Option<bool>,
    /// The checkpoint that redo began from, while its record has not come.
    awaited: Option<Lsn>,
    /// By the monotonic clock.
    begun: Duration,
}

/// Progress is told after so many records.
const PROGRESS_RECORDS: u64 = 4096;

impl Replay {
    pub(crate) fn new(engine: Arc<Engine>, from: Lsn, checkpoint: &CheckPoint) -> Self {
        let begun = engine.host.clock.monotonic();
        Self {
            engine,
            open: BTreeSet::new(),
            early: EarlyList::default(),
            committed: Vec::new(),
            aborted: Vec::new(),
            next_xid: checkpoint.next_xid,
            from,
            at: from,
            last_record: Lsn::INVALID,
            timeline: checkpoint.timeline,
            records: 0,
            last_commit_end: None,
            last_apply_end: Lsn::INVALID,
            full_page_writes: None,
            awaited: None,
            begun,
        }
    }

    /// The record of the checkpoint that redo begins from is not here: nothing is consistent before it has
    /// come.
    pub(crate) fn await_checkpoint(&mut self, at: Lsn) {
        self.awaited = Some(at);
    }

    /// The checkpoint whose record is waited for.
    pub(crate) fn awaited_checkpoint(&self) -> Option<Lsn> {
        self.awaited
    }

    /// Where the awaited checkpoint must be, there is a record.
    fn meet_awaited(&mut self, at: Lsn, record: &Record) -> Result<(), Error> {
        let contents = match XlogRecord::parse(record) {
            Ok(XlogRecord::CheckpointShutdown(contents) | XlogRecord::CheckpointOnline(contents))
                if record.start() == at =>
            {
                contents
            }
            _ => return Err(crate::recovery::open::no_checkpoint(at)),
        };
        if contents.redo != self.from {
            let what = format!("its redo point is {}, recovery began at {}", contents.redo, self.from);
            return Err(Error::corrupt("checkpoint record", Some(at), what));
        }
        self.awaited = None;
        self.engine.recovery.make_durable(record.end())?;
        // A restartpoint may have moved on meanwhile, but only past this record.
        self.engine.update_control(|control| {
            if control.checkpoint == at {
                control.checkpoint_copy = contents;
            }
        })
    }

    /// What a writer needs to know to go on from here.
    pub(crate) fn state(&self) -> ReplayState {
        // Where no record has changed it, it is as at the redo point.
        let at_redo_point = self.engine.control.lock().checkpoint_copy.full_page_writes;
        ReplayState {
            at: self.at,
            last_record: self.last_record,
            next_xid: self.next_xid,
            leftovers: self.leftovers(),
            early: self.early.clone(),
            early_on_page: self.aborted.is_empty(),
            last_commit_end: self.last_commit_end,
            last_apply_end: self.last_apply_end,
            full_page_writes: self.full_page_writes.unwrap_or(at_redo_point),
        }
    }

    /// Learns from the state page which early xids are open and aborted. It tells how it is now only once all
    /// pages are as of the last record redone. The log may end between an abort and what the page says of it.
    pub(crate) fn load_early(&mut self) -> Result<(), Error> {
        if let Some(bytes) = self.engine.state_field(STATE_EARLY)? {
            let mut list = EarlyList::parse(&bytes).map_err(|error| {
                Error::corrupt_page(STATE_FILE.file(), BlockNumber::new(0), error.to_string())
            })?;
            for xids in &self.aborted {
                list.abort(xids);
            }
            self.take_early(list);
        }
        Ok(())
    }

    /// Learns from the state page what a clean stop has put on record, by which redo does not come.
    pub(crate) fn load_confirmed(&self) -> Result<(), Error> {
        let ConfirmedRecord { position, prefix } = self.engine.confirmed_record()?;
        self.engine.visibility.recall_confirmed(position.min(self.at), prefix);
        Ok(())
    }

    fn take_early(&mut self, list: EarlyList) {
        if let Some(last) = list.last()
            && !host::planted!("the next xid is chosen before the leftovers are known")
        {
            self.meet(last);
        }
        self.open.extend(list.open().filter(|xid| !self.committed.contains(xid)));
        let aborted = list.aborted_xids().collect();
        self.engine.visibility.set_early(self.unseen(None).collect(), aborted);
        self.early = list;
    }

    /// xids with versions and no outcome that came before `commit`, or all: no snapshot shows them.
    fn unseen(&self, commit: Option<Xid>) -> impl Iterator<Item = Xid> {
        let shows = host::planted!("a standby shows transactions that have no outcome yet");
        let is_before = move |xid: &Xid| commit.is_none_or(|commit| *xid < commit);
        self.open.iter().copied().take_while(is_before).filter(move |_| !shows)
    }

    /// xids whose versions are in pages and whose outcome the log does not tell.
    pub(crate) fn leftovers(&self) -> Vec<Xid> {
        self.open.iter().copied().collect()
    }

    /// Redoes one record. `feed` is asked before snapshots are given up.
    pub(crate) fn redo(&mut self, record: &Record, feed: Option<&dyn WalFeed>) -> Result<(), Error> {
        self.redo_pinned(record, Pins::new(), feed)
    }

    /// The same, with pages that are pinned already.
    pub(crate) fn redo_pinned(
        &mut self,
        record: &Record,
        pins: Pins<'_>,
        feed: Option<&dyn WalFeed>,
    ) -> Result<(), Error> {
        assert!(record.start() >= self.at, "{} is redone after what ends at {}", record.start(), self.at);
        if let Some(at) = self.awaited.filter(|at| record.start() >= *at) {
            self.meet_awaited(at, record)?;
        }
        let xid = match record.rmgr() {
            // Told by the outcome itself.
            Rmgr::XACT => Xid::INVALID,
            _ => records::full_xid(record, self.next_xid),
        };
        if !host::planted!("the next xid is chosen before the leftovers are known") {
            self.meet(xid);
        }
        if host::planted!("redo tells its position before it has redone the record") {
            self.engine.recovery.redone.advance(record.end());
        }
        match record.rmgr() {
            Rmgr::XLOG => self.redo_xlog(record)?,
            Rmgr::XACT => self.redo_xact(record, feed)?,
            Rmgr::ENGINE => {
                if xid.is_valid() && self.open.last() != Some(&xid) {
                    self.open.insert(xid);
                }
                self.before_engine_record(record, feed);
                self.engine.store.redo_pinned(record, xid, pins)?;
                self.after_engine_record(record)?;
            }
            Rmgr::SMGR => self.engine.store.redo(record, xid)?,
            // Records that say nothing about pages or transactions.
            Rmgr::STANDBY | Rmgr::LOGICALMSG => {}
            other => {
                let what = format!(
                    "a record of resource manager {}, which this engine does not write",
                    other.number()
                );
                return Err(Error::corrupt("write-ahead log", Some(record.start()), what));
            }
        }
        self.at = record.end();
        self.last_record = record.start();
        self.records += 1;
        self.engine.recovery.records.store(self.records, Ordering::Relaxed);
        self.engine.recovery.redone.advance(record.end());
        if !self.engine.recovery.is_consistent() {
            self.check_consistent()?;
        }
        if self.records.is_multiple_of(PROGRESS_RECORDS) {
            self.tell_progress(None);
        }
        self.engine.check_opening()
    }

    /// Notes that the log has this xid: the next one is above it.
    fn meet(&mut self, xid: Xid) {
        if xid >= self.next_xid {
            self.next_xid = xid.next();
            self.engine.recovery.next_xid.store(self.next_xid.get(), Ordering::Release);
        }
    }

    /// Tells how far redo is; `ended` is why the log ends.
    pub(crate) fn tell_progress(&self, ended: Option<EndReason>) {
        let recovery = &self.engine.recovery;
        let elapsed = self.engine.host.clock.monotonic().saturating_sub(self.begun);
        recovery.from.store(self.from.get(), Ordering::Relaxed);
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        recovery.elapsed_micros.store(micros, Ordering::Relaxed);
        if let Some(tell) = &self.engine.options.progress {
            let (last_commit, records) = (recovery.last_commit(), self.records);
            tell(RecoveryProgress { from: self.from, at: self.at, last_commit, records, elapsed, ended });
        }
    }

    /// Pruning first gives up the snapshots that could still see what it removes.
    fn before_engine_record(&self, record: &Record, feed: Option<&dyn WalFeed>) {
        if let Some(horizon) = records::horizon(record)
            && !host::planted!("a prune on a standby does not heed its snapshots")
        {
            let visibility = &self.engine.visibility;
            visibility.prunes_below(horizon);
            let are_held = || visibility.oldest_snapshot().is_some_and(|oldest| oldest < horizon);
            if let Some(feed) = feed
                && are_held()
            {
                let count = feed.before_conflict(&Conflict::Snapshot { horizon }, &are_held);
                visibility.cancel_below(horizon);
                self.engine.recovery.snapshot_conflicts.fetch_add(count, Ordering::Relaxed);
            }
        }
    }

    /// Locks what a commit drops: who reads it ends first, or is given up, and who comes sees the commit. Who
    /// has read nothing of it goes on, whatever his snapshot.
    fn lock_dropped(&self, end: &XactEnd, feed: Option<&dyn WalFeed>) -> Option<ExclusiveTables> {
        let (feed, trees) = (feed?, dropped(end));
        let locks = RefCell::new(ExclusiveTables::new(&self.engine.locks, &trees));
        let are_held = || !locks.borrow_mut().take();
        if are_held() {
            let count = feed.before_conflict(&Conflict::Lock { trees: trees.into() }, &are_held);
            self.engine.recovery.lock_conflicts.fetch_add(count, Ordering::Relaxed);
        }
        Some(locks.into_inner())
    }

    fn after_engine_record(&mut self, record: &Record) -> Result<(), Error> {
        if record.rmgr_info() != info::STATE {
            return Ok(());
        }
        let Some((field, bytes)) = record.main_data().split_first_chunk::<2>() else { return Ok(()) };
        match u16::from_le_bytes(*field) {
            STATE_EARLY => {
                let list = EarlyList::parse(bytes).map_err(|error| {
                    Error::corrupt("write-ahead log", Some(record.start()), error.to_string())
                })?;
                self.committed.clear();
                self.aborted.clear();
                self.take_early(list);
            }
            STATE_CONFIRMED => {
                let found = ConfirmedRecord::decode(bytes).map_err(|error| {
                    Error::corrupt("write-ahead log", Some(record.start()), error.to_string())
                })?;
                // A clean stop says that nothing before it is in doubt.
                let limit = if host::planted!("a confirmed position is taken from the log as it is") {
                    Lsn::MAX
                } else {
                    record.start()
                };
                self.engine.visibility.recall_confirmed(found.position.min(limit), found.prefix);
            }
            _ => {}
        }
        Ok(())
    }

    fn redo_xact(&mut self, record: &Record, feed: Option<&dyn WalFeed>) -> Result<(), Error> {
        let parsed = XactRecord::parse(record)
            .map_err(|error| Error::corrupt("write-ahead log", Some(record.start()), error.to_string()))?;
        if let XactRecord::Commit(end) | XactRecord::Abort(end) = &parsed {
            self.meet(end.xid(record, self.next_xid));
        }
        let visibility = &self.engine.visibility;
        match parsed {
            XactRecord::Commit(end) => {
                let (xid, parts) = (end.xid(record, self.next_xid), end.parts(self.next_xid));
                self.open.remove(&xid);
                for part in &parts {
                    self.open.remove(part);
                }
                let mut locks = None;
                if !end.dropped.is_empty() {
                    locks = self.lock_dropped(&end, feed);
                    visibility.drops_before(record.end());
                }
                self.drop_files(record, xid, &end);
                // Whoever has versions and no outcome while a later one commits is not seen until its own
                // comes.
                visibility.redone_commit(record.end(), xid, &parts, self.unseen(Some(xid)));
                drop(locks);
                self.committed = parts;
                self.last_commit_end = Some(record.end());
                if end.completion.has(Completion::APPLY_FEEDBACK) {
                    self.last_apply_end = record.end();
                }
                self.engine.recovery.last_commit.store(end.time.micros(), Ordering::Release);
            }
            XactRecord::Abort(end) => {
                let xid = end.xid(record, self.next_xid);
                let xids = [xid].into_iter().chain(end.parts(self.next_xid));
                let aborted: Vec<Xid> = xids.filter(|xid| self.open.remove(xid)).collect();
                if !aborted.is_empty() {
                    visibility.abort(&aborted);
                    // The state page tells of it in a record of its own, which may lie behind the log's end.
                    if !self.early.abort(&aborted) {
                        visibility.forget(&aborted);
                    }
                    self.aborted.push(aborted);
                }
                // Nobody but itself ever saw what it had created.
                self.drop_files(record, xid, &end);
            }
            XactRecord::Prepare | XactRecord::Assignment { .. } | XactRecord::Invalidations(_) => {}
        }
        Ok(())
    }

    fn drop_files(&self, record: &Record, xid: Xid, end: &XactEnd) {
        let trees = dropped(end);
        if !trees.is_empty() {
            let after = Insertion { end: record.end(), xid, level: SyncLevel::Off };
            self.engine.drop_later(after, &trees);
        }
    }

    fn redo_xlog(&mut self, record: &Record) -> Result<(), Error> {
        let parsed = XlogRecord::parse(record)
            .map_err(|error| Error::corrupt("write-ahead log", Some(record.start()), error.to_string()))?;
        match parsed {
            XlogRecord::CheckpointShutdown(contents) | XlogRecord::CheckpointOnline(contents) => {
                self.raise_counters(&contents);
                self.turn_to(contents.timeline, record)?;
                let seen = SeenCheckpoint { record: record.start(), end: record.end(), contents };
                *self.engine.seen_checkpoint.lock() = Some(seen);
            }
            XlogRecord::NextOid(upto) => {
                let mut numbers = self.engine.numbers.lock();
                numbers.next = numbers.next.max(upto);
                numbers.logged = numbers.next;
            }
            XlogRecord::BackupEnd { start } => {
                let waited_for = self.engine.control.lock().backup_start_point;
                if start == waited_for {
                    self.end_backup_recovery(record.end())?;
                }
            }
            XlogRecord::ParameterChange(parameters) => {
                self.engine.recovery.make_durable(record.end())?;
                self.engine.update_control(|control| control.parameters = parameters)?;
                if self.engine.is_in_recovery() {
                    crate::recovery::open::check_wal_level(parameters.wal_level)?;
                }
            }
            XlogRecord::EndOfRecovery { timeline, .. } => {
                self.turn_to(timeline, record)?;
            }
            XlogRecord::FpwChange(on) => {
                self.full_page_writes = Some(on);
                self.engine.redone_full_page_writes(on, record.start());
            }
            XlogRecord::Fpi | XlogRecord::FpiForHint => self.engine.store.redo(record, Xid::INVALID)?,
            XlogRecord::Noop
            | XlogRecord::Switch
            | XlogRecord::RestorePoint { .. }
            | XlogRecord::OverwriteContrecord { .. } => {}
        }
        Ok(())
    }

    fn raise_counters(&mut self, checkpoint: &CheckPoint) {
        self.next_xid = self.next_xid.max(checkpoint.next_xid);
        self.engine.recovery.next_xid.store(self.next_xid.get(), Ordering::Release);
        let mut numbers = self.engine.numbers.lock();
        numbers.next = numbers.next.max(checkpoint.next_oid);
        numbers.logged = numbers.next;
    }

    /// The log goes on along this timeline from this record on, which is still to be redone. None is followed
    /// that leaves before what pages may hold; this is where it would show.
    pub(super) fn turn_to(&mut self, timeline: TimelineId, record: &Record) -> Result<(), Error> {
        if timeline <= self.timeline {
            return Ok(());
        }
        let (needed, of) = {
            let control = self.engine.control.lock();
            (control.min_recovery_point, control.min_recovery_point_timeline)
        };
        if record.start() < needed && timeline > of {
            let what =
                format!("timeline {timeline} begins before minimum recovery point {needed} on timeline {of}");
            return Err(Error::Unusable(format!("{what}: clone this server anew")));
        }
        self.engine.recovery.left.lock().push((record.start(), self.timeline));
        self.timeline = timeline;
        self.engine.set_timeline(timeline);
        Ok(())
    }

    /// The data of a backup is whole from here on: the rest is a standby as any other.
    pub(crate) fn end_backup_recovery(&self, end: Lsn) -> Result<(), Error> {
        self.engine.recovery.make_durable(end)?;
        let timeline = self.timeline;
        self.engine.update_control(|control| {
            control.backup_start_point = Lsn::INVALID;
            control.backup_end_point = Lsn::INVALID;
            control.backup_end_required = false;
            if control.min_recovery_point < end {
                control.min_recovery_point = end;
                control.min_recovery_point_timeline = timeline;
            }
        })
    }

    /// Lets readers in once no page on disk can be newer than what was redone.
    pub(crate) fn check_consistent(&mut self) -> Result<(), Error> {
        if self.engine.recovery.in_own_log.load(Ordering::Acquire) || self.awaited.is_some() {
            return Ok(());
        }
        let (point, of_standby) = {
            let control = self.engine.control.lock();
            (ConsistencyPoint::of(&control), control.backup_end_point.is_valid())
        };
        if !point.is_reached(self.at) {
            return Ok(());
        }
        if of_standby {
            self.end_backup_recovery(self.at)?;
        }
        if !self.engine.recovery.is_consistent() {
            self.engine.remove_dropped()?;
            self.engine.store.check_missing()?;
            self.load_early()?;
            self.engine.recovery.set_consistent(self.at);
        }
        Ok(())
    }
}

/// Makes the log durable, and raises minRecoveryPoint, before a page goes to disk that holds changes up to
/// there.
#[derive(Debug)]
pub(crate) struct RaiseMinRecoveryPoint(pub(crate) Weak<Engine>);

impl WriteBarrier for RaiseMinRecoveryPoint {
    fn before_page_write(&self, lsn: Lsn) -> Result<Lsn, Error> {
        self.0.upgrade().ok_or(Error::Shutdown)?.raise_min_recovery_point(lsn)
    }
}

impl Engine {
    /// Makes the log durable up to `lsn` at least, and has the control file say that pages may be as new.
    /// Returns up to where that holds.
    pub(crate) fn raise_min_recovery_point(&self, lsn: Lsn) -> Result<Lsn, Error> {
        let raised = self.control.lock().min_recovery_point;
        if raised >= lsn {
            return Ok(raised);
        }
        // Further than asked, so that the next pages need no write of the control file.
        let point = self.recovery.redone.get().max(lsn);
        let timeline = self.timeline();
        // Redo turns to a later timeline before it has redone that one's first record.
        let left = self.recovery.left.lock().iter().find(|(at, _)| point <= *at).map(|(_, left)| *left);
        let timeline = left.unwrap_or(timeline);
        if !host::planted!("a standby writes pages ahead of its durable log") {
            match self.wal() {
                // A promotion writes log, and pages after it, before recovery is ended.
                Ok(wal) => wal.flush(point).map(drop).map_err(log_error)?,
                Err(_) => self.recovery.make_durable(point)?,
            }
        }
        if host::planted!("a page is written before minRecoveryPoint is raised") {
            return Ok(point);
        }
        self.update_control(|control| {
            // A promotion may have named its timeline, and a later point, meanwhile.
            if control.min_recovery_point < point {
                control.min_recovery_point = point;
                control.min_recovery_point_timeline = timeline;
            }
        })?;
        Ok(point)
    }
}

/// The trees that a commit drops.
fn dropped(end: &XactEnd) -> Vec<TreeId> {
    end.dropped.iter().filter_map(|file| TreeId::try_from(*file).ok()).collect()
}
