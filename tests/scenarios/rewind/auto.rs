//! plimsoll.auto_rewind: who is past the fork comes back by itself, or says what to run.

use super::{Pair, load};
use nix::sys::signal::{Signal, kill};
use scenarios::{Node, SmallDisk, assert_relations_equal_after_stop, plimsoll, run, run_ok, wait_until};
use std::fs;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

pub(super) fn wait_for_log(node: &Node, text: &str, times: usize) {
    wait_until(&format!("\"{text}\" in the log"), LIMIT, || {
        let log = node.log();
        if log.matches(text).count() >= times { Ok(()) } else { Err(log) }
    });
}

/// What a node has kept of a rewind.
fn kept(node: &Node) -> String {
    let folder = fs::read_dir(node.data().join("plimsoll")).expect("a folder");
    let mut names = folder.map(|entry| entry.expect("an entry").path());
    let file = names.find(|path| path.extension().is_some_and(|end| end == "json")).expect("a report");
    fs::read_to_string(file).expect("it is text")
}

/// Has a directory that is at rest follow this node.
pub(super) fn make_follow(node: &Node, upstream: &Node, auto_rewind: &str) {
    node.alter_while_stopped("primary_conninfo", &upstream.conninfo());
    node.alter_while_stopped("plimsoll.auto_rewind", auto_rewind);
    node.alter_while_stopped("wal_retrieve_retry_interval", "200ms");
    fs::write(node.data().join("standby.signal"), "").expect("a signal file");
}

fn standby(of: &Node) -> Node {
    Node::builder()
        .setting("wal_keep_size", "1GB")
        .setting("wal_retrieve_retry_interval", "200ms")
        .setting("plimsoll.auto_rewind", "on")
        .clone_from(of)
}

#[test]
fn standbys_past_the_fork_rewind_themselves_one_below_the_other() {
    let pair = Pair::new(&[]);
    let three = standby(&pair.one);
    let four = standby(&three);
    pair.cut_off();
    load(&pair.one, 100);
    pair.one.sql("CREATE TABLE lost (k int PRIMARY KEY)");
    let end = pair.one.sql("SELECT pg_current_wal_lsn()");
    [&three, &four].iter().for_each(|node| node.wait_replayed(&end));
    pair.one.kill_9();
    pair.promote();
    load(&pair.two, 100);
    let pids = [three.pid(), four.pid()];
    three.alter(&format!("SET primary_conninfo = '{}'", pair.two.conninfo()));
    let end = pair.two.sql("SELECT pg_current_wal_lsn()");
    for node in [&three, &four] {
        wait_for_log(node, "rewound to timeline 2: ", 1);
        node.wait_for(&format!("SELECT pg_last_wal_replay_lsn() >= '{end}'::pg_lsn"), "t");
        assert_eq!(node.sql("SELECT count(*) FROM pg_tables WHERE tablename = 'lost'"), "0");
        assert!(node.log().contains("WARNING:  discarding "), "{}", node.log());
        assert!(kept(node).contains("created table lost"), "{}", kept(node));
        let ledger = fs::read_to_string(node.data().join("plimsoll/ledger")).expect("a ledger");
        assert!(ledger.contains(" discarded "), "{ledger}");
    }
    assert_eq!(pids, [three.pid(), four.pid()], "nobody started them again");
    three.wait_for("SELECT status FROM pg_stat_wal_receiver", "streaming");
    four.wait_for("SELECT status FROM pg_stat_wal_receiver", "streaming");
    assert_relations_equal_after_stop(&pair.two, &three);
}

/// The old primary has all of the log that is here, and answers first.
#[test]
fn a_standby_that_names_the_replaced_primary_too_rewinds_itself_to_what_replaced_it() {
    let pair = Pair::new(&[("plimsoll.fence_probe_interval", "200ms")]);
    let (three, four) = (standby(&pair.one), standby(&pair.one));
    four.alter("SET plimsoll.auto_rewind = off");
    pair.cut_off();
    load(&pair.one, 100);
    let end = pair.one.sql("SELECT pg_current_wal_lsn()");
    [&three, &four].iter().for_each(|node| node.wait_replayed(&end));
    pair.promote();
    wait_until("it is fenced", LIMIT, || {
        if pair.one.data().join("plimsoll/fence").exists() { Ok(()) } else { Err(pair.one.log()) }
    });
    load(&pair.two, 100);
    let (first, second) = (pair.one.port(), pair.two.port());
    let both = format!("host=127.0.0.1,127.0.0.1 port={first},{second} user=postgres");
    for node in [&three, &four] {
        node.alter(&format!("SET primary_conninfo = '{both}'"));
    }
    wait_for_log(&three, "rewound to timeline 2: ", 1);
    three.wait_replayed(&pair.two.sql("SELECT pg_current_wal_lsn()"));
    let passed_over =
        format!("this server is not rewound to that at \"host=127.0.0.1 port={first} user=postgres\"");
    assert!(three.log().contains(&passed_over), "{}", three.log());
    // What another one is to run names the server that has the fork.
    wait_for_log(&four, "HINT:  To have it follow its upstream, run: ", 1);
    let log = four.log();
    let command = log.lines().find(|line| line.contains("plimsoll rewind --source ")).expect("a command");
    assert!(command.contains(&format!("'host=127.0.0.1 port={second} user=postgres'")), "{command}");
    // It may have come that far by the rewind alone, and is to get the end of the log.
    let from = "SELECT sender_port FROM pg_stat_wal_receiver WHERE status = 'streaming'";
    three.wait_for(from, &second.to_string());
    assert_relations_equal_after_stop(&pair.two, &three);
}

#[test]
fn an_old_primary_that_is_told_to_follow_rewinds_itself_at_its_start() {
    let pair = Pair::new(&[]);
    pair.diverge();
    pair.one.kill_9();
    make_follow(&pair.one, &pair.two, "on");
    pair.one.start();
    wait_for_log(&pair.one, "rewound to timeline 2: ", 1);
    assert!(kept(&pair.one).contains("created table made_here"));
    let log = pair.one.log();
    let line = log.lines().find(|line| line.contains("rewound to timeline 2: ")).expect("it is there");
    for word in [": from 0/", " on timeline 1 back to 0/", " commits with ", "/plimsoll/discarded-"] {
        assert!(line.contains(word), "{word}: {line}");
    }
    pair.one.stop();
    pair.one_follows_two();
}

#[test]
fn a_rewind_that_was_broken_off_is_ended_by_the_next_start_if_it_may() {
    let pair = Pair::new(&[]);
    pair.diverge();
    pair.one.kill_9();
    make_follow(&pair.one, &pair.two, "off");
    // As a crash leaves it right after a rewind has begun.
    let marker = wal::codec::seal_text("plimsoll rewind 1\nsource=two\nphase=copying\n".to_owned());
    fs::write(pair.one.data().join("plimsoll.rewind"), marker).expect("the marker is written");
    let refused = pair.one.try_start();
    assert_ne!(refused.code, 0);
    assert!(pair.one.log().contains("was broken off"), "{}", pair.one.log());
    pair.one.alter_while_stopped("plimsoll.auto_rewind", "on");
    pair.one.start();
    assert!(pair.one.log().contains("rewound to timeline 2: "), "{}", pair.one.log());
    pair.one.stop();
    pair.one_follows_two();
}

#[test]
fn what_is_held_back_or_stays_on_its_timeline_does_not_rewind_itself() {
    let pair = Pair::new(&[]);
    let holds = [
        ("recovery_target_name", "here"),
        ("recovery_min_apply_delay", "1h"),
        ("recovery_target_timeline", "current"),
    ];
    let held = holds.map(|(name, value)| {
        let node = standby(&pair.one);
        node.stop();
        node.alter_while_stopped(name, value);
        node.start();
        (name, node)
    });
    pair.one.sql("SELECT pg_create_restore_point('here')");
    pair.cut_off();
    load(&pair.one, 10);
    let end = pair.one.sql("SELECT pg_current_wal_lsn()");
    for (_, node) in &held {
        node.wait_for(&format!("SELECT pg_last_wal_receive_lsn() >= '{end}'::pg_lsn"), "t");
    }
    pair.one.kill_9();
    pair.promote();
    for (name, node) in &held {
        node.alter(&format!("SET primary_conninfo = '{}'", pair.two.conninfo()));
        wait_for_log(node, "new timeline 2 forked off current database system timeline 1 before ", 1);
        wait_for_log(node, &format!("This server does not by itself: {name} holds it back"), 1);
        assert!(!node.log().contains("to rewind this server"), "{}", node.log());
    }
}

#[test]
fn without_the_setting_the_log_says_exactly_what_to_run() {
    let pair = Pair::new(&[]);
    pair.diverge();
    pair.one.kill_9();
    make_follow(&pair.one, &pair.two, "off");
    pair.one.start();
    wait_for_log(&pair.one, "HINT:  To have it follow its upstream, run: ", 2);
    assert!(!pair.one.log().contains("rewinding"), "{}", pair.one.log());
    let log = pair.one.log();
    let line = log.split("run: ").nth(1).and_then(|rest| rest.split(". With plimsoll").next());
    let line = line.expect("a command line");
    let program = plimsoll().get_program().to_owned();
    let folder = std::path::Path::new(&program).parent().expect("a folder").display().to_string();
    let path = format!("{folder}:{}", std::env::var("PATH").expect("a path"));
    let done = run(Command::new("sh").args(["-c", line]).env("PATH", path));
    assert_eq!(done.code, 0, "{line}: {done:?}");
    pair.one_follows_two();
}

#[test]
fn a_branch_that_does_not_continue_the_own_one_is_a_persons_to_judge() {
    let pair = Pair::new(&[]);
    let three = standby(&pair.one);
    pair.cut_off();
    three.wait_replayed(&pair.one.sql("SELECT pg_current_wal_lsn()"));
    pair.one.kill_9();
    for node in [&pair.two, &three] {
        assert_eq!(node.sql("SELECT pg_promote()"), "t");
        load(node, 20);
    }
    // The second was told which number the first has taken.
    pair.two.stop();
    make_follow(&pair.two, &three, "on");
    pair.two.start();
    wait_for_log(&pair.two, "Neither branch continues the other", 3);
    assert!(!pair.two.log().contains("rewinding"), "{}", pair.two.log());
    assert_eq!(pair.two.sql("SELECT pg_is_in_recovery()"), "t");
}

#[test]
fn a_rewind_that_was_broken_off_goes_on_to_no_branch_that_nobody_chose() {
    let pair = Pair::new(&[]);
    let three = standby(&pair.one);
    pair.cut_off();
    three.wait_replayed(&pair.one.sql("SELECT pg_current_wal_lsn()"));
    pair.one.kill_9();
    for node in [&pair.two, &three] {
        assert_eq!(node.sql("SELECT pg_promote()"), "t");
        load(node, 20);
    }
    let (two, three_wal) = (&pair.two, three.data().join("pg_wal"));
    two.kill_9();
    make_follow(two, &three, "on");
    let history = fs::read_to_string(three_wal.join("00000003.history")).expect("a history");
    let begun_for = |history: &str| {
        let text = format!("plimsoll rewind 1\nsource=it\nphase=copying\n{history}");
        fs::write(two.data().join("plimsoll.rewind"), wal::codec::seal_text(text)).expect("a marker");
    };
    // A rewind to a branch that continues the own one, which the upstream has not.
    begun_for("history=4 2\t7/1\tmade up\\n\n");
    two.start_without_waiting();
    let refused = "is not done: timeline 3 of the upstream does not continue timeline 2, which this server \
                   follows, nor timeline 4, for which the rewind was begun; it is tried again in ";
    wait_for_log(two, refused, 2);
    two.stop();
    assert!(!two.log().contains("WARNING:  discarding "), "{}", two.log());
    // Somebody chose this one.
    begun_for(&format!("history=3 {}\n", wal::codec::one_line(&history)));
    two.start();
    assert!(two.log().contains("rewound to timeline 3: "), "{}", two.log());
    two.wait_replayed(&three.sql("SELECT pg_current_wal_lsn()"));
    assert_relations_equal_after_stop(&three, two);
}

#[test]
fn a_rewind_that_waits_asks_each_time_whether_it_still_may() {
    let pair = Pair::new(&[]);
    pair.diverge();
    pair.one.kill_9();
    pair.two.kill_9();
    make_follow(&pair.one, &pair.two, "on");
    let marker = wal::codec::seal_text("plimsoll rewind 1\nsource=two\nphase=copying\n".to_owned());
    fs::write(pair.one.data().join("plimsoll.rewind"), marker).expect("the marker is written");
    let (signal, off) = (pair.one.data().join("standby.signal"), "plimsoll.auto_rewind");
    for turn in 1..=2 {
        pair.one.start_without_waiting();
        wait_for_log(&pair.one, "the rewind of this server is not done: ", turn);
        // Nobody is to become a primary of the timeline that the upstream writes, nor to go on unasked.
        if turn == 1 {
            fs::remove_file(&signal).expect("it is there");
        } else {
            pair.one.alter_while_stopped(off, "off");
            kill(pair.one.pid().expect("it runs"), Signal::SIGHUP).expect("it runs");
        }
        pair.two.start();
        wait_for_log(&pair.one, "FATAL:  a rewind of \"", turn);
        wait_until("its end", LIMIT, || pair.one.pid().map_or(Ok(()), |pid| Err(pid.to_string())));
        assert!(!pair.one.log().contains("rewinding to timeline"), "{}", pair.one.log());
        pair.two.kill_9();
        fs::write(&signal, "").expect("a signal file");
    }
    pair.one.alter_while_stopped(off, "on");
    pair.two.start();
    pair.one.start();
    assert!(pair.one.log().contains("rewound to timeline 2: "), "{}", pair.one.log());
    pair.one.stop();
    pair.one_follows_two();
}

#[test]
fn a_rewind_that_cannot_be_done_is_not_tried_again_at_once() {
    let pair = Pair::new(&[("checkpoint_timeout", "1h")]);
    pair.diverge();
    pair.one.sql("CHECKPOINT");
    pair.one.kill_9();
    // The log of before the fork is nowhere any more.
    let fork = fs::read_to_string(pair.two.data().join("pg_wal/00000002.history")).expect("a history");
    let fork = fork
        .lines()
        .find(|line| line.starts_with('1'))
        .and_then(|line| line.split_whitespace().nth(1))
        .expect("a position");
    let fork = u64::from_str_radix(fork.trim_start_matches("0/"), 16).expect("a position") >> 20;
    for node in [&pair.one, &pair.two] {
        for number in 1..=fork {
            let _ = fs::remove_file(node.data().join(format!("pg_wal/0000000100000000{number:08X}")));
        }
    }
    make_follow(&pair.one, &pair.two, "on");
    pair.one.start();
    wait_for_log(&pair.one, "could not rewind itself, and stays as it was: ", 1);
    wait_for_log(&pair.one, "does not again for ", 3);
    assert_eq!(pair.one.log().matches("could not rewind itself").count(), 1, "{}", pair.one.log());
    pair.one.wait_for("SELECT count(*) FROM made_here", "9000");
    assert!(!pair.one.data().join("plimsoll.rewind").exists());
}

#[test]
fn a_primary_that_wrote_on_alone_over_checkpoints_is_rewound_by_the_log_that_it_kept() {
    let one = Node::builder().init_option("--wal-segsize=1").setting("min_wal_size", "2MB").start();
    one.sql("CREATE TABLE kv (k int PRIMARY KEY, v text)");
    let two = Node::builder().clone_from(&one);
    one.wait_for("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "1");
    load(&one, 100);
    let pair = Pair { one, two };
    pair.cut_off();
    for _ in 0..3 {
        for _ in 0..3 {
            pair.one
                .sql("INSERT INTO kv VALUES (-1, ''); DELETE FROM kv WHERE k = -1; SELECT pg_switch_wal()");
        }
        load(&pair.one, 100);
        pair.one.sql("CHECKPOINT");
    }
    pair.promote();
    load(&pair.two, 20);
    pair.one.kill_9();
    let in_place = pair.one.data().join("pg_wal");
    assert!(!in_place.join("000000010000000000000002").exists() && in_place.join("kept").exists());
    // The source has none of the log before the fork.
    let segments = fs::read_dir(pair.two.data().join("pg_wal")).expect("a folder").flatten();
    for segment in segments.filter(|entry| entry.file_name().to_string_lossy().starts_with("00000001")) {
        fs::remove_file(segment.path()).expect("it goes");
    }
    super::is_ok(&pair.rewind(&pair.two.conninfo(), &[]));
    pair.one.start();
    pair.one.wait_replayed(&pair.two.sql("SELECT pg_current_wal_lsn()"));
    assert_relations_equal_after_stop(&pair.two, &pair.one);
}

/// A standby whose data folder has 40 MB; None where no file system can be mounted.
fn standby_on_small_disk(of: &Node) -> Option<(SmallDisk, Node)> {
    let node = Node::unprepared();
    let disk = match SmallDisk::mount(&node.data(), 40) {
        Ok(disk) => disk,
        Err(why) => {
            eprintln!("SKIPPED: {why}");
            return None;
        }
    };
    run_ok(plimsoll().args(["clone", "--from", &of.conninfo(), "-D"]).arg(node.data()));
    for (name, value) in [
        ("plimsoll.auto_rewind", "on"),
        ("wal_retrieve_retry_interval", "200ms"),
        ("min_wal_size", "2MB"),
        ("max_wal_size", "4MB"),
        ("wal_keep_size", "0"),
    ] {
        node.set(name, value);
    }
    node.start();
    Some((disk, node))
}

#[test]
fn a_standby_on_a_full_disk_stays_what_it_is_and_rewinds_itself_once_there_is_room() {
    let one = Node::builder().init_option("--wal-segsize=1").setting("wal_keep_size", "64MB").start();
    one.sql("CREATE TABLE kv (k int PRIMARY KEY, v text)");
    let two = Node::builder().clone_from(&one);
    let Some((disk, three)) = standby_on_small_disk(&one) else { return };
    let pair = Pair { one, two };
    pair.cut_off();
    pair.one.sql("CREATE TABLE lost (k int PRIMARY KEY)");
    three.wait_replayed(&pair.one.sql("SELECT pg_current_wal_lsn()"));
    pair.one.kill_9();
    pair.promote();
    pair.two.sql("CREATE TABLE made_there (k int PRIMARY KEY, v text)");
    pair.two.sql("INSERT INTO made_there SELECT g, repeat('t', 1000) FROM generate_series(1, 6000) g");
    pair.two.sql("CHECKPOINT");
    let end = pair.two.sql("SELECT pg_current_wal_lsn()");

    disk.fill_but(3 << 20);
    let pid = three.pid();
    three.alter(&format!("SET primary_conninfo = '{}'", pair.two.conninfo()));
    wait_for_log(&three, "could not rewind itself, and stays as it was: there is no room for ", 1);
    three.wait_for("SELECT count(*) FROM pg_tables WHERE tablename = 'lost'", "1");
    assert_eq!(pid, three.pid(), "it is up");
    assert!(!three.data().join("plimsoll.rewind").exists());

    // One that has begun waits for room, and the directory does not start as what it was.
    three.kill_9();
    let marker = wal::codec::seal_text("plimsoll rewind 1\nsource=two\nphase=copying\n".to_owned());
    fs::write(three.data().join("plimsoll.rewind"), marker).expect("the marker is written");
    three.start_without_waiting();
    wait_for_log(&three, "the rewind of this server is not done: ", 1);
    assert!(three.log().contains("it is tried again in "), "{}", three.log());
    disk.free();
    wait_for_log(&three, "rewound to timeline 2: ", 1);
    three.wait_for(&format!("SELECT pg_last_wal_replay_lsn() >= '{end}'::pg_lsn"), "t");
    assert_eq!(three.sql("SELECT count(*) FROM made_there"), "6000");
    assert_eq!(three.sql("SELECT count(*) FROM pg_tables WHERE tablename = 'lost'"), "0");
    assert_relations_equal_after_stop(&pair.two, &three);
}

#[test]
fn a_standby_whose_changed_pages_find_no_room_at_the_end_of_recovery_stays_what_it_is_too() {
    let one = Node::builder()
        .init_option("--wal-segsize=1")
        .setting("wal_keep_size", "64MB")
        .setting("checkpoint_timeout", "1h")
        .start();
    one.sql("CREATE TABLE kv (k int PRIMARY KEY, v text)");
    let two = Node::builder().clone_from(&one);
    let Some((disk, three)) = standby_on_small_disk(&one) else { return };
    let pair = Pair { one, two };
    pair.cut_off();
    // Nothing writes pages but the end of recovery.
    three.alter("SET max_wal_size = '1GB'");
    three.alter("SET bgwriter_lru_maxpages = 0");
    pair.one.sql("CREATE TABLE lost (k int PRIMARY KEY, v text)");
    pair.one.sql("INSERT INTO lost SELECT g, repeat('l', 1000) FROM generate_series(1, 6000) g");
    three.wait_replayed(&pair.one.sql("SELECT pg_current_wal_lsn()"));
    disk.fill_but(256 << 10);
    pair.one.kill_9();
    pair.promote();
    pair.two.sql("CREATE TABLE made_there (k int PRIMARY KEY)");
    let end = pair.two.sql("SELECT pg_current_wal_lsn()");
    let pid = three.pid();
    three.alter(&format!("SET primary_conninfo = '{}'", pair.two.conninfo()));
    wait_for_log(&three, "could not rewind itself, and stays as it was: ", 2);
    wait_for_log(&three, "could not write the last restartpoint, and goes on without: ", 2);
    three.wait_for("SELECT count(*) FROM lost", "6000");
    assert_eq!(pid, three.pid(), "it is up");
    assert!(!three.data().join("plimsoll.rewind").exists());
    disk.free();
    wait_for_log(&three, "rewound to timeline 2: ", 1);
    three.wait_for(&format!("SELECT pg_last_wal_replay_lsn() >= '{end}'::pg_lsn"), "t");
    assert_eq!(three.sql("SELECT count(*) FROM pg_tables WHERE tablename = 'lost'"), "0");
    assert_relations_equal_after_stop(&pair.two, &three);
}
