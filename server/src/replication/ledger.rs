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
//! An entry that a full disk or a power cut has torn ends where it ends: the next one begins on a line of its
//! own, after an entry `torn` that says what is lost.
//!
//! At half of plimsoll.ledger_size the file becomes plimsoll/ledger.old, and what that held before goes. A
//! new file then begins with the event `forgotten`, which says how many entries went and of which time, so
//! that not even this is silent.

use crate::configuration::Ground;
use crate::log::Log;
use host::{Host, OpenMode, Timestamp};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wal::Lsn;

/// No reason is longer, in bytes: an entry is small against the smallest ledger.
const REASON_MAX: usize = 1000;
/// A line is shorter, in bytes: what is looked at of the file's end.
const TAIL_MAX: u64 = 2048;
/// What is read of a file at most, in bytes; plimsoll.ledger_size is no larger.
const FILE_MAX: u64 = 1 << 30;

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

fn old_path(data_dir: &Path) -> PathBuf {
    data_dir.join("plimsoll/ledger.old")
}

/// The ledger of a node.
pub(crate) struct Ledger(Arc<Ground>);

impl Ledger {
    pub(crate) fn new(ground: &Arc<Ground>) -> Self {
        Self(ground.clone())
    }

    /// Records an event of this node; that it cannot be written is a warning in the log, which says the same.
    pub(crate) fn record(&self, event: &str, range: (Lsn, Lsn), reason: &str) {
        if let Err(error) = self.try_record(event, range, reason) {
            self.0.log.warning(format!("could not write plimsoll/ledger: {error}"));
        }
    }

    /// The same for who must not go on if it cannot be written.
    pub(crate) fn try_record(&self, event: &str, (after, upto): (Lsn, Lsn), reason: &str) -> io::Result<()> {
        let Ground { host, data_dir, log, .. } = &*self.0;
        let (at, event, reason) = (host.clock.now(), event.to_owned(), reason.to_owned());
        let entry = LedgerEntry { at, event, after, upto, reason };
        append(host, data_dir, log, self.0.config().ledger_size_bytes, &entry)
    }
}

/// Appends an entry, to a ledger of at most `size_bytes`; durable when it returns.
fn append(host: &Host, data_dir: &Path, log: &Log, size_bytes: u64, entry: &LedgerEntry) -> io::Result<()> {
    let path = path(data_dir);
    let mut new = !host.disk.exists(&path)?;
    let mut lines = String::new();
    if let Some(tail) = unended_line(host, &path)? {
        // One that lacks nothing but its end is whole.
        lines.push('\n');
        if parse(&tail).is_none() {
            let torn = torn(&tail, entry.at);
            log.warning(format!("plimsoll/ledger: {}", torn.reason));
            push_line(&mut lines, &torn);
        }
    }
    if !new && host.disk.open(&path, OpenMode::ReadWrite)?.len()? >= size_bytes / 2 {
        if let Some(forgotten) = forgotten(host, data_dir, entry.at)? {
            push_line(&mut lines, &forgotten);
        }
        // The torn line stays behind, at the end of the file that it is in.
        lines = lines.trim_start_matches('\n').to_owned();
        // Until the new file is there, a reader finds the older half alone.
        host.disk.rename(&path, &old_path(data_dir))?;
        new = true;
    }
    push_line(&mut lines, entry);
    let file = host.disk.open(&path, OpenMode::Create)?;
    file.write_all_at(lines.as_bytes(), file.len()?)?;
    file.sync()?;
    if new {
        host.disk.sync_dir(&data_dir.join("plimsoll"))?;
    }
    Ok(())
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

/// The entry for those of ledger.old, which is about to be replaced; None if there is none.
fn forgotten(host: &Host, data_dir: &Path, at: Timestamp) -> io::Result<Option<LedgerEntry>> {
    let gone = read_file(host, &old_path(data_dir))?;
    let (Some(first), Some(last)) = (gone.first(), gone.last()) else { return Ok(None) };
    let after = gone.iter().map(|entry| entry.after).min().unwrap_or_default();
    let upto = gone.iter().map(|entry| entry.upto).max().unwrap_or_default();
    let span = last.at.since(first.at).as_secs();
    let reason = format!(
        "plimsoll.ledger_size is reached: {} older entries went, of {span} seconds that ended {} seconds ago",
        gone.len(),
        at.since(last.at).as_secs()
    );
    Ok(Some(LedgerEntry { at, event: "forgotten".to_owned(), after, upto, reason }))
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

    const SIZE: u64 = 64 << 10;

    fn folder() -> (Host, tempfile::TempDir) {
        let (host, dir) = (Host::real(), tempfile::tempdir().unwrap());
        host.disk.create_dir_all(&dir.path().join("plimsoll")).unwrap();
        (host, dir)
    }
    fn log() -> Log {
        Log::new(Arc::new(|_| {}), Host::real().clock.clone())
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
            append(&host, dir.path(), &log(), SIZE, &entry(n)).unwrap();
        }
        assert_eq!(read_ledger(&host, dir.path()).unwrap(), [entry(0), entry(1), entry(2)]);
        let text = std::fs::read_to_string(path(dir.path())).unwrap();
        std::fs::write(path(dir.path()), text.replacen("0/1", "0/9", 1)).unwrap();
        assert_eq!(read_ledger(&host, dir.path()).unwrap(), [entry(1), entry(2)]);
    }

    #[test]
    fn after_a_torn_entry_the_next_one_stands_alone_and_the_loss_is_told() {
        let (host, dir) = folder();
        append(&host, dir.path(), &log(), SIZE, &entry(0)).unwrap();
        append(&host, dir.path(), &log(), SIZE, &entry(1)).unwrap();
        let whole = std::fs::read(path(dir.path())).unwrap();
        let second = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        // At each byte, and with the zeros that a file system leaves where it had no time to write.
        for (cut, zeros) in (second..whole.len()).flat_map(|cut| [(cut, 0), (cut, 3)]) {
            let torn = [&whole[..cut], &[0; 3][..zeros]].concat();
            std::fs::write(path(dir.path()), &torn).unwrap();
            append(&host, dir.path(), &log(), SIZE, &entry(2)).unwrap();
            append(&host, dir.path(), &log(), SIZE, &entry(3)).unwrap();
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
    fn a_torn_entry_at_the_end_of_a_full_ledger_is_told_in_the_next_one() {
        let (host, dir) = folder();
        let full = "x".repeat(SIZE as usize / 2);
        std::fs::write(path(dir.path()), full).unwrap();
        append(&host, dir.path(), &log(), SIZE, &entry(1)).unwrap();
        let kept = read_ledger(&host, dir.path()).unwrap();
        assert_eq!(kept.iter().map(|entry| entry.event.as_str()).collect::<Vec<_>>(), ["torn", "released"]);
        assert!(!std::fs::read_to_string(path(dir.path())).unwrap().starts_with('\n'));
    }

    #[test]
    fn the_ledger_keeps_within_its_size_and_says_what_it_forgot() {
        let (host, dir) = folder();
        const COUNT: u64 = 5000;
        for n in 0..COUNT {
            append(&host, dir.path(), &log(), SIZE, &entry(n)).unwrap();
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
        append(&host, dir.path(), &log(), SIZE, &long).unwrap();
        assert_eq!(read_ledger(&host, dir.path()).unwrap()[0].reason, "ö".repeat(500));
    }
}
