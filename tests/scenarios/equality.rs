//! Byte for byte: a standby's WAL is the primary's, and after the same shutdown checkpoint so are its files.

use scenarios::{Node, change_keys};

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

    let load = || change_keys(&primary, 3000, 4, 1500);
    load();
    primary.sql("CREATE TABLE gone (k int PRIMARY KEY)");
    primary.sql("INSERT INTO gone SELECT g FROM generate_series(1, 5000) g");
    primary.sql("DROP TABLE gone");
    primary.sql("CREATE INDEX built_later ON kv (u, v)");
    primary.sql("CHECKPOINT");
    load();
    scenarios::assert_equal_after_stop(&primary, &standby);
}
