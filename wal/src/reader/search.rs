//! Finding whole records in a log that cannot be read from one to the next.

use super::walk::{Stop, WalReader};
use super::{SourceError, WalSource};
use crate::ids::Lsn;
use crate::page::{PAGE_SIZE, header_size_at, record_end};
use crate::record::{RECORD_HEADER_SIZE, Record};
use bytes::Bytes;

impl<S: WalSource> WalReader<S> {
    /// The first whole record that starts at or after `from` and below `upto`, whatever cannot be read before
    /// it, or is not there. One that lies on one page counts even if that page's header is bad. The reader
    /// has no position afterwards.
    ///
    /// # Errors
    /// Fails if the bytes cannot be read.
    pub fn find_whole(&mut self, from: Lsn, upto: Lsn) -> Result<Option<Record>, SourceError> {
        let size = self.options.segment_size;
        let mut page = from.page_start();
        while page < upto {
            let bytes = self.whole_page(page)?;
            let first = header_size_at(page, size);
            let begin = if from > page { from.aligned().bytes_since(page) } else { 0 };
            let begin = usize::try_from(begin).unwrap_or(PAGE_SIZE).max(first);
            for offset in (begin..bytes.len()).step_by(8) {
                let at = page + offset as u64;
                if at >= upto {
                    return Ok(None);
                }
                if !self.may_begin(bytes.get(offset..).unwrap_or_default()) {
                    continue;
                }
                let rest = bytes.slice(offset..);
                if let Some(record) = self.whole_at(at, &rest)? {
                    return Ok(Some(record));
                }
            }
            page = page + PAGE_SIZE as u64;
        }
        Ok(None)
    }

    /// Whether a record can begin with these bytes, by its length.
    fn may_begin(&self, bytes: &[u8]) -> bool {
        (RECORD_HEADER_SIZE as u32..=self.options.record_size_max).contains(&length_of(bytes))
    }

    /// The record that starts at `at`, with the bytes from there to the page's end, if it is whole.
    fn whole_at(&mut self, at: Lsn, bytes: &Bytes) -> Result<Option<Record>, SourceError> {
        let length = length_of(bytes);
        let on_page = usize::try_from(length).ok().filter(|length| *length <= bytes.len());
        let record = match on_page {
            Some(length) => {
                let end = record_end(at, length as u32, self.options.segment_size);
                Record::decode(at, end, bytes.slice(..length)).ok()
            }
            None => {
                self.seek(at, None);
                match self.read_record() {
                    Ok(record) => Some(record),
                    Err(Stop::Source(error @ SourceError::Io { .. })) => return Err(error),
                    Err(_) => None,
                }
            }
        };
        Ok(record.filter(|record| record.previous() < at))
    }

    /// The bytes of a page, as far as they are there.
    fn whole_page(&mut self, page: Lsn) -> Result<Bytes, SourceError> {
        let (mut bytes, mut done) = (vec![0; PAGE_SIZE], 0);
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.source.read(page + done as u64, rest) {
                Ok(0) | Err(SourceError::Missing { .. }) => break,
                Ok(got) => done += got,
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(done);
        Ok(bytes.into())
    }
}

/// The length that a record has which begins with these bytes.
fn length_of(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |length| u32::from_le_bytes(*length))
}
