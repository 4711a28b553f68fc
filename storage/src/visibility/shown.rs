//! How far a standby has shown its log as confirmed, over restarts: plimsoll/confirmed, a
//! [`wal::PositionFile`] with the end of the last commit that a reader was shown as confirmed.
//!
//! It is written before a reader is given a snapshot that is further than the file says, once for all readers
//! who see the same prefix, and not synced: so it outlives the process, as the redone log does, and costs
//! no reader an fsync. After a power cut both may be shorter; then as much is shown as is there, until the
//! server before this one tells more.

use crate::Error;
use host::Host;
use host::Mutex;
use std::path::Path;
use wal::history::TimelineHistory;
use wal::{LogPosition, Lsn, PositionFile, TimelineId};

/// The file.
#[derive(Debug)]
pub(crate) struct Shown {
    file: PositionFile,
    last: Mutex<Option<LogPosition>>,
}

impl Shown {
    pub(crate) fn new(host: &Host, dir: &Path) -> Self {
        let file = PositionFile::new(host.disk.clone(), dir.join("plimsoll/confirmed"));
        Self { file, last: Mutex::default() }
    }

    /// A reader is about to be shown the log up to here, on this timeline.
    pub(crate) fn note(&self, timeline: TimelineId, upto: Lsn) -> Result<(), Error> {
        let mut last = self.last.lock();
        if last.is_some_and(|last| last.timeline == timeline && last.lsn >= upto) {
            return Ok(());
        }
        let position = LogPosition { timeline, lsn: upto };
        self.file.write(position).map_err(|error| Error::io("write file", self.file.path(), error))?;
        *last = Some(position);
        Ok(())
    }

    /// How far a log of this history was shown.
    pub(crate) fn recall(&self, history: &TimelineHistory) -> Result<Option<Lsn>, Error> {
        let found = self.file.read().map_err(|error| Error::io("read file", self.file.path(), error))?;
        Ok(found.and_then(|shown| shown.along(history)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simulation::VirtualDisk;

    #[test]
    fn what_was_shown_is_recalled_and_another_branch_counts_anew() {
        let disk = VirtualDisk::new();
        let host = simulation::host(&disk, 1);
        host.disk.create_dir_all(Path::new("/data/plimsoll")).unwrap();
        let shown = Shown::new(&host, Path::new("/data"));
        let first = TimelineHistory::root(TimelineId::FIRST);
        assert_eq!(shown.recall(&first).unwrap(), None);
        shown.note(TimelineId::FIRST, Lsn::new(500)).unwrap();
        shown.note(TimelineId::FIRST, Lsn::new(400)).unwrap();
        assert_eq!(shown.recall(&first).unwrap(), Some(Lsn::new(500)));
        let forked = TimelineHistory::parse(TimelineId::new(2), "1\t0/100\tno reason\n").unwrap();
        assert_eq!(shown.recall(&forked).unwrap(), Some(Lsn::new(0x100)));
        shown.note(TimelineId::new(2), Lsn::new(0x180)).unwrap();
        assert_eq!(shown.recall(&forked).unwrap(), Some(Lsn::new(0x180)));
    }
}
