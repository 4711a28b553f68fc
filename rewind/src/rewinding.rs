//! The way of a rewind: look, decide, and then, step by step, do.

use crate::beside::{Brought, remove_leftovers};
use crate::copy::{Copier, remove_tree, settle_folder};
use crate::error::{RewindError, io_error};
use crate::log::{LogPlan, LogPlanning};
use crate::marker::{Copied, Marker};
use crate::options::RewindOptions;
use crate::plan::{NodeFiles, Plan, Touched, target_files};
use crate::room::{Needed, look_for_room};
use crate::source::{Source, SourceName, SourcePosition};
use crate::target::{Checkpoint, Divergence, Target};
use crate::untouched::Untouched;
use basebackup::clone::{make_standby, primary_conninfo, primary_conninfo_of_node};
use basebackup::send::files::SentFile;
use host::{Disk, Host, LockGuard, write_file_durably};
use wal::backup_label::{BACKUP_LABEL_FILE, BackupLabel, BackupMethod};
use wal::control::{ClusterState, ControlFile};
use wal::history::TimelineHistory;
use wal::{Lsn, TimelineId};

/// What a rewind is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Changed blocks and new files come.
    Copying,
    /// Log comes.
    Log,
    /// The last files are written.
    Finishing,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What it is doing.
    pub stage: Stage,
    /// Bytes that came.
    pub bytes: u64,
    /// Bytes that will have come in the end, about.
    pub total_bytes: u64,
}

/// The latest timeline that a control file names.
fn timeline_of(control: &ControlFile) -> TimelineId {
    control.checkpoint_copy.timeline.max(control.min_recovery_point_timeline)
}

/// Whether there is anything to do.
#[derive(Debug)]
pub enum Need {
    /// The target has nothing that the source's branch has not.
    Nothing,
    /// This.
    Diverged(Box<Divergence>),
    /// A rewind was broken off when all files were copied: the rest.
    Rest,
}

/// A rewind that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewound {
    /// The timeline that it is on now.
    pub timeline: TimelineId,
    /// Where recovery starts.
    pub redo: Lsn,
    /// Where its data is consistent.
    pub end: Lsn,
    /// Bytes that were copied.
    pub bytes: u64,
    /// Replication slots that went.
    pub dropped_slots: Vec<String>,
}

/// A rewind that is prepared: both sides are looked at and held, nothing is changed.
pub struct Rewind {
    host: Host,
    options: RewindOptions,
    target: Target,
    source: Source,
    position: SourcePosition,
    source_control: ControlFile,
    history: TimelineHistory,
    /// What an earlier one left.
    marker: Option<Marker>,
    need: Need,
    /// What is to be done, once there is room for it.
    ready: Option<Plan>,
    /// The marker of this one stands.
    is_marked: bool,
    brought: Brought,
    /// No server opens the target meanwhile.
    _lock: Box<dyn LockGuard>,
}

/// A source that has not come to the fork lacks common log. Its files may have anything there, the target's
/// pages be newer than what it has, and others may have been told that the target has that log.
fn check_log_end(
    source: &Source,
    position: &SourcePosition,
    need: &Need,
    marker: Option<&Marker>,
) -> Result<(), RewindError> {
    let needed = match need {
        Need::Nothing => return Ok(()),
        Need::Diverged(divergence) => divergence.fork.at,
        Need::Rest => marker.and_then(|marker| marker.copied).map_or(Lsn::INVALID, |copied| copied.end),
    };
    let (at, is_at_rest) = (position.log_end, source.is_at_rest());
    if at < needed { Err(RewindError::SourceBehind { at, needed, is_at_rest }) } else { Ok(()) }
}

fn nothing_to_rewind() -> RewindError {
    RewindError::Answer("there is nothing to rewind".to_owned())
}

impl std::fmt::Debug for Rewind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rewind").field("target", &self.target).finish_non_exhaustive()
    }
}

/// How the rewound node will reach the source; None if that is a directory.
fn followed_by(disk: &dyn Disk, options: &RewindOptions) -> Result<Option<String>, RewindError> {
    let SourceName::Server(conninfo) = &options.source else { return Ok(None) };
    Ok(Some(match options.node_files {
        NodeFiles::Keep => primary_conninfo_of_node(disk, &options.target, conninfo)?,
        NodeFiles::Replace => primary_conninfo(conninfo)?,
    }))
}

/// What cannot be followed is refused before anything has changed.
fn check_followed(disk: &dyn Disk, options: &RewindOptions) -> Result<(), RewindError> {
    if options.standby { followed_by(disk, options).map(drop) } else { Ok(()) }
}

impl Rewind {
    /// Looks at both sides. Nothing is changed.
    ///
    /// # Errors
    /// Fails if they cannot be looked at, or are not of one cluster.
    pub async fn prepare(host: &Host, options: RewindOptions) -> Result<Self, RewindError> {
        ControlFile::load(&*host.disk, &options.target)?.check_ours(&options.target)?;
        check_followed(&*host.disk, &options)?;
        let lock = storage::lock_directory(host, &options.target)?;
        remove_leftovers(&*host.disk, &options.target)?;
        let target = Target::of(host.disk.clone(), &options)?;
        let marker = Marker::load(&*host.disk, &options.target)?;
        let mut source = Source::open(host, &options.source).await?;
        let position = source.position().await?;
        if position.system_id != target.control.system_id {
            let (source_id, target_id) = (position.system_id, target.control.system_id);
            let is_at_rest = source.is_at_rest();
            return Err(RewindError::DifferentSystems { source_id, target_id, is_at_rest });
        }
        let history = source.history(position.timeline).await?;
        let source_control = source.control().await?;
        // It was promoted since it was asked where it is.
        let (from, to) = (position.timeline, timeline_of(&source_control));
        if to > from {
            return Err(RewindError::SourceTurned { from, to });
        }
        if source_control.is_unfinished_backup() {
            return Err(RewindError::SourceUnfinished);
        }
        if source_control.data_checksums != target.control.data_checksums {
            return Err(RewindError::Checksums);
        }
        let brought = Brought(target.places.clone());
        let begun = marker.as_ref().and_then(|marker| Some((marker, marker.copied?)));
        let mut need = match begun {
            Some((marker, _)) if marker.is_copied_of(&history) => Need::Rest,
            Some((_, copied)) => {
                let (begun, is_at_rest) = (copied.timeline, source.is_at_rest());
                return Err(RewindError::OtherSource { begun, is_at_rest });
            }
            None => {
                match target.divergence(&history, &mut source, position.log_end, marker.as_ref()).await? {
                    Some(divergence) => Need::Diverged(Box::new(divergence)),
                    None if marker.as_ref().is_some_and(|marker| !marker.is_untouched) => {
                        let (timeline, is_at_rest) = (position.timeline, source.is_at_rest());
                        return Err(RewindError::NoFork { timeline, is_at_rest });
                    }
                    None => Need::Nothing,
                }
            }
        };
        check_log_end(&source, &position, &need, marker.as_ref())?;
        if let Need::Diverged(divergence) = &mut need
            // Else files of the source may lack what was done before the target's log names the page.
            && source_control.checkpoint_copy.redo >= divergence.changed_from
        {
            let Divergence { untold, fork, .. } = &**divergence;
            divergence.untouched = Untouched::fetch(&mut source, &target, untold, fork.at).await?;
        }
        Ok(Self {
            host: host.clone(),
            options,
            target,
            source,
            position,
            source_control,
            history,
            marker,
            need,
            ready: None,
            is_marked: false,
            brought,
            _lock: lock,
        })
    }

    /// Whether an earlier one was broken off behind its marker: it may have said what it was to say.
    pub const fn was_begun(&self) -> bool {
        self.marker.is_some()
    }

    /// Whether it was begun for this very branch of the source.
    pub fn was_begun_for_this(&self) -> bool {
        self.goes_on_from_begun() && self.begun_for() == Some(self.timeline())
    }

    /// Whether the source's branch continues the one that the target is on, or that for which an earlier run
    /// was begun.
    pub fn is_continued(&self) -> bool {
        let continues_own = match &self.need {
            Need::Diverged(divergence) => divergence.fork.timeline == self.target.timeline(),
            Need::Nothing | Need::Rest => false,
        };
        continues_own || self.goes_on_from_begun()
    }

    fn goes_on_from_begun(&self) -> bool {
        self.marker.as_ref().is_some_and(|marker| marker.is_continued_by(&self.history))
    }

    /// The timeline for which an earlier run was begun, if its marker says so.
    pub fn begun_for(&self) -> Option<TimelineId> {
        Some(self.marker.as_ref()?.history.as_ref()?.target())
    }

    /// What an earlier run that was broken off has left.
    pub const fn begun(&self) -> Option<&Marker> {
        self.marker.as_ref()
    }

    /// Whether there is anything to do.
    pub const fn need(&self) -> &Need {
        &self.need
    }

    /// The directory.
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// The source's timeline.
    pub const fn timeline(&self) -> TimelineId {
        self.position.timeline
    }

    /// The checkpoint that recovery will start from; None if there is nothing to copy.
    pub fn start(&self) -> Option<Checkpoint> {
        let Need::Diverged(divergence) = &self.need else { return None };
        let Divergence { fork, base, .. } = &**divergence;
        let control = &self.source_control;
        let theirs = Checkpoint { at: control.checkpoint, contents: control.checkpoint_copy };
        let is_older = theirs.at < fork.at && theirs.contents.redo < base.contents.redo;
        Some(if is_older { theirs } else { *base })
    }

    /// What would be done to files; None if there is nothing to copy.
    ///
    /// # Errors
    /// Fails if one side's files cannot be listed, or log that will be needed is nowhere.
    pub async fn plan(&mut self) -> Result<Option<Plan>, RewindError> {
        Ok(self.plans().await?.map(|(plan, _)| plan))
    }

    /// Plans all of it, and looks for room: what may be found out before anything changes is found out here.
    /// The report of what goes is written between this and [`Self::mark`]. [`Self::run`] does both if nobody
    /// has.
    ///
    /// # Errors
    /// Fails as [`Self::plan`] does, or if there is no room. Nothing is changed then.
    pub async fn make_ready(&mut self) -> Result<(), RewindError> {
        if self.ready.is_some() {
            return Ok(());
        }
        let Some((plan, log)) = self.plans().await? else { return Ok(()) };
        if self.marker.is_none() {
            let needed = Needed { data: plan.added_bytes(), log: log.added_bytes };
            look_for_room(&*self.host.disk, &self.options.target, needed)?;
            if let Need::Diverged(divergence) = &self.need {
                self.target.settle(divergence.changed_from)?;
            }
        }
        self.ready = Some(plan);
        Ok(())
    }

    /// Writes a marker, durably: no server starts here from now on, and a rewind that is run again goes on.
    /// Who says elsewhere that this rewind discards something says it between this and [`Self::run`]: said
    /// before, a server could still run in between, and the next rewind would discard something else. Till
    /// [`Self::run`] the marker says that nothing has changed, so that one which is run again sees all that
    /// this one saw.
    ///
    /// # Errors
    /// Fails if it cannot be written, or if [`Self::make_ready`] has found nothing to copy.
    pub fn mark(&mut self) -> Result<(), RewindError> {
        if self.is_marked {
            return Ok(());
        }
        if self.ready.is_none() {
            return Err(nothing_to_rewind());
        }
        let (source, history) = (self.options.source.shown(), self.history.clone());
        let marker = match self.marker.clone() {
            // It may not be durable yet.
            Some(earlier) => Marker { source, history: Some(history), ..earlier },
            None => Marker::untouched(source, history),
        };
        marker.store(&*self.host.disk, &self.options.target)?;
        self.is_marked = true;
        Ok(())
    }

    /// Removes the marker of an earlier run that has changed nothing, durably: there is nothing to do.
    ///
    /// # Errors
    /// Fails if it cannot be removed.
    pub fn give_up_begun(&mut self) -> Result<(), RewindError> {
        let is_left = matches!(self.need, Need::Nothing) && self.marker.take().is_some();
        if is_left { Marker::remove(&*self.host.disk, &self.options.target) } else { Ok(()) }
    }

    /// Takes the marker back, since nothing was changed and nothing will be. That of an earlier rewind, which
    /// may have changed something, stays.
    ///
    /// # Errors
    /// Fails if it cannot be removed.
    pub fn unmark(&mut self) -> Result<(), RewindError> {
        if self.marker.is_some() || !std::mem::take(&mut self.is_marked) {
            return Ok(());
        }
        Marker::remove(&*self.host.disk, &self.options.target)
    }

    /// What an earlier one may have overwritten beyond what the target's log names.
    fn touched(&self) -> Touched {
        self.marker.as_ref().map_or_else(Touched::new, |marker| marker.touched.clone())
    }

    async fn plans(&mut self) -> Result<Option<(Plan, LogPlan)>, RewindError> {
        let Some(start) = self.start() else { return Ok(None) };
        let Need::Diverged(divergence) = &self.need else { return Ok(None) };
        let files = self.source.files(false).await?;
        let node_files = self.options.node_files;
        let own = target_files(&*self.host.disk, &self.options.target, &files, node_files)?;
        let mut plan = Plan::new(&files, &own, &divergence.blocks, &self.touched(), node_files);
        let log = self.plan_log(&files, divergence.fork.at, start.contents.redo)?;
        self.check_log(&log)?;
        (plan.log_files, plan.log_bytes) = (log.files(), log.bytes());
        Ok(Some((plan, log)))
    }

    fn plan_log(&self, files: &[SentFile], fork: Lsn, redo: Lsn) -> Result<LogPlan, RewindError> {
        let (own, marked) = (self.target.log_names()?, self.target.marked_names()?);
        let planning = LogPlanning {
            source: files,
            history: &self.history,
            own: &own,
            marked: &marked,
            size: self.target.control.segment_size,
            fork,
            redo,
            end: self.position.log_end,
        };
        Ok(planning.plan())
    }

    /// Log that is nowhere may come from the archive, if there is one.
    fn check_log(&self, log: &LogPlan) -> Result<(), RewindError> {
        match log.missing.first() {
            Some(name) if self.options.supply.is_none() => Err(RewindError::MissingWal(name.clone())),
            _ => Ok(()),
        }
    }

    /// Has a target with nothing to give up start as a standby.
    ///
    /// # Errors
    /// Fails if its settings cannot be written.
    pub fn follow(&self) -> Result<(), RewindError> {
        let (disk, dir) = (&*self.host.disk, &self.options.target);
        if !self.options.standby {
            return Ok(());
        }
        match followed_by(disk, &self.options)? {
            Some(conninfo) => make_standby(disk, dir, &conninfo, None).map(drop).map_err(Into::into),
            None => {
                let signal = dir.join("standby.signal");
                write_file_durably(disk, &signal, b"").map_err(io_error(&signal))
            }
        }
    }

    /// Does it, or the rest of it. `progress` is called now and then.
    ///
    /// # Errors
    /// Fails with what went wrong. From before the first change on the directory carries its marker then, no
    /// server starts there, and a rewind that is run again goes on.
    pub async fn run(mut self, progress: &mut (dyn FnMut(Progress) + Send)) -> Result<Rewound, RewindError> {
        let mut bytes = 0;
        let copied = match self.marker.as_ref().and_then(|marker| marker.copied) {
            Some(copied) => {
                // Who was killed may have left this state to the kernel. If a power cut took it, the state
                // before would be found, which needs the log that goes now.
                let dir = &self.options.target;
                self.host.disk.sync_dir(dir).map_err(io_error(dir))?;
                self.brought.0.settle()?;
                copied
            }
            None => self.copy_files(&mut bytes, progress).await?,
        };
        let files = self.source.files(true).await?;
        let log = self.plan_log(&files, copied.fork.at, copied.redo)?;
        if let Err(missing) = self.check_log(&log) {
            // Of a source that was promoted since, the last segment has another name.
            self.source.position().await?.check_since(&self.position)?;
            return Err(missing);
        }
        // More of it may be needed by now than when all was planned.
        let total_bytes = bytes + log.bytes();
        progress(Progress { stage: Stage::Log, bytes, total_bytes });
        let mut arrived = |came| {
            bytes += came;
            progress(Progress { stage: Stage::Log, bytes, total_bytes });
        };
        let mut copier = Copier {
            disk: self.host.disk.clone(),
            dir: self.options.target.clone(),
            source: &mut self.source,
            checksums: self.target.control.data_checksums,
            arrived: &mut arrived,
        };
        let history = self.history.clone();
        self.target.replace_log(&mut copier, &log, &history, self.position.log_end).await?;
        progress(Progress { stage: Stage::Finishing, bytes, total_bytes });
        // What the source has turned to since is ahead: the directory has no history of it, and comes to it
        // by its log. What else the file has is as good as it was.
        let now = self.source.control().await?;
        let is_ahead = timeline_of(&now) > self.position.timeline;
        let control = if is_ahead { self.source_control.clone() } else { now };
        let (end, dropped_slots) = self.finish(&copied, control)?;
        self.source.close().await;
        Ok(Rewound { timeline: self.position.timeline, redo: copied.redo, end, bytes, dropped_slots })
    }

    /// All but the log and what decides. On return the marker says `copied`.
    async fn copy_files(
        &mut self,
        bytes: &mut u64,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Copied, RewindError> {
        let start = self.start().ok_or_else(nothing_to_rewind)?;
        self.make_ready().await?;
        let plan = self.ready.take().ok_or_else(nothing_to_rewind)?;
        let Need::Diverged(divergence) = &self.need else { return Err(nothing_to_rewind()) };
        let (fork, changed_from) = (divergence.fork, divergence.changed_from);
        let (disk, dir) = (self.host.disk.clone(), self.options.target.clone());
        let (source, touched) = (self.options.source.shown(), plan.touches(&self.touched()));
        let history = Some(self.history.clone());
        let mut marker = Marker { source, touched, changed_from, is_untouched: false, copied: None, history };
        marker.store(&*disk, &dir)?;
        self.target.say_not_stopped()?;
        self.brought.0.settle()?;
        if host::planted!("a rewind stores the source's control file first") {
            self.source_control.store(&*disk, &dir)?;
        }
        let total_bytes = plan.bytes();
        progress(Progress { stage: Stage::Copying, bytes: 0, total_bytes });
        let mut arrived = |came| {
            *bytes += came;
            progress(Progress { stage: Stage::Copying, bytes: *bytes, total_bytes });
        };
        let mut copier = Copier {
            disk: disk.clone(),
            dir: dir.clone(),
            source: &mut self.source,
            checksums: self.target.control.data_checksums,
            arrived: &mut arrived,
        };
        copier.carry_out(&plan).await?;
        self.settle_all().await?;
        let now = self.source.position_after(fork.at).await?;
        now.check_since(&self.position)?;
        let copied = Copied {
            fork,
            timeline: now.timeline,
            checkpoint: start.at,
            redo: start.contents.redo,
            redo_timeline: self.history.timeline_at(start.at),
            end: now.at,
        };
        self.position = now;
        marker.copied = Some(copied);
        marker.store(&*disk, &dir)?;
        Ok(copied)
    }

    /// What makes a directory of the source's branch out of it, the marker's end last. Gives where its
    /// data is consistent, and the slots that went.
    fn finish(&self, copied: &Copied, source: ControlFile) -> Result<(Lsn, Vec<String>), RewindError> {
        let (disk, dir) = (&*self.host.disk, &self.options.target);
        if host::planted!("the marker of a rewind goes before its last files are there") {
            Marker::remove(disk, dir)?;
        }
        storage::remove_own_files(&self.host, dir, true)?;
        let dropped = self.drop_slots()?;
        let label = BackupLabel {
            start: copied.redo,
            checkpoint: copied.checkpoint,
            timeline: copied.redo_timeline,
            method: BackupMethod::PgRewind,
            from_standby: true,
            start_time: BackupLabel::time_text(self.host.clock.now()),
            label: Some("plimsoll rewind".to_owned()),
        };
        let path = dir.join(BACKUP_LABEL_FILE);
        write_file_durably(disk, &path, label.format(source.segment_size).as_bytes())
            .map_err(io_error(&path))?;
        let (end, timeline) = self.target.needed(copied.end, &self.position, &self.history);
        let control = ControlFile {
            state: ClusterState::InArchiveRecovery,
            min_recovery_point: end,
            min_recovery_point_timeline: timeline,
            backup_start_point: Lsn::INVALID,
            backup_end_point: Lsn::INVALID,
            backup_end_required: false,
            ..source
        };
        control.store(disk, dir)?;
        self.follow()?;
        if !host::planted!("the marker of a rewind goes before its last files are there") {
            Marker::remove(disk, dir)?;
        }
        Ok((end, dropped))
    }

    /// Makes every file and name durable: also what a try that was killed has done, which this one does not
    /// find to do, and what the target's server left to the kernel, which is its own no more to redo. Once is
    /// enough: when the marker says `copied` nothing changes any more but the log, which
    /// [`Target::replace_log`] makes durable, and what [`Self::finish`] writes and removes, which each try
    /// does anew, and durably.
    async fn settle_all(&self) -> Result<(), RewindError> {
        if host::planted!("a rewind does not sync the pages that it copies") {
            return Ok(());
        }
        let (disk, dir) = (&*self.host.disk, &self.options.target);
        // A link is not followed.
        for folder in [&dir.join("pg_wal"), dir] {
            settle_folder(disk, folder).await?;
        }
        Ok(())
    }

    /// Slots reserve log that is given up, or was never received again: none is kept.
    fn drop_slots(&self) -> Result<Vec<String>, RewindError> {
        let disk = &*self.host.disk;
        let folder = self.options.target.join("pg_replslot");
        let entries = match disk.list(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(io_error(&folder))?,
        };
        let mut dropped = Vec::new();
        for entry in entries.into_iter().filter(|entry| entry.kind == host::FileKind::Directory) {
            remove_tree(disk, &folder.join(&entry.name))?;
            dropped.push(entry.name);
        }
        disk.sync_dir(&folder).map_err(io_error(&folder))?;
        Ok(dropped)
    }
}
