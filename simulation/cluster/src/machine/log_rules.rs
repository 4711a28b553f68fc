//! What a server may do with the files of its log, looked at when it does it.
//!
//! | rule                                                                        | when                    |
//! |-----------------------------------------------------------------------------|-------------------------|
//! | log that recovery would ask for after a power cut now is not given up       | a removal               |
//! | log that the durable file of a slot asks for is not given up                | a removal               |
//! | what is marked as archived is in the archive                                | a rename                |
//! | what lies behind the log's end could not be taken for log                   | a life's first sync     |
//! | of a node's own log nothing is overwritten, and no beginning of a record    | each write before that  |
//! | given up, that its ledger does not tell of                                  |                         |

use super::slot_files::Refused;
use super::{ledger_file, slot_files};
use crate::cluster::SEGMENT_BYTES;
use host::{Disk, OpenMode};
use parking_lot::Mutex;
use simulation::VirtualDisk;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wal::control::{ClusterState, ControlFile, control_file_path};
use wal::log_branch::RECEIVED_FILE;
use wal::page::{LONG_HEADER_SIZE, PAGE_SIZE, PageFlags, PageHeader};
use wal::{Lsn, PositionFile, SegmentNumber, SegmentSize, TimelineId};

/// Names that an archive has taken, in this process.
static ARCHIVED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
/// A server writes its log in pieces; of more than this much not all pieces may be there yet.
const WRITTEN_MAX: usize = 32 << 10;
/// An archive has this file from now on.
pub fn archived(name: &str) {
    ARCHIVED.lock().insert(name.to_owned());
}

/// The timeline, the segment and the size of the segments, of a path that is one.
fn segment_of(path: &Path) -> Option<(TimelineId, SegmentNumber, SegmentSize)> {
    let size = SegmentSize::new(SEGMENT_BYTES)?;
    let is_log = path.iter().nth(2).is_some_and(|folder| folder == "pg_wal");
    let name = path.file_name().filter(|_| is_log)?.to_str()?;
    let (timeline, segment) = SegmentNumber::parse_file_name(name, size)?;
    Some((timeline, segment, size))
}

/// A server has given up a file of its log. What is wrong with that.
pub(super) fn removed(
    files: &VirtualDisk,
    data: &Path,
    path: &Path,
    refused: &Refused,
) -> Result<(), String> {
    let Some((_, segment, size)) = segment_of(path) else { return Ok(()) };
    let durable = files.read_durable(&control_file_path(data));
    let Some(control) = durable.and_then(|bytes| ControlFile::decode(&bytes).ok()) else { return Ok(()) };
    // Of two timelines in one segment both files have its beginning.
    let names = files.list(&data.join("pg_wal")).unwrap_or_default();
    let again = names.iter().filter_map(|entry| SegmentNumber::parse_file_name(&entry.name, size));
    if again.into_iter().any(|(_, other)| other == segment) {
        return Ok(());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (redo, checkpoint) = (control.checkpoint_copy.redo, control.checkpoint);
    if segment >= size.segment_of(redo) && segment <= size.segment_of(checkpoint) {
        return Err(format!("gives up {name}, and recovery begins at {redo}"));
    }
    for (slot, restart) in slot_files::claims(files, data, refused) {
        if segment >= size.segment_of(restart) && segment < size.segment_of(redo) {
            return Err(format!("gives up {name}, and the file of slot {slot} asks for {restart}"));
        }
    }
    Ok(())
}

/// A file has another name. What is wrong with that.
pub(super) fn renamed(files: &VirtualDisk, data: &Path, from: &Path, to: &Path) -> Result<(), String> {
    let waited = from.extension().is_some_and(|extension| extension == "ready");
    let name = to.file_name().and_then(|name| name.to_str()?.strip_suffix(".done"));
    let Some(name) = name.filter(|_| waited) else { return Ok(()) };
    // A standby marks what is its primary's to archive.
    let is_primary =
        ControlFile::load(files, data).is_ok_and(|control| control.state == ClusterState::InProduction);
    if is_primary && !ARCHIVED.lock().contains(name) {
        return Err(format!("counts {name} as archived, and the archive has not got it"));
    }
    Ok(())
}

/// Bytes are about to be written to a file of the log. What is wrong with that.
pub(super) fn written(
    files: &VirtualDisk,
    data: &Path,
    path: &Path,
    (new, offset): (&[u8], u64),
) -> Result<(), String> {
    let given_up = overwritten(files, path, new, offset);
    let broken = unfinished_before(files, path, new, offset);
    if given_up.is_none() && broken.is_none() {
        return Ok(());
    }
    let state = ControlFile::load(files, data).map(|control| control.state);
    // Behind a shutdown checkpoint is what a start wrote that never took anything from anybody.
    let is_own =
        state.is_ok_and(|state| !matches!(state, ClusterState::InArchiveRecovery | ClusterState::ShutDown));
    if !is_own {
        return Ok(());
    }
    let cuts: Vec<_> = ledger_file::cuts(files, data).collect();
    if let Some(given_up) =
        given_up.filter(|lsn| !cuts.iter().any(|(after, upto)| (*after..*upto).contains(lsn)))
    {
        return Err(format!("overwrites its log at {given_up}, and its ledger does not tell of that"));
    }
    // What is there of the record ends on the page before.
    let tells = |page: Lsn| cuts.iter().any(|(after, upto)| *after < page && *upto + PAGE_SIZE as u64 > page);
    match broken.filter(|page| !tells(*page)) {
        Some(page) => Err(format!(
            "gives up a record that lacks its rest at {page}, and its ledger does not tell of that"
        )),
        None => Ok(()),
    }
}

/// The page that these bytes of the log begin with, if it says from now on that the rest of a record never
/// came there: what is there of it stays, and is no log any more.
fn unfinished_before(files: &VirtualDisk, path: &Path, new: &[u8], offset: u64) -> Option<Lsn> {
    let (_, segment, size) = segment_of(path)?;
    let page = size.start_of(segment) + offset;
    let says_so = |bytes: &[u8]| {
        let header = bytes.get(..LONG_HEADER_SIZE).map(PageHeader::decode);
        let is_it =
            |header: PageHeader| header.address == page && header.flags.has(PageFlags::OVERWRITE_CONTRECORD);
        header.is_some_and(|header| header.is_ok_and(is_it))
    };
    let mut old = [0; LONG_HEADER_SIZE];
    if says_so(new) {
        // A start makes durable what is there by writing it again.
        files.open(path, OpenMode::Read).ok()?.read_at(&mut old, offset).ok()?;
        return (!says_so(&old)).then_some(page);
    }
    None
}

/// The first place in a file of the log at which these bytes take the place of others that are its log.
fn overwritten(files: &VirtualDisk, path: &Path, new: &[u8], offset: u64) -> Option<Lsn> {
    let (_, segment, size) = segment_of(path)?;
    let file = files.open(path, OpenMode::Read).ok()?;
    let mut old = vec![0; new.len()];
    let read = file.read_at(&mut old, offset).ok()?;
    let changed = |(old, new): (&u8, &u8)| *old != 0 && old != new;
    let within = offset + old[..read].iter().zip(new).position(changed)? as u64;
    // A file that was another segment before has pages of that one.
    let page = within - within % PAGE_SIZE as u64;
    let mut header = [0; LONG_HEADER_SIZE];
    let read = file.read_at(&mut header, page).ok()?;
    let header = PageHeader::decode(&header[..read]).ok()?;
    let begin = size.start_of(segment);
    (header.address == begin + page).then_some(begin + within)
}

/// What a life of a server has written to the files of its log before it first synced them.
#[derive(Debug, Default)]
pub(super) struct Tails(Mutex<BTreeMap<PathBuf, Tail>>);

#[derive(Debug, Default)]
struct Tail {
    /// The end of the bytes that are not zero.
    end: u64,
    bytes: usize,
    looked: bool,
}

impl Tails {
    /// Bytes were written.
    pub(super) fn wrote(&self, path: &Path, bytes: &[u8], offset: u64) {
        if segment_of(path).is_none() {
            return;
        }
        let mut tails = self.0.lock();
        if tails.get(path).is_some_and(|tail| tail.looked) {
            return;
        }
        let Some(last) = bytes.iter().rposition(|byte| *byte != 0) else { return };
        let tail = tails.entry(path.to_path_buf()).or_default();
        tail.end = tail.end.max(offset + last as u64 + 1);
        tail.bytes = tail.bytes.saturating_add(last + 1);
    }

    /// Whether a file is of the log, and was not synced in this life.
    pub(super) fn mind(&self, path: &Path) -> bool {
        segment_of(path).is_some() && self.0.lock().get(path).is_none_or(|tail| !tail.looked)
    }

    /// A file is about to be synced. What is wrong with that.
    pub(super) fn syncs(&self, files: &VirtualDisk, path: &Path) -> Result<(), String> {
        let Some((_, segment, size)) = segment_of(path) else { return Ok(()) };
        let mut tails = self.0.lock();
        let Some(tail) = tails.get_mut(path).filter(|tail| !tail.looked) else { return Ok(()) };
        tail.looked = true;
        if tail.bytes > WRITTEN_MAX {
            return Ok(());
        }
        let Ok(file) = files.open(path, OpenMode::Read) else { return Ok(()) };
        let (end, len) = (tail.end, file.len().unwrap_or(0));
        let page_end = end.next_multiple_of(PAGE_SIZE as u64).min(len);
        let at = |within: u64| size.start_of(segment) + within;
        // What comes again over what cannot be read leaves the rest of it.
        let data: PathBuf = path.iter().take(2).collect();
        let mark = PositionFile::new(Arc::new(files.clone()), data.join(RECEIVED_FILE));
        let received = mark.read().ok().flatten().map_or(Lsn::INVALID, |received| received.lsn);
        let mut page = [0; PAGE_SIZE];
        let read = file.read_at(&mut page, end).unwrap_or(0);
        let rest = page.iter().take(read).take(usize::try_from(page_end.saturating_sub(end)).unwrap_or(0));
        if let Some(stale) = rest.into_iter().position(|byte| *byte != 0) {
            let stale = at(end + stale as u64);
            if stale < received {
                return Ok(());
            }
            return Err(format!("has log up to {}, and something lies at {stale}", at(end)));
        }
        for begin in (page_end..len).step_by(PAGE_SIZE) {
            let read = file.read_at(&mut page[..LONG_HEADER_SIZE], begin).unwrap_or(0);
            let header = page.get(..read).map(PageHeader::decode);
            let is_log = header.is_some_and(|header| header.is_ok_and(|header| header.address == at(begin)));
            if is_log && at(begin) >= received {
                return Err(format!("has log up to {}, and a page of log lies at {}", at(end), at(begin)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_behind_the_log_s_end_is_told() {
        let files = VirtualDisk::new();
        let path = Path::new("/data/pg_wal/000000010000000000000002");
        files.create_dir_all(path.parent().unwrap()).unwrap();
        let file = files.open(path, OpenMode::Create).unwrap();
        file.write_all_at(&vec![0; SEGMENT_BYTES as usize], 0).unwrap();
        file.write_all_at(&[7; 20], 300).unwrap();
        let look = |end: u64| {
            let tails = Tails::default();
            tails.wrote(path, &[7; 10], end - 10);
            tails.syncs(&files, path)
        };
        assert_eq!((look(320), look(10_000)), (Ok(()), Ok(())));
        assert!(look(310).is_err());
    }
}
