//! `plimsoll waldump` with its filters, and `plimsoll restore --preview`.

use scenarios::{Node, PostgreSql, pg_tool, plimsoll, run, run_ok, wait_until};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

fn waldump(node: &Node, arguments: &[&str]) -> Command {
    let mut command = plimsoll();
    command.arg("waldump").arg("--path").arg(node.data().join("pg_wal")).args(arguments);
    command
}

#[test]
fn waldump_filters_by_table_and_time_and_counts() {
    let node = Node::builder().start();
    node.sql("CREATE TABLE a (i int PRIMARY KEY)");
    node.sql("CREATE TABLE b (i int PRIMARY KEY)");
    let start = node.sql("SELECT pg_current_wal_lsn()");
    node.sql("INSERT INTO a VALUES (1), (2)");
    node.sql("INSERT INTO b VALUES (3)");
    let time = node.sql("SET TimeZone = 'UTC'; SELECT clock_timestamp()");
    node.sql("INSERT INTO b VALUES (4)");
    let end = node.sql("SELECT pg_current_wal_lsn()");
    let range = ["--start", &start, "--end", &end];
    let inserts = |more: &[&str]| run_ok(waldump(&node, &range).args(more)).matches("INSERT").count();
    assert_eq!(inserts(&[]), 4);
    let file = node.sql("SELECT pg_relation_filenode('a')");
    assert_eq!(inserts(&["--table", &file]), 2);
    assert_eq!(inserts(&["--table", &format!("5/{file}")]), 2);
    assert_eq!(inserts(&["--table", &format!("4/{file}")]), 0);
    assert_eq!(inserts(&["--until", &time]), 3);
    assert_eq!(inserts(&["--since", &time]), 1);
    // The server that runs on the directory is found by itself.
    let asked = run_ok(waldump(&node, &range).args(["--table", "a"]).env("PGUSER", "postgres"));
    assert_eq!(asked.matches("INSERT").count(), 2);
    let counted = run_ok(waldump(&node, &range).arg("--stats"));
    let commits = counted.lines().find(|line| line.starts_with("Transaction")).expect("a line a manager");
    assert_eq!(commits.split_whitespace().nth(1), Some("3"), "{counted}");
    let counted = run_ok(waldump(&node, &range).arg("--stats=record"));
    assert!(counted.lines().any(|line| line.starts_with("Plimsoll/INSERT")), "{counted}");
    // By name, from the server that is named.
    let conninfo = node.conninfo();
    let by_name = |table| ["--table", table, "--dbname", &conninfo];
    assert_eq!(inserts(&by_name("a")), 2);
    assert_eq!(inserts(&by_name("public.b")), 2);
    let unknown = run(waldump(&node, &range).args(by_name("it's_not_there")));
    assert!(unknown.code == 1 && unknown.stderr.contains("does not exist"), "{unknown:?}");
    for wrong in [["--table", "5/t"], ["--since", "soon"]] {
        let refused = run(waldump(&node, &range).args(wrong));
        assert!(refused.code == 1 && refused.stderr.contains(wrong[1]), "{refused:?}");
    }
}

#[test]
fn waldump_follows_a_server_that_runs() {
    let node = Node::builder().start();
    node.sql("CREATE TABLE t (i int PRIMARY KEY)");
    let start = node.sql("SELECT pg_current_wal_lsn()");
    let mut child = waldump(&node, &["--follow", "--rmgr", "Transaction", "--limit", "3", "--start", &start])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    for row in 1..=3 {
        node.sql(&format!("INSERT INTO t VALUES ({row})"));
    }
    // It ends by itself at the third commit, which it can only have seen by following.
    let printed: Vec<String> = lines.map(|line| line.expect("text")).collect();
    assert!(child.wait().expect("it ends").success());
    assert_eq!(printed.iter().filter(|line| line.contains("COMMIT")).count(), 3, "{printed:?}");
}

#[test]
fn a_preview_says_what_a_target_brings_back_and_what_the_restore_then_does() {
    let node = Node::builder().start();
    let archive = node.folder().join("archive");
    std::fs::create_dir(&archive).expect("a folder");
    node.set("archive_mode", "on");
    node.set("archive_command", &format!("cp %p {}/%f", archive.display()));
    node.stop();
    node.start();
    node.sql("CREATE TABLE t (i int PRIMARY KEY)");
    let backup = Node::unprepared();
    run_ok(node.tool("pg_basebackup").args(["-c", "fast", "-D"]).arg(backup.data()));
    for row in 1..=5 {
        node.sql(&format!("INSERT INTO t VALUES ({row})"));
    }
    node.sql("SELECT pg_create_restore_point('here')");
    for row in 6..=8 {
        node.sql(&format!("INSERT INTO t VALUES ({row})"));
    }
    let last = node.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    node.sql("SELECT pg_switch_wal()");
    wait_until("the segment is archived", Duration::from_secs(30), || {
        if archive.join(&last).exists() { Ok(()) } else { Err(last.clone()) }
    });
    let fetch = format!("cp {}/%f %p", archive.display());
    let preview = |more: &[&str]| {
        let of = |source: &[&str]| {
            let mut command = plimsoll();
            command.args(["restore", "--preview", "-D"]).arg(backup.data()).args(source).args(more);
            run_ok(&mut command)
        };
        let from_folder = of(&["--wal", archive.to_str().expect("text")]);
        assert_eq!(of(&["--restore-command", &fetch]), from_folder);
        from_folder
    };
    let named = preview(&["--target-name", "here"]);
    assert!(named.contains("brings back 5 commits") && named.contains("loses 3 commits"), "{named}");
    let all = preview(&[]);
    assert!(all.contains("brings back 8 commits") && all.contains("loses 0 commits"), "{all}");
    // Without an archive the log ends in the backup; one whose files are no segments is an error.
    let bare = |command: &str| {
        run(plimsoll().args(["restore", "--preview", "--restore-command", command, "-D"]).arg(backup.data()))
    };
    assert!(bare("false").stdout.contains("brings back 0 commits"), "{:?}", bare("false"));
    let broken = bare("case %f in *.history) false ;; *) echo no segment > %p ;; esac");
    assert!(broken.code == 1 && broken.stderr.contains("has wrong size: 11 instead of"), "{broken:?}");
    let endless = bare("touch %p");
    assert!(endless.code == 1 && endless.stderr.contains("00000002.history\" makes no sense"), "{endless:?}");
    let unknown = preview(&["--target-name", "there"]);
    assert!(unknown.contains("before the target"), "{unknown}");
    // Nothing was changed by looking, and the restore does what was said.
    backup.set("restore_command", &fetch);
    assert_eq!(preview(&["--target-name", "here"]), named);
    let by_setting =
        run_ok(plimsoll().args(["restore", "--preview", "--target-name", "here", "-D"]).arg(backup.data()));
    assert_eq!(by_setting, named, "restore_command of the directory is asked");
    backup.set("recovery_target_name", "here");
    backup.set("recovery_target_action", "promote");
    backup.set("archive_mode", "off");
    std::fs::write(backup.data().join("recovery.signal"), "").expect("a file");
    backup.start();
    wait_until("it is promoted", Duration::from_secs(30), || {
        let state = backup.try_sql("SELECT pg_is_in_recovery()").stdout;
        if state.trim() == "f" { Ok(()) } else { Err(state) }
    });
    assert_eq!(backup.sql("SELECT count(*) FROM t"), "5");
    let without = run(plimsoll().args(["restore", "-D"]).arg(backup.data()));
    assert!(without.code == 1 && without.stderr.contains("--preview"), "{without:?}");
}

/// What pg_basebackup's files say of where the backup began.
fn start_of(backup: &Node) -> String {
    let label = std::fs::read_to_string(backup.data().join("backup_label")).expect("backup_label");
    let line = label.lines().next().expect("a line");
    line.split_whitespace().nth(3).expect("START WAL LOCATION: lsn").to_owned()
}

#[test]
fn a_preview_knows_which_targets_are_too_early_and_reads_a_time_as_recovery_does() {
    let node = Node::builder().start();
    node.sql("CREATE TABLE t (i int PRIMARY KEY)");
    let backup = Node::unprepared();
    run_ok(node.tool("pg_basebackup").args(["-c", "fast", "-X", "none", "-D"]).arg(backup.data()));
    node.sql("INSERT INTO t VALUES (1)");
    let moment = node
        .sql("SELECT to_char(clock_timestamp() AT TIME ZONE 'America/New_York', 'DD/MM/YYYY HH24:MI:SS.US')");
    node.sql("INSERT INTO t VALUES (2)");
    let fetch = format!("cp {}/%f %p", node.data().join("pg_wal").display());
    backup.set("restore_command", &fetch);
    backup.set("timezone", "America/New_York");
    backup.set("datestyle", "ISO, DMY");
    backup.set("recovery_target_action", "shutdown");
    let preview =
        |more: &[&str]| run(plimsoll().args(["restore", "--preview", "-D"]).arg(backup.data()).args(more));
    let recover = |name: &str, value: &str| {
        let copy = Node::unprepared();
        run_ok(std::process::Command::new("cp").arg("-a").arg(backup.data()).arg(copy.data()));
        std::fs::write(copy.data().join("recovery.signal"), "").expect("a file");
        copy.set(name, value);
        let outcome = copy.try_start();
        wait_until("recovery ends", Duration::from_secs(30), || {
            if copy.pid().is_none() { Ok(()) } else { Err(String::new()) }
        });
        format!("{}{}", outcome.stderr, copy.log())
    };

    let start = start_of(&backup);
    let early = preview(&["--target-lsn", &start]).stdout;
    assert!(
        early.contains("cannot be reached") && early.contains("before the data is consistent"),
        "{early}"
    );
    let early = recover("recovery_target_lsn", &start);
    assert!(early.contains("requested recovery stop point is before consistent recovery point"), "{early}");

    let timed = preview(&["--target-time", &moment]);
    assert!(
        timed.stdout.contains("brings back 1 commits") && timed.stdout.contains("loses 1 commits"),
        "{timed:?}"
    );
    let stop = timed.stdout.split("recovery stops at ").nth(1).and_then(|rest| rest.split(' ').next());
    let log = recover("recovery_target_time", &moment);
    assert!(log.contains("recovery stopping before commit"), "{log}");
    assert!(stop.is_some(), "{timed:?}");
    let nonsense = preview(&["--target-time", "now"]);
    assert!(nonsense.code == 1 && nonsense.stderr.contains("recovery_target_time"), "{nonsense:?}");
}

#[test]
fn compressed_images_are_what_wal_compression_says_and_pg_waldump_reads_them() {
    for (method, segment_mb) in [("lz4", 1), ("zstd", 64)] {
        let node = Node::builder()
            .init_option(&format!("--wal-segsize={segment_mb}"))
            .setting("wal_compression", method)
            .start();
        assert_eq!(node.sql("SHOW wal_segment_size"), format!("{segment_mb}MB"));
        node.sql("CREATE TABLE t (i int PRIMARY KEY, note text)");
        node.sql("INSERT INTO t SELECT g, repeat('note ', 20) FROM generate_series(1, 2000) g");
        node.sql("CHECKPOINT");
        let start = node.sql("SELECT pg_current_wal_lsn()");
        node.sql("UPDATE t SET note = 'changed' WHERE i % 50 = 0");
        let end = node.sql("SELECT pg_current_wal_flush_lsn()");
        let mut dump = pg_tool("pg_waldump");
        dump.arg("-p").arg(node.data().join("pg_wal")).args(["-b", "-s", &start, "-e", &end]);
        let printed = run_ok(&mut dump);
        assert!(printed.contains(&format!("method: {method}")), "{printed}");
        node.kill_9();
        node.start();
        assert_eq!(node.sql("SELECT count(*) FROM t WHERE note = 'changed'"), "40");
    }
}

/// Has a stopped node follow nobody, promotes it, and lets it write a row a segment. It is stopped again.
fn write_alone(node: &Node, rows: std::ops::Range<u32>) {
    std::fs::write(node.data().join("standby.signal"), "").expect("a signal file");
    node.start();
    node.sql("SELECT pg_promote()");
    for row in rows {
        node.sql(&format!("INSERT INTO t VALUES ({row})"));
        node.sql("SELECT pg_switch_wal()");
    }
    node.stop();
}

/// A folder with a node's log of some timelines, as an archive has it.
fn archive_of(node: &Node, name: &str, timelines: &[&str]) -> PathBuf {
    let folder = node.folder().join(name);
    std::fs::create_dir(&folder).expect("a folder");
    for file in std::fs::read_dir(node.data().join("pg_wal")).expect("pg_wal") {
        let file = file.expect("a file");
        let name = file.file_name().into_string().expect("text");
        if timelines.iter().any(|timeline| name.starts_with(timeline)) {
            std::fs::copy(file.path(), folder.join(name)).expect("it is copied");
        }
    }
    folder
}

#[test]
fn a_preview_does_not_take_a_twins_log_for_that_which_is_followed() {
    let base = Node::builder().init_option("--wal-segsize=1").setting("wal_keep_size", "64MB").start();
    base.sql("CREATE TABLE t (i int PRIMARY KEY)");
    base.stop();
    // One is promoted twice, and another, which hears nothing of that, once.
    let (ours, twin) = (Node::copy_of(&base), Node::copy_of(&base));
    write_alone(&twin, 100..110);
    write_alone(&ours, 0..3);
    write_alone(&ours, 3..5);
    let of_twin = archive_of(&twin, "of_twin", &["00000002"]);
    let newest = archive_of(&ours, "newest", &["00000003"]);
    let both = archive_of(&ours, "both", &["00000002", "00000003"]);
    let preview = |node: &Node, folders: &[&PathBuf]| {
        let mut command = plimsoll();
        command.args(["restore", "--preview", "-D"]).arg(node.data());
        command.args(folders.iter().flat_map(|folder| [Path::new("--wal"), folder]));
        run(&mut command)
    };
    let left_out = format!("segments of timeline 2 in {} are of another branch", of_twin.display());
    let gap = preview(&base, &[&of_twin, &newest]);
    assert!(gap.code == 1 && gap.stderr.contains(&left_out), "{gap:?}");
    assert!(gap.stderr.contains("requested WAL segment 00000002"), "the twin's is none: {gap:?}");
    for folders in [[&of_twin, &both], [&both, &of_twin]] {
        let whole = preview(&base, &folders);
        assert!(whole.stdout.contains("brings back 5 commits"), "{folders:?}: {whole:?}");
    }
    // A directory's own timeline is its own, whatever an archive has of that number.
    let crashed = Node::copy_of(&base);
    std::fs::write(crashed.data().join("standby.signal"), "").expect("a signal file");
    crashed.start();
    crashed.sql("SELECT pg_promote()");
    crashed.sql("CHECKPOINT");
    crashed.sql("INSERT INTO t VALUES (1), (2)");
    crashed.kill_9();
    let get = format!("cp {}/%f %p", of_twin.display());
    crashed.set("restore_command", &get);
    for folders in [vec![], vec![&of_twin]] {
        let own = preview(&crashed, &folders);
        assert!(own.stdout.contains("follow timeline 2\nbrings back 1 commits"), "{folders:?}: {own:?}");
    }
    // By a command, as recovery does.
    let all = archive_of(&twin, "all", &["00000002"]);
    for file in std::fs::read_dir(&newest).expect("a folder") {
        let file = file.expect("a file");
        std::fs::copy(file.path(), all.join(file.file_name())).expect("it is copied");
    }
    base.set("restore_command", &format!("cp {}/%f %p", all.display()));
    let asked = preview(&base, &[]);
    assert!(asked.stdout.contains("follow timeline 3\nbrings back 0 commits"), "{asked:?}");
    assert!(
        asked.stderr.contains("segments of timeline 2 in the archive are of another branch"),
        "{asked:?}"
    );
    // All that is lost then is known by the history.
    assert!(asked.stdout.contains("-- recovery fails there: the log ends at "), "{asked:?}");
    std::fs::write(base.data().join("recovery.signal"), "").expect("a file");
    base.start_without_waiting();
    wait_until("it refuses to end there", Duration::from_secs(30), || {
        let told = base.log().contains("recovery cannot end here: the log ends at ");
        if told && base.pid().is_none() { Ok(()) } else { Err(base.log()) }
    });
    let said = "the segments of timeline 2 in the archive are of another branch";
    assert_eq!(base.log().matches(said).count(), 1, "{}", base.log());
}

/// Where a timeline's history file says that it left the one before.
fn fork_of(pg_wal: &Path, timeline: u32) -> String {
    let text =
        std::fs::read_to_string(pg_wal.join(format!("{timeline:08X}.history"))).expect("a history file");
    let last = text.lines().rfind(|line| line.starts_with(|first: char| first.is_ascii_digit()));
    last.expect("an entry").split('\t').nth(1).expect("a position").to_owned()
}

#[test]
fn timelines_of_directories_archives_and_servers_make_one_tree() {
    let archive = tempfile::tempdir().expect("a folder");
    let copy = format!("cp %p {}/%f", archive.path().display());
    let settings = [("archive_mode", "on"), ("archive_command", copy.as_str())];
    let builder = settings.iter().fold(Node::builder(), |node, (name, value)| node.setting(name, value));
    let primary = builder.start();
    primary.sql("CREATE TABLE t (i int PRIMARY KEY)");
    // Two that do not see each other take the same number: neither can tell the other which it has taken.
    let [kept, lost] = ["off", "off"].map(|mode| {
        let nowhere = ("plimsoll.advertised_address", "host=127.0.0.1 port=1");
        Node::builder().setting("archive_mode", mode).setting(nowhere.0, nowhere.1).clone_from(&primary)
    });
    for node in [&kept, &lost] {
        assert_eq!(node.sql("SELECT pg_promote()"), "t");
    }
    let forks = [&kept, &lost].map(|node| fork_of(&node.data().join("pg_wal"), 2));
    std::fs::copy(kept.data().join("pg_wal/00000002.history"), archive.path().join("00000002.history"))
        .expect("a history in the archive");
    primary.sql("SELECT pg_switch_wal()");
    let segment = archive.path().join("000000010000000000000001");
    wait_until("a segment is archived", Duration::from_secs(60), || match segment.exists() {
        true => Ok(()),
        false => Err("not yet".to_owned()),
    });
    let timelines = || {
        let mut command = plimsoll();
        command.arg("timelines");
        command
    };
    let data = |node: &Node| node.data().display().to_string();
    let told = run_ok(
        timelines()
            .args(["-D", &data(&primary), "--dbname", &kept.conninfo(), "-D", &data(&lost), "--wal"])
            .arg(archive.path()),
    );
    let lines: Vec<_> = told.lines().collect();
    let [root, twins @ ..] = lines.as_slice() else { panic!("{told}") };
    assert!(root.starts_with("timeline 1  <- log from 0/1000000 to "), "{told}");
    assert!(root.ends_with(&format!("  <- directory \"{}\"", data(&primary))), "{told}");
    assert_eq!(twins.len(), 2, "{told}");
    let notes = [
        format!("  <- server {}:", kept.socket().parent().expect("a folder").display()),
        format!("  <- directory \"{}\"", data(&lost)),
    ];
    for (fork, note) in forks.iter().zip(notes) {
        let told_of = twins.iter().filter(|line| {
            line.contains(&format!(" left timeline 1 at {fork} on 20"))
                && line.contains(&note)
                && line.contains("(branch ")
        });
        assert_eq!(told_of.count(), 1, "{fork}{note} in {told}");
    }
    // What cannot be asked is said, and the rest is shown.
    std::fs::write(archive.path().join("00000003.history"), "1\t0/zero\n").expect("a broken history");
    let part = run(timelines().args(["-d", "host=/nowhere", "-D", "nothing", "--wal"]).arg(archive.path()));
    assert_eq!((part.code, part.stdout.lines().count()), (1, 2), "{part:?}");
    for words in ["00000003.history", "/nowhere", "nothing/global/pg_control"] {
        assert!(part.stderr.contains(words), "{words} in {part:?}");
    }
}

#[test]
fn timelines_of_a_postgresql_server_are_told_with_their_times() {
    let primary = PostgreSql::start(&[]);
    let standby = PostgreSql::standby_of(&primary, &[]);
    run_ok(pg_tool("psql").args(["-XAtd", &standby.conninfo(), "-c", "SELECT pg_promote()"]));
    let mut timelines = plimsoll();
    let told = run_ok(timelines.args(["timelines", "-d", &standby.conninfo()]));
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(lines.first(), Some(&"timeline 1"), "{told}");
    let [_, line] = lines.as_slice() else { panic!("{told}") };
    assert!(line.starts_with("└── timeline 2 left timeline 1 at 0/"), "{told}");
    assert!(line.contains(" UTC: no recovery target specified  <- server /"), "{told}");
}
