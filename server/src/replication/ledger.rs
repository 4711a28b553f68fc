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
use crate::tasks::blocking;
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
        let mut waiting = self.waiting.lock();
        waiting.add(self.entry(event, range, reason));
        if let Err(error) = LedgerFile::of(&self.ground).write(&mut waiting) {
            let what = "could not write plimsoll/ledger, and will when the disk takes it";
            self.ground.log.warning(format!("{what}: {error}"));
            self.full.notify_one();
        }
    }

    /// The same for who must not go on if it cannot be written.
    pub(crate) fn try_record(&self, event: &str, range: (Lsn, Lsn), reason: &str) -> io::Result<()> {
        let mut alone = Waiting::default();
        alone.add(self.entry(event, range, reason));
        let _one_at_a_time = self.waiting.lock();
        LedgerFile::of(&self.ground).write(&mut alone)
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
    if count > 0 {
        ground.log.log(format!("wrote {count} entries of plimsoll/ledger that had to wait"));
    }
    Ok(())
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

    /// Appends an entry; durable when it returns. If it fails the file is as it was, as far as that is in
    /// anybody's power.
    fn append(&self, entry: &LedgerEntry) -> io::Result<()> {
        let path = path(self.data_dir);
        let mut lines = String::new();
        if let Some(tail) = unended_line(self.host, &path)? {
            // One that lacks nothing but its end is whole.
            lines.push('\n');
            if let Some(torn) = self.torn(&tail, entry.at) {
                push_line(&mut lines, &torn);
            }
        }
        push_line(&mut lines, entry);
        let file = self.host.disk.open(&path, OpenMode::Create)?;
        let end = file.len()?;
        if end == 0 {
            self.host.disk.sync_dir(&self.data_dir.join("plimsoll"))?;
        }
        if let Err(error) = file.write_all_at(lines.as_bytes(), end).and_then(|()| file.sync()) {
            // What stays nevertheless is told as torn by the next entry.
            let _ = file.truncate(end);
            return Err(error);
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
    let text = match host.disk.read(path, FILE_MAX) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    Ok(String::from_utf8_lossy(&text).lines().filter_map(parse).collect())
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
mod tests {
    use super::*;
    use host::Disk as _;
    use simulation::VirtualDisk;

    const SIZE: u64 = 64 << 10;

    fn folder() -> (Host, tempfile::TempDir) {
        let (host, dir) = (Host::real(), tempfile::tempdir().unwrap());
        host.disk.create_dir_all(&dir.path().join("plimsoll")).unwrap();
        (host, dir)
    }
    /// Appends an entry.
    fn append(host: &Host, data_dir: &Path, entry: &LedgerEntry) -> io::Result<()> {
        let mut waiting = Waiting::default();
        waiting.add(entry.clone());
        write(host, data_dir, &mut waiting)
    }
    fn write(host: &Host, data_dir: &Path, waiting: &mut Waiting) -> io::Result<()> {
        let log = Log::new(Arc::new(|_| {}), host.clock.clone());
        LedgerFile { host, data_dir, log: &log, size_bytes: SIZE }.write(waiting)
    }
    fn entry(n: u64) -> LedgerEntry {
        LedgerEntry {
            at: Timestamp::from_micros(7),
            event: "released".into(),
            after: Lsn::new(n),
            upto: Lsn::new(n + 1),
            reason: "no answer in 30 s".into(),
        }
    }

    #[test]
    fn entries_come_back_and_a_damaged_line_is_left_out() {
        let (host, dir) = folder();
        assert_eq!(read_ledger(&host, dir.path()).unwrap(), []);
        for n in 0..3 {
            append(&host, dir.path(), &entry(n)).unwrap();
        }
        assert_eq!(read_ledger(&host, dir.path()).unwrap(), [entry(0), entry(1), entry(2)]);
        let text = std::fs::read_to_string(path(dir.path())).unwrap();
        std::fs::write(path(dir.path()), text.replacen("0/1", "0/9", 1)).unwrap();
        assert_eq!(read_ledger(&host, dir.path()).unwrap(), [entry(1), entry(2)]);
    }

    #[test]
    fn a_ledger_that_cannot_be_read_is_not_taken_for_an_empty_one() {
        let (host, dir) = folder();
        std::fs::create_dir(path(dir.path())).unwrap();
        assert!(read_ledger(&host, dir.path()).is_err());
    }

    #[test]
    fn after_a_torn_entry_the_next_one_stands_alone_and_the_loss_is_told() {
        let (host, dir) = folder();
        append(&host, dir.path(), &entry(0)).unwrap();
        append(&host, dir.path(), &entry(1)).unwrap();
        let whole = std::fs::read(path(dir.path())).unwrap();
        let second = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        // At each byte, and with the zeros that a file system leaves where it had no time to write.
        for (cut, zeros) in (second..whole.len()).flat_map(|cut| [(cut, 0), (cut, 3)]) {
            let torn = [&whole[..cut], &[0; 3][..zeros]].concat();
            std::fs::write(path(dir.path()), &torn).unwrap();
            append(&host, dir.path(), &entry(2)).unwrap();
            append(&host, dir.path(), &entry(3)).unwrap();
            let mut kept = read_ledger(&host, dir.path()).unwrap();
            if torn.len() + 1 == whole.len() && zeros == 0 {
                assert_eq!(kept.remove(1), entry(1), "only its end was missing");
            } else if torn.len() > second {
                let told = kept.remove(1);
                assert_eq!(told.event, "torn", "cut at {cut}");
                assert!(told.reason.contains(&format!(" {} bytes", torn.len() - second)), "{}", told.reason);
            }
            assert_eq!(kept, [entry(0), entry(2), entry(3)], "cut at {cut}");
        }
    }

    #[test]
    fn what_a_full_disk_does_not_take_is_written_in_order_when_there_is_room() {
        let (disk, dir) = (VirtualDisk::new(), Path::new("/data"));
        let host = Host { disk: Arc::new(disk.clone()), ..Host::real() };
        disk.create_dir_all(&dir.join("plimsoll")).unwrap();
        append(&host, dir, &entry(0)).unwrap();
        let used = disk.metadata(&path(dir)).unwrap().len;
        // Room for a part of the second entry, and then for none.
        let mut waiting = Waiting::default();
        let count = WAITING_MAX as u64 + 20;
        for (n, room) in (1..=count).zip([20].into_iter().chain(std::iter::repeat(0))) {
            disk.set_capacity(used + room);
            waiting.add(entry(n));
            write(&host, dir, &mut waiting).unwrap_err();
            assert_eq!(disk.metadata(&path(dir)).unwrap().len, used, "what is there is whole");
        }
        assert_eq!(waiting.count() as u64, count);
        disk.set_capacity(u64::MAX);
        write(&host, dir, &mut waiting).unwrap();
        let mut kept = read_ledger(&host, dir).unwrap();
        let gone = kept.pop().unwrap();
        assert_eq!(kept, (0..=WAITING_MAX as u64).map(entry).collect::<Vec<_>>());
        assert_eq!((gone.event.as_str(), gone.upto), ("forgotten", Lsn::new(count + 1)));
        assert!(gone.reason.contains(" 20 entries went"), "{}", gone.reason);
        assert_eq!(waiting.count(), 0);
    }

    #[test]
    fn a_full_ledger_on_a_full_disk_forgets_nothing_silently() {
        let (disk, dir) = (VirtualDisk::new(), Path::new("/data"));
        let host = Host { disk: Arc::new(disk.clone()), ..Host::real() };
        disk.create_dir_all(&dir.join("plimsoll")).unwrap();
        let mut n = 0;
        // Until the older half is about to go.
        while !disk.exists(&old_path(dir)).unwrap() || disk.metadata(&path(dir)).unwrap().len < SIZE / 2 {
            append(&host, dir, &entry(n)).unwrap();
            n += 1;
        }
        disk.set_capacity(0);
        let mut waiting = Waiting::default();
        waiting.add(entry(n));
        write(&host, dir, &mut waiting).unwrap_err();
        disk.set_capacity(u64::MAX);
        write(&host, dir, &mut waiting).unwrap();
        let kept = read_ledger(&host, dir).unwrap();
        let forgotten = kept.iter().filter(|entry| entry.event == "forgotten").count();
        assert_eq!((kept.last(), forgotten), (Some(&entry(n)), 1));
    }

    #[test]
    fn a_crash_while_a_full_ledger_turns_forgets_nothing_silently() {
        let (disk, dir) = (VirtualDisk::new(), Path::new("/data"));
        let host = |disk: &VirtualDisk| Host { disk: Arc::new(disk.clone()), ..Host::real() };
        disk.create_dir_all(&dir.join("plimsoll")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        disk.sync_dir(dir).unwrap();
        let mut n = 0;
        while !disk.exists(&old_path(dir)).unwrap() || disk.metadata(&path(dir)).unwrap().len < SIZE / 2 {
            append(&host(&disk), dir, &entry(n)).unwrap();
            n += 1;
        }
        // The server, or the power, goes at each change on the way.
        for (step, power) in (1..20).flat_map(|step| [(step, false), (step, true)]) {
            let files = disk.fork();
            files.inject(simulation::Fault::power_off(step));
            let turned = append(&host(&files), dir, &entry(n));
            files.clear_faults();
            let files = if power { files.crash(simulation::CrashPolicy::LoseUnsynced) } else { files };
            append(&host(&files), dir, &entry(n + 1)).unwrap();
            let kept = read_ledger(&host(&files), dir).unwrap();
            let first = kept.iter().find(|entry| entry.event != "forgotten").unwrap().after.get();
            let told = kept.iter().filter(|entry| entry.event == "forgotten").map(|entry| entry.upto).max();
            assert!(
                first == 0 || told >= Some(Lsn::new(first)),
                "step {step}: {turned:?}, {told:?} < {first}"
            );
            assert_eq!(kept.last(), Some(&entry(n + 1)), "step {step}");
        }
    }

    #[test]
    fn a_torn_entry_at_the_end_of_a_full_ledger_is_told_in_the_next_one() {
        let (host, dir) = folder();
        let full = "x".repeat(SIZE as usize / 2);
        std::fs::write(path(dir.path()), full).unwrap();
        append(&host, dir.path(), &entry(1)).unwrap();
        let kept = read_ledger(&host, dir.path()).unwrap();
        assert_eq!(kept.iter().map(|entry| entry.event.as_str()).collect::<Vec<_>>(), ["torn", "released"]);
        assert!(!std::fs::read_to_string(path(dir.path())).unwrap().starts_with('\n'));
    }

    #[test]
    fn the_ledger_keeps_within_its_size_and_says_what_it_forgot() {
        let (host, dir) = folder();
        const COUNT: u64 = 5000;
        for n in 0..COUNT {
            append(&host, dir.path(), &entry(n)).unwrap();
            let bytes = |path: PathBuf| std::fs::metadata(path).map_or(0, |file| file.len());
            let all = bytes(path(dir.path())) + bytes(old_path(dir.path()));
            assert!(all <= SIZE + 2 * 1100, "{all} bytes after {n}");
        }
        let kept = read_ledger(&host, dir.path()).unwrap();
        assert_eq!(kept.last(), Some(&entry(COUNT - 1)));
        let (forgotten, events): (Vec<_>, Vec<_>) = kept.iter().partition(|entry| entry.event == "forgotten");
        let first = events[0].after.get();
        assert_eq!(events.len() as u64, COUNT - first, "no gap");
        // Each tells of the file before the last one, which may have begun with such a line itself.
        assert!(forgotten.last().unwrap().upto >= Lsn::new(first), "{forgotten:?}");
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let (host, dir) = folder();
        let long = LedgerEntry { reason: "ö".repeat(5000), ..entry(1) };
        append(&host, dir.path(), &long).unwrap();
        assert_eq!(read_ledger(&host, dir.path()).unwrap()[0].reason, "ö".repeat(500));
    }
}
