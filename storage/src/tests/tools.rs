//! PostgreSQL's own tools on a directory that this engine laid out, filled and shut down.

use super::*;
use crate::{CheckpointKind, WalRetention};
use std::process::Command;
use wal::Lsn;

/// Runs one of PostgreSQL 15's tools; its output, all of it.
fn tool(name: &str, arguments: &[&str]) -> String {
    let program = Path::new("/usr/lib/postgresql/15/bin").join(name);
    let output = Command::new(&program).args(arguments).env("LC_ALL", "C").output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}: {text}");
    text
}

/// As a replication slot at the very start would have it.
pub(super) struct KeepAll;

impl WalRetention for KeepAll {
    fn needed_from(&self, _: Lsn) -> Lsn {
        Lsn::INVALID
    }
}

#[tokio::test]
async fn pg_controldata_pg_checksums_and_pg_waldump_accept_what_the_engine_left() {
    let (disk, db, tree) = with_tree().await;
    db.set_retention(Arc::new(KeepAll));
    for round in 0..400 {
        let (key, value) = (format!("row {:03}", round % 150), "x".repeat(round));
        write(&db, tree, &[(&key, &value), ("last", &key)], SyncLevel::Off).await;
        if round % 150 == 149 {
            db.checkpoint(CheckpointKind::Immediate).await.unwrap();
        }
    }
    let backup = db.start_backup("tools", Duration::ZERO).await.unwrap();
    let begun_at = backup.start;
    db.stop_backup(backup).await.unwrap();
    let stopped = db.shutdown().await.unwrap();
    let end = db.positions().unwrap().flushed();

    let folder = tempfile::tempdir().unwrap();
    disk.export(Path::new(DIR), folder.path()).unwrap();
    let dir = folder.path().to_str().unwrap();
    let control = tool("pg_controldata", &["-D", dir]);
    assert!(!control.contains("WARNING"), "{control}");
    let line = |name: &str| {
        let line = control.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim_start_matches(':').trim().to_owned()
    };
    assert_eq!(line("Database cluster state"), "shut down");
    assert_eq!(line("Latest checkpoint location"), stopped.checkpoint.to_string());
    assert_eq!(line("Latest checkpoint's REDO location"), stopped.checkpoint.to_string());
    assert_eq!(line("Database system identifier"), db.system_id().to_string());
    assert_eq!(line("Latest checkpoint's NextXID"), format!("0:{}", db.next_xid()));
    let checksums = tool("pg_checksums", &["--check", "-D", dir]);
    assert!(checksums.contains("Bad checksums:  0"), "{checksums}");
    let wal = folder.path().join("pg_wal");
    let (wal, from) = (wal.to_str().unwrap(), begun_at.to_string());
    let dump = tool("pg_waldump", &["-p", wal, "-s", &from, "-e", &end.to_string()]);
    assert!(dump.contains("BACKUP_END") && dump.contains("CHECKPOINT_SHUTDOWN"), "{dump}");
}
