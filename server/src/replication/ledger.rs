//! The node's own record of what it gave up: commits released without their confirmation, standbys fallen
//! back from, slots invalidated. One line an event, appended durably to plimsoll/ledger.
//!
//! | column | contents                                                     |
//! |--------|--------------------------------------------------------------|
//! | 1      | CRC-32 of the rest of the line, 8 hexadecimal digits         |
//! | 2      | time, microseconds since 2000-01-01 UTC                      |
//! | 3      | event, one word                                              |
//! | 4, 5   | positions in the log: after the first, up to the second      |
//! | 6      | why, to the end of the line                                  |
//!
//! An entry that a power cut has torn ends where it ends: the next one begins on a line of its own, after an
//! entry `torn` that says what is lost. What a full disk does not take waits in memory and is written, in its
//! order, as soon as there is room.
//!
//! At half of plimsoll.ledger_size the file becomes plimsoll/ledger.old, and what that held before goes. A
//! new file then begins with the event `forgotten`, which says how many entries went and of which time, so
//! that not even this is silent: it is written to plimsoll/ledger.new first, which a crash leaves to be
//! named.

use crate::configuration::Ground;
use crate::log::Log;
use crate::tasks::{beside_others, blocking};
use host::sync::Mutex;
use host::{Host, OpenMode, Timestamp};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use wal::Lsn;

/// No reason is longer, in bytes: an entry is small against the smallest ledger.
const REASON_MAX: usize = 1000;
/// A line is shorter, in bytes: what is looked at of the file's end.
const TAIL_MAX: u64 = 2048;
/// What is read of a file at most, in bytes; plimsoll.ledger_size is no larger.
const FILE_MAX: u64 = 1 << 30;
/// How many entries wait for room on the disk; of more only the number, the time and the range are kept.
const WAITING_MAX: usize = 100;
/// Time between two tries to write what waits.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerEntry {
    /// When.
    pub at: Timestamp,
    /// What happened: `released`, ...
    pub event: String,
    /// The range of the log that it is about, exclusive.
    pub after: Lsn,
    /// The end of that range, inclusive of the commit that ends there.
    pub upto: Lsn,
    /// Why, in one line.
    pub reason: String,
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("plimsoll/ledger")
}

fn new_path(data_dir: &Path) -> PathBuf {
    data_dir.join("plimsoll/ledger.new")
}

fn old_path(data_dir: &Path) -> PathBuf {
    data_dir.join("plimsoll/ledger.old")
}

/// The ledger of a node.
pub(crate) struct Ledger {
    ground: Arc<Ground>,
    /// One entry is written after the other.
    waiting: Arc<Mutex<Waiting>>,
    /// Something waits for room.
    full: Notify,
}

impl Ledger {
    pub(crate) fn new(ground: &Arc<Ground>) -> Self {
        Self { ground: ground.clone(), waiting: Arc::default(), full: Notify::new() }
    }

    /// Records an event of this node; that it cannot be written yet is a warning in the log, which says the
    /// same.
    pub(crate) fn record(&self, event: &str, range: (Lsn, Lsn), reason: &str) {
        let entry = self.entry(event, range, reason);
        // Its task waits for the disk, the others of the thread do not.
        let written = beside_others(|| {
            let mut waiting = self.waiting.lock();
            let before = waiting.count();
            waiting.add(entry);
            LedgerFile::of(&self.ground).write(&mut waiting).map(|()| before)
        });
        match written {
            Ok(before) => tell_written(&self.ground, before),
            Err(error) => {
                let what = "could not write plimsoll/ledger, and will when the disk takes it";
                self.ground.log.warning(format!("{what}: {error}"));
                self.full.notify_one();
            }
        }
    }

    /// The same for who must not go on if it cannot be written.
    pub(crate) fn try_record(&self, event: &str, range: (Lsn, Lsn), reason: &str) -> io::Result<()> {
        let mut alone = Waiting::default();
        alone.add(self.entry(event, range, reason));
        beside_others(|| {
            let mut waiting = self.waiting.lock();
            // What came before stands before it.
            write_waiting(&self.ground, &mut waiting)?;
            LedgerFile::of(&self.ground).write(&mut alone)
        })
    }

    fn entry(&self, event: &str, range: (Lsn, Lsn), reason: &str) -> LedgerEntry {
        let is_unnamed = host::planted!("the ledger names no range");
        let (after, upto) = if is_unnamed { (Lsn::INVALID, Lsn::INVALID) } else { range };
        let (at, event, reason) = (self.ground.host.clock.now(), event.to_owned(), reason.to_owned());
        LedgerEntry { at, event, after, upto, reason }
    }

    /// Writes what waits as soon as the disk takes it.
    pub(crate) async fn keep(&self) {
        loop {
            self.full.notified().await;
            loop {
                tokio::time::sleep(RETRY_INTERVAL).await;
                let (ground, waiting) = (self.ground.clone(), self.waiting.clone());
                let retry = blocking(move || write_waiting(&ground, &mut waiting.lock()));
                // Else the server ends.
                if !matches!(retry.await, Ok(Err(_))) {
                    break;
                }
            }
        }
    }

    /// The server ends: what waits is written now or never.
    pub(crate) fn close(&self) {
        let mut waiting = self.waiting.lock();
        if let Err(error) = write_waiting(&self.ground, &mut waiting) {
            let count = waiting.count();
            self.ground.log.warning(format!("lost {count} entries of plimsoll/ledger: {error}"));
        }
    }
}

fn write_waiting(ground: &Ground, waiting: &mut Waiting) -> io::Result<()> {
    let count = waiting.count();
    LedgerFile::of(ground).write(waiting)?;
    tell_written(ground, count);
    Ok(())
}

/// So many are written that a full disk had not taken.
fn tell_written(ground: &Ground, count: usize) {
    if count > 0 {
        ground.log.log(format!("wrote {count} entries of plimsoll/ledger that had to wait"));
    }
}

/// Entries that are still to be written, the oldest first.
#[derive(Debug, Default)]
struct Waiting {
    entries: VecDeque<LedgerEntry>,
    /// Those after them that found no place.
    gone: Option<Gone>,
}

impl Waiting {
    fn add(&mut self, entry: LedgerEntry) {
        if self.entries.len() < WAITING_MAX {
            self.entries.push_back(entry);
        } else {
            self.gone.get_or_insert_with(|| Gone::new(&entry)).add(&entry);
        }
    }
    fn count(&self) -> usize {
        self.entries.len() + self.gone.as_ref().map_or(0, |gone| gone.count)
    }
}

/// Entries of which nothing else is left.
#[derive(Clone, Debug)]
struct Gone {
    count: usize,
    first: Timestamp,
    last: Timestamp,
    after: Lsn,
    upto: Lsn,
}

impl Gone {
    const fn new(first: &LedgerEntry) -> Self {
        Self { count: 0, first: first.at, last: first.at, after: first.after, upto: first.upto }
    }
    fn add(&mut self, entry: &LedgerEntry) {
        self.count += 1;
        self.last = entry.at;
        self.after = self.after.min(entry.after);
        self.upto = self.upto.max(entry.upto);
    }
    fn entry(&self, at: Timestamp, why: &str) -> LedgerEntry {
        let reason = format!(
            "{why}: {} entries went, of {} seconds that ended {} seconds ago",
            self.count,
            self.last.since(self.first).as_secs(),
            at.since(self.last).as_secs()
        );
        LedgerEntry { at, event: "forgotten".to_owned(), after: self.after, upto: self.upto, reason }
    }
}

/// The file, of at most `size_bytes`.
struct LedgerFile<'g> {
    host: &'g Host,
    data_dir: &'g Path,
    log: &'g Log,
    size_bytes: u64,
}

impl<'g> LedgerFile<'g> {
    fn of(ground: &'g Ground) -> Self {
        let Ground { host, data_dir, log, .. } = ground;
        Self { host, data_dir, log, size_bytes: ground.config().ledger_size_bytes }
    }

    /// Writes entries one by one; each is durable when it waits no longer.
    fn write(&self, waiting: &mut Waiting) -> io::Result<()> {
        loop {
            while let Some(entry) = waiting.entries.front() {
                self.make_room(entry.at)?;
                self.append(entry)?;
                waiting.entries.pop_front();
            }
            let Some(gone) = waiting.gone.take() else { return Ok(()) };
            let at = self.host.clock.now();
            waiting.entries.push_back(gone.entry(at, "the disk took nothing for too long"));
        }
    }

    /// Has the file become the older half if it is full. A new one tells of what goes by that.
    fn make_room(&self, at: Timestamp) -> io::Result<()> {
        let (disk, path, new) = (&self.host.disk, path(self.data_dir), new_path(self.data_dir));
        let len = match disk.metadata(&path) {
            Ok(file) => file.len,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A crash came between the two renames below.
                return if disk.exists(&new)? { self.name_new() } else { Ok(()) };
            }
            Err(error) => return Err(error),
        };
        if len < self.size_bytes / 2 {
            return Ok(());
        }
        let old = old_path(self.data_dir);
        let before = read_file(self.host, &old)?;
        let mut lines = String::new();
        if let Some(first) = before.first() {
            let mut gone = Gone::new(first);
            before.iter().for_each(|entry| gone.add(entry));
            push_line(&mut lines, &gone.entry(at, "plimsoll.ledger_size is reached"));
        }
        // The torn line stays behind, at the end of the file that it is in.
        if let Some(torn) = unended_line(self.host, &path)?.and_then(|tail| self.torn(&tail, at)) {
            push_line(&mut lines, &torn);
        }
        host::write_file_durably(&**disk, &new, lines.as_bytes())?;
        // Until the new file has its name, a reader finds the older half alone.
        disk.rename(&path, &old)?;
        self.name_new()
    }

    fn name_new(&self) -> io::Result<()> {
        self.host.disk.rename(&new_path(self.data_dir), &path(self.data_dir))?;
        self.host.disk.sync_dir(&self.data_dir.join("plimsoll"))
    }

    /// Appends an entry; durable when it returns.
    fn append(&self, entry: &LedgerEntry) -> io::Result<()> {
        if let Some(torn) = append_line(self.host, self.data_dir, entry)? {
            self.log.warning(format!("plimsoll/ledger: {}", torn.reason));
        }
        Ok(())
    }

    /// The entry that tells of this last line, if it is torn.
    fn torn(&self, line: &str, at: Timestamp) -> Option<LedgerEntry> {
        if parse(line).is_some() {
            return None;
        }
        let torn = torn(line, at);
        self.log.warning(format!("plimsoll/ledger: {}", torn.reason));
        Some(torn)
    }
}

/// Appends an entry; durable when it returns, with one before it that tells of a torn last line, which it
/// gives. If it fails the file is as it was, as far as that is in anybody's power.
fn append_line(host: &Host, data_dir: &Path, entry: &LedgerEntry) -> io::Result<Option<LedgerEntry>> {
    let path = path(data_dir);
    let (mut lines, mut told) = (String::new(), None);
    if let Some(tail) = unended_line(host, &path)? {
        // One that lacks nothing but its end is whole.
        lines.push('\n');
        if parse(&tail).is_none() {
            let torn = torn(&tail, entry.at);
            push_line(&mut lines, &torn);
            told = Some(torn);
        }
    }
    push_line(&mut lines, entry);
    let file = host.disk.open(&path, OpenMode::Create)?;
    let end = file.len()?;
    if end == 0 {
        host.disk.sync_dir(&data_dir.join("plimsoll"))?;
    }
    if let Err(error) = file.write_all_at(lines.as_bytes(), end).and_then(|()| file.sync()) {
        // What stays nevertheless is told as torn by the next entry.
        let _ = file.truncate(end);
        return Err(error);
    }
    Ok(told)
}

/// Records an event in the ledger of a directory whose server does not run, as a rewind does, unless an entry
/// of the same one is there. Either is durable when it returns. The next server makes room, if it is full.
///
/// # Errors
/// If the ledger cannot be read or written.
pub(super) fn record_once(
    host: &Host,
    data_dir: &Path,
    entry: &LedgerEntry,
    is_same: &dyn Fn(&LedgerEntry) -> bool,
) -> io::Result<()> {
    if !read_ledger(host, data_dir)?.iter().any(is_same) {
        return append_line(host, data_dir, entry).map(|_| ());
    }
    // Who wrote it may have been killed before it was durable.
    match host.disk.open(&path(data_dir), OpenMode::ReadWrite).and_then(|file| file.sync()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    host.disk.sync_dir(&data_dir.join("plimsoll"))
}

/// Takes the last entry of such a directory back, durably, if it is one of these. Gives whether none is left.
///
/// # Errors
/// If the ledger cannot be read or cut.
pub(super) fn take_back_last(
    host: &Host,
    data_dir: &Path,
    is_same: &dyn Fn(&LedgerEntry) -> bool,
) -> io::Result<bool> {
    if !read_ledger(host, data_dir)?.iter().any(is_same) {
        return Ok(true);
    }
    let path = path(data_dir);
    let text = read_bytes(host, &path)?;
    let lines = text.strip_suffix(b"\n").unwrap_or(&text);
    let start = lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let last = lines.get(start..).unwrap_or_default();
    if !parse(&String::from_utf8_lossy(last)).is_some_and(|last| is_same(&last)) {
        return Ok(false);
    }
    let file = host.disk.open(&path, OpenMode::ReadWrite)?;
    file.truncate(start as u64)?;
    file.sync()?;
    Ok(true)
}

/// The last line, if nothing ends it.
fn unended_line(host: &Host, path: &Path) -> io::Result<Option<String>> {
    let file = match host.disk.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let len = file.len()?;
    let start = len.saturating_sub(TAIL_MAX);
    let mut tail = vec![0; usize::try_from(len - start).unwrap_or(0)];
    file.read_exact_at(&mut tail, start)?;
    let line = tail.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(Some(String::from_utf8_lossy(line).into_owned()).filter(|line| !line.is_empty()))
}

/// Records an event of a node that does not run, durably. Its next start makes room.
pub(super) fn record_stopped(
    (host, data_dir, log): (&Host, &Path, &Log),
    event: &str,
    (after, upto): (Lsn, Lsn),
    reason: &str,
) -> io::Result<()> {
    let (at, event, reason) = (host.clock.now(), event.to_owned(), reason.to_owned());
    let file = LedgerFile { host, data_dir, log, size_bytes: FILE_MAX };
    let mut alone = Waiting::default();
    alone.add(LedgerEntry { at, event, after, upto, reason });
    file.write(&mut alone)
}

/// The entry that tells of a torn line.
fn torn(line: &str, at: Timestamp) -> LedgerEntry {
    let kept: String = line.chars().map(|char| if char.is_control() { '?' } else { char }).collect();
    let event = "torn".to_owned();
    let bytes = line.len();
    let reason = format!("the entry before this one was not written to its end, of {bytes} bytes: {kept}");
    LedgerEntry { at, event, after: Lsn::INVALID, upto: Lsn::INVALID, reason }
}

fn push_line(lines: &mut String, entry: &LedgerEntry) {
    let one_line = entry.reason.replace(['\n', '\r'], " ");
    // The end of the last character that fits.
    let ends = one_line.char_indices().map(|(at, character)| at + character.len_utf8());
    let reason =
        one_line.get(..ends.take_while(|end| *end <= REASON_MAX).last().unwrap_or(0)).unwrap_or_default();
    let rest = format!("{} {} {} {} {reason}", entry.at.micros(), entry.event, entry.after, entry.upto);
    lines.push_str(&format!("{:08x} {rest}\n", crc32fast::hash(rest.as_bytes())));
}

/// Reads the entries, the oldest first; a line that is damaged (a torn last one, say) is left out.
///
/// # Errors
///
/// If a file of the ledger is there and cannot be read.
pub fn read_ledger(host: &Host, data_dir: &Path) -> io::Result<Vec<LedgerEntry>> {
    let mut entries = read_file(host, &old_path(data_dir))?;
    entries.extend(read_file(host, &path(data_dir))?);
    Ok(entries)
}

fn read_file(host: &Host, path: &Path) -> io::Result<Vec<LedgerEntry>> {
    Ok(String::from_utf8_lossy(&read_bytes(host, path)?).lines().filter_map(parse).collect())
}

/// The bytes of a file of the ledger; none if it is not there.
fn read_bytes(host: &Host, path: &Path) -> io::Result<Vec<u8>> {
    match host.disk.read(path, FILE_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

fn parse(line: &str) -> Option<LedgerEntry> {
    let (crc, rest) = line.split_once(' ')?;
    if u32::from_str_radix(crc, 16).ok()? != crc32fast::hash(rest.as_bytes()) {
        return None;
    }
    let mut words = rest.splitn(5, ' ');
    Some(LedgerEntry {
        at: Timestamp::from_micros(words.next()?.parse().ok()?),
        event: words.next()?.to_owned(),
        after: words.next()?.parse().ok()?,
        upto: words.next()?.parse().ok()?,
        reason: words.next()?.to_owned(),
    })
}

#[cfg(test)]
mod tests;
