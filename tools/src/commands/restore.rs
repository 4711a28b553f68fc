//! `plimsoll restore --preview`: what a recovery target would bring back and what it would lose, as a list of
//! the commits around it.
//!
//! The log is read from where redo of the data directory would begin, by the one reader and with the decision
//! that recovery itself takes ([`storage::RecoveryTarget`]); nothing is changed. Segments come from the
//! folders that are named, from restore_command and from pg_wal, in this order, through a temporary folder of
//! links and fetched files that is gone afterwards.

use crate::cli::RestoreArgs;
use crate::output::say;
use crate::serve;
use anyhow::{Context, Result, anyhow, bail};
use host::{Disk, Host, ShellCommand, Timestamp};
use parking_lot::Mutex;
use server::ServerOptions;
use std::collections::{HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use storage::{ConsistencyPoint, RecoveryTarget};
use wal::backup_label::BackupLabel;
use wal::control::ControlFile;
use wal::describe::utc_text;
use wal::file_names;
use wal::history::TimelineHistory;
use wal::reader::{Next, ReaderOptions, SegmentFiles, SegmentSupply, WalReader};
use wal::timelines::{self, RecoveryStart, TargetTimeline};
use wal::xact::XactRecord;
use wal::{Lsn, Record, Rmgr, SegmentNumber, SegmentSize, TimelineId};

/// Fetched segments that are kept at a time.
const FETCHED_MAX: usize = 4;

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

/// Links to all segments and history files of some folders; the first folder that has a name wins. Removed on
/// drop.
struct Links(PathBuf);

impl Links {
    fn new(folders: &[PathBuf]) -> Result<Self> {
        let links = Self(std::env::temp_dir().join(format!("plimsoll-preview-{}", std::process::id())));
        std::fs::create_dir(&links.0)
            .with_context(|| format!("could not create folder {}", links.0.display()))?;
        links.add(folders)?;
        Ok(links)
    }

    fn add(&self, folders: &[PathBuf]) -> Result<()> {
        let links = self;
        for folder in folders {
            let folder = std::path::absolute(folder)?;
            let entries = std::fs::read_dir(&folder)
                .with_context(|| format!("could not read folder {}", folder.display()))?;
            for entry in entries {
                let name = entry?.file_name();
                let target = links.0.join(&name);
                let is_log = name.to_str().is_some_and(|name| {
                    file_names::is_segment(name) || TimelineId::parse_history_file_name(name).is_some()
                });
                if is_log && !target.exists() {
                    std::os::unix::fs::symlink(folder.join(&name), &target)
                        .with_context(|| format!("could not create link {}", target.display()))?;
                }
            }
        }
        Ok(())
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        // What cannot be removed is a folder of links among the temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Fetches what the links lack by restore_command, as recovery does.
struct Fetcher {
    command: String,
    data: PathBuf,
    into: PathBuf,
    size: SegmentSize,
    /// The segment where redo begins (`%r`).
    first_needed: String,
    /// Names that the folders have which were named: the archive is not asked for these.
    named: HashSet<OsString>,
    /// What was fetched lately.
    fetched: Mutex<VecDeque<PathBuf>>,
}

impl Fetcher {
    /// Has a file from the archive under its name; false if it has none.
    fn fetch_file(&self, name: &str) -> io::Result<bool> {
        if self.command.trim().is_empty() || self.named.contains(OsStr::new(name)) {
            return Ok(false);
        }
        let path = self.into.join("fetched");
        let text = path.to_str().ok_or_else(|| io::Error::other("the temporary folder's name is no text"))?;
        let values = [('p', text), ('f', name), ('r', self.first_needed.as_str())];
        let command = server::expand_command(&self.command, &values);
        let status = ShellCommand::spawn(&command, &self.data, Stdio::null())?.wait()?;
        // As in recovery: a code up to 125 says that there is no such file, all else that asking again makes
        // no sense.
        if !status.success() {
            return match status.code() {
                Some(1..=125) => Ok(false),
                _ => Err(io::Error::other(format!("restore_command for \"{name}\" failed: {status}"))),
            };
        }
        match std::fs::rename(&path, self.into.join(name)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Has a timeline's history file, fetched or from a folder; false if there is none. One that says nothing
    /// is an error: a command that makes a file of any name would have timelines without end.
    fn fetch_history(&self, timeline: TimelineId) -> io::Result<bool> {
        let name = timeline.history_file_name();
        let path = self.into.join(&name);
        if !self.fetch_file(&name)? && !path.exists() {
            return Ok(false);
        }
        let text = String::from_utf8_lossy(&std::fs::read(path)?).into_owned();
        let nonsense = match TimelineHistory::parse(timeline, &text) {
            Ok(history) if history.entries().is_empty() => "it names no timeline before it".to_owned(),
            Ok(_) => return Ok(true),
            Err(error) => error.to_string(),
        };
        Err(io::Error::other(format!("file \"{name}\" makes no sense: {nonsense}")))
    }

    /// Whether the history that lies beside a timeline's segments is that of a twin, as recovery asks too.
    fn has_twin_of(&self, history: &TimelineHistory, timeline: TimelineId) -> io::Result<bool> {
        let there = self.into.join(timeline.history_file_name()).exists() || self.fetch_history(timeline)?;
        if !there {
            return Ok(false);
        }
        let beside = TimelineHistory::load(&host::RealDisk, &self.into, timeline);
        Ok(beside.map_err(io::Error::other)?.first_twin(history).is_some())
    }
}

impl SegmentSupply for Fetcher {
    fn fetch(
        &self,
        history: &TimelineHistory,
        timeline: TimelineId,
        segment: SegmentNumber,
    ) -> io::Result<bool> {
        let name = segment.file_name(timeline, self.size);
        if timeline > TimelineId::FIRST && self.has_twin_of(history, timeline)? {
            return Ok(false);
        }
        if !self.fetch_file(&name)? {
            return Ok(false);
        }
        let path = self.into.join(&name);
        let found = std::fs::metadata(&path)?.len();
        if found != self.size.bytes() {
            let expected = self.size.bytes();
            return Err(io::Error::other(format!(
                "archive file \"{name}\" has wrong size: {found} instead of {expected}"
            )));
        }
        // Reading goes forward: what lies behind only takes space.
        let mut fetched = self.fetched.lock();
        fetched.push_back(path);
        if fetched.len() > FETCHED_MAX
            && let Some(oldest) = fetched.pop_front()
        {
            std::fs::remove_file(oldest)?;
        }
        Ok(true)
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
        start: RecoveryStart::found(control, label.as_ref()),
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
    let files = SegmentFiles::new(host.disk.clone(), &pg_wal, control.segment_size, history);
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
            if end.is_disproved_by(proven) {
                return Err(reader.damage_at(&end, proven).into());
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
    let links = Links::new(&arguments.wal)?;
    let fetcher = fetcher(arguments, &links, &control, (start, known))?;
    links.add(&[dir.join("pg_wal")])?;
    let target_timeline = arguments
        .target_timeline
        .map_or(TargetTimeline::Latest, |number| TargetTimeline::Number(TimelineId::new(number)));
    timelines::fetch_for(&begin.start, target_timeline, |timeline| fetcher.fetch_history(timeline))
        .context("could not ask the archive for timelines")?;
    let (begins, asked_from) = if begin.start.redoes_own_log_first() {
        let end = end_of_own_log(&host, dir, &control, &begin)
            .context("a start would be refused, for the directory's own WAL")?;
        (begin.start.after_own_log(end), end)
    } else {
        (begin.start, start)
    };
    let history = begins.choose(disk, &links.0, target_timeline)?;
    let timeline = history.target();
    let mut files = SegmentFiles::new(host.disk.clone(), &links.0, control.segment_size, history);
    files.set_supply(Arc::new(fetcher));
    let mut reader = WalReader::new(files, reader_options(&control), start);
    let found = read_sides(&mut reader, target.as_ref(), begin.consistency, asked_from, arguments.around)?;
    say!("redo would begin at {start} on timeline {known} and follow timeline {timeline}");
    print_found(target.as_ref(), &found);
    Ok(())
}

/// What asks the archive: the command that is given, or the data directory's.
fn fetcher(
    arguments: &RestoreArgs,
    links: &Links,
    control: &ControlFile,
    (start, timeline): (Lsn, TimelineId),
) -> Result<Fetcher> {
    let (data, size) = (std::path::absolute(&arguments.data.data)?, control.segment_size);
    let command = match &arguments.restore_command {
        Some(command) => command.clone(),
        None => server::setting_of(&ServerOptions::new(data.clone()), "restore_command")
            .map_err(|error| anyhow!("could not read the settings of the data directory: {error}"))?,
    };
    let named: io::Result<_> =
        std::fs::read_dir(&links.0)?.map(|entry| entry.map(|entry| entry.file_name())).collect();
    Ok(Fetcher {
        command,
        data,
        into: links.0.clone(),
        size,
        first_needed: size.segment_of(start).file_name(timeline, size),
        named: named?,
        fetched: Mutex::default(),
    })
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
}

#[derive(Clone, Copy)]
struct Stop {
    at: Lsn,
    /// Recovery ends with an error otherwise.
    consistent: bool,
}

/// Reads the log and decides as recovery does, which asks about the target from `asked_from` on.
fn read_sides(
    reader: &mut WalReader<SegmentFiles>,
    target: Option<&RecoveryTarget>,
    mut consistency: ConsistencyPoint,
    asked_from: Lsn,
    around: usize,
) -> Result<Found> {
    let (mut before, mut after) = (Side::default(), Side::default());
    let mut stop = None;
    let mut changes = 0;
    let start = reader.position();
    let mut first_consistent = consistency.is_reached(start).then_some(start);
    loop {
        let record = match reader.next()? {
            Next::Record(record) => record,
            Next::End(end) => {
                let end = (end.at, end.reason.to_string());
                return Ok(Found { before, after, stop, consistent: first_consistent, end });
            }
        };
        let asked = target.filter(|_| record.start() >= asked_from);
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
    if found.stop.is_none() && found.consistent.is_none() {
        say!("-- recovery fails there: the data is consistent only later --");
    }
    say!("loses {} commits{}", after.commits, span(after));
    after.shown.iter().for_each(line);
}
