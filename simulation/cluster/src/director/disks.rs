//! What nodes' disks hold, seen from outside.

use super::{Shared, machine_of, number_of, wire};
use crate::cluster::{DATA, SEGMENT_BYTES};
use crate::guarantee::Lost;
use crate::machine::{rules, spared};
use host::{Disk, FileKind};
use simulation::VirtualDisk;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::time::Instant;
use wal::history::TimelineHistory;
use wal::{Lsn, Next, ReaderOptions, SegmentFiles, SegmentNumber, SegmentSize, TimelineId, WalReader};

/// How long a small file that must outlive a power cut may not be durable, in milliseconds.
const UNDURABLE_MS: u64 = 400;

/// Small files that were written and may not be durable yet.
pub(super) type Touched = BTreeMap<(usize, PathBuf), Undurable>;

/// A file that does not survive a power cut as it is.
pub(super) struct Undurable {
    /// Since when, in milliseconds.
    since_ms: u64,
    /// What would survive of it. While that changes the file is only written again and again.
    survives: Option<Vec<u8>>,
}

/// Whether no whole record is between these positions of a node's log.
pub(super) fn has_no_record(files: &VirtualDisk, history: &TimelineHistory, (from, to): (Lsn, Lsn)) -> bool {
    let Some(mut reader) = reader(files, history, from) else { return false };
    reader.source_mut().set_limit(to);
    matches!(reader.next(), Ok(Next::End(_)))
}

/// Whether a node's log has all records from the end of one on to a position, as far as its segments are
/// there.
pub(super) fn has_log(files: &VirtualDisk, history: &TimelineHistory, (from, to): (Lsn, Lsn)) -> bool {
    let Some(mut reader) = reader(files, history, from) else { return true };
    loop {
        match reader.next() {
            Ok(Next::Record(record)) if record.end() < to => {}
            Ok(Next::End(_)) => return false,
            Ok(Next::Record(_)) | Err(_) => return true,
        }
    }
}

/// The end of a position's segment, if the log was switched away from it before.
pub(super) fn switched_before(files: &VirtualDisk, history: &TimelineHistory, at: Lsn) -> Option<Lsn> {
    let size = SegmentSize::new(SEGMENT_BYTES)?;
    let begin = size.start_of(size.segment_of(at));
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
    let mut touched = shared.touched.lock();
    for file in rules::take_touched() {
        let node = number_of(file.node);
        let files = cluster.node(machine_of(node)).map(|there| there.files());
        let since_ms = facts.last_loss(node, Lost::Directory).unwrap_or(0);
        files.map_or(Ok(()), |files| wire::saved(shared, (node, since_ms), files, &file.path))?;
        let survives = files.and_then(|files| files.read_durable(&file.path));
        touched.entry((node, file.path)).or_insert(Undurable { since_ms: now_ms, survives });
    }
    let since_ms = |since: Instant| u64::try_from((since - shared.begun).as_millis()).unwrap_or(u64::MAX);
    for spared::Left { node, since, text } in spared::take_left() {
        let node = number_of(node);
        // Who had no room, or stood still, may have been kept from it.
        if !facts.paused_since(node, since_ms(since)) {
            return Err(format!("Bounded: node {node} {text}"));
        }
    }
    let mut left = None;
    touched.retain(|(node, path), Undurable { since_ms, survives }| {
        let Some(there) = cluster.node(machine_of(*node)).filter(|there| there.is_up()) else { return false };
        let files = there.files();
        let len = files.metadata(path).map_or(0, |metadata| metadata.len);
        if files.is_durable(path, 0..len).unwrap_or(true) || facts.losses_since(*node, *since_ms) > 0 {
            return false;
        }
        if now_ms < *since_ms + UNDURABLE_MS {
            return true;
        }
        let now_survives = files.read_durable(path);
        if now_survives != *survives {
            (*since_ms, *survives) = (now_ms, now_survives);
        } else if !facts.paused_since(*node, *since_ms) {
            left = Some(format!(
                "Disk: node {node} has written {} and does not make it durable",
                path.display()
            ));
        }
        true
    });
    for node in facts.nodes_fenced_before(now_ms.saturating_sub(UNDURABLE_MS)) {
        let fence = Path::new(DATA).join("plimsoll/fence");
        let there = cluster.node(machine_of(node)).filter(|there| there.is_up());
        if there.is_some_and(|there| !there.files().exists(&fence).unwrap_or(true)) {
            left = Some(format!("OneWriter: node {node} is fenced, and nothing on its disk says so"));
        }
    }
    left.map_or(Ok(()), Err)
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
