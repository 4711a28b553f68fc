//! What a fenced primary still gives, and to whom: log up to the fork, and the word that it was replaced; and
//! which of several servers are asked, by a standby, also where none of them has a primary, and by a primary
//! that may have been replaced.

use scenarios::{Node, plimsoll, promote, run, run_ok, wait_until};
use std::fs;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

fn named(name: &str) -> scenarios::NodeBuilder {
    Node::builder().setting("cluster_name", name).setting("plimsoll.fence_probe_interval", "200ms")
}

/// A primary that two standbys follow, of which the second names the first one, too.
fn trio() -> (Node, Node, Node) {
    let one = named("one").start();
    let two = named("two").clone_from(&one);
    let three = named("three").setting("wal_retrieve_retry_interval", "100ms").clone_from(&one);
    three.alter(&format!("SET primary_conninfo = '{}'", any_of(&[&one, &two])));
    one.sql("CREATE TABLE t (id int PRIMARY KEY)");
    one.wait_for("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "2");
    two.wait_for("SELECT count(*) FROM t", "0");
    three.wait_for("SELECT count(*) FROM t", "0");
    (one, two, three)
}

fn wait_fenced(node: &Node) {
    wait_until("it is fenced", LIMIT, || {
        if node.data().join("plimsoll/fence").exists() { Ok(()) } else { Err(node.log()) }
    });
}

/// What connects to one of these, in this order.
fn any_of(nodes: &[&Node]) -> String {
    let hosts = vec!["127.0.0.1"; nodes.len()].join(",");
    let ports: Vec<_> = nodes.iter().map(|node| node.port().to_string()).collect();
    format!("host={hosts} port={} user=postgres", ports.join(","))
}

fn status(node: &Node) -> String {
    run_ok(plimsoll().arg("status").arg("-D").arg(node.data()))
}

#[test]
fn a_standby_that_names_others_leaves_it_at_the_fork_and_follows_what_replaced_it() {
    let (one, two, three) = trio();
    run_ok(plimsoll().arg("promote").arg("-D").arg(two.data()));
    wait_fenced(&one);
    // What it writes from now on, a checkpoint's record at least, is nobody's.
    one.sql("CHECKPOINT");
    two.sql("INSERT INTO t VALUES (1)");
    three.wait_for("SELECT count(*) FROM t", "1");
    three.wait_for("SELECT received_tli FROM pg_stat_wal_receiver", "2");
    assert!(three.log().contains("this server was replaced: timeline 1 ended at"), "{}", three.log());
    assert!(status(&three).contains("timeline: 2\n"), "{}", status(&three));
    // A restart begins with the server that is named first, and leaves it as well.
    three.stop();
    three.start();
    two.sql("INSERT INTO t VALUES (2)");
    three.wait_for("SELECT count(*) FROM t", "2");
}

#[test]
fn no_standby_is_made_of_it() {
    let (one, two, _three) = trio();
    run_ok(plimsoll().arg("promote").arg("-D").arg(two.data()));
    wait_fenced(&one);
    let copy = one.folder().join("copy");
    let refused = run(plimsoll().args(["clone", "--from", &one.conninfo(), "-D"]).arg(&copy));
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("goes on elsewhere as timeline 2"), "{}", refused.stderr);
    assert!(!copy.exists());
    let told = status(&one);
    assert!(told.contains("nothing had been written here behind that when it was fenced"), "{told}");
}

#[test]
fn no_directory_is_rewound_to_it() {
    let (one, two, three) = trio();
    run_ok(plimsoll().arg("promote").arg("-D").arg(two.data()));
    wait_fenced(&one);
    two.sql("INSERT INTO t VALUES (1)");
    three.wait_for("SELECT count(*) FROM t", "1");
    three.stop();
    for more in [&["--dry-run"][..], &[]] {
        let mut rewind = plimsoll();
        rewind.args(["rewind", "--source", &one.conninfo(), "-D"]).arg(three.data()).args(more);
        let refused = run(&mut rewind);
        assert_ne!(refused.code, 0, "{refused:?}");
        assert!(refused.stderr.contains("this server was replaced: timeline 1 ended at"), "{refused:?}");
        assert!(!three.data().join("plimsoll.rewind").exists());
    }
    three.start();
    assert_eq!(three.sql("SELECT count(*) FROM t"), "1");
    two.sql("INSERT INTO t VALUES (2)");
    three.wait_for("SELECT count(*) FROM t", "2");
}

/// With an archive each failure ends the receiver, and who was found to be replaced is to outlive it.
#[test]
fn a_standby_leaves_each_primary_that_was_replaced_however_many_there_are_and_with_an_archive_too() {
    let (one, two, three) = trio();
    let quick = |name| named(name).setting("wal_retrieve_retry_interval", "100ms");
    let others = [quick("four"), quick("five").setting("restore_command", "false")].map(|other| {
        let other = other.clone_from(&one);
        other.alter(&format!("SET primary_conninfo = '{}'", any_of(&[&one, &two, &three])));
        other.wait_for("SELECT status FROM pg_stat_wal_receiver", "streaming");
        other
    });
    run_ok(plimsoll().arg("promote").arg("-D").arg(two.data()));
    wait_fenced(&one);
    two.sql("INSERT INTO t VALUES (1)");
    for node in others.iter().chain([&three]) {
        node.wait_for("SELECT count(*) FROM t", "1");
    }
    run_ok(plimsoll().arg("promote").arg("-D").arg(three.data()));
    wait_fenced(&two);
    three.sql("INSERT INTO t VALUES (2)");
    for other in &others {
        other.wait_for("SELECT count(*) FROM t", "2");
        other.wait_for("SELECT received_tli FROM pg_stat_wal_receiver", "3");
    }
}

/// Its name towards its primary is its cluster_name as it is, blanks and all.
#[test]
fn a_standby_that_names_itself_too_does_not_follow_itself_and_finds_its_primary_again() {
    let one = named("one").start();
    let two = named("two ").setting("wal_retrieve_retry_interval", "100ms").clone_from(&one);
    two.alter(&format!("SET primary_conninfo = '{}'", any_of(&[&one, &two])));
    one.sql("CREATE TABLE t (id int PRIMARY KEY)");
    one.wait_for("SELECT '[' || application_name || ']' FROM pg_stat_replication", "[two ]");
    two.wait_for("SELECT count(*) FROM t", "0");
    one.stop();
    wait_until("it has asked itself", LIMIT, || {
        let log = two.log();
        if log.contains("is this server itself") { Ok(()) } else { Err(log) }
    });
    assert_eq!(two.sql("SELECT count(*) FROM pg_stat_replication"), "0");
    one.start();
    one.sql("INSERT INTO t VALUES (1)");
    two.wait_for("SELECT count(*) FROM t", "1");
}

/// A primary, and two standbys that name it and each other.
fn standbys_that_name_each_other() -> (Node, Node, Node) {
    let one = named("one").start();
    one.sql("CREATE TABLE t (id int PRIMARY KEY)");
    let standby = |name| named(name).setting("wal_retrieve_retry_interval", "200ms").clone_from(&one);
    let (two, three) = (standby("two"), standby("three"));
    two.alter(&format!("SET primary_conninfo = '{}'", any_of(&[&one, &three])));
    three.alter(&format!("SET primary_conninfo = '{}'", any_of(&[&one, &two])));
    one.wait_for("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "2");
    one.alter("SET synchronous_standby_names = 'ANY 1 (two, three)'");
    one.wait_for("SELECT mode FROM plimsoll_stat_sync", "synchronous");
    (one, two, three)
}

/// Waits until one of two standbys has found that the other one receives from it.
fn wait_for_ring(two: &Node, three: &Node) {
    wait_until("one leaves the other", LIMIT, || {
        let logs = two.log() + &three.log();
        let left = logs.contains("receives from this server, directly or over others");
        if left { Ok(()) } else { Err(logs) }
    });
}

#[test]
fn two_standbys_without_their_primary_do_not_follow_each_other_and_find_it_again() {
    let (one, two, three) = standbys_that_name_each_other();
    one.sql("INSERT INTO t VALUES (1)");
    one.kill_9();
    wait_for_ring(&two, &three);
    one.start();
    // Its commits wait for one of them.
    one.wait_for("SELECT count(*) > 0 FROM pg_stat_replication WHERE state = 'streaming'", "t");
    one.sql("INSERT INTO t VALUES (2)");
    for standby in [&two, &three] {
        standby.wait_for("SELECT count(*) FROM t", "2");
    }
}

#[test]
fn one_of_two_standbys_that_follows_the_other_is_no_doubt_about_what_a_promotion_loses() {
    let (one, two, three) = standbys_that_name_each_other();
    one.sql("INSERT INTO t VALUES (1)");
    one.kill_9();
    wait_for_ring(&two, &three);
    wait_until("one follows the other", LIMIT, || {
        let receives = "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'";
        let found = [&two, &three].map(|node| node.sql(receives));
        if found.contains(&"1".to_owned()) { Ok(()) } else { Err(format!("{found:?}")) }
    });
    wait_until("nothing would be lost", LIMIT, || {
        let explained = run(&mut promote(&["--explain"], &two));
        let told = explained.stdout + &explained.stderr;
        if told.contains("promotion of \"two\": no loss") { Ok(()) } else { Err(told) }
    });
    run_ok(&mut promote(&["--require-no-loss"], &two));
    three.wait_for("SELECT received_tli FROM pg_stat_wal_receiver", "2");
}

#[test]
fn a_standby_leaves_another_one_that_has_no_primary_for_the_primary() {
    let one = named("one").start();
    one.sql("CREATE TABLE t (id int PRIMARY KEY)");
    let two = named("two").clone_from(&one);
    let three = named("three")
        .setting("wal_retrieve_retry_interval", "200ms")
        .setting("wal_receiver_timeout", "3s")
        .clone_from(&two);
    three.alter(&format!("SET primary_conninfo = '{}'", any_of(&[&two, &one])));
    two.wait_for("SELECT application_name FROM pg_stat_replication WHERE state = 'streaming'", "three");
    one.wait_for("SELECT application_name FROM pg_stat_replication", "two");
    two.alter("SET primary_conninfo = ''");
    one.wait_for("SELECT application_name FROM pg_stat_replication WHERE state = 'streaming'", "three");
    one.sql("INSERT INTO t VALUES (1)");
    three.wait_for("SELECT count(*) FROM t", "1");
    assert!(three.log().contains("no primary was heard of over the server at"), "{}", three.log());
}

/// The roster of a primary with its standby "two", which is away, and as many others as there is room for.
#[test]
fn a_node_that_has_to_go_from_a_full_roster_for_another_one_is_told_of() {
    let one = named("one").start();
    let two = named("two").clone_from(&one);
    one.wait_for("SELECT DISTINCT name FROM plimsoll_roster WHERE source = 'replication'", "two");
    two.stop();
    one.stop();
    let path = one.data().join("plimsoll/roster");
    let roster = fs::read_to_string(&path).expect("the roster");
    let lines = |begin: &str| roster.lines().find(|line| line.starts_with(begin)).expect("a line").to_owned();
    let member = lines("member=");
    let mut words: Vec<&str> = member.splitn(5, ' ').collect();
    // Nobody has heard of it for a day.
    words[2] = "86400";
    let others = (1..64).map(|number| format!("member={number:016x} 1 60 1@127.0.0.1 other{number}\n"));
    let all = format!("{}\n{}\n{}\n", lines("plimsoll roster"), lines("self="), words.join(" "));
    fs::write(&path, wal::codec::seal_text(all + &others.collect::<String>())).expect("it is written");
    one.start();
    let known = "SELECT count(DISTINCT name), count(*) FILTER (WHERE name = 'two') > 0 FROM plimsoll_roster \
                 WHERE source = 'replication'";
    assert_eq!(one.sql(known), "64|t", "{}", one.log());
    let _three = named("three").clone_from(&one);
    one.wait_for(known, "64|f");
    wait_until("the log and the ledger tell of it", LIMIT, || {
        let ledger = fs::read_to_string(one.data().join("plimsoll/ledger")).unwrap_or_default();
        let told = one.log() + &ledger;
        let is_told = |text: &str| {
            text.contains("is forgotten: this server keeps 64 other nodes, and \"three\" has come")
        };
        if is_told(&one.log()) && is_told(&ledger) { Ok(()) } else { Err(told) }
    });
}

/// Nobody knows a clone that is promoted before it has streamed: it has to be named.
#[test]
fn each_server_that_an_entry_of_plimsoll_peers_names_is_asked_whether_it_replaced_this_one() {
    let one = named("one").start();
    one.sql("CREATE TABLE t (id int PRIMARY KEY)");
    let two = Node::unprepared();
    run_ok(plimsoll().args(["clone", "--from", &one.conninfo(), "-D"]).arg(two.data()));
    two.alter_while_stopped("primary_conninfo", "");
    two.start();
    run_ok(plimsoll().arg("promote").arg("-D").arg(two.data()));
    two.sql("INSERT INTO t VALUES (1)");
    // The first server that answers is the old primary itself.
    one.alter(&format!("SET plimsoll.peers = '{}'", any_of(&[&one, &two])));
    wait_fenced(&one);
    let answers =
        "SELECT count(*) FROM plimsoll_roster WHERE source = 'plimsoll.peers' AND answer = 'answers'";
    one.wait_for(answers, "2");
    assert!(one.try_sql("INSERT INTO t VALUES (2)").stderr.contains("this server is fenced"));
}

/// Ends a segment that has something in it; gives its name.
fn end_segment(node: &Node) -> String {
    node.sql("CHECKPOINT");
    let name = node.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    node.sql("SELECT pg_switch_wal()");
    name
}

/// A standby that takes them from there would be past the fork.
#[test]
fn it_archives_its_segments_from_before_the_fork_and_none_with_log_from_behind_it() {
    let one = named("one").setting("archive_mode", "on").init();
    let archive = one.folder().join("archive");
    fs::create_dir(&archive).expect("an archive");
    let takes = one.folder().join("takes");
    one.set("archive_command", &format!("test -e {} && cp %p {}/%f", takes.display(), archive.display()));
    one.start();
    one.sql("CREATE TABLE t (id int PRIMARY KEY)");
    let two = named("two").setting("archive_mode", "off").clone_from(&one);
    one.wait_for("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "1");
    let before = end_segment(&one);
    one.sql("INSERT INTO t VALUES (1)");
    two.wait_for("SELECT count(*) FROM t", "1");
    // From here on the log is the old primary's alone, which does not know it yet.
    two.alter("SET primary_conninfo = ''");
    one.wait_for("SELECT count(*) FROM pg_stat_replication", "0");
    let with_fork = end_segment(&one);
    one.sql("INSERT INTO t VALUES (2)");
    let behind = end_segment(&one);
    let marks = one.data().join("pg_wal/archive_status");
    let is_ready = |name: &str| marks.join(format!("{name}.ready")).exists();
    assert!([&before, &with_fork, &behind].into_iter().all(|name| is_ready(name)));
    run_ok(plimsoll().arg("promote").arg("-D").arg(two.data()));
    wait_fenced(&one);
    let has = |name: &str| archive.join(name).exists();
    fs::write(&takes, "").expect("the archive takes files");
    // A clean stop archives all that waits, and would end the segment first.
    one.stop();
    one.start();
    one.stop();
    assert!(has(&before), "{}", one.log());
    let files = fs::read_dir(&archive).expect("the archive").flatten();
    let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    let from_fork: Vec<_> = names.filter(|name| *name >= with_fork).collect();
    assert!(from_fork.is_empty(), "{from_fork:?}: {}", one.log());
    let told = format!("write-ahead log segments from \"{with_fork}\" on are not archived: timeline 2");
    assert_eq!(one.log().matches(&told).count(), 2, "once a run: {}", one.log());
    // Who takes the fence off has what was left out archived.
    two.stop();
    run_ok(plimsoll().args(["unfence", "--i-know", "-D"]).arg(one.data()));
    one.start();
    one.stop();
    assert!(has(&with_fork) && has(&behind), "{}", one.log());
}
