//! Log from before the fork that only an archive has which takes no file twice.

use super::auto::{make_follow, wait_for_log};
use super::programs::link;
use super::{Pair, is_ok};
use scenarios::{Node, scratch_dir, wait_until};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// The names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<_> = entries.map(|name| name.into_string().expect("it is text")).collect();
    names.sort();
    names
}

/// A pair that has diverged over a checkpoint of the old primary, which was killed; all its whole segments
/// are in this archive, and those before the fork are there alone.
fn archived_pair(archive: &Path) -> (Pair, Vec<String>) {
    let command = format!("test ! -e {0}/%f && cp \"%p\" {0}/%f", archive.display());
    let settings = [("checkpoint_timeout", "1h"), ("archive_mode", "on"), ("archive_command", &command)];
    let pair = Pair::new(&settings);
    pair.one.sql("UPDATE kept SET v = repeat('common', 40)");
    pair.go_on_alone();
    pair.one.sql("CHECKPOINT");
    let ended = pair.one.sql("SELECT pg_walfile_name(pg_switch_wal())");
    // With its mark: one that is killed before that archives the file once more.
    wait_until("the log is archived", LIMIT, || {
        let last = pair.one.sql("SELECT last_archived_wal FROM pg_stat_archiver");
        if last == ended { Ok(()) } else { Err(last) }
    });
    pair.one.kill_9();
    pair.take_over();
    let gone: Vec<_> =
        pair.segments_before_the_fork().map(|number| format!("0000000100000000{number:08X}")).collect();
    for name in &gone {
        assert!(archive.join(name).exists(), "{name}");
        fs::remove_file(pair.one.data().join("pg_wal").join(name)).expect("a segment");
        fs::remove_file(pair.one.data().join(format!("pg_wal/archive_status/{name}.done")))
            .expect("its mark");
    }
    (pair, gone)
}

#[test]
fn a_dry_run_that_is_killed_leaves_a_primary_that_archives_on() {
    let archive = scratch_dir();
    let (pair, gone) = archived_pair(archive.path());
    let (folder, flag) = (archive.path().display(), archive.path().join("flag").display().to_string());
    let pg_wal = pair.one.data().join("pg_wal");
    let before = names(&pg_wal);
    // The second segment that it asks for ends it.
    let kill = format!("test -e {flag} && kill -9 $PPID; cp {folder}/%f \"%p\" && touch {flag}");
    pair.one.set("restore_command", &kill);
    let killed = pair.rewind(&pair.two.conninfo(), &["--dry-run", "-c"]);
    assert_ne!(killed.code, 0, "{killed:?}");
    assert!(Path::new(&flag).exists(), "{killed:?}");
    let mut after = names(&pg_wal);
    assert!(pg_wal.join("rewind").exists(), "it was killed at work: {after:?}");
    after.retain(|name| name != "rewind");
    assert_eq!(after, before);

    pair.two.stop();
    pair.one.start();
    assert!(!pg_wal.join("rewind").exists());
    pair.one.sql("INSERT INTO kept VALUES (-1, ''); CHECKPOINT");
    let ended = pair.one.sql("SELECT pg_walfile_name(pg_switch_wal())");
    wait_until("the log is archived", LIMIT, || {
        if archive.path().join(&ended).exists() { Ok(()) } else { Err(pair.one.log()) }
    });
    assert_eq!(pair.one.sql("SELECT failed_count FROM pg_stat_archiver"), "0", "{}", pair.one.log());

    pair.one.stop();
    pair.two.start();
    pair.one.set("restore_command", &format!("cp {folder}/%f \"%p\""));
    is_ok(&pair.rewind(&pair.two.conninfo(), &["-c"]));
    let marks = names(&pg_wal.join("archive_status"));
    for name in gone.iter().filter(|name| pg_wal.join(name).exists()) {
        assert!(marks.contains(&format!("{name}.done")), "{name}: {marks:?}");
    }
    assert!(!pg_wal.join("rewind").exists());
    pair.one_follows_two();
}

#[test]
fn neither_links_nor_leftovers_are_taken_for_segments() {
    let archive = scratch_dir();
    let (pair, gone) = archived_pair(archive.path());
    let pg_wal = pair.one.data().join("pg_wal");
    pair.one.set("restore_command", &format!("ln -s {}/%f \"%p\"", archive.path().display()));
    let linked = pair.rewind(&pair.two.conninfo(), &["--dry-run", "-c"]);
    assert_eq!(linked.code, 1, "{linked:?}");
    assert!(linked.stderr.contains("a link or a special file"), "{linked:?}");
    let first = fs::read(archive.path().join(&gone[0])).expect("the archive's file");
    pair.one.set("restore_command", "true");
    fs::create_dir(pg_wal.join("rewind")).expect("a folder");
    for name in ["RECOVERYXLOG", "rewind/fetched"] {
        fs::write(pg_wal.join(name), vec![0x55; 1 << 20]).expect("a leftover");
    }
    symlink(archive.path().join(&gone[0]), pg_wal.join("rewind").join(&gone[0])).expect("a link");
    // The command brings nothing, so the source is asked.
    is_ok(&pair.rewind(&pair.two.conninfo(), &["-c"]));
    assert_eq!(fs::read(archive.path().join(&gone[0])).expect("the archive's file"), first);
    pair.one_follows_two();
}

#[test]
fn a_command_that_is_told_what_may_go_from_the_archive_is_told_of_nothing() {
    let archive = scratch_dir();
    let (pair, gone) = archived_pair(archive.path());
    let (folder, asked) = (archive.path().display(), archive.path().join("asked"));
    let command = format!("echo %f %r >> {}; cp {folder}/%f \"%p\"", asked.display());
    pair.one.set("restore_command", &command);
    let by_link = link(&pair, &["--source-server", &pair.two.conninfo(), "-n", "-c"]);
    for refused in [pair.rewind(&pair.two.conninfo(), &["--dry-run", "-c"]), by_link] {
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.stderr.contains("cannot use restore_command with %r placeholder"), "{refused:?}");
    }
    assert!(!asked.exists(), "it was run");
    // A server that rewinds itself does with it: by what it is told nothing goes.
    make_follow(&pair.one, &pair.two, "on");
    pair.one.start();
    wait_for_log(&pair.one, "rewound to timeline 2: ", 1);
    let asked = fs::read_to_string(&asked).expect("it was run");
    let first = asked.lines().find(|line| line.starts_with(&gone[0]));
    let expected = format!("{} {}", gone[0], "0".repeat(24));
    assert_eq!(first, Some(expected.as_str()), "{asked}");
    pair.one.stop();
    pair.one_follows_two();
}

#[test]
fn a_start_that_is_refused_leaves_what_a_running_rewind_has_fetched() {
    let node = Node::builder().start();
    node.stop();
    let fetched = node.data().join("pg_wal/rewind/fetched");
    fs::create_dir(node.data().join("pg_wal/rewind")).expect("a folder");
    fs::write(&fetched, "log").expect("a file");
    // A rewind has the directory's lock as long as it runs.
    let path = node.data().join("plimsoll/lock");
    let lock = File::options().append(true).create(true).open(path).expect("the lock's file");
    lock.lock().expect("nobody has it");
    let refused = node.try_start();
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(node.log().contains("in use by another server"), "{}", node.log());
    assert!(fetched.exists());
    drop(lock);
    node.start();
    assert!(!fetched.exists());
}
