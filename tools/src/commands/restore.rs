//! `plimsoll restore --preview`: what a recovery target would bring back and what it would lose, as a list of
//! the commits around it.
//!
//! The log is read from where redo of the data directory would begin, by the one reader and with the decision
//! that recovery itself takes ([`storage::RecoveryTarget`]); nothing is changed. Where it comes from is in
//! [`sources`].

mod sources;

use crate::cli::RestoreArgs;
use crate::output::say;
use crate::serve;
use anyhow::{Context, Result, anyhow, bail};
use host::{Disk, Host, Timestamp};
use server::ServerOptions;
use sources::{ByCommand, Sources};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use storage::{ConsistencyPoint, RecoveryTarget};
use wal::backup_label::BackupLabel;
use wal::control::ControlFile;
use wal::describe::utc_text;
use wal::history::TimelineHistory;
use wal::log_branch::RECEIVED_FILE;
use wal::reader::{ArchivedEnd, Next, ReaderOptions, SegmentFiles, WalReader};
use wal::timelines::{self, RecoveryStart, TargetTimeline, Unreached};
use wal::xact::XactRecord;
use wal::{ArchiveStatus, BranchRecord, Lsn, Record, Rmgr, TimelineId};

/// A commit as the list shows it.
struct Commit {
    xid: u32,
    end: Lsn,
    time: Timestamp,
    /// Records of its changes.
    changes: u64,
}

/// What is counted on one side of the target.
#[derive(Default)]
struct Side {
    commits: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    shown: VecDeque<Commit>,
}

impl Side {
    fn add(&mut self, commit: Commit) {
        self.commits += 1;
        self.first.get_or_insert(commit.time);
        self.last = Some(commit.time);
        self.shown.push_back(commit);
    }
}

/// The target, as a server on this directory reads it.
fn target_of(arguments: &RestoreArgs) -> Result<Option<RecoveryTarget>> {
    let point = match arguments {
        RestoreArgs { target_time: Some(time), .. } => ("recovery_target_time", time.clone()),
        RestoreArgs { target_xid: Some(xid), .. } => ("recovery_target_xid", xid.to_string()),
        RestoreArgs { target_lsn: Some(lsn), .. } => ("recovery_target_lsn", lsn.clone()),
        RestoreArgs { target_name: Some(name), .. } => ("recovery_target_name", name.clone()),
        _ => return Ok(None),
    };
    let options = ServerOptions::new(std::path::absolute(&arguments.data.data)?);
    let target = server::recovery_target_of(&options, (point.0, &point.1), !arguments.exclusive);
    target.map_err(|error| match error.hint {
        Some(hint) => anyhow!("{}: {hint}", error.message),
        None => anyhow!(error.message),
    })
}

/// What recovery begins with.
struct Begin {
    redo: Lsn,
    timeline: TimelineId,
    /// What the timeline must contain.
    start: RecoveryStart,
    consistency: ConsistencyPoint,
}

fn begin_of(disk: &dyn Disk, dir: &Path, control: &ControlFile) -> Result<Begin> {
    let label = BackupLabel::load(disk, dir, control.segment_size)?;
    let copy = &control.checkpoint_copy;
    let (redo, timeline) =
        label.as_ref().map_or((copy.redo, copy.timeline), |label| (label.start, label.timeline));
    Ok(Begin {
        redo,
        timeline,
        start: RecoveryStart::found(control, label.as_ref(), BranchRecord::load(disk, dir, control)?),
        consistency: ConsistencyPoint::found(control, label.as_ref()),
    })
}

/// The end of the log in the data directory itself, judged as a start judges it.
fn end_of_own_log(host: &Host, dir: &Path, control: &ControlFile, begin: &Begin) -> Result<Lsn> {
    let pg_wal = dir.join("pg_wal");
    // A promotion may be newer than the checkpoint.
    let timeline = begin.start.timeline();
    let history = TimelineHistory::load(&*host.disk, &pg_wal, timeline)
        .map_err(|error| anyhow!("history of timeline {timeline}: {error}"))?;
    let size = control.segment_size;
    let files = SegmentFiles::new(host.disk.clone(), &pg_wal, size, history);
    let minimum = if control.is_unfinished_backup() { Lsn::INVALID } else { control.min_recovery_point };
    let options = ReaderOptions { proven_flush: minimum, ..reader_options(control) };
    let mut reader = WalReader::new(files, options, control.checkpoint);
    if let Next::Record(checkpoint) = reader.next()? {
        reader.prove_flush(checkpoint.end());
    }
    reader.seek(begin.redo, None);
    loop {
        let Next::End(end) = reader.next()? else { continue };
        let options = ServerOptions::new(std::path::absolute(dir)?);
        let fsync = server::setting_of(&options, "fsync").map_err(|error| anyhow!("{error}"))?;
        if fsync == "on" && !control.is_unfinished_backup() {
            reader.verify_end(&end)?;
            let proven =
                server::flushed_by_slots(host, dir).map_err(|error| anyhow!("{error}"))?.max(minimum);
            let marked = ArchiveStatus::new(host.disk.clone(), &pg_wal).flushed(timeline, size)?;
            if end.is_disproved_by(proven) || marked > end.writes_on_at() {
                return Err(reader.damage_at(&end, proven.max(marked)).into());
            }
        }
        return Ok(end.at);
    }
}

fn reader_options(control: &ControlFile) -> ReaderOptions {
    ReaderOptions { system_id: Some(control.system_id), ..ReaderOptions::new(control.segment_size) }
}

/// The commit that a record is.
fn commit_of(record: &Record, changes: u64) -> Option<Commit> {
    if record.rmgr() != Rmgr::XACT {
        return None;
    }
    match XactRecord::parse(record).ok()? {
        XactRecord::Commit(end) => {
            Some(Commit { xid: record.xid_low(), end: record.end(), time: end.time, changes })
        }
        _ => None,
    }
}

/// Runs the command.
pub fn run(arguments: &RestoreArgs) -> Result<()> {
    if !arguments.preview {
        bail!(
            "only --preview is there; to restore, set restore_command and the recovery_target settings, \
             create recovery.signal in the data directory and start the server"
        );
    }
    let host = Host::real();
    let (disk, dir) = (&*host.disk, arguments.data.data.as_path());
    let control = ControlFile::load(disk, dir)?;
    serve::check_format(dir, &control)?;
    let begin = begin_of(disk, dir, &control)?;
    let (start, known) = (begin.redo, begin.timeline);
    let target = target_of(arguments)?;
    let sources = Sources::new(&dir.join("pg_wal"), &arguments.wal)?;
    let archive = ByCommand {
        command: restore_command(arguments)?,
        data: std::path::absolute(dir)?,
        first_needed: control.segment_size.segment_of(start).file_name(known, control.segment_size),
    };
    let target_timeline = arguments
        .target_timeline
        .map_or(TargetTimeline::Latest, |number| TargetTimeline::Number(TimelineId::new(number)));
    timelines::fetch_for(&begin.start, target_timeline, |timeline| sources.fetch_history(&archive, timeline))
        .context("could not ask the archive for timelines")?;
    let (begins, asked_from) = if begin.start.redoes_own_log_first() {
        let end = end_of_own_log(&host, dir, &control, &begin)
            .context("a start would be refused, for the directory's own WAL")?;
        (begin.start.after_own_log(end), end)
    } else {
        (begin.start, start)
    };
    let history = begins.choose(&host.disk, sources.folder(), target_timeline)?;
    let timeline = history.target();
    let supply = sources.clone().supply(archive, control.segment_size, &history)?;
    let mut files = SegmentFiles::new(host.disk.clone(), sources.folder(), control.segment_size, history);
    files.set_supply(Arc::new(supply));
    let mut reader = WalReader::new(files, reader_options(&control), start);
    let lacks = |name| Ok::<_, anyhow::Error>(!host.disk.exists(&dir.join(name))?);
    let came_whole = lacks(RECEIVED_FILE)? && lacks("standby.signal")?;
    let asked = Asked { target: target.as_ref(), from: asked_from };
    let found = read_sides(&mut reader, &asked, begin.consistency, came_whole, arguments.around)?;
    say!("redo would begin at {start} on timeline {known} and follow timeline {timeline}");
    print_found(target.as_ref(), &found);
    Ok(())
}

/// What asks the archive: the command that is given, or the data directory's.
fn restore_command(arguments: &RestoreArgs) -> Result<String> {
    if let Some(command) = &arguments.restore_command {
        return Ok(command.clone());
    }
    let options = ServerOptions::new(std::path::absolute(&arguments.data.data)?);
    server::setting_of(&options, "restore_command")
        .map_err(|error| anyhow!("could not read the settings of the data directory: {error}"))
}

struct Found {
    before: Side,
    after: Side,
    /// Where recovery would stop; None if the log ends before the target.
    stop: Option<Stop>,
    /// Where the data becomes consistent; None if the log does not reach that.
    consistent: Option<Lsn>,
    /// Where the log ends, and why.
    end: (Lsn, String),
    /// Why it cannot end there.
    damage: Option<String>,
}

#[derive(Clone, Copy)]
struct Stop {
    at: Lsn,
    /// Recovery ends with an error otherwise.
    consistent: bool,
}

/// The target, and from where on recovery asks about it.
struct Asked<'a> {
    target: Option<&'a RecoveryTarget>,
    from: Lsn,
}

/// Reads the log and decides as recovery does. `came_whole`: as [`WalReader::archived_end`] has it.
fn read_sides(
    reader: &mut WalReader<SegmentFiles>,
    asked: &Asked<'_>,
    mut consistency: ConsistencyPoint,
    came_whole: bool,
    around: usize,
) -> Result<Found> {
    let (mut before, mut after) = (Side::default(), Side::default());
    let mut stop = None;
    let mut changes = 0;
    let start = reader.position();
    let mut grown_at = None;
    let mut first_consistent = consistency.is_reached(start).then_some(start);
    loop {
        let record = match reader.next()? {
            Next::Record(record) => record,
            Next::End(end) => {
                let archived =
                    if stop.is_none() { reader.archived_end(&end, came_whole)? } else { ArchivedEnd::Ends };
                let unreached =
                    || Unreached::of(reader.source().history(), end.at).filter(|_| stop.is_none());
                let damage = match archived {
                    ArchivedEnd::Ends => unreached().map(|unreached| unreached.to_string()),
                    ArchivedEnd::Grown(_) if grown_at.replace(end.at) != Some(end.at) => continue,
                    ArchivedEnd::Grown(damage) | ArchivedEnd::Damaged(damage) => Some(damage.to_string()),
                };
                let end = (end.at, end.reason.to_string());
                return Ok(Found { before, after, stop, consistent: first_consistent, end, damage });
            }
        };
        let asked = asked.target.filter(|_| record.start() >= asked.from);
        let consistent = first_consistent.is_some();
        if stop.is_none() && asked.is_some_and(|target| target.stops_before(&record, consistent).is_some()) {
            stop = Some(Stop { at: record.start(), consistent });
        }
        changes += u64::from(record.rmgr() == Rmgr::ENGINE);
        if let Some(commit) = commit_of(&record, changes) {
            changes = 0;
            if stop.is_none() {
                before.add(commit);
                if before.shown.len() > around {
                    before.shown.pop_front();
                }
            } else {
                after.add(commit);
                // The list begins at the target: later ones are counted only.
                after.shown.truncate(around);
            }
        }
        consistency.note(&record);
        if first_consistent.is_none() && consistency.is_reached(record.end()) {
            first_consistent = Some(record.end());
        }
        let consistent = first_consistent.is_some();
        if stop.is_none() && asked.is_some_and(|target| target.stops_after(&record, consistent).is_some()) {
            stop = Some(Stop { at: record.end(), consistent });
        }
    }
}

fn print_found(target: Option<&RecoveryTarget>, found: &Found) {
    let line = |commit: &Commit| {
        let Commit { xid, end, time, changes } = commit;
        say!("  {}  xid {xid:<10} ends at {end:<12} {changes} changes", utc_text(*time));
    };
    let span = |side: &Side| match (side.first, side.last) {
        (Some(first), Some(last)) => format!(", from {} to {}", utc_text(first), utc_text(last)),
        _ => String::new(),
    };
    let (before, after) = (&found.before, &found.after);
    say!("brings back {} commits{}", before.commits, span(before));
    before.shown.iter().for_each(line);
    match (found.stop, target) {
        (Some(Stop { at, consistent: true }), _) => say!("-- recovery stops at {at} --"),
        (Some(Stop { at, .. }), _) => {
            let when = match found.consistent {
                Some(point) => format!("which is so from {point} on"),
                None => "which is so only behind the log's end".to_owned(),
            };
            say!(
                "-- this target cannot be reached: recovery fails at {at}, before the data is consistent, {when} --"
            );
        }
        (None, Some(_)) => {
            say!("-- the log ends at {} before the target: {} --", found.end.0, found.end.1)
        }
        (None, None) => say!("-- the log ends at {}: {} --", found.end.0, found.end.1),
    }
    if let Some(damage) = &found.damage {
        say!("-- recovery fails there: {damage} --");
    } else if found.stop.is_none() && found.consistent.is_none() {
        say!("-- recovery fails there: the data is consistent only later --");
    }
    say!("loses {} commits{}", after.commits, span(after));
    after.shown.iter().for_each(line);
}
