//! Power cuts in the middle of the last record: of each kind, at each byte, wherever it lies on its pages and
//! segments.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod support;

use host::{Disk, OpenMode};
use simulation::VirtualDisk;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use support::records::every_record;
use support::{Log, SIZE, SYSTEM};
use wal::history::TimelineHistory;
use wal::page::{LONG_HEADER_SIZE, PAGE_SIZE, SHORT_HEADER_SIZE};
use wal::xlog::XlogRecord;
use wal::{
    EncodedRecord, EndOfWal, Lsn, Next, PageFlags, PageHeader, ReaderOptions, RecordBuilder, Rmgr,
    SegmentFiles, TimelineId, WalReader, WalWriter, WriteStart, WriterConfig,
};

const DIR: &str = "/pg_wal";
const PAGE: u64 = PAGE_SIZE as u64;
const TLI: TimelineId = TimelineId::FIRST;

/// Where the last record begins.
#[derive(Clone, Copy, Debug)]
struct Straddle {
    /// The border that it lies at: a page's or a segment's.
    border: Lsn,
    /// How many bytes before the border it begins.
    before: u64,
}

/// All that are worth trying for a record of `len` bytes.
fn straddles(len: u64) -> Vec<Straddle> {
    let segment = Lsn::new(3 << 20);
    let page = segment - 5 * PAGE;
    let aligned = len.next_multiple_of(8);
    let mut found = Vec::new();
    for border in [page, segment] {
        // The header split, a few bytes behind the header, half of the record, all of it, and all with room
        // left.
        for before in [8, 16, 24, 32, (len / 2).next_multiple_of(8), aligned, aligned + 64] {
            if (8..PAGE - 200).contains(&before) {
                found.push(Straddle { border, before });
            }
        }
    }
    found
}

/// A log whose last record is `record`, begun as the straddle says; returns the end of the one before.
fn log_with(record: &mut EncodedRecord, straddle: Straddle) -> (Log, Lsn) {
    let start = straddle.border - straddle.before;
    let mut log = Log::new(start.page_start());
    let header = if SIZE.offset_of(log.start) == 0 { LONG_HEADER_SIZE } else { SHORT_HEADER_SIZE };
    log.push_bytes(1, 10);
    let fill = start.bytes_since(log.start) as usize - header - 40;
    // A header of 24, then 2 or 5 bytes before the data.
    log.push_bytes(2, if fill <= 24 + 2 + 255 { fill - 26 } else { fill - 29 });
    assert_eq!(log.end, start);
    log.push(record);
    assert_eq!(log.starts[2], start);
    (log, start)
}

fn path_of(at: Lsn) -> std::path::PathBuf {
    Path::new(DIR).join(SIZE.segment_of(at).file_name(TLI, SIZE))
}

/// The log on a disk, in segments of full size.
fn on_disk(log: &Log) -> VirtualDisk {
    let disk = VirtualDisk::new();
    disk.create_dir(Path::new(DIR)).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let mut at = log.start;
    let mut rest = &log.bytes[..];
    while !rest.is_empty() {
        let here = rest.len().min((SIZE.bytes() - SIZE.offset_of(at)) as usize);
        let file = disk.open(&path_of(at), OpenMode::Create).unwrap();
        file.truncate(SIZE.bytes()).unwrap();
        file.write_all_at(&rest[..here], SIZE.offset_of(at)).unwrap();
        file.sync().unwrap();
        rest = &rest[here..];
        at = at + here as u64;
    }
    if SIZE.offset_of(log.start) != 0 {
        // pg_waldump takes the segment size from here.
        let segment = SIZE.start_of(SIZE.segment_of(log.start));
        let header = PageHeader::new(segment, TLI, PageFlags::NONE, 0, SYSTEM, SIZE).encode();
        let file = disk.open(&path_of(segment), OpenMode::ReadWrite).unwrap();
        file.write_all_at(&header, 0).unwrap();
        file.sync().unwrap();
    }
    disk.sync_dir(Path::new(DIR)).unwrap();
    disk
}

/// Puts zeros from `cut` to the end of the log.
fn cut_off(disk: &VirtualDisk, mut cut: Lsn, end: Lsn) {
    while cut < end {
        let here = (SIZE.bytes() - SIZE.offset_of(cut)).min(end.bytes_since(cut));
        let file = disk.open(&path_of(cut), OpenMode::ReadWrite).unwrap();
        file.write_all_at(&vec![0; here as usize], SIZE.offset_of(cut)).unwrap();
        file.sync().unwrap();
        cut = cut + here;
    }
}

fn read_all(disk: &VirtualDisk, from: Lsn) -> (Vec<Lsn>, EndOfWal, WalReader<SegmentFiles>) {
    let source = SegmentFiles::new(Arc::new(disk.clone()), DIR, SIZE, TimelineHistory::root(TLI));
    let options = ReaderOptions { system_id: Some(SYSTEM), ..ReaderOptions::new(SIZE) };
    let mut reader = WalReader::new(source, options, from);
    let mut starts = Vec::new();
    loop {
        match reader.next().unwrap() {
            Next::Record(record) => starts.push(record.start()),
            Next::End(end) => return (starts, end, reader),
        }
    }
}

/// Writes on as recovery does, a record over a page border too; returns the new records' starts and where the
/// log ends. `honest`: what was begun and is not whole is given up as the format has it.
fn write_on(disk: &VirtualDisk, end: &EndOfWal, previous: Lsn, honest: bool) -> (Vec<Lsn>, Lsn) {
    let config = WriterConfig { segment_size: SIZE, background: false, ..WriterConfig::new(SYSTEM, TLI) };
    let start = WriteStart {
        insert_at: end.broken.map_or(end.at, |broken| broken.missing_at),
        previous,
        overwrites_contrecord: end.broken.is_some() && honest,
        forked_from: None,
    };
    let wal = WalWriter::open(&simulation::host(disk, 1), Path::new(DIR), config, start).unwrap();
    let mut starts = Vec::new();
    let mut put = |mut record: EncodedRecord| starts.push(wal.insert(&mut record).unwrap().start);
    if let Some(broken) = end.broken.filter(|_| honest) {
        let given_up =
            XlogRecord::OverwriteContrecord { overwritten: broken.start, time: Default::default() };
        put(given_up.encode().unwrap());
    }
    for len in [20, 9000, 20] {
        put(RecordBuilder::new(Rmgr::XLOG, wal::xlog::NOOP, 0).main_data(&vec![9; len]).encode().unwrap());
    }
    let end = wal.flush_all().unwrap();
    (starts, end)
}

/// pg_waldump over all of the log; what it says against it.
fn waldump(disk: &VirtualDisk, from: Lsn, end: Lsn) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    disk.export(Path::new(DIR), folder.path()).unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        // It asks any segment for the size, one that was made ahead and is all zeros too.
        let path = entry.unwrap().path();
        if std::fs::read(&path).unwrap().iter().take(8).all(|byte| *byte == 0) {
            std::fs::remove_file(path).unwrap();
        }
    }
    let output = Command::new("/usr/lib/postgresql/15/bin/pg_waldump")
        .arg("-p")
        .arg(folder.path())
        .args(["-q", "-s", &from.to_string(), "-e", &end.to_string()])
        .env("LC_ALL", "C")
        .output()
        .unwrap_or_else(|error| panic!("pg_waldump of PostgreSQL 15 must be installed: {error}"));
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// The places to cut at: each byte of a record of moderate length, and of a long one those around page
/// borders and some between.
fn cuts(first: Lsn, upto: Lsn) -> impl Iterator<Item = Lsn> {
    let long = upto.bytes_since(first) > 2000;
    (0..upto.bytes_since(first)).map(move |at| first + at).filter(move |at| {
        let near = at.page_offset() < 60 || at.page_offset() > PAGE_SIZE - 30;
        !long || near || at.get().is_multiple_of(97)
    })
}

#[test]
fn wherever_the_last_record_is_cut_the_log_ends_before_it_and_goes_on_as_the_format_has_it() {
    let (mut tried, mut given_up, mut dumped) = (0, 0, 0);
    for (kind, record) in every_record().into_iter().enumerate() {
        for straddle in straddles(u64::from(record.len())) {
            let (log, start) = log_with(&mut record.clone(), straddle);
            let whole = on_disk(&log);
            let first = log.starts[0];
            let last = log.bytes.iter().rposition(|byte| *byte != 0).unwrap();
            // Zeros at its end make no difference.
            let upto = log.start + last as u64;
            for (number, cut) in cuts(start, upto).enumerate() {
                let what = || format!("record {kind} of {} bytes at {straddle:?} cut at {cut}", record.len());
                let disk = whole.fork();
                cut_off(&disk, cut, log.start + log.bytes.len() as u64);
                let (found, end, mut reader) = read_all(&disk, first);
                assert_eq!(found, log.starts[..2], "{}", what());
                assert_eq!(end.at, start, "{}", what());
                let tail = reader.verify_end(&end).unwrap_or_else(|error| panic!("{}: {error}", what()));
                assert!(tail.from == start && tail.upto <= cut.max(start), "{}: {tail:?}", what());
                tried += 1;
                if !number.is_multiple_of(5) && end.broken.is_none() {
                    continue;
                }
                given_up += u32::from(end.broken.is_some());
                let (more, log_end) = write_on(&disk, &end, log.starts[1], true);
                let (found, again, mut reader) = read_all(&disk, first);
                let expected: Vec<Lsn> = log.starts[..2].iter().chain(&more).copied().collect();
                assert_eq!(found, expected, "{}", what());
                assert_eq!(again.at, log_end, "{}", what());
                assert_eq!(reader.verify_end(&again).unwrap().bytes(), 0, "{}", what());
                if number % 40 == 20 {
                    waldump(&disk, first, log_end).unwrap_or_else(|said| panic!("{}: {said}", what()));
                    dumped += 1;
                }
            }
        }
    }
    println!("{tried} cuts, {given_up} with a record given up, {dumped} looked at by pg_waldump");
    assert!(tried > 20_000 && given_up > 1000 && dumped > 200);
}

#[test]
fn going_on_without_giving_up_the_cut_record_is_noticed_by_us_and_by_pg_waldump() {
    let mut record = every_record().pop().unwrap();
    let straddle = Straddle { border: Lsn::new(3 << 20), before: 400 };
    let (log, start) = log_with(&mut record, straddle);
    let disk = on_disk(&log);
    cut_off(&disk, Lsn::new(3 << 20) + 3 * PAGE, log.start + log.bytes.len() as u64);
    let (_, end, _) = read_all(&disk, log.starts[0]);
    assert!(end.at == start && end.broken.is_some());
    let (_, log_end) = write_on(&disk, &end, log.starts[1], false);
    let (found, again, _) = read_all(&disk, log.starts[0]);
    assert_eq!((found.len(), again.at), (2, start), "the control: nothing behind the cut can be reached");
    assert!(waldump(&disk, log.starts[0], log_end).is_err());
}
