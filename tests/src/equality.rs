//! Whether a standby is its primary's equal, byte for byte.

use crate::logs::{Branch, assert_logs_equal};
use crate::wire::parse_lsn;
use crate::{Node, pg_tool, run_ok, wait_until};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Length of the record, its header included.
const SHUTDOWN_CHECKPOINT_BYTES: u64 = 114;

/// Name and contents of every file of a folder, for names that `keep` takes.
fn files(folder: &Path, keep: impl Fn(&str) -> bool) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| entry.metadata().expect("metadata").is_file())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .filter(|(name, _)| keep(name))
        .map(|(name, path)| (name, fs::read(path).expect("readable")))
        .collect()
}

/// Stops the primary, then each standby once it has replayed the shutdown checkpoint. Returns what
/// pg_controldata says.
fn stop_all(primary: &Node, standbys: &[&Node]) -> String {
    // The primary's shutdown checkpoint is sent before its senders end.
    primary.stop();
    let control = run_ok(pg_tool("pg_controldata").arg(primary.data()));
    let checkpoint =
        control.lines().find(|line| line.starts_with("Latest checkpoint location")).expect("a checkpoint");
    let checkpoint = checkpoint.split_once(':').expect("a colon").1.trim().to_owned();
    for standby in standbys {
        wait_until("the standby replays the shutdown checkpoint", Duration::from_secs(120), || {
            let replayed = standby.sql(&format!("SELECT pg_last_wal_replay_lsn() > '{checkpoint}'::pg_lsn"));
            if replayed == "t" { Ok(()) } else { Err(standby.sql("SELECT pg_last_wal_replay_lsn()")) }
        });
        standby.stop();
    }
    control
}

/// Stops both after the same shutdown checkpoint, and compares their relation files.
pub fn assert_relations_equal_after_stop(primary: &Node, standby: &Node) {
    stop_all(primary, &[standby]);
    assert_relations_equal(primary, standby);
}

/// Stops both after the same shutdown checkpoint, and compares their segments and relation files.
pub fn assert_equal_after_stop(primary: &Node, standby: &Node) {
    assert_all_equal_after_stop(primary, &[standby]);
}

/// Stops all after the same shutdown checkpoint, and compares the segments and relation files of each with
/// the primary's.
pub fn assert_all_equal_after_stop(primary: &Node, standbys: &[&Node]) {
    let control = stop_all(primary, standbys);
    for standby in standbys {
        assert_segments_equal(primary, standby, &control);
        assert_relations_equal(primary, standby);
    }
}

/// Compares the logs up to the end of the shutdown checkpoint: what a recycled segment has behind that is not
/// the log.
fn assert_segments_equal(primary: &Node, standby: &Node, control: &str) {
    let said = |name: &str| -> &str {
        let line = control.lines().find(|line| line.starts_with(name)).expect("a line of pg_controldata");
        line.split_once(':').expect("a colon").1.trim()
    };
    let checkpoint = parse_lsn(said("Latest checkpoint location")).expect("a position");
    let size: u64 = said("Bytes per WAL segment").parse().expect("a number");
    let end = checkpoint + SHUTDOWN_CHECKPOINT_BYTES;
    let compared = assert_logs_equal(primary, standby, &Branch::of(primary), end);
    assert!(compared >= size, "only {compared} bytes compared");
}

fn assert_relations_equal(primary: &Node, standby: &Node) {
    for database in ["1", "5"] {
        let all = |_: &str| true;
        let (ours, theirs) = (
            files(&primary.data().join("base").join(database), all),
            files(&standby.data().join("base").join(database), all),
        );
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
        for (name, bytes) in &ours {
            let other = &theirs[name];
            let page = bytes.chunks(8192).zip(other.chunks(8192)).position(|(left, right)| left != right);
            assert!(
                bytes == other,
                "base/{database}/{name}: {} and {} bytes, first page that differs {page:?}",
                bytes.len(),
                other.len()
            );
        }
    }
}
