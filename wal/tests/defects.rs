//! Damage, one defect at a time: what the reader says of each, and that it never takes a bad record for a
//! good one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod support;

use bytes::Bytes;
use support::{Log, SIZE, SYSTEM};
use wal::page::{PAGE_SIZE, PageDefect};
use wal::reader::{Damage, Defect};
use wal::record::{RECORD_HEADER_SIZE, RecordDefect};
use wal::xlog::XlogRecord;
use wal::{
    EndOfWal, EndReason, Lsn, Next, ReadError, ReaderOptions, Record, RecordBuilder, Rmgr, WalBytes,
    WalReader,
};

fn options() -> ReaderOptions {
    ReaderOptions { system_id: Some(SYSTEM), record_size_max: 1 << 20, ..ReaderOptions::new(SIZE) }
}

fn read_all(bytes: &[u8], start: Lsn, options: ReaderOptions) -> (Vec<Record>, Result<EndOfWal, ReadError>) {
    let source = WalBytes::new(start, Bytes::copy_from_slice(bytes));
    let mut reader = WalReader::new(source, options, start);
    let mut records = Vec::new();
    loop {
        match reader.next() {
            Ok(Next::Record(record)) => records.push(record),
            Ok(Next::End(end)) => return (records, Ok(end)),
            Err(error) => return (records, Err(error)),
        }
    }
}

/// Records of many lengths over several pages and a segment border.
fn log() -> Log {
    let mut log = Log::new(Lsn::new((1 << 20) - 2 * PAGE_SIZE as u64));
    for (seed, len) in [(1, 10), (2, 300), (3, 8000), (4, 9000), (5, 0), (6, 20000), (7, 255), (8, 256)] {
        log.push_bytes(seed, len);
    }
    log
}

fn defect(end: &EndOfWal) -> Defect {
    match end.reason {
        EndReason::Invalid(Damage { defect, .. }) => defect,
        EndReason::NotYet { at } => panic!("starved at {at}"),
    }
}

#[test]
fn a_log_is_read_to_its_clean_end_over_pages_and_segments() {
    let log = log();
    let (records, end) = read_all(&log.bytes, log.start, options());
    let end = end.unwrap();
    let starts: Vec<Lsn> = records.iter().map(Record::start).collect();
    assert_eq!(starts, log.starts);
    assert_eq!(end.at, log.end);
    assert!(!end.torn && end.broken.is_none(), "{end:?}");
    assert_eq!(defect(&end), Defect::NoRecord);
    for (record, next) in records.iter().zip(&records[1..]) {
        assert_eq!(next.previous(), record.start());
    }
}

#[test]
fn each_broken_header_field_ends_the_log_right_before_its_record_and_names_itself() {
    let mut log = log();
    let target = log.push_bytes(9, 40);
    log.push_bytes(10, 40);
    let previous = log.starts[log.starts.len() - 3];
    let at = usize::try_from(target.bytes_since(log.start)).unwrap();
    let bad_prev = previous + 8;
    type Check = fn(Defect) -> bool;
    let table: [(&str, usize, Vec<u8>, Check); 9] = [
        ("zero length", 0, vec![0; 4], |defect| defect == Defect::NoRecord),
        ("length below a header", 0, vec![23, 0, 0, 0], |defect| {
            defect == Defect::LengthTooShort { expected: 24, found: 23 }
        }),
        ("length above the limit", 0, vec![0, 0, 16, 1], |defect| {
            defect == Defect::LengthTooLong { limit: 1 << 20, found: 0x0110_0000 }
        }),
        ("length one less", 0, vec![65, 0, 0, 0], |defect| {
            matches!(defect, Defect::Record(RecordDefect::Crc { .. }))
        }),
        ("xid", 4, vec![8, 0, 0, 0], |defect| matches!(defect, Defect::Record(RecordDefect::Crc { .. }))),
        (
            "prev-link",
            8,
            bad_prev.get().to_le_bytes().to_vec(),
            |defect| matches!(defect, Defect::Previous { expected, found } if found == expected + 8),
        ),
        ("info", 16, vec![0x20], |defect| matches!(defect, Defect::Record(RecordDefect::Crc { .. }))),
        ("resource manager", 17, vec![22], |defect| {
            defect == Defect::Record(RecordDefect::Rmgr { found: 22 })
        }),
        ("checksum", 20, vec![1, 2, 3, 4], |defect| {
            matches!(defect, Defect::Record(RecordDefect::Crc { found: 0x0403_0201, .. }))
        }),
    ];
    for (name, offset, bytes, check) in table {
        let mut damaged = log.bytes.clone();
        damaged[at + offset..at + offset + bytes.len()].copy_from_slice(&bytes);
        let (records, end) = read_all(&damaged, log.start, options());
        let end = end.unwrap();
        assert_eq!(records.len(), log.starts.len() - 2, "{name}");
        assert_eq!(end.at, target, "{name}");
        assert!(check(defect(&end)), "{name}: {end:?}");
        assert!(end.torn, "{name}: {end:?}");
        // The same below a proven flush point is damage, not an end; at that point it is an end.
        let proven = ReaderOptions { proven_flush: target + 1, ..options() };
        let (_, error) = read_all(&damaged, log.start, proven);
        assert!(matches!(error, Err(ReadError::Corrupt { at, .. }) if at == target), "{name}: {error:?}");
        let unproven = ReaderOptions { proven_flush: target, ..options() };
        assert!(read_all(&damaged, log.start, unproven).1.is_ok(), "{name}");
    }
}

#[test]
fn every_cut_of_the_last_record_ends_right_before_it() {
    for len in [3, 8000, 17000] {
        let mut log = log();
        let before = log.end;
        let target = log.push_bytes(9, len);
        let first = usize::try_from(target.bytes_since(log.start)).unwrap();
        let last = usize::try_from(log.end.bytes_since(log.start)).unwrap();
        // The padding behind the record belongs to it for positions, not for reading.
        let padding = last - (first..last).rev().find(|at| log.bytes[*at] != 0).unwrap() - 1;
        let step = if len < 100 { 1 } else { 37 };
        for cut in (first..last - padding).step_by(step) {
            let (records, end) = read_all(&log.bytes[..cut], log.start, options());
            let end = end.unwrap();
            assert_eq!(records.len(), log.starts.len() - 1, "cut at {cut} of {first}..{last}");
            assert_eq!(end.at, before, "cut at {cut}");
            assert_eq!(end.torn, cut > first, "cut at {cut}: {end:?}");
            let EndReason::NotYet { at } = end.reason else { panic!("cut at {cut}: {end:?}") };
            assert_eq!(at, log.start + cut as u64, "where the bytes end");
            // The same with the rest of the file as zeros: a preallocated segment.
            let mut zeroed = log.bytes.clone();
            zeroed[cut..].fill(0);
            let (records, end) = read_all(&zeroed, log.start, options());
            let end = end.unwrap();
            assert_eq!(records.len(), log.starts.len() - 1, "zeros from {cut}");
            assert_eq!((end.at, end.torn), (before, cut > first), "zeros from {cut}: {end:?}");
        }
    }
}

#[test]
fn the_longest_record_that_is_allowed_is_read_and_a_longer_one_is_not() {
    let mut log = log();
    log.push_bytes(9, 21_000);
    let length = 24 + 5 + 21_000; // the header, the main data's own header, the data
    let up_to =
        |record_size_max| read_all(&log.bytes, log.start, ReaderOptions { record_size_max, ..options() });
    assert_eq!(up_to(length).0.len(), log.starts.len());
    let (records, end) = up_to(length - 1);
    assert_eq!(records.len(), log.starts.len() - 1);
    assert_eq!(defect(&end.unwrap()), Defect::LengthTooLong { limit: length - 1, found: length });
}

#[test]
fn every_bit_flip_in_a_page_header_is_noticed_but_for_flags_that_mean_nothing_there() {
    let log = log();
    let (whole, _) = read_all(&log.bytes, log.start, options());
    for page in (0..log.bytes.len()).step_by(PAGE_SIZE) {
        let size = if (log.start.get() + page as u64).is_multiple_of(1 << 20) { 40 } else { 24 };
        for bit in 0..size * 8 {
            let mut damaged = log.bytes.clone();
            damaged[page + bit / 8] ^= 1 << (bit % 8);
            let (records, _) = read_all(&damaged, log.start, options());
            // Two flips are explained: XLP_BKP_REMOVABLE (bit 18) means nothing to a reader, and on the very
            // first page nothing tells whether a record was given up before it (bit 19). Timelines (bits 32
            // to 63) are the next test's.
            let explained = bit == 18 || (bit == 19 && page == 0) || (32..64).contains(&bit);
            assert!(records.len() < whole.len() || explained, "a flip of bit {bit} at {page} went unnoticed");
            assert!(bit != 18 || records.len() == whole.len());
        }
    }
}

/// A source that knows its timeline, as segment files with a history do.
struct Known(WalBytes);
impl wal::WalSource for Known {
    fn read(&mut self, from: Lsn, buf: &mut [u8]) -> Result<usize, wal::SourceError> {
        self.0.read(from, buf)
    }
    fn timeline_at(&self, _: Lsn) -> Option<wal::TimelineId> {
        Some(wal::TimelineId::FIRST)
    }
}

#[test]
fn every_bit_flip_in_a_pages_timeline_is_noticed_where_the_history_is_known() {
    let log = log();
    for page in (0..log.bytes.len()).step_by(PAGE_SIZE) {
        for bit in 32..64 {
            let mut damaged = log.bytes.clone();
            damaged[page + bit / 8] ^= 1 << (bit % 8);
            let mut reader = WalReader::new(Known(WalBytes::new(log.start, damaged)), options(), log.start);
            let end = loop {
                if let Next::End(end) = reader.next().unwrap() {
                    break end;
                }
            };
            assert!(matches!(defect(&end), Defect::Page(PageDefect::Timeline { .. })), "bit {bit}: {end:?}");
        }
    }
}

#[test]
fn every_bit_flip_in_a_record_is_noticed() {
    let mut log = Log::new(Lsn::new(1 << 20));
    log.push_bytes(1, 20);
    let target = log.push_bytes(2, 30);
    let first = usize::try_from(target.bytes_since(log.start)).unwrap();
    for bit in 0..(RECORD_HEADER_SIZE + 2 + 30) * 8 {
        let mut damaged = log.bytes.clone();
        damaged[first + bit / 8] ^= 1 << (bit % 8);
        let (records, _) = read_all(&damaged, log.start, options());
        // The two bytes of padding in the header are covered by the checksum too.
        assert_eq!(records.len(), 1, "bit {bit}");
    }
}

#[test]
fn a_record_whose_rest_was_given_up_is_skipped_and_must_be_named() {
    let mut log = log();
    let previous = log.previous;
    let aborted = log.push_bytes(9, 20000);
    let page = aborted.page_start() + 2 * PAGE_SIZE as u64;
    // What a primary sees after the crash: the first two pages, then nothing.
    let cut = usize::try_from(page.bytes_since(log.start)).unwrap();
    let (_, end) = read_all(&log.bytes[..cut], log.start, options());
    let end = end.unwrap();
    let broken = end.broken.unwrap();
    assert_eq!((broken.start, broken.missing_at), (aborted, page));
    assert!(end.torn);
    // And what it writes then.
    let mut log = Log { previous, ..log };
    log.overwrite_from(page);
    log.starts.pop();
    let mut named = log.clone();
    let record = |overwritten| XlogRecord::OverwriteContrecord { overwritten, time: Default::default() };
    let over = named.push(&mut record(aborted).encode().unwrap());
    named.push_bytes(10, 100);
    let (records, end) = read_all(&named.bytes, named.start, options());
    assert_eq!(records.iter().map(Record::start).collect::<Vec<_>>(), named.starts);
    assert!(!end.unwrap().torn);
    let found = records.iter().find(|record| record.start() == over).unwrap();
    assert_eq!(found.overwrites(), Some(aborted));
    // Another record there, or one that names another, does not do.
    for mut wrong in [
        record(aborted + 8).encode().unwrap(),
        RecordBuilder::new(Rmgr::ENGINE, 0, 1).main_data(b"x").encode().unwrap(),
    ] {
        let mut log = log.clone();
        log.push(&mut wrong);
        let (records, end) = read_all(&log.bytes, log.start, options());
        assert_eq!(records.len(), log.starts.len() - 1);
        assert_eq!(defect(&end.unwrap()), Defect::NoOverwrite { expected: aborted });
    }
}

#[test]
fn a_recycled_page_is_a_clean_end_and_a_page_of_another_cluster_is_not() {
    let mut log = Log::new(Lsn::new(4 << 20));
    // Fill the page to its last byte, so that the next record belongs on the next page.
    log.push_bytes(1, PAGE_SIZE - 40 - RECORD_HEADER_SIZE - 5);
    assert_eq!(log.end.page_offset(), 0);
    let mut old = Log::new(Lsn::new((1 << 20) + PAGE_SIZE as u64));
    old.push_bytes(3, 100);
    let mut recycled = log.bytes.clone();
    recycled.extend_from_slice(&old.bytes);
    let (records, end) = read_all(&recycled, log.start, options());
    let end = end.unwrap();
    assert_eq!((records.len(), end.torn), (1, false), "{end:?}");
    assert!(matches!(defect(&end), Defect::Page(PageDefect::Address { .. })));
    let mut ahead = Log::new(Lsn::new((9 << 20) + PAGE_SIZE as u64));
    ahead.push_bytes(3, 100);
    let mut wrong = log.bytes.clone();
    wrong.extend_from_slice(&ahead.bytes);
    assert!(read_all(&wrong, log.start, options()).1.unwrap().torn);
    let foreign = ReaderOptions { system_id: Some(wal::SystemId::new(5)), ..options() };
    let (records, end) = read_all(&log.bytes, log.start, foreign);
    assert!(records.is_empty());
    assert!(matches!(defect(&end.unwrap()), Defect::Page(PageDefect::SystemId { .. })));
}

#[test]
fn records_that_arrive_piece_by_piece_are_read_as_they_complete() {
    let log = log();
    for step in [1000, 8192, 5] {
        let mut have = 0;
        let mut reader = WalReader::new(WalBytes::new(log.start, Bytes::new()), options(), log.start);
        let mut starts = Vec::new();
        let last = usize::try_from(log.end.bytes_since(log.start)).unwrap();
        // A small step only for the first pages, to keep it quick.
        let until = if step == 5 { 3 * PAGE_SIZE } else { last };
        while have < until {
            have = (have + step).min(last);
            *reader.source_mut() = WalBytes::new(log.start, log.bytes[..have].to_vec());
            while let Next::Record(record) = reader.next().unwrap() {
                assert!(record.end() <= (log.start + have as u64).aligned());
                starts.push(record.start());
            }
        }
        assert_eq!(starts, log.starts[..starts.len()]);
        assert!(step == 5 || starts.len() == log.starts.len());
    }
}

#[test]
fn a_length_out_of_nowhere_takes_no_memory() {
    let mut log = Log::new(Lsn::new(1 << 20));
    log.push_bytes(1, 10);
    let at = usize::try_from(log.end.bytes_since(log.start)).unwrap();
    log.bytes[at..at + 4].copy_from_slice(&(900_u32 << 20).to_le_bytes());
    log.bytes[at + 8..at + 16].copy_from_slice(&log.previous.get().to_le_bytes());
    let (records, end) = read_all(&log.bytes, log.start, ReaderOptions::new(SIZE));
    let end = end.unwrap();
    assert_eq!(records.len(), 1);
    assert!(end.torn && end.broken.is_some(), "{end:?}");
}
