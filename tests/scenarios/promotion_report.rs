//! What a promotion would lose: the report against what the primary had acknowledged, and the refusals and
//! promotions that rest on it.

use scenarios::network::{Host, namespaces_refused};
use scenarios::{Node, Outcome, plimsoll, promote, run, run_ok, wait_until};
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const VERDICT: &str = "SELECT verdict FROM plimsoll_promotion_report() WHERE is_this_node";
const PROVEN: &str = "no loss at remote_write and above";

fn named(name: &str) -> scenarios::NodeBuilder {
    Node::builder().setting("cluster_name", name).setting("wal_retrieve_retry_interval", "100ms")
}

/// A primary and two standbys that know each other and have all of its log, with these names in force.
fn trio(names: &str) -> (Node, Node, Node) {
    let one = named("one").start();
    one.sql("CREATE TABLE t (id int PRIMARY KEY)");
    let two = named("two").clone_from(&one);
    let three = named("three").clone_from(&one);
    one.wait_for("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "2");
    if !names.is_empty() {
        one.alter(&format!("SET synchronous_standby_names = '{names}'"));
        one.wait_for("SELECT mode FROM plimsoll_stat_sync", "synchronous");
    }
    one.sql("INSERT INTO t VALUES (1)");
    let known = "SELECT count(DISTINCT name) FROM plimsoll_roster WHERE source = 'replication'";
    for standby in [&two, &three] {
        standby.wait_for("SELECT count(*) FROM t", "1");
        standby.wait_for(known, "2");
        standby.wait_for("SELECT synchronous_standby_names FROM plimsoll_stat_sync", names);
    }
    (one, two, three)
}

/// Has a standby receive nothing any more.
fn cut_off(standby: &Node) {
    standby.alter("SET primary_conninfo = 'host=127.0.0.1 port=1 user=postgres'");
    receives_nothing(standby);
}

fn receives_nothing(standby: &Node) {
    let streams = "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'";
    standby.wait_for(streams, "0");
}

/// The primary is gone, which this standby has seen.
fn lose(primary: &Node, standbys: &[&Node]) {
    primary.kill_9();
    for standby in standbys {
        receives_nothing(standby);
    }
}

fn assert_refused(outcome: &Outcome, says: &str, node: &Node) {
    assert!(outcome.code == 1 && outcome.stderr.contains(says), "{outcome:?}");
    assert_eq!(node.sql("SELECT pg_is_in_recovery()"), "t");
}

#[test]
fn of_two_standbys_the_one_that_has_all_loses_nothing_and_the_other_one_is_refused() {
    let (one, two, three) = trio("ANY 1 (two, three)");
    cut_off(&three);
    one.sql("INSERT INTO t VALUES (2)");
    one.sql("INSERT INTO t VALUES (3)");
    lose(&one, &[&two]);
    let report = "SELECT node, verdict, by_quorum, is_best, missing_commits FROM plimsoll_promotion_report() ORDER BY 1";
    let seen = two.sql(report);
    let rows: Vec<&str> = seen.lines().collect();
    assert_eq!(
        (rows.len(), rows[0], rows[2]),
        (3, "one|||f|", format!("two|{PROVEN}|t|t|").as_str()),
        "{seen}"
    );
    assert!(rows[1].contains("loss|f|f|2") && rows[1].starts_with("three|"), "{seen}");
    assert_eq!(three.sql(report), seen, "both say the same");
    let order = "SELECT missing_since < missing_until, missing_until <= now(), missing_after < missing_upto \
                 FROM plimsoll_promotion_report() WHERE node = 'three'";
    assert_eq!(two.sql(order), "t|t|t");

    let shown = run_ok(&mut promote(&["--explain"], &two));
    assert!(shown.contains(&format!("promotion of \"two\": {PROVEN}")), "{shown}");
    assert!(shown.contains("cannot be asked: "), "{shown}");
    let lines = run_ok(&mut promote(&["--explain", "--json"], &three));
    let own = lines.lines().next().expect("a line");
    let own: serde_json::Value = serde_json::from_str(own).expect("it is JSON");
    assert_eq!((&own["node"], &own["missing_commits"]), (&"three".into(), &2.into()), "{lines}");
    let refused = run(&mut promote(&["--require-no-loss"], &three));
    assert_refused(&refused, "nobody was promoted: ", &three);

    let best = run_ok(&mut promote(&["--best"], &three));
    assert!(best.starts_with("\"two\" at host=") && best.contains(PROVEN), "{best}");
    assert_eq!(two.sql("SELECT pg_is_in_recovery()"), "t", "it is only named");
    // A standby whose own promotion would be refused has the best one promoted.
    let through = format!("{} user=postgres", three.conninfo());
    let arguments = ["promote", "--best", "--yes", "--require-no-loss", "-d", &through];
    let promoted = run_ok(plimsoll().args(arguments));
    assert!(promoted.ends_with("server promoted: timeline 2\n"), "{promoted}");
    assert_eq!(two.sql("SELECT pg_is_in_recovery()"), "f");
    two.sql("SET synchronous_commit = local; INSERT INTO t VALUES (4)");
    let replaced = three.sql("SELECT verdict, reason FROM plimsoll_promotion_report() WHERE is_this_node");
    assert!(replaced.contains("loss|"), "{replaced}");
    assert!(!replaced.starts_with("no loss"), "{replaced}");
}

#[test]
fn each_failover_after_a_rewind_is_judged_as_the_first_one() {
    let waits = |name| named(name).setting("synchronous_standby_names", "one, two");
    let one = waits("one").start();
    let two = waits("two").clone_from(&one);
    let streams = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
    one.wait_for(streams, "1");
    one.sql("CREATE TABLE t (id int PRIMARY KEY)");
    // What the third one leaves has been a primary, a standby, and a primary.
    for (row, (primary, standby)) in [(&one, &two), (&two, &one), (&one, &two)].into_iter().enumerate() {
        primary.sql(&format!("INSERT INTO t VALUES ({row})"));
        standby.wait_for(VERDICT, PROVEN);
        lose(primary, &[standby]);
        let nodes = "SELECT string_agg(node || ' ' || coalesce(verdict, 'silent'), ', ' ORDER BY node DESC) \
                     FROM plimsoll_promotion_report()";
        let seen = standby.sql(nodes);
        let both = [format!("two {PROVEN}, one silent"), format!("two silent, one {PROVEN}")];
        assert_eq!(seen, both[row % 2]);
        run_ok(&mut promote(&["--require-no-loss"], standby));
        let source = standby.conninfo();
        run_ok(plimsoll().args(["rewind", "--source", &source, "-D"]).arg(primary.data()));
        primary.start();
        standby.wait_for(streams, "1");
    }
    assert_eq!(two.sql("SELECT count(*) FROM t"), "3");
}

#[test]
fn who_stays_connected_to_a_standby_that_is_promoted_catches_up_with_the_new_primary() {
    let one = named("one").start();
    let streams = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
    let two = named("two").clone_from(&one);
    one.wait_for(streams, "1");
    let three = named("three").clone_from(&two);
    two.wait_for(streams, "1");
    lose(&one, &[&two]);
    run_ok(&mut promote(&[], &two));
    two.alter("SET synchronous_standby_names = 'two, three'");
    two.wait_for("SELECT mode FROM plimsoll_stat_sync", "synchronous");
    two.sql("CREATE TABLE t (id int PRIMARY KEY)");
    three.wait_for(VERDICT, PROVEN);
    assert!(three.log().contains("restarted WAL streaming at"), "{}", three.log());
    lose(&two, &[&three]);
    run_ok(&mut promote(&["--require-no-loss"], &three));
    assert_eq!(three.sql("SELECT count(*) FROM t"), "0");
}

#[test]
fn a_standby_that_cannot_be_asked_or_was_started_anew_may_have_what_nobody_else_has() {
    let (one, two, three) = trio("ANY 1 (two, three)");
    three.kill_9();
    one.sql("INSERT INTO t VALUES (2)");
    lose(&one, &[&two]);
    let reason = "SELECT verdict, reason FROM plimsoll_promotion_report() WHERE is_this_node";
    let seen = two.sql(reason);
    assert!(
        seen.starts_with("possible loss|1 of the standbys") && seen.ends_with("may have been \"three\""),
        "{seen}"
    );
    assert_refused(&run(&mut promote(&["--require-no-loss"], &two)), "possible loss", &two);
    three.start();
    assert_eq!(two.sql(reason), seen, "it may have lost what it had only written");
}

#[test]
fn a_standby_at_its_recovery_target_may_have_confirmed_what_its_promotion_leaves() {
    let one = named("one").start();
    one.sql("CREATE TABLE t (id int PRIMARY KEY)");
    let two = named("two").clone_from(&one);
    one.wait_for("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "1");
    one.alter("SET synchronous_standby_names = 'two'");
    one.wait_for("SELECT mode FROM plimsoll_stat_sync", "synchronous");
    one.sql("INSERT INTO t VALUES (1)");
    two.wait_for("SELECT synchronous_standby_names FROM plimsoll_stat_sync", "two");
    two.stop();
    two.alter_while_stopped("recovery_target_lsn", &one.sql("SELECT pg_current_wal_insert_lsn()"));
    two.start();
    one.sql("INSERT INTO t VALUES (2)");
    two.wait_for("SELECT pg_get_wal_replay_pause_state()", "paused");
    lose(&one, &[&two]);
    assert_eq!(two.sql(VERDICT), "possible loss");
    assert_refused(&run(&mut promote(&["--require-no-loss"], &two)), "possible loss", &two);
    let (from, upto) =
        (two.sql("SELECT pg_last_wal_replay_lsn()"), two.sql("SELECT pg_last_wal_receive_lsn()"));
    run_ok(&mut promote(&[], &two));
    assert_eq!(two.sql("SELECT count(*) FROM t"), "1");
    let words = "whole records behind the recovery target of timeline 1, cut at the promotion";
    let ledger = std::fs::read_to_string(two.data().join("plimsoll/ledger")).expect("a ledger");
    assert!(two.log().contains(words) && ledger.contains(words), "{}\n{ledger}", two.log());
    // At least the commit is there.
    assert!(ledger.contains(&format!(" {from} {upto} ")) && !ledger.contains(" 0 whole"), "{ledger}");
}

#[test]
fn a_silent_standby_counts_by_the_name_by_which_it_followed() {
    let (one, two, three) = trio("ANY 1 (two)");
    three.alter(&format!("SET primary_conninfo = '{} application_name=two'", one.conninfo()));
    let streams =
        "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'two' AND state = 'streaming'";
    one.wait_for(streams, "2");
    let known =
        "SELECT count(DISTINCT member) FROM plimsoll_roster WHERE name = 'two' AND source = 'replication'";
    two.wait_for(known, "1");
    cut_off(&two);
    one.sql("INSERT INTO t VALUES (2)");
    three.kill_9();
    lose(&one, &[&two]);
    let seen = two.sql("SELECT verdict, reason FROM plimsoll_promotion_report() WHERE is_this_node");
    assert!(seen.starts_with("possible loss|") && seen.ends_with("may have been \"two\""), "{seen}");
    assert_refused(&run(&mut promote(&["--require-no-loss"], &two)), "possible loss", &two);
}

#[test]
fn while_the_primary_lives_only_who_is_in_each_quorum_loses_nothing() {
    let (one, two, three) = trio("ANY 1 (two, three)");
    assert_eq!(two.sql(VERDICT), "possible loss");
    one.alter("SET synchronous_standby_names = 'ANY 2 (two, three)'");
    for standby in [&two, &three] {
        let names = "SELECT synchronous_standby_names FROM plimsoll_stat_sync";
        standby.wait_for(names, "ANY 2 (two, three)");
        assert_eq!(standby.sql(VERDICT), PROVEN);
    }
    one.sql("INSERT INTO t VALUES (2)");
    run_ok(&mut promote(&["--require-no-loss"], &two));
    assert_eq!(two.sql("SELECT pg_is_in_recovery(), count(*) FROM t"), "f|2");
}

#[test]
fn without_names_with_anybody_or_with_a_timeout_nothing_is_proven() {
    let (one, two, three) = trio("");
    let reason = "SELECT verdict, reason FROM plimsoll_promotion_report() WHERE is_this_node";
    let says = |words: &str| {
        two.wait_for(
            &format!(
                "SELECT verdict || ': ' || reason LIKE 'possible loss: %{words}%' \
                               FROM plimsoll_promotion_report() WHERE is_this_node"
            ),
            "t",
        );
    };
    says("no synchronous standbys are named");
    one.alter("SET synchronous_standby_names = '*'");
    says("name the standbys");
    one.alter("SET synchronous_standby_names = 'two'");
    two.wait_for(VERDICT, PROVEN);
    one.alter("SET plimsoll.synchronous_timeout = '1h'");
    says("plimsoll.synchronous_timeout");
    one.alter("RESET plimsoll.synchronous_timeout");
    two.wait_for(VERDICT, PROVEN);
    one.alter("RESET synchronous_standby_names");
    says("no synchronous standbys are named");
    // What somebody else has, and was told to be confirmed, is lost for sure.
    cut_off(&two);
    one.sql("INSERT INTO t VALUES (2)");
    three.wait_for("SELECT count(*) FROM t", "2");
    lose(&one, &[&three]);
    let seen = two.sql(reason);
    assert!(seen.starts_with("possible loss|") || seen.starts_with("loss|"), "{seen}");
    let missing = "SELECT missing_commits FROM plimsoll_promotion_report() WHERE is_this_node";
    assert_eq!(two.sql(missing), "1");
}

#[test]
fn a_primary_that_is_fenced_proves_nothing_while_nobody_of_what_replaced_it_can_be_asked() {
    let (one, two, three) = trio("three");
    one.alter("SET plimsoll.fence_probe_interval = '200ms'");
    run_ok(&mut promote(&[], &two));
    two.sql("SET synchronous_commit = local; INSERT INTO t VALUES (2)");
    wait_until("it is fenced", Duration::from_secs(60), || {
        if one.data().join("plimsoll/fence").exists() { Ok(()) } else { Err(one.log()) }
    });
    let shown = run_ok(&mut promote(&["--explain"], &one));
    for words in ["was the primary, and is fenced\n", "\n  this server is fenced: timeline 2 left"] {
        assert!(shown.contains(words), "{words} in:\n{shown}");
    }
    let lines = run_ok(&mut promote(&["--explain", "--json"], &one));
    assert!(lines.lines().next().is_some_and(|own| own.contains("\"is_fenced\":true")), "{lines}");
    two.kill_9();
    // It has all of what the fenced primary has, and is in each quorum of that one.
    let reason = "SELECT verdict, reason FROM plimsoll_promotion_report() WHERE is_this_node";
    let seen = three.sql(reason);
    assert!(seen.starts_with("possible loss|\"three\" was told of timeline 2, which left at 0/"), "{seen}");
    assert_refused(&run(&mut promote(&["--require-no-loss"], &three)), "possible loss", &three);
    // What it was told counts also when nobody else can be asked.
    lose(&one, &[&three]);
    assert_eq!(three.sql(reason), seen);
    assert_refused(&run(&mut promote(&["--require-no-loss"], &three)), "possible loss", &three);
    let promoted = run_ok(&mut promote(&[], &three));
    assert!(promoted.ends_with("server promoted: timeline 3\n"), "{promoted}");
}

#[test]
fn a_promoted_copy_of_this_node_s_directory_is_another_node() {
    let one = named("one").start();
    one.sql("CREATE TABLE t (id int PRIMARY KEY)");
    let two = named("two").clone_from(&one);
    let streams = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
    one.wait_for(streams, "1");
    one.alter("SET synchronous_standby_names = 'two'");
    two.wait_for("SELECT synchronous_standby_names FROM plimsoll_stat_sync", "two");
    two.stop();
    let copy = Node::copy_of(&two);
    copy.alter_while_stopped("primary_conninfo", "host=127.0.0.1 port=1 user=postgres");
    two.set("plimsoll.peers", &format!("host=127.0.0.1 port={} user=postgres", copy.port()));
    two.start();
    one.wait_for(streams, "1");
    one.sql("INSERT INTO t SELECT generate_series(1, 10000)");
    two.wait_for("SELECT count(*) FROM t", "10000");
    lose(&one, &[&two]);
    copy.start();
    run_ok(&mut promote(&[], &copy));
    copy.sql("INSERT INTO t VALUES (0)");
    // It has less log, and what it acknowledged is not here.
    let seen = two.sql("SELECT verdict, reason FROM plimsoll_promotion_report() WHERE is_this_node");
    let history = std::fs::read_to_string(copy.data().join("pg_wal/00000002.history")).expect("a history");
    let fork = history.lines().find_map(|line| line.strip_prefix("1\t")?.split('\t').next()).expect("a fork");
    assert_eq!(seen, format!("loss|\"two\" knows commits behind {fork} as confirmed"));
    assert_refused(&run(&mut promote(&["--require-no-loss"], &two)), "loss", &two);
    // One that is promoted all the same is another branch's beside it, and takes another number.
    let promoted = run_ok(&mut promote(&[], &two));
    assert!(promoted.ends_with("server promoted: timeline 3\n"), "{promoted}");
}

/// The command runs on a machine on which another server has the address that the nodes know for the third.
#[test]
fn the_best_standby_is_promoted_only_where_that_very_node_answers() {
    if let Some(why) = namespaces_refused() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let (one, two, three) = trio("ANY 1 (two, three)");
    cut_off(&two);
    one.sql("INSERT INTO t VALUES (2)");
    three.wait_for("SELECT count(*) FROM t", "2");
    lose(&one, &[&three]);
    let machine = Arc::new(Host::hub());
    let elsewhere = named("one").start();
    let stranger = named("three").on_host(&machine).clone_from(&elsewhere);
    stranger.stop();
    let stranger = stranger.in_place_of(&three);
    stranger.start();
    let conninfo = two.conninfo();
    let mut best = plimsoll();
    best.args(["promote", "--best", "--yes", "-d", &conninfo]);
    let refused = run(&mut machine.command(&best));
    assert_refused(&refused, "nobody was promoted: at host=127.0.0.1 port=", &three);
    assert_refused(&refused, "answers, from here, a server of another cluster", &stranger);
    assert!(refused.stdout.starts_with("\"three\" at host=127.0.0.1 port="), "{refused:?}");
    // From where its address leads to it, it is promoted.
    let promoted = run_ok(&mut best);
    assert!(promoted.ends_with("server promoted: timeline 2\n"), "{promoted}");
    assert_eq!(three.sql("SELECT pg_is_in_recovery()"), "f");
}

/// A port that leads to a node once, and then to nobody.
fn leading_once_to(node: &Node) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the kernel has a port");
    let (port, to) = (listener.local_addr().expect("it is bound").port(), node.port());
    thread::spawn(move || {
        let (client, _) = listener.accept().expect("somebody comes");
        drop(listener);
        let server = TcpStream::connect(("127.0.0.1", to)).expect("the node listens");
        let pass = |mut from: TcpStream, mut into: TcpStream| {
            // Either of both may end it.
            let _ = io::copy(&mut from, &mut into);
            let _ = into.shutdown(Shutdown::Write);
        };
        let back = (server.try_clone().expect("a socket"), client.try_clone().expect("a socket"));
        let answers = thread::spawn(move || pass(back.0, back.1));
        pass(client, server);
        answers.join().expect("it ends");
    });
    port
}

#[test]
fn of_several_hosts_the_one_that_loses_nothing_is_the_one_that_is_promoted() {
    let (one, two, three) = trio("ANY 1 (two, three)");
    cut_off(&three);
    one.sql("INSERT INTO t VALUES (2)");
    lose(&one, &[&two]);
    let ports = format!("{},{}", leading_once_to(&two), three.port());
    let hosts = format!("host=127.0.0.1,127.0.0.1 port={ports} user=postgres dbname=postgres");
    let arguments = ["promote", "--require-no-loss", "-d", &hosts];
    let promoted = run(plimsoll().args(arguments));
    let in_recovery = [&two, &three].map(|node| node.sql("SELECT pg_is_in_recovery()"));
    assert_eq!(in_recovery, ["f", "t"], "{promoted:?}");
    assert_eq!(promoted.stdout, "server promoted: timeline 2\n", "{promoted:?}");
}
