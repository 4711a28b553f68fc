//! What a server may do with its disk, looked at when it does it.
//!
//! | rule                                                                                  | when           |
//! |---------------------------------------------------------------------------------------|----------------|
//! | a page is written once the log up to its LSN is durable                               | each write     |
//! | a standby writes a page once its control file's minRecoveryPoint covers it, durably   | each write     |
//! | what a checkpoint names has all pages of before its redo point durable, names too     | the control    |
//! |                                                                                       | file changes   |
//! | the files of slots say no more than what lies before the fork where a standby's log  | the record of  |
//! | goes on along another timeline                                                        | that changes   |
//! | small files that must outlive a power cut do not stay undurable (see [`must_outlive`])| by who asks    |
//!
//! They hold for a server's directory alone: a clone on its way has no postmaster.pid.

use super::slot_files::Refused;
use super::{log_rules, slot_files};
use host::Disk;
use parking_lot::Mutex;
use simulated::{NodeId, fiber};
use simulation::VirtualDisk;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use storage::REWIND_MARKER;
use wal::control::{CONTROL_FILE, ClusterState, ControlFile, control_file_path};
use wal::history::TimelineHistory;
use wal::log_branch::BRANCH_FILE;
use wal::{Lsn, SegmentNumber, TimelineId};

/// Bytes of a page.
pub(crate) const PAGE: usize = 8192;
/// Bytes of the log before a page's LSN that are looked at.
const TAIL_BYTES: u64 = 64;

/// No record of the branch is larger.
const BRANCH_BYTES_MAX: u64 = 4096;

/// The data directory that a path is in, if it is a server's, and not in the middle of its own rewind.
fn place(files: &VirtualDisk, path: &Path) -> Option<PathBuf> {
    let data: PathBuf = path.iter().take(2).collect();
    let has = |name| files.exists(&data.join(name)).unwrap_or(false);
    (has("postmaster.pid") && !has(REWIND_MARKER)).then_some(data)
}

/// The rest of a path, behind its data directory.
fn in_directory(path: &Path) -> &Path {
    let mut names = path.iter();
    names.by_ref().take(2).for_each(drop);
    names.as_path()
}

/// What servers have done wrong, the first of it, and the files that they have touched, in this process.
static FOUND: Mutex<Option<String>> = Mutex::new(None);
static TOUCHED: Mutex<Vec<Touched>> = Mutex::new(Vec::new());

/// A small file that must outlive a power cut was written, or got its name.
#[derive(Clone, Debug)]
pub struct Touched {
    /// Whose disk it is on.
    pub node: NodeId,
    /// The file.
    pub path: PathBuf,
}

/// Segments of the log that were removed or renamed away.
static REMOVED: Mutex<Vec<Touched>> = Mutex::new(Vec::new());

/// The files that each node could not remove: nobody is to make them durable.
static KEPT: Mutex<BTreeSet<(NodeId, PathBuf)>> = Mutex::new(BTreeSet::new());

/// A node has removed a file, or could not.
pub(super) fn removal(path: &Path, is_done: bool) {
    let Some(node) = fiber::current_node() else { return };
    let (mut kept, place) = (KEPT.lock(), (node, path.to_path_buf()));
    if is_done {
        kept.remove(&place);
    } else {
        kept.insert(place);
    }
}

/// Who gave a history file its name, of which timeline, and what the files of its slots said then.
static BEGINS: Mutex<Vec<Begin>> = Mutex::new(Vec::new());

/// Slots, and from which position on each keeps log.
type SlotsAt = Vec<(String, Lsn)>;

struct Begin {
    node: NodeId,
    timeline: u32,
    slots: SlotsAt,
}

/// What the files of a node's slots said when it last made the history file of a timeline.
pub fn slots_at_begin(node: NodeId, timeline: u32) -> SlotsAt {
    let mut begins = BEGINS.lock();
    let last = begins.iter_mut().rev().find(|begin| begin.node == node && begin.timeline == timeline);
    last.map(|begin| std::mem::take(&mut begin.slots)).unwrap_or_default()
}

/// Notes what the files of slots say when the history file of a timeline gets its name.
fn note_begin(files: &VirtualDisk, path: &Path) {
    let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".history"));
    let Some(timeline) = name.and_then(|name| u32::from_str_radix(name, 16).ok()) else { return };
    if let Some((data, node)) = place(files, path).zip(fiber::current_node()) {
        BEGINS.lock().push(Begin { node, timeline, slots: slot_files::positions(files, &data) });
    }
}

/// The timeline that each standby has on record.
static FOLLOWED: Mutex<BTreeMap<NodeId, TimelineId>> = Mutex::new(BTreeMap::new());

/// A standby records another timeline: no file of a slot says more by then than what lies before the fork.
fn note_branch(files: &VirtualDisk, path: &Path, node: NodeId) -> Option<()> {
    if in_directory(path) != Path::new(BRANCH_FILE) {
        return None;
    }
    let (data, text) = (place(files, path)?, files.read(path, BRANCH_BYTES_MAX).ok()?);
    let text = String::from_utf8_lossy(&text);
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
    if value("promotion=")? != "none" {
        // It may lead from here on.
        FOLLOWED.lock().remove(&node);
        return None;
    }
    let timeline = value("timeline=")?.parse().ok()?;
    let before = FOLLOWED.lock().insert(node, timeline).filter(|before| *before != timeline)?;
    let history = TimelineHistory::load(files, &data.join("pg_wal"), timeline).ok()?;
    let fork = history.end_of(before).ok()??;
    let slots = slot_files::positions(files, &data);
    let (slot, at) = slots.into_iter().find(|(_, at)| *at > fork)?;
    fail(format!("goes on along timeline {timeline} from {fork} on, and the file of slot {slot} says {at}"));
    None
}

/// What was done wrong, if anything.
pub fn found() -> Option<String> {
    FOUND.lock().clone()
}

/// The files that were touched since this was last asked.
pub fn take_touched() -> Vec<Touched> {
    std::mem::take(&mut *TOUCHED.lock())
}

/// The segments of the log that servers gave up since this was last asked.
pub fn take_removed() -> Vec<Touched> {
    std::mem::take(&mut *REMOVED.lock())
}

/// A file is not there any more under this name.
pub(super) fn removed(files: &VirtualDisk, path: &Path, refused: &Refused) {
    let is_log = path.iter().nth(2).is_some_and(|folder| folder == "pg_wal");
    if let Some(node) = fiber::current_node().filter(|_| is_log && place(files, path).is_some()) {
        REMOVED.lock().push(Touched { node, path: path.to_path_buf() });
        judge(files, path, |data| log_rules::removed(files, data, path, refused));
    }
}

/// A file has another name from now on.
pub(super) fn renamed(files: &VirtualDisk, from: &Path, to: &Path, refused: &Refused) {
    removed(files, from, refused);
    touched(files, to);
    judge(files, to, |data| log_rules::renamed(files, data, from, to));
    note_begin(files, to);
}

/// Notes what is wrong with something that a server did in its directory.
pub(super) fn judge(files: &VirtualDisk, path: &Path, rule: impl FnOnce(&Path) -> Result<(), String>) {
    if let Some(data) = place(files, path)
        && let Err(why) = rule(&data)
    {
        fail(why);
    }
}

pub(super) fn fail(what: String) {
    let node = fiber::current_node().map_or(0, |node| node.0.saturating_sub(1));
    FOUND.lock().get_or_insert_with(|| format!("Disk: node {node} {what}"));
}

/// Whether this is a small file of a server's that must outlive a power cut, or a folder of such.
pub(super) fn must_outlive(files: &VirtualDisk, path: &Path) -> bool {
    let within = in_directory(path);
    let is_temporary = within.extension().is_some_and(|extension| extension == "tmp");
    let small = [
        "plimsoll/fence",
        "plimsoll/former",
        "plimsoll/handover",
        "plimsoll/heard",
        "plimsoll/ledger",
        "plimsoll/roster",
        "pg_replslot",
    ];
    let matters = small.iter().any(|name| within.starts_with(name))
        || within.extension().is_some_and(|extension| extension == "history")
        || within == Path::new(CONTROL_FILE);
    matters && !is_temporary && place(files, path).is_some()
}

/// A file was written, or got this name.
pub(super) fn touched(files: &VirtualDisk, path: &Path) {
    let Some(node) = fiber::current_node() else { return };
    note_branch(files, path, node);
    if must_outlive(files, path) {
        for entry in files.list(path).unwrap_or_default() {
            TOUCHED.lock().push(Touched { node, path: path.join(entry.name) });
        }
        TOUCHED.lock().push(Touched { node, path: path.to_path_buf() });
    }
}

/// Pages are about to be written.
pub(super) fn before_write(files: &VirtualDisk, path: &Path, bytes: &[u8], offset: u64) {
    let is_relation = path.iter().nth(2).is_some_and(|folder| folder == "base");
    if !is_relation || !bytes.len().is_multiple_of(PAGE) || !offset.is_multiple_of(PAGE as u64) {
        return;
    }
    let Some(data) = place(files, path) else { return };
    // What is durable of the log and what minRecoveryPoint covers is so from their beginning on. A page that
    // is as new there already has its log behind it, though a disk may have changed that since.
    let there = files.open(path, host::OpenMode::Read).ok();
    let is_newer = |(at, lsn): &(u64, Lsn)| {
        let mut page = [0; size_of::<Lsn>()];
        let before = there.as_ref().and_then(|file| file.read_exact_at(&mut page, *at).ok());
        before.and_then(|()| lsn_of(&page)).is_none_or(|before| before < *lsn)
    };
    let pages = (offset..).step_by(PAGE).zip(bytes.chunks_exact(PAGE));
    let newer = pages.filter_map(|(at, page)| Some((at, lsn_of(page)?))).filter(is_newer);
    if let Some(lsn) = newer.map(|(_, lsn)| lsn).max()
        && let Err(why) = may_be_written(files, &data, lsn)
    {
        fail(format!("writes a page of {} that is as new as {lsn}: {why}", path.display()));
    }
}

/// The newest LSN of whole pages.
pub(crate) fn newest_lsn(pages: &[u8]) -> Option<Lsn> {
    pages.chunks_exact(PAGE).filter_map(lsn_of).max()
}

/// A page's LSN; None if it has none.
fn lsn_of(page: &[u8]) -> Option<Lsn> {
    let (high, rest) = page.split_first_chunk::<4>()?;
    let low = rest.first_chunk::<4>()?;
    let lsn = u64::from(u32::from_le_bytes(*high)) << 32 | u64::from(u32::from_le_bytes(*low));
    (lsn != 0).then(|| Lsn::new(lsn))
}

fn may_be_written(files: &VirtualDisk, data: &Path, lsn: Lsn) -> Result<(), String> {
    let Ok(control) = ControlFile::load(files, data) else { return Ok(()) };
    if !is_log_durable(files, data, &control, lsn) {
        return Err("the log up to there is not durable".to_owned());
    }
    if control.state != ClusterState::InArchiveRecovery {
        return Ok(());
    }
    // Another one may be on its way.
    let durable =
        files.read_durable(&control_file_path(data)).and_then(|bytes| ControlFile::decode(&bytes).ok());
    match durable.map(|control| control.min_recovery_point) {
        Some(minimum) if minimum >= lsn => Ok(()),
        minimum => Err(format!("minRecoveryPoint is {minimum:?} on disk")),
    }
}

/// Whether the end of the log before a position is durable, in any timeline that has it: the beginning of a
/// segment is copied when a timeline begins in it.
fn is_log_durable(files: &VirtualDisk, data: &Path, control: &ControlFile, end: Lsn) -> bool {
    let (folder, size) = (data.join("pg_wal"), control.segment_size);
    let segment = size.segment_before(end);
    let to = end.bytes_since(size.start_of(segment));
    let names = files.list(&folder).unwrap_or_default().into_iter().map(|entry| entry.name);
    let of_it = |name: &String| {
        SegmentNumber::parse_file_name(name, size).is_some_and(|(_, number)| number == segment)
    };
    let paths = names.filter(of_it).map(|name| folder.join(name));
    is_durable_in_any(files, paths, to.saturating_sub(TAIL_BYTES)..to)
}

/// Whether a power cut leaves these bytes in any of the files; of what none of them has nothing is asked.
pub fn is_durable_in_any(
    files: &VirtualDisk,
    paths: impl Iterator<Item = PathBuf>,
    bytes: Range<u64>,
) -> bool {
    let mut known = paths.filter_map(|path| files.is_durable(&path, bytes.clone()).ok()).peekable();
    known.peek().is_none() || known.any(|is_durable| is_durable)
}

/// The data directory of a server, if this is the path of its control file.
pub(super) fn controlled(files: &VirtualDisk, path: &Path) -> Option<PathBuf> {
    if in_directory(path) == Path::new(CONTROL_FILE) { place(files, path) } else { None }
}

/// The control file of a server says this from now on.
pub(super) fn control_changed(files: &VirtualDisk, data: &Path) {
    let Ok(control) = ControlFile::load(files, data) else { return };
    let redo = control.checkpoint_copy.redo;
    // A page's LSN is its beginning.
    let mut page = [0; size_of::<Lsn>()];
    let is_kept = |path: &PathBuf| {
        fiber::current_node().is_some_and(|node| KEPT.lock().contains(&(node, path.clone())))
    };
    let undurable = files.undurable_files(&data.join("base"));
    for dirty in undurable.into_iter().filter(|path| !is_kept(path)) {
        let Ok(file) = files.open(&dirty, host::OpenMode::Read) else { continue };
        for at in (0..file.len().unwrap_or(0)).step_by(PAGE) {
            let is_old = file.read_at(&mut page, at).is_ok() && lsn_of(&page).is_some_and(|lsn| lsn <= redo);
            if is_old && !files.is_durable(&dirty, at..at + PAGE as u64).unwrap_or(true) {
                let lsn = lsn_of(&page).unwrap_or(redo);
                let dirty = dirty.display();
                return fail(format!(
                    "ends a checkpoint of {redo}, and a page of {dirty} with {lsn} is not durable"
                ));
            }
        }
    }
}
