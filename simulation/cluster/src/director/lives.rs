//! Servers that end by themselves: whoever was killed, lost power or was stopped comes up again from its own
//! disk, unless it says what keeps it. Whoever has lost log that was durable says so, and does not come up.

use super::words::DAMAGED_LOG;
use super::{Shared, admin, disks, facts, machine_of, rewinding, syncs};
use crate::cluster::{DATA, SEGMENT_BYTES, State, has};
use crate::machine::rules;
use host::{Disk, FileKind, OpenMode};
use simulation::VirtualDisk;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use wal::control::ControlFile;
use wal::crc::Crc32c;
use wal::reader::Next;
use wal::smgr::SmgrRecord;
use wal::{BlockNumber, Lsn, Rmgr, SegmentNumber, SegmentSize};

/// What a server may say and end: somebody has to do something first.
const MAY_END: &[&str] = &["No space left on device", syncs::FAILED];
/// No file of a node is larger.
const FILE_MAX: u64 = 1 << 30;
/// What is left where the log is lost.
const ROT_BYTES: usize = 64;
/// Of more pages a buffer pool that was made small may have lost sight again.
const TOUCHED_MAX: usize = 40;
/// A checkpoint's record is smaller.
const CHECKPOINT_BYTES: u64 = 256;

/// Looks at all servers.
pub(super) fn look(shared: &Shared) -> Result<(), String> {
    let cluster = shared.cluster.lock();
    for node in shared.nodes() {
        let Some(there) = cluster.node(machine_of(node)) else { continue };
        let state = there.state();
        let mut damaged = shared.damaged.lock();
        if has(there.files(), "standby.signal") {
            // A standby gets from others what it lacks.
            damaged.entry(node).and_modify(|must_see| *must_see = false);
        }
        let is_damaged = damaged.contains_key(&node);
        match state {
            State::Up if damaged.get(&node) == Some(&true) => {
                return Err(format!("Damage: node {node} has lost log below its flush point, and runs"));
            }
            state if rewinding::runs_halfway(shared, node, (there.files(), &state)) => {
                return Err(format!("Damage: node {node} runs in the middle of a rewind"));
            }
            State::Ended(Err(why))
                if !is_damaged
                    && !rewinding::is_halfway(there.files())
                    && !tells_of_spoiled(shared, &why)
                    && !MAY_END.iter().any(|words| why.contains(words))
                    && !is_early_promotion(there.files(), &why) =>
            {
                return Err(format!("liveness: node {node} does not run from its own disk: {why}"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether somebody tells of damage in a run in which a disk has changed what was received.
pub(super) fn tells_of_spoiled(shared: &Shared, text: &str) -> bool {
    text.contains(DAMAGED_LOG) && !shared.spoiled.lock().is_empty()
}

/// Whether a standby was to be promoted whose backup's end has not come: as in PostgreSQL, it ends.
fn is_early_promotion(files: &VirtualDisk, why: &str) -> bool {
    let waits_for_its_end = ControlFile::load(files, Path::new(DATA))
        .is_ok_and(|control| control.backup_start_point.is_valid() && control.state.is_standbys());
    why.contains("the data is consistent only later") && waits_for_its_end
}

/// Takes the end of its log away from a primary that is down, though that was durable once: a page is written
/// after the log up to its LSN. Nothing happens if nobody can take its place: fences would keep the others
/// from writing for good.
pub(super) fn lose_log(shared: &Shared, node: usize, bytes: u64) {
    if !shared.nodes().any(|other| other != node && can_replace(shared, other, node)) {
        return;
    }
    let lost = {
        let cluster = shared.cluster.lock();
        let there = cluster.node(machine_of(node)).filter(|there| !there.is_up());
        there.and_then(|there| lose(there.files(), bytes).ok().flatten())
    };
    if let Some((from, newest)) = lost {
        shared.tell(&format!("node {node} has lost its log from {from} on, and a page of {newest}"));
        shared.damaged.lock().insert(node, true);
    }
}

/// Whether a node can be promoted without any log of another one: it is a standby of that one's branch, and
/// has told of all log that its data needs.
fn can_replace(shared: &Shared, node: usize, lost: usize) -> bool {
    if shared.damaged.lock().contains_key(&node) || shared.busy.lock().contains_key(&node) {
        return false;
    }
    let files = |node| shared.cluster.lock().node(machine_of(node)).map(|there| there.files().clone());
    let Some((files, lost)) = files(node).zip(files(lost)) else { return false };
    let (Some(branch), Ok(control)) =
        (facts::branch_followed(&files), ControlFile::load(&files, Path::new(DATA)))
    else {
        return false;
    };
    let told = shared.wire.lock().reports.last_told(node, &branch).map_or(0, |told| told.flushed);
    has(&files, "standby.signal")
        && !facts::is_replaced(&files)
        && !rewinding::is_halfway(&files)
        && facts::branch_followed(&lost) == Some(branch)
        && !control.backup_start_point.is_valid()
        && told >= control.min_recovery_point.get().max(1)
}

/// From where on the log is gone, and the newest page's LSN; None if nothing proves that it was there.
fn lose(files: &VirtualDisk, bytes: u64) -> io::Result<Option<(Lsn, Lsn)>> {
    let Ok(control) = ControlFile::load(files, Path::new(DATA)) else { return Ok(None) };
    let newest = newest_page(files, &Path::new(DATA).join("base"))?;
    let Some(size) = SegmentSize::new(SEGMENT_BYTES) else { return Ok(None) };
    let from = Lsn::new(newest.get().saturating_sub(bytes));
    if !control.state.is_crashed() || from < control.checkpoint + CHECKPOINT_BYTES {
        return Ok(None);
    }
    let Some(proof) = proof(files, (control.checkpoint_copy.redo, from)) else { return Ok(None) };
    for entry in files.list(&disks::wal_folder())? {
        let Some((_, segment)) = SegmentNumber::parse_file_name(&entry.name, size) else { continue };
        if segment >= size.segment_of(from) {
            let file = files.open(&disks::wal_folder().join(&entry.name), OpenMode::ReadWrite)?;
            let begin = if segment == size.segment_of(from) { size.offset_of(from) } else { 0 };
            file.write_all_at(&vec![0; usize::try_from(SEGMENT_BYTES - begin).unwrap_or(0)], begin)?;
            // Not even at a record's end does it look as if the log had ended there.
            let rot = usize::try_from(SEGMENT_BYTES - begin).unwrap_or(0).min(ROT_BYTES);
            file.write_all_at(&[0xA5; ROT_BYTES][..rot], begin)?;
            file.sync()?;
        }
    }
    Ok(Some((from, proof)))
}

/// The newest LSN of a page that recovery comes by before the log is gone, if it proves that there was more:
/// other pages are not looked at, what recovery cuts off a file is gone when they are, and a torn page that
/// it makes anew from an image says nothing. What proves it is made durable.
fn proof(files: &VirtualDisk, (redo, from): (Lsn, Lsn)) -> Option<Lsn> {
    let history = disks::history(files, facts::accepted(files))?;
    let mut reader = disks::reader(files, &history, redo)?;
    let (mut touched, mut cut) = (BTreeSet::new(), BTreeMap::new());
    while let Ok(Next::Record(record)) = reader.next()
        && record.end() <= from
    {
        touched.extend(record.blocks().map(|block| (block.rel.database, block.rel.relation, block.block)));
        if record.rmgr() == Rmgr::SMGR
            && let Ok(SmgrRecord::Truncate { rel, length, .. }) = SmgrRecord::parse(&record)
        {
            let left = cut.entry((rel.database, rel.relation)).or_insert(length);
            *left = length.min(*left);
        }
    }
    touched.retain(|(database, relation, block)| {
        cut.get(&(*database, *relation)).is_none_or(|left| block < left)
    });
    let is_small = admin::in_file(files, "shared_buffers").is_some();
    if is_small && touched.len() > TOUCHED_MAX {
        return None;
    }
    let lsn = |(database, relation, block): &(u32, u32, BlockNumber)| {
        let path = Path::new(DATA).join(format!("base/{database}/{relation}"));
        let mut page = [0; rules::PAGE];
        let file = files.open(&path, OpenMode::Read).ok()?;
        file.read_exact_at(&mut page, u64::from(block.get()) * rules::PAGE as u64).ok()?;
        let newest = newest_whole(&page).filter(|newest| *newest > from)?;
        // Otherwise the power may take it, and nothing would tell of what is lost.
        file.sync().ok()?;
        files.sync_dir(path.parent()?).ok()?;
        Some(newest)
    };
    touched.iter().filter_map(lsn).max()
}

/// The LSN of the newest whole page below a folder.
fn newest_page(files: &VirtualDisk, folder: &Path) -> io::Result<Lsn> {
    let mut newest = Lsn::INVALID;
    for entry in files.list(folder)? {
        let path = folder.join(&entry.name);
        newest = newest.max(if entry.kind == FileKind::Directory {
            newest_page(files, &path)?
        } else {
            let bytes = files.read(&path, FILE_MAX)?;
            newest_whole(&bytes).unwrap_or(Lsn::INVALID)
        });
    }
    Ok(newest)
}

/// The newest LSN of the pages whose bytes are all of one write.
fn newest_whole(pages: &[u8]) -> Option<Lsn> {
    pages.chunks_exact(rules::PAGE).filter(|page| is_whole(page)).filter_map(rules::newest_lsn).max()
}

/// Whether the CRC at a page's end fits: of the page with pd_checksum and the CRC itself zero.
fn is_whole(page: &[u8]) -> bool {
    let Some((body, stored)) = page.split_last_chunk::<4>() else { return false };
    let mut crc = Crc32c::new();
    for bytes in [&body[..8], &[0; 2], &body[10..], &[0; 4]] {
        crc.update(bytes);
    }
    crc.finish() == u32::from_le_bytes(*stored)
}
