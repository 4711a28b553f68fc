//! The archive: what must be in it, what must wait for it, and how a node comes back from it to a point in
//! time.

use scenarios::{Node, run_ok, wait_until};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// The archive beside a node's data.
fn archive_of(node: &Node) -> PathBuf {
    node.folder().join("archive")
}

/// Copies into an archive, refusing what is there already with other contents.
fn put(archive: &Path) -> String {
    format!("cmp -s \"%p\" {0}/%f || {{ test ! -e {0}/%f && cp \"%p\" {0}/%f; }}", archive.display())
}

fn get(archive: &Path) -> String {
    format!("cp {}/%f \"%p\"", archive.display())
}

/// A primary with small segments that archives, with a table.
fn primary(command: impl Fn(&Path) -> String) -> Node {
    let node = Node::builder()
        .init_option("--wal-segsize=1")
        .setting("wal_keep_size", "0")
        .setting("archive_mode", "on")
        .init();
    fs::create_dir(archive_of(&node)).expect("an archive");
    node.set("archive_command", &command(&archive_of(&node)));
    node.start();
    node.sql("CREATE TABLE t (n int PRIMARY KEY)");
    node
}

/// A base backup in a node of its own, not started, which restores from the primary's archive.
fn backup(primary: &Node, signal: &str) -> Node {
    backup_with(primary, signal, "none")
}

/// The same; `log` is what pg_basebackup does with the log (`-X`).
fn backup_with(primary: &Node, signal: &str, log: &str) -> Node {
    let node = Node::unprepared();
    let mut tool = primary.tool("pg_basebackup");
    run_ok(tool.arg("-D").arg(node.data()).args(["-X", log, "-c", "fast", "--no-sync"]));
    configure(&node, &archive_of(primary), signal);
    node
}

fn configure(node: &Node, archive: &Path, signal: &str) {
    node.set("restore_command", &get(archive));
    node.set("archive_command", &put(archive));
    node.set("wal_retrieve_retry_interval", "100ms");
    fs::write(node.data().join(signal), "").expect("a signal file");
}

fn rows(node: &Node) -> String {
    node.sql("SELECT count(*), coalesce(max(n), 0) FROM t")
}

fn insert(node: &Node, from: u32, upto: u32) {
    node.sql(&format!("INSERT INTO t SELECT g FROM generate_series({from}, {upto}) g"));
}

fn wait_primary(node: &Node) {
    wait_until("recovery ends", LIMIT, || {
        let outcome = node.try_sql("SELECT pg_is_in_recovery()");
        if outcome.stdout.trim() == "f" { Ok(()) } else { Err(format!("{outcome:?}")) }
    });
}

fn wait_file(path: &Path) {
    wait_until(
        "the file comes",
        LIMIT,
        || if path.exists() { Ok(()) } else { Err(path.display().to_string()) },
    );
}

fn wait_log(node: &Node, line: &str) {
    wait_until("the log says so", LIMIT, || {
        if node.log().contains(line) { Ok(()) } else { Err(format!("no \"{line}\"")) }
    });
}

fn marks(node: &Node, suffix: &str) -> Vec<String> {
    let folder = node.data().join("pg_wal/archive_status");
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("archive_status")
        .filter_map(|entry| {
            entry.ok()?.file_name().into_string().ok()?.strip_suffix(suffix).map(str::to_owned)
        })
        .collect();
    names.sort();
    names
}

/// Switches segments and returns the name of the one that ended.
fn switch(node: &Node) -> String {
    let ended = node.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    node.sql("SELECT pg_switch_wal()");
    ended
}

#[test]
fn a_failing_command_keeps_everything_waiting_through_a_crash_until_it_works() {
    let node = primary(|_| "exit 7".to_owned());
    let first = node.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    for step in 0..5 {
        insert(&node, step * 1000 + 1, step * 1000 + 1000);
        let ended = switch(&node);
        assert!(marks(&node, ".ready").contains(&ended), "a switched segment is marked at once");
    }
    wait_until("failures are counted", LIMIT, || {
        let counted =
            node.sql("SELECT failed_count > 2, last_failed_wal, archived_count FROM pg_stat_archiver");
        if counted == format!("t|{first}|0") { Ok(()) } else { Err(counted) }
    });
    let log = node.log();
    assert!(log.contains("archive command failed with exit code 7"), "{log}");
    assert!(log.contains("The failed archive command was: exit 7"), "{log}");
    wait_log(&node, &format!("archiving write-ahead log file \"{first}\" failed too many times"));

    node.sql("CHECKPOINT");
    let waiting = marks(&node, ".ready");
    node.kill_9();
    node.start();
    node.sql("CHECKPOINT");
    for name in &waiting {
        assert!(node.data().join("pg_wal").join(name).exists(), "{name} was removed before it was archived");
    }
    assert_eq!(marks(&node, ".ready")[..waiting.len()], waiting[..]);

    node.set("archive_command", &put(&archive_of(&node)));
    node.sql("SELECT pg_reload_conf()");
    for name in &waiting {
        wait_file(&archive_of(&node).join(name));
    }
    let last = waiting.last().expect("some wait").clone();
    wait_until("the last is done", LIMIT, || {
        let done = marks(&node, ".done");
        if done.contains(&last) { Ok(()) } else { Err(format!("{done:?}")) }
    });
    insert(&node, 10001, 10001);
    node.sql("CHECKPOINT");
    insert(&node, 10002, 10002);
    node.sql("CHECKPOINT");
    assert!(!marks(&node, ".done").contains(&first), "an archived segment goes with its mark");
    assert!(!node.data().join("pg_wal").join(&first).exists());
}

#[test]
fn a_clean_stop_archives_the_last_segment_and_an_idle_one_is_ended_by_archive_timeout() {
    let node = primary(put);
    insert(&node, 1, 10);
    let last = node.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    node.stop();
    assert!(archive_of(&node).join(&last).exists(), "a clean stop archives what was written");
    node.set("archive_timeout", "1s");
    node.start();
    insert(&node, 11, 20);
    let open = node.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    wait_until("the open one is done", LIMIT, || {
        let done = marks(&node, ".done");
        if done.contains(&open) { Ok(()) } else { Err(format!("{done:?}")) }
    });
    let next = node.sql("SELECT pg_walfile_name(pg_current_wal_insert_lsn() + 1)");
    assert_eq!(marks(&node, ".ready"), Vec::<String>::new(), "an idle server ends no segments: {next}");
}

/// Settings, the rows that they bring back (count and largest), and a part of the reason in the new history.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str);

#[test]
fn each_target_brings_back_what_it_names_and_no_more() {
    let node = primary(put);
    let base = backup(&node, "recovery.signal");
    insert(&node, 1, 100);
    let xid = node.sql("BEGIN; INSERT INTO t VALUES (101); SELECT pg_current_xact_id(); COMMIT");
    insert(&node, 102, 200);
    let lsn = node.sql("SELECT pg_current_wal_lsn()");
    insert(&node, 201, 300);
    node.sql("SELECT pg_create_restore_point('three hundred')");
    let time = node.sql("SELECT now()");
    insert(&node, 301, 400);
    switch(&node);
    node.stop();

    let cases: [Case; 8] = [
        (&[("recovery_target", "immediate")], "0|0", "reached consistency"),
        (&[("recovery_target_xid", &xid)], "101|101", "after transaction"),
        (
            &[("recovery_target_xid", &xid), ("recovery_target_inclusive", "off")],
            "100|100",
            "before transaction",
        ),
        (&[("recovery_target_lsn", &lsn), ("recovery_target_inclusive", "off")], "200|200", "before LSN"),
        // Inclusive redoes the record that begins there: a part of a transaction, of which nothing may be
        // seen.
        (&[("recovery_target_lsn", &lsn)], "200|200", "after LSN"),
        (&[("recovery_target_name", "three hundred")], "300|300", "at restore point \"three hundred\""),
        (&[("recovery_target_time", &time)], "300|300", "before 20"),
        (&[], "400|400", "no recovery target specified"),
    ];
    for (number, (settings, expected, reason)) in cases.into_iter().enumerate() {
        let back = Node::copy_of(&base);
        back.set("recovery_target_action", "promote");
        settings.iter().for_each(|(name, value)| back.set(name, value));
        back.set("archive_mode", "off");
        back.start();
        wait_primary(&back);
        assert_eq!(rows(&back), expected, "{settings:?}\n{}", back.log());
        let log = back.log();
        assert!(log.contains(if settings.is_empty() {
            "starting archive recovery"
        } else {
            "starting point-in-time recovery to"
        }));
        for line in
            ["archive recovery complete", "selected new timeline ID: 2", "consistent recovery state reached"]
        {
            assert!(log.contains(line), "case {number}: no \"{line}\" in\n{log}");
        }
        let history = fs::read_to_string(back.data().join("pg_wal/00000002.history")).expect("a history");
        assert!(history.contains(reason), "{settings:?}: {history}");
        assert!(!back.data().join("recovery.signal").exists());
        insert(&back, 1001, 1001);
        back.kill_9();
        back.start();
        assert_eq!(
            back.sql("SELECT count(*) FROM t WHERE n = 1001"),
            "1",
            "the new timeline survives a crash"
        );
    }
}

#[test]
fn a_pause_at_the_target_serves_reads_and_resume_promotes() {
    let node = primary(put);
    let back = backup(&node, "recovery.signal");
    insert(&node, 1, 10);
    node.sql("SELECT pg_create_restore_point('ten')");
    insert(&node, 11, 20);
    switch(&node);
    back.set("recovery_target_name", "ten");
    back.start();
    wait_log(&back, "pausing at the end of recovery");
    assert_eq!(rows(&back), "10|10");
    assert_eq!(back.sql("SELECT pg_is_in_recovery(), pg_is_wal_replay_paused()"), "t|t");
    assert!(back.log().contains("recovery stopping at restore point \"ten\""));
    assert!(back.try_sql("INSERT INTO t VALUES (99)").stderr.contains("read-only transaction"));
    back.stop();
    back.start();
    wait_log(&back, "shut down in recovery");
    wait_until("the pause is back", LIMIT, || {
        let paused = back.try_sql("SELECT pg_is_wal_replay_paused()").stdout;
        if paused.trim() == "t" { Ok(()) } else { Err(paused) }
    });
    back.sql("SELECT pg_wal_replay_resume()");
    wait_primary(&back);
    insert(&back, 11, 11);
    assert_eq!(rows(&back), "11|11");
}

#[test]
fn shutdown_at_the_target_leaves_a_node_that_can_go_further() {
    let node = primary(put);
    let back = backup(&node, "recovery.signal");
    insert(&node, 1, 10);
    node.sql("SELECT pg_create_restore_point('ten')");
    insert(&node, 11, 20);
    node.sql("SELECT pg_create_restore_point('twenty')");
    switch(&node);
    back.set("recovery_target_name", "ten");
    back.set("recovery_target_action", "shutdown");
    let _ = back.try_start();
    wait_log(&back, "shutdown at recovery target");
    wait_until("it is gone", LIMIT, || if back.pid().is_none() { Ok(()) } else { Err("it runs".to_owned()) });
    assert!(back.data().join("recovery.signal").exists());
    back.set("recovery_target_name", "twenty");
    back.set("recovery_target_action", "promote");
    back.start();
    wait_primary(&back);
    assert_eq!(rows(&back), "20|20");
}

#[test]
fn a_target_that_the_archive_does_not_reach_is_an_error_and_a_gap_is_not_jumped() {
    let node = primary(put);
    let base = backup(&node, "recovery.signal");
    insert(&node, 1, 10);
    let second = switch(&node);
    insert(&node, 11, 20);
    let third = switch(&node);
    insert(&node, 21, 30);
    let last = switch(&node);
    wait_file(&archive_of(&node).join(&last));
    fs::remove_file(archive_of(&node).join(&third)).expect("the segment was archived");

    let back = Node::copy_of(&base);
    back.set("recovery_target_name", "nowhere");
    let _ = back.try_start();
    wait_log(&back, "FATAL:  recovery ended before configured recovery target was reached");
    assert!(back.pid().is_none() || !back.log().contains("ready to accept connections"));

    let back = Node::copy_of(&base);
    back.set("archive_mode", "off");
    back.start();
    wait_primary(&back);
    assert_eq!(rows(&back), "10|10", "what comes behind the gap is no continuation");
    assert!(back.log().contains(&format!("restored log file \"{second}\" from archive")));
}

#[test]
fn a_backup_without_its_end_is_refused() {
    let node = primary(put);
    let back = backup(&node, "recovery.signal");
    let label = fs::read_to_string(back.data().join("backup_label")).expect("a label");
    let start = label.split("file ").nth(1).and_then(|rest| rest.get(..24)).expect("a segment").to_owned();
    fs::remove_file(archive_of(&node).join(&start)).expect("the backup's segment was archived");
    let outcome = back.try_start();
    wait_log(&back, "FATAL");
    assert!(!back.log().contains("archive recovery complete"), "{outcome:?}\n{}", back.log());
    assert!(back.log().contains("checkpoint record"), "{}", back.log());
    assert!(back.data().join("recovery.signal").exists() && back.data().join("backup_label").exists());
}

#[test]
fn recovery_goes_onto_a_later_timeline_or_stays_as_it_is_told() {
    let node = primary(put);
    let base = backup(&node, "recovery.signal");
    insert(&node, 1, 10);
    node.sql("SELECT pg_create_restore_point('fork')");
    insert(&node, 11, 20);
    switch(&node);
    node.stop();
    let archive = archive_of(&node);

    let second = Node::copy_of(&base);
    second.set("recovery_target_name", "fork");
    second.set("recovery_target_action", "promote");
    second.start();
    wait_primary(&second);
    wait_file(&archive.join("00000002.history"));
    insert(&second, 101, 110);
    second.sql("SELECT pg_create_restore_point('on two')");
    let ended = switch(&second);
    assert!(ended.starts_with("00000002"), "{ended}");
    wait_file(&archive.join(&ended));
    let late = backup(&second, "recovery.signal");
    configure(&late, &archive, "recovery.signal");
    second.stop();

    let go = |from: &Node, timeline: &str| {
        let back = Node::copy_of(from);
        back.set("archive_mode", "off");
        back.set("recovery_target_timeline", timeline);
        back
    };
    for (timeline, expected) in [("latest", "20|110"), ("2", "20|110"), ("1", "20|20"), ("current", "20|20")]
    {
        let back = go(&base, timeline);
        back.start();
        wait_primary(&back);
        assert_eq!(rows(&back), expected, "{timeline}\n{}", back.log());
        assert!(back.log().contains("selected new timeline ID: 3"), "{timeline}: 2 is taken in the archive");
    }
    let back = go(&base, "7");
    let _ = back.try_start();
    wait_log(&back, "FATAL:  recovery target timeline 7 does not exist");
    let back = go(&late, "1");
    let _ = back.try_start();
    wait_log(&back, "requested timeline 1 is not a child of this server's history");
}

#[test]
fn a_standby_takes_turns_between_archive_and_primary_and_keeps_its_log_short() {
    let node = primary(put);
    let standby = backup(&node, "standby.signal");
    standby.set("primary_conninfo", &node.conninfo());
    standby.set("archive_cleanup_command", "echo %r > cleaned");
    insert(&node, 1, 100);
    switch(&node);
    standby.start();
    wait_log(&standby, "started streaming WAL from primary");
    insert(&node, 101, 200);
    standby.wait_replayed(&node.sql("SELECT pg_current_wal_lsn()"));
    node.kill_9();
    wait_log(&standby, "could not");
    // The archive has its turn: what another copy of the primary puts there is found.
    node.start();
    insert(&node, 201, 300);
    switch(&node);
    insert(&node, 301, 400);
    standby.wait_replayed(&node.sql("SELECT pg_current_wal_lsn()"));
    assert_eq!(rows(&standby), "400|400");

    for step in 0..4 {
        insert(&node, step * 1000 + 1001, step * 1000 + 2000);
        switch(&node);
    }
    node.sql("CHECKPOINT");
    standby.wait_replayed(&node.sql("SELECT pg_current_wal_lsn()"));
    let before = segments(&standby);
    standby.sql("CHECKPOINT");
    wait_file(&standby.data().join("cleaned"));
    let oldest = fs::read_to_string(standby.data().join("cleaned")).expect("the command ran");
    let after = segments(&standby);
    assert!(after.len() < before.len() && after.first().is_some_and(|first| first.as_str() >= oldest.trim()));
    standby.kill_9();
    standby.start();
    assert_eq!(rows(&standby), "4400|5000");
}

fn segments(node: &Node) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(node.data().join("pg_wal"))
        .expect("pg_wal")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.len() == 24)
        .collect();
    names.sort();
    names
}

#[test]
fn a_standby_without_a_primary_follows_the_archive_onto_a_new_timeline() {
    let node = primary(put);
    let follower = backup(&node, "standby.signal");
    let next = Node::copy_of(&follower);
    follower.start();
    insert(&node, 1, 10);
    switch(&node);
    wait_until("the archive is followed", LIMIT, || {
        let found = rows(&follower);
        if found == "10|10" { Ok(()) } else { Err(found) }
    });
    node.stop();
    next.start();
    run_ok(scenarios::plimsoll().arg("promote").arg("-D").arg(next.data()));
    insert(&next, 11, 20);
    let ended = switch(&next);
    wait_file(&archive_of(&node).join(&ended));
    wait_log(&follower, "new target timeline is 2");
    wait_until("the new timeline is followed", LIMIT, || {
        let found = rows(&follower);
        if found == "20|20" { Ok(()) } else { Err(found) }
    });
}

/// An archive_command makes a file before it fills it, and a history file is looked for again and again.
#[test]
fn a_history_file_that_was_fetched_before_it_was_whole_is_fetched_again() {
    let node = primary(put);
    let torn_on_the_way = backup(&node, "standby.signal");
    let torn_before = Node::copy_of(&torn_on_the_way);
    let next = Node::copy_of(&torn_on_the_way);
    let (archive, once) = (archive_of(&node), node.folder().join("once"));
    let (from, once) = (archive.display(), once.display());
    let tearing = format!(
        "if [ %f = 00000002.history ] && mkdir {once} 2>/dev/null; then : > %p; else cp {from}/%f %p; fi"
    );
    torn_on_the_way.set("restore_command", &tearing);
    torn_on_the_way.start();
    fs::write(torn_before.data().join("pg_wal/00000002.history"), "").expect("a file");
    torn_before.start();
    insert(&node, 1, 10);
    switch(&node);
    node.stop();
    next.start();
    run_ok(scenarios::plimsoll().arg("promote").arg("-D").arg(next.data()));
    insert(&next, 11, 20);
    wait_file(&archive.join(switch(&next)));
    for follower in [&torn_on_the_way, &torn_before] {
        wait_until("the new timeline is followed", LIMIT, || {
            let found = rows(follower);
            if found == "20|20" { Ok(()) } else { Err(format!("{found}: {}", follower.log())) }
        });
    }
}

#[test]
fn only_archive_mode_always_archives_on_a_standby_and_a_promotion_keeps_the_ended_segment_apart() {
    let node = primary(put);
    let own = node.folder().join("own");
    fs::create_dir(&own).expect("an archive");
    let always = backup_with(&node, "standby.signal", "stream");
    let on = Node::copy_of(&always);
    always.set("archive_mode", "always");
    // The ended timeline's last segment comes behind the history that says where it ended.
    let (history, early) = (own.join("00000002.history"), own.join("early"));
    let [h, e] = [&history, &early].map(|path| path.display().to_string());
    let put_in_order = format!("case %f in *.partial) test -f {h} || touch {e};; esac; {}", put(&own));
    always.set("archive_command", &put_in_order);
    for standby in [&always, &on] {
        standby.set("primary_conninfo", &node.conninfo());
        standby.set("restore_command", "");
        standby.start();
    }
    on.set("archive_command", "exit 9");
    on.sql("SELECT pg_reload_conf()");
    insert(&node, 1, 10);
    let ended = switch(&node);
    wait_file(&own.join(&ended));
    wait_until("the other marks it as the primary's", LIMIT, || {
        let done = marks(&on, ".done");
        if done.contains(&ended) { Ok(()) } else { Err(format!("{done:?}")) }
    });
    a_backup_waits_for_its_log(&node, &always, &own);
    insert(&node, 11, 20);
    [&always, &on].iter().for_each(|one| one.wait_replayed(&node.sql("SELECT pg_current_wal_lsn()")));
    let split = node.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    node.kill_9();
    run_ok(scenarios::plimsoll().arg("promote").arg("-D").arg(always.data()));
    wait_file(&own.join("00000002.history"));
    wait_file(&own.join(format!("{split}.partial")));
    assert!(!early.exists());
    assert_eq!(rows(&always), "20|20");
    assert!(!own.join(&split).exists(), "the ended timeline's last segment is not whole");
    let new = switch(&always);
    assert_eq!(new.get(8..), split.get(8..), "the new timeline goes on in the same place");
    wait_file(&own.join(&new));
    run_ok(scenarios::plimsoll().arg("promote").arg("-D").arg(on.data()));
    what_a_promotion_set_aside_goes_once_it_is_archived(&format!("{split}.partial"), &always, &on);
}

/// The archive of one of these two promoted nodes takes files, that of the other does not.
fn what_a_promotion_set_aside_goes_once_it_is_archived(partial: &str, takes: &Node, takes_none: &Node) {
    let path = |node: &Node| node.data().join("pg_wal").join(partial);
    for node in [takes, takes_none] {
        wait_primary(node);
        assert!(path(node).exists());
        for number in [101, 102] {
            insert(node, number, number);
            switch(node);
            node.sql("CHECKPOINT");
        }
    }
    assert!(!path(takes).exists());
    assert!(!marks(takes, ".done").iter().any(|name| name == partial), "{:?}", marks(takes, ".done"));
    assert!(path(takes_none).exists(), "it waits");
    takes_none.set("archive_mode", "off");
    takes_none.stop();
    takes_none.start();
    takes_none.sql("CHECKPOINT");
    assert!(!path(takes_none).exists(), "nobody archives it");
}

/// A backup of a standby that archives ends when the log that it needs is in the archive, which is so once
/// the primary has ended the segment.
fn a_backup_waits_for_its_log(node: &Node, standby: &Node, archive: &Path) {
    node.sql("CHECKPOINT");
    standby.wait_replayed(&node.sql("SELECT pg_current_wal_lsn()"));
    standby.sql("CHECKPOINT");
    let last = node.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    let copy = Node::unprepared();
    let mut tool = standby.tool("pg_basebackup");
    tool.arg("-D").arg(copy.data()).args(["-X", "none", "-c", "fast", "--no-sync"]);
    let mut backup = tool.spawn().expect("pg_basebackup");
    wait_file(&copy.data().join("backup_label"));
    assert!(!archive.join(&last).exists());
    let before = backup.try_wait().expect("its state");
    switch(node);
    assert!(backup.wait().expect("its end").success());
    assert!(archive.join(&last).exists() && before.is_none(), "it ended before: {before:?}");
}

#[test]
fn wrong_settings_are_named() {
    let node = primary(put);
    let back = backup(&node, "recovery.signal");
    node.stop();
    for (settings, message) in [
        (
            &[("recovery_target_xid", "5"), ("recovery_target_lsn", "0/5")][..],
            "multiple recovery targets specified",
        ),
        (&[("recovery_target", "later")], "invalid value for parameter \"recovery_target\""),
        (&[("recovery_target_time", "now")], "invalid value for parameter \"recovery_target_time\""),
        (&[("restore_command", "")], "must specify restore_command when standby mode is not enabled"),
        (
            &[("wal_level", "minimal"), ("archive_mode", "on")],
            "WAL archival cannot be enabled when wal_level is",
        ),
        (&[("restore_command", "no-such-program-here %f %p")], "command not found"),
    ] {
        let wrong = Node::copy_of(&back);
        settings.iter().for_each(|(name, value)| wrong.set(name, value));
        let outcome = wrong.try_start();
        assert_ne!(outcome.code, 0, "{settings:?}");
        assert!(wrong.log().contains(message), "{settings:?}: {}", wrong.log());
        assert!(wrong.data().join("backup_label").exists(), "nothing was touched");
    }
}
