//! An archive that takes nothing, and disks that are full: neither leaves a cluster without a primary.

use super::{LIMIT, command, is_primary, named, standby, switch, wait_for_log};
use nix::sys::signal::{Signal, kill};
use scenarios::{Node, SmallDisk, plimsoll, run, run_ok, wait_until};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
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
    two.freeze();
    let began = Instant::now();
    let ended = asked.wait_with_output().expect("it ends");
    two.thaw();
    // It may have been done before it was frozen.
    if !ended.status.success() {
        wait_for_log(&one, "is backed out: the standby did not have the end of the log in time");
        one.wait_for("SELECT pg_is_in_recovery()", "f");
        one.sql("INSERT INTO t VALUES (1, 0)");
        assert!(!one.log().contains("archive_command has archived nothing"), "{}", one.log());
    }
    assert!(began.elapsed() < LIMIT);
}

/// An archive whose command for a file waits until it may write the second half, and takes no file twice.
fn slow_archive(folder: &Path) -> String {
    let archive = folder.display();
    format!(
        "test ! -f {archive}/%f && head -c 1000 %p > {archive}/%f && while [ ! -e {archive}/go ]; do sleep 0.1; done \
         && tail -c +1001 %p >> {archive}/%f"
    )
}

/// A primary with small segments, the first of which is half in its slow archive, and its standby.
struct Halfway {
    folder: tempfile::TempDir,
    one: Node,
    two: Node,
}

impl Halfway {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let one = named("one")
            .init_option("--wal-segsize=1")
            .setting("max_wal_size", "4MB")
            .setting("min_wal_size", "2MB")
            .setting("archive_mode", "on")
            .setting("archive_command", &slow_archive(folder.path()))
            .start();
        one.sql("CREATE TABLE t (id int PRIMARY KEY, client int); SELECT pg_switch_wal()");
        let two = standby("two", &one);
        let halfway = Self { folder, one, two };
        wait_until("the command has begun", LIMIT, || {
            let begun = fs::metadata(halfway.archived()).is_ok_and(|file| file.len() == 1000);
            if begun { Ok(()) } else { Err(halfway.one.log()) }
        });
        halfway
    }

    fn archived(&self) -> PathBuf {
        self.folder.path().join("000000010000000000000001")
    }

    fn mark(&self, suffix: &str) -> PathBuf {
        self.one.data().join(format!("pg_wal/archive_status/000000010000000000000001.{suffix}"))
    }

    /// The command may go on: all of the file comes, once.
    fn finish(&self) {
        fs::write(self.folder.path().join("go"), "").expect("a file");
        wait_until("it is archived", LIMIT, || {
            if self.mark("done").exists() { Ok(()) } else { Err(self.one.log()) }
        });
        let archived = fs::read(self.archived()).expect("it is there");
        assert_eq!(archived.len(), 1 << 20);
        assert!(!self.mark("ready").exists());
    }
}

#[test]
fn a_command_in_the_middle_of_a_file_goes_on_over_a_switchover_and_has_its_file_till_the_end() {
    let halfway = Halfway::new();
    let Halfway { one, two, .. } = &halfway;
    let before = fs::read(one.data().join("pg_wal/000000010000000000000001")).expect("a segment");
    switch(one, "two", two);
    for row in 0..6 {
        two.sql(&format!("INSERT INTO t VALUES ({row}, 0); SELECT pg_switch_wal(); CHECKPOINT"));
        one.wait_replayed(&two.sql("SELECT pg_current_wal_lsn()"));
        one.sql("CHECKPOINT");
    }
    halfway.finish();
    assert!(fs::read(halfway.archived()).expect("it is there") == before);
    one.wait_for("SELECT archived_count || ' ' || failed_count FROM pg_stat_archiver", "1 0");
}

#[test]
fn a_command_in_the_middle_of_a_file_goes_on_over_a_switchover_that_is_backed_out() {
    let halfway = Halfway::new();
    let Halfway { one, two, .. } = &halfway;
    fs::write(two.data().join("plimsoll/fence"), "damaged").expect("the record is written");
    assert_eq!(run(&mut command(one, "two", two, &[])).code, 1);
    one.sql("INSERT INTO t VALUES (1, 0)");
    halfway.finish();
    one.sql("SELECT pg_switch_wal()");
    one.wait_for("SELECT archived_count > 1 AND failed_count = 0 FROM pg_stat_archiver", "t");
}

#[test]
fn a_server_that_cannot_start_again_ends_after_the_command_in_the_middle_of_a_file() {
    let halfway = Halfway::new();
    let Halfway { one, two, .. } = &halfway;
    let file = fs::OpenOptions::new().append(true).open(one.data().join("postgresql.conf"));
    writeln!(file.expect("the settings"), "port = 'unclosed").expect("a line");
    let mut asked = command(one, "two", two, &[]).spawn().expect("plimsoll starts");
    wait_for_log(one, "waiting for archive_command, which is in the middle of \"000000010000000000000001\"");
    // It would wait for the old primary to follow.
    asked.kill().expect("it is there");
    asked.wait().expect("it ends");
    halfway.finish();
    wait_until("it has ended", LIMIT, || if one.pid().is_none() { Ok(()) } else { Err(one.log()) });
}

#[test]
fn a_stop_waits_for_the_command_in_the_middle_of_a_file_though_nothing_more_is_to_be_archived() {
    let halfway = Halfway::new();
    let Halfway { one, two, .. } = &halfway;
    one.set("archive_mode", "off");
    switch(one, "two", two);
    one.wait_for("SHOW archive_mode", "off");
    let stop = plimsoll().arg("stop").arg("-D").arg(one.data()).spawn().expect("plimsoll starts");
    wait_for_log(one, "received fast shutdown request");
    halfway.finish();
    assert!(stop.wait_with_output().expect("it ends").status.success());
}

#[test]
fn a_stop_during_a_switchover_archives_all_as_any_clean_stop() {
    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().display();
    let one = named("one")
        .init_option("--wal-segsize=1")
        .setting("archive_mode", "on")
        .setting("archive_command", &format!("sleep 0.5; cp %p {archive}/%f"))
        .start();
    one.sql("CREATE TABLE t (id int PRIMARY KEY, client int)");
    let two = standby("two", &one);
    for row in 0..4 {
        one.sql(&format!("INSERT INTO t VALUES ({row}, 0); SELECT pg_switch_wal()"));
    }
    two.wait_for("SELECT count(*) FROM t", "4");
    let mut asked = command(&one, "two", &two, &["--timeout", "20s"]).spawn().expect("plimsoll starts");
    wait_for_log(&one, "handing over to standby");
    two.freeze();
    kill(one.pid().expect("it runs"), Signal::SIGINT).expect("it is told");
    // It would wait for either of them to answer.
    asked.kill().expect("it is there");
    asked.wait().expect("it ends");
    wait_until("it has ended", LIMIT, || if one.pid().is_none() { Ok(()) } else { Err(one.log()) });
    two.thaw();
    let marks = fs::read_dir(one.data().join("pg_wal/archive_status")).expect("a folder").flatten();
    let waiting: Vec<_> = marks
        .map(|mark| mark.file_name())
        .filter(|name| !name.to_string_lossy().ends_with(".done"))
        .collect();
    assert!(waiting.is_empty(), "{waiting:?}\n{}", one.log());
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

#[test]
fn a_standby_that_has_not_reached_its_recovery_target_refuses_the_role() {
    let one = named("one").start();
    one.sql("CREATE TABLE t (id int PRIMARY KEY, client int)");
    let two = super::standby("two", &one);
    let streams = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
    two.stop();
    two.alter_while_stopped("recovery_target_time", "2099-01-01 00:00:00+00");
    two.start();
    one.wait_for(streams, "1");
    let refused = run(&mut command(&one, "two", &two, &[]));
    assert_eq!(refused.code, 1, "{}{}", refused.stdout, refused.stderr);
    wait_for_log(
        &one,
        "is backed out: the standby refuses: its recovery has a target and has not reached it",
    );
    assert!(is_primary(&one) && !is_primary(&two));
    two.stop();
    two.alter_while_stopped("recovery_target_time", "");
    two.start();
    one.wait_for(streams, "1");
    switch(&one, "two", &two);
    assert!(is_primary(&two));
}

/// The option would go before what the switchover writes, and the two would follow each other.
#[test]
fn a_primary_that_is_told_whom_to_follow_on_its_command_line_keeps_its_role() {
    let one = named("one").start();
    one.sql("CREATE TABLE t (id int PRIMARY KEY, client int)");
    let two = standby("two", &one);
    one.stop();
    let folder = format!("unix_socket_directories={}", one.folder().display());
    let follows = format!("primary_conninfo={}", two.conninfo());
    let mut start = plimsoll();
    start.args(["start", "-d", "-p", &one.port().to_string(), "-c", &folder, "-c", &follows]);
    start.args(["-c", "listen_addresses=127.0.0.1", "-l"]).arg(one.log_path()).arg("-D").arg(one.data());
    run_ok(&mut start);
    let streams = "SELECT state FROM pg_stat_replication WHERE application_name = 'two'";
    one.wait_for(streams, "streaming");
    let session = one.psql().args(["-c", "SELECT pg_sleep(600)"]).spawn();
    let mut session = session.expect("psql starts");
    let sleeps = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    one.wait_for(sleeps, "1");
    let refused = run(&mut command(&one, "two", &two, &[]));
    assert_eq!(refused.code, 1, "{}{}", refused.stdout, refused.stderr);
    assert!(refused.stderr.contains("primary_conninfo is set on the command line"), "{}", refused.stderr);
    assert_eq!(one.sql(sleeps), "1", "nothing has changed");
    assert!(is_primary(&one) && !is_primary(&two));
    session.kill().and_then(|()| session.wait()).expect("psql ends");
    one.stop();
    one.start();
    one.wait_for(streams, "streaming");
    switch(&one, "two", &two);
    assert!(is_primary(&two));
}
