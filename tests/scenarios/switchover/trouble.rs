//! An archive that takes nothing, and disks that are full: neither leaves a cluster without a primary.

use super::{LIMIT, command, is_primary, named, standby, switch, wait_for_log};
use nix::sys::signal::{Signal, kill};
use scenarios::{Node, SmallDisk, plimsoll, run, run_ok};
use std::fs;
use std::time::Instant;

/// A primary whose archive hangs, with a segment that waits for it.
fn primary_with_stuck_archive() -> Node {
    let one = named("one").setting("archive_mode", "on").setting("archive_command", "sleep 1000").start();
    one.sql("CREATE TABLE t (id int PRIMARY KEY, client int)");
    one.sql("SELECT pg_switch_wal()");
    one
}

#[test]
fn an_archive_that_takes_nothing_keeps_the_old_primary_from_following_for_seconds_alone() {
    let one = primary_with_stuck_archive();
    let two = standby("two", &one);
    let three = standby("three", &one);
    switch(&one, "two", &two);
    two.sql("INSERT INTO t VALUES (1, 0)");
    three.wait_for("SELECT count(*) FROM t", "1");
    wait_for_log(&one, "archive_command has archived nothing for 5 s");
    // What waits for the archive waits on.
    let marks = fs::read_dir(one.data().join("pg_wal/archive_status")).expect("a folder");
    assert!(marks.flatten().any(|mark| mark.file_name().to_string_lossy().ends_with(".ready")));
}

#[test]
fn a_switchover_that_is_backed_out_waits_for_no_archive() {
    let one = primary_with_stuck_archive();
    let two = standby("two", &one);
    let asked = command(&one, "two", &two, &["--timeout", "2s"]).spawn().expect("plimsoll starts");
    wait_for_log(&one, "handing over to standby");
    let frozen = two.pid().expect("it runs");
    kill(frozen, Signal::SIGSTOP).expect("it stops");
    let began = Instant::now();
    let ended = asked.wait_with_output().expect("it ends");
    kill(frozen, Signal::SIGCONT).expect("it goes on");
    // It may have been done before it was frozen.
    if !ended.status.success() {
        wait_for_log(&one, "is backed out: the standby did not have the end of the log in time");
        one.wait_for("SELECT pg_is_in_recovery()", "f");
        one.sql("INSERT INTO t VALUES (1, 0)");
        assert!(!one.log().contains("archive_command has archived nothing"), "{}", one.log());
    }
    assert!(began.elapsed() < LIMIT);
}

#[test]
fn a_standby_without_room_for_its_timeline_refuses_the_role() {
    let one = named("one").start();
    one.sql("CREATE TABLE t (id int PRIMARY KEY, client int)");
    let two = Node::unprepared();
    let disk = match SmallDisk::mount(&two.data(), 150) {
        Ok(disk) => disk,
        Err(why) => {
            eprintln!("SKIPPED: {why}");
            return;
        }
    };
    run_ok(plimsoll().args(["clone", "--from", &one.conninfo(), "-D"]).arg(two.data()));
    two.set("cluster_name", "two");
    two.start();
    // Its segment is there before the disk is full.
    one.sql("INSERT INTO t VALUES (0, 0)");
    two.wait_for("SELECT count(*) FROM t", "1");
    // For a megabyte of log, and no segment.
    disk.fill_but(4 << 20);
    let refused = run(&mut command(&one, "two", &two, &[]));
    assert_eq!(refused.code, 1, "{}{}", refused.stdout, refused.stderr);
    wait_for_log(&one, "is backed out: the standby refuses: it lacks room for its own timeline: ");
    one.sql("INSERT INTO t VALUES (1, 0)");
    disk.free();
    two.wait_for("SELECT count(*) FROM t", "2");
    switch(&one, "two", &two);
    assert!(is_primary(&two));
}
