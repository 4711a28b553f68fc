//! Promotion: a standby becomes a primary on a timeline of its own.
//!
//! The first write waits for what must be durable before it, so what does not need one another is made at the
//! same time:
//!
//! | step | durable at its end | beside it |
//! | ---- | ---- | ---- |
//! | 1 | plimsoll/branch: a promotion begins | minRecoveryPoint; the history, unnamed yet; a segment begins |
//! | 2 | the end-of-recovery record, with what was copied to the segment | their names; the signal files go |
//! | 3 | the control file names the timeline, before any page is changed | |
//! | 4 | the first commit | what belongs to the ended timeline; the control file's state |
//!
//! The segment is a second name of the ended timeline's last one wherever nothing lies behind the switch
//! there, so that nothing has to be copied before the first commit (the crate wal's `fork.rs`). The ended
//! timeline's gets a file of its own in step 4 ([`Promotion::separate_ended`]), before a checkpoint, which
//! might give segments away, and before the archive gets it. Where the disk does not take that, the node goes
//! on: the next checkpoint tries it again, and until then the segment stays under both names. No page is
//! changed before step 3: of the new timeline's log the shared file then has the end-of-recovery record and
//! nothing more.
//!
//! Step 3 decides it, so every crash in between is harmless. Before, the next start takes back what was made
//! ([`wal::log_branch::settle_promotion`]), of which nobody has heard, with what was written behind the
//! switch, and the signal files are there again; after, the ended timeline's segment gets its own file, and
//! the archive the history. Writes are taken only when the caller says so ([`Promotion::take_writes`]), who
//! has told the senders before. The control file's state is the last: who waits for it finds the server out
//! of recovery.

use crate::Error;
use crate::engine::Engine;
use crate::engine::recovery_state::Parked;
use crate::error::log_error;
use crate::recovery::open::{Begin, branch_error, insert, open_log, settle, writer_config};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::OwnedMutexGuard;
use wal::control::ClusterState;
use wal::history::{BranchId, HistoryFileError, TimelineHistory};
use wal::log_branch::{BegunPromotion, Signals, shared_end};
use wal::xlog::XlogRecord;
use wal::{LogPosition, Lsn, SegmentFolder, TimelineId, WalWriter, WriteStart, WriterConfig};

/// How a promotion names itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromoteOptions {
    /// The new timeline, above every one that anybody has seen ([`wal::timelines`]).
    pub new_timeline: TimelineId,
    /// The reason column of the history file.
    pub reason: String,
}

/// What a promotion did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promoted {
    /// The timeline that ended.
    pub old_timeline: TimelineId,
    /// The timeline of the segment file that its end was read from: an ancestor's, if nothing of it is here.
    pub end_file: TimelineId,
    /// The new one.
    pub timeline: TimelineId,
    /// Where it forks off.
    pub switch_at: Lsn,
    /// The branch id in its history file.
    pub branch: BranchId,
}

/// A database on its new timeline that is in recovery still; see [`crate::Database::promote`].
#[must_use = "takes no writes before its recovery is ended"]
pub struct Promotion {
    engine: Arc<Engine>,
    promoted: Promoted,
    /// The archive's list has the new timeline's history.
    history_is_listed: AtomicBool,
    /// No checkpoint and no restartpoint sees the half of it.
    _only: OwnedMutexGuard<()>,
}

impl std::fmt::Debug for Promotion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Promotion").field("promoted", &self.promoted).finish_non_exhaustive()
    }
}

impl Promotion {
    /// What it did.
    pub fn promoted(&self) -> Promoted {
        self.promoted
    }

    /// The database takes writes from now on.
    pub fn take_writes(&self) {
        let engine = &self.engine;
        engine.recovery.active.store(false, Ordering::Release);
        engine.levels.say_what_is_confirmed();
        engine.visibility.confirmed_more().notify_waiters();
    }

    /// Puts the new timeline's history into the archive's list, before anything of the ended timeline comes
    /// there, and gives that one's last segment a file of its own, if the log is written in that of old.
    /// Before anything is done with that segment; [`Promotion::end_recovery`] does both, too.
    ///
    /// # Errors
    /// Fails if the file cannot be written: then it is tried again, and [`crate::WalRetention::separated`]
    /// tells when it was done.
    pub async fn separate_ended(&self) -> Result<(), Error> {
        let (engine, history) = (Arc::clone(&self.engine), self.history_to_list());
        let separated = crate::blocking::run(move || {
            engine.list_history(history);
            engine.separate_ended()
        });
        separated.await.map_err(|_| Error::Shutdown)?.map(drop)
    }

    /// The name of the new timeline's history, once.
    fn history_to_list(&self) -> Option<String> {
        let is_listed = self.history_is_listed.swap(true, Ordering::AcqRel);
        (!is_listed).then(|| self.promoted.timeline.history_file_name())
    }

    /// Ends recovery: the database takes writes, and the control file says so. A checkpoint is due
    /// afterwards.
    ///
    /// # Errors
    /// Fails if the control file cannot be written.
    pub async fn end_recovery(self) -> Result<(), Error> {
        if self.engine.is_in_recovery() {
            self.take_writes();
        }
        let ended = crate::blocking::run(move || {
            let engine = &self.engine;
            // Before the control file ends what a next start would make good.
            engine.list_history(self.history_to_list());
            // Before it says that nothing of the promotion is left to do, if it can be done.
            let _ = engine.separate_ended_late();
            engine.update_control(|control| control.state = ClusterState::InProduction)?;
            engine.end_raising()
        });
        ended.await.map_err(|_| Error::Shutdown)?
    }
}

impl Engine {
    /// The control file names the timeline of a promotion, whose log is durable up to `end`. From then on
    /// readers are told of it: before that, a crash undoes the promotion.
    pub(crate) fn name_timeline(&self, end: Lsn, timeline: TimelineId) -> Result<(), Error> {
        if !host::planted!("a promotion leaves minRecoveryPoint on the ended timeline") {
            self.update_control(|control| {
                control.min_recovery_point = end;
                control.min_recovery_point_timeline = timeline;
            })?;
        }
        self.set_timeline(timeline);
        Ok(())
    }

    fn list_history(&self, name: Option<String>) {
        if let Some(name) = name {
            let retention = self.retention.read().clone();
            retention.made(&name);
        }
    }

    /// A start finds whether the log is written in the file of the ended timeline's last segment still.
    pub(crate) fn note_shared_end(&self) -> Result<(), Error> {
        let size = self.control.lock().segment_size;
        let shared = shared_end(&self.host.disk, self.dir(), size).map_err(|error| branch_error(&error))?;
        *self.shared_end.lock() = shared;
        Ok(())
    }

    /// The ended timeline's last segment has a file of its own afterwards. Where it ended, if it shared one
    /// with the log.
    pub(crate) fn separate_ended(&self) -> Result<Option<LogPosition>, Error> {
        let size = self.control.lock().segment_size;
        let folder = SegmentFolder::new(Arc::clone(&self.host.disk), &self.wal_dir(), size);
        let mut shared = self.shared_end.lock();
        if let Some(ended) = *shared {
            folder.separate(ended).map_err(log_error)?;
        }
        Ok(shared.take())
    }

    /// The same where the promotion itself did not: who waits for that segment is told.
    pub(crate) fn separate_ended_late(&self) -> Result<(), Error> {
        if let Some(ended) = self.separate_ended()? {
            let retention = self.retention.read().clone();
            retention.separated(ended);
        }
        Ok(())
    }
}

/// Promotes up to the end of recovery; see [`crate::Database::promote`].
pub(crate) fn promote(
    engine: Arc<Engine>,
    only: OwnedMutexGuard<()>,
    at: Lsn,
    old: TimelineId,
    options: &PromoteOptions,
) -> Result<Promotion, Error> {
    let parked = engine.parked.lock().clone().ok_or(Error::WrongState("redo is not at its end"))?;
    if !engine.recovery.is_consistent() {
        return Err(Error::Unusable(format!(
            "cannot promote: WAL was replayed up to {at}, and the data is consistent only later"
        )));
    }
    // The record of one that broke off gives way to that of this one.
    engine.separate_ended_late()?;
    let (timeline, disk) = (options.new_timeline, &*engine.host.disk);
    let (history, branch) = fork(&engine, &parked, (at, old), options)?;
    let signals = Signals::found(disk, engine.dir()).map_err(|error| branch_error(&error))?;
    let begin = Begin {
        timeline,
        start: WriteStart {
            insert_at: at,
            previous: parked.state.last_record,
            overwrites_contrecord: false,
            forked_from: Some(parked.file),
        },
        overwritten: None,
        state: parked.state,
    };
    let mut config = writer_config(&engine, timeline);
    let in_segment = config.segment_size.offset_of(at) != 0;
    let shared = in_segment.then_some(LogPosition { timeline: parked.file, lsn: at });
    prepare(&engine, BegunPromotion { timeline, branch, shared, signals }, &history, &begin, &config)?;
    config.fresh = true;
    let (wal, end) = together(
        "promotion-files",
        || keep_files(&engine, signals),
        || begin_log(&engine, &begin, config, parked.timeline),
    )?;
    // Before a page is changed: one that the ended timeline's log does not know could not be taken back.
    engine.name_timeline(end, timeline)?;
    settle(&engine, &begin, &wal, true)?;
    // It is decided: from here on others may hear of it.
    let promoted = Promoted { old_timeline: old, end_file: parked.file, timeline, switch_at: at, branch };
    Ok(Promotion { engine, promoted, history_is_listed: AtomicBool::new(false), _only: only })
}

/// The history of the new timeline, and its branch id.
fn fork(
    engine: &Engine,
    parked: &Parked,
    (at, old): (Lsn, TimelineId),
    options: &PromoteOptions,
) -> Result<(TimelineHistory, BranchId), Error> {
    let timeline = options.new_timeline;
    let branch = BranchId::new(engine.host.entropy.next_u64());
    let fork = if host::planted!("a history names the last record's start as its switch") {
        parked.state.last_record
    } else {
        at
    };
    let history = parked.history.fork(timeline, fork, &options.reason, branch).ok_or_else(|| {
        Error::Unusable(format!("timeline {timeline} cannot follow timeline {old} at {at}"))
    })?;
    Ok((history, branch))
}

fn unusable(error: &HistoryFileError) -> Error {
    Error::Unusable(error.to_string())
}

/// Records that the promotion begins; beside that its history and its segment are made, which get their names
/// once the record is durable.
fn prepare(
    engine: &Engine,
    promotion: BegunPromotion,
    history: &TimelineHistory,
    begin: &Begin,
    config: &WriterConfig,
) -> Result<(), Error> {
    let (disk, wal_dir) = (&*engine.host.disk, engine.wal_dir());
    let make_segment =
        || WalWriter::prepare_fork(&engine.host, &wal_dir, config, begin.start).map_err(log_error);
    let make_history = || history.prepare(disk, &wal_dir).map_err(|error| unusable(&error));
    let record = || engine.branch.begin_promotion(promotion).map_err(|error| branch_error(&error));
    // Once the log is written here, pages go to disk ahead of what the control file tells of the new
    // timeline. And what the history calls the end of the ended one is no torn tail after a power cut.
    let raise = || engine.raise_min_recovery_point(begin.state.at).map(drop);
    let mut segment = None;
    together(
        "promotion-segment",
        || {
            segment = make_segment()?;
            Ok(())
        },
        || together("promotion-history", make_history, || together("promotion-control", raise, record)),
    )?;
    history.keep(disk, &wal_dir).map_err(|error| unusable(&error))?;
    let Some(segment) = segment else { return Ok(()) };
    *engine.shared_end.lock() = promotion.shared.filter(|_| segment.is_shared());
    segment.keep().map_err(log_error)
}

/// Makes the names in pg_wal durable, and removes the signal files.
fn keep_files(engine: &Engine, signals: Signals) -> Result<(), Error> {
    let (disk, wal_dir) = (&*engine.host.disk, engine.wal_dir());
    together(
        "promotion-signals",
        || signals.remove(disk, engine.dir()).map_err(|error| branch_error(&error)),
        || sync_names(engine, &wal_dir),
    )
}

fn sync_names(engine: &Engine, dir: &Path) -> Result<(), Error> {
    engine.host.disk.sync_dir(dir).map_err(|error| Error::io("fsync directory", dir, error))
}

/// Begins the new timeline's log with the end-of-recovery record, durably. Gives that record's end.
fn begin_log(
    engine: &Engine,
    begin: &Begin,
    config: WriterConfig,
    last_record: TimelineId,
) -> Result<(WalWriter, Lsn), Error> {
    let wal = open_log(engine, begin, config)?;
    let (time, timeline) = (engine.host.clock.now(), begin.timeline);
    // As PostgreSQL has it: the record names the timeline of the record before it, the history the one that
    // is continued.
    let record = XlogRecord::EndOfRecovery { time, timeline, previous_timeline: last_record };
    let end = insert(&wal, record)?.end;
    wal.flush_all().map_err(log_error)?;
    Ok((wal, end))
}

/// Does `other` on a thread of its own beside `here`.
fn together<R>(
    name: &str,
    other: impl FnOnce() -> Result<(), Error> + Send,
    here: impl FnOnce() -> Result<R, Error>,
) -> Result<R, Error> {
    let mut done = Ok(());
    let here = host::thread::beside(name, || done = other(), here);
    let here =
        here.map_err(|error| Error::Unusable(format!("could not start thread \"{name}\": {error}")))?;
    done.and(here)
}
