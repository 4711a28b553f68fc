//! Visible is durable: no other session reads a commit before it is as durable as it asked to be, however its
//! wait ends.
//!
//! The same story on PostgreSQL 15 shows the row as soon as the wait is cancelled. That is the difference,
//! and kept here.

use scenarios::script::{Observer, Session};
use scenarios::{Node, PostgreSql, wait_until};
use std::time::Duration;

/// Longer than any wait in here lasts on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A primary with one synchronous standby and a row to change.
fn pair(timeout: &str) -> (Node, Node) {
    let primary = Node::builder().setting("plimsoll.unconfirmed_timeout", timeout).start();
    primary.sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
    primary.sql("INSERT INTO t VALUES (1, 'old')");
    let standby = Node::builder().setting("cluster_name", "boat").clone_from(&primary);
    Observer::connect(&primary.conninfo()).make_synchronous("boat");
    (primary, standby)
}

/// What other sessions read, each in its own way.
fn others_read(conninfo: &str) -> String {
    let fresh = Session::connect(conninfo);
    let plain = fresh.say("SELECT v FROM t WHERE id = 1");
    assert_eq!(
        fresh.say("SELECT v FROM t WHERE id > 0 ORDER BY id LIMIT 1"),
        plain,
        "a scan agrees with a look-up"
    );
    fresh.say("BEGIN ISOLATION LEVEL REPEATABLE READ");
    assert_eq!(fresh.say("SELECT v FROM t WHERE id = 1"), plain, "at each isolation level");
    assert_eq!(fresh.say("COMMIT"), "ok");
    plain
}

/// A primary that crashes and starts again, with commits that are undecided then: who reads there and waits,
/// and who looks on.
fn read_after_a_crash(primary: &Node) -> (Session, Observer) {
    primary.kill_9();
    primary.start();
    let reader = Session::connect(&primary.conninfo());
    let mut observer = Observer::connect(&primary.conninfo());
    reader.begin("SELECT v FROM t WHERE id = 1");
    observer.wait_for_event(reader.pid, "CommitUndecided");
    (reader, observer)
}

/// A commit at level on that no standby confirms, its wait cancelled, its session gone: what others read at
/// each moment, and what the session itself heard and reads.
fn story(conninfo: &str) -> Vec<(&'static str, String)> {
    let mut observer = Observer::connect(conninfo);
    let writer = Session::connect(conninfo);
    writer.begin("UPDATE t SET v = 'new' WHERE id = 1");
    observer.wait_for_event(writer.pid, "SyncRep");
    let mut told = vec![("while it waits", others_read(conninfo))];
    observer.value(&format!("SELECT pg_cancel_backend({})", writer.pid));
    told.push(("the writer hears", writer.answer()));
    told.push(("once it is cancelled", others_read(conninfo)));
    told.push(("the writer reads", writer.say("SELECT v FROM t WHERE id = 1")));
    drop(writer);
    told.push(("once it has left", others_read(conninfo)));
    let terminated = Session::connect(conninfo);
    terminated.begin("BEGIN; INSERT INTO t VALUES (0, 'too early'); COMMIT; SELECT 1");
    observer.wait_for_event(terminated.pid, "SyncRep");
    observer.value(&format!("SELECT pg_terminate_backend({})", terminated.pid));
    // Whether the client's library tells of the FATAL behind it, or of the closed connection, is a race.
    let heard = terminated.answer();
    told.push(("the terminated one hears", heard.lines().skip(1).collect::<Vec<_>>().join("\n")));
    let rows = Session::connect(conninfo).say("SELECT count(*) FROM t");
    told.push(("rows once another is terminated", rows));
    told
}

const TERMINATED: &str = "WARNING 57P01: canceling the wait for synchronous replication and \
                          terminating connection due to administrator command";
const WARNING: &str = "ok 1\nWARNING 01000: canceling wait for synchronous replication due to user request";

#[test]
fn nobody_reads_a_commit_before_the_standby_has_it_and_then_everybody_does() {
    let (primary, standby) = pair("1h");
    standby.freeze();
    let told = story(&primary.conninfo());
    let expected = [
        ("while it waits", "old"),
        ("the writer hears", WARNING),
        ("once it is cancelled", "old"),
        ("the writer reads", "old"),
        ("once it has left", "old"),
        ("the terminated one hears", TERMINATED),
        ("rows once another is terminated", "1"),
    ];
    assert_eq!(told, expected.map(|(moment, read)| (moment, read.to_owned())));

    // A weaker commit behind it is acknowledged at once, and seen in its turn.
    let weak = Session::connect(&primary.conninfo());
    weak.say("SET synchronous_commit = local");
    assert_eq!(weak.say("INSERT INTO t VALUES (2, 'weak')"), "ok 1");
    assert_eq!(primary.sql("SELECT count(*) FROM t"), "1");
    drop(weak);

    let (reader, _) = read_after_a_crash(&primary);
    assert_eq!(reader.poll(), None, "after a restart nobody reads before the standby has answered");
    standby.thaw();
    assert_eq!(reader.answer(), "new");
    assert_eq!(primary.sql("SELECT id, v FROM t ORDER BY id"), "0|too early\n1|new\n2|weak");
    let ledger = std::fs::read_to_string(primary.data().join("plimsoll/ledger")).unwrap_or_default();
    assert!(!ledger.contains(" released "), "nothing was given up: {ledger}");
    standby.wait_replayed(&primary.sql("SELECT pg_current_wal_lsn()"));
    assert_eq!(standby.sql("SELECT v FROM t WHERE id = 1"), "new");
}

#[test]
fn nobody_reads_a_commit_at_remote_apply_after_a_restart_before_the_standby_shows_it() {
    let (primary, standby) = pair("1h");
    standby.sql("SELECT pg_wal_replay_pause()");
    standby.wait_for("SELECT pg_get_wal_replay_pause_state()", "paused");
    let mut observer = Observer::connect(&primary.conninfo());
    let writer = Session::connect(&primary.conninfo());
    writer.say("SET synchronous_commit = remote_apply");
    writer.begin("UPDATE t SET v = 'new' WHERE id = 1");
    observer.wait_for_event(writer.pid, "SyncRep");
    let (reader, mut observer) = read_after_a_crash(&primary);
    // It holds all of the log, which would be enough for any other commit.
    wait_until("the standby has it", LIMIT, || {
        let told = observer.value(
            "SELECT count(*) FROM pg_stat_replication WHERE flush_lsn = sent_lsn AND replay_lsn < flush_lsn",
        );
        if told == "1" { Ok(()) } else { Err(told) }
    });
    assert_eq!(reader.poll(), None);
    standby.sql("SELECT pg_wal_replay_resume()");
    assert_eq!(reader.answer(), "new");
    assert_eq!(standby.sql("SELECT v FROM t WHERE id = 1"), "new");
}

#[test]
fn when_the_standby_is_back_what_waited_appears_without_a_restart() {
    let (primary, standby) = pair("1h");
    standby.freeze();
    let mut observer = Observer::connect(&primary.conninfo());
    let writer = Session::connect(&primary.conninfo());
    writer.begin("UPDATE t SET v = 'new' WHERE id = 1");
    observer.wait_for_event(writer.pid, "SyncRep");
    observer.value(&format!("SELECT pg_cancel_backend({})", writer.pid));
    assert_eq!(writer.answer(), WARNING);
    assert_eq!(others_read(&primary.conninfo()), "old");
    standby.thaw();
    // One statement a look: between two, the commit may appear.
    wait_until("the commit appears", LIMIT, || match primary.sql("SELECT v FROM t WHERE id = 1").as_str() {
        "new" => Ok(()),
        other => Err(other.to_owned()),
    });
    assert_eq!(others_read(&primary.conninfo()), "new");
}

#[test]
fn commits_that_nobody_confirms_are_released_after_the_timeout_and_recorded() {
    let (primary, standby) = pair("300ms");
    standby.freeze();
    story(&primary.conninfo());
    primary.kill_9();
    primary.start();
    assert_eq!(primary.sql("SELECT v FROM t WHERE id = 1"), "new", "the statement waits, and then reads");
    let ledger = std::fs::read_to_string(primary.data().join("plimsoll/ledger")).expect("a ledger");
    let lines: Vec<&str> = ledger.lines().filter(|line| !line.contains(" cut ")).collect();
    assert_eq!(lines.len(), 1, "{ledger}");
    assert!(lines[0].contains(" released "), "{ledger}");
    assert!(lines[0].ends_with("without the synchronous standbys' confirmation"), "{ledger}");
    assert!(primary.log().contains("released"), "{}", primary.log());
}

/// The same of PostgreSQL, whose standby has stopped.
fn postgresql_alone() -> (PostgreSql, PostgreSql) {
    let primary = PostgreSql::start(&[]);
    let setup = Session::connect(&primary.conninfo());
    setup.say("CREATE TABLE t (id int PRIMARY KEY, v text)");
    setup.say("INSERT INTO t VALUES (1, 'old')");
    let standby = PostgreSql::standby_of(&primary, &[("cluster_name", "boat")]);
    Observer::connect(&primary.conninfo()).make_synchronous("boat");
    standby.stop("immediate");
    (primary, standby)
}

#[test]
fn postgresql_shows_the_row_as_soon_as_the_wait_is_cancelled() {
    let (primary, _standby) = postgresql_alone();
    let told = story(&primary.conninfo());
    let expected = [
        ("while it waits", "old"),
        ("the writer hears", WARNING),
        ("once it is cancelled", "new"),
        ("the writer reads", "new"),
        ("once it has left", "new"),
        ("the terminated one hears", TERMINATED),
        ("rows once another is terminated", "2"),
    ];
    assert_eq!(told, expected.map(|(moment, read)| (moment, read.to_owned())));
    primary.stop("immediate");
    primary.start_again();
    assert_eq!(others_read(&primary.conninfo()), "new", "although no standby has it");
}

#[test]
fn no_answer_tells_of_a_row_that_the_failover_loses() {
    let (primary, standby) = pair("1h");
    standby.kill_9();
    let mut observer = Observer::connect(&primary.conninfo());
    let mut waiting = Vec::new();
    for doubtful in ["INSERT INTO t VALUES (9, 'lost')", "DELETE FROM t WHERE id = 1"] {
        let writer = Session::connect(&primary.conninfo());
        writer.begin(doubtful);
        observer.wait_for_event(writer.pid, "SyncRep");
        waiting.push(writer);
    }
    for asked in [
        "INSERT INTO t VALUES (9, 'mine') ON CONFLICT DO NOTHING",
        "INSERT INTO t VALUES (9, 'mine')",
        "BEGIN; INSERT INTO t VALUES (9, 'mine') ON CONFLICT DO NOTHING; COMMIT",
        "DELETE FROM t WHERE id = 1",
        "UPDATE t SET v = 'mine' WHERE id = 1",
        "SELECT v FROM t WHERE id = 1 FOR UPDATE",
        "SELECT v FROM t WHERE id < 5 FOR UPDATE",
    ] {
        let session = Session::connect(&primary.conninfo());
        session.begin(asked);
        wait_until("the session waits", LIMIT, || {
            if let Some(told) = session.poll() {
                panic!("{asked}: told {told} of a commit that only this server has");
            }
            let event = "SELECT wait_event || '' FROM pg_stat_activity WHERE pid = ";
            match observer.value(&format!("{event}{}", session.pid)).as_str() {
                "CommitVisible" => Ok(()),
                other => Err(other.to_owned()),
            }
        });
        waiting.push(session);
    }
    let cancelled = waiting.pop().expect("the last one");
    observer.value(&format!("SELECT pg_cancel_backend({})", cancelled.pid));
    assert_eq!(cancelled.answer(), "ERROR 57014: canceling statement due to user request");
    for session in &waiting {
        assert_eq!(session.poll(), None);
    }
    primary.kill_9();
    standby.start();
    standby.sql("SELECT pg_promote()");
    assert_eq!(standby.sql("SELECT id, v FROM t ORDER BY id"), "1|old");
    drop(waiting);
}

/// Three writers on one row while no standby answers: what each waits for.
fn writers_on_one_row(conninfo: &str, events: [&str; 3]) -> Vec<Session> {
    let mut observer = Observer::connect(conninfo);
    let mut writers = Vec::new();
    for (name, event) in ["a", "b", "c"].into_iter().zip(events) {
        let writer = Session::connect(conninfo);
        writer.begin(&format!("UPDATE t SET v = v || '{name}' WHERE id = 1"));
        observer.wait_for_event(writer.pid, event);
        writers.push(writer);
    }
    writers
}

#[test]
fn a_hot_row_passes_on_when_the_commit_is_in_the_log_and_is_read_when_it_is_confirmed() {
    let (primary, standby) = pair("1h");
    standby.freeze();
    let writers = writers_on_one_row(&primary.conninfo(), ["SyncRep"; 3]);
    assert_eq!(others_read(&primary.conninfo()), "old");
    // Whoever would return what is in doubt waits until it is not.
    let mut observer = Observer::connect(&primary.conninfo());
    let locking = Session::connect(&primary.conninfo());
    locking.begin("SELECT v FROM t WHERE id = 1 FOR UPDATE");
    observer.wait_for_event(locking.pid, "CommitVisible");
    let returning = Session::connect(&primary.conninfo());
    returning.say("SET lock_timeout = '10s'");
    standby.thaw();
    for writer in &writers {
        assert_eq!(writer.answer(), "ok 1");
    }
    assert_eq!(locking.answer(), "oldabc");
    assert_eq!(returning.say("UPDATE t SET v = v || 'd' WHERE id = 1 RETURNING v"), "oldabcd");
}

#[test]
fn postgresql_keeps_a_hot_row_locked_until_the_standby_answers() {
    let (primary, standby) = postgresql_alone();
    let writers = writers_on_one_row(&primary.conninfo(), ["SyncRep", "transactionid", "tuple"]);
    standby.start_again();
    for writer in &writers {
        assert_eq!(writer.answer(), "ok 1");
    }
    // Both that waited look for the newest version of the row once the first is told: either may come first.
    let read = others_read(&primary.conninfo());
    assert!(["oldabc", "oldacb"].contains(&read.as_str()), "{read}");
}
