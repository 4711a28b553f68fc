//! Byte for byte: a standby's WAL is the primary's, and after the same shutdown checkpoint so are its files.

use scenarios::{Node, run_ok};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;

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

#[test]
fn a_standbys_wal_and_relation_files_equal_the_primarys() {
    let primary = Node::builder()
        .init_option("--wal-segsize=1")
        .setting("wal_keep_size", "1GB")
        .setting("autovacuum_naptime", "1s")
        .start();
    primary.sql("CREATE TABLE kv (k int PRIMARY KEY, v text, u bigserial UNIQUE)");
    primary.sql("CREATE INDEX kv_v ON kv (v DESC)");
    let standby =
        Node::builder().setting("wal_keep_size", "1GB").setting("shared_buffers", "1MB").clone_from(&primary);

    let load = primary.folder().join("load.sql");
    fs::write(
        &load,
        "\\set k random(1, 3000)\n\
         INSERT INTO kv (k, v) VALUES (:k, repeat('x', :k % 200)) ON CONFLICT (k) DO UPDATE SET v = kv.v || 'y';\n\
         \\set d random(1, 3000)\nDELETE FROM kv WHERE k = :d;\n",
    )
    .expect("the script is written");
    let mut pgbench = primary.tool("pgbench");
    pgbench.args(["-n", "-M", "prepared", "-c", "4", "-t", "1500", "-f"]).arg(&load).stderr(Stdio::null());
    run_ok(&mut pgbench);
    primary.sql("CREATE TABLE gone (k int PRIMARY KEY)");
    primary.sql("INSERT INTO gone SELECT g FROM generate_series(1, 5000) g");
    primary.sql("DROP TABLE gone");
    primary.sql("CREATE INDEX built_later ON kv (u, v)");
    primary.sql("CHECKPOINT");
    run_ok(&mut pgbench);

    // The primary's shutdown checkpoint is sent before its senders end.
    primary.stop();
    let control = run_ok(scenarios::pg_tool("pg_controldata").arg(primary.data()));
    let checkpoint =
        control.lines().find(|line| line.starts_with("Latest checkpoint location")).expect("a checkpoint");
    let checkpoint = checkpoint.split_once(':').expect("a colon").1.trim().to_owned();
    scenarios::wait_until(
        "the standby replays the shutdown checkpoint",
        std::time::Duration::from_secs(60),
        || {
            let replayed = standby.sql(&format!("SELECT pg_last_wal_replay_lsn() > '{checkpoint}'::pg_lsn"));
            if replayed == "t" { Ok(()) } else { Err(standby.sql("SELECT pg_last_wal_replay_lsn()")) }
        },
    );
    standby.stop();

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
