//! Recoveries from an archive in which something is bad, or not whole yet.

use super::{
    LIMIT, archive_of, archiving, ask_to_promote, backup_without_log, insert, restore_from, rows, switch,
    wait_log, wait_rows,
};
use scenarios::{Node, plimsoll, run, wait_until};
use std::fs;
use std::path::{Path, PathBuf};

/// A server that does not end its recovery at damage ends itself; the last record's place, as it says.
fn ends_at_damage(node: &Node) -> String {
    wait_log(node, "recovery cannot end here: WAL is damaged");
    wait_until("it has ended", LIMIT, || if node.pid().is_none() { Ok(()) } else { Err(node.log()) });
    let log = node.log();
    let last = log.split_once("recovery_target_lsn to '").and_then(|(_, rest)| rest.split('\'').next());
    last.unwrap_or_else(|| panic!("no place in {log}")).to_owned()
}

/// A copy that starts with a signal file of this name.
fn copy_with(base: &Node, signal: &str) -> Node {
    let copy = Node::copy_of(base);
    fs::write(copy.data().join(signal), "").expect("a signal file");
    copy
}

/// Flips a bit of a file while something runs.
fn while_flipped(file: &Path, at: usize, run: impl FnOnce()) {
    let good = fs::read(file).expect("a segment");
    let mut bad = good.clone();
    bad[at] ^= 16;
    fs::write(file, bad).expect("it is written");
    run();
    fs::write(file, good).expect("it is mended");
}

/// A recovery from an archive that is damaged. Who gives up what lies behind says so; gives the rows then.
fn recovers_to_the_damage(base: &Node, archive: &Path) -> u32 {
    let back = copy_with(base, "recovery.signal");
    let preview = || {
        let mut preview = plimsoll();
        preview.args(["restore", "--preview", "-D"]).arg(back.data());
        preview
    };
    for found in [run(&mut preview()), run(preview().arg("--wal").arg(archive))] {
        assert!(found.stdout.contains("recovery fails there: WAL is damaged"), "{found:?}");
    }
    back.start_without_waiting();
    let last = ends_at_damage(&back);
    back.set("recovery_target_lsn", &last);
    back.set("recovery_target_action", "promote");
    back.start();
    back.wait_for("SELECT pg_is_in_recovery()", "f");
    back.sql("SELECT count(*) FROM t").parse().expect("a number")
}

#[test]
fn a_recovery_ends_at_no_damage_in_the_archive() {
    let node = archiving();
    let archive = archive_of(&node);
    let base = backup_without_log(&node);
    restore_from(&base, &archive);
    let mut ended = Vec::new();
    for from in [1, 4001, 8001] {
        insert(&node, from, from + 3999);
        ended.push(archive.join(node.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")));
        switch(&node, &archive);
    }
    node.stop();
    let [.., middle, last] = &ended[..] else { panic!("{ended:?}") };
    // Of the last one only what is whole behind the damage says that it went on.
    for (file, damage) in [(middle, vec![100_000, 8, 0]), (last, vec![100_000, 8])] {
        let good = fs::read(file).expect("a segment");
        for at in damage {
            let mut bad = good.clone();
            if at == 0 {
                bad.fill(0)
            } else {
                bad[at] ^= 16
            }
            fs::write(file, bad).expect("it is written");
            let found = recovers_to_the_damage(&base, &archive);
            assert!((4000..12_000).contains(&found) && found.is_multiple_of(4000), "{found}");
            // Nor is a standby promoted that has its log from there.
            let standby = copy_with(&base, "standby.signal");
            standby.start();
            standby.wait_for("SELECT count(*) FROM t", &found.to_string());
            ask_to_promote(&standby);
            ends_at_damage(&standby);
            fs::write(file, &good).expect("it is mended");
            standby.start();
            wait_rows(&standby, "12000|12000");
        }
    }
}

/// 100 rows, a record of four segments, and 100 rows more, all in the archive; the files of the record, and
/// where it begins in the first of them.
fn record_over_segments(node: &Node, archive: &Path) -> (Vec<PathBuf>, usize) {
    insert(node, 1, 100);
    let here = || archive.join(node.sql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())"));
    let first = here();
    let begin = node.sql("SELECT pg_current_wal_insert_lsn() - '0/0'").parse::<usize>().expect("a number");
    assert_ne!(begin % 8192, 0, "a page's header would come first");
    node.sql("SELECT pg_logical_emit_message(false, 'x', repeat('x', 3200000))");
    let last = here();
    insert(node, 101, 200);
    switch(node, archive);
    let entries = fs::read_dir(archive).expect("an archive").map(|entry| entry.expect("a file").path());
    let mut files: Vec<_> = entries.filter(|path| (&first..=&last).contains(&path)).collect();
    files.sort_unstable();
    assert_eq!(files.len(), 4, "{files:?}");
    (files, begin % (1 << 20))
}

#[test]
fn a_recovery_ends_at_no_damage_in_a_record_that_fills_segments_of_the_archive() {
    let node = archiving();
    let archive = archive_of(&node);
    let base = backup_without_log(&node);
    restore_from(&base, &archive);
    let (files, begin) = record_over_segments(&node, &archive);
    node.stop();
    // Its link to the record before is there, too, and its length would be right.
    for (file, at) in
        [(&files[0], (1 << 20) - 40), (&files[0], begin + 8), (&files[1], 300_000), (&files[3], 40)]
    {
        while_flipped(file, at, || {
            assert_eq!(recovers_to_the_damage(&base, &archive), 100, "{}", file.display());
        });
    }
    // What was fetched proves it also where the archive does not answer any more.
    let bad = vec![0; 1 << 20];
    fs::write(&files[2], bad).expect("it is written");
    let back = copy_with(&base, "recovery.signal");
    back.start_without_waiting();
    ends_at_damage(&back);
    back.set("restore_command", "false");
    let told = back.log().len();
    back.start_without_waiting();
    wait_until("it says so again", LIMIT, || {
        let log = back.log();
        if log[told..].contains("recovery cannot end here") { Ok(()) } else { Err(log) }
    });
}

#[test]
fn a_recovery_goes_on_with_a_segment_that_the_archive_had_not_whole_when_it_was_fetched() {
    let node = archiving();
    let archive = archive_of(&node);
    let base = backup_without_log(&node);
    let (files, _) = record_over_segments(&node, &archive);
    node.stop();
    let late = node.folder().join("late");
    fs::create_dir(&late).expect("a folder");
    for file in &files {
        fs::rename(file, late.join(file.file_name().expect("a name"))).expect("it is moved");
    }
    let mut begun = fs::read(late.join(files[0].file_name().expect("a name"))).expect("a segment");
    begun[(1 << 20) - 8192..].fill(0);
    fs::write(files[0].with_extension("partial"), begun).expect("it is written");
    let (archive, late) = (archive.display(), late.display());
    base.set(
        "restore_command",
        &format!("cp {archive}/%f \"%p\" || {{ cp {archive}/%f.partial \"%p\" && mv {late}/* {archive}/; }}"),
    );
    base.set("archive_mode", "off");
    fs::write(base.data().join("recovery.signal"), "").expect("a signal file");
    base.start();
    base.wait_for("SELECT pg_is_in_recovery()", "f");
    assert_eq!(rows(&base), "200|200");
}

/// 100 rows, a record that goes on in another segment, where the next timeline begins, and 100 rows there:
/// the files of both, and that of the new timeline's history.
fn record_over_a_fork(node: &Node, archive: &Path) -> [PathBuf; 3] {
    insert(node, 1, 100);
    node.sql("SELECT pg_logical_emit_message(false, 'x', repeat('x', 1100000))");
    insert(node, 101, 150);
    let old = node.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    let number = u64::from_str_radix(&old[16..], 16).expect("a number");
    let name = format!("{}{:08X}", &old[..16], number - 1);
    // That it is in the archive is on record, too: it is not archived again.
    node.wait_for(&format!("SELECT last_archived_wal >= '{name}' FROM pg_stat_archiver"), "t");
    let before = archive.join(name);
    node.kill_9();
    fs::write(node.data().join("standby.signal"), "").expect("a signal file");
    node.start();
    node.sql("SELECT pg_promote()");
    insert(node, 151, 250);
    let new = node.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    assert_eq!(old[8..], new[8..], "the fork is within a segment");
    switch(node, archive);
    [before, archive.join(new), archive.join("00000002.history")]
}

/// Recovers and says that it cannot end as it does.
fn refuses(base: &Node, settings: &[(&str, &str)], why: &str) {
    let back = copy_with(base, "recovery.signal");
    settings.iter().for_each(|(name, value)| back.set(name, value));
    back.start_without_waiting();
    wait_log(&back, why);
    wait_until("it has ended", LIMIT, || if back.pid().is_none() { Ok(()) } else { Err(back.log()) });
}

/// Recovers to the end; the rows, and the new timeline.
fn recovers(back: &Node) -> String {
    back.start();
    back.wait_for("SELECT pg_is_in_recovery()", "f");
    format!("{} on {}", rows(back), back.sql("SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)"))
}

#[test]
fn a_recovery_ends_at_no_damage_where_timelines_part() {
    let node = archiving();
    let archive = archive_of(&node);
    let base = backup_without_log(&node);
    restore_from(&base, &archive);
    let [before, fork, history] = record_over_a_fork(&node, &archive);
    node.stop();
    for (file, at) in [(&before, (1 << 20) - 40), (&fork, 2), (&fork, 44)] {
        let ends = |signal| {
            let back = copy_with(&base, signal);
            back.start_without_waiting();
            if signal == "standby.signal" {
                back.wait_for("SELECT max(n) FROM t", "100");
                ask_to_promote(&back);
            }
            ends_at_damage(&back);
        };
        while_flipped(file, at, || ["recovery.signal", "standby.signal"].into_iter().for_each(ends));
    }
    // Nor does it end before the fork that it is to come to.
    let gone = before.with_extension("gone");
    fs::rename(&before, &gone).expect("it goes");
    refuses(&base, &[], "by the history of timeline 2; put what is missing of it into the archive");
    fs::rename(&gone, &before).expect("it is back");
    // A history that is not whole says nothing of the way, and that its number is taken.
    let good = fs::read(&history).expect("a history");
    for length in [0, good.len() - 1] {
        fs::write(&history, &good[..length]).expect("it is written");
        refuses(&base, &[], "\"00000002.history\" is not whole");
        let back = copy_with(&base, "recovery.signal");
        back.set("recovery_target_timeline", "1");
        assert_eq!(recovers(&back), "100|100 on 00000003");
    }
    fs::write(&history, &good).expect("it is mended");
    // It is found when the recovery would be over.
    let (folder, archive) = (node.folder().display(), archive.display());
    let asks = format!(
        "case %f in *.history) test -e {folder}/asked || {{ touch {folder}/asked; exit 1; }};; esac; \
         cp {archive}/%f \"%p\""
    );
    refuses(&base, &[("restore_command", &asks)], "by the history of timeline 2, which was found only now");
    let back = copy_with(&base, "recovery.signal");
    assert_eq!(recovers(&back), "250|250 on 00000003");
}

#[test]
fn a_recovery_ends_with_the_log_of_a_killed_primary_though_segments_were_made_ahead() {
    let node = archiving();
    let archive = archive_of(&node);
    let base = backup_without_log(&node);
    for from in [1, 101, 201, 301] {
        insert(&node, from, from + 99);
        switch(&node, &archive);
        node.sql("CHECKPOINT");
    }
    insert(&node, 401, 500);
    let last = node.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    node.kill_9();
    let pg_wal = node.data().join("pg_wal");
    let behind = |name: &str| name.len() == 24 && name > last.as_str();
    let mut names = fs::read_dir(&pg_wal).expect("pg_wal").map(|entry| entry.expect("a file").file_name());
    assert!(names.any(|name| name.to_str().is_some_and(behind)), "no segment was made ahead");
    let (archive, pg_wal) = (archive.display(), pg_wal.display());
    base.set("restore_command", &format!("cp {archive}/%f \"%p\" || cp {pg_wal}/%f \"%p\""));
    base.set("archive_mode", "off");
    fs::write(base.data().join("recovery.signal"), "").expect("a signal file");
    base.start();
    base.wait_for("SELECT pg_is_in_recovery()", "f");
    assert_eq!(rows(&base), "500|500");
}
