//! Whether what is here already is what the primary has, and which of the two reasons it has if not: it is
//! another log, or the same one in a copy that cannot be read.
//!
//! The log itself tells: a record that can be read here, and is otherwise at the primary, is another log's,
//! and is never written over. What belongs to no such record says nothing: a record whose checksum is wrong,
//! a bad page header, the beginning of a record that never came whole, padding.

use super::running::Driver;
use crate::driver::log::{read_into, source_error};
use crate::error::ReplicaError;
use crate::receiver::Event;
use bytes::Bytes;
use std::ops::Range;
use wal::page::{PAGE_SIZE, PageFlags, header_size_at};
use wal::reader::SegmentFiles;
use wal::{Lsn, PageHeader, RawConfig, ReaderOptions, Record, SegmentSize, SourceError, WalReader};

/// What is here, compared with what the primary has.
pub(super) enum Compared {
    Same,
    /// It is not here any more.
    Gone,
    /// What differs cannot be read here.
    Unreadable(Range<Lsn>),
    /// It is another log.
    Another,
}

impl Driver {
    /// Compares `wal`, which the primary has at `at`, with what is here. What cannot be read here is replaced
    /// by it.
    pub(super) fn compare(&mut self, at: Lsn, wal: &Bytes) -> Result<Option<Event>, ReplicaError> {
        match self.look(at, wal)? {
            Compared::Same => {}
            // A restartpoint has removed it meanwhile.
            Compared::Gone => return Ok(None),
            Compared::Unreadable(part) => {
                self.mend(at, wal)?;
                self.context.observer.mended(&part);
            }
            Compared::Another => return Ok(Some(Event::Differs(at))),
        }
        // What is here counts by that.
        self.undrained = true;
        Ok(None)
    }

    /// Compares the same without changing anything.
    pub(super) fn look(&self, at: Lsn, wal: &[u8]) -> Result<Compared, ReplicaError> {
        let mut files = self.context.place.files(&self.context.log.state().history);
        let Some(ours) = read_here(&mut files, at, wal.len())? else { return Ok(Compared::Gone) };
        if ours == wal {
            return Ok(Compared::Same);
        }
        let mut places = differs(&ours, wal);
        let Some(first) = places.next() else { return Ok(Compared::Same) };
        let last = places.next_back().unwrap_or(first);
        let part = at + first as u64..at + last as u64 + 1;
        let size = self.context.place.segment_size;
        let mut lsn = last_start_before(&mut files, part.start, size)?;
        let mut reader = WalReader::new(files, ReaderOptions::new(size), lsn);
        while let Some(record) = reader.find_whole(lsn, part.end).map_err(source_error)? {
            if is_otherwise(&record, size, at, &ours, wal) {
                return Ok(Compared::Another);
            }
            lsn = record.end();
        }
        Ok(Compared::Unreadable(part))
    }

    /// Writes what the primary has over the files that were compared with it.
    fn mend(&self, mut at: Lsn, wal: &Bytes) -> Result<(), ReplicaError> {
        let place = &self.context.place;
        let mut files = place.files(&self.context.log.state().history);
        let mut rest = &wal[..];
        while !rest.is_empty() {
            let left = place.segment_size.bytes() - place.segment_size.offset_of(at);
            let (now, later) = rest.split_at(usize::try_from(left).unwrap_or(usize::MAX).min(rest.len()));
            if let Some(timeline) = files.file_before(at + 1).map_err(source_error)? {
                let config = RawConfig::new(timeline, place.segment_size);
                let config = RawConfig { fsync: self.context.fsync, ..config };
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

/// The places at which two pieces of log differ.
fn differs(ours: &[u8], theirs: &[u8]) -> impl DoubleEndedIterator<Item = usize> {
    ours.iter().zip(theirs).enumerate().filter(|(_, (ours, theirs))| ours != theirs).map(|(place, _)| place)
}

/// The bytes here, with zeros where files end early; None if there are none.
fn read_here(files: &mut SegmentFiles, at: Lsn, len: usize) -> Result<Option<Vec<u8>>, ReplicaError> {
    let mut bytes = vec![0; len];
    match read_into(files, at, &mut bytes) {
        Ok(_) => Ok(Some(bytes)),
        Err(SourceError::Missing { .. }) => Ok(None),
        Err(error) => Err(source_error(error)),
    }
}

/// A page from which on all records can be found that reach beyond `at`.
fn last_start_before(files: &mut SegmentFiles, at: Lsn, size: SegmentSize) -> Result<Lsn, ReplicaError> {
    let mut page = at.page_start();
    while page.get() > 0 {
        let header = read_here(files, page, header_size_at(page, size))?.unwrap_or_default();
        let Ok(header) = PageHeader::decode(&header) else { return Ok(page) };
        if header.address != page || !header.flags.has(PageFlags::CONTRECORD) {
            return Ok(page);
        }
        let begun = header.size() as u64 + u64::from(header.remaining);
        if page < at.page_start() && begun < PAGE_SIZE as u64 {
            return Ok(page);
        }
        page = page - PAGE_SIZE as u64;
    }
    Ok(page)
}

/// Whether a record has other bytes at the primary, as far as these are compared. Neither page headers nor
/// padding are a record's.
fn is_otherwise(record: &Record, size: SegmentSize, at: Lsn, ours: &[u8], theirs: &[u8]) -> bool {
    let place = |lsn: Lsn| usize::try_from(lsn.bytes_since(at)).unwrap_or(usize::MAX).min(ours.len());
    let (mut lsn, mut left) = (record.start(), u64::from(record.len()));
    while left > 0 {
        let page_end = lsn.page_start() + PAGE_SIZE as u64;
        let here = left.min(page_end.bytes_since(lsn));
        let part = place(lsn)..place(lsn + here);
        if ours.get(part.clone()) != theirs.get(part) {
            return true;
        }
        left -= here;
        lsn = page_end + header_size_at(page_end, size) as u64;
    }
    false
}
