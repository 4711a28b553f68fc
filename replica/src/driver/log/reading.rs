//! Reading raw log bytes back: from the writer's memory while fresh, else from segment files.
//!
//! Files of whole segments are mapped, looked through once for all streams at about the same place, and sent
//! from the page cache without a copy; a checkpoint does not write over them from then on. The newest
//! segment's file is copied. Chunks are shared by all streams that lag, and the last few are kept for those a
//! little behind. When none lags any more they are given up.

use super::in_place::SentInPlace;
use super::outgoing::Outgoing;
use crate::error::ReplicaError;
use bytes::Bytes;
use host::sync::Mutex;
use host::{Mapping, SharedDisk};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::OnceCell;
use wal::history::TimelineHistory;
use wal::{
    Live, LogState, Lsn, SegmentFate, SegmentFile, SegmentFiles, SegmentFolder, SegmentSize, SourceError,
    WalError, WalSource,
};

/// Bytes read from a file at once when a standby lags, from a multiple of them on; a segment is not smaller.
const CHUNK: u64 = 1 << 20;
/// Chunks that are kept while streams lag.
const KEPT: usize = 8;
/// Segments that stay mapped meanwhile.
const MAPPED: usize = 4;
const PAGE: u64 = 8192;
/// For the history of a timeline, and what the file system itself takes.
const SPARE_BYTES: u64 = 64 << 10;

/// Where a node's log lies.
#[derive(Clone, Debug)]
pub struct LogPlace {
    /// The file system.
    pub disk: SharedDisk,
    /// pg_wal
    pub pg_wal: PathBuf,
    /// Bytes of a segment.
    pub segment_size: SegmentSize,
    chunks: Arc<Chunks>,
    in_place: Arc<SentInPlace>,
}

/// A chunk's bytes, once they are read.
type Chunk = OnceCell<Outgoing>;

/// What streams lately read from files.
#[derive(Debug, Default)]
struct Chunks(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// The newest last.
    list: VecDeque<KeptChunk>,
    /// The newest last.
    mapped: VecDeque<(SegmentFile, Arc<dyn Mapping>)>,
    /// Streams that read from files.
    readers: usize,
}

#[derive(Clone, Debug)]
struct KeptChunk {
    /// That of the log out of which it is read.
    generation: u64,
    start: Lsn,
    /// Where it ends: where the log did when it was first wanted, or it is whole.
    end: Lsn,
    chunk: Arc<Chunk>,
}

impl Chunks {
    /// The chunk that begins at `start` and reaches beyond `from`: one that is there, or a new one up to
    /// `end`.
    fn get(&self, generation: u64, start: Lsn, from: Lsn, end: Lsn) -> KeptChunk {
        let list = &mut self.0.lock().list;
        let same =
            |kept: &&KeptChunk| (kept.generation, kept.start) == (generation, start) && kept.end > from;
        if let Some(there) = list.iter().rev().find(same) {
            return there.clone();
        }
        if list.len() >= KEPT {
            list.pop_front();
        }
        let new = KeptChunk { generation, start, end, chunk: Arc::default() };
        list.push_back(new.clone());
        new
    }

    /// The mapping of a file: one that is there, or the one that `map` makes.
    fn mapping<E>(
        &self,
        file: SegmentFile,
        map: impl FnOnce() -> Result<Box<dyn Mapping>, E>,
    ) -> Result<Arc<dyn Mapping>, E> {
        if let Some((_, there)) = self.0.lock().mapped.iter().find(|(mapped, _)| *mapped == file) {
            return Ok(there.clone());
        }
        let new: Arc<dyn Mapping> = map()?.into();
        let mapped = &mut self.0.lock().mapped;
        if mapped.len() >= MAPPED {
            mapped.pop_front();
        }
        mapped.push_back((file, new.clone()));
        Ok(new)
    }

    fn begin(&self) {
        self.0.lock().readers += 1;
    }

    fn end(&self) {
        let mut kept = self.0.lock();
        kept.readers = kept.readers.saturating_sub(1);
        if kept.readers == 0 {
            kept.list.clear();
            kept.mapped.clear();
        }
    }
}

impl LogPlace {
    /// The log in `pg_wal`. Clones share what they read.
    pub fn new(disk: SharedDisk, pg_wal: &Path, segment_size: SegmentSize) -> Self {
        Self {
            disk,
            pg_wal: pg_wal.to_path_buf(),
            segment_size,
            chunks: Arc::default(),
            in_place: Arc::default(),
        }
    }
    /// Whether the log from `at` on is there, as far as it is durable. A removed segment is not, even while
    /// its end is in memory.
    pub fn has(&self, log: &LogState, at: Lsn) -> bool {
        self.check_there(log, at).is_ok()
    }
    /// What may become of a segment that is not needed any more, as far as streams go.
    pub fn fate(&self, file: SegmentFile) -> SegmentFate {
        self.in_place.fate(file)
    }
    /// Segments were removed: nothing has to be remembered of them.
    ///
    /// # Errors
    ///
    /// Fails if pg_wal cannot be listed.
    pub fn forget_removed(&self) -> Result<(), WalError> {
        let there = SegmentFolder::new(self.disk.clone(), &self.pg_wal, self.segment_size).list()?;
        if let Some(first) = there.first() {
            self.in_place.forget_before(first.segment);
        }
        Ok(())
    }
    /// Whether there is room for the first segment of a timeline, and for what comes with it.
    ///
    /// # Errors
    ///
    /// Fails if there is none.
    pub fn look_for_room(&self) -> Result<(), WalError> {
        let folder = SegmentFolder::new(self.disk.clone(), &self.pg_wal, self.segment_size);
        folder.look_for_room(self.segment_size.bytes() + SPARE_BYTES)
    }
    fn check_there(&self, log: &LogState, at: Lsn) -> Result<(), ReplicaError> {
        if at >= log.flushed() {
            return Ok(());
        }
        let size = self.segment_size;
        let name = size.segment_of(at).file_name(log.history.timeline_at(at), size);
        match self.files(&log.history).read(at, &mut [0; 1]).map_err(source_error) {
            Ok(0) => Err(ReplicaError::SegmentRemoved(name)),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }
    pub(in crate::driver) fn files(&self, history: &TimelineHistory) -> SegmentFiles {
        SegmentFiles::new(self.disk.clone(), &self.pg_wal, self.segment_size, history.clone())
    }
}

pub(in crate::driver) fn source_error(error: SourceError) -> ReplicaError {
    match error {
        SourceError::Missing { name, .. } => ReplicaError::SegmentRemoved(name),
        SourceError::Io { path, error, .. } => ReplicaError::File { what: "read", path, cause: error },
    }
}

/// All bytes of `from..upto`.
fn read_range(files: &mut SegmentFiles, from: Lsn, upto: Lsn) -> Result<Vec<u8>, ReplicaError> {
    let len = usize::try_from(upto.bytes_since(from)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; len];
    let done = files.fill(from, &mut bytes).map_err(source_error)?;
    if done < len {
        return Err(ReplicaError::Protocol(format!("WAL ends at {} before {upto}", from + done as u64)));
    }
    Ok(bytes)
}

/// A chunk of no log.
fn nothing() -> (u64, Lsn, Outgoing) {
    (u64::MAX, Lsn::INVALID, Outgoing::from(Bytes::new()))
}

/// Reads the log for one stream.
#[derive(Debug)]
pub(in crate::driver) struct LogReading {
    place: LogPlace,
    /// The chunk that was read last: the log's generation, the position of its first byte, and the bytes.
    ahead: (u64, Lsn, Outgoing),
    /// Whether it counts among the chunks' readers.
    lags: bool,
}

impl Drop for LogReading {
    fn drop(&mut self) {
        self.set_lags(false);
    }
}

impl LogReading {
    pub(in crate::driver) fn new(place: LogPlace) -> Self {
        Self { place, ahead: nothing(), lags: false }
    }

    /// Whether the segment of `at` is still there. One that was removed is refused to a new stream even while
    /// its end is still in memory: which of the two happens must not depend on how busy the server is.
    pub(in crate::driver) fn check_there(&self, log: &LogState, at: Lsn) -> Result<(), ReplicaError> {
        self.place.check_there(log, at)
    }

    /// Some bytes from `from` on, none at or past `upto`; never empty.
    pub(in crate::driver) async fn read(
        &mut self,
        log: &LogState,
        from: Lsn,
        upto: Lsn,
    ) -> Result<Outgoing, ReplicaError> {
        let len = usize::try_from(upto.bytes_since(from)).unwrap_or(usize::MAX);
        if let Live::Primary(writer) = &log.live
            && let Some(recent) = writer.read_recent(from, len).filter(|recent| !recent.is_empty())
        {
            self.set_lags(false);
            return Ok(recent.slice(..recent.len().min(len)).into());
        }
        if let Some(bytes) = self.ahead_from(log.generation(), from, len) {
            return Ok(bytes);
        }
        let end = self.fill(log, from, upto).await?;
        self.ahead_from(log.generation(), from, len).ok_or_else(|| {
            ReplicaError::Protocol(format!("no WAL at {from} although it is flushed up to {end}"))
        })
    }

    /// Notes whether it reads from files; if not, what it read is given up.
    fn set_lags(&mut self, lags: bool) {
        if std::mem::replace(&mut self.lags, lags) != lags {
            self.ahead = nothing();
            if lags { self.place.chunks.begin() } else { self.place.chunks.end() }
        }
    }

    fn ahead_from(&self, generation: u64, from: Lsn, len: usize) -> Option<Outgoing> {
        let (_, start, piece) = Some(&self.ahead).filter(|(read, ..)| *read == generation)?;
        let skip = usize::try_from(from.get().checked_sub(start.get())?).ok()?;
        let rest = piece.len().checked_sub(skip).filter(|rest| *rest > 0)?;
        Some(piece.slice(skip..skip + rest.min(len)))
    }

    /// Takes the chunk that holds `from`, and reads it on the I/O pool if nobody has it; the chunk's end,
    /// which is past `from`.
    async fn fill(&mut self, log: &LogState, from: Lsn, upto: Lsn) -> Result<Lsn, ReplicaError> {
        self.set_lags(true);
        let start = Lsn::new(from.get() / CHUNK * CHUNK);
        let whole = (start + CHUNK).min(log.flushed().max(upto));
        let KeptChunk { end, chunk, .. } = self.place.chunks.get(log.generation(), start, from, whole);
        let bytes = chunk.get_or_try_init(|| self.read_chunk(log, start, end)).await?.clone();
        self.ahead = (log.generation(), start, bytes);
        Ok(end)
    }

    async fn read_chunk(&self, log: &LogState, start: Lsn, end: Lsn) -> Result<Outgoing, ReplicaError> {
        let (place, history, flushed) = (self.place.clone(), log.history.clone(), log.flushed());
        let read = host::task::blocking(move || place.read_chunk(&history, start, end, flushed));
        read.await.map_err(|error| ReplicaError::Protocol(error.to_string()))?
    }
}

impl LogPlace {
    /// The bytes of `start..end`, which lie in one segment. Blocks.
    fn read_chunk(
        &self,
        history: &TimelineHistory,
        start: Lsn,
        end: Lsn,
        flushed: Lsn,
    ) -> Result<Outgoing, ReplicaError> {
        let mut files = self.files(history);
        files.set_limit(end);
        let sealed = self.segment_size.start_of(self.segment_size.segment_of(start).next()) <= flushed;
        let mapped = if sealed { self.map_chunk(&mut files, start, end)? } else { None };
        let piece = match mapped {
            Some(piece) => piece,
            None => Bytes::from(read_range(&mut files, start, end)?).into(),
        };
        check_pages(piece.bytes(), start, self.segment_size, history)?;
        Ok(piece)
    }

    /// The same out of the segment's mapped file; None if that may be written over, is too short, or goes on
    /// on another timeline.
    fn map_chunk(
        &self,
        files: &mut SegmentFiles,
        start: Lsn,
        end: Lsn,
    ) -> Result<Option<Outgoing>, ReplicaError> {
        let file = files.whole_segment(start).map_err(source_error)?;
        let Some(file) = file.filter(|file| self.in_place.permit(*file)) else { return Ok(None) };
        let name = file.segment.file_name(file.timeline, self.segment_size);
        let path = self.pg_wal.join(&name);
        let mapping = self.chunks.mapping(file, || match self.disk.map_sealed(&path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Err(ReplicaError::SegmentRemoved(name)),
            Err(cause) => Err(ReplicaError::File { what: "map", path: path.display().to_string(), cause }),
            Ok(mapping) => Ok(mapping),
        })?;
        let offset = usize::try_from(self.segment_size.offset_of(start)).unwrap_or(usize::MAX);
        let len = usize::try_from(end.bytes_since(start)).unwrap_or(usize::MAX);
        Ok(Outgoing::of_segment(mapping, offset..offset.saturating_add(len)))
    }
}

/// A segment may be recycled while it is read: each page says where it belongs.
fn check_pages(
    bytes: &[u8],
    start: Lsn,
    segment_size: SegmentSize,
    history: &TimelineHistory,
) -> Result<(), ReplicaError> {
    for (index, page) in bytes.chunks(PAGE as usize).enumerate() {
        let at = start + index as u64 * PAGE;
        let found = page.get(8..16).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
        // The last page may be cut before its address; pages behind a switch of segments are zeros, headers
        // too.
        if found.is_some_and(|found| found != 0 && found != at.get()) {
            let name = segment_size.segment_of(at).file_name(history.timeline_at(at), segment_size);
            return Err(ReplicaError::SegmentRemoved(name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: wal::TimelineId = wal::TimelineId::FIRST;
    const GENERATION: u64 = 1;

    fn get(chunks: &Chunks, generation: u64, from: u64, end: u64) -> Arc<Chunk> {
        chunks.get(generation, Lsn::new(from / CHUNK * CHUNK), Lsn::new(from), Lsn::new(end)).chunk
    }

    #[test]
    fn streams_share_a_chunk_as_far_as_it_goes() {
        let chunks = Chunks::default();
        chunks.begin();
        let first = get(&chunks, GENERATION, CHUNK + 10, CHUNK + 500);
        assert!(Arc::ptr_eq(&first, &get(&chunks, GENERATION, CHUNK + 499, CHUNK + 900)));
        let longer = get(&chunks, GENERATION, CHUNK + 500, CHUNK + 900);
        assert!(!Arc::ptr_eq(&first, &longer), "the log ended there when it was read");
        assert!(Arc::ptr_eq(&longer, &get(&chunks, GENERATION, CHUNK + 10, 2 * CHUNK)));
        let other = get(&chunks, 2, CHUNK + 10, 2 * CHUNK);
        assert!(!Arc::ptr_eq(&longer, &other), "another history may have other bytes there");
    }

    #[test]
    fn few_chunks_are_kept_and_none_when_no_stream_lags() {
        let chunks = Chunks::default();
        chunks.begin();
        chunks.begin();
        for at in 0..3 * KEPT as u64 {
            get(&chunks, GENERATION, at * CHUNK, (at + 1) * CHUNK);
        }
        assert_eq!(chunks.0.lock().list.len(), KEPT);
        chunks.end();
        assert_eq!(chunks.0.lock().list.len(), KEPT, "another stream still reads");
        chunks.end();
        assert!(chunks.0.lock().list.is_empty());
    }

    #[test]
    fn whole_segments_are_sent_in_place_and_the_newest_is_copied() {
        let dir = tempfile::tempdir().unwrap();
        let size = SegmentSize::new(1 << 20).unwrap();
        let place = LogPlace::new(host::Host::real().disk, dir.path(), size);
        let file = |segment: u64| SegmentFile { segment: wal::SegmentNumber::new(segment), timeline: ONE };
        for segment in 1..=3 {
            let mut bytes = vec![segment; 1 << 20];
            for page in 0..128 {
                let address = (u64::from(segment) << 20) + page * PAGE;
                bytes[(page * PAGE) as usize + 8..][..8].copy_from_slice(&address.to_le_bytes());
            }
            let name = file(segment.into()).segment.file_name(ONE, size);
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        let history = TimelineHistory::root(ONE);
        let read = |segment: u64, at: u64, len: u64| {
            let start = Lsn::new((segment << 20) + at);
            let piece =
                place.read_chunk(&history, start, start + len, Lsn::new((3 << 20) + 500_000)).unwrap();
            assert!(piece.bytes()[100..].contains(&(segment as u8)));
            assert_eq!(piece.len() as u64, len);
            piece.file().map(|(_, offset)| offset)
        };
        assert_eq!(read(1, 8192, 100_000), Some(8192));
        assert_eq!(read(3, 0, 500_000), None, "it is still written");
        assert_eq!(
            [1, 2].map(|segment| place.fate(file(segment))),
            [SegmentFate::Removed, SegmentFate::Reusable]
        );
        assert_eq!(read(2, 0, 1 << 20), None, "it may be written over");
        assert_eq!(read(1, 0, 1 << 20), Some(0));
        place.forget_removed().unwrap();
        assert_eq!(place.fate(file(1)), SegmentFate::Removed, "its file is there");
    }
}
