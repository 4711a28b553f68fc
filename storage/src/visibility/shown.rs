//! How far a standby has shown its log as confirmed, over restarts: plimsoll/confirmed.
//!
//! | bytes | contents                                                             |
//! |-------|----------------------------------------------------------------------|
//! | 8     | the end of the last commit that a reader was shown as confirmed       |
//! | 4     | the timeline on which that is                                        |
//! | 4     | CRC-32 of these                                                      |
//!
//! It is written before a reader is given a snapshot that is further than the file says, once for all readers
//! who see the same prefix, and not synced: so it outlives the process, as the redone log does, and costs
//! no reader an fsync. After a power cut both may be shorter; then as much is shown as is there, until the
//! server before this one tells more.

use crate::Error;
use host::Mutex;
use host::{Host, OpenMode, SharedFile};
use std::io;
use std::path::{Path, PathBuf};
use wal::history::TimelineHistory;
use wal::{Lsn, TimelineId};

const SIZE: usize = 16;

/// The file.
#[derive(Debug)]
pub(crate) struct Shown {
    host: Host,
    path: PathBuf,
    written: Mutex<Written>,
}

#[derive(Debug, Default)]
struct Written {
    file: Option<SharedFile>,
    last: Option<(TimelineId, Lsn)>,
}

impl Shown {
    pub(crate) fn new(host: &Host, dir: &Path) -> Self {
        Self { host: host.clone(), path: dir.join("plimsoll/confirmed"), written: Mutex::default() }
    }

    /// A reader is about to be shown the log up to here, on this timeline.
    pub(crate) fn note(&self, timeline: TimelineId, upto: Lsn) -> Result<(), Error> {
        let mut written = self.written.lock();
        if written.last.is_some_and(|(last, shown)| last == timeline && shown >= upto) {
            return Ok(());
        }
        let failed = |error: io::Error| Error::io("write file", &self.path, error);
        let file = match &written.file {
            Some(file) => file.clone(),
            None => self.host.disk.open(&self.path, OpenMode::Create).map_err(failed)?,
        };
        file.write_all_at(&encode(timeline, upto), 0).map_err(failed)?;
        (written.file, written.last) = (Some(file), Some((timeline, upto)));
        Ok(())
    }

    /// How far a log of this history was shown; a file that makes no sense says nothing.
    pub(crate) fn recall(&self, history: &TimelineHistory) -> Result<Option<Lsn>, Error> {
        let bytes = match self.host.disk.read(&self.path, SIZE as u64) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read file", &self.path, error)),
        };
        let Some((timeline, upto)) = decode(&bytes).filter(|(timeline, _)| history.contains(*timeline))
        else {
            return Ok(None);
        };
        // What was shown behind a fork is on no log of this history.
        let end = history.end_of(timeline).ok().flatten();
        Ok(Some(end.map_or(upto, |end| end.min(upto))))
    }
}

fn encode(timeline: TimelineId, upto: Lsn) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    bytes[..8].copy_from_slice(&upto.get().to_le_bytes());
    bytes[8..12].copy_from_slice(&timeline.get().to_le_bytes());
    let crc = crc32fast::hash(&bytes[..12]);
    bytes[12..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<(TimelineId, Lsn)> {
    let bytes: &[u8; SIZE] = bytes.try_into().ok()?;
    let upto = u64::from_le_bytes(*bytes.first_chunk()?);
    let timeline = u32::from_le_bytes(*bytes.get(8..)?.first_chunk()?);
    (encode(TimelineId::new(timeline), Lsn::new(upto)) == *bytes)
        .then(|| (TimelineId::new(timeline), Lsn::new(upto)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use simulation::VirtualDisk;

    #[test]
    fn it_is_recalled_on_its_own_history_only_and_damage_says_nothing() {
        let disk = VirtualDisk::new();
        let host = simulation::host(&disk, 1);
        host.disk.create_dir_all(Path::new("/data/plimsoll")).unwrap();
        let shown = Shown::new(&host, Path::new("/data"));
        let first = TimelineHistory::root(TimelineId::FIRST);
        assert_eq!(shown.recall(&first).unwrap(), None);
        shown.note(TimelineId::FIRST, Lsn::new(500)).unwrap();
        shown.note(TimelineId::FIRST, Lsn::new(400)).unwrap();
        assert_eq!(shown.recall(&first).unwrap(), Some(Lsn::new(500)));
        let other = TimelineHistory::root(TimelineId::new(2));
        assert_eq!(shown.recall(&other).unwrap(), None);
        let forked = TimelineHistory::parse(TimelineId::new(2), "1\t0/100\tno reason\n").unwrap();
        assert_eq!(shown.recall(&forked).unwrap(), Some(Lsn::new(0x100)));
        shown.note(TimelineId::new(2), Lsn::new(0x180)).unwrap();
        assert_eq!(shown.recall(&forked).unwrap(), Some(Lsn::new(0x180)), "another branch counts anew");
        let file = host.disk.open(&shown.path, OpenMode::ReadWrite).unwrap();
        for at in 0..SIZE as u64 {
            let whole = encode(TimelineId::new(2), Lsn::new(0x180));
            let mut bad = whole;
            bad[usize::try_from(at).unwrap()] ^= 4;
            file.write_all_at(&bad, 0).unwrap();
            assert_eq!(shown.recall(&forked).unwrap(), None, "byte {at}");
        }
    }
}
