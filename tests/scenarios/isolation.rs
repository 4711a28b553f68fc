//! What concurrent sessions see and get in each other's way: the same scripts on Plimsoll and on a real
//! PostgreSQL 15, step by step.
//!
//! The scripts in `isolation/` are the expected transcripts. Those named `hermitage_` follow Martin
//! Kleppmann's Hermitage, the standard list of anomalies.

use scenarios::script::{Observer, Session, transcript};
use scenarios::{Node, PostgreSql, pg_tool, wait_until};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Stdio;
use std::time::Duration;

/// Longer than any wait in here lasts on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Both servers, each with the tables of the scripts.
struct Judged {
    postgresql: PostgreSql,
    plimsoll: Node,
}

impl Judged {
    fn start() -> Self {
        Self::with_deadlock_timeout("10ms")
    }

    fn with_deadlock_timeout(time: &str) -> Self {
        let judged = Self {
            postgresql: PostgreSql::start(&[("deadlock_timeout", time)]),
            plimsoll: Node::builder().setting("deadlock_timeout", time).start(),
        };
        for conninfo in judged.both() {
            let session = Session::connect(&conninfo);
            for table in ["test", "other"] {
                let made = session.say(&format!("create table {table} (id int primary key, value int)"));
                assert_eq!(made, "ok", "{conninfo}");
            }
        }
        judged
    }

    fn both(&self) -> [String; 2] {
        [self.postgresql.conninfo(), self.plimsoll.conninfo()]
    }
}

/// Runs a script on both servers; both must answer as it says.
fn judge(script: &str) {
    let judged = Judged::start();
    let [postgresql, plimsoll] = judged.both();
    compare("PostgreSQL", script, &transcript(&postgresql, script));
    compare("Plimsoll", script, &transcript(&plimsoll, script));
}

/// Compares transcripts and shows where they part.
fn compare(who: &str, expected: &str, found: &str) {
    let same = expected.lines().zip(found.lines()).take_while(|(one, other)| one == other).count();
    let around =
        |text: &str| text.lines().skip(same.saturating_sub(8)).take(16).collect::<Vec<_>>().join("\n");
    assert!(
        expected == found,
        "-- {who} shall say, from line {same}:\n{}\n-- but says:\n{}",
        around(expected),
        around(found)
    );
}

#[test]
fn read_committed_allows_and_prevents_what_postgresql_does() {
    judge(include_str!("isolation/hermitage_read_committed.txt"));
}

#[test]
fn repeatable_read_allows_and_prevents_what_postgresql_does() {
    judge(include_str!("isolation/hermitage_repeatable_read.txt"));
}

#[test]
fn a_writer_that_waited_looks_again_at_the_newest_version() {
    judge(include_str!("isolation/looking_again.txt"));
}

#[test]
fn who_waited_for_a_table_sees_what_was_done_under_its_lock() {
    judge(include_str!("isolation/snapshots_under_locks.txt"));
}

#[test]
fn what_a_definition_names_is_held_until_it_is_made() {
    judge(include_str!("isolation/definitions.txt"));
}

#[test]
fn a_repeatable_read_writer_fails_on_what_changed_since_its_snapshot() {
    judge(include_str!("isolation/repeatable_read_writers.txt"));
}

#[test]
fn row_and_table_locks_wait_fail_or_skip() {
    judge(include_str!("isolation/row_locks.txt"));
}

#[test]
fn a_cursor_shows_what_there_was_when_it_was_declared_and_ends_with_its_savepoint() {
    judge(include_str!("isolation/cursors.txt"));
}

#[test]
fn savepoints_give_back_what_was_locked_after_them() {
    judge(include_str!("isolation/savepoints.txt"));
}

#[test]
fn lock_timeout_and_statement_timeout_end_waits() {
    judge(include_str!("isolation/timeouts.txt"));
}

#[test]
fn a_deadlock_has_one_victim_and_names_the_sessions() {
    let judged = Judged::start();
    for conninfo in judged.both() {
        let (one, two) = (Session::connect(&conninfo), Session::connect(&conninfo));
        let mut observer = Observer::connect(&conninfo);
        one.say("insert into test values (1, 10), (2, 20)");
        for (session, row) in [(&one, 1), (&two, 2)] {
            session.say("begin");
            assert_eq!(session.say(&format!("update test set value = 0 where id = {row}")), "ok 1");
        }
        one.begin("update test set value = value + 1 where id = 2");
        wait_until("the first one waits", LIMIT, || {
            if observer.waits(one.pid) { Ok(()) } else { Err(String::new()) }
        });
        two.begin("update test set value = value + 1 where id = 1");
        let answers = [one.answer(), two.answer()];
        let victim = answers.iter().position(|answer| answer != "ok 1").expect("a victim");
        assert_eq!(answers[1 - victim], "ok 1", "{answers:?}");
        let (own, other) = if victim == 0 { (one.pid, two.pid) } else { (two.pid, one.pid) };
        let lines: Vec<&str> = answers[victim].lines().collect();
        assert_eq!(lines[0], "ERROR 40P01: deadlock detected");
        assert_eq!(lines.len(), 3, "a line a session: {lines:?}");
        for (line, (waits, holds)) in lines[1..].iter().zip([(own, other), (other, own)]) {
            let line = line.trim_start_matches("DETAIL: ");
            assert!(line.starts_with(&format!("Process {waits} waits for ")), "{lines:?}");
            assert!(line.ends_with(&format!("; blocked by process {holds}.")), "{lines:?}");
        }
        one.say("rollback");
        two.say("rollback");
        assert_eq!(one.say("select * from test order by id"), "1|10; 2|20");
    }
}

#[test]
fn a_session_has_its_own_deadlock_timeout_and_hears_of_no_key() {
    let judged = Judged::with_deadlock_timeout("1h");
    for conninfo in judged.both() {
        let (one, two) = (Session::connect(&conninfo), Session::connect(&conninfo));
        let mut observer = Observer::connect(&conninfo);
        one.say("create table named (name text primary key, value int)");
        one.say("insert into named values ('secret', 1), ('other', 2)");
        two.say("set deadlock_timeout = '10ms'");
        for (session, name) in [(&one, "secret"), (&two, "other")] {
            session.say("begin");
            assert_eq!(session.say(&format!("update named set value = 0 where name = '{name}'")), "ok 1");
        }
        one.begin("update named set value = 3 where name = 'other'");
        wait_until("the first one waits", LIMIT, || {
            if observer.waits(one.pid) { Ok(()) } else { Err(String::new()) }
        });
        let told = two.say("update named set value = 3 where name = 'secret'");
        assert!(told.starts_with("ERROR 40P01: deadlock detected"), "{told}");
        let key: String = "secret".bytes().map(|byte| format!("{byte:02x}")).collect();
        assert!(!told.contains("secret") && !told.contains(&key), "{told}");
        two.say("rollback");
        assert_eq!(one.answer(), "ok 1");
        one.say("rollback");
    }
}

#[test]
fn views_name_who_waits_for_whom() {
    let judged = Judged::start();
    for conninfo in judged.both() {
        let [one, two, three] = [(); 3].map(|()| Session::connect(&conninfo));
        let mut observer = Observer::connect(&conninfo);
        one.say("insert into test values (1, 10)");
        one.say("begin");
        one.say("update test set value = 11 where id = 1");
        one.say("lock table other in share mode");
        let blocking =
            |observer: &mut Observer, pid| observer.value(&format!("select pg_blocking_pids({pid})"));
        assert_eq!(blocking(&mut observer, one.pid), "{}");
        two.begin("update test set value = 12 where id = 1");
        three.begin("insert into other values (1, 1)");
        for (session, kind) in [(&two, "row"), (&three, "relation")] {
            wait_until("the session waits", LIMIT, || {
                if observer.waits(session.pid) { Ok(()) } else { Err(String::new()) }
            });
            assert_eq!(blocking(&mut observer, session.pid), format!("{{{}}}", one.pid), "{kind}");
            let holder = "select h.pid from pg_locks w join pg_locks h on h.locktype = w.locktype and h.pid <> w.pid \
                 and (h.transactionid = w.transactionid or h.tuple = w.tuple or h.relation = w.relation) \
                 where h.granted and not w.granted and w.pid = ";
            assert_eq!(observer.value(&format!("{holder}{}", session.pid)), one.pid.to_string(), "{kind}");
        }
        let mode = "select mode from pg_locks where relation = 'other'::regclass and granted and locktype = 'relation'";
        assert_eq!(observer.value(mode), "ShareLock");
        let wanted = "select mode from pg_locks where relation = 'other'::regclass and not granted";
        assert_eq!(observer.value(wanted), "RowExclusiveLock");
        let state = format!("select state from pg_stat_activity where pid = {}", one.pid);
        assert_eq!(observer.value(&state), "idle in transaction");
        one.say("rollback");
        assert_eq!([two.answer(), three.answer()], ["ok 1", "ok 1"]);
        assert_eq!(observer.value("select count(*) from pg_locks where not granted"), "0");
    }
}

#[test]
fn an_idle_transaction_is_ended_by_its_timeout_and_gives_its_locks_back() {
    let judged = Judged::start();
    for conninfo in judged.both() {
        let mut observer = Observer::connect(&conninfo);
        let mut psql = pg_tool("psql")
            .args(["-X", "-q", "-A", "-t", "-v", "VERBOSITY=verbose", "-d", &conninfo])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("psql starts");
        let mut says = psql.stdin.take().expect("psql listens");
        writeln!(says, "insert into test values (1, 1);").expect("psql takes a line");
        writeln!(says, "set idle_in_transaction_session_timeout = '20ms'; begin; delete from test;")
            .expect("and one more");
        writeln!(says, "select pg_backend_pid();").expect("and one more");
        let mut pid = String::new();
        let mut hears = BufReader::new(psql.stdout.take().expect("psql prints"));
        hears.read_line(&mut pid).expect("a pid");
        let gone = format!("select count(*) from pg_stat_activity where pid = {}", pid.trim());
        wait_until("the session has ended", LIMIT, || match observer.value(&gone).as_str() {
            "0" => Ok(()),
            other => Err(other.to_owned()),
        });
        assert_eq!(observer.value("select id from test for update nowait"), "1", "the row is free again");
        writeln!(says, "select 1;").expect("psql does not know yet");
        drop(says);
        let mut errors = String::new();
        psql.stderr.take().expect("psql complains").read_to_string(&mut errors).expect("text");
        let told = "FATAL:  25P03: terminating connection due to idle-in-transaction timeout";
        assert!(errors.contains(told), "{errors}");
        psql.wait().expect("psql ends");
    }
}

#[test]
fn serializable_is_refused_and_not_weakened() {
    let node = Node::builder().start();
    let session = Session::connect(&node.conninfo());
    let refused = "ERROR 0A000: isolation level SERIALIZABLE is not supported";
    assert_eq!(session.say("begin isolation level serializable"), refused);
    assert_eq!(session.say("select 1"), "1", "a BEGIN that fails begins nothing");
    session.say("begin");
    assert_eq!(session.say("set transaction isolation level serializable"), refused);
    session.say("rollback");
    session.say("set default_transaction_isolation = 'serializable'");
    assert_eq!(session.say("begin"), refused);
    assert_eq!(session.say("create table t (id int primary key)"), refused);
}

/// PostgreSQL holds such a write against the constraint itself, and fails with 23514 or 23502.
#[test]
fn a_transaction_with_an_older_snapshot_writes_nothing_against_a_later_constraint() {
    let node = Node::builder().start();
    let writes = ["INSERT INTO t VALUES (2, 50, NULL)", "UPDATE t SET n = 50, v = NULL"];
    for change in ["ADD CHECK (n < 30)", "ALTER v SET NOT NULL", "ADD w int DEFAULT 7 CHECK (n < 30)"] {
        for write in writes {
            node.sql("DROP TABLE IF EXISTS t");
            node.sql("CREATE TABLE t (id int PRIMARY KEY, n int, v text)");
            node.sql("INSERT INTO t VALUES (1, 1, 'a')");
            let older = Session::connect(&node.conninfo());
            older.say("BEGIN ISOLATION LEVEL REPEATABLE READ");
            assert_eq!(older.say("SELECT 1"), "1");
            node.sql(&format!("ALTER TABLE t {change}"));
            let said = older.say(write);
            assert_eq!(said, "ERROR 40001: could not serialize access due to concurrent update", "{change}");
            older.say("ROLLBACK");
            assert_eq!(node.sql("SELECT id, n, v FROM t"), "1|1|a", "{change}");
        }
    }
}
