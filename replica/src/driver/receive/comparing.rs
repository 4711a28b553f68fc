//! What is here already, compared with what the primary has, which mends what cannot be read here.

use super::running::Driver;
use crate::driver::log::source_error;
use crate::error::ReplicaError;
use crate::receiver::Event;
use bytes::Bytes;
use wal::reader::{Compared, SegmentFiles};
use wal::{Lsn, RawConfig, ReaderOptions, SegmentSize, WalReader};

impl Driver {
    /// Compares `wal`, which the primary has at `at`, with what is here. What cannot be read here is replaced
    /// by it.
    pub(super) fn compare(&mut self, at: Lsn, wal: &Bytes) -> Result<Option<Event>, ReplicaError> {
        match self.look(at, wal)? {
            Compared::Same => {}
            // A restartpoint has removed it meanwhile.
            Compared::Gone => return Ok(None),
            Compared::Alike { bytes, taken } => {
                if let Some(part) = taken {
                    self.mend(at, &bytes)?;
                    self.context.observer.mended(&part);
                }
            }
            Compared::Another(_) => return Ok(Some(Event::Differs(at))),
        }
        // What is here counts by that.
        self.undrained = true;
        Ok(None)
    }

    /// Compares the same without changing anything.
    pub(super) fn look(&self, at: Lsn, wal: &[u8]) -> Result<Compared, ReplicaError> {
        let files = self.context.place.files(&self.context.log.state().history);
        files.compare(at, wal).map_err(source_error)
    }

    /// Writes what the primary has over the files that were compared with it.
    fn mend(&self, mut at: Lsn, wal: &[u8]) -> Result<(), ReplicaError> {
        let place = &self.context.place;
        let mut files = place.files(&self.context.log.state().history);
        let mut rest = wal;
        while !rest.is_empty() {
            let left = place.segment_size.bytes() - place.segment_size.offset_of(at);
            let (now, later) = rest.split_at(usize::try_from(left).unwrap_or(usize::MAX).min(rest.len()));
            if let Some(timeline) = files.file_before(at + 1).map_err(source_error)? {
                let config = RawConfig::new(timeline, place.segment_size);
                let config = RawConfig { fsync: self.settings.fsync, ..config };
                wal::raw_writer::mend(&self.context.host, &place.pg_wal, &config, at, now)?;
            }
            (at, rest) = (at + now.len() as u64, later);
        }
        Ok(())
    }
}

/// The end of the last whole record below `upto`, whatever cannot be read from `from` on before it; `from` if
/// there is none.
pub(super) fn whole_end(
    files: SegmentFiles,
    size: SegmentSize,
    from: Lsn,
    upto: Lsn,
) -> Result<Lsn, ReplicaError> {
    let mut reader = WalReader::new(files, ReaderOptions::new(size), from);
    let mut end = from;
    while let Some(record) = reader.find_whole(end, upto).map_err(source_error)?
        && record.end() <= upto
    {
        end = record.end();
    }
    Ok(end)
}
