//! A position of the log in a file of its own, which is overwritten in place.
//!
//! | bytes | contents                    |
//! |-------|-----------------------------|
//! | 8     | the position                |
//! | 4     | the timeline on which it is |
//! | 4     | CRC-32 of these             |
//!
//! It is written without a sync, so it outlives the process and costs a moment. After a power cut it may be
//! older than what was written last. A file that makes no sense says nothing.

use crate::history::TimelineHistory;
use crate::ids::{Lsn, TimelineId};
use host::{Disk, Mutex, OpenMode, SharedFile};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SIZE: usize = 16;

/// A place in the log and the timeline that it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPosition {
    /// The timeline.
    pub timeline: TimelineId,
    /// The place.
    pub lsn: Lsn,
}

impl LogPosition {
    /// How far a log of this history has what the log up to here has; None if the two have nothing to do with
    /// each other. What lies behind a fork is on no log of the history that goes another way there.
    pub fn along(self, history: &TimelineHistory) -> Option<Lsn> {
        let end = history.contains(self.timeline).then(|| history.end_of(self.timeline).ok().flatten())?;
        Some(end.map_or(self.lsn, |end| end.min(self.lsn)))
    }
}

/// The file.
#[derive(Debug)]
pub struct PositionFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    written: Mutex<Written>,
}

#[derive(Debug, Default)]
struct Written {
    file: Option<SharedFile>,
    last: Option<LogPosition>,
}

impl PositionFile {
    /// At this path.
    pub fn new(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Self { disk, path, written: Mutex::default() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `position`, unless it is what was written last.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn write(&self, position: LogPosition) -> io::Result<()> {
        let mut written = self.written.lock();
        if written.last == Some(position) {
            return Ok(());
        }
        let file = match &written.file {
            Some(file) => file.clone(),
            None => {
                let file = self.disk.open(&self.path, OpenMode::Create)?;
                if file.len()? > SIZE as u64 {
                    file.truncate(0)?;
                }
                file
            }
        };
        written.last = None;
        file.write_all_at(&encode(position), 0)?;
        (written.file, written.last) = (Some(file), Some(position));
        Ok(())
    }

    /// The same, durably, with the file's name.
    ///
    /// # Errors
    /// Fails if the file cannot be written or synced.
    pub fn write_durably(&self, position: LogPosition) -> io::Result<()> {
        self.write(position)?;
        let file = self.written.lock().file.clone();
        file.map_or(Ok(()), |file| file.sync())?;
        self.path.parent().map_or(Ok(()), |dir| self.disk.sync_dir(dir))
    }

    /// What it says.
    ///
    /// # Errors
    /// Fails if the file cannot be read.
    pub fn read(&self) -> io::Result<Option<LogPosition>> {
        match self.disk.read(&self.path, SIZE as u64) {
            Ok(bytes) => Ok(decode(&bytes)),
            // A longer one makes no sense either.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::FileTooLarge) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// From now on it says nothing.
    ///
    /// # Errors
    /// Fails if the file cannot be removed.
    pub fn remove(&self) -> io::Result<()> {
        *self.written.lock() = Written::default();
        match self.disk.remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed?,
        }
        self.path.parent().map_or(Ok(()), |dir| self.disk.sync_dir(dir))
    }
}

fn encode(position: LogPosition) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    bytes[..8].copy_from_slice(&position.lsn.get().to_le_bytes());
    bytes[8..12].copy_from_slice(&position.timeline.get().to_le_bytes());
    let crc = crc32fast::hash(&bytes[..12]);
    bytes[12..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<LogPosition> {
    let bytes: &[u8; SIZE] = bytes.try_into().ok()?;
    let lsn = Lsn::new(u64::from_le_bytes(*bytes.first_chunk()?));
    let timeline = TimelineId::new(u32::from_le_bytes(*bytes.get(8..)?.first_chunk()?));
    let position = LogPosition { timeline, lsn };
    (encode(position) == *bytes).then_some(position)
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::RealDisk;

    #[test]
    fn it_is_read_again_and_damage_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = PositionFile::new(Arc::new(RealDisk), dir.path().join("position"));
        assert_eq!(file.read().unwrap(), None);
        let position = LogPosition { timeline: TimelineId::new(2), lsn: Lsn::new(0x180) };
        file.write(LogPosition { lsn: Lsn::new(7), ..position }).unwrap();
        file.write_durably(position).unwrap();
        assert_eq!(file.read().unwrap(), Some(position));
        for at in 0..SIZE {
            let mut bad = encode(position);
            bad[at] ^= 4;
            std::fs::write(file.path(), bad).unwrap();
            assert_eq!(file.read().unwrap(), None, "byte {at}");
        }
        file.remove().unwrap();
        file.remove().unwrap();
        assert_eq!(file.read().unwrap(), None);
        file.write(position).unwrap();
        assert_eq!(file.read().unwrap(), Some(position), "made anew");
    }

    #[test]
    fn a_position_counts_along_its_own_history_up_to_the_fork() {
        let [first, second] = [1, 2].map(TimelineId::new);
        let at = |timeline, lsn| LogPosition { timeline, lsn: Lsn::new(lsn) };
        let root = TimelineHistory::root(first);
        let forked = TimelineHistory::parse(second, "1\t0/100\tno reason\n").unwrap();
        assert_eq!(at(first, 0x500).along(&root), Some(Lsn::new(0x500)));
        assert_eq!(at(first, 0x500).along(&TimelineHistory::root(second)), None);
        assert_eq!(at(first, 0x500).along(&forked), Some(Lsn::new(0x100)));
        assert_eq!(at(second, 0x180).along(&forked), Some(Lsn::new(0x180)));
    }
}
