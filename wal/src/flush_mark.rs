//! plimsoll/flushed, a [`PositionFile`]: up to there the log that this node writes as a primary was durable.
//!
//! Whoever made it so writes the file, behind those who wait for the flush. It is not synced, so it costs a
//! moment and outlives the process; after a power cut it may say less. A crashed primary's log that ends
//! before it is damaged, also where nothing behind its end and no page tells of more: whole segments may be
//! gone. It is node-local, left out of backups, and dropped when the directory is rewound.

use crate::history::TimelineHistory;
use crate::ids::{Lsn, TimelineId};
use crate::position_file::{LogPosition, PositionFile};
use host::{Disk, Mutex};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where it lies in a data directory.
pub const FLUSHED_FILE: &str = "plimsoll/flushed";

/// The file of a log that is written.
#[derive(Debug)]
pub(crate) struct FlushMark {
    file: PositionFile,
    timeline: TimelineId,
    last: Mutex<Lsn>,
}

impl FlushMark {
    /// For a log that is written from `at` on. What the file has said of another log with this timeline's
    /// number, of a promotion that was taken back say, counts no more.
    ///
    /// # Errors
    /// Fails if the file says too much, and cannot be replaced.
    pub(crate) fn begin(
        disk: Arc<dyn Disk>,
        path: PathBuf,
        timeline: TimelineId,
        at: Lsn,
    ) -> io::Result<Self> {
        let (file, now) = (PositionFile::new(disk, path), LogPosition { timeline, lsn: at });
        if file.read()?.is_some_and(|before| before.timeline == timeline && before.lsn > at) {
            file.write_durably(now)?;
        }
        Ok(Self { file, timeline, last: Mutex::new(Lsn::INVALID) })
    }

    /// The log is durable up to here. What the disk does not take proves less.
    pub(crate) fn note(&self, upto: Lsn) {
        let mut last = self.last.lock();
        // Who leads the next flush may have been here before.
        if upto > *last {
            *last = upto;
            let _ = self.file.write(LogPosition { timeline: self.timeline, lsn: upto });
        }
    }
}

/// Has a directory's file say nothing: it is of another node, or of a state of before.
///
/// # Errors
/// Fails if the file cannot be removed.
pub fn forget_own_flush(disk: Arc<dyn Disk>, data_dir: &Path) -> io::Result<()> {
    PositionFile::new(disk, data_dir.join(FLUSHED_FILE)).remove()
}

/// Up to where the log of a primary's directory was durable, as far as its file tells of this history.
///
/// # Errors
/// Fails if the file cannot be read.
pub fn own_flush(disk: Arc<dyn Disk>, data_dir: &Path, history: &TimelineHistory) -> io::Result<Lsn> {
    let file = PositionFile::new(disk, data_dir.join(FLUSHED_FILE));
    Ok(file.read()?.and_then(|flushed| flushed.along(history)).unwrap_or(Lsn::INVALID))
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::RealDisk;

    #[test]
    fn it_moves_on_alone_and_begins_anew_where_another_log_had_its_timelines_number() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("plimsoll")).unwrap();
        let history = |text: &str, timeline| TimelineHistory::parse(TimelineId::new(timeline), text).unwrap();
        let told = |history| own_flush(Arc::new(RealDisk), dir.path(), &history).unwrap();
        let begin = |timeline, at| {
            let path = dir.path().join(FLUSHED_FILE);
            FlushMark::begin(Arc::new(RealDisk), path, TimelineId::new(timeline), Lsn::new(at)).unwrap()
        };
        assert_eq!(told(history("", 1)), Lsn::INVALID);
        let mark = begin(1, 0x100);
        assert_eq!(told(history("", 1)), Lsn::INVALID);
        mark.note(Lsn::new(0x300));
        mark.note(Lsn::new(0x200));
        assert_eq!(told(history("", 1)), Lsn::new(0x300));
        assert_eq!(told(history("1\t0/180\twhy\n", 2)), Lsn::new(0x180));
        begin(2, 0x180).note(Lsn::new(0x400));
        assert_eq!(told(history("1\t0/180\twhy\n", 2)), Lsn::new(0x400));
        assert_eq!(told(history("", 1)), Lsn::INVALID, "of a log that is not this one's");
        drop(begin(2, 0x200));
        assert_eq!(told(history("1\t0/200\twhy\n", 2)), Lsn::new(0x200));
    }
}
