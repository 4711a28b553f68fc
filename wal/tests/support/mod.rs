//! A log laid down in memory by the format's rules alone, without the writer.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]
#![allow(dead_code, reason = "each test file uses its part")]

pub mod records;

use wal::page::{PAGE_SIZE, record_end, record_start};
use wal::{
    EncodedRecord, Lsn, PageFlags, PageHeader, RecordBuilder, Rmgr, SegmentSize, SystemId, TimelineId,
};

pub const SIZE: SegmentSize = SegmentSize::new(1 << 20).unwrap();
pub const SYSTEM: SystemId = SystemId::new(0x1122_3344_5566_7788);

/// Grows page by page; whole pages only.
#[derive(Clone)]
pub struct Log {
    pub start: Lsn,
    pub timeline: TimelineId,
    pub bytes: Vec<u8>,
    /// End of the last record.
    pub end: Lsn,
    pub previous: Lsn,
    /// Starts of the records.
    pub starts: Vec<Lsn>,
}

impl Log {
    /// An empty log from `start`, a page start.
    pub fn new(start: Lsn) -> Self {
        let timeline = TimelineId::FIRST;
        Self { start, timeline, bytes: Vec::new(), end: start, previous: Lsn::INVALID, starts: Vec::new() }
    }

    fn new_page(&mut self, flags: PageFlags, remaining: u32) {
        let address = self.start + self.bytes.len() as u64;
        let header = PageHeader::new(address, self.timeline, flags, remaining, SYSTEM, SIZE).encode();
        self.bytes.extend_from_slice(&header);
        self.bytes.resize(self.bytes.len() - header.len() + PAGE_SIZE, 0);
    }

    fn offset(&self, at: Lsn) -> usize {
        usize::try_from(at.bytes_since(self.start)).unwrap()
    }

    /// Appends a record; returns its start.
    pub fn push(&mut self, record: &mut EncodedRecord) -> Lsn {
        let bytes = record.finish(self.previous).to_vec();
        let start = record_start(self.end, SIZE);
        let mut at = start;
        let mut left = &bytes[..];
        if self.offset(at) >= self.bytes.len() {
            self.new_page(PageFlags::NONE, 0);
        }
        loop {
            let here = left.len().min(PAGE_SIZE - at.page_offset());
            let offset = self.offset(at);
            self.bytes[offset..offset + here].copy_from_slice(&left[..here]);
            left = &left[here..];
            if left.is_empty() {
                break;
            }
            let page = at.page_start() + PAGE_SIZE as u64;
            self.new_page(PageFlags::CONTRECORD, left.len() as u32);
            at = record_start(page, SIZE);
        }
        self.end = record_end(start, record.len(), SIZE);
        self.previous = start;
        self.starts.push(start);
        start
    }

    /// Appends an engine record with `len` bytes of main data, filled from `seed`.
    pub fn push_bytes(&mut self, seed: u8, len: usize) -> Lsn {
        let data: Vec<u8> = (0..len).map(|at| seed.wrapping_add(at as u8) | 1).collect();
        self.push(&mut RecordBuilder::new(Rmgr::ENGINE, 0x10, 7).main_data(&data).encode().unwrap())
    }

    /// Gives up what lies from `page` on, and puts a page there that says so. The next record goes there.
    pub fn overwrite_from(&mut self, page: Lsn) {
        let offset = self.offset(page);
        self.bytes.truncate(offset);
        self.new_page(PageFlags::OVERWRITE_CONTRECORD, 0);
        self.end = page;
    }
}
