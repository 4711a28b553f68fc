//! Nodes know each other by replication alone: nothing here sets plimsoll.peers, and an old primary that
//! comes back finds out all the same that it was replaced.

use scenarios::script::{Observer, Session};
use scenarios::{Node, pg_tool, plimsoll, run, run_ok, wait_until};
use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
/// What a start may take besides its waiting, on a machine that has much else to do.
const SLACK: Duration = Duration::from_secs(4);

fn named(name: &str) -> scenarios::NodeBuilder {
    Node::builder().setting("cluster_name", name)
}

/// A primary and a standby that know each other.
fn pair() -> (Node, Node) {
    let one = named("one").start();
    let two = named("two").clone_from(&one);
    one.sql("CREATE TABLE t (id int PRIMARY KEY)");
    two.wait_for("SELECT count(*) FROM t", "0");
    knows(&one, "two");
    knows(&two, "one");
    (one, two)
}

/// The same, with the standby as the synchronous one.
fn synchronous_pair() -> (Node, Node) {
    let (one, two) = pair();
    one.wait_for("SELECT state FROM pg_stat_replication", "streaming");
    one.alter("SET synchronous_standby_names = 'two'");
    one.wait_for("SELECT mode FROM plimsoll_stat_sync", "synchronous");
    (one, two)
}

/// Waits until a node has others of these names in its roster, and on disk.
fn knows(node: &Node, names: &str) {
    let members =
        "SELECT string_agg(name, ' ' ORDER BY name) FROM plimsoll_roster WHERE source = 'replication'";
    node.wait_for(members, names);
    wait_until("the roster is on disk", LIMIT, || {
        let text = fs::read_to_string(node.data().join("plimsoll/roster")).unwrap_or_default();
        let has = |name: &str| text.lines().any(|line| line.ends_with(&format!(" {name}")));
        if names.split(' ').all(has) { Ok(()) } else { Err(text) }
    });
}

fn refuses_writes(node: &Node, row: u32) {
    let refused = node.try_sql(&format!("INSERT INTO t VALUES ({row})"));
    assert!(refused.stderr.contains("this server is fenced: timeline 2 left"), "{refused:?}\n{}", node.log());
    assert!(node.data().join("plimsoll/fence").exists());
}

#[test]
fn an_old_primary_that_comes_back_refuses_its_first_write() {
    let (one, two) = pair();
    one.kill_9();
    run_ok(plimsoll().arg("promote").arg("-D").arg(two.data()));
    two.sql("INSERT INTO t VALUES (1)");
    one.start();
    refuses_writes(&one, 2);
    assert_eq!(one.sql("SELECT count(*) FROM t"), "0", "it stays readable");
    let status = run_ok(plimsoll().arg("status").arg("-D").arg(one.data()));
    assert!(status.contains("fenced: timeline 1 ended at"), "{status}");
    // What looks for a server that takes writes passes over it.
    let ports = format!("host=127.0.0.1,127.0.0.1 port={},{}", one.port(), two.port());
    let found = format!("{ports} user=postgres dbname=postgres target_session_attrs=read-write");
    let answer = run_ok(pg_tool("psql").args(["-XAtqc", "SELECT count(*) FROM t", "-d", &found]));
    assert_eq!(answer.trim(), "1");
    // Only on an administrator's word, and not while what replaced it is there.
    let refused = run(plimsoll().arg("unfence").arg("-D").arg(one.data()));
    assert_eq!(refused.code, 2, "{refused:?}");
    one.stop();
    let told = run_ok(plimsoll().args(["unfence", "--i-know", "-D"]).arg(one.data()));
    assert!(told.starts_with("server unfenced"), "{told}");
    let ledger = fs::read_to_string(one.data().join("plimsoll/ledger")).expect("the ledger");
    assert_eq!(ledger.matches(" unfenced ").count(), 1, "{ledger}");
    one.start();
    refuses_writes(&one, 3);
    one.stop();
    two.kill_9();
    run_ok(plimsoll().args(["unfence", "--i-know", "-D"]).arg(one.data()));
    one.start();
    one.sql("INSERT INTO t VALUES (4)");
}

#[test]
fn an_old_primary_that_crashed_with_undecided_commits_shows_what_was_decided() {
    let (one, two) = synchronous_pair();
    one.sql("INSERT INTO t VALUES (1)");
    one.sql("INSERT INTO t VALUES (2)");
    one.kill_9();
    run_ok(plimsoll().arg("promote").arg("-D").arg(two.data()));
    one.start();
    refuses_writes(&one, 3);
    let count: u32 = one.sql("SELECT count(*) FROM t").parse().expect("a number");
    assert!(count <= 2, "{count}");
    one.wait_for("SELECT id FROM t WHERE id = 3", "");
}

#[test]
fn an_old_primary_that_crashed_soon_after_a_checkpoint_shows_what_that_found_confirmed() {
    let (one, two) = synchronous_pair();
    one.sql("INSERT INTO t VALUES (1)");
    one.sql("CHECKPOINT");
    one.sql("INSERT INTO t VALUES (2)");
    one.kill_9();
    run_ok(plimsoll().arg("promote").arg("-D").arg(two.data()));
    one.start();
    refuses_writes(&one, 3);
    assert_eq!(one.sql("SELECT id FROM t WHERE id <> 2"), "1", "it was confirmed before the checkpoint");
}

#[test]
fn a_cascade_that_is_left_alone_tells_the_old_primary() {
    let (one, two) = pair();
    let three = named("three").clone_from(&two);
    for (node, others) in [(&one, "three two"), (&two, "one three"), (&three, "one two")] {
        knows(node, others);
    }
    one.kill_9();
    run_ok(plimsoll().arg("promote").arg("-D").arg(two.data()));
    two.sql("INSERT INTO t VALUES (1)");
    three.wait_for("SELECT count(*) FROM t", "1");
    two.kill_9();
    one.start();
    refuses_writes(&one, 2);
}

/// A primary, a standby that was promoted to timeline 2, and one that has log behind the fork and stays on
/// timeline 1, though it asked the new primary for more.
fn one_past_the_fork() -> (Node, Node, Node) {
    let one = named("one").start();
    let two = named("two").clone_from(&one);
    let three = named("three").setting("wal_retrieve_retry_interval", "200ms").clone_from(&one);
    one.sql("CREATE TABLE t (id int PRIMARY KEY)");
    two.wait_for("SELECT count(*) FROM t", "0");
    for (node, others) in [(&one, "three two"), (&two, "one three"), (&three, "one two")] {
        knows(node, others);
    }
    two.stop();
    one.sql("INSERT INTO t VALUES (1)");
    three.wait_for("SELECT count(*) FROM t", "1");
    one.kill_9();
    two.start();
    run_ok(plimsoll().arg("promote").arg("-D").arg(two.data()));
    two.sql("INSERT INTO t VALUES (2)");
    three.alter(&format!("SET primary_conninfo = '{}'", two.conninfo()));
    wait_until("it is told", LIMIT, || {
        let text = fs::read_to_string(three.data().join("plimsoll/heard")).unwrap_or_default();
        let has = |line: &str| text.lines().any(|found| found.starts_with(line));
        if has("newest=2") && has("branch=passed-on 2 ") {
            Ok(())
        } else {
            Err(format!("{text}{}", three.log()))
        }
    });
    let told = "tells of timeline 2, which left this server's timeline 1 at";
    assert!(three.log().contains(told), "{}", three.log());
    (one, two, three)
}

#[test]
fn a_standby_past_the_fork_passes_on_what_replaced_the_old_primary() {
    let (one, two, three) = one_past_the_fork();
    two.kill_9();
    three.stop();
    three.start();
    one.start();
    refuses_writes(&one, 3);
    let status = run_ok(plimsoll().arg("status").arg("-D").arg(one.data()));
    assert!(status.contains(", which was told of it"), "{status}");
    // What an administrator gives up counts no more, whoever was told of it.
    one.stop();
    one.alter_while_stopped("plimsoll.fence_probe_interval", "200ms");
    run_ok(plimsoll().args(["unfence", "--i-know", "-D"]).arg(one.data()));
    takes_writes_again(&one, &three);
    // One that writes it is another matter.
    two.start();
    wait_until("it is fenced again", LIMIT, || {
        if one.data().join("plimsoll/fence").exists() { Ok(()) } else { Err(one.log()) }
    });
}

/// Starts an unfenced primary: neither what one that was told of its successor answers nor what that tells
/// when it follows fences it.
fn takes_writes_again(one: &Node, three: &Node) {
    one.start();
    one.sql("INSERT INTO t VALUES (3)");
    let asked = "SELECT count(*) > 0 FROM plimsoll_roster WHERE name = 'three' AND answer = 'answers'";
    one.wait_for(asked, "t");
    three.alter(&format!("SET primary_conninfo = '{}'", one.conninfo()));
    three.wait_for("SELECT count(*) FROM t", "2");
    assert!(!one.data().join("plimsoll/fence").exists(), "{}", one.log());
}

/// The standby is promoted behind the back of a primary that lives and has no time for questions.
#[test]
fn a_primary_hears_from_its_successor_itself_and_nothing_that_is_untrue_in_a_moment() {
    let (one, two) = pair();
    one.alter("SET \"plimsoll.fence_probe_interval\" = '1d'");
    two.alter("SET recovery_end_command = 'while [ ! -e go-on ]; do sleep 0.05; done'");
    two.sql("SELECT pg_promote(false)");
    wait_until("it is being promoted", LIMIT, || {
        if two.log().contains("redo done at") { Ok(()) } else { Err(two.log()) }
    });
    // It is asked at a reload, and does not say that it follows timeline 1.
    one.sql("SELECT pg_reload_conf()");
    let says = "SELECT DISTINCT answer FROM plimsoll_roster WHERE name = 'two' AND source = 'replication'";
    one.wait_for(says, "starting");
    fs::write(two.data().join("go-on"), "").expect("a file");
    wait_until("it is told", LIMIT, || {
        if one.data().join("plimsoll/fence").exists() { Ok(()) } else { Err(one.log()) }
    });
    refuses_writes(&one, 1);
}

#[test]
fn a_standby_that_was_told_what_replaced_its_timeline_does_not_start_as_its_primary() {
    let (_one, two, three) = one_past_the_fork();
    two.kill_9();
    three.stop();
    fs::remove_file(three.data().join("standby.signal")).expect("the signal");
    three.start();
    refuses_writes(&three, 3);
    // Nobody else was there to tell it.
    assert!(three.log().contains("seen at this server itself, which was told of it"), "{}", three.log());
    three.stop();
    run_ok(plimsoll().args(["unfence", "--i-know", "-D"]).arg(three.data()));
    three.start();
    three.sql("INSERT INTO t VALUES (3)");
}

/// A fenced primary that was stopped, and a standby that was told of its successor; that is gone.
fn fenced_by_one_that_was_told() -> (Node, Node) {
    let (one, two, three) = one_past_the_fork();
    two.kill_9();
    one.start();
    refuses_writes(&one, 3);
    one.stop();
    one.alter_while_stopped("plimsoll.fence_probe_interval", "200ms");
    (one, three)
}

#[test]
fn what_a_record_names_is_given_up_though_the_node_remembers_no_more_what_it_was_told() {
    let (one, three) = fenced_by_one_that_was_told();
    // As if the fence were of a program that kept nothing of it.
    let _ = fs::remove_file(one.data().join("plimsoll/heard"));
    run_ok(plimsoll().args(["unfence", "--i-know", "-D"]).arg(one.data()));
    let text = fs::read_to_string(one.data().join("plimsoll/heard")).expect("a file");
    assert!(text.lines().any(|line| line.starts_with("named=1 ")), "{text}");
    takes_writes_again(&one, &three);
}

#[test]
fn a_fence_whose_record_is_damaged_is_taken_off_for_good_too() {
    let (one, three) = fenced_by_one_that_was_told();
    for name in ["fence", "heard"] {
        fs::write(one.data().join("plimsoll").join(name), format!("plimsoll {name} 1\nx")).expect("a file");
    }
    assert_ne!(one.try_start().code, 0, "{}", one.log());
    let hint = one.log().lines().any(|line| line.contains("HINT:") && line.contains("\"plimsoll unfence\""));
    assert!(hint, "{}", one.log());
    let told = run_ok(plimsoll().args(["unfence", "--i-know", "-D"]).arg(one.data()));
    assert!(told.contains("plimsoll/fence\" is damaged"), "{told}");
    let text = fs::read_to_string(one.data().join("plimsoll/heard")).expect("a file");
    assert!(text.lines().any(|line| line.starts_with("upto=1 none ")), "{text}");
    takes_writes_again(&one, &three);
}

#[test]
fn a_standby_that_follows_an_old_primary_again_tells_it_what_replaced_it() {
    let (one, two, three) = one_past_the_fork();
    two.kill_9();
    three.stop();
    // Nobody answers it, and it does not ask again before this is over.
    one.alter_while_stopped("plimsoll.fence_probe_interval", "1h");
    one.start();
    one.sql("INSERT INTO t VALUES (3)");
    three.alter_while_stopped("primary_conninfo", &one.conninfo());
    three.start();
    wait_until("it is fenced", LIMIT, || {
        if one.data().join("plimsoll/fence").exists() { Ok(()) } else { Err(one.log()) }
    });
    refuses_writes(&one, 4);
}

#[test]
fn a_promotion_takes_no_number_of_which_an_earlier_life_was_told() {
    let (_one, two, three) = one_past_the_fork();
    two.kill_9();
    three.stop();
    three.start();
    run_ok(plimsoll().arg("promote").arg("-D").arg(three.data()));
    assert!(three.log().contains("selected new timeline ID: 3"), "{}", three.log());
}

#[test]
fn a_new_primary_tells_its_number_also_to_a_standby_that_lets_nobody_in_and_asks_nobody() {
    let one = named("one").start();
    let two = named("two").clone_from(&one);
    let three = named("three").clone_from(&one);
    for (node, others) in [(&one, "three two"), (&two, "one three"), (&three, "one two")] {
        knows(node, others);
    }
    one.kill_9();
    three.stop();
    // It does not ask again before this is over.
    three.alter_while_stopped("plimsoll.fence_probe_interval", "1h");
    three.alter_while_stopped("hot_standby", "off");
    three.start_without_waiting();
    wait_until("it replays", LIMIT, || {
        let starts = three.log().matches("consistent recovery state reached at").count();
        if starts == 2 { Ok(()) } else { Err(three.log()) }
    });
    run_ok(plimsoll().arg("promote").arg("-D").arg(two.data()));
    wait_until("it is told", LIMIT, || {
        let text = fs::read_to_string(three.data().join("plimsoll/heard")).unwrap_or_default();
        let is_told = text.lines().any(|line| line == "newest=2");
        if is_told { Ok(()) } else { Err(format!("{text}{}", three.log())) }
    });
    run_ok(plimsoll().arg("promote").arg("-D").arg(three.data()));
    assert!(three.log().contains("selected new timeline ID: 3"), "{}", three.log());
}

#[test]
fn no_password_and_no_right_to_log_in_keep_a_member_from_its_answer() {
    let (one, two) = pair();
    one.kill_9();
    run_ok(plimsoll().arg("promote").arg("-D").arg(two.data()));
    let hba = "local all all trust\nhost all,replication all all reject\nlocal replication all reject\n";
    fs::write(two.data().join("pg_hba.conf"), hba).expect("a file");
    two.sql("SELECT pg_reload_conf()");
    one.start();
    refuses_writes(&one, 2);
    // The way in leads to that question alone.
    let place = format!("host=127.0.0.1 port={} user=pg_plimsoll_member replication=true", two.port());
    let refused = run(pg_tool("psql").env("PGPASSWORD", "x").args(["-Xc", "IDENTIFY_SYSTEM", "-d", &place]));
    assert!(refused.stderr.contains("password authentication failed"), "{refused:?}");
    let place = format!("{} user=pg_plimsoll_member", two.conninfo());
    let refused = run(pg_tool("psql").args(["-Xc", "SELECT 1", "-d", &place]));
    assert!(refused.stderr.contains("does not exist"), "{refused:?}");
}

#[test]
fn a_start_waits_for_a_member_that_says_nothing_only_for_its_time() {
    let (one, two) = pair();
    one.stop();
    let begun = Instant::now();
    one.start();
    let healthy = begun.elapsed();
    two.stop();
    let silent = TcpListener::bind(("127.0.0.1", two.port())).expect("the port of the one that is gone");
    one.kill_9();
    let begun = Instant::now();
    one.start();
    let waited = begun.elapsed();
    one.sql("INSERT INTO t VALUES (1)");
    assert!(
        one.log().contains("did not tell within 500 ms whether this server was replaced"),
        "{}",
        one.log()
    );
    assert!(waited < healthy + Duration::from_millis(500) + SLACK, "{waited:?}, without it {healthy:?}");
    // One that is not there has answered.
    drop(silent);
    one.kill_9();
    one.start();
    one.sql("INSERT INTO t VALUES (2)");
    assert_eq!(one.log().matches("did not tell within").count(), 1, "{}", one.log());
}

#[test]
fn a_standby_that_is_made_anew_does_not_count_with_its_old_connection_unless_both_live() {
    let one = named("one").setting("wal_sender_timeout", "0").start();
    one.sql("CREATE TABLE t (id int PRIMARY KEY)");
    let two = || named("two").setting("plimsoll.advertised_address", "host=127.0.0.1 port=9");
    let old = two().clone_from(&one);
    knows(&one, "two");
    one.alter("SET synchronous_standby_names = 'ANY 2 (two)'");
    one.wait_for("SELECT mode FROM plimsoll_stat_sync", "synchronous");
    let writer = Session::connect(&one.conninfo());
    writer.begin("INSERT INTO t VALUES (1)");
    Observer::connect(&one.conninfo()).wait_for_event(writer.pid, "SyncRep");
    let end = one.sql("SELECT pg_current_wal_flush_lsn()");
    let holding = format!("SELECT count(*) FROM pg_stat_replication WHERE flush_lsn >= '{end}'");
    one.wait_for(&holding, "1");
    old.freeze();
    let _new = two().clone_from(&one);
    one.wait_for(&holding, "2");
    let states = "SELECT string_agg(sync_state, ' ' ORDER BY sync_state) FROM pg_stat_replication";
    assert_eq!(one.sql(states), "potential quorum");
    assert_eq!(writer.poll(), None, "one directory may have it");
    // It hears of the new one, and says so.
    old.thaw();
    assert_eq!(writer.answer(), "ok 1");
    assert_eq!(one.sql(states), "quorum quorum");
}

#[test]
fn a_standby_that_follows_a_copy_of_its_directory_is_another_node_and_fences_it() {
    let (one, two) = pair();
    two.stop();
    let copy = Node::copy_of(&two);
    one.kill_9();
    copy.start();
    run_ok(plimsoll().arg("promote").arg("-D").arg(copy.data()));
    two.alter_while_stopped("primary_conninfo", &copy.conninfo());
    two.start();
    knows(&copy, "one two");
    assert!(two.log().contains("one data directory is a copy of the other"), "{}", two.log());
    copy.sql("INSERT INTO t VALUES (1)");
    two.wait_for("SELECT count(*) FROM t", "1");
    copy.kill_9();
    run_ok(plimsoll().arg("promote").arg("-D").arg(two.data()));
    copy.start();
    let refused = copy.try_sql("INSERT INTO t VALUES (2)");
    assert!(refused.stderr.contains("fenced: timeline 3 left"), "{refused:?}\n{}", copy.log());
}

#[test]
fn a_copy_that_was_promoted_from_a_backup_is_none_of_the_cluster() {
    let (one, two) = pair();
    let copy = Node::unprepared();
    run_ok(one.tool("pg_basebackup").arg("-D").arg(copy.data()).args(["-X", "stream", "-c", "fast"]));
    assert!(!copy.data().join("plimsoll/roster").exists() && !copy.data().join("plimsoll/heard").exists());
    fs::write(copy.data().join("recovery.signal"), "").expect("a file");
    copy.set("restore_command", "false");
    copy.set("cluster_name", "copy");
    copy.start();
    copy.wait_for("SELECT pg_is_in_recovery()", "f");
    copy.sql("INSERT INTO t VALUES (1)");
    assert_eq!(copy.sql("SELECT count(*) FROM plimsoll_roster WHERE source <> 'this node'"), "0");
    one.kill_9();
    one.start();
    one.sql("INSERT INTO t VALUES (2)");
    knows(&one, "two");
    knows(&two, "one");
    assert!(!one.data().join("plimsoll/fence").exists());
}

#[test]
fn a_copy_that_was_promoted_at_a_member_s_address_fences_nobody_and_one_made_anew_there_does() {
    let (one, two) = pair();
    let copy = Node::unprepared().in_place_of(&two);
    run_ok(one.tool("pg_basebackup").arg("-D").arg(copy.data()).args(["-X", "stream", "-c", "fast"]));
    two.stop();
    fs::write(copy.data().join("recovery.signal"), "").expect("a file");
    copy.set("restore_command", "false");
    copy.start();
    copy.wait_for("SELECT pg_is_in_recovery()", "f");
    copy.sql("INSERT INTO t VALUES (1)");
    one.stop();
    one.start();
    one.sql("INSERT INTO t VALUES (2)");
    let answer = "SELECT answer, timeline FROM plimsoll_roster WHERE source = 'replication'";
    one.wait_for(answer, "unknown|2");
    assert!(one.log().contains("is no node of this cluster that is known"), "{}", one.log());
    one.sql("INSERT INTO t VALUES (3)");
    copy.stop();

    // The directory of two is lost, and its successor stands where it was: the old primary never heard of it.
    two.start();
    two.wait_for("SELECT count(*) FROM t", "2");
    one.kill_9();
    run_ok(plimsoll().arg("promote").arg("-D").arg(two.data()));
    let three = named("three").clone_from(&two);
    knows(&three, "one two");
    run_ok(plimsoll().arg("promote").arg("-D").arg(three.data()));
    two.stop();
    let anew = Node::unprepared().in_place_of(&two);
    run_ok(plimsoll().args(["clone", "--from", &three.conninfo(), "-D"]).arg(anew.data()));
    anew.set("cluster_name", "anew");
    anew.start();
    knows(&anew, "one three two");
    three.kill_9();
    one.start();
    let refused = one.try_sql("INSERT INTO t VALUES (4)");
    assert!(refused.stderr.contains("this server is fenced: timeline 3 left"), "{refused:?}\n{}", one.log());
}

#[test]
fn an_entry_of_plimsoll_peers_that_is_refused_or_leads_elsewhere_hides_no_member() {
    for is_refused in [true, false] {
        let (one, two) = pair();
        one.kill_9();
        run_ok(plimsoll().arg("promote").arg("-D").arg(two.data()));
        two.sql("INSERT INTO t VALUES (1)");
        let entry = match is_refused {
            true => format!("host=127.0.0.1 port={} user=nobody", two.port()),
            // Its first host is the old primary itself.
            false => format!("host=127.0.0.1,127.0.0.1 port={},{} user=postgres", one.port(), two.port()),
        };
        one.set("plimsoll.peers", &entry);
        one.start();
        refuses_writes(&one, 2);
    }
}

#[test]
fn a_session_of_before_the_fence_ends_as_one_whose_server_is_lost() {
    let (one, two) = pair();
    one.alter("SET plimsoll.fence_probe_interval = '200ms'");
    let mut old = one.session();
    run_ok(plimsoll().arg("promote").arg("-D").arg(two.data()));
    wait_until("it is fenced", LIMIT, || {
        if one.data().join("plimsoll/fence").exists() { Ok(()) } else { Err(one.log()) }
    });
    for name in ["transaction_read_only", "default_transaction_read_only"] {
        assert_eq!(old.value(&format!("SHOW {name}")).expect("it answers"), "on", "{name}");
        assert_eq!(one.sql(&format!("SET default_transaction_read_only = off; SHOW {name}")), "on", "{name}");
        assert_eq!(
            one.sql(&format!("SELECT setting FROM pg_settings WHERE name = '{name}'")),
            "on",
            "{name}"
        );
        let replication = format!("{} replication=true", one.conninfo());
        let show = format!("SHOW {name}");
        let shown = run_ok(pg_tool("psql").arg(replication).args(["-XAtq", "-c", &show]));
        assert_eq!(shown.trim(), "on", "{name}");
    }
    old.query("BEGIN").expect("a block");
    let told = format!("{:?}", old.query("INSERT INTO t VALUES (1)"));
    assert!(told.contains("57P01") && told.contains("this server is fenced: timeline 2 left"), "{told}");
    let refused = one.try_sql("INSERT INTO t VALUES (1)");
    assert!(refused.stderr.contains("fenced"), "{refused:?}");
    for call in [
        "pg_logical_emit_message(true, 'a', 'b')",
        "pg_logical_emit_message(false, 'a', 'b'::bytea)",
        "pg_create_restore_point('here')",
        "pg_switch_wal()",
    ] {
        let refused = one.try_sql(&format!("SELECT {call}"));
        assert!(refused.stderr.contains("this server is fenced: timeline 2 left"), "{call}: {refused:?}");
    }
}

#[test]
fn a_session_that_idles_in_a_transaction_which_has_written_ends_with_the_fence() {
    let (one, two) = pair();
    one.alter("SET plimsoll.fence_probe_interval = '200ms'");
    let [mut writes, mut reads] = [one.session(), one.session()];
    for (session, statement) in [(&mut writes, "INSERT INTO t VALUES (1)"), (&mut reads, "SELECT 1")] {
        session.query("BEGIN").expect("a block");
        session.query(statement).expect("it does so");
    }
    run_ok(plimsoll().arg("promote").arg("-D").arg(two.data()));
    // Without having said anything.
    let told = format!("{:?}", writes.until_ready());
    assert!(told.contains("57P01") && told.contains("this server is fenced: timeline 2 left"), "{told}");
    assert!(one.data().join("plimsoll/fence").exists());
    reads.query("SELECT count(*) FROM t").expect("who only reads goes on");
}

#[test]
fn a_member_of_which_nobody_hears_is_forgotten_and_that_is_on_record() {
    let (one, two) = pair();
    two.stop();
    assert_eq!(one.sql("SELECT count(*) FROM plimsoll_roster WHERE source = 'replication'"), "1");
    one.alter("SET plimsoll.roster_forget_after = '4s'");
    one.wait_for("SELECT count(*) FROM plimsoll_roster WHERE source = 'replication'", "0");
    wait_until("that is on record", LIMIT, || {
        let ledger = fs::read_to_string(one.data().join("plimsoll/ledger")).expect("the ledger");
        if ledger.contains(" member_forgotten ") { Ok(()) } else { Err(ledger) }
    });
    assert!(one.log().contains("member \"two\" at host=127.0.0.1 port="), "{}", one.log());
    one.alter("RESET plimsoll.roster_forget_after");
    two.start();
    knows(&one, "two");
}

#[test]
fn a_node_says_where_it_is_reached_and_a_damaged_roster_begins_anew() {
    let (one, two) = pair();
    let advertised = format!("host=localhost port={}", two.port());
    two.alter(&format!("SET plimsoll.advertised_address = '{advertised}'"));
    let hosts = "SELECT host FROM plimsoll_roster WHERE name = 'two'";
    one.wait_for(hosts, "localhost");
    let refused = two.try_sql("ALTER SYSTEM SET plimsoll.advertised_address = 'host=a user=b'");
    assert!(refused.stderr.contains("without user"), "{refused:?}");
    let own = "SELECT member FROM plimsoll_roster WHERE source = 'this node'";
    let id = one.sql(own);
    one.stop();
    one.start();
    assert_eq!(one.sql(own), id, "a primary keeps its id");
    one.stop();
    fs::write(one.data().join("plimsoll/roster"), "plimsoll roster 1\nself=x").expect("a file");
    fs::write(one.data().join("plimsoll/heard"), "plimsoll heard 1\nnewest=x").expect("a file");
    one.start();
    assert!(one.log().contains("file \"plimsoll/roster\" is damaged"), "{}", one.log());
    assert!(one.log().contains("file \"plimsoll/heard\" is damaged"), "{}", one.log());
    // It has a new id now, and hears of the old one, too, at its own address.
    knows(&one, "one two");
    one.wait_for(hosts, "localhost");
}
