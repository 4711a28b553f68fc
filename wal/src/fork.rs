//! The segment in which a timeline begins that forks off in the middle of one.
//!
//! It has what its parent wrote there up to the switch. Where nothing lies behind that, it is a second name
//! of the parent's file: all of it is durable already, and the first write waits for no copy. From then on
//! the two timelines share a file:
//!
//! - The new timeline's log is written in it behind the switch. Who reads the parent's reads up to the switch
//!   only, as its history says.
//! - Nothing else may write to the file, or give it away for later use, before the parent's name has a file
//!   of its own ([`SegmentFolder::separate`]): the bytes up to the switch, and zeros behind. A promotion does
//!   that behind its first write, before any checkpoint and before the archive gets what the parent ended
//!   with. Where that fails, the next checkpoint tries it again, and the file stays as it is until then.
//! - A crash in between is settled by the next start ([`crate::log_branch::settle_promotion`]). The directory
//!   may have been copied meanwhile, or a segment put into its place, so it asks of the bytes behind the
//!   switch whose they are ([`SegmentFolder::is_promotions`]).
//!
//! Where something lies behind the switch it is the parent's, and the bytes before are copied. So they are
//! where the file has another name already, which may be an archive's, and where the disk gives no second
//! names or makes no promise of space.

use crate::error::{WalError, WalOperation};
use crate::ids::{Lsn, SegmentNumber, TimelineId};
use crate::log_file::is_stale;
use crate::page::{LONG_HEADER_SIZE, PAGE_SIZE};
use crate::position_file::LogPosition;
use crate::reader::{Next, ReaderOptions, WalBytes, WalReader};
use crate::record::Record;
use crate::segments::{SegmentFile, SegmentFolder, TEMPORARY_PREFIX, ZEROS, io_error};
use crate::xlog::XlogRecord;
use host::{File, OpenMode, SharedDisk, copy_beginning};
use std::io;
use std::path::{Path, PathBuf};

/// Bytes that are read at a time.
const COPIED_BYTES: usize = 1 << 20;

impl SegmentFolder {
    /// Makes the segment that holds `upto` on the timeline `to` begin with the bytes of the one on `from`, up
    /// to `upto` (exclusive), with zeros behind: a timeline that forks in the middle of a segment begins so.
    /// Nothing happens where a segment starts at `upto`, or where the target is there already.
    ///
    /// # Errors
    /// Fails if a file cannot be read or written.
    pub fn copy_prefix(&self, from: TimelineId, to: TimelineId, upto: Lsn) -> Result<(), WalError> {
        let (segment, prefix) = (self.size.segment_of(upto), self.size.offset_of(upto));
        if prefix == 0 || from == to || self.exists(to, segment)? {
            return Ok(());
        }
        let source = self.open(from, segment)?;
        let source_path = self.path(from, segment);
        self.make(to, segment, |file| {
            copy_beginning(&*source, &source_path, &**file, prefix)?;
            self.fill(file, prefix, self.fill_with_zeros)
        })
    }

    /// Begins a segment for a timeline that forks off at `upto`, under a temporary name and without a sync.
    /// It is the parent's file, if it `may_share` that, if the file has no other name, and if nothing lies
    /// there behind `upto`; else the bytes are copied. A segment that was made ahead of the log becomes the
    /// copy, if there is one: of that all is on disk but what is copied. None if no segment has to be copied
    /// or taken.
    ///
    /// # Errors
    /// Fails if a file cannot be read, renamed or written.
    pub fn prepare_fork(
        &self,
        from: TimelineId,
        to: TimelineId,
        upto: Lsn,
        may_share: bool,
    ) -> Result<Option<ForkSegment>, WalError> {
        // One that a former promotion left may be a second name of a segment.
        self.remove_temporaries()?;
        let segment = self.size.segment_of(upto);
        if from == to || self.exists(to, segment)? {
            return Ok(None);
        }
        let spare = self.spare_behind(to, segment)?;
        if may_share
            && self.has_one_name(from, segment)?
            && self.is_clear_behind(from, upto)?
            && let Some(temporary) = self.name_twice(from, to, segment)
        {
            let next = segment.next();
            let ahead = match spare {
                Some(spare) if !self.exists(to, next)? => {
                    Some((self.path(spare.timeline, spare.segment), self.path(to, next)))
                }
                _ => None,
            };
            let (disk, path) = (self.disk.clone(), self.path(to, segment));
            return Ok(Some(ForkSegment { disk, temporary, path, ahead, is_shared: true }));
        }
        self.copy_fork(from, to, upto, spare)
    }

    /// The same by a copy.
    fn copy_fork(
        &self,
        from: TimelineId,
        to: TimelineId,
        upto: Lsn,
        spare: Option<SegmentFile>,
    ) -> Result<Option<ForkSegment>, WalError> {
        let (segment, prefix) = (self.size.segment_of(upto), self.size.offset_of(upto));
        let (path, temporary) = (self.path(to, segment), self.temporary(to, segment));
        let failed = |cause| WalError::from_io(WalOperation::Allocate, &path, cause);
        if let Some(spare) = spare {
            self.disk.rename(&self.path(spare.timeline, spare.segment), &temporary).map_err(failed)?;
        } else if prefix == 0 {
            return Ok(None);
        }
        let file = self.disk.open(&temporary, OpenMode::Create).map_err(failed)?;
        if prefix > 0 {
            let source = self.open(from, segment)?;
            copy_beginning(&*source, &self.path(from, segment), &*file, prefix).map_err(failed)?;
        }
        let page_end = prefix.next_multiple_of(PAGE_SIZE as u64);
        match spare {
            // Its other pages are zeros, or say that they belong elsewhere.
            Some(_) => {
                let zeros = usize::try_from(page_end - prefix).unwrap_or(PAGE_SIZE);
                file.write_all_at(ZEROS.get(..zeros).unwrap_or_default(), prefix).map_err(failed)?;
                file.will_sync(0, page_end);
            }
            None => self.fill(&file, prefix, self.fill_with_zeros).map_err(failed)?,
        }
        Ok(Some(ForkSegment { disk: self.disk.clone(), temporary, path, ahead: None, is_shared: false }))
    }

    /// A segment behind this one that was made ahead of the log, on an earlier timeline than `before`: its
    /// first page is not the one that belongs there, so nothing was written to it.
    fn spare_behind(
        &self,
        before: TimelineId,
        segment: SegmentNumber,
    ) -> Result<Option<SegmentFile>, WalError> {
        let files = self.list()?;
        for file in files.into_iter().rev() {
            if file.segment <= segment {
                break;
            }
            if file.timeline >= before || !self.exists(file.timeline, file.segment)? {
                continue;
            }
            let mut header = [0; LONG_HEADER_SIZE];
            let read = self.open(file.timeline, file.segment)?.read_exact_at(&mut header, 0);
            let path = self.path(file.timeline, file.segment);
            read.map_err(|cause| io_error(WalOperation::Read, &path, cause))?;
            if !is_stale(&header, self.size.start_of(file.segment)) {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }

    /// Whether a segment is there that goes on behind `upto` with nothing that could be taken for the log's,
    /// also of another branch.
    fn is_clear_behind(&self, timeline: TimelineId, upto: Lsn) -> Result<bool, WalError> {
        let segment = self.size.segment_of(upto);
        if self.size.offset_of(upto) == 0 || !self.exists(timeline, segment)? {
            return Ok(false);
        }
        let path = self.path(timeline, segment);
        let file = self.disk.open(&path, OpenMode::Read);
        let file = file.map_err(|cause| io_error(WalOperation::Open, &path, cause))?;
        let (mut at, end) = (upto, self.size.start_of(segment.next()));
        let mut page = vec![0; PAGE_SIZE];
        while at < end {
            // Of a whole page its header tells.
            let rest = if at.page_offset() == 0 { LONG_HEADER_SIZE } else { PAGE_SIZE - at.page_offset() };
            let bytes = page.get_mut(..rest).unwrap_or_default();
            let read = file.read_exact_at(bytes, self.size.offset_of(at));
            read.map_err(|cause| io_error(WalOperation::Read, &path, cause))?;
            if is_stale(bytes, at) {
                return Ok(false);
            }
            at = at.page_start() + PAGE_SIZE as u64;
        }
        Ok(true)
    }

    /// Whether a segment is there whose file has no other name. Another one may be an archive's, or that of a
    /// copy of this directory: what it names is not to be written on.
    pub(crate) fn has_one_name(
        &self,
        timeline: TimelineId,
        segment: SegmentNumber,
    ) -> Result<bool, WalError> {
        let path = self.path(timeline, segment);
        match self.disk.metadata(&path) {
            Ok(found) => Ok(found.names == 1),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(cause) => Err(io_error(WalOperation::Open, &path, cause)),
        }
    }

    /// Gives the parent's segment a second name, a temporary one, and makes sure of the space for the file
    /// that its first name gets later. None where that cannot be, also if the disk promises no space: whoever
    /// copies tells why.
    fn name_twice(&self, from: TimelineId, to: TimelineId, segment: SegmentNumber) -> Option<PathBuf> {
        // No other temporary file has this name: one is written to.
        let second = format!("{TEMPORARY_PREFIX}second.{}", segment.file_name(to, self.size));
        let (own, second) = (self.temporary(from, segment), self.dir.join(second));
        let named = self
            .disk
            .open(&own, OpenMode::Create)
            .and_then(|file| file.allocate(0, self.size.bytes()))
            .and_then(|()| self.disk.link_file(&self.path(from, segment), &second));
        match named {
            Ok(()) => Some(second),
            Err(_) => {
                let _ = self.disk.remove_file(&own);
                None
            }
        }
    }

    /// Whether what lies behind the end of a timeline, in its last segment, is the log of the timeline
    /// `begun` that a promotion wrote there. The first record behind tells, since the new timeline's log
    /// begins with one that names it; any other is the ended timeline's. Without a whole record, the two
    /// names of the file do.
    ///
    /// # Errors
    /// Fails if that cannot be seen.
    pub fn is_promotions(&self, ended: LogPosition, begun: TimelineId) -> Result<bool, WalError> {
        match self.first_behind(ended)? {
            Some(record) => Ok(matches!(
                XlogRecord::parse(&record),
                Ok(XlogRecord::EndOfRecovery { timeline, .. }) if timeline == begun
            )),
            None => self.is_one_file(ended, begun),
        }
    }

    /// The record behind the end of a timeline in its last segment, if a whole one is there.
    fn first_behind(&self, ended: LogPosition) -> Result<Option<Record>, WalError> {
        let (segment, page) = (self.size.segment_of(ended.lsn), ended.lsn.page_start());
        if self.size.offset_of(ended.lsn) == 0 || !self.exists(ended.timeline, segment)? {
            return Ok(None);
        }
        let path = self.path(ended.timeline, segment);
        let file = self.disk.open(&path, OpenMode::Read);
        let file = file.map_err(|cause| io_error(WalOperation::Open, &path, cause))?;
        let rest = usize::try_from(self.size.bytes() - self.size.offset_of(page)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; rest.min(COPIED_BYTES)];
        let read = file.read_exact_at(&mut bytes, self.size.offset_of(page));
        read.map_err(|cause| io_error(WalOperation::Read, &path, cause))?;
        let source = WalBytes::new(page, bytes);
        match WalReader::new(source, ReaderOptions::new(self.size), ended.lsn).next() {
            Ok(Next::Record(record)) => Ok(Some(record)),
            Ok(Next::End(_)) | Err(_) => Ok(None),
        }
    }

    /// Whether the segment in which a timeline ended is the file of the timeline `with`, too.
    fn is_one_file(&self, ended: LogPosition, with: TimelineId) -> Result<bool, WalError> {
        let segment = self.size.segment_of(ended.lsn);
        self.are_one_file(&self.path(ended.timeline, segment), &self.path(with, segment))
    }

    /// Whether both names are there, and are those of one file.
    pub(crate) fn are_one_file(&self, path: &Path, other: &Path) -> Result<bool, WalError> {
        match self.disk.is_one_file(path, other) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
            seen => seen.map_err(|cause| io_error(WalOperation::Open, path, cause)),
        }
    }

    /// Gives the segment in which a timeline ended a file of its own, durably: the same bytes up to the end,
    /// and zeros behind. Nothing happens if it is not there.
    ///
    /// # Errors
    /// Fails if a file cannot be read or written, or the disk is full.
    pub fn separate(&self, ended: LogPosition) -> Result<(), WalError> {
        let (segment, prefix) = (self.size.segment_of(ended.lsn), self.size.offset_of(ended.lsn));
        if prefix == 0 || !self.exists(ended.timeline, segment)? {
            return Ok(());
        }
        let path = self.path(ended.timeline, segment);
        let source = self.disk.open(&path, OpenMode::Read);
        let source = source.map_err(|cause| io_error(WalOperation::Open, &path, cause))?;
        self.make(ended.timeline, segment, |file| self.copy_in_pieces(&*source, &**file, prefix))
    }

    /// Fills a segment with the first `prefix` bytes of another, and zeros. Each piece is synced before the
    /// next one is written, so that whoever makes something else durable meanwhile waits for one at most.
    fn copy_in_pieces(&self, source: &dyn File, file: &dyn File, prefix: u64) -> io::Result<()> {
        let mut buffer = vec![0; COPIED_BYTES];
        let (mut at, end) = (0, self.size.bytes());
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
            let copied = usize::try_from(prefix.saturating_sub(at)).unwrap_or(usize::MAX).min(len);
            let piece = buffer.get_mut(..len).unwrap_or_default();
            let (bytes, zeros) = piece.split_at_mut(copied);
            source.read_exact_at(bytes, at)?;
            zeros.fill(0);
            file.write_all_at(piece, at)?;
            file.sync()?;
            at += len as u64;
        }
        Ok(())
    }
}

/// The first segment of a timeline, with the bytes that its parent has there, under a temporary name. Unless
/// it is the parent's file, none of it is durable before it is written on and synced.
#[derive(Debug)]
pub struct ForkSegment {
    disk: SharedDisk,
    temporary: PathBuf,
    path: PathBuf,
    /// A segment that was made ahead of the parent's log, and its name as the one behind this.
    ahead: Option<(PathBuf, PathBuf)>,
    is_shared: bool,
}

impl ForkSegment {
    /// Whether it is the parent's file, which is to have one of its own: [`SegmentFolder::separate`].
    pub const fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Gives it its name; durable after a sync of the folder.
    ///
    /// # Errors
    /// Fails if it cannot be renamed.
    pub fn keep(self) -> Result<(), WalError> {
        let failed = |cause| WalError::from_io(WalOperation::Allocate, &self.path, cause);
        self.disk.rename(&self.temporary, &self.path).map_err(failed)?;
        if let Some((spare, next)) = &self.ahead {
            self.disk.rename(spare, next).map_err(failed)?;
        }
        Ok(())
    }
}
