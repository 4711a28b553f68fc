//! Whether a standby is its primary's equal, byte for byte.

use crate::{Node, pg_tool, run_ok, wait_until};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

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

/// Stops the primary, then the standby once it has replayed the shutdown checkpoint. Returns what pg_controldata says.
fn stop_both(primary: &Node, standby: &Node) -> String {
    // The primary's shutdown checkpoint is sent before its senders end.
    primary.stop();
    let control = run_ok(pg_tool("pg_controldata").arg(primary.data()));
    let checkpoint =
        control.lines().find(|line| line.starts_with("Latest checkpoint location")).expect("a checkpoint");
    let checkpoint = checkpoint.split_once(':').expect("a colon").1.trim().to_owned();
    wait_until("the standby replays the shutdown checkpoint", Duration::from_secs(120), || {
        let replayed = standby.sql(&format!("SELECT pg_last_wal_replay_lsn() > '{checkpoint}'::pg_lsn"));
        if replayed == "t" { Ok(()) } else { Err(standby.sql("SELECT pg_last_wal_replay_lsn()")) }
    });
    standby.stop();
    control
}

/// Stops both after the same shutdown checkpoint, and compares their relation files.
pub fn assert_relations_equal_after_stop(primary: &Node, standby: &Node) {
    stop_both(primary, standby);
    assert_relations_equal(primary, standby);
}

/// Stops both after the same shutdown checkpoint, and compares their segments and relation files.
pub fn assert_equal_after_stop(primary: &Node, standby: &Node) {
    let control = stop_both(primary, standby);
    let is_segment = |name: &str| name.len() == 24;
    let (ours, theirs) = (
        files(&primary.data().join("pg_wal"), is_segment),
        files(&standby.data().join("pg_wal"), is_segment),
    );
    let end = control
        .lines()
        .find(|line| line.contains("REDO WAL file"))
        .expect("a file")
        .split_once(':')
        .expect("a colon")
        .1
        .trim();
    let mut compared = 0;
    for (name, bytes) in theirs.iter().filter(|(name, _)| name.as_str() <= end) {
        let original = ours.get(name).unwrap_or_else(|| panic!("the primary has no segment {name}"));
        assert!(original == bytes, "segment {name} differs");
        compared += 1;
    }
    assert!(compared >= 2, "only {compared} segments compared");
    assert_relations_equal(primary, standby);
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
