//! A bit that changes in log which a standby has received, made durable and told of: nobody may take the log
//! to end there, or come without what is behind.

use super::{Shared, disks, facts, machine_of};
use crate::cluster::{DATA, SEGMENT_BYTES};
use crate::history::reports::Progress;
use host::{Disk, OpenMode};
use simulation::VirtualDisk;
use std::path::Path;
use std::sync::Arc;
use wal::log_branch::RECEIVED_FILE;
use wal::page::PAGE_SIZE;
use wal::reader::Next;
use wal::record::RECORD_HEADER_SIZE;
use wal::{Lsn, PositionFile, SegmentSize};

/// How long it may take until what is lost was met and received again, in milliseconds.
const MEND_MS: u64 = 8000;
/// The fixed part of a record: all of it counts for its checksum.
const HEADER: u64 = RECORD_HEADER_SIZE as u64;
/// Of more records the first ones are as good as the others.
const RECORDS_MAX: usize = 10_000;

/// Changes a bit of a record that a standby has not replayed, as far as it has told.
pub(super) fn spoil(shared: &Shared, node: usize, seed: u64) {
    let files = shared.cluster.lock().node(machine_of(node)).map(|there| there.files().clone());
    let Some(files) = files else { return };
    let Some(branch) = facts::branch_followed(&files) else { return };
    let progress = shared.wire.lock().reports.last_told(node, &branch);
    let Some((at, byte)) = progress.and_then(|progress| flip(&files, progress, seed)) else { return };
    shared.tell(&format!("node {node} has lost a bit of the log at {at}, which it has not replayed"));
    shared.facts.lock().paused(node, shared.now_ms(), shared.now_ms() + MEND_MS);
    // By streams, clones and archives others may get what is on its disk.
    shared.spoiled.lock().entry(at).or_insert(byte);
}

/// Where a byte has lost a bit, durably, and what it was; None if there is none.
fn flip(files: &VirtualDisk, progress: Progress, seed: u64) -> Option<(Lsn, u8)> {
    let size = SegmentSize::new(SEGMENT_BYTES)?;
    let history = disks::history(files, facts::accepted(files))?;
    let mut reader = disks::reader(files, &history, Lsn::new(progress.replayed))?;
    // A loss of power may have taken the mark of what was told before it.
    let mark = Path::new(DATA).join(RECEIVED_FILE);
    let marked = PositionFile::new(Arc::new(files.clone()), mark.clone()).read().ok()??.lsn;
    reader.source_mut().set_limit(marked.min(Lsn::new(progress.flushed)));
    let mut records = Vec::new();
    while let Ok(Next::Record(record)) = reader.next()
        && records.len() < RECORDS_MAX
    {
        // Those whose header lies on one page.
        if record.start().page_offset() as u64 + HEADER <= PAGE_SIZE as u64 {
            records.push(record.start());
        }
    }
    let mut rng = fastrand::Rng::with_seed(seed);
    let at = *records.get(rng.usize(..records.len().max(1)))?;
    let timeline = reader.source_mut().file_before(at + 1).ok()??;
    let name = size.segment_of(at).file_name(timeline, size);
    let at = at + rng.u64(..HEADER);
    let file = files.open(&disks::wal_folder().join(name), OpenMode::ReadWrite).ok()?;
    let offset = size.offset_of(at);
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).ok()?;
    file.write_all_at(&[byte[0] ^ (1 << rng.u8(..8))], offset).ok()?;
    file.sync().ok()?;
    // How far it was received has long been on the disk, too.
    files.open(&mark, OpenMode::ReadWrite).and_then(|file| file.sync()).ok()?;
    files.sync_dir(mark.parent()?).ok()?;
    Some((at, byte[0]))
}

/// The place of the first byte that differs, of those that no disk has changed; both begin at `from`.
pub(super) fn difference(shared: &Shared, from: Lsn, ours: &[u8], theirs: &[u8]) -> Option<usize> {
    let spoiled = shared.spoiled.lock();
    let mut both = ours.iter().zip(theirs).enumerate();
    let first =
        both.find(|(at, (ours, theirs))| ours != theirs && !spoiled.contains_key(&(from + *at as u64)));
    first.map(|(at, _)| at)
}

/// Whether a node that sends its log sends what a disk has changed: it had read it before, and does not know.
pub(super) fn is_served_by(shared: &Shared, node: usize) -> bool {
    let cluster = shared.cluster.lock();
    cluster.node(machine_of(node)).is_some_and(|node| is_on(shared, node.files()))
}

/// Whether log on this disk is what a disk has changed.
pub(super) fn is_on(shared: &Shared, files: &VirtualDisk) -> bool {
    let names = files.list(&disks::wal_folder()).unwrap_or_default();
    let segments = names.iter().filter_map(|entry| Some((&entry.name, disks::segment_of(&entry.name)?)));
    let spoiled = shared.spoiled.lock();
    segments.into_iter().any(|(name, (_, segment, size))| {
        spoiled.iter().filter(|(at, _)| size.segment_of(**at) == segment).any(|(at, byte)| {
            let file = files.open(&disks::wal_folder().join(name), OpenMode::Read);
            let mut now = [0];
            let read = file.and_then(|file| file.read_exact_at(&mut now, size.offset_of(*at)));
            read.is_ok() && now[0] != *byte
        })
    })
}

/// Whether a disk has changed what is in the segment with this name.
pub(super) fn is_in(shared: &Shared, name: &str) -> bool {
    let Some((_, segment, size)) = disks::segment_of(name) else { return false };
    shared.spoiled.lock().keys().any(|at| size.segment_of(*at) == segment)
}
