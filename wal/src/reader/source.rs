//! Where the reader's bytes come from.

#[cfg(doc)]
use super::Compared;
use crate::archive_status::{ArchiveStatus, Archived};
use crate::history::TimelineHistory;
use crate::ids::{Lsn, SegmentNumber, SegmentSize, TimelineId};
use crate::log_branch::LogBranch;
use crate::segments::SegmentFile;
use bytes::Bytes;
use host::{OpenMode, SharedDisk, SharedFile};
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Brings segments into pg_wal from elsewhere (an archive).
pub trait SegmentSupply: Send + Sync {
    /// Puts a segment of a timeline of the history that is read into pg_wal under its name, in place of one
    /// that is there, if it can be had. Blocks. False: there is no such segment, or it is another branch's.
    /// Then the one that is there is read, which may be this branch's own. An error ends the reading.
    ///
    /// What the file that is there has below `own_upto` was confirmed: a segment of another log
    /// does not replace it ([`Compared::Another`]).
    ///
    /// # Errors
    /// Fails if the source cannot be asked.
    fn fetch(
        &self,
        history: &TimelineHistory,
        timeline: TimelineId,
        segment: SegmentNumber,
        own_upto: Lsn,
    ) -> io::Result<bool>;
}

/// A shared supply, which may be switched off.
#[derive(Clone, Default)]
struct Supply {
    from: Option<Arc<dyn SegmentSupply>>,
    off: bool,
}

impl Supply {
    fn active(&self) -> Option<&dyn SegmentSupply> {
        self.from.as_deref().filter(|_| !self.off)
    }
}

impl fmt::Debug for Supply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supply").field("active", &self.active().is_some()).finish()
    }
}

/// Bytes of the log that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The segment is not there although it should be.
    #[error("requested WAL segment {name} has already been removed (wanted for {at}, in \"{folder}\")")]
    Missing {
        /// The segment's name on the timeline that the history gives.
        name: String,
        /// Where it was looked for.
        folder: String,
        /// The wanted position.
        at: Lsn,
    },
    /// Reading failed.
    #[error("could not read WAL segment \"{path}\" at {at}: {error}")]
    Io {
        /// The file.
        path: String,
        /// The wanted position.
        at: Lsn,
        /// The cause.
        error: io::Error,
    },
}

/// Gives the bytes of a log by position.
pub trait WalSource {
    /// Reads up to `buf.len()` bytes at `from`; returns how many, 0 where nothing is there yet.
    ///
    /// # Errors
    /// Fails if the bytes cannot be read.
    fn read(&mut self, from: Lsn, buf: &mut [u8]) -> Result<usize, SourceError>;
    /// Fills `bytes` with those from `from` on, over the borders of files; returns how many there are.
    ///
    /// # Errors
    /// Fails if the bytes cannot be read.
    fn fill(&mut self, from: Lsn, bytes: &mut [u8]) -> Result<usize, SourceError> {
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.read(from + done as u64, rest)? {
                0 => break,
                got => done += got,
            }
        }
        Ok(done)
    }
    /// Where the bytes end at present (exclusive), if this is known: nothing is read from there on.
    fn end(&self) -> Option<Lsn> {
        None
    }
    /// The timeline that the page starting at `page` must belong to, if this is known.
    fn timeline_at(&self, page: Lsn) -> Option<TimelineId> {
        let _ = page;
        None
    }
    /// The segments behind `segment` that this log may have bytes in, in order; none if this is not known.
    ///
    /// # Errors
    /// Fails if they cannot be listed.
    fn segments_behind(&self, segment: SegmentNumber) -> Result<Vec<SegmentNumber>, SourceError> {
        let _ = segment;
        Ok(Vec::new())
    }
    /// Where the byte at `at` lies, for people.
    fn place_of(&self, at: Lsn) -> String {
        format!("the log at {at}")
    }
}

/// A piece of a log in memory.
#[derive(Clone, Debug)]
pub struct WalBytes {
    start: Lsn,
    bytes: Bytes,
}

impl WalBytes {
    /// `bytes` are the log from `start` on.
    pub fn new(start: Lsn, bytes: impl Into<Bytes>) -> Self {
        Self { start, bytes: bytes.into() }
    }
}

impl WalSource for WalBytes {
    fn read(&mut self, from: Lsn, buf: &mut [u8]) -> Result<usize, SourceError> {
        if from < self.start {
            let name = format!("before {}", self.start);
            return Err(SourceError::Missing { name, folder: "memory".to_owned(), at: from });
        }
        let offset = usize::try_from(from.bytes_since(self.start)).unwrap_or(usize::MAX);
        let found = self.bytes.get(offset..).unwrap_or_default();
        let len = found.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..len), found.get(..len)) {
            to.copy_from_slice(from);
        }
        Ok(len)
    }
}

/// The segment files of a pg_wal folder along a timeline history.
///
/// The file of the newest timeline that may hold a position is read (it begins with a copy of what its
/// ancestor wrote in the segment of the switch); if it is not there, an ancestor's is, up to the end of that
/// timeline. With a [`SegmentSupply`], each is asked for there before it is looked for here.
#[derive(Clone, Debug)]
pub struct SegmentFiles {
    disk: SharedDisk,
    pg_wal: PathBuf,
    /// Folders with what pg_wal may lack.
    beside: Vec<PathBuf>,
    pub(super) segment_size: SegmentSize,
    history: TimelineHistory,
    limit: Option<Lsn>,
    open: Option<OpenSegment>,
    supply: Supply,
    supplied: Option<Supplied>,
    /// How far the log was received that is here.
    received: Option<Arc<LogBranch>>,
    /// Up to where it is known to have been confirmed besides.
    confirmed: Lsn,
    /// Something in it is bad.
    damaged: Option<Range<Lsn>>,
    gaps_end_the_log: bool,
}

#[derive(Clone, Debug)]
struct OpenSegment {
    segment: SegmentNumber,
    timeline: TimelineId,
    /// Bytes from here on belong to a later timeline.
    end: Option<Lsn>,
    file: SharedFile,
    path: PathBuf,
}

/// Segments in a row that were read last and that the supply had, of one timeline or over a fork.
#[derive(Clone, Copy, Debug)]
struct Supplied {
    first: SegmentNumber,
    last: SegmentNumber,
    /// Where the timeline of the last one ends, if it does.
    end: Option<Lsn>,
}

impl Supplied {
    /// With one more, which begins at `start` and which those before may lead to, or have; its timeline ends
    /// at `end`.
    fn with(before: Option<Self>, segment: SegmentNumber, start: Lsn, end: Option<Lsn>) -> Self {
        match before {
            Some(run) if (run.first..run.last).contains(&segment) => run,
            Some(run) if segment == run.last => Self { end, ..run },
            Some(run) if segment == run.last.next() && run.end.is_none_or(|end| end >= start) => {
                Self { last: segment, end, ..run }
            }
            _ => Self { first: segment, last: segment, end },
        }
    }
}

impl SegmentFiles {
    /// Over the folder `pg_wal`, without an upper bound.
    pub fn new(
        disk: SharedDisk,
        pg_wal: impl Into<PathBuf>,
        segment_size: SegmentSize,
        history: TimelineHistory,
    ) -> Self {
        Self {
            disk,
            pg_wal: pg_wal.into(),
            beside: Vec::new(),
            segment_size,
            history,
            limit: None,
            open: None,
            supply: Supply::default(),
            supplied: None,
            received: None,
            confirmed: Lsn::INVALID,
            damaged: None,
            gaps_end_the_log: false,
        }
    }
    /// Asks this supply for each segment first.
    pub fn set_supply(&mut self, supply: Arc<dyn SegmentSupply>) {
        self.supply.from = Some(supply);
    }
    /// Looks in these folders, which need not be there, for segments that pg_wal lacks.
    pub fn look_beside(&mut self, folders: Vec<PathBuf>) {
        self.beside = folders;
    }
    /// Has the supply replace nothing that was received.
    pub fn set_received(&mut self, received: Arc<LogBranch>) {
        self.received = Some(received);
    }
    /// Something in this part of what is here is bad: what a file begins with before its timeline does is
    /// read in its ancestor's.
    pub fn note_damage(&mut self, part: Range<Lsn>) {
        self.damaged = Some(part);
    }

    /// Whether an ancestor's file of a segment is here.
    fn has_older(&self, than: TimelineId, segment: SegmentNumber) -> bool {
        let name = |timeline| segment.file_name(timeline, self.segment_size);
        let is_there =
            |timeline| self.paths(&name(timeline)).any(|path| self.disk.exists(&path).unwrap_or(false));
        let mut older = self.history.newest_first().filter(|(timeline, ..)| *timeline < than);
        older.any(|(timeline, ..)| is_there(timeline))
    }

    /// Where a segment may be, the path in pg_wal first.
    fn paths(&self, name: &str) -> impl Iterator<Item = PathBuf> {
        std::iter::once(&self.pg_wal).chain(&self.beside).map(move |folder| folder.join(name))
    }

    /// Opens a segment's file where it is; None if it is nowhere.
    fn open_file(&self, name: &str, at: Lsn) -> Result<Option<(SharedFile, PathBuf)>, SourceError> {
        for path in self.paths(name) {
            match self.disk.open(&path, OpenMode::Read) {
                Ok(file) => return Ok(Some((file, path))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(SourceError::Io { path: path.display().to_string(), at, error }),
            }
        }
        Ok(None)
    }

    fn is_damaged(&self, segment: SegmentNumber) -> bool {
        let segment_of = |at| self.segment_size.segment_of(at);
        let is_in = |part: &Range<Lsn>| (segment_of(part.start)..=segment_of(part.end)).contains(&segment);
        self.damaged.as_ref().is_some_and(is_in)
    }

    /// Up to where the log that is here was confirmed.
    fn own_upto(&self) -> Lsn {
        let received = self.received.as_ref().and_then(|received| received.received());
        let received = received.and_then(|received| received.along(&self.history));
        received.map_or(self.confirmed, |received| received.max(self.confirmed))
    }

    /// Asks the supply once, also if it is switched off, for the segment with `at`, of which what is here was
    /// confirmed up to `own_upto` and cannot all be read. False if there is no supply.
    ///
    /// # Errors
    /// Fails if the supply or the files cannot be asked.
    pub fn fetch_again(&mut self, at: Lsn, own_upto: Lsn) -> Result<bool, SourceError> {
        let (off, confirmed) = (self.supply.off, self.confirmed);
        self.use_supply(true);
        self.confirmed = own_upto;
        let asked = self.open(at).map(|_| ());
        self.confirmed = confirmed;
        self.use_supply(!off);
        asked.map(|()| self.supply.from.is_some())
    }

    /// Whether the supply had all files from that with `from` to that of the segment `last`, which were read
    /// one after the other.
    pub(super) fn were_supplied(&self, from: Lsn, last: SegmentNumber) -> bool {
        let first = self.segment_size.segment_of(from);
        self.supplied
            .as_ref()
            .is_some_and(|run| run.first <= first && last <= run.last && run.end.is_none_or(|end| from < end))
    }

    /// Whether the file with `at` was in an archive: the supply had it, like all from that with `from` on, or
    /// it has a mark from then. `came_whole`: one without came from there, too. False if the log that is
    /// read goes on in another file before it ends.
    pub(super) fn was_archived(&mut self, at: Lsn, from: Lsn, came_whole: bool) -> Result<bool, SourceError> {
        let found = match self.open(at) {
            Err(SourceError::Missing { .. }) => None,
            found => found?,
        };
        let Some(OpenSegment { segment, timeline, end, path, .. }) = found.cloned() else { return Ok(false) };
        let file_end = self.segment_size.start_of(segment.next());
        if end.is_some_and(|end| end < file_end) {
            return Ok(false);
        }
        if came_whole || self.were_supplied(from, segment) {
            return Ok(true);
        }
        let folder = path.parent().unwrap_or(&self.pg_wal);
        let name = segment.file_name(timeline, self.segment_size);
        let mark = ArchiveStatus::new(self.disk.clone(), folder).of(&name);
        let path = path.display().to_string();
        mark.map(|mark| mark != Archived::Unknown).map_err(|error| SourceError::Io { path, at, error })
    }

    /// Asks the supply (again) from now on, or no longer. Either way the next read opens its file anew.
    pub fn use_supply(&mut self, on: bool) {
        self.supply.off = !on;
        self.open = None;
    }
    /// Whether a missing segment ends the log although later ones are there: it may still come (a standby
    /// waits for it).
    pub fn let_gaps_end_the_log(&mut self, let_them: bool) {
        self.gaps_end_the_log = let_them;
    }
    /// Nothing is read from `limit` on; below it, a segment that is not there is missing rather than not yet
    /// there.
    pub fn set_limit(&mut self, limit: Lsn) {
        self.limit = Some(limit);
    }
    /// Reads on without an upper bound.
    pub fn clear_limit(&mut self) {
        self.limit = None;
    }
    /// The upper bound, exclusive.
    pub const fn limit(&self) -> Option<Lsn> {
        self.limit
    }
    /// Follows another history from now on (a standby whose primary changed timelines).
    pub fn set_history(&mut self, history: TimelineHistory) {
        self.history = history;
        // What seemed bad may have been of another history.
        self.damaged = None;
        self.supplied = None;
        self.open = None;
    }
    /// The history that is followed.
    pub const fn history(&self) -> &TimelineHistory {
        &self.history
    }
    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.pg_wal
    }

    /// The file that holds `from`, if the log goes on in it to its end; None if another timeline's file does,
    /// or there is none yet.
    ///
    /// # Errors
    /// Fails if the bytes cannot be read.
    pub fn whole_segment(&mut self, from: Lsn) -> Result<Option<SegmentFile>, SourceError> {
        let segment_end = self.segment_size.start_of(self.segment_size.segment_of(from).next());
        let found = self.open(from)?.filter(|open| open.end.is_none_or(|end| end >= segment_end));
        Ok(found.map(|open| SegmentFile { segment: open.segment, timeline: open.timeline }))
    }

    /// The timeline of the file that holds the bytes before `at` in its segment; None if the segment begins
    /// there.
    ///
    /// # Errors
    /// Fails if the files cannot be looked at.
    pub fn file_before(&mut self, at: Lsn) -> Result<Option<TimelineId>, SourceError> {
        if self.segment_size.offset_of(at) == 0 {
            return Ok(None);
        }
        Ok(self.open(at - 1)?.map(|open| open.timeline))
    }

    /// Opens the file that holds `from`; None if there is none yet.
    fn open(&mut self, from: Lsn) -> Result<Option<&OpenSegment>, SourceError> {
        let segment = self.segment_size.segment_of(from);
        let ahead = |end: Option<Lsn>| end.is_none_or(|end| from < end);
        if self.open.as_ref().is_some_and(|open| open.segment == segment && ahead(open.end)) {
            return Ok(self.open.as_ref());
        }
        for (timeline, begin, end) in self.history.newest_first() {
            let is_bad_copy = from < begin && self.is_damaged(segment) && self.has_older(timeline, segment);
            if self.segment_size.segment_of(begin) > segment || !ahead(end) || is_bad_copy {
                continue;
            }
            let name = segment.file_name(timeline, self.segment_size);
            if let Some(supply) = self.supply.active() {
                let own_upto = end.unwrap_or(Lsn::MAX).min(self.own_upto());
                let fetched = supply.fetch(&self.history, timeline, segment, own_upto);
                let fetched = fetched.map_err(|error| SourceError::Io {
                    path: self.pg_wal.join(&name).display().to_string(),
                    at: from,
                    error,
                })?;
                if fetched {
                    let start = self.segment_size.start_of(segment);
                    self.supplied = Some(Supplied::with(self.supplied, segment, start, end));
                }
            }
            if let Some((file, path)) = self.open_file(&name, from)? {
                let open = OpenSegment { segment, timeline, end, file, path };
                return Ok(Some(self.open.insert(open)));
            }
        }
        let must_exist = || -> Result<bool, SourceError> {
            Ok(self.limit.is_some() || !self.segments_behind(segment)?.is_empty())
        };
        if !self.gaps_end_the_log && must_exist()? {
            let name = segment.file_name(self.history.timeline_at(from), self.segment_size);
            let folder = self.pg_wal.display().to_string();
            return Err(SourceError::Missing { name, folder, at: from });
        }
        Ok(None)
    }
}

impl WalSource for SegmentFiles {
    fn read(&mut self, from: Lsn, buf: &mut [u8]) -> Result<usize, SourceError> {
        if self.limit.is_some_and(|limit| from >= limit) {
            return Ok(0);
        }
        let (limit, segment_size) = (self.limit, self.segment_size);
        let Some(open) = self.open(from)? else { return Ok(0) };
        let offset = segment_size.offset_of(from);
        let mut most = segment_size.bytes() - offset;
        for end in [limit, open.end].into_iter().flatten() {
            most = most.min(end.bytes_since(from));
        }
        let len = usize::try_from(most).unwrap_or(usize::MAX).min(buf.len());
        open.file.read_at(buf.get_mut(..len).unwrap_or_default(), offset).map_err(|error| SourceError::Io {
            path: open.path.display().to_string(),
            at: from,
            error,
        })
    }

    fn end(&self) -> Option<Lsn> {
        self.limit
    }

    fn segments_behind(&self, segment: SegmentNumber) -> Result<Vec<SegmentNumber>, SourceError> {
        let mut entries = Vec::new();
        for folder in std::iter::once(&self.pg_wal).chain(&self.beside) {
            match self.disk.list(folder) {
                Ok(found) => entries.extend(found),
                Err(error) if error.kind() == io::ErrorKind::NotFound && folder != &self.pg_wal => {}
                Err(error) => {
                    let (path, at) = (folder.display().to_string(), self.segment_size.start_of(segment));
                    return Err(SourceError::Io { path, at, error });
                }
            }
        }
        // An ancestor's files behind its end (made ahead, or written by another branch) say nothing about
        // this history.
        let ours = |timeline, found| {
            self.history
                .end_of(timeline)
                .is_ok_and(|end| end.is_none_or(|end| self.segment_size.start_of(found) < end))
        };
        let mut behind: Vec<_> = entries
            .iter()
            .filter_map(|entry| SegmentNumber::parse_file_name(&entry.name, self.segment_size))
            .filter(|(timeline, found)| *found > segment && ours(*timeline, *found))
            .map(|(_, found)| found)
            .collect();
        behind.sort_unstable();
        behind.dedup();
        Ok(behind)
    }

    /// The history's timeline of the page's first byte: a page on which timelines switch keeps the header of
    /// the old one.
    fn timeline_at(&self, page: Lsn) -> Option<TimelineId> {
        Some(self.history.timeline_at(page))
    }

    fn place_of(&self, at: Lsn) -> String {
        let segment = self.segment_size.segment_of(at);
        let open = self.open.as_ref().filter(|open| open.segment == segment);
        let path = match open {
            Some(open) => open.path.clone(),
            None => self.pg_wal.join(segment.file_name(self.history.timeline_at(at), self.segment_size)),
        };
        format!("file \"{}\" at offset {}", path.display(), self.segment_size.offset_of(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_in_a_row_if_one_leads_to_the_other() {
        let start = |number: u64| Lsn::new(number * 100);
        let of = |run: Option<Supplied>| run.map(|run| (run.first.get(), run.last.get(), run.end));
        let with =
            |run, number, end| Some(Supplied::with(run, SegmentNumber::new(number), start(number), end));
        let run = with(with(None, 3, None), 4, Some(start(5)));
        assert_eq!(of(run), Some((3, 4, Some(start(5)))));
        // On from where a timeline ends with its segment, or in the middle of it, by the next one's file.
        assert_eq!(of(with(run, 5, None)), Some((3, 5, None)));
        let run = with(run, 4, Some(start(4) + 50));
        assert_eq!(of(with(run, 4, None)), Some((3, 4, None)));
        // What begins behind such an end is not that timeline's.
        assert_eq!(of(with(run, 5, None)), Some((5, 5, None)));
        // One that is asked for again breaks nothing; one too far does.
        let run = with(with(run, 4, None), 5, None);
        assert_eq!(of(with(run, 3, Some(start(3) + 10))), Some((3, 5, None)));
        assert_eq!(of(with(run, 7, None)), Some((7, 7, None)));
        assert_eq!(of(with(run, 2, None)), Some((2, 2, None)));
    }
}
