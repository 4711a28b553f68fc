//! Opening a data directory: who may, what recovery it needs, where the log goes on.

use crate::changes::store::{Store, StoreOptions};
use crate::engine::recovery_state::ReplayState;
use crate::engine::{Engine, Parts};
use crate::error::log_error;
use crate::error::{read_error, tree_sync_error};
use crate::pages::page::PAGE_SIZE;
use crate::recovery::begin::{Found, begin_from_backup, histories, load_label};
use crate::recovery::own_files::{check_rewound, lock_directory, remove_own_files};
use crate::recovery::read_ahead::{Ended, Ready, read_ahead};
use crate::recovery::replay::{RaiseMinRecoveryPoint, Replay};
use crate::recovery::standby::StandbyRedo;
use crate::visibility::snapshot::Visibility;
use crate::visibility::xid_set::XidSet;
use crate::{DatabaseOptions, Error, StartMode};
use host::{Host, Timestamp};
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use wal::backup_label::{BACKUP_LABEL_FILE, BackupLabel, BackupMethod};
use wal::control::{ClusterState, ControlFile};
use wal::format::{FORMATS, FormatError};
use wal::history::TimelineHistory;
use wal::reader::{EndOfWal, Next, ReaderOptions, SegmentFiles, WalReader};
use wal::timelines::RecoveryStart;
use wal::xlog::{ParameterChange, WalLevel, XlogRecord};
use wal::{
    BranchError, FLUSHED_FILE, Inserted, LogBranch, Lsn, SegmentFolder, TimelineId, WalWriter, WriteStart,
    WriterConfig, Xid, forget_own_flush,
};

/// What is where the checkpoint should be that the control file names is another record.
pub(crate) fn no_checkpoint(at: Lsn) -> Error {
    Error::corrupt("write-ahead log", Some(at), "no checkpoint record is there")
}

fn no_valid_checkpoint(at: Lsn, why: &dyn std::fmt::Display) -> Error {
    let what = format!("could not locate a valid checkpoint record: {why}");
    Error::corrupt("write-ahead log", Some(at), what)
}

/// The same where reading it has failed: nobody has asked for that segment, or removed it for good reason.
fn unreadable_checkpoint(at: Lsn, error: Error) -> Error {
    match error {
        Error::Corrupt(bad) => no_valid_checkpoint(at, &bad.what),
        Error::MissingLog { .. } => no_valid_checkpoint(at, &"its WAL segment is not in pg_wal"),
        other => other,
    }
}

pub(crate) fn load_control(host: &Host, dir: &Path) -> Result<ControlFile, Error> {
    if !host
        .disk
        .exists(&dir.join("PG_VERSION"))
        .map_err(|error| Error::io("access directory", dir, error))?
    {
        return Err(Error::Unusable(format!(
            "\"{}\" is not a database directory; create one with `plimsoll init -D {}`",
            dir.display(),
            host::shell_word(&dir.to_string_lossy())
        )));
    }
    let control = ControlFile::load(&*host.disk, dir).map_err(|error| Error::Unusable(error.to_string()))?;
    check_rewound(host, dir)?;
    // Told first: such a directory has no format number of ours.
    control.check_ours(dir).map_err(|error| Error::Unusable(error.to_string()))?;
    FORMATS.check_directory(&*host.disk, dir).map_err(|error| format_error(&error))?;
    Ok(control)
}

pub(crate) fn branch_error(error: &BranchError) -> Error {
    Error::Unusable(error.to_string())
}

fn format_error(error: &FormatError) -> Error {
    Error::Unusable(format!("{error}; {}", error.hint()))
}

/// What recovery found and did, for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The directory was not shut down cleanly (or came from a backup), and log was redone.
    pub needed: bool,
    /// Where redo began.
    pub from: Lsn,
    /// The end of the last whole record: where the log goes on.
    pub to: Lsn,
    /// Why the log ended there, with what was cut.
    pub end: String,
    /// Bytes after `to` that were cut as a torn tail.
    pub cut_bytes: u64,
    /// Records redone.
    pub records: u64,
    /// Transactions whose log was there without an outcome, and which were aborted.
    pub aborted: Vec<Xid>,
    /// The directory came from a backup (backup_label).
    pub from_backup: bool,
    /// The time in the last commit record redone.
    pub last_commit: Option<Timestamp>,
    /// How long it took.
    pub elapsed: Duration,
}

/// What opening a directory gives.
pub(crate) enum Started {
    /// It takes writes.
    Primary(Arc<Engine>, RecoveryReport),
    /// It is in recovery; its redo is to be run on a thread.
    Standby(Arc<Engine>, Box<StandbyRedo>),
}

/// A data directory on its way to being open.
pub(super) struct Opening {
    pub(super) engine: Arc<Engine>,
    pub(super) reader: WalReader<SegmentFiles>,
    pub(super) label: Option<BackupLabel>,
    /// The state of the control file as it was found.
    pub(super) found: ClusterState,
    /// The history to follow once the own log is redone, of a server that was not stopped.
    later: Option<TimelineHistory>,
    /// Log that is not here may come still.
    pub(super) may_come: bool,
    /// The log is not this node's own: the directory is a backup whose end is not redone yet.
    pub(super) copied: bool,
    /// It is a crashed primary's, which redoes its own log first.
    pub(super) is_own: bool,
}

/// Opens a data directory; see [`crate::Database::open`].
pub(crate) fn open(host: &Host, options: DatabaseOptions, mode: StartMode) -> Result<Started, Error> {
    let _vital = host::vital("recovery");
    let opening = Opening::begin(host, options, mode)?;
    opening.engine.note_shared_end()?;
    match mode {
        StartMode::Primary => opening.primary(),
        StartMode::Standby { .. } => opening.standby(),
    }
}

impl Opening {
    fn begin(host: &Host, options: DatabaseOptions, mode: StartMode) -> Result<Self, Error> {
        // A directory that is not for this program is left as it is.
        load_control(host, &options.dir)?;
        let lock = lock_directory(host, &options.dir)?;
        let mut control = load_control(host, &options.dir)?;
        let found = control.state;
        FORMATS.mark_directory(&*host.disk, &options.dir).map_err(|error| format_error(&error))?;
        let label = load_label(host, &options.dir, control.segment_size)?;
        let copied = label.is_some() || control.is_unfinished_backup();
        let branch = LogBranch::open(host.disk.clone(), &options.dir, &control);
        let branch = branch.map_err(|error| branch_error(&error))?;
        let (history, later) = histories(host, &options, &control, label.as_ref(), branch.record(), mode)?;
        let wal_dir = options.dir.join("pg_wal");
        let mut source = SegmentFiles::new(host.disk.clone(), wal_dir, control.segment_size, history);
        if mode != StartMode::Primary {
            if let Some(supply) = &options.recovery.supply {
                source.set_supply(Arc::clone(supply));
            }
            check_wal_level(control.parameters.wal_level)?;
        }
        // A standby gets the log again that it lacks, so a hole in its own proves no damage. It is not
        // consistent before it has it. What a crashed primary wrote itself is another matter.
        let may_come = mode != StartMode::Primary && !options.recovery.ends_with_log;
        let gaps_may_be = may_come && (later.is_none() || copied);
        if gaps_may_be {
            source.let_gaps_end_the_log(true);
        }
        let reader_options = ReaderOptions {
            system_id: Some(control.system_id),
            proven_flush: if gaps_may_be { Lsn::INVALID } else { control.min_recovery_point },
            ..ReaderOptions::new(control.segment_size)
        };
        let mut reader = WalReader::new(source, reader_options, Lsn::INVALID);
        if let Some(label) = &label {
            begin_from_backup(&mut control, label, &mut reader, may_come)?;
        }
        let store_options = StoreOptions {
            dir: options.dir.clone(),
            frames: options.shared_buffers_bytes.max(1 << 20) / PAGE_SIZE,
            checksums: control.data_checksums,
            full_page_writes: options.full_page_writes,
        };
        let store = Store::open(host, store_options)?;
        store.check_state()?;
        store.set_image_compression(options.image_compression.method());
        let checkpoint = control.checkpoint_copy;
        let visibility = Visibility::new(checkpoint.redo, checkpoint.next_xid, XidSet::default());
        let in_recovery = mode != StartMode::Primary;
        let host = host.clone();
        let branch = Arc::new(branch);
        reader.source_mut().set_received(Arc::clone(&branch));
        let engine =
            Engine::new(Parts { host, options, store, control, visibility, branch, in_recovery, lock });
        let is_own = later.is_some();
        Ok(Self { engine, reader, label, found, later, may_come, copied, is_own })
    }

    /// Writes the control file for the recovery that begins, then puts backup_label out of the way. `own` is
    /// the end of what this node wrote itself.
    fn note_recovery(&self, state: ClusterState, own: Option<(TimelineId, Lsn)>) -> Result<(), Error> {
        let (host, dir) = (&self.engine.host, self.engine.dir());
        if self.engine.options.log_writing.fsync
            && (!self.found.is_at_rest() || self.label.is_some())
            && !host::planted!("recovery trusts what a killed server left to the kernel")
        {
            // What a killed server or a copying tool left to the kernel is not durable, and redo finds it as
            // if it were.
            let goes_on = || self.engine.check_opening().is_ok();
            host::sync_tree_while(&*host.disk, &dir.join("base"), true, &goes_on).map_err(tree_sync_error)?;
            self.sync_log()?;
        }
        if let Some(label) = self.label.as_ref().filter(|label| label.method == BackupMethod::PgRewind) {
            remove_own_files(host, dir, label.is_own_rewind())?;
        }
        if self.label.is_some() {
            // It may have been copied with the rest, and later.
            forget_own_flush(host.disk.clone(), dir)
                .map_err(|error| Error::io("remove file", &dir.join(FLUSHED_FILE), error))?;
        }
        if state == ClusterState::InArchiveRecovery {
            self.record_branch()?;
            if let Some((timeline, upto)) = own {
                self.mark_own(timeline, upto);
            }
        }
        // A primary that was stopped left all pages as of its checkpoint.
        let redo = self.engine.control.lock().checkpoint_copy.redo;
        let of = self.reader.source().history().timeline_at(Lsn::new(redo.get().saturating_sub(1)));
        let raises = state == ClusterState::InArchiveRecovery && self.label.is_none();
        self.engine.update_control(|control| {
            control.state = state;
            if raises && control.min_recovery_point < redo {
                (control.min_recovery_point, control.min_recovery_point_timeline) = (redo, of);
            }
        })?;
        if self.label.is_some() {
            let (dir, disk) = (self.engine.dir(), &*self.engine.host.disk);
            let label = dir.join(BACKUP_LABEL_FILE);
            host::durable_rename(disk, &label, &dir.join("backup_label.old"))
                .map_err(|error| Error::io("rename file", &label, error))?;
        }
        Ok(())
    }

    /// Recovery goes on along the history that is read now.
    pub(super) fn record_branch(&self) -> Result<(), Error> {
        let (branch, history) = (&self.engine.branch, self.reader.source().history());
        let named = RecoveryStart::found(&self.engine.control.lock(), None, None).timeline();
        let recorded = match (&self.label, branch.record()) {
            (None, Some(record)) if record.timeline >= named => branch.follow(history, Lsn::INVALID),
            // What a promotion has outdone that was decided counts no more.
            (None, Some(outdone)) => branch.begin(history, named, outdone.promotion),
            (label, _) => {
                let is_writers = match label {
                    Some(label) => !label.from_standby,
                    None => !self.found.is_standbys(),
                };
                branch.begin(history, if is_writers { named } else { TimelineId::INVALID }, None)
            }
        };
        recorded.map_err(|error| branch_error(&error))
    }

    /// Makes the log that will be redone durable: a page that redo writes must not be ahead of it.
    fn sync_log(&self) -> Result<(), Error> {
        let (size, redo) = {
            let control = self.engine.control.lock();
            (control.segment_size, control.checkpoint_copy.redo)
        };
        let folder = SegmentFolder::new(self.engine.host.disk.clone(), &self.engine.wal_dir(), size);
        folder.make_durable(redo, || self.engine.check_opening().is_ok()).map_err(log_error)?;
        self.engine.check_opening()
    }

    /// A replay at the redo point, after a look at the checkpoint record itself, and that record's end. If
    /// the record is not here and `may_come`, replay waits for it; INVALID is its end then.
    fn replay(&mut self, may_come: bool) -> Result<(Replay, Lsn), Error> {
        let (checkpoint, contents) = {
            let control = self.engine.control.lock();
            (control.checkpoint, control.checkpoint_copy)
        };
        let mut replay = Replay::new(Arc::clone(&self.engine), contents.redo, &contents);
        let found = self.own_checkpoint().map_err(|error| unreadable_checkpoint(checkpoint, error))?;
        let end = match found {
            Found::Checkpoint { end, .. } => {
                self.reader.prove_flush(end);
                end
            }
            Found::Nothing(_) if may_come => {
                replay.await_checkpoint(checkpoint);
                Lsn::INVALID
            }
            Found::Nothing(why) => return Err(no_valid_checkpoint(checkpoint, &why)),
            Found::Other => return Err(no_checkpoint(checkpoint)),
        };
        self.reader.seek(contents.redo, None);
        Ok((replay, end))
    }

    fn standby(mut self) -> Result<Started, Error> {
        let barrier = RaiseMinRecoveryPoint(Arc::downgrade(&self.engine));
        self.engine.store.set_barrier(Arc::new(barrier));
        let later = self.later.take();
        let crashed = later.is_some();
        let has_supply = self.engine.options.recovery.supply.is_some();
        if crashed {
            self.note_recovery(ClusterState::InCrashRecovery, None)?;
        } else {
            let is_stopped = self.label.is_none() && self.found == ClusterState::ShutDown;
            let own = is_stopped.then(|| self.stopped_end());
            self.note_recovery(ClusterState::InArchiveRecovery, own)?;
        }
        if crashed && has_supply {
            // An archive's segment may go beyond the own one, along a branch that is another by now.
            self.reader.source_mut().use_supply(false);
        }
        let (mut replay, checkpoint_end) = self.replay(self.may_come && !crashed)?;
        if let Some(later) = later {
            self.redo_own_log(&mut replay, checkpoint_end, later)?;
            if has_supply {
                self.reader.source_mut().use_supply(true);
            }
        }
        let (engine, reader) = (self.engine, self.reader);
        if let Some(shown) = engine.shown.recall(reader.source().history())? {
            engine.visibility.confirm(shown);
        }
        let redo = Box::new(StandbyRedo::new(Arc::clone(&engine), replay, reader));
        Ok(Started::Standby(engine, redo))
    }

    fn primary(mut self) -> Result<Started, Error> {
        let begun = self.engine.host.clock.monotonic();
        let clean = self.label.is_none() && self.found == ClusterState::ShutDown;
        let mut report =
            RecoveryReport { needed: !clean, from_backup: self.label.is_some(), ..Default::default() };
        if !clean {
            let received = self.label.is_none() && self.found.is_standbys();
            if received {
                self.engine.store.set_barrier(Arc::new(RaiseMinRecoveryPoint(Arc::downgrade(&self.engine))));
            }
            // The log of a standby becomes this node's own when it has been redone and is written on: who
            // was refused may go on as a standby.
            let state =
                if received { ClusterState::InArchiveRecovery } else { ClusterState::InCrashRecovery };
            self.note_recovery(state, None)?;
        }
        let (mut replay, checkpoint_end) = self.replay(false)?;
        let mut broken = None;
        let start = if clean {
            let checkpoint = self.engine.control.lock().checkpoint;
            replay.at = checkpoint_end;
            WriteStart {
                insert_at: checkpoint_end,
                previous: checkpoint,
                overwrites_contrecord: false,
                forked_from: None,
            }
        } else {
            let end = self.redo_all(&mut replay)?;
            report.end = end.reason.to_string();
            self.check_reached(&end, checkpoint_end)?;
            self.check_backup_whole(&replay)?;
            self.check_followed(&replay)?;
            let tail = self.verify_tail(&end)?;
            self.engine.check_opening()?;
            self.record_cut(tail.as_ref(), &end)?;
            report.cut_bytes = tail.map_or(0, |tail| tail.bytes());
            self.engine.remove_dropped()?;
            self.engine.store.check_missing()?;
            broken = end.broken;
            write_start(&replay, &end)
        };
        replay.load_early()?;
        if clean {
            replay.load_confirmed()?;
        }
        self.engine.check_opening()?;
        report.from = replay.from;
        report.to = replay.at;
        report.records = replay.records;
        report.last_commit = self.engine.recovery.last_commit();
        report.aborted = replay.leftovers();
        let begin = Begin {
            timeline: replay.timeline,
            start,
            overwritten: broken.map(|broken| broken.start),
            state: replay.state(),
        };
        self.forget_marks_behind(&begin)?;
        start_writing(&self.engine, &begin)?;
        self.engine.levels.say_what_is_confirmed();
        self.enter_production(begin.timeline, report.to)?;
        report.elapsed = self.engine.host.clock.monotonic().saturating_sub(begun);
        Ok(Started::Primary(self.engine, report))
    }

    fn enter_production(&self, written: TimelineId, redone_to: Lsn) -> Result<(), Error> {
        self.engine.update_control(|control| {
            control.state = ClusterState::InProduction;
            // Until a checkpoint names the timeline that is written, this alone does.
            let is_named = written == control.checkpoint_copy.timeline;
            (control.min_recovery_point, control.min_recovery_point_timeline) =
                if is_named { (Lsn::INVALID, TimelineId::INVALID) } else { (redone_to, written) };
        })?;
        self.engine.end_raising()
    }

    pub(super) fn redo_all(&mut self, replay: &mut Replay) -> Result<EndOfWal, Error> {
        replay.tell_progress(None);
        let end = if self.engine.options.background {
            let redo = |ready: &mut Ready<'_>| {
                let done = replay.redo_pinned(&ready.record, std::mem::take(&mut ready.pins), None);
                done.map(ControlFlow::<Infallible>::Continue)
            };
            match read_ahead(&self.engine, &mut self.reader, redo)? {
                Ended::Log(end) => end,
                Ended::Stopped(never) => match never {},
            }
        } else {
            loop {
                match self.reader.next().map_err(read_error)? {
                    Next::Record(record) => replay.redo(&record, None)?,
                    Next::End(end) => break end,
                }
            }
        };
        replay.tell_progress(Some(end.reason));
        Ok(end)
    }
}

fn write_start(replay: &Replay, end: &EndOfWal) -> WriteStart {
    WriteStart {
        insert_at: end.broken.map_or(replay.at, |broken| {
            if host::planted!("a torn tail is cut where its record begins") {
                broken.start
            } else {
                broken.missing_at
            }
        }),
        previous: replay.last_record,
        overwrites_contrecord: end.broken.is_some(),
        forked_from: None,
    }
}

/// How a node begins to write its log.
pub(crate) struct Begin {
    pub(crate) timeline: TimelineId,
    pub(crate) start: WriteStart,
    /// The record whose rest never came.
    pub(crate) overwritten: Option<Lsn>,
    pub(crate) state: ReplayState,
}

/// How the log of this timeline is written.
pub(crate) fn writer_config(engine: &Engine, timeline: TimelineId) -> WriterConfig {
    let (system_id, segment_size) = {
        let control = engine.control.lock();
        (control.system_id, control.segment_size)
    };
    let mut config = WriterConfig::new(system_id, timeline);
    config.segment_size = segment_size;
    config.buffers_bytes = engine.options.wal_buffers_bytes as u64;
    config.recent_bytes = engine.options.wal_buffers_bytes as u64;
    let writing = *engine.log_writing.lock();
    config.writer_delay = writing.delay;
    config.flush_after_bytes = writing.flush_after_bytes;
    config.fsync = writing.fsync;
    config.zero_fill = engine.options.wal_init_zero;
    config.background = engine.options.background;
    config.flush_mark = Some(engine.dir().join(FLUSHED_FILE));
    config
}

/// Opens the log for writing and settles what recovery left. All of it is durable on return.
fn start_writing(engine: &Engine, begin: &Begin) -> Result<(), Error> {
    let wal = open_log(engine, begin, writer_config(engine, begin.timeline))?;
    if let Some(overwritten) = begin.overwritten {
        insert(&wal, XlogRecord::OverwriteContrecord { overwritten, time: engine.host.clock.now() })?;
    }
    engine.set_timeline(begin.timeline);
    settle(engine, begin, &wal, false)
}

/// Opens the log for writing, in which nothing is yet.
pub(crate) fn open_log(engine: &Engine, begin: &Begin, config: WriterConfig) -> Result<WalWriter, Error> {
    let Begin { start, state, .. } = begin;
    let redo = engine.control.lock().checkpoint_copy.redo;
    let wal = WalWriter::open(&engine.host, &engine.wal_dir(), config, *start).map_err(log_error)?;
    // Other nodes may begin redo at any checkpoint that this log tells of, also where this node did not.
    let told = engine.seen_checkpoint.lock().map_or(Lsn::INVALID, |seen| seen.contents.redo);
    wal.set_redo_point(redo.max(told));
    engine.visibility.end_replay(state.at, state.next_xid, &state.leftovers);
    engine.become_primary(wal.clone(), state.next_xid)?;
    #[cfg(test)]
    if let Some(look) = engine.mid_promotion.lock().take() {
        look();
    }
    Ok(wal)
}

/// Puts a record of the log's own into it.
pub(crate) fn insert(wal: &WalWriter, record: XlogRecord) -> Result<Inserted, Error> {
    let mut record = record.encode().map_err(|error| Error::Log(error.to_string().into()))?;
    wal.insert(&mut record).map_err(log_error)
}

/// Settles what recovery left: transactions without an outcome, changed parameters, undecided commits. All of
/// it is durable on return.
pub(crate) fn settle(
    engine: &Engine,
    begin: &Begin,
    wal: &WalWriter,
    is_promotion: bool,
) -> Result<(), Error> {
    let state = &begin.state;
    let old_parameters = engine.control.lock().parameters;
    // Before a page is changed, and behind the record that begins the timeline.
    engine.begin_logging_full_page_writes(state.full_page_writes)?;
    engine.pipeline()?.abort_leftovers(state.early.clone(), state.early_on_page, &state.leftovers)?;
    let parameters = ParameterChange::from(engine.options.parameters);
    if parameters != old_parameters {
        insert(wal, XlogRecord::ParameterChange(parameters))?;
        engine.update_control(|control| control.parameters = parameters)?;
    }
    decide(engine, state, is_promotion)?;
    wal.flush_all().map_err(log_error)?;
    Ok(())
}

/// Which commits of before this start or promotion are proven confirmed, and which nobody may see yet.
fn decide(engine: &Engine, state: &ReplayState, is_promotion: bool) -> Result<(), Error> {
    let on_record = engine.confirmed_record()?.position;
    let had_nothing_in_doubt = on_record == Lsn::MAX;
    let confirmed = if had_nothing_in_doubt {
        state.last_commit_end.unwrap_or(Lsn::INVALID).max(state.at)
    } else {
        on_record
    };
    let last = state.last_commit_end.unwrap_or(state.at);
    let last_apply = state.last_apply_end.max(engine.apply_record()?);
    let required = engine.levels.is_required();
    engine.levels.begin_at(if required { confirmed.min(last) } else { last }, required);
    if required {
        engine.levels.set_undecided(confirmed, last, last_apply);
    } else if !engine.sync_record()?.names.is_empty() {
        // What waited for standbys is in doubt, also if this server names none from now on. A standby may
        // have heard more than its log says.
        let heard = if is_promotion { engine.visibility.confirmed() } else { Lsn::INVALID };
        engine.levels.set_undecided(confirmed.max(heard), last, last_apply);
    }
    let undecided_after = engine.gate.undecided().map(|(after, _)| after);
    let (pipeline, confirmed) = (engine.pipeline()?, undecided_after.unwrap_or(confirmed));
    pipeline.begin_confirmed(confirmed, engine.visibility.decided_prefix(confirmed));
    if had_nothing_in_doubt {
        // The clean stop before this start said so, which must not be believed at the next one.
        if !host::planted!("the word of a clean stop is believed after the next crash") {
            pipeline.put_confirmed(confirmed)?;
        }
    } else if undecided_after.is_some() {
        // Redo after a crash does not come by what a clean stop has put on record. If there is no room for
        // it, the next checkpoint puts it there.
        let _ = pipeline.put_confirmed(confirmed);
    }
    Ok(())
}

/// Log of wal_level minimal does not hold all that recovery from a copy needs.
pub(crate) fn check_wal_level(wal_level: WalLevel) -> Result<(), Error> {
    if wal_level != WalLevel::Minimal {
        return Ok(());
    }
    let what = "WAL was generated with wal_level=minimal, cannot continue recovering; \
                use a backup taken after setting wal_level to higher than minimal";
    Err(Error::Unusable(what.to_owned()))
}
