//! What the ledger of a server's directory has.

use host::Disk;
use simulation::VirtualDisk;
use std::path::Path;
use wal::Lsn;

/// No ledger of a run is larger.
const FILE_MAX: u64 = 1 << 20;

/// What an entry has, or what a line of the server's log tells. A position that a line does not tell is None.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The event's name.
    pub event: String,
    /// What it tells of lies behind this position.
    pub after: Option<Lsn>,
    /// The end of what it tells of.
    pub upto: Option<Lsn>,
    /// Why; of a line its beginning.
    pub reason: String,
}

impl Entry {
    /// The entry of a ledger's line.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(6, ' ').skip(2);
        let event = words.next()?.to_owned();
        let (after, upto) = (words.next()?.parse().ok(), words.next()?.parse().ok());
        Some(Self { event, after, upto, reason: words.next().unwrap_or_default().to_owned() })
    }
}

/// The entries of a server's ledger.
pub fn entries(files: &VirtualDisk, data: &Path) -> Vec<Entry> {
    let folder = data.join("plimsoll");
    let texts =
        ["ledger.old", "ledger"].map(|name| files.read(&folder.join(name), FILE_MAX).unwrap_or_default());
    let entries = |text: &Vec<u8>| {
        let text = String::from_utf8_lossy(text);
        text.lines().filter_map(Entry::parse).collect::<Vec<_>>()
    };
    texts.iter().flat_map(entries).collect()
}

/// What a server has cut off its log: behind which position, up to which.
pub(super) fn cuts(files: &VirtualDisk, data: &Path) -> impl Iterator<Item = (Lsn, Lsn)> {
    let cuts = entries(files, data).into_iter().filter(|entry| entry.event == "cut");
    cuts.filter_map(|entry| entry.after.zip(entry.upto))
}
