//! PostgreSQL 15's own tools read what this crate writes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod support;

use std::path::Path;
use std::process::Command;
use support::{Log, SIZE, SYSTEM};
use wal::control::{CATALOG_VERSION, ClusterState, ControlFile};
use wal::describe::Describer;
use wal::smgr::SmgrRecord;
use wal::xact::{Completion, Origin, StatsItem, XactEnd, XactRecord};
use wal::xlog::{CheckPoint, ParameterChange, WalLevel, XlogRecord};
use wal::{
    BlockNumber, BlockRef, EncodedRecord, Fork, Lsn, Next, PageImage, ReaderOptions, RecordBuilder, RelFile,
    Rmgr, TimelineId, WalBytes, WalReader, Xid,
};

/// Runs a tool of PostgreSQL 15; its exit code and what it printed.
fn run(tool: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(Path::new("/usr/lib/postgresql/15/bin").join(tool))
        .args(arguments)
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .output()
        .unwrap_or_else(|error| panic!("{tool} of PostgreSQL 15 must be installed: {error}"));
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn checkpoint() -> CheckPoint {
    CheckPoint {
        redo: Lsn::new(0x10_0028),
        timeline: TimelineId::new(1),
        previous_timeline: TimelineId::new(1),
        full_page_writes: true,
        next_xid: Xid::new(0x5_0000_0203),
        next_oid: 16400,
        next_multi: 1,
        next_multi_offset: 2,
        oldest_xid: 3,
        oldest_xid_db: 5,
        oldest_multi: 6,
        oldest_multi_db: 7,
        time: 1_700_000_000,
        oldest_commit_ts_xid: 8,
        newest_commit_ts_xid: 9,
        oldest_active_xid: 10,
    }
}

const PARAMETERS: ParameterChange = ParameterChange {
    max_connections: 101,
    max_worker_processes: 12,
    max_wal_senders: 13,
    max_prepared_xacts: 14,
    max_locks_per_xact: 65,
    wal_level: WalLevel::Replica,
    wal_log_hints: true,
    track_commit_timestamp: false,
};

/// A log with each record that the crate can build.
fn log() -> Log {
    let time = host::Timestamp::from_micros(848_016_551_557_778);
    let mut log = Log::new(SIZE.start_of(wal::SegmentNumber::new(1)));
    let mut push = |record: Result<EncodedRecord, wal::record::BuildError>| log.push(&mut record.unwrap());
    for record in [
        XlogRecord::CheckpointShutdown(checkpoint()),
        XlogRecord::CheckpointOnline(checkpoint()),
        XlogRecord::Noop,
        XlogRecord::NextOid(24576),
        XlogRecord::BackupEnd { start: Lsn::new(0x10_0028) },
        XlogRecord::ParameterChange(PARAMETERS),
        XlogRecord::RestorePoint { time, name: "here and now".to_owned() },
        XlogRecord::FpwChange(true),
        XlogRecord::EndOfRecovery {
            time,
            timeline: TimelineId::new(2),
            previous_timeline: TimelineId::new(1),
        },
        XlogRecord::OverwriteContrecord { overwritten: Lsn::new(77), time },
    ] {
        push(record.encode());
    }
    let rel = RelFile::new(5, 16384);
    push(SmgrRecord::Create { rel, fork: Fork::Main }.encode(700));
    push(SmgrRecord::Truncate { rel, length: BlockNumber::new(3), flags: 1 }.encode(700));
    let end = XactEnd {
        time,
        completion: Completion::APPLY_FEEDBACK.with(Completion::FORCE_SYNC),
        database: Some((5, 1663)),
        subxacts: vec![701, 702],
        dropped: vec![rel, RelFile::new(5, 16385)],
        dropped_stats: vec![StatsItem { kind: 2, database: 5, object: 16384 }],
        origin: Some(Origin { lsn: Lsn::new(0x1234_5678), time }),
        ..XactEnd::default()
    };
    push(XactRecord::Commit(XactEnd { time, ..XactEnd::default() }).encode(699, 0));
    push(XactRecord::Commit(end.clone()).encode(700, 7));
    push(XactRecord::Abort(XactEnd { completion: Completion::NONE, ..end }).encode(703, 7));
    push(XactRecord::Assignment { top: 700, subxacts: vec![701, 702] }.encode(0, 0));
    let mut page = [7; 8192];
    page[12..16].copy_from_slice(&[0x28, 0, 0, 0x10]); // pd_lower 40, pd_upper 4096
    page[40..4096].fill(0);
    let block = |id, block, image| BlockRef {
        id,
        rel,
        fork: Fork::Main,
        block: BlockNumber::new(block),
        will_init: id == 2,
        image,
        data: if id == 1 { b"data" } else { b"" },
    };
    let hole = Some(PageImage { page: &page, standard: true, apply: true });
    let full = Some(PageImage { page: &page, standard: false, apply: false });
    push(RecordBuilder::new(Rmgr::XLOG, wal::xlog::FPI, 0).block(block(0, 9, hole)).encode());
    push(
        RecordBuilder::new(Rmgr::ENGINE, 0x30, 704)
            .block(block(0, 1, hole))
            .block(block(1, 2, None))
            .block(block(2, 3, full))
            .main_data(&[5; 300])
            .toplevel_xid(700)
            .encode(),
    );
    push(RecordBuilder::new(Rmgr::ENGINE, 0, 0).main_data(&[6; 70_000]).encode());
    log
}

#[test]
fn pg_waldump_reads_every_record_that_is_built_and_says_the_same() {
    let log = log();
    let folder = tempfile::tempdir().unwrap();
    let name = SIZE.segment_of(log.start).file_name(log.timeline, SIZE);
    let mut segment = log.bytes.clone();
    segment.resize(1 << 20, 0);
    std::fs::write(folder.path().join(name), &segment).unwrap();
    let (folder, end) = (folder.path().to_str().unwrap(), log.end.to_string());
    let start = log.starts[0].to_string();
    let (code, printed, errors) = run("pg_waldump", &["-p", folder, "-s", &start, "-e", &end]);
    assert_eq!(code, Some(0), "{errors}");

    let mut reader = WalReader::new(WalBytes::new(log.start, segment), ReaderOptions::new(SIZE), log.start);
    let mut lines = printed.lines();
    for _ in &log.starts {
        let Next::Record(record) = reader.next().unwrap() else { panic!("the log ends early") };
        let line = Describer::new().line(&record);
        let theirs = lines.next().unwrap();
        if record.rmgr() == Rmgr::ENGINE {
            // Their words for a resource manager without a library: "UNKNOWN (30) rmid: 128".
            let (ours, theirs_blocks) = (line.find(", blkref"), theirs.find(", blkref"));
            assert_eq!(ours.map(|at| &line[at..]), theirs_blocks.map(|at| &theirs[at..]));
            let head = line.find("desc: ").unwrap();
            assert_eq!(line[..head], theirs[..head]);
        } else {
            assert_eq!(line, theirs);
        }
    }
    assert_eq!(lines.next(), None);
}

#[test]
fn pg_controldata_prints_what_was_put_into_the_control_file() {
    let control = ControlFile {
        system_id: SYSTEM,
        catalog_version: CATALOG_VERSION,
        state: ClusterState::InArchiveRecovery,
        time: 1_700_000_001,
        checkpoint: Lsn::new(0x10_0080),
        checkpoint_copy: checkpoint(),
        unlogged_lsn: Lsn::new(1000),
        min_recovery_point: Lsn::new(0x1_0020_0000),
        min_recovery_point_timeline: TimelineId::new(2),
        backup_start_point: Lsn::new(0x300),
        backup_end_point: Lsn::new(0x400),
        backup_end_required: true,
        parameters: PARAMETERS,
        segment_size: SIZE,
        data_checksums: true,
        toast_max_chunk_size: 0,
        large_object_block_size: 0,
        mock_authentication_nonce: [0xAB; 32],
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("global")).unwrap();
    control.store(&host::RealDisk, folder.path()).unwrap();
    assert_eq!(ControlFile::load(&host::RealDisk, folder.path()).unwrap(), control);
    let (code, printed, errors) = run("pg_controldata", &[folder.path().to_str().unwrap()]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let expected = [
        ("pg_control version number", "1300"),
        ("Catalog version number", "202209061"),
        ("Database system identifier", "1234605616436508552"),
        ("Database cluster state", "in archive recovery"),
        ("pg_control last modified", "Tue Nov 14 22:13:21 2023"),
        ("Latest checkpoint location", "0/100080"),
        ("Latest checkpoint's REDO location", "0/100028"),
        ("Latest checkpoint's REDO WAL file", "000000010000000000000001"),
        ("Latest checkpoint's TimeLineID", "1"),
        ("Latest checkpoint's PrevTimeLineID", "1"),
        ("Latest checkpoint's full_page_writes", "on"),
        ("Latest checkpoint's NextXID", "5:515"),
        ("Latest checkpoint's NextOID", "16400"),
        ("Latest checkpoint's NextMultiXactId", "1"),
        ("Latest checkpoint's NextMultiOffset", "2"),
        ("Latest checkpoint's oldestXID", "3"),
        ("Latest checkpoint's oldestXID's DB", "5"),
        ("Latest checkpoint's oldestActiveXID", "10"),
        ("Latest checkpoint's oldestMultiXid", "6"),
        ("Latest checkpoint's oldestMulti's DB", "7"),
        ("Latest checkpoint's oldestCommitTsXid", "8"),
        ("Latest checkpoint's newestCommitTsXid", "9"),
        ("Time of latest checkpoint", "Tue Nov 14 22:13:20 2023"),
        ("Fake LSN counter for unlogged rels", "0/3E8"),
        ("Minimum recovery ending location", "1/200000"),
        ("Min recovery ending loc's timeline", "2"),
        ("Backup start location", "0/300"),
        ("Backup end location", "0/400"),
        ("End-of-backup record required", "yes"),
        ("wal_level setting", "replica"),
        ("wal_log_hints setting", "on"),
        ("max_connections setting", "101"),
        ("max_worker_processes setting", "12"),
        ("max_wal_senders setting", "13"),
        ("max_prepared_xacts setting", "14"),
        ("max_locks_per_xact setting", "65"),
        ("track_commit_timestamp setting", "off"),
        ("Maximum data alignment", "8"),
        ("Database block size", "8192"),
        ("Blocks per segment of large relation", "131072"),
        ("WAL block size", "8192"),
        ("Bytes per WAL segment", "1048576"),
        ("Maximum length of identifiers", "64"),
        ("Maximum columns in an index", "32"),
        ("Maximum size of a TOAST chunk", "0"),
        ("Size of a large-object chunk", "0"),
        ("Date/time type storage", "64-bit integers"),
        ("Float8 argument passing", "by value"),
        ("Data page checksum version", "1"),
        ("Mock authentication nonce", &"ab".repeat(32)),
    ];
    let printed: Vec<(&str, &str)> = printed
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name, value.trim()))
        .collect();
    assert_eq!(printed, expected);
}

#[test]
fn a_damaged_or_foreign_control_file_is_refused_with_its_reason() {
    let bytes = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pg_control")).unwrap();
    for bit in 0..292 * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(ControlFile::decode(&damaged).is_err(), "bit {bit}");
    }
    assert!(ControlFile::decode(&bytes[..8191]).is_err());
    // Each value that this build cannot work with, under a right checksum.
    for (offset, name) in [
        (16, "state"),
        (172, "wal_level"),
        (204, "maxAlign"),
        (208, "floatFormat"),
        (216, "blcksz"),
        (220, "relseg_size"),
        (224, "xlog_blcksz"),
        (228, "xlog_seg_size"),
        (232, "nameDataLen"),
        (236, "indexMaxKeys"),
        (252, "data_checksum_version"),
    ] {
        let mut other = bytes.clone();
        other[offset] ^= 0x45;
        let crc = wal::crc::crc32c(&other[..288]);
        other[288..292].copy_from_slice(&crc.to_le_bytes());
        let error = ControlFile::decode(&other).unwrap_err().to_string();
        assert!(error.contains(name), "{name}: {error}");
    }
}
