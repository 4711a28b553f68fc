//! PostgreSQL 15's own tools read what this crate writes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod support;

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use support::records::{PARAMETERS, checkpoint, every_record};
use support::{Log, SIZE, SYSTEM};
use wal::control::{CATALOG_VERSION, ClusterState, ControlFile};
use wal::describe::Describer;
use wal::{Lsn, Next, ReaderOptions, Rmgr, TimelineId, WalBytes, WalReader};

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

/// A log with each record that the crate can build.
fn log() -> Log {
    let mut log = Log::new(SIZE.start_of(wal::SegmentNumber::new(1)));
    for mut record in every_record() {
        log.push(&mut record);
    }
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

/// A control file whose fields differ.
fn control() -> ControlFile {
    ControlFile {
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
    }
}

#[test]
fn a_control_file_is_read_whole_while_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("global")).unwrap();
    let states = [0x55, 0xAA].map(|byte| ControlFile { mock_authentication_nonce: [byte; 32], ..control() });
    states[0].store(&host::RealDisk, folder.path()).unwrap();
    let path = wal::control::control_file_path(folder.path());
    let (file, is_over) =
        (std::fs::OpenOptions::new().write(true).open(&path).unwrap(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // In two parts, so that there is a moment between them that a reader meets.
            for state in states.iter().cycle().take_while(|_| !is_over.load(Ordering::Relaxed)) {
                let bytes = state.encode();
                file.write_all_at(&bytes[..270], 0).unwrap();
                file.write_all_at(&bytes[270..], 270).unwrap();
            }
        });
        // As often as a plain read meets such a moment, this one does, too.
        let (mut read, mut torn) = (Vec::new(), 0);
        while torn < 20 {
            torn += u32::from(ControlFile::decode(&std::fs::read(&path).unwrap()).is_err());
            read.push(ControlFile::load(&host::RealDisk, folder.path()));
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(read.into_iter().all(|read| states.contains(&read.unwrap())));
    });
}

#[test]
fn pg_controldata_prints_what_was_put_into_the_control_file() {
    let control = control();
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
