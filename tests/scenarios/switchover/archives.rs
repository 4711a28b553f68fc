//! The commands of the successor's archive: whatever they do, the cluster has a primary.

use super::{command, is_primary, named, standby, switch, wait_for_log};
use scenarios::{Node, run, wait_until};
use std::fs;
use std::path::Path;

fn primary() -> Node {
    let one = named("one").start();
    one.sql("CREATE TABLE t (id int PRIMARY KEY, client int)");
    one
}

#[test]
fn a_standby_whose_archive_does_not_answer_takes_the_role_all_the_same() {
    let commands =
        ["no_such_command %f %p", "kill -9 $$", "mkdir -p %p/a/b; touch %p/a/x; exit 127", "sleep 1000"];
    for restore_command in commands {
        let one = primary();
        let two = standby("two", &one);
        two.alter(&format!("SET restore_command = '{restore_command}'"));
        switch(&one, "two", &two);
        assert!(is_primary(&two), "{restore_command}");
        wait_for_log(&two, "could not look for timelines in the archive: ");
        assert!(two.log().contains("this server takes the number after 1"), "{}", two.log());
        two.sql("INSERT INTO t VALUES (1, 0)");
        one.wait_for("SELECT count(*) FROM t", "1");
        assert!(!two.data().join("pg_wal/RECOVERYHISTORY").exists(), "{restore_command}");
    }
}

/// What a command noted that does nothing else.
fn noted(file: &Path) -> Vec<String> {
    fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn a_successor_asks_its_archive_for_nothing_but_later_timelines() {
    let (folder, one) = (tempfile::tempdir().expect("a folder"), primary());
    let two = standby("two", &one);
    switch(&one, "two", &two);
    let asked = folder.path().join("asked");
    one.alter(&format!("SET restore_command = 'echo %f >> {}; exit 1'", asked.display()));
    two.wait_for("SELECT state FROM pg_stat_replication WHERE application_name = 'one'", "streaming");
    let before = noted(&asked).len();
    switch(&two, "one", &one);
    assert_eq!(noted(&asked)[before..], ["00000003.history"]);
}

#[test]
fn a_stop_while_the_archive_is_asked_breaks_the_promotion_off() {
    let (folder, one) = (tempfile::tempdir().expect("a folder"), primary());
    let two = standby("two", &one);
    let asked = folder.path().join("asked");
    two.alter(&format!("SET restore_command = 'echo %f >> {}; sleep 1000'", asked.display()));
    let switching = command(&one, "two", &two, &["--timeout", "2s"]).spawn().expect("plimsoll starts");
    wait_until("the archive is asked", super::LIMIT, || {
        if noted(&asked).is_empty() { Err(two.log()) } else { Ok(()) }
    });
    two.stop();
    switching.wait_with_output().expect("it ends");
    assert!(two.log().contains("the promotion was broken off"), "{}", two.log());
    assert!(!two.log().contains("selected new timeline ID"), "{}", two.log());
    two.alter_while_stopped("restore_command", "");
    two.start();
    assert!(!is_primary(&two));
    two.sql("SELECT pg_promote()");
    two.sql("INSERT INTO t VALUES (1, 0)");
    one.wait_for("SELECT count(*) FROM t", "1");
}

#[test]
fn a_promotion_waits_for_no_command_that_tidies_the_archive() {
    let (folder, one) = (tempfile::tempdir().expect("a folder"), primary());
    let two = standby("two", &one);
    let began = folder.path().join("began");
    two.alter(&format!("SET archive_cleanup_command = 'echo %r >> {}; sleep 1000'", began.display()));
    one.sql("CHECKPOINT");
    two.wait_replayed(&one.sql("SELECT pg_current_wal_lsn()"));
    let tidying =
        std::thread::scope(|scope| {
            let tidying = scope.spawn(|| run(two.psql().args(["-c", "CHECKPOINT"])));
            wait_until("it begins", super::LIMIT, || {
                if noted(&began).is_empty() { Err(two.log()) } else { Ok(()) }
            });
            switch(&one, "two", &two);
            assert!(is_primary(&two));
            tidying.join().expect("it ends")
        });
    assert_eq!(tidying.code, 0, "{}", tidying.stderr);
    two.sql("INSERT INTO t VALUES (1, 0); CHECKPOINT");
    one.wait_for("SELECT count(*) FROM t", "1");
}

#[test]
fn what_waits_for_the_archive_waits_for_a_hanging_restore_command_for_seconds_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let archive = format!("cp %p {}/%f", folder.path().display());
    let archiving =
        |name: &str| named(name).setting("archive_mode", "on").setting("archive_command", &archive);
    let one = archiving("one").start();
    one.sql("CREATE TABLE t (id int PRIMARY KEY, client int)");
    let two = archiving("two").clone_from(&one);
    one.wait_for("SELECT state FROM pg_stat_replication WHERE application_name = 'two'", "streaming");
    switch(&one, "two", &two);
    two.wait_for("SELECT state FROM pg_stat_replication WHERE application_name = 'one'", "streaming");
    switch(&two, "one", &one);
    one.wait_for("SELECT state FROM pg_stat_replication WHERE application_name = 'two'", "streaming");
    two.alter("SET restore_command = 'sleep 1000'");
    switch(&one, "two", &two);
    two.sql("INSERT INTO t VALUES (1, 0)");
    let segment = two.sql("SELECT pg_walfile_name(pg_switch_wal())");
    wait_until("the segment is archived", 3 * super::LIMIT, || {
        if folder.path().join(&segment).exists() { Ok(()) } else { Err(two.log()) }
    });
    assert!(two.log().contains("files of that are archived without"), "{}", two.log());
}
