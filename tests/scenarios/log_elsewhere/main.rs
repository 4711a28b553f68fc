//! Nodes whose log is not in pg_wal when they start, but with their primary or in the archive.

mod damage;

use scenarios::{
    Branch, Node, SmallDisk, assert_equal_after_stop, plimsoll, run, run_ok, scratch_dir, wait_until,
};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

fn promote(node: &Node) {
    node.sql("SELECT pg_promote()");
}

/// Asks for a promotion as `pg_ctl` does, and waits for nothing.
fn ask_to_promote(node: &Node) {
    fs::write(node.data().join("promote"), "").expect("a signal file");
    let pid = node.pid().expect("it runs");
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGUSR1).expect("a signal");
}

fn history(node: &Node, timeline: u32) -> String {
    let path = node.data().join(format!("pg_wal/{timeline:08X}.history"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A base backup of a node that lacks every byte of the log.
fn backup_without_log(of: &Node) -> Node {
    let backup = Node::unprepared();
    let mut tool = of.tool("pg_basebackup");
    run_ok(tool.arg("-D").arg(backup.data()).args(["-X", "none", "-c", "fast", "--no-sync"]));
    backup
}

/// Promotes a standby with the rows before `next`, which then takes one more and keeps it through a crash.
fn takes_over(standby: &Node, next: u32) {
    promote(standby);
    insert(standby, next, next);
    standby.kill_9();
    standby.start();
    assert_eq!(rows(standby), format!("{next}|{next}"));
}

#[test]
fn a_clone_of_a_promoted_server_knows_the_timelines_before_its_own() {
    let first = Node::builder().init_option("--wal-segsize=1").start();
    let second = Node::builder().clone_from(&first);
    first.stop();
    promote(&second);
    second.sql("CREATE TABLE t (n int PRIMARY KEY)");
    let third = Node::builder().clone_from(&second);
    assert_eq!(history(&third, 2), history(&second, 2));
    third.wait_replayed(&second.sql("SELECT pg_current_wal_flush_lsn()"));
    let fourth = Node::builder().setting("wal_retrieve_retry_interval", "100ms").clone_from(&second);
    second.stop();
    promote(&third);
    let past = history(&third, 3);
    assert!(past.starts_with(&history(&second, 2)), "the branch id and all timelines are in {past}");
    assert_eq!(Branch::of(&third).timeline(), 3);
    fourth.sql(&format!("ALTER SYSTEM SET primary_conninfo = '{}'", third.conninfo()));
    fourth.sql("SELECT pg_reload_conf()");
    third.sql("INSERT INTO t VALUES (1)");
    fourth.wait_for("SELECT count(*) FROM t", "1");
}

/// A primary with small segments and an archive beside its data.
fn archiving() -> Node {
    let node = Node::builder().init_option("--wal-segsize=1").setting("archive_mode", "on").init();
    fs::create_dir(archive_of(&node)).expect("an archive");
    let archive = archive_of(&node).display().to_string();
    node.set("archive_command", &format!("test ! -e {archive}/%f && cp \"%p\" {archive}/%f"));
    node.start();
    node.sql("CREATE TABLE t (n int PRIMARY KEY)");
    node
}

fn archive_of(node: &Node) -> PathBuf {
    node.folder().join("archive")
}

fn restore_from(node: &Node, archive: &Path) {
    node.set("restore_command", &format!("cp {}/%f \"%p\"", archive.display()));
    node.set("archive_mode", "off");
    node.set("wal_retrieve_retry_interval", "100ms");
}

/// Switches segments and waits until the one that ended is in the archive.
fn switch(node: &Node, archive: &Path) {
    let ended = node.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    node.sql("SELECT pg_switch_wal()");
    wait_file(&archive.join(ended));
}

fn wait_file(path: &Path) {
    wait_until(
        "the file comes",
        LIMIT,
        || {
            if path.exists() { Ok(()) } else { Err(path.display().to_string()) }
        },
    );
}

fn wait_log(node: &Node, line: &str) {
    wait_until("the log says so", LIMIT, || {
        if node.log().contains(line) { Ok(()) } else { Err(format!("no \"{line}\" in {}", node.log())) }
    });
}

fn insert(node: &Node, from: u32, upto: u32) {
    node.sql(&format!("INSERT INTO t SELECT g FROM generate_series({from}, {upto}) g"));
}

fn rows(node: &Node) -> String {
    node.sql("SELECT count(*), max(n) FROM t")
}

fn wait_rows(node: &Node, expected: &str) {
    node.wait_for("SELECT count(*), max(n) FROM t", expected);
}

/// Takes all log away, as when only the data were copied; history files too.
fn empty_pg_wal(node: &Node) {
    let pg_wal = node.data().join("pg_wal");
    for entry in fs::read_dir(&pg_wal).expect("pg_wal") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_file() {
            fs::remove_file(entry.path()).expect("a file goes");
        }
    }
}

/// Whether a segment's first page begins with the rest of a record.
fn goes_on(segment: &Path) -> bool {
    let bytes = fs::read(segment).expect("a segment");
    let info = bytes.get(2..4).and_then(|info| info.try_into().ok()).map(u16::from_le_bytes);
    info.expect("a page") & 1 != 0
}

#[test]
fn a_record_that_begins_in_the_archive_is_ended_by_the_stream_of_who_has_but_its_rest() {
    let node = archiving();
    node.sql("ALTER SYSTEM SET wal_keep_size = 0");
    node.sql("SELECT pg_reload_conf()");
    let archive = archive_of(&node);
    let standby = backup_without_log(&node);
    restore_from(&standby, &archive);
    standby.set("primary_conninfo", &node.conninfo());
    fs::write(standby.data().join("standby.signal"), "").expect("a signal file");
    let pg_wal = node.data().join("pg_wal");
    let (mut upto, mut segment) = (0, String::new());
    wait_until("a record ends in the primary's first segment", LIMIT, || {
        insert(&node, upto + 1, upto + 20_000);
        upto += 20_000;
        node.sql("CHECKPOINT");
        segment = node.sql("SELECT pg_walfile_name(redo_lsn) FROM pg_control_checkpoint()");
        let before = u128::from_str_radix(&segment, 16).map(|number| format!("{:024X}", number - 1));
        let before = before.expect("a segment's name");
        wait_file(&archive.join(&before));
        node.sql("CHECKPOINT");
        let is_gone = !pg_wal.join(&before).exists();
        let is_kept = pg_wal.join(&segment).exists() && !archive.join(&segment).exists();
        if is_gone && is_kept && goes_on(&pg_wal.join(&segment)) { Ok(()) } else { Err(segment.clone()) }
    });
    standby.start();
    let begin = u32::from_str_radix(&segment[16..], 16).expect("a segment's number") << 20;
    wait_log(&standby, &format!("started streaming WAL from primary at 0/{begin:X}"));
    wait_rows(&standby, &format!("{upto}|{upto}"));
}

#[test]
fn a_standby_with_an_empty_pg_wal_gets_its_log_from_the_primary() {
    let primary = Node::builder().init_option("--wal-segsize=1").setting("wal_keep_size", "64MB").start();
    primary.sql("CREATE TABLE t (n int PRIMARY KEY)");
    let standby = Node::builder().setting("wal_retrieve_retry_interval", "100ms").clone_from(&primary);
    insert(&primary, 1, 1000);
    primary.sql("CHECKPOINT");
    insert(&primary, 1001, 2000);
    wait_rows(&standby, "2000|2000");
    // After a clean stop, and after a kill with pages on disk that are newer than the restartpoint.
    for kill in [false, true] {
        if kill {
            standby.sql("CHECKPOINT");
            standby.kill_9();
        } else {
            standby.stop();
        }
        empty_pg_wal(&standby);
        insert(&primary, if kill { 3001 } else { 2001 }, if kill { 4000 } else { 3000 });
        standby.start();
        wait_rows(&standby, if kill { "4000|4000" } else { "3000|3000" });
    }
    // Its primary is away at first; it is killed while it waits, and a promotion is refused.
    standby.stop();
    empty_pg_wal(&standby);
    primary.kill_9();
    standby.start_without_waiting();
    wait_log(&standby, "is not here: waiting for it");
    standby.kill_9();
    let before = standby.log().len();
    standby.start_without_waiting();
    wait_until("it waits again", LIMIT, || {
        if standby.log()[before..].contains("is not here: waiting for it") {
            Ok(())
        } else {
            Err(standby.log())
        }
    });
    run_ok(
        std::process::Command::new("cp").arg("-a").arg(standby.data()).arg(standby.folder().join("promoted")),
    );
    primary.start();
    wait_rows(&standby, "4000|4000");
    insert(&primary, 4001, 5000);
    wait_rows(&standby, "5000|5000");
    primary.stop();
    takes_over(&standby, 5001);
    let clone = Node::builder().clone_from(&standby);
    wait_rows(&clone, "5001|5001");
}

#[test]
fn a_standby_that_lost_the_middle_of_a_record_gets_it_from_the_primary() {
    let primary = Node::builder().init_option("--wal-segsize=1").setting("wal_keep_size", "64MB").start();
    primary.sql("CREATE TABLE t (n int PRIMARY KEY)");
    let standby = Node::builder().setting("wal_retrieve_retry_interval", "100ms").clone_from(&primary);
    insert(&primary, 1, 1000);
    let begin = primary.sql("SELECT pg_walfile_name(pg_current_wal_flush_lsn())");
    let end =
        primary.sql("SELECT pg_walfile_name(pg_logical_emit_message(true, 'long', repeat('x', 5000000)))");
    insert(&primary, 1001, 2000);
    wait_rows(&standby, "2000|2000");
    standby.stop();
    let number = |name: &str| u128::from_str_radix(name, 16).expect("a segment's name");
    let middle = number(&begin) + 2;
    assert!(middle < number(&end), "{begin} to {end}");
    fs::remove_file(standby.data().join(format!("pg_wal/{middle:024X}"))).expect("the segment");
    standby.start();
    wait_rows(&standby, "2000|2000");
    insert(&primary, 2001, 3000);
    wait_rows(&standby, "3000|3000");
    assert_equal_after_stop(&primary, &standby);
}

#[test]
fn a_standby_that_waits_for_its_first_log_is_not_promoted() {
    let primary = Node::builder().init_option("--wal-segsize=1").setting("wal_keep_size", "64MB").start();
    let standby = Node::builder().clone_from(&primary);
    standby.stop();
    empty_pg_wal(&standby);
    primary.stop();
    // It is not known here what it received: that would be told as damage.
    fs::remove_file(standby.data().join("plimsoll/received")).expect("the file");
    standby.start_without_waiting();
    wait_log(&standby, "is not here: waiting for it");
    ask_to_promote(&standby);
    wait_log(&standby, "could not locate a valid checkpoint record");
    standby.kill_9();
    assert!(standby.data().join("standby.signal").exists(), "it is a standby still");
    primary.start();
    standby.start();
    primary.sql("CREATE TABLE t (n int PRIMARY KEY); INSERT INTO t VALUES (1)");
    wait_rows(&standby, "1|1");
}

#[test]
fn a_backup_without_log_gets_it_from_the_primary_alone() {
    let primary = Node::builder().init_option("--wal-segsize=1").setting("wal_keep_size", "64MB").start();
    primary.sql("CREATE TABLE t (n int PRIMARY KEY)");
    insert(&primary, 1, 500);
    let standby = backup_without_log(&primary);
    standby.set("primary_conninfo", &primary.conninfo());
    standby.set("wal_retrieve_retry_interval", "100ms");
    fs::write(standby.data().join("standby.signal"), "").expect("a signal file");
    insert(&primary, 501, 1000);
    primary.kill_9();
    standby.start_without_waiting();
    wait_log(&standby, "is not here: waiting for it");
    standby.kill_9();
    primary.start();
    standby.start();
    wait_rows(&standby, "1000|1000");
    primary.stop();
    takes_over(&standby, 1001);
}

#[test]
fn a_standby_with_an_empty_pg_wal_gets_its_log_from_the_archive() {
    let primary = archiving();
    let archive = archive_of(&primary);
    let standby = Node::builder().clone_from(&primary);
    insert(&primary, 1, 1000);
    wait_rows(&standby, "1000|1000");
    standby.stop();
    switch(&primary, &archive);
    restore_from(&standby, &archive);
    standby.alter_while_stopped("primary_conninfo", "");
    empty_pg_wal(&standby);
    standby.start();
    wait_rows(&standby, "1000|1000");
    // And from an archive that has the log only later.
    standby.kill_9();
    empty_pg_wal(&standby);
    let away = archive.with_extension("away");
    fs::rename(&archive, &away).expect("the archive goes");
    standby.start_without_waiting();
    wait_log(&standby, "is not here: waiting for it");
    fs::rename(&away, &archive).expect("the archive comes back");
    wait_rows(&standby, "1000|1000");
    takes_over(&standby, 1001);
}

#[test]
fn a_recovery_that_stops_before_the_fork_is_promoted_with_the_later_timelines_segments_alone() {
    let first = archiving();
    let archive = archive_of(&first);
    let base = backup_without_log(&first);
    restore_from(&base, &archive);
    fs::write(base.data().join("recovery.signal"), "").expect("a signal file");
    // The fork lies in the middle of a segment; of the first timeline that one never comes into the archive.
    switch(&first, &archive);
    let second = Node::builder()
        .setting("archive_command", &format!("test ! -e {0}/%f && cp \"%p\" {0}/%f", archive.display()))
        .clone_from(&first);
    insert(&first, 1, 10);
    first.sql("SELECT pg_create_restore_point('ten')");
    insert(&first, 11, 20);
    wait_rows(&second, "20|20");
    first.kill_9();
    promote(&second);
    insert(&second, 21, 30);
    switch(&second, &archive);
    wait_file(&archive.join("00000002.history"));
    insert(&second, 31, 40);
    second.sql("SELECT pg_create_restore_point('forty')");
    switch(&second, &archive);
    second.stop();

    for (target, found) in [("ten", "10|10"), ("forty", "40|40")] {
        let back = Node::copy_of(&base);
        back.set("recovery_target_name", target);
        back.set("recovery_target_action", "promote");
        // Killed in the middle of redo, or of the promotion, and started again: whatever was done is done
        // once.
        back.set("recovery_end_command", "test -e ended || { touch ended; kill -9 $PPID; }");
        back.start_without_waiting();
        wait_file(&back.data().join("ended"));
        back.kill_9();
        back.start();
        back.wait_for("SELECT pg_is_in_recovery()", "f");
        assert_eq!(rows(&back), found, "{}", back.log());
        insert(&back, 101, 101);
        back.kill_9();
        back.start();
        let expected =
            format!("{}|101", found.split('|').next().and_then(|n| n.parse::<u32>().ok()).unwrap_or(0) + 1);
        assert_eq!(rows(&back), expected, "{}", back.log());
        let clone = Node::builder().clone_from(&back);
        wait_rows(&clone, &expected);
        assert_eq!(Branch::of(&clone), Branch::of(&back));
    }
}

#[test]
fn the_log_may_lie_in_a_folder_outside_of_the_data_directory() {
    let elsewhere = scratch_dir();
    let log = elsewhere.path().join("log");
    let in_use = elsewhere.path().join("in_use");
    fs::create_dir(&in_use).expect("a folder");
    fs::write(in_use.join("file"), "").expect("a file");
    let node = Node::unprepared();
    let init = |log: &Path| {
        run(plimsoll()
            .args(["init", "-U", "postgres", "--wal-segsize=1", "-D"])
            .arg(node.data())
            .arg("-X")
            .arg(log))
    };
    let within = node.data().join("log");
    for (log, said) in [
        (Path::new("log"), "must be an absolute path"),
        (in_use.as_path(), "exists but is not empty"),
        (within.as_path(), "must not be in the data directory"),
    ] {
        let refused = init(log);
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.stderr.contains(said), "{refused:?}");
        assert!(!node.data().exists());
    }
    // One that is there and empty is taken.
    fs::create_dir(&log).expect("a folder");
    fs::set_permissions(&log, fs::Permissions::from_mode(0o755)).expect("its mode");
    let made = init(&log);
    assert_eq!(made.code, 0, "{made:?}");
    assert_eq!(fs::metadata(&log).expect("the folder").permissions().mode() & 0o7777, 0o700);
    assert_eq!(fs::read_link(node.data().join("pg_wal")).expect("a link"), log);
    assert!(log.join("000000010000000000000001").exists() && log.join("archive_status").is_dir());
    node.start();
    node.sql("CREATE TABLE t (n int PRIMARY KEY)");
    insert(&node, 1, 20_000);
    node.kill_9();
    node.start();
    let clone = Node::builder().clone_from(&node);
    wait_rows(&clone, "20000|20000");
    assert!(clone.data().join("pg_wal").symlink_metadata().expect("pg_wal").is_dir());
    insert(&node, 20_001, 40_000);
    node.sql("CHECKPOINT");
    wait_rows(&clone, "40000|40000");
    // It goes another way and comes back: the new branch's log lies there, too.
    clone.stop();
    insert(&node, 50_000, 50_000);
    node.kill_9();
    clone.start();
    takes_over(&clone, 40_001);
    insert(&clone, 40_002, 40_002);
    run_ok(plimsoll().args(["rewind", "--source", &clone.conninfo(), "-D"]).arg(node.data()));
    node.start();
    wait_rows(&node, "40002|40002");
    assert!(log.join("00000002.history").exists());
}

#[test]
fn a_directory_that_cannot_be_made_is_not_in_the_way_of_the_next_try() {
    let folder = scratch_dir();
    let small = folder.path().join("small");
    // No segment of the default size fits.
    let _disk = match SmallDisk::mount(&small, 8) {
        Ok(disk) => disk,
        Err(why) => {
            eprintln!("SKIPPED: {why}");
            return;
        }
    };
    let (data, log) = (folder.path().join("data"), small.join("log"));
    let init = |options: &[&str]| {
        run(plimsoll().args(["init", "-U", "postgres", "-D"]).arg(&data).arg("-X").arg(&log).args(options))
    };
    let fails = |options: &[&str], said: [&str; 2]| {
        let failed = init(options);
        assert_eq!(failed.code, 1, "{failed:?}");
        assert!(said.iter().all(|words| failed.stderr.contains(words)), "{failed:?}");
    };
    fails(&[], ["removing data directory", "removing WAL directory"]);
    assert!(!data.exists() && !log.exists());
    // Folders that were there stay.
    [&data, &log].iter().for_each(|path| fs::create_dir(path).expect("a folder"));
    fails(&[], ["removing contents of data directory", "removing contents of WAL directory"]);
    for path in [&data, &log] {
        assert_eq!(fs::read_dir(path).expect("it is there").count(), 0, "{}", path.display());
    }
    fails(&["-n"], ["data directory", "stays as it is, as --no-clean asks"]);
    assert!(data.join("PG_VERSION").exists());
    // What is refused is another's.
    let refused = init(&[]);
    assert!(refused.stderr.contains("exists but is not empty"), "{refused:?}");
    assert!(!refused.stderr.contains("removing") && data.join("PG_VERSION").exists(), "{refused:?}");
    [&data, &log].iter().for_each(|path| fs::remove_dir_all(path).expect("it goes"));
    let made = init(&["--wal-segsize=1"]);
    assert_eq!(made.code, 0, "{made:?}");
}

#[test]
fn what_was_never_done_in_pg_wal_goes_at_a_start() {
    let node = Node::builder().start();
    node.stop();
    let pg_wal = node.data().join("pg_wal");
    fs::create_dir(pg_wal.join("rewind")).expect("a folder");
    let left = ["00000002.history.tmp", "rewind/000000010000000000000009", "rewind/fetched"];
    for name in left {
        fs::write(pg_wal.join(name), "x").expect("a leftover");
    }
    node.start();
    for name in left {
        assert!(!pg_wal.join(name).exists(), "{name}");
    }
}
