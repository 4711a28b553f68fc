//! Byte for byte: a standby's WAL is the primary's, and after the same shutdown checkpoint so are its files.

use scenarios::{Node, run_ok};
use std::fs;
use std::process::Stdio;

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
    scenarios::assert_equal_after_stop(&primary, &standby);
}
