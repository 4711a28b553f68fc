//! Transactions larger than memory: loads that are killed, updates and deletes of everything, standbys beside
//! them.

use postgres::{Client, NoTls};
use scenarios::Node;
use std::io::Write as _;
use std::ops::Range;

const SHARED_BUFFERS: u64 = 32 << 20;
/// What a session and the server may take besides.
const ELSE: u64 = 128 << 20;

fn is_long() -> bool {
    std::env::var("PLIMSOLL_LONG_TESTS").is_ok_and(|value| value == "1")
}

fn seeded() -> fastrand::Rng {
    let seed = std::env::var("PLIMSOLL_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("PLIMSOLL_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

fn node() -> scenarios::NodeBuilder {
    Node::builder()
        .setting("shared_buffers", "32MB")
        .setting("max_wal_size", "256MB")
        .setting("plimsoll.write_set_limit", "4MB")
}

fn connect(node: &Node) -> Client {
    Client::connect(&node.conninfo(), NoTls).expect("connects")
}

/// Loads these rows by one COPY, calling `before` ahead of each row. An error is the server's end.
fn copy(client: &mut Client, rows: Range<u64>, mut before: impl FnMut(u64)) -> Result<u64, postgres::Error> {
    let mut copy = client.copy_in("COPY load FROM STDIN")?;
    for id in rows {
        before(id);
        if writeln!(copy, "{id}\t{}\tplimsoll plimsoll plimsoll {id}", id % 1000).is_err() {
            break;
        }
    }
    copy.finish()
}

fn assert_bounded(node: &Node) {
    let resident = node.rss_anon_bytes();
    assert!(resident < SHARED_BUFFERS + ELSE, "RssAnon is {} MB", resident >> 20);
}

/// What `load` holds once the rows 1 to `rows` are loaded beside the one from before.
fn loaded(rows: u64) -> String {
    format!("{}|{}|-1", rows + 1, i128::from(rows) * i128::from(rows + 1) / 2 - 1)
}

/// The load comes in as many parts as there are kills. Each part is killed once, at a random row, and then
/// loaded whole: so the kills fall into a table of every size on the way to the last one, and what is loaded
/// for them is half as much again and not ten times as much.
#[test]
fn a_copy_killed_at_random_moments_leaves_nothing_and_then_loads_everything_in_bounded_memory() {
    let (rows, kills): (u64, u64) = if is_long() { (10_000_000, 20) } else { (500_000, 5) };
    let part = rows / kills;
    let mut random = seeded();
    let node = node().start();
    node.sql("CREATE TABLE load (id int PRIMARY KEY, a int NOT NULL, note text NOT NULL)");
    node.sql("INSERT INTO load VALUES (-1, 7, 'before')");
    for kill in 0..kills {
        let (first, next) = (kill * part + 1, (kill + 1) * part + 1);
        let at = random.u64(first..next);
        let copied = copy(&mut connect(&node), first..next, |id| {
            if id == at {
                node.kill_9();
            }
        });
        assert!(copied.is_err(), "kill {kill} at row {at}: the COPY went on without its server");
        node.start();
        let left = node.sql("SELECT count(*), sum(id), min(id) FROM load");
        assert_eq!(left, loaded(first - 1), "kill {kill} at row {at}");
        node.sql("UPDATE load SET a = a + 1 WHERE id = -1");
        node.sql("UPDATE load SET a = a - 1 WHERE id = -1");
        let copied = copy(&mut connect(&node), first..next, |id| {
            if id % 10_000 == 0 {
                assert_bounded(&node);
            }
        });
        assert_eq!(copied.expect("the load ends"), part);
        eprintln!("kill {kill} at row {at} of {rows}");
    }
    // And all of it at once.
    node.sql("TRUNCATE load");
    node.sql("INSERT INTO load VALUES (-1, 7, 'before')");
    let copied = copy(&mut connect(&node), 1..rows + 1, |id| {
        if id % 10_000 == 0 {
            assert_bounded(&node);
        }
    });
    assert_eq!(copied.expect("the load ends"), rows);
    assert_bounded(&node);
    node.kill_9();
    node.start();
    assert_eq!(node.sql("SELECT count(*), sum(id), min(id) FROM load"), loaded(rows));
    assert_eq!(node.sql("SELECT a, note FROM load WHERE id = -1"), "7|before");
    assert_bounded(&node);
}

/// What a connection of its own reads.
fn seen(node: &Node) -> String {
    node.sql("SELECT count(*), sum(v) FROM t")
}

#[test]
fn an_update_and_a_delete_of_all_rows_are_seen_at_their_commit_here_and_on_a_standby() {
    let rows: u64 = if is_long() { 10_000_000 } else { 500_000 };
    let primary = node().setting("wal_keep_size", "16GB").start();
    primary.sql("CREATE TABLE t (id int PRIMARY KEY, v int NOT NULL)");
    let standby = Node::builder().setting("shared_buffers", "32MB").clone_from(&primary);
    let caught_up = || standby.wait_replayed(&primary.sql("SELECT pg_current_wal_lsn()"));
    let both = |expected: &str| {
        caught_up();
        assert_eq!(seen(&primary), expected);
        assert_eq!(seen(&standby), expected);
        assert_bounded(&primary);
    };
    let mut client = connect(&primary);
    let all = |count: u64, v: u64| format!("{count}|{}", count * v);

    let mut load = client.transaction().expect("BEGIN");
    let inserted = format!("INSERT INTO t SELECT g, 1 FROM generate_series(1, {rows}) g");
    assert_eq!(load.execute(&inserted, &[]).expect("INSERT"), rows);
    both("0|");
    load.commit().expect("COMMIT");
    both(&all(rows, 1));

    let mut update = client.transaction().expect("BEGIN");
    assert_eq!(update.execute("UPDATE t SET v = v + 1", &[]).expect("UPDATE"), rows);
    let own: i64 = update.query_one("SELECT sum(v) FROM t", &[]).expect("own rows").get(0);
    assert_eq!(own as u64, 2 * rows);
    let mut savepoint = update.transaction().expect("SAVEPOINT");
    assert_eq!(savepoint.execute("DELETE FROM t WHERE id % 2 = 0", &[]).expect("DELETE"), rows / 2);
    both(&all(rows, 1));
    savepoint.rollback().expect("ROLLBACK TO");
    update.commit().expect("COMMIT");
    both(&all(rows, 2));

    let mut deleted = client.transaction().expect("BEGIN");
    assert_eq!(deleted.execute("DELETE FROM t", &[]).expect("DELETE"), rows);
    both(&all(rows, 2));
    deleted.rollback().expect("ROLLBACK");
    both(&all(rows, 2));
    assert_eq!(client.execute("DELETE FROM t", &[]).expect("DELETE"), rows);
    both("0|");
    drop(client);
    scenarios::assert_equal_after_stop(&primary, &standby);
}

/// The rows 1 to `count` in an order without a pattern.
fn shuffled(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(move |number| number * 2_654_435_761 % count + 1)
}

/// Loads these rows by one COPY and gives how many, or the error's code and where it was.
fn copy_rows(client: &mut Client, rows: impl Iterator<Item = u64>) -> Result<u64, (String, String)> {
    let mut copy = client.copy_in("COPY load FROM STDIN").expect("COPY begins");
    for id in rows {
        if writeln!(copy, "{id}\t{}\tplimsoll plimsoll plimsoll {id}", id % 1000).is_err() {
            break;
        }
    }
    copy.finish().map_err(|error| {
        let report = error.as_db_error().expect("the server answers");
        (report.code().code().to_owned(), report.where_().unwrap_or_default().to_owned())
    })
}

#[test]
fn a_copy_waits_for_whoever_inserts_one_of_its_keys_and_stands_or_falls_with_that() {
    let rows = 60_000;
    let primary = node().setting("wal_keep_size", "16GB").start();
    primary.sql("CREATE TABLE load (id int PRIMARY KEY, a int NOT NULL, note text NOT NULL)");
    let standby = Node::builder().setting("shared_buffers", "32MB").clone_from(&primary);
    let (at, key) = (1..).zip(shuffled(rows)).nth(50_000).expect("there are more rows");
    for commits in [true, false] {
        let mut other = connect(&primary);
        let mut beside = other.transaction().expect("BEGIN");
        beside.execute("INSERT INTO load VALUES ($1, 0, 'beside')", &[&(key as i32)]).expect("INSERT");
        let mut loader = connect(&primary);
        let pid: i32 = loader.query_one("SELECT pg_backend_pid()", &[]).expect("its number").get(0);
        let loading = std::thread::spawn(move || copy_rows(&mut loader, shuffled(rows)));
        scenarios::script::Observer::connect(&primary.conninfo()).wait_for_event(pid, "tuple");
        if commits {
            beside.commit().expect("COMMIT");
        } else {
            beside.rollback().expect("ROLLBACK");
        }
        let loaded = loading.join().expect("the loader ends");
        if commits {
            assert_eq!(loaded, Err(("23505".to_owned(), format!("COPY load, line {at}"))));
            assert_eq!(primary.sql("SELECT count(*), sum(id) FROM load"), format!("1|{key}"));
            primary.sql("DELETE FROM load");
        } else {
            assert_eq!(loaded, Ok(rows));
        }
    }
    primary.sql("CREATE TABLE copied AS SELECT * FROM load");
    primary.sql("INSERT INTO copied SELECT * FROM load");
    let sums = format!("{}|{}", 2 * rows, rows * (rows + 1));
    assert_eq!(primary.sql("SELECT count(*), sum(id) FROM copied"), sums);
    standby.wait_replayed(&primary.sql("SELECT pg_current_wal_lsn()"));
    assert_eq!(standby.sql("SELECT count(*), sum(id) FROM copied"), sums);
    scenarios::assert_equal_after_stop(&primary, &standby);
}
