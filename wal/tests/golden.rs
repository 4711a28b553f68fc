//! The log of a real PostgreSQL 15 (golden/make.sh made it): read, described as pg_waldump does, and written
//! again byte for byte.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use host::{Disk, RealDisk};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wal::control::ControlFile;
use wal::describe::Describer;
use wal::history::TimelineHistory;
use wal::smgr::SmgrRecord;
use wal::xact::XactRecord;
use wal::xlog::XlogRecord;
use wal::{
    BlockRef, EndReason, Lsn, Next, PageImage, ReaderOptions, Record, RecordBuilder, Rmgr, SegmentFiles,
    SegmentSize, TimelineId, WalReader,
};

const SIZE: SegmentSize = SegmentSize::new(1 << 20).unwrap();

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn history() -> TimelineHistory {
    TimelineHistory::load(&RealDisk, &golden().join("pg_wal"), TimelineId::new(2)).unwrap()
}

/// The number of the first segment in the folder.
fn start() -> Lsn {
    let names = RealDisk.list(&golden().join("pg_wal")).unwrap();
    let first = names.iter().find_map(|entry| wal::SegmentNumber::parse_file_name(&entry.name, SIZE));
    SIZE.start_of(first.unwrap().1)
}

fn reader(at: Lsn) -> WalReader<SegmentFiles> {
    let files = SegmentFiles::new(Arc::new(RealDisk), golden().join("pg_wal"), SIZE, history());
    WalReader::new(files, ReaderOptions::new(SIZE), at)
}

fn records() -> Vec<Record> {
    let mut reader = reader(start());
    let mut records = Vec::new();
    loop {
        match reader.next().unwrap() {
            Next::Record(record) => records.push(record),
            Next::End(end) => {
                assert!(!end.torn, "PostgreSQL was stopped cleanly, yet the end is torn: {end:?}");
                assert_eq!(end.at, records.last().unwrap().end());
                return records;
            }
        }
    }
}

#[test]
fn every_record_is_described_as_pg_waldump_describes_it() {
    let expected = std::fs::read_to_string(golden().join("waldump.txt")).unwrap();
    let records = records();
    let describer = Describer::new();
    let mut compared = 0;
    for (record, expected) in records.iter().zip(expected.lines()) {
        let line = describer.line(record);
        if record.rmgr().number() < 3 || [Rmgr::STANDBY, Rmgr::LOGICALMSG].contains(&record.rmgr()) {
            assert_eq!(line, expected);
        } else {
            // Resource managers that this engine does not write: their own words are left out.
            let head = line.find("desc: ").unwrap();
            assert_eq!(line[..head], expected[..head]);
            let blocks = line.find(", blkref").map(|at| &line[at..]);
            let expected_blocks = expected.find(", blkref").map(|at| &expected[at..]);
            assert_eq!(blocks, expected_blocks);
        }
        compared += 1;
    }
    assert_eq!(compared, expected.lines().count(), "records are missing");
    assert_eq!(records.len(), compared);
}

#[test]
fn every_record_is_built_again_byte_for_byte() {
    for record in records() {
        let pages: Vec<Option<[u8; 8192]>> = record
            .blocks()
            .map(|block| {
                block.image.map(|image| {
                    let mut page = [0xFF; 8192];
                    image.restore_into(&mut page).unwrap();
                    page
                })
            })
            .collect();
        let mut builder =
            RecordBuilder::new(record.rmgr(), record.info(), record.xid_low()).main_data(record.main_data());
        for (block, page) in record.blocks().zip(&pages) {
            let image = block.image.zip(page.as_ref()).map(|(image, page)| PageImage {
                page,
                standard: image.hole_length() > 0,
                apply: image.applies(),
            });
            let (id, rel, fork) = (block.id, block.rel, block.fork);
            let (will_init, data) = (block.will_init, block.data);
            builder = builder.block(BlockRef { id, rel, fork, block: block.block, will_init, image, data });
        }
        if let Some(xid) = record.toplevel_xid() {
            builder = builder.toplevel_xid(xid);
        }
        let mut encoded = builder.origin(record.origin().unwrap_or(0)).encode().unwrap();
        assert_eq!(
            encoded.finish(record.previous()),
            &record.bytes()[..],
            "{}",
            Describer::new().line(&record)
        );
    }
}

#[test]
fn payloads_are_parsed_and_built_again_byte_for_byte() {
    let mut kinds = std::collections::BTreeSet::new();
    for record in records() {
        let line = Describer::new().line(&record);
        let rebuilt = match record.rmgr() {
            Rmgr::XLOG => {
                let parsed = XlogRecord::parse(&record).unwrap();
                assert_eq!(parsed.info(), record.rmgr_info(), "{line}");
                parsed.payload()
            }
            Rmgr::XACT => match XactRecord::parse(&record).unwrap() {
                XactRecord::Prepare => continue,
                parsed => {
                    assert_eq!(parsed.info(), record.info(), "{line}");
                    parsed.payload()
                }
            },
            Rmgr::SMGR => {
                let parsed = SmgrRecord::parse(&record).unwrap();
                assert_eq!(parsed.info(), record.info(), "{line}");
                parsed.payload()
            }
            _ => continue,
        };
        // PostgreSQL leaves whatever its stack held behind a restore point's name.
        let told = match XlogRecord::parse(&record) {
            Ok(XlogRecord::RestorePoint { name, .. }) => 8 + name.len() + 1,
            _ => rebuilt.len(),
        };
        assert_eq!(rebuilt[..told], record.main_data()[..told], "{line}");
        assert_eq!(rebuilt.len(), record.main_data().len(), "{line}");
        kinds.insert((record.rmgr().number(), record.rmgr_info()));
    }
    // XLOG 11 kinds, XACT commit and abort with and without xinfo, SMGR create and truncate.
    assert!(kinds.len() >= 15, "the golden log has lost variety: {kinds:?}");
}

#[test]
fn a_reader_set_down_anywhere_finds_the_next_record() {
    let records = records();
    let end = records.last().unwrap().end();
    let mut from = start();
    while from < end {
        let expected = records.iter().find(|record| record.start() >= from);
        match (reader(start()).find_next_record(from).unwrap(), expected) {
            (Next::Record(found), Some(expected)) => {
                assert_eq!(found.start(), expected.start(), "from {from}")
            }
            (Next::End(found), None) => assert_eq!(found.at, end),
            (found, expected) => panic!("from {from}: {found:?} instead of {expected:?}"),
        }
        from = from + 1009;
        // Segments are cut behind their last used page; what lies between is not in the files.
        let next = records.iter().find(|record| record.start() >= from);
        if let Some(next) = next.filter(|next| SIZE.segment_of(next.start()) != SIZE.segment_of(from)) {
            from = SIZE.start_of(SIZE.segment_of(next.start()));
        }
    }
}

#[test]
fn the_switch_to_timeline_two_is_followed_and_the_old_one_ends_there() {
    let history = history();
    let switch = history.begin();
    let mut files = SegmentFiles::new(Arc::new(RealDisk), golden().join("pg_wal"), SIZE, history);
    let first_on_two = records().into_iter().find(|record| record.start() >= switch).unwrap();
    assert!(matches!(XlogRecord::parse(&first_on_two), Ok(XlogRecord::EndOfRecovery { .. })));
    // Timeline 1 alone ends at the switch, at the shutdown checkpoint's end.
    files.set_history(TimelineHistory::root(TimelineId::new(1)));
    let mut reader = WalReader::new(files, ReaderOptions::new(SIZE), start());
    loop {
        if let Next::End(end) = reader.next().unwrap() {
            assert_eq!(end.at, switch);
            assert!(matches!(end.reason, EndReason::Invalid(_)), "{end:?}");
            assert!(!end.torn);
            return;
        }
    }
}

#[test]
fn the_control_file_is_read_and_written_again_byte_for_byte() {
    let bytes = std::fs::read(golden().join("pg_control")).unwrap();
    let control = ControlFile::decode(&bytes).unwrap();
    assert_eq!(control.encode(), bytes);
    assert!(!control.is_ours());
    let printed = std::fs::read_to_string(golden().join("controldata.txt")).unwrap();
    let value = |name: &str| {
        let line = printed.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len() + 1..].trim().to_owned()
    };
    assert_eq!(value("Database system identifier"), control.system_id.to_string());
    assert_eq!(value("Latest checkpoint location"), control.checkpoint.to_string());
    assert_eq!(value("Database cluster state"), control.state.text());
    let xid = control.checkpoint_copy.next_xid;
    assert_eq!(value("Latest checkpoint's NextXID"), format!("{}:{}", xid.epoch(), xid.low()));
    assert_eq!(value("Bytes per WAL segment"), control.segment_size.bytes().to_string());
    assert_eq!(value("max_connections setting"), control.parameters.max_connections.to_string());
    assert_eq!(value("Data page checksum version"), "1");
    assert!(control.data_checksums);
}
