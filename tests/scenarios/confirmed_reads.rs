//! plimsoll.standby_reads = confirmed: a standby shows what its primary has named confirmed, and no failover
//! within the quorum loses it.

use scenarios::Node;
use scenarios::script::{Observer, Session};

const READ: &str = "SELECT v FROM t WHERE id = 1";

/// A primary whose commits wait for `anchor`, a standby `reader` that nobody waits for, and a standby of that
/// one.
struct Fleet {
    primary: Node,
    anchor: Node,
    reader: Node,
    cascaded: Node,
}

fn fleet() -> Fleet {
    let primary = Node::builder().start();
    primary.sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
    primary.sql("INSERT INTO t VALUES (1, 'old')");
    let anchor = Node::builder().setting("cluster_name", "anchor").clone_from(&primary);
    let reader = Node::builder().setting("cluster_name", "reader").clone_from(&primary);
    let cascaded = Node::builder().clone_from(&reader);
    Observer::connect(&primary.conninfo()).make_synchronous("anchor");
    Fleet { primary, anchor, reader, cascaded }
}

/// A session that sees only what is confirmed.
fn confirmed_session(node: &Node) -> Session {
    let session = Session::connect(&node.conninfo());
    session.say("SET plimsoll.standby_reads = confirmed");
    session
}

impl Fleet {
    /// Commits a new value that the anchor, which is frozen or down, does not confirm. Returns the end of the
    /// log.
    fn commit_unconfirmed(&self, value: &str) -> String {
        let mut observer = Observer::connect(&self.primary.conninfo());
        let writer = Session::connect(&self.primary.conninfo());
        writer.begin(&format!("UPDATE t SET v = '{value}' WHERE id = 1"));
        observer.wait_for_event(writer.pid, "SyncRep");
        observer.value(&format!("SELECT pg_cancel_backend({})", writer.pid));
        assert!(writer.answer().contains("canceling wait for synchronous replication"));
        observer.value("SELECT pg_current_wal_insert_lsn()")
    }
}

#[test]
fn a_standby_shows_a_commit_once_the_quorum_holds_it() {
    let fleet = fleet();
    let Fleet { primary, anchor, reader, cascaded } = &fleet;
    let readers = [confirmed_session(reader), confirmed_session(cascaded)];
    for session in &readers {
        assert_eq!(session.say(READ), "old");
    }
    anchor.freeze();
    let end = fleet.commit_unconfirmed("new");
    for node in [reader, cascaded] {
        node.wait_replayed(&end);
        assert_eq!(node.sql(READ), "new", "other sessions read what is replayed");
    }
    for session in &readers {
        assert_eq!(session.say(READ), "old");
        session.say("BEGIN ISOLATION LEVEL REPEATABLE READ");
        assert_eq!(session.say("SELECT v FROM t WHERE id > 0 ORDER BY id"), "old", "in each way of reading");
        session.say("COMMIT");
    }

    // Who asks for that very commit waits for the word that it is confirmed, for as long as he likes.
    let mut observers = [reader, cascaded].map(|node| Observer::connect(&node.conninfo()));
    for (session, observer) in readers.iter().zip(&mut observers) {
        let late = session.say(&format!("WAIT FOR LSN '{end}' TIMEOUT 100"));
        assert!(late.contains("timed out while waiting for log position"), "{late}");
        assert_eq!(session.say(READ), "old", "what was not reached is not waited for by what follows");
        session.begin(&format!("WAIT FOR LSN '{end}'"));
        observer.wait_for_event(session.pid, "WaitForConfirmation");
        assert_eq!(session.poll(), None);
    }
    anchor.thaw();
    for session in &readers {
        assert_eq!(session.answer(), "ok");
        assert_eq!(session.say(READ), "new");
    }
    assert_eq!(primary.sql(READ), "new");
}

#[test]
fn what_a_confirmed_read_saw_is_there_after_a_failover_to_the_quorum() {
    let fleet = fleet();
    let Fleet { primary, anchor, reader, .. } = &fleet;
    primary.sql("UPDATE t SET v = 'kept' WHERE id = 1");
    let session = confirmed_session(reader);
    session.say(&format!("WAIT FOR LSN '{}'", primary.sql("SELECT pg_current_wal_flush_lsn()")));
    assert_eq!(session.say(READ), "kept");
    anchor.kill_9();
    let end = fleet.commit_unconfirmed("lost");
    reader.wait_replayed(&end);
    assert_eq!(session.say(READ), "kept");
    assert_eq!(reader.sql(READ), "lost", "a plain read sees what the failover takes away");
    primary.kill_9();
    anchor.start();
    anchor.sql("SELECT pg_promote()");
    assert_eq!(anchor.sql(READ), "kept");
}

#[test]
fn what_was_shown_as_confirmed_is_shown_again_after_a_kill_and_a_restart_alone() {
    let fleet = fleet();
    let Fleet { primary, anchor, reader, cascaded } = &fleet;
    for round in 1..=3 {
        let value = format!("shown {round}");
        primary.sql(&format!("UPDATE t SET v = '{value}' WHERE id = 1"));
        let end = primary.sql("SELECT pg_current_wal_flush_lsn()");
        for node in [reader, cascaded] {
            let session = confirmed_session(node);
            session.say(&format!("WAIT FOR LSN '{end}'"));
            assert_eq!(session.say(READ), value);
        }
        if round == 1 {
            // A later commit is replayed and not confirmed.
            anchor.freeze();
            let end = fleet.commit_unconfirmed("in doubt");
            for node in [reader, cascaded] {
                node.wait_replayed(&end);
            }
        }
        primary.kill_9();
        for node in [cascaded, reader] {
            node.kill_9();
        }
        for node in [reader, cascaded] {
            node.start();
            assert_eq!(confirmed_session(node).say(READ), value, "round {round}");
        }
        // Once more with nothing to replay before it.
        reader.sql("CHECKPOINT");
        reader.stop();
        reader.start();
        assert_eq!(confirmed_session(reader).say(READ), value, "round {round}, after a clean stop");
        if round == 1 {
            anchor.thaw();
        }
        primary.start();
    }
}

#[test]
fn a_session_that_waits_for_confirmation_goes_on_when_its_standby_is_promoted() {
    let fleet = fleet();
    fleet.anchor.freeze();
    let end = fleet.commit_unconfirmed("new");
    let session = confirmed_session(&fleet.reader);
    fleet.reader.wait_replayed(&end);
    let reader = confirmed_session(&fleet.reader);
    session.begin(&format!("WAIT FOR LSN '{end}'"));
    // Each snapshot of this one is to have it.
    reader.say(&format!("SET plimsoll.read_after = '{end}'"));
    reader.begin(READ);
    for waiting in [&session, &reader] {
        Observer::connect(&fleet.reader.conninfo()).wait_for_event(waiting.pid, "WaitForConfirmation");
    }
    fleet.reader.set("synchronous_standby_names", "");
    fleet.reader.sql("SELECT pg_promote()");
    assert_eq!(session.answer(), "ok");
    assert_eq!(session.say(READ), "new", "it is this server's own history now");
    assert_eq!(reader.answer(), "new");
    fleet.anchor.thaw();
}
