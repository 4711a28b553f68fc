//! The log's end in memory: records are laid down into pages here, and taken from here by whoever writes.
//!
//! Bytes lie in chunks. What was taken is frozen and shared, never copied: the file gets it, and senders read
//! it from [`Recent`] until it is pushed out by newer bytes. A chunk's memory is used again when nobody holds
//! it any more.

use crate::ids::{Lsn, SegmentSize, SystemId, TimelineId};
use crate::page::{LONG_HEADER_SIZE, PAGE_SIZE, PageFlags, PageHeader, record_start};
use crate::segments::ZEROS;
use bytes::{Bytes, BytesMut};
use host::Mutex;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;

/// Stretches kept for senders, however short each is.
const STRETCHES_MAX: usize = 16 << 10;
/// A stretch at least this long is given out as it is, even if more was asked for.
const WORTH_SENDING: usize = 16 << 10;

/// Memory for chunks that nobody uses now.
#[derive(Debug)]
pub(super) struct ChunkPool {
    chunk_bytes: usize,
    free: Mutex<Vec<BytesMut>>,
}

impl ChunkPool {
    const KEPT_MAX: usize = 4;

    pub(super) fn new(chunk_bytes: usize) -> Self {
        Self { chunk_bytes, free: Mutex::default() }
    }
    fn take(&self) -> BytesMut {
        self.free.lock().pop().unwrap_or_else(|| BytesMut::with_capacity(self.chunk_bytes))
    }
    /// Takes a chunk's last stretch back; its memory is kept if nobody else holds a part of it.
    fn give_back(&self, last: Bytes) {
        let Ok(mut memory) = last.try_into_mut() else { return };
        memory.clear();
        if memory.try_reclaim(self.chunk_bytes) {
            let mut free = self.free.lock();
            if free.len() < Self::KEPT_MAX {
                free.push(memory);
            }
        }
    }
}

/// A run of log bytes that was taken to be written.
#[derive(Clone, Debug)]
pub(super) struct Stretch {
    pub(super) start: Lsn,
    pub(super) len: u64,
    /// None: zeros, behind a switch of segments.
    pub(super) bytes: Option<Bytes>,
    ends_chunk: bool,
}

impl Stretch {
    fn end(&self) -> Lsn {
        self.start + self.len
    }
}

pub(super) type Stretches = SmallVec<[Stretch; 4]>;

/// Where records get their place. Its owner holds it under a lock.
#[derive(Debug)]
pub(super) struct Tail {
    pages: PageMaker,
    pool: Arc<ChunkPool>,
    /// Where the next byte goes. A multiple of 8; at a page's start the header is still to come.
    at: Lsn,
    /// Where the last record starts.
    previous: Lsn,
    /// Where `chunk` begins in the log.
    chunk_start: Lsn,
    chunk: BytesMut,
    /// Full chunks and zeros that wait to be written, oldest first.
    full: Stretches,
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// No record has a place any more but the last one.
    pub(super) is_sealed: bool,
}

/// What page headers are made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageMaker {
    pub(super) timeline: TimelineId,
    pub(super) system_id: SystemId,
    pub(super) segment_size: SegmentSize,
    /// The page that begins with the mark that the rest of a record never came.
    pub(super) overwritten: Option<Lsn>,
}

impl PageMaker {
    /// Writes the header of the page at `address`, whose first `remaining` bytes belong to a record that
    /// started before.
    fn put_header(&self, address: Lsn, remaining: u32, out: &mut BytesMut) {
        let mut flags = if remaining > 0 { PageFlags::CONTRECORD } else { PageFlags::NONE };
        if self.overwritten == Some(address) {
            flags = flags.with(PageFlags::OVERWRITE_CONTRECORD);
        }
        let header =
            PageHeader::new(address, self.timeline, flags, remaining, self.system_id, self.segment_size);
        out.extend_from_slice(&header.encode());
    }
}

impl Tail {
    pub(super) fn new(pages: PageMaker, pool: Arc<ChunkPool>, at: Lsn, previous: Lsn) -> Self {
        Self {
            pages,
            chunk: BytesMut::new(),
            pool,
            at,
            previous,
            chunk_start: at,
            full: Stretches::new(),
            records: 0,
            bytes: 0,
            is_sealed: false,
        }
    }

    pub(super) fn at(&self) -> Lsn {
        self.at
    }
    pub(super) fn previous(&self) -> Lsn {
        self.previous
    }
    /// Where the next record will start: behind the page header where one is still to come.
    pub(super) fn next_start(&self) -> Lsn {
        record_start(self.at, self.pages.segment_size)
    }

    /// Lays down a record that was finished with [`Tail::previous`]; returns its start and its end.
    #[inline]
    pub(super) fn put(&mut self, record: &[u8]) -> (Lsn, Lsn) {
        let start = self.next_start();
        let mut rest = record;
        loop {
            if self.at.page_offset() == 0 {
                let continued = if rest.len() < record.len() { rest.len() } else { 0 };
                self.put_page_header(u32::try_from(continued).unwrap_or(u32::MAX));
            }
            let (now, later) = rest.split_at(rest.len().min(PAGE_SIZE - self.at.page_offset()));
            self.put_bytes(now);
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        // Aligned ends never leave the page, since 8 divides its size.
        let padding = self.at.aligned().bytes_since(self.at);
        self.put_bytes(ZEROS.get(..usize::try_from(padding).unwrap_or(0)).unwrap_or_default());
        self.previous = start;
        self.records += 1;
        self.bytes += record.len() as u64;
        (start, self.at)
    }

    /// Leaves the rest of the segment as zeros, page headers too.
    pub(super) fn skip_segment(&mut self) {
        let size = self.pages.segment_size;
        let used = size.offset_of(self.at);
        if used == 0 {
            return;
        }
        self.split();
        let stretch = Stretch { start: self.at, len: size.bytes() - used, bytes: None, ends_chunk: false };
        self.at = stretch.end();
        self.chunk_start = self.at;
        self.full.push(stretch);
    }

    /// Takes everything that was laid down since the last time.
    pub(super) fn take(&mut self) -> Stretches {
        self.split();
        std::mem::take(&mut self.full)
    }

    fn put_page_header(&mut self, remaining: u32) {
        if self.room() < LONG_HEADER_SIZE {
            self.renew();
        }
        let before = self.chunk.len();
        self.pages.put_header(self.at, remaining, &mut self.chunk);
        self.at = self.at + (self.chunk.len() - before) as u64;
    }

    fn put_bytes(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.room() == 0 {
                self.renew();
            }
            let (now, later) = bytes.split_at(bytes.len().min(self.room()));
            self.chunk.extend_from_slice(now);
            self.at = self.at + now.len() as u64;
            bytes = later;
        }
    }

    /// Bytes that the chunk takes without growing.
    fn room(&self) -> usize {
        self.chunk.capacity() - self.chunk.len()
    }

    fn renew(&mut self) {
        self.seal();
        self.chunk = self.pool.take();
    }

    /// Puts the chunk's bytes behind the full ones and goes on in the rest of its memory.
    fn split(&mut self) {
        if !self.chunk.is_empty() {
            let bytes = self.chunk.split().freeze();
            self.push(bytes, false);
        }
    }

    /// Puts the chunk's bytes behind the full ones, and its memory with them.
    fn seal(&mut self) {
        if self.chunk.capacity() > 0 {
            let bytes = std::mem::take(&mut self.chunk).freeze();
            self.push(bytes, true);
        }
    }

    fn push(&mut self, bytes: Bytes, ends_chunk: bool) {
        let stretch =
            Stretch { start: self.chunk_start, len: bytes.len() as u64, bytes: Some(bytes), ends_chunk };
        self.chunk_start = stretch.end();
        self.full.push(stretch);
    }
}

/// The newest written bytes, for senders.
#[derive(Debug)]
pub(super) struct Recent {
    pool: Arc<ChunkPool>,
    bytes_max: u64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Contiguous, oldest first.
    stretches: VecDeque<Stretch>,
    bytes: u64,
}

impl Recent {
    pub(super) fn new(pool: Arc<ChunkPool>, bytes_max: u64) -> Self {
        Self { pool, bytes_max, kept: Mutex::default() }
    }

    /// Adds what was just written, behind what was added before, and lets the oldest go.
    pub(super) fn push(&self, written: Stretches) {
        let mut gone: SmallVec<[Bytes; 8]> = SmallVec::new();
        {
            let mut kept = self.kept.lock();
            for stretch in written {
                kept.bytes += memory_of(&stretch);
                kept.stretches.push_back(stretch);
            }
            while kept.bytes > self.bytes_max || kept.stretches.len() > STRETCHES_MAX {
                let Some(oldest) = kept.stretches.pop_front() else { break };
                kept.bytes -= memory_of(&oldest);
                if let (true, Some(bytes)) = (oldest.ends_chunk, oldest.bytes) {
                    gone.push(bytes);
                }
            }
        }
        gone.into_iter().for_each(|last| self.pool.give_back(last));
    }

    /// Up to `max` log bytes from `from` on and before `upto`; None if the first one is no longer kept. Never
    /// empty.
    pub(super) fn read(&self, from: Lsn, upto: Lsn, max: usize) -> Option<Bytes> {
        let wanted = max.min(usize::try_from(upto.bytes_since(from)).unwrap_or(usize::MAX));
        let mut parts: SmallVec<[Bytes; 16]> = SmallVec::new();
        let mut got = 0;
        {
            let kept = self.kept.lock();
            let first = kept.stretches.partition_point(|stretch| stretch.end() <= from);
            let mut at = from;
            for stretch in kept.stretches.range(first..) {
                if got == wanted || at < stretch.start || (got > 0 && stretch.bytes.is_none()) {
                    break;
                }
                let part = stretch.part(at, wanted - got);
                at = at + part.len() as u64;
                got += part.len();
                parts.push(part);
                if got >= WORTH_SENDING && parts.len() == 1 {
                    break;
                }
            }
        }
        match parts.len() {
            0 => None,
            1 => parts.pop(),
            _ => {
                let mut joined = BytesMut::with_capacity(got);
                parts.iter().for_each(|part| joined.extend_from_slice(part));
                Some(joined.freeze())
            }
        }
        .filter(|bytes| !bytes.is_empty())
    }
}

impl Stretch {
    /// Up to `max` bytes from `at` on, shared.
    fn part(&self, at: Lsn, max: usize) -> Bytes {
        let skip = usize::try_from(at.bytes_since(self.start)).unwrap_or(usize::MAX);
        match &self.bytes {
            Some(bytes) => {
                let skip = skip.min(bytes.len());
                bytes.slice(skip..bytes.len().min(skip.saturating_add(max)))
            }
            None => {
                let left = usize::try_from(self.len).unwrap_or(usize::MAX).saturating_sub(skip);
                Bytes::from_static(&ZEROS).slice(..left.min(max).min(ZEROS.len()))
            }
        }
    }
}

fn memory_of(stretch: &Stretch) -> u64 {
    if stretch.bytes.is_some() { stretch.len } else { 0 }
}
