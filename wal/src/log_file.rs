//! The log as a file that grows at its end, over the borders of segments.
//!
//! Used by the primary's writer and the standby's, so both leave the same bytes:
//! - The first write to a page covers the whole page, zeros behind its bytes. So in a recycled segment the
//!   log's end is always followed by zeros, and no page has to be read before it is written.
//! - A finished segment is made durable before the next one gets its first byte. So after a crash whatever
//!   lies behind the log's end lies in one segment, but for a record that reaches into later ones and is not
//!   whole there. [`LogFile::open`] and [`LogFile::wipe_later`] wipe it before a new record could end where
//!   an old one starts, or an old page prove what is new.

use crate::error::{WalError, WalOperation};
use crate::ids::{Lsn, SegmentNumber, TimelineId};
use crate::page::{LONG_HEADER_SIZE, PAGE_SIZE, PageHeader};
use crate::segments::{SegmentFolder, ZEROS};
use host::SharedFile;
use std::io;
use std::sync::Arc;

const PAGE: u64 = PAGE_SIZE as u64;
/// Bytes that are copied to be written together with the zeros behind them.
const COPIED_BYTES_MAX: usize = 64 << 10;

/// The end of the log on disk. Not thread-safe: its owner holds it under a lock.
#[derive(Debug)]
pub(crate) struct LogFile {
    folder: SegmentFolder,
    timeline: TimelineId,
    /// Where the next byte goes.
    at: Lsn,
    /// Up to here the file has its bytes or zeros written by us (a page's end).
    padded_to: Lsn,
    current: Option<Current>,
    /// Memory for bytes and the zeros behind them, to be written together.
    padded: Vec<u8>,
    /// Whether something was written since the last sync.
    dirty: bool,
    /// Whether syncs happen at all (the setting fsync).
    pub(crate) sync_enabled: bool,
    pub(crate) counters: Counters,
}

#[derive(Debug)]
struct Current {
    segment: SegmentNumber,
    file: SharedFile,
}

/// Calls to the system so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) writes: u64,
    pub(crate) syncs: u64,
}

impl LogFile {
    /// The log that ends at `at`. In the middle of a segment, the segment must be there with the page that
    /// holds `at`; what lies behind `at` from a former life is overwritten with zeros, durably.
    pub(crate) fn open(
        folder: SegmentFolder,
        timeline: TimelineId,
        at: Lsn,
        sync: bool,
    ) -> Result<Self, WalError> {
        let mut log = Self::open_fresh(folder, timeline, at, sync)?;
        if let Some(Current { file, .. }) = &log.current
            && !host::planted!("what lies behind the log's end is not wiped")
        {
            let file = file.clone();
            log.wipe_behind(&file)?;
        }
        log.sync()?;
        Ok(log)
    }

    /// The same where no former life has left anything behind the log's end: a segment that was made for it.
    pub(crate) fn open_fresh(
        folder: SegmentFolder,
        timeline: TimelineId,
        at: Lsn,
        sync: bool,
    ) -> Result<Self, WalError> {
        let mut log = Self::over(folder, timeline, at, at, sync);
        let size = log.folder.segment_size();
        let segment = size.segment_of(at);
        if size.offset_of(at) == 0 && !log.folder.exists(timeline, segment)? {
            return Ok(log);
        }
        let file = log.folder.open(timeline, segment)?;
        log.check_page(&file)?;
        if log.at.page_offset() != 0 {
            log.padded_to = log.at.page_start() + PAGE;
        }
        log.current = Some(Current { segment, file });
        Ok(log)
    }

    /// The log from `at` on, of which the bytes up to `upto` are there already and are written over: what
    /// lies behind stays as it is.
    pub(crate) fn over(folder: SegmentFolder, timeline: TimelineId, at: Lsn, upto: Lsn, sync: bool) -> Self {
        Self {
            folder,
            timeline,
            at,
            padded_to: upto,
            current: None,
            padded: Vec::new(),
            dirty: false,
            sync_enabled: sync,
            counters: Counters::default(),
        }
    }

    /// Overwrites what a former life left in segments behind the one in which the log ends at `at`: the rest
    /// of a record, and what followed it. The last segment comes first, since a later one proves those before
    /// it.
    pub(crate) fn wipe_later(
        folder: &SegmentFolder,
        timeline: TimelineId,
        at: Lsn,
        sync: bool,
    ) -> Result<(), WalError> {
        let size = folder.segment_size();
        let mut begun = Vec::new();
        let mut segment = size.segment_of(at).next();
        while folder.exists(timeline, segment)? {
            let mut header = [0; LONG_HEADER_SIZE];
            let read = folder.open(timeline, segment)?.read_exact_at(&mut header, 0);
            read.map_err(|cause| {
                WalError::from_io(WalOperation::Read, &folder.path(timeline, segment), cause)
            })?;
            begun.push(segment);
            // Its later pages may have come to the disk without this one, and nothing of those behind it has:
            // a segment is durable before the next one is written.
            if !is_stale(&header, size.start_of(segment)) {
                break;
            }
            segment = segment.next();
        }
        for segment in begun.into_iter().rev() {
            Self::open(folder.clone(), timeline, size.start_of(segment), sync)?;
        }
        Ok(())
    }

    /// Where the next byte goes.
    pub(crate) fn at(&self) -> Lsn {
        self.at
    }
    pub(crate) fn folder(&self) -> &SegmentFolder {
        &self.folder
    }

    /// Writes bytes at the end.
    pub(crate) fn append(&mut self, mut bytes: &[u8]) -> Result<(), WalError> {
        while !bytes.is_empty() {
            let left = self.left_in_segment();
            let take = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let (now, later) = bytes.split_at(take);
            self.append_in_segment(now)?;
            bytes = later;
        }
        Ok(())
    }

    /// Writes `len` zeros at the end.
    pub(crate) fn append_zeros(&mut self, mut len: u64) -> Result<(), WalError> {
        while len > 0 {
            let take = len.min(ZEROS.len() as u64);
            self.append(ZEROS.get(..usize::try_from(take).unwrap_or(0)).unwrap_or_default())?;
            len -= take;
        }
        Ok(())
    }

    /// Makes everything written durable.
    pub(crate) fn sync(&mut self) -> Result<(), WalError> {
        if !self.dirty {
            return Ok(());
        }
        if self.sync_enabled
            && !host::planted!("the log is not synced")
            && let Some(current) = &self.current
        {
            self.counters.syncs += 1;
            current.file.sync().map_err(|cause| self.failed(WalOperation::Sync, current.segment, cause))?;
        }
        self.dirty = false;
        Ok(())
    }

    /// Goes on on another timeline from here. The segment of that timeline begins with the bytes of this one.
    pub(crate) fn switch_timeline(&mut self, to: TimelineId) -> Result<(), WalError> {
        self.sync()?;
        self.folder.copy_prefix(self.timeline, to, self.at)?;
        self.timeline = to;
        self.current = None;
        Ok(())
    }

    /// The file that has what a sync now would make durable, for a sync outside of the owner's lock; None if
    /// there is nothing to sync. It counts as synced from now on: whoever fails to do so must write nothing
    /// more.
    pub(crate) fn take_dirty(&mut self) -> Option<(SharedFile, SegmentNumber)> {
        let dirty = std::mem::take(&mut self.dirty) && self.sync_enabled;
        let current = self.current.as_ref().filter(|_| dirty)?;
        self.counters.syncs += 1;
        Some((current.file.clone(), current.segment))
    }

    /// The error of a sync that failed.
    pub(crate) fn sync_failed(&self, segment: SegmentNumber, cause: io::Error) -> WalError {
        self.failed(WalOperation::Sync, segment, cause)
    }

    fn left_in_segment(&self) -> u64 {
        let size = self.folder.segment_size();
        size.bytes() - size.offset_of(self.at)
    }

    /// Writes bytes that end in this segment. A page is written whole the first time that one ends inside it.
    fn append_in_segment(&mut self, bytes: &[u8]) -> Result<(), WalError> {
        let end = self.at + bytes.len() as u64;
        if end.page_offset() != 0 && end > self.padded_to {
            // `at` lies on an earlier page or starts this one: a page that was begun is padded.
            // With the last pages copied, one call writes all that a commit or a small group has.
            let copied = bytes.len().min(COPIED_BYTES_MAX).max(end.page_offset().min(bytes.len()));
            let (whole, last) = bytes.split_at(bytes.len() - copied);
            self.write(whole)?;
            let mut padded = std::mem::take(&mut self.padded);
            padded.clear();
            padded.extend_from_slice(last);
            padded.resize(last.len() + PAGE_SIZE - end.page_offset(), 0);
            let written = self.write(&padded);
            self.padded = padded;
            written?;
            self.padded_to = self.at;
            self.at = end;
        } else {
            self.write(bytes)?;
        }
        if self.folder.segment_size().offset_of(self.at) == 0 {
            // Full: durable before the next one gets its first byte.
            if !host::planted!("a full segment is left without a sync") {
                self.sync()?;
            }
            self.current = None;
        }
        Ok(())
    }

    /// Writes bytes of one segment at the end and moves the end behind them.
    fn write(&mut self, bytes: &[u8]) -> Result<(), WalError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let size = self.folder.segment_size();
        let (segment, offset) = (size.segment_of(self.at), size.offset_of(self.at));
        let file = self.segment_file(segment)?;
        self.counters.writes += 1;
        file.write_all_at(bytes, offset).map_err(|cause| self.failed(WalOperation::Write, segment, cause))?;
        self.dirty = true;
        self.at = self.at + bytes.len() as u64;
        Ok(())
    }

    /// The file of the segment that is written; opened, and made if need be, when its first byte comes.
    fn segment_file(&mut self, segment: SegmentNumber) -> Result<SharedFile, WalError> {
        if let Some(current) = &self.current
            && current.segment == segment
        {
            return Ok(current.file.clone());
        }
        self.folder.create(self.timeline, segment)?;
        let file = self.folder.open(self.timeline, segment)?;
        self.current = Some(Current { segment, file: file.clone() });
        Ok(file)
    }

    /// Whether the end lies where a page begins, or on one that is the log's.
    pub(crate) fn is_on_page(&mut self) -> Result<bool, WalError> {
        if self.at.page_offset() == 0 {
            return Ok(true);
        }
        let file = self.segment_file(self.folder.segment_size().segment_of(self.at))?;
        match self.check_page(&file) {
            Err(WalError::BadStart { .. }) => Ok(false),
            checked => checked.map(|()| true),
        }
    }

    /// In the middle of a page, that page must be the log's.
    fn check_page(&self, file: &SharedFile) -> Result<(), WalError> {
        let (size, page) = (self.folder.segment_size(), self.at.page_start());
        if self.at == page {
            return Ok(());
        }
        let mut header = [0; LONG_HEADER_SIZE];
        let segment = size.segment_of(page);
        file.read_exact_at(&mut header, size.offset_of(page))
            .map_err(|cause| self.failed(WalOperation::Read, segment, cause))?;
        match PageHeader::decode(&header) {
            Ok(found) if found.address == page => Ok(()),
            _ => Err(WalError::BadStart { at: self.at, why: "its page is not part of the log" }),
        }
    }

    /// Overwrites what a former life left behind the end of the log in this segment: the rest of the last
    /// page, and pages that claim to be the ones that will come here. Pages of a recycled segment carry other
    /// addresses and may stay.
    fn wipe_behind(&mut self, file: &SharedFile) -> Result<(), WalError> {
        let size = self.folder.segment_size();
        let segment = size.segment_of(self.at);
        let segment_end = size.start_of(segment) + size.bytes();
        let mut buffer = vec![0; 16 * PAGE_SIZE];
        let mut at = self.at;
        while at < segment_end {
            let block_end = segment_end.min(at.page_start() + buffer.len() as u64);
            let len = usize::try_from(block_end.bytes_since(at)).unwrap_or(0);
            let block = buffer.get_mut(..len).unwrap_or_default();
            file.read_exact_at(block, size.offset_of(at))
                .map_err(|cause| self.failed(WalOperation::Read, segment, cause))?;
            let mut rest: &[u8] = block;
            while !rest.is_empty() {
                let (page, later) = rest.split_at(rest.len().min(PAGE_SIZE - at.page_offset()));
                if is_stale(page, at) {
                    let zeros = ZEROS.get(..page.len()).unwrap_or_default();
                    file.write_all_at(zeros, size.offset_of(at))
                        .map_err(|cause| self.failed(WalOperation::Write, segment, cause))?;
                    self.dirty = true;
                }
                at = at + page.len() as u64;
                rest = later;
            }
        }
        Ok(())
    }

    /// An error after which the log's end on disk is not known.
    fn failed(&self, operation: WalOperation, segment: SegmentNumber, cause: io::Error) -> WalError {
        let path = self.folder.path(self.timeline, segment);
        WalError::Failed { operation, path, cause: Arc::new(cause) }
    }
}

/// Whether bytes at `at` (from the log's end to its page's end, or a whole later page) could be taken for the
/// log's.
pub(crate) fn is_stale(page: &[u8], at: Lsn) -> bool {
    if at.page_offset() != 0 {
        return page.iter().any(|byte| *byte != 0);
    }
    PageHeader::decode(page).is_ok_and(|found| found.address == at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{SegmentSize, SystemId};
    use crate::page::PageFlags;

    #[test]
    fn stale_is_any_byte_on_the_page_of_the_end_and_later_only_a_page_that_says_it_belongs_there() {
        let start = Lsn::new(5 << 20);
        for (bytes, stale) in [(&[0, 0, 0], false), (&[0, 0, 7], true), (&[7, 8, 9], true)] {
            assert_eq!(is_stale(bytes, start + 1000), stale, "{bytes:?}");
        }
        let page = start + PAGE_SIZE as u64;
        let size = SegmentSize::new(1 << 20).unwrap();
        let header = PageHeader::new(page, TimelineId::FIRST, PageFlags::NONE, 0, SystemId::new(1), size);
        let mut bytes = header.encode().to_vec();
        bytes.resize(PAGE_SIZE, 7);
        assert!(is_stale(&bytes, page));
        assert!(!is_stale(&bytes, page + PAGE_SIZE as u64), "from before the segment was recycled");
        assert!(!is_stale(&[7; PAGE_SIZE], page));
        assert!(!is_stale(&[0; PAGE_SIZE], page));
    }
}
