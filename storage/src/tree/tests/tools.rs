//! PostgreSQL 15's own tools on the files.

use super::crash::{SIZE, SYSTEM, Workload};
use crate::EngineDescriber;
use crate::testing::empty_disk;
use host::Disk;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use wal::control::{CATALOG_VERSION, ClusterState, ControlFile};
use wal::describe::Describer;
use wal::history::TimelineHistory;
use wal::xlog::{CheckPoint, ParameterChange, WalLevel};
use wal::{Lsn, Next, ReaderOptions, SegmentFiles, TimelineId, WalReader, Xid};

fn tool(name: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(Path::new("/usr/lib/postgresql/15/bin").join(name))
        .args(arguments)
        .env("LC_ALL", "C")
        .output()
        .unwrap_or_else(|error| panic!("{name} of PostgreSQL 15 must be installed: {error}"));
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

fn control() -> ControlFile {
    let checkpoint = CheckPoint {
        redo: Lsn::new(SIZE.bytes() + 40),
        timeline: TimelineId::FIRST,
        previous_timeline: TimelineId::FIRST,
        full_page_writes: true,
        next_xid: Xid::FIRST_NORMAL,
        next_oid: 16384,
        next_multi: 1,
        next_multi_offset: 0,
        oldest_xid: 3,
        oldest_xid_db: 1,
        oldest_multi: 1,
        oldest_multi_db: 1,
        time: 0,
        oldest_commit_ts_xid: 0,
        newest_commit_ts_xid: 0,
        oldest_active_xid: 0,
    };
    ControlFile {
        system_id: SYSTEM,
        catalog_version: CATALOG_VERSION,
        state: ClusterState::ShutDown,
        time: 0,
        checkpoint: Lsn::new(SIZE.bytes() + 40),
        checkpoint_copy: checkpoint,
        unlogged_lsn: Lsn::new(1000),
        min_recovery_point: Lsn::INVALID,
        min_recovery_point_timeline: TimelineId::INVALID,
        backup_start_point: Lsn::INVALID,
        backup_end_point: Lsn::INVALID,
        backup_end_required: false,
        parameters: ParameterChange {
            max_connections: 100,
            max_worker_processes: 8,
            max_wal_senders: 10,
            max_prepared_xacts: 0,
            max_locks_per_xact: 64,
            wal_level: WalLevel::Replica,
            wal_log_hints: false,
            track_commit_timestamp: false,
        },
        segment_size: SIZE,
        data_checksums: true,
        toast_max_chunk_size: 0,
        large_object_block_size: 0,
        mock_authentication_nonce: [0; 32],
    }
}

#[test]
fn pg_checksums_accepts_every_page_and_pg_waldump_prints_what_our_describer_prints() {
    let disk = empty_disk();
    for folder in ["global", "pg_wal", "pg_tblspc"] {
        disk.create_dir_all(&Path::new("/data").join(folder)).unwrap();
    }
    let mut workload = Workload::on(disk.clone());
    workload.run(7, 150, 128, true);
    let end = workload.finish();
    control().store(&disk, Path::new("/data")).unwrap();

    let folder = tempfile::tempdir().unwrap();
    disk.export(Path::new("/data"), folder.path()).unwrap();
    std::fs::write(folder.path().join("PG_VERSION"), "15\n").unwrap();
    let dir = folder.path().to_str().unwrap();
    let (code, text) = tool("pg_checksums", &["--check", "-D", dir]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("Bad checksums:  0"), "{text}");

    let wal = folder.path().join("pg_wal");
    let first = std::fs::read_dir(&wal).unwrap().map(|entry| entry.unwrap().file_name()).min().unwrap();
    let (code, theirs) =
        tool("pg_waldump", &["-p", wal.to_str().unwrap(), "-e", &end.to_string(), first.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{}", theirs.lines().last().unwrap_or_default());
    let history = TimelineHistory::root(TimelineId::FIRST);
    let source = SegmentFiles::new(Arc::new(disk), "/data/pg_wal", SIZE, history);
    let mut reader = WalReader::new(source, ReaderOptions::new(SIZE), Lsn::new(SIZE.bytes()));
    let describer = Describer::new().with(&EngineDescriber);
    let mut kinds = std::collections::BTreeMap::new();
    let mut lines = 0;
    let mut their_lines = theirs.lines();
    while let Next::Record(record) = reader.next().unwrap() {
        let line = describer.line(&record);
        let theirs = their_lines.next().unwrap_or_default();
        // Lengths, positions and blocks must agree; only the words for our records are ours.
        let frame = |line: &str| {
            line.split_once("len (rec/tot)").map(|it| it.1.split("desc:").next().map(str::to_owned))
        };
        assert_eq!(frame(&line), frame(theirs));
        let blocks = |line: &str| line.find("blkref").map(|at| line[at..].to_owned());
        assert_eq!(blocks(&line), blocks(theirs), "{line}");
        lines += 1;
        kinds.entry(describer.text(&record).split(' ').next().unwrap_or_default().to_owned()).or_insert(line);
    }
    assert!(lines > 500, "{lines} records");
    for (kind, line) in &kinds {
        println!("{kind}: {line}");
    }
    let expected = [
        "CREATE",
        "TREE_INIT",
        "INSERT",
        "SPLIT",
        "ROOT_SPLIT",
        "PRUNE",
        "LARGE",
        "UNLINK",
        "REPACK",
        "TRUNCATE",
        "TRIM",
        "COMMIT",
    ];
    for kind in expected {
        assert!(kinds.contains_key(kind), "no {kind} in {:?}", kinds.keys());
    }
    let insert = &kinds["INSERT"];
    assert!(insert.contains("key: 'k"), "{insert}");
}
