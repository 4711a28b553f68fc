//! The node's own record of what it gave up: commits released without their confirmation, standbys fallen back from,
//! slots invalidated. One line an event, appended durably to plimsoll/ledger; never shortened by the server.
//!
//! | column | contents                                                     |
//! |--------|--------------------------------------------------------------|
//! | 1      | CRC-32 of the rest of the line, 8 hexadecimal digits         |
//! | 2      | time, microseconds since 2000-01-01 UTC                      |
//! | 3      | event, one word                                              |
//! | 4, 5   | positions in the log: after the first, up to the second      |
//! | 6      | why, to the end of the line                                  |

use host::{Host, OpenMode, Timestamp};
use std::io;
use std::path::{Path, PathBuf};
use wal::Lsn;

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

/// Appends an entry; durable when it returns.
pub(crate) fn append(host: &Host, data_dir: &Path, entry: &LedgerEntry) -> io::Result<()> {
    let path = path(data_dir);
    let new = !host.disk.exists(&path)?;
    let file = host.disk.open(&path, OpenMode::Create)?;
    let reason = entry.reason.replace(['\n', '\r'], " ");
    let rest = format!("{} {} {} {} {reason}", entry.at.micros(), entry.event, entry.after, entry.upto);
    let line = format!("{:08x} {rest}\n", crc32fast::hash(rest.as_bytes()));
    file.write_all_at(line.as_bytes(), file.len()?)?;
    file.sync()?;
    if new {
        host.disk.sync_dir(&data_dir.join("plimsoll"))?;
    }
    Ok(())
}

/// Reads the entries; a line that is damaged (a torn last one, say) is left out.
pub fn read_ledger(host: &Host, data_dir: &Path) -> io::Result<Vec<LedgerEntry>> {
    let text = match host.disk.read(&path(data_dir), 64 << 20) {
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

    #[test]
    fn entries_come_back_and_a_damaged_line_is_left_out() {
        let dir = std::env::temp_dir().join(format!("plimsoll-ledger-{}", std::process::id()));
        let host = Host::real();
        host.disk.create_dir_all(&dir.join("plimsoll")).unwrap();
        let entry = |n: u64| LedgerEntry {
            at: Timestamp::from_micros(7),
            event: "released".into(),
            after: Lsn::new(n),
            upto: Lsn::new(n + 1),
            reason: "no answer in 30 s".into(),
        };
        assert_eq!(read_ledger(&host, &dir).unwrap(), []);
        for n in 0..3 {
            append(&host, &dir, &entry(n)).unwrap();
        }
        assert_eq!(read_ledger(&host, &dir).unwrap(), [entry(0), entry(1), entry(2)]);
        let text = std::fs::read_to_string(path(&dir)).unwrap();
        std::fs::write(path(&dir), text.replacen("0/1", "0/9", 1)).unwrap();
        assert_eq!(read_ledger(&host, &dir).unwrap(), [entry(1), entry(2)]);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
