//! What nodes' disks hold, seen from outside.

use super::words::{HANDS_OVER, STARTS, STRANGE_BRANCH};
use super::{Shared, machine_of, number_of, own_rewinds, wire};
use crate::cluster::{DATA, SEGMENT_BYTES, id_text};
use crate::guarantee::Lost;
use crate::machine::{rules, spared};
use host::{Disk, FileKind};
use simulation::VirtualDisk;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::time::Instant;
use wal::control::ControlFile;
use wal::history::TimelineHistory;
use wal::{Lsn, Next, ReaderOptions, SegmentFiles, SegmentNumber, SegmentSize, TimelineId, WalReader};

/// How long a small file that must outlive a power cut may not be durable, in milliseconds.
const UNDURABLE_MS: u64 = 400;
/// How long the end of recovery may take until a standby rewinds itself.
const REWIND_MS: u64 = 1000;

/// The record of a fence: another branch has replaced a primary's.
pub(super) const FENCE: &str = "plimsoll/fence";

/// Whether no whole record is between these positions of a node's log.
pub(super) fn has_no_record(files: &VirtualDisk, history: &TimelineHistory, (from, to): (Lsn, Lsn)) -> bool {
    let Some(mut reader) = reader(files, history, from) else { return false };
    reader.source_mut().set_limit(to);
    matches!(reader.next(), Ok(Next::End(_)))
}

/// How a node's log is at a position, read from the segment before on, or from its own if that one is gone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// A record ends there, or of what is gone nobody can tell.
    RecordEnd,
    /// A whole record lies across it.
    InRecord,
    /// What can be read ends before.
    BehindEnd,
}

/// Whether a record of a node's log ends at a position, and all before it are there.
pub(super) fn is_record_end(files: &VirtualDisk, history: &TimelineHistory, end: Lsn) -> bool {
    look_at(files, history, end) == At::RecordEnd
}

/// Whether a node may say that it cut its log there: at a record's end, or behind what can be read of it, in
/// a record whose rest comes again.
pub(super) fn may_be_cut(files: &VirtualDisk, history: &TimelineHistory, at: Lsn) -> bool {
    look_at(files, history, at) != At::InRecord
}

fn look_at(files: &VirtualDisk, history: &TimelineHistory, end: Lsn) -> At {
    let Some(size) = SegmentSize::new(SEGMENT_BYTES) else { return At::RecordEnd };
    let begin = size.start_of(size.segment_before(end));
    let is_there = |from: &Lsn| {
        reader(files, history, *from)
            .is_some_and(|mut reader| matches!(reader.source_mut().whole_segment(*from), Ok(Some(_))))
    };
    let from = Some(begin - size.bytes()).filter(is_there).unwrap_or(begin);
    let Some(mut reader) = reader(files, history, from) else { return At::RecordEnd };
    let mut next = reader.find_next_record(from);
    if matches!(&next, Ok(Next::End(none)) if none.at > from && !none.torn && from < begin) {
        // It has the rest of a switch to the next one, of which nothing here tells, and zeros.
        next = reader.find_next_record(begin);
    }
    if matches!(&next, Ok(Next::Record(first)) if first.start() >= end) {
        // The one that ends there began in a segment that is gone.
        return At::RecordEnd;
    }
    while matches!(&next, Ok(Next::Record(record)) if record.end() < end) {
        next = reader.next();
    }
    match next {
        Ok(Next::Record(record)) if record.end() != end => At::InRecord,
        Ok(Next::End(_)) => At::BehindEnd,
        Ok(Next::Record(_)) | Err(_) => At::RecordEnd,
    }
}

/// The end of a position's segment, if the log was switched away from it before, or the segment is gone, and
/// nobody can tell any more.
pub(super) fn switched_before(files: &VirtualDisk, history: &TimelineHistory, at: Lsn) -> Option<Lsn> {
    let size = SegmentSize::new(SEGMENT_BYTES)?;
    let segment = size.segment_of(at);
    let begin = size.start_of(segment);
    let is_there = |timeline: TimelineId| {
        files.exists(&wal_folder().join(segment.file_name(timeline, size))).unwrap_or(true)
    };
    if !history.newest_first().any(|(timeline, ..)| is_there(timeline)) {
        return Some(size.start_of(segment.next()));
    }
    let mut reader = reader(files, history, begin)?;
    let mut next = reader.find_next_record(begin);
    while let Ok(Next::Record(record)) = next
        && record.start() < at
    {
        if record.is_switch() {
            return Some(record.end());
        }
        next = reader.next();
    }
    None
}

/// Asks what servers have done wrong with their disks.
pub(super) fn look(shared: &Shared) -> Result<(), String> {
    if let Some(why) = rules::found() {
        return Err(why);
    }
    for file in rules::take_removed() {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        wire::removed(shared, number_of(file.node), &name)?;
    }
    let (cluster, facts, now_ms) = (shared.cluster.lock(), shared.facts.lock(), shared.now_ms());
    for file in rules::take_touched() {
        let node = number_of(file.node);
        let files = cluster.node(machine_of(node)).map(|there| there.files());
        let since_ms = facts.last_loss(node, Lost::Directory).unwrap_or(0);
        files.map_or(Ok(()), |files| wire::saved(shared, (node, since_ms), files, &file.path))?;
    }
    let since_ms = |since: Instant| u64::try_from((since - shared.begun).as_millis()).unwrap_or(u64::MAX);
    for spared::Left { node, since, text } in spared::take_left() {
        let node = number_of(node);
        // Who had no room, or stood still, may have been kept from it, and who is past its upstream's fork
        // keeps it.
        let lines = cluster.story().of(&id_text(machine_of(node)));
        let since_ms = since_ms(since);
        let is_astray = own_rewinds::begins_since(shared, node, since_ms.saturating_sub(REWIND_MS));
        if !facts.paused_since(node, since_ms) && !leaves_log(&lines, since_ms) && !is_astray {
            return Err(format!("Bounded: node {node} {text}"));
        }
    }
    for node in shared.nodes() {
        let unsettled = cluster.node(machine_of(node)).map_or_else(Vec::new, |there| there.unsettled());
        for (path, since) in unsettled {
            let since_ms = since_ms(since);
            if now_ms >= since_ms + UNDURABLE_MS && !facts.paused_since(node, since_ms) {
                let path = path.display();
                return Err(format!("Disk: node {node} has written {path} and does not make it durable"));
            }
        }
    }
    for node in facts.nodes_fenced_before(now_ms.saturating_sub(UNDURABLE_MS)) {
        let fence = Path::new(DATA).join(FENCE);
        let there = cluster.node(machine_of(node)).filter(|there| there.is_up());
        if there.is_some_and(|there| !there.files().exists(&fence).unwrap_or(true)) {
            return Err(format!("OneWriter: node {node} is fenced, and nothing on its disk says so"));
        }
    }
    Ok(())
}

/// Whether a node has left its log to whoever comes after, in the life of this time or since: for its rewind,
/// since its own branch is not the one that it is to follow, or while it handed its role over, for the next
/// life's checkpoints to remove.
fn leaves_log(lines: &[String], since_ms: u64) -> bool {
    let said_before = |line: &String| {
        let said_s = line.get(..10).and_then(|time| time.trim().parse::<f64>().ok()).unwrap_or(0.0);
        said_s * 1000.0 <= since_ms as f64
    };
    let life = lines.iter().rposition(|line| line.contains(STARTS) && said_before(line)).unwrap_or(0);
    let mut since = lines.iter().skip(life);
    since.any(|line| line.contains(STRANGE_BRANCH) || line.contains(HANDS_OVER))
}

pub(super) fn wal_folder() -> PathBuf {
    Path::new(DATA).join("pg_wal")
}

/// All names of files below a folder.
pub(super) fn names(files: &VirtualDisk, folder: &Path) -> BTreeSet<PathBuf> {
    let entries = files.list(folder).unwrap_or_default().into_iter();
    let below = entries.flat_map(|entry| {
        let path = folder.join(&entry.name);
        if entry.kind == FileKind::Directory { names(files, &path) } else { BTreeSet::from([path]) }
    });
    below.collect()
}

/// A timeline's history, as a node has it.
pub(super) fn history(files: &VirtualDisk, timeline: TimelineId) -> Option<TimelineHistory> {
    if timeline.get() == 1 {
        return Some(TimelineHistory::root(timeline));
    }
    TimelineHistory::load(files, &wal_folder(), timeline).ok()
}

/// The history of the timeline that a node which takes writes is on, as its control file says.
pub(super) fn written(files: &VirtualDisk) -> Option<TimelineHistory> {
    let control = ControlFile::load(files, Path::new(DATA)).ok()?;
    history(files, control.checkpoint_copy.timeline.max(control.min_recovery_point_timeline))
}

/// Reads the log that a node has of a branch, from a position on.
pub(super) fn reader(
    files: &VirtualDisk,
    history: &TimelineHistory,
    from: Lsn,
) -> Option<WalReader<SegmentFiles>> {
    let size = SegmentSize::new(SEGMENT_BYTES)?;
    let source = SegmentFiles::new(Arc::new(files.clone()), wal_folder(), size, history.clone());
    Some(WalReader::new(source, ReaderOptions::new(size), from))
}

/// The timeline and the place of the segment with this name.
pub(super) fn segment_of(name: &str) -> Option<(TimelineId, SegmentNumber, SegmentSize)> {
    let size = SegmentSize::new(SEGMENT_BYTES)?;
    let (timeline, segment) = SegmentNumber::parse_file_name(name, size)?;
    Some((timeline, segment, size))
}

/// Whether a power cut now would leave the log in this range; else the beginning of the part of a segment
/// that it would not. What is not there (any more) is left out.
pub(super) fn is_log_durable(
    files: &VirtualDisk,
    history: &TimelineHistory,
    (from, to): (Lsn, Lsn),
) -> Result<(), Lsn> {
    let Some(size) = SegmentSize::new(SEGMENT_BYTES) else { return Ok(()) };
    let mut at = from;
    while at < to {
        let segment = size.segment_of(at);
        let end = to.min(size.start_of(segment.next()));
        let begun = |begin: Lsn| size.segment_of(begin) <= segment;
        let bytes = size.offset_of(at)..size.offset_of(at) + end.bytes_since(at);
        // Of two timelines in one segment both files have its beginning.
        let timelines = history.newest_first().filter(|(_, begin, _)| begun(*begin));
        let paths = timelines.map(|(timeline, ..)| wal_folder().join(segment.file_name(timeline, size)));
        if !rules::is_durable_in_any(files, paths, bytes) {
            return Err(at);
        }
        at = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wal::{Inserted, RecordBuilder, Rmgr, SystemId, WalWriter, WriteStart, WriterConfig};

    /// A record with so many bytes.
    fn insert(log: &WalWriter, len: usize) -> Inserted {
        let data = vec![7; len];
        let record = RecordBuilder::new(Rmgr::XLOG, wal::xlog::NOOP, 0).main_data(&data).encode();
        log.insert(&mut record.unwrap()).unwrap()
    }

    /// A log that begins with its first segment, and the disk that it lies on.
    fn log() -> (VirtualDisk, WalWriter) {
        let files = VirtualDisk::new();
        files.create_dir_all(&wal_folder()).unwrap();
        let size = SegmentSize::new(SEGMENT_BYTES).unwrap();
        let quiet = WriterConfig::new(SystemId::new(7), TimelineId::FIRST);
        let config = WriterConfig { segment_size: size, background: false, ..quiet };
        let start = WriteStart {
            insert_at: size.start_of(SegmentNumber::new(1)),
            previous: Lsn::INVALID,
            overwrites_contrecord: false,
            forked_from: None,
        };
        let log = WalWriter::open(&simulation::host(&files, 1), &wal_folder(), config, start).unwrap();
        (files, log)
    }

    #[test]
    fn a_record_ends_where_one_was_written_to_its_end_and_nowhere_else() {
        let (files, log) = log();
        let size = SegmentSize::new(SEGMENT_BYTES).unwrap();
        let history = TimelineHistory::root(TimelineId::FIRST);
        let is_end = |at: Lsn| is_record_end(&files, &history, at);

        let (one, other) = (insert(&log, 100), insert(&log, 100));
        log.flush_all().unwrap();
        assert!(is_end(one.end) && is_end(other.end));
        // A commit that ended within the second one was lost: its place says nothing, neither of itself nor
        // of what comes behind.
        assert!(!is_end(other.start + 40));
        let unwritten = insert(&log, 100);
        assert!(!is_end(unwritten.end), "it is in memory only");

        // Up to a little before the next segment, and then over its beginning.
        let second = size.start_of(SegmentNumber::new(2));
        let filler = second.bytes_since(unwritten.end) - 20_000;
        insert(&log, usize::try_from(filler).unwrap());
        let across = std::iter::repeat_with(|| insert(&log, 1000)).find(|record| record.end > second);
        let across = across.unwrap();
        assert!(across.start < second);
        let behind = insert(&log, 100);
        log.flush_all().unwrap();
        assert!(is_end(across.end) && is_end(behind.end) && !is_end(across.end + 8));
        files
            .remove_file(&wal_folder().join(SegmentNumber::new(1).file_name(TimelineId::FIRST, size)))
            .unwrap();
        assert!(is_end(across.end) && is_end(behind.end), "the segment before may be gone");
        assert!(!is_end(behind.end - 8) && !is_end(behind.end + 8));
        assert!(is_end(one.end), "nothing is asked of log that is gone");
    }

    #[test]
    fn a_segment_that_has_the_rest_of_a_switch_alone_hides_no_record_behind_it() {
        let (files, log) = log();
        let size = SegmentSize::new(SEGMENT_BYTES).unwrap();
        let second = size.start_of(SegmentNumber::new(2));
        let mut end = insert(&log, 100).end;
        while end + 2000 < second {
            end = insert(&log, 1000).end;
        }
        // Of the switch itself 8 bytes are left here.
        let header = 24 + 5;
        let last = insert(&log, usize::try_from((second - 8).bytes_since(end)).unwrap() - header);
        assert_eq!(last.end, second - 8);
        let switch = log.switch_segment().unwrap();
        let behind = insert(&log, 100);
        log.flush_all().unwrap();
        let third = size.start_of(SegmentNumber::new(3));
        assert!(switch.start < second && behind.start > third);
        let history = TimelineHistory::root(TimelineId::FIRST);
        assert!(is_record_end(&files, &history, behind.end));
        assert!(!is_record_end(&files, &history, behind.end + 8));
    }
}
