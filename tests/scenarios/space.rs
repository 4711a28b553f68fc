//! Space comes back: churn does not grow files, VACUUM frees pages and cuts files, and a standby's files stay
//! the primary's.

use scenarios::{Node, assert_relations_equal_after_stop, wait_until};
use std::time::Duration;

const ROWS: u32 = 20_000;

fn pages(node: &Node, table: &str) -> u64 {
    let bytes: u64 = node.sql(&format!("SELECT pg_relation_size('{table}')")).parse().expect("a size");
    bytes / 8192
}

fn statistic(node: &Node, table: &str, column: &str) -> i64 {
    let sql = format!("SELECT {column} FROM pg_stat_user_tables WHERE relname = '{table}'");
    node.sql(&sql).parse().unwrap_or_else(|_| panic!("{column} of {table} is a number"))
}

/// Deletes and inserts as a queue does: rows go on the left and come on the right.
fn work_off_a_queue(node: &Node, rounds: u32) {
    let batch = ROWS / 10;
    for round in 0..rounds {
        let (low, high) = (round * batch, ROWS + round * batch);
        node.sql(&format!(
            "INSERT INTO queue SELECT g, repeat('q', 80) FROM generate_series({high}, {high} + {batch} - 1) g"
        ));
        node.sql(&format!("DELETE FROM queue WHERE k >= {low} AND k < {low} + {batch}"));
        node.sql("VACUUM queue");
    }
}

#[test]
fn churn_leaves_files_small_and_a_standbys_files_equal() {
    let primary = Node::builder().setting("autovacuum", "off").start();
    primary.sql("CREATE TABLE rows (k int PRIMARY KEY, v text)");
    primary.sql("CREATE TABLE queue (k int PRIMARY KEY, v text)");
    primary.sql("CREATE TABLE large (k int PRIMARY KEY, v text)");
    for table in ["rows", "queue"] {
        primary.sql(&format!(
            "INSERT INTO {table} SELECT g, repeat('q', 80) FROM generate_series(0, {ROWS} - 1) g"
        ));
    }
    primary.sql("CREATE INDEX queue_by_value ON queue (v)");
    let standby = Node::builder().clone_from(&primary);
    let index = pages(&primary, "queue_by_value");
    let (rows, queue) = (pages(&primary, "rows"), pages(&primary, "queue"));

    for round in 0..4 {
        primary.sql(&format!("UPDATE rows SET v = repeat('{round}', 80)"));
        primary.sql("VACUUM rows");
    }
    let after = pages(&primary, "rows");
    // Each page splits for the second version of its rows; once the first ones are gone, three become two.
    assert!(after <= rows * 8 / 5, "{rows} pages became {after}");

    work_off_a_queue(&primary, 30);
    let after = pages(&primary, "queue");
    assert!(after <= queue * 3 / 2, "{queue} pages of a queue became {after}");
    let after = pages(&primary, "queue_by_value");
    assert!(after <= index * 3 / 2, "{index} pages of a queue's index became {after}");
    assert_eq!(primary.sql("SELECT count(*), min(k) FROM queue"), format!("{ROWS}|{}", 30 * ROWS / 10));

    for round in 0..5 {
        primary.sql(&format!(
            "INSERT INTO large VALUES (1, repeat('{round}', 1000000)) ON CONFLICT (k) DO UPDATE SET v = excluded.v"
        ));
        primary.sql("VACUUM large");
    }
    let after = pages(&primary, "large");
    assert!(after < 3 * 125, "five values of 123 pages, one after the other, took {after}");

    primary.sql("DELETE FROM rows");
    assert_eq!(statistic(&primary, "rows", "n_live_tup"), 0);
    assert!(statistic(&primary, "rows", "n_dead_tup") >= i64::from(ROWS));
    primary.sql("VACUUM rows");
    assert_eq!(statistic(&primary, "rows", "n_dead_tup"), 0);
    assert_eq!(statistic(&primary, "rows", "vacuum_count"), 5);
    assert_eq!(primary.sql("SELECT count(*) FROM rows"), "0");

    let lsn = primary.sql("SELECT pg_current_wal_lsn()");
    standby.wait_replayed(&lsn);
    assert_eq!(
        standby.sql("SELECT count(*), sum(k) FROM queue"),
        primary.sql("SELECT count(*), sum(k) FROM queue")
    );
    assert_eq!(standby.sql("SELECT length(v) FROM large"), "1000000");
    assert_relations_equal_after_stop(&primary, &standby);
}

#[test]
fn an_old_snapshot_keeps_versions_and_the_view_names_its_session() {
    let primary = Node::builder().setting("autovacuum", "off").start();
    primary.sql("CREATE TABLE t (k int PRIMARY KEY, v int)");
    primary.sql("INSERT INTO t SELECT g, 0 FROM generate_series(1, 100) g");
    let reader = scenarios::script::Session::connect(&primary.conninfo());
    let pid = reader.pid;
    reader.say("BEGIN ISOLATION LEVEL REPEATABLE READ");
    reader.say("SELECT count(*) FROM t");
    primary.sql("UPDATE t SET v = 1");
    primary.sql("VACUUM t");
    assert_eq!(statistic(&primary, "t", "n_dead_tup"), 100, "the reader still needs them");
    let holder = "SELECT holder, pid FROM plimsoll_horizon WHERE is_oldest";
    assert_eq!(primary.sql(holder), format!("snapshot|{pid}"));
    assert!(reader.say("SELECT sum(v) FROM t").contains('0'));
    reader.say("COMMIT");
    let verbose = scenarios::run(primary.psql().args(["-c", "VACUUM (VERBOSE, ANALYZE off) t"])).stderr;
    assert_eq!(statistic(&primary, "t", "n_dead_tup"), 0);
    assert_ne!(primary.sql(holder), format!("snapshot|{pid}"));
    assert!(
        verbose.contains("tuples: 100 removed, 100 remain, 0 are dead but not yet removable"),
        "{verbose}"
    );
}

#[test]
fn a_file_that_grew_under_an_old_snapshot_becomes_small_again_without_being_asked() {
    let primary = Node::builder().setting("autovacuum_naptime", "1s").start();
    primary.sql("CREATE TABLE t (k int PRIMARY KEY, v text)");
    primary.sql(&format!("INSERT INTO t SELECT g, repeat('v', 80) FROM generate_series(1, {ROWS}) g"));
    let fresh = pages(&primary, "t");
    let standby = Node::builder().clone_from(&primary);
    let reader = scenarios::script::Session::connect(&primary.conninfo());
    reader.say("BEGIN ISOLATION LEVEL REPEATABLE READ");
    reader.say("SELECT count(*) FROM t");
    primary.sql("UPDATE t SET v = repeat('w', 80)");
    let grown = pages(&primary, "t");
    assert!(grown >= fresh * 18 / 10, "{fresh} pages became {grown} under an old snapshot");
    reader.say("COMMIT");
    wait_until("sweeps that give the space back", Duration::from_secs(60), || {
        // What is due is decided by versions that came since the last look.
        primary.sql("UPDATE t SET v = repeat('x', 80) WHERE k % 4 = 0");
        let now = pages(&primary, "t");
        if now <= fresh * 8 / 5 { Ok(()) } else { Err(format!("{now} pages of once {fresh}, then {grown}")) }
    });
    standby.wait_replayed(&primary.sql("SELECT pg_current_wal_lsn()"));
    assert_eq!(standby.sql("SELECT count(*), sum(k) FROM t"), primary.sql("SELECT count(*), sum(k) FROM t"));
    assert_relations_equal_after_stop(&primary, &standby);
}

#[test]
fn deletions_are_swept_without_being_asked() {
    let primary = Node::builder().setting("autovacuum_naptime", "1s").start();
    primary.sql("CREATE TABLE t (k int PRIMARY KEY, v text)");
    primary.sql(&format!("INSERT INTO t SELECT g, repeat('v', 80) FROM generate_series(1, {ROWS}) g"));
    primary.sql("DELETE FROM t");
    wait_until("an automatic sweep", Duration::from_secs(60), || {
        let dead = statistic(&primary, "t", "n_dead_tup");
        let count = statistic(&primary, "t", "autovacuum_count");
        if dead == 0 && count > 0 { Ok(()) } else { Err(format!("{dead} dead, {count} sweeps")) }
    });
    let before = pages(&primary, "t");
    primary.sql(&format!("INSERT INTO t SELECT g, repeat('w', 80) FROM generate_series(1, {ROWS}) g"));
    assert!(pages(&primary, "t") <= before.max(300) * 5 / 4, "freed pages are used again");
}

#[test]
fn a_sweep_that_takes_long_keeps_no_other_table_waiting_and_no_stop() {
    let primary = Node::builder()
        .setting("autovacuum_naptime", "1s")
        .setting("autovacuum_vacuum_cost_limit", "1")
        .setting("autovacuum_vacuum_cost_delay", "100ms")
        .start();
    for (table, rows) in [("slow", ROWS), ("quick", 100)] {
        primary.sql(&format!("CREATE TABLE {table} (k int PRIMARY KEY, v text)"));
        primary
            .sql(&format!("INSERT INTO {table} SELECT g, repeat('v', 80) FROM generate_series(1, {rows}) g"));
        primary.sql(&format!("UPDATE {table} SET v = repeat('w', 80)"));
    }
    // 600 leaves at more than 100 ms each.
    let count = |table: &str| statistic(&primary, table, "autovacuum_count");
    wait_until("a sweep of the small table", Duration::from_secs(30), || {
        let (slow, quick) = (count("slow"), count("quick"));
        if quick > 0 && slow == 0 { Ok(()) } else { Err(format!("{slow} sweeps and {quick}")) }
    });
    primary.sql("UPDATE quick SET v = repeat('x', 80)");
    wait_until("one more", Duration::from_secs(30), || {
        let quick = count("quick");
        if quick > 1 && count("slow") == 0 { Ok(()) } else { Err(format!("{quick} sweeps")) }
    });
    let begun = std::time::Instant::now();
    primary.stop();
    assert!(begun.elapsed() < Duration::from_secs(20), "the stop took {:?}", begun.elapsed());
}

#[test]
fn files_that_a_crash_left_go_at_the_next_start_on_the_standby_too_and_check_finds_nothing() {
    let primary = Node::builder().setting("autovacuum", "off").start();
    primary.sql("CREATE TABLE kept (k int PRIMARY KEY, v text)");
    primary.sql("INSERT INTO kept SELECT g, repeat('v', 3000) FROM generate_series(1, 500) g");
    primary.sql("CREATE TABLE gone AS SELECT g FROM generate_series(1, 1000) g");
    let standby = Node::builder().clone_from(&primary);
    let file =
        |table: &str| primary.data().join(primary.sql(&format!("SELECT pg_relation_filepath('{table}')")));
    let reader = scenarios::script::Session::connect(&primary.conninfo());
    reader.say("BEGIN ISOLATION LEVEL REPEATABLE READ");
    reader.say("SELECT count(*) FROM kept");
    let gone = file("gone");
    primary.sql("DROP TABLE gone");
    let writer = scenarios::script::Session::connect(&primary.conninfo());
    writer.say("BEGIN");
    writer.say("CREATE TABLE unfinished AS SELECT g FROM generate_series(1, 1000) g");
    let path = writer.say("SELECT pg_relation_filepath('unfinished')");
    let path = path.split_whitespace().find(|word| word.starts_with("base/")).expect("a path").to_owned();
    primary.sql("CHECKPOINT");
    primary.kill_9();

    let check = || scenarios::run(scenarios::plimsoll().arg("check").arg("-D").arg(primary.data()));
    let refused = check();
    assert!(refused.code == 1 && refused.stderr.contains("was not stopped cleanly"), "{}", refused.stderr);
    let left = [gone, primary.data().join(&path)];
    assert!(left.iter().all(|path| path.exists()), "redo from the checkpoint does not come by them");
    primary.start();
    wait_until("files that no table names to go", Duration::from_secs(30), || {
        let there = left.iter().filter(|path| path.exists()).count();
        if there == 0 { Ok(()) } else { Err(format!("{there} files are there")) }
    });
    assert!(primary.log().contains("removing 2 relation files that an earlier crash left"));
    primary.sql("UPDATE kept SET v = repeat('w', 3000)");
    primary.sql("VACUUM kept");
    standby.wait_replayed(&primary.sql("SELECT pg_current_wal_lsn()"));
    wait_until("the standby's files to go", Duration::from_secs(30), || {
        let file = standby.data().join(&path);
        if file.exists() { Err(format!("{} is there", file.display())) } else { Ok(()) }
    });
    assert_relations_equal_after_stop(&primary, &standby);
    for node in [&primary, &standby] {
        let checked = scenarios::run(scenarios::plimsoll().arg("check").arg("-D").arg(node.data()));
        assert_eq!(checked.code, 0, "{}{}", checked.stdout, checked.stderr);
        assert!(checked.stdout.contains("0 unreachable pages (0 bytes) in 0 of "), "{}", checked.stdout);
        assert!(
            checked.stdout.contains("0 files (0 bytes) that no table or index names"),
            "{}",
            checked.stdout
        );
    }
}
