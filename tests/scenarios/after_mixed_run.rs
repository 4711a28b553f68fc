//! PostgreSQL's own tools on the directory that a long mixed run left behind, with segments of 1, 16 and 64
//! MB.

use scenarios::{Node, Outcome, pg_tool, plimsoll, run, run_ok, wait_until};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const UPSERT: &str = "\\set k random(1, 2000)\n\
    INSERT INTO kv VALUES (:k, 1, repeat('v', 40)) ON CONFLICT (k) DO UPDATE SET v = kv.v + 1;\n";

/// Savepoints kept and given up, a large value, and rows moved by an index.
const MIXED: &str = "BEGIN; INSERT INTO notes (kind, body) VALUES (1, repeat('n', 300)); SAVEPOINT a;\
    UPDATE kv SET v = v + 1 WHERE k BETWEEN 10 AND 60; ROLLBACK TO a; SAVEPOINT b;\
    INSERT INTO notes (kind, body) SELECT g, repeat(md5(g::text), 2000) FROM generate_series(1, 4) g; RELEASE b;\
    DELETE FROM notes WHERE kind = 3; COMMIT;\
    INSERT INTO notes (kind, body) SELECT 7, repeat('early ', 20) FROM generate_series(1, 1500);\
    DELETE FROM notes WHERE kind = 7 AND id % 2 = 0";

fn rounds() -> u32 {
    let long = std::env::var("PLIMSOLL_LONG_TESTS").is_ok_and(|value| value == "1");
    if long { 20 } else { 2 }
}

/// A server with an archive, and what the run knows of it.
struct Mixed {
    node: Node,
    archive: PathBuf,
}

impl Mixed {
    fn new(segment_mb: u32) -> Self {
        let node = Node::builder()
            .init_option(&format!("--wal-segsize={segment_mb}"))
            .setting("max_wal_size", &format!("{}MB", segment_mb * 4))
            .setting("min_wal_size", &format!("{}MB", segment_mb * 2))
            .setting("wal_keep_size", &format!("{}MB", segment_mb * 4))
            .setting("plimsoll.write_set_limit", "64kB")
            .setting("wal_compression", "lz4")
            .init();
        let archive = node.folder().join("archive");
        fs::create_dir(&archive).expect("a folder");
        node.set("archive_mode", "on");
        node.set("archive_command", &format!("cp %p {}/%f", archive.display()));
        node.start();
        node.sql(
            "CREATE TABLE kv (k int PRIMARY KEY, v bigint, filler text);\
             CREATE TABLE notes (id bigserial PRIMARY KEY, kind int, body text);\
             CREATE INDEX notes_kind ON notes (kind)",
        );
        fs::write(node.folder().join("upsert.sql"), UPSERT).expect("a script");
        Self { node, archive }
    }

    fn pgbench(&self, more: &[&str]) -> Command {
        let mut command = self.node.tool("pgbench");
        command.args(["-n", "-M", "prepared", "-j", "1", "-c", "4"]).args(more);
        command.arg("-f").arg(self.node.folder().join("upsert.sql"));
        command
    }

    /// One round: pgbench, COPY, savepoints, large values, DDL, checkpoints, a switch, a kill in the middle
    /// of a load, a restart.
    fn round(&self, number: u32) {
        let node = &self.node;
        run_ok(&mut self.pgbench(&["-t", "300"]));
        let lines: String = (0..500).map(|row| format!("{number}\t{row}\t{}\n", "c".repeat(100))).collect();
        let copied = node.folder().join("copied");
        fs::write(&copied, lines).expect("a file");
        node.sql(&format!(
            "CREATE TABLE made_{number} (round int, row int, filler text, PRIMARY KEY (round, row))"
        ));
        run_ok(node.psql().args(["-c", &format!("\\copy made_{number} FROM '{}'", copied.display())]));
        node.sql(MIXED);
        node.sql("CHECKPOINT");
        node.sql(&format!("CREATE INDEX made_{number}_row ON made_{number} (row)"));
        node.sql(MIXED);
        if number % 2 == 1 {
            node.sql(&format!("TRUNCATE made_{number}; DROP TABLE made_{}", number - 1));
        }
        node.sql("SELECT pg_switch_wal()");
        self.kill_under_load();
    }

    fn kill_under_load(&self) {
        let node = &self.node;
        let mut load = self.pgbench(&["-T", "600"]);
        load.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut load = load.spawn().expect("pgbench starts");
        let sum = || node.sql("SELECT sum(v) FROM kv").parse::<i64>().expect("a number");
        let before = sum();
        wait_until("the load is under way", Duration::from_secs(60), || {
            let done = sum() - before;
            if done > 200 { Ok(()) } else { Err(format!("{done} upserts")) }
        });
        node.kill_9();
        let _ = load.kill();
        let _ = load.wait();
        node.start();
    }

    /// All rows, in sum.
    fn contents(&self) -> String {
        self.node.sql(
            "SELECT (SELECT count(*) || ' ' || sum(v) FROM kv), \
             (SELECT count(*) || ' ' || sum(length(body)) || ' ' || sum(kind) FROM notes)",
        )
    }

    fn wal(&self) -> PathBuf {
        self.node.data().join("pg_wal")
    }
}

/// The segments of a folder, oldest first.
fn segments(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> = names
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.len() == 24)
        .collect();
    names.sort();
    names
}

/// A field that pg_controldata prints.
fn control(node: &Node, name: &str) -> String {
    let printed = run_ok(pg_tool("pg_controldata").arg(node.data()));
    let line = printed.lines().find(|line| line.starts_with(&format!("{name}:")));
    line.and_then(|line| line.split_once(':'))
        .unwrap_or_else(|| panic!("{name} in {printed}"))
        .1
        .trim()
        .to_owned()
}

/// pg_resetwal, which refuses to run as root: then the directory is lent to the user postgres for the time.
fn pg_resetwal(node: &Node, arguments: &[&str]) -> Outcome {
    let program = pg_tool("pg_resetwal").get_program().to_owned();
    let is_root = nix::unistd::geteuid().is_root();
    let give_to = |user: &str| drop(run_ok(Command::new("chown").args(["-R", user]).arg(node.folder())));
    let mut command = Command::new(if is_root { "runuser".into() } else { program.clone() });
    if is_root {
        give_to("postgres");
        command.args(["-u", "postgres", "--"]).arg(program);
    }
    let outcome = run(command.env("LC_ALL", "C").args(arguments).arg("-D").arg(node.data()));
    if is_root {
        give_to("root");
    }
    outcome
}

fn pg_waldump_reads_it_all_and_counts_what_plimsoll_counts(mixed: &Mixed) {
    let (wal, names) = (mixed.wal(), segments(&mixed.wal()));
    let (first, last) = (&names[0], control(&mixed.node, "Latest checkpoint's REDO WAL file"));
    let checkpoint = control(&mixed.node, "Latest checkpoint location");
    let printed = run(pg_tool("pg_waldump").arg("-p").arg(&wal).args(["-s", &checkpoint, &last]));
    let lines: Vec<&str> = printed.stdout.lines().collect();
    assert!(lines.len() == 1 && lines[0].contains("CHECKPOINT_SHUTDOWN"), "{printed:?}");
    let upto = |end: &str| run(pg_tool("pg_waldump").arg("-p").arg(&wal).args(["-e", end, first, &last]));
    let whole = upto(&checkpoint);
    assert_eq!(whole.code, 0, "{}", whole.stderr);
    let counted = whole.stdout.lines().filter(|line| line.starts_with("rmgr: ")).count();
    let ours =
        run_ok(plimsoll().arg("waldump").arg("--path").arg(&wal).args(["--end", &checkpoint, first, &last]));
    let ours = ours.lines().filter(|line| line.starts_with("rmgr: ")).count();
    assert!(counted > 1000 && counted == ours, "pg_waldump prints {counted} records, plimsoll {ours}");
    // The control: one flipped byte in the middle, and pg_waldump stops there.
    let path = wal.join(first);
    let sound = fs::read(&path).expect("a segment");
    let mut bad = sound.clone();
    bad[100_000] ^= 0x10;
    fs::write(&path, bad).expect("written");
    let stopped = upto(&checkpoint);
    assert!(stopped.code == 1 && stopped.stdout.lines().count() < counted, "{}", stopped.stderr);
    fs::write(&path, sound).expect("written");
    // The archive's segments are whole, each by itself.
    let archived = segments(&mixed.archive);
    assert!(!archived.is_empty());
    for name in &archived {
        let outcome = run(pg_tool("pg_waldump").arg("-q").arg(mixed.archive.join(name)));
        assert_eq!(outcome.code, 0, "{name}: {}", outcome.stderr);
    }
    println!("{counted} records from {first} to {last}, {} segments in the archive", archived.len());
}

fn pg_checksums_finds_every_page_sound_and_one_that_is_not(node: &Node) {
    let check = || run(pg_tool("pg_checksums").args(["--check", "-D"]).arg(node.data()));
    let checked = check();
    assert!(checked.code == 0 && checked.stdout.contains("Bad checksums:  0"), "{checked:?}");
    let folder = node.data().join("base/5");
    let file = fs::read_dir(&folder).expect("base/5").map(|entry| entry.expect("an entry").path());
    let file = file.max_by_key(|path| fs::metadata(path).expect("a file").len()).expect("a relation");
    let sound = fs::read(&file).expect("a relation");
    let mut bad = sound.clone();
    bad[4000] ^= 4;
    fs::write(&file, bad).expect("written");
    let found = check();
    assert!(found.code == 1 && found.stdout.contains("Bad checksums:  1"), "{found:?}");
    fs::write(&file, sound).expect("written");
}

fn pg_archivecleanup_removes_exactly_what_is_older(mixed: &Mixed) {
    let names = segments(&mixed.archive);
    let kept = &names[names.len() / 2];
    let mut dry = pg_tool("pg_archivecleanup");
    let listed = run_ok(dry.arg("-n").arg(&mixed.archive).arg(kept));
    let mut listed: Vec<&str> = listed.lines().filter_map(|line| line.rsplit('/').next()).collect();
    listed.sort_unstable();
    let older: Vec<&str> = names.iter().map(String::as_str).filter(|name| *name < kept.as_str()).collect();
    assert!(!older.is_empty() && listed == older, "{listed:?} instead of {older:?}");
    assert_eq!(segments(&mixed.archive), names, "-n removed something");
    run_ok(pg_tool("pg_archivecleanup").arg(&mixed.archive).arg(kept));
    assert_eq!(segments(&mixed.archive), names[older.len()..]);
}

fn pg_resetwal_reads_refuses_and_writes_and_the_server_starts_after_it(
    mixed: &Mixed,
    segment_mb: u32,
    change_to_mb: u32,
) {
    let node = &mixed.node;
    let before = mixed.contents();
    // A server that runs, or one that crashed, keeps it off.
    let refused = pg_resetwal(node, &[]);
    assert!(refused.code == 1 && refused.stderr.contains("postmaster.pid"), "{refused:?}");
    node.kill_9();
    fs::remove_file(node.data().join("postmaster.pid")).expect("a killed server leaves it");
    let refused = pg_resetwal(node, &[]);
    assert!(refused.code == 1 && refused.stdout.contains("not shut down cleanly"), "{refused:?}");
    node.start();
    node.stop();
    let control_file = fs::read(node.data().join("global/pg_control")).expect("pg_control");
    let shown = pg_resetwal(node, &["-n"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    for words in ["Current pg_control values", "Values to be changed", "First log segment after reset"] {
        assert!(shown.stdout.contains(words), "{words} in {}", shown.stdout);
    }
    let segment = format!("Bytes per WAL segment:                {}", segment_mb << 20);
    assert!(shown.stdout.contains(&segment), "{segment} in {}", shown.stdout);
    assert!(fs::read(node.data().join("global/pg_control")).expect("pg_control") == control_file);
    let checkpoint = control(node, "Latest checkpoint location");
    let written = pg_resetwal(node, &[&format!("--wal-segsize={change_to_mb}")]);
    assert!(written.code == 0 && written.stdout.contains("Write-ahead log reset"), "{written:?}");
    assert_ne!(control(node, "Latest checkpoint location"), checkpoint);
    for name in ["min_wal_size", "max_wal_size"] {
        node.set(name, &format!("{}MB", change_to_mb * 4));
    }
    node.start();
    assert_eq!(node.sql("SHOW wal_segment_size"), format!("{change_to_mb}MB"));
    assert_eq!(mixed.contents(), before);
    node.sql(MIXED);
    let after = mixed.contents();
    assert_ne!(after, before);
    node.kill_9();
    node.start();
    assert_eq!(mixed.contents(), after);
    node.stop();
    let checked = run_ok(pg_tool("pg_checksums").args(["--check", "-D"]).arg(node.data()));
    assert!(checked.contains("Bad checksums:  0"), "{checked}");
}

fn judge_with_segments_of(segment_mb: u32, change_to_mb: u32) {
    let mixed = Mixed::new(segment_mb);
    for number in 0..rounds() {
        mixed.round(number);
    }
    let node = &mixed.node;
    node.stop();
    assert_eq!(control(node, "Database cluster state"), "shut down");
    assert_eq!(control(node, "Bytes per WAL segment"), (segment_mb << 20).to_string());
    assert_eq!(control(node, "Latest checkpoint's TimeLineID"), "1");
    pg_waldump_reads_it_all_and_counts_what_plimsoll_counts(&mixed);
    pg_checksums_finds_every_page_sound_and_one_that_is_not(node);
    pg_archivecleanup_removes_exactly_what_is_older(&mixed);
    node.start();
    pg_resetwal_reads_refuses_and_writes_and_the_server_starts_after_it(&mixed, segment_mb, change_to_mb);
}

#[test]
fn postgresqls_tools_work_after_a_mixed_run_with_segments_of_1_mb() {
    judge_with_segments_of(1, 16);
}

#[test]
fn postgresqls_tools_work_after_a_mixed_run_with_segments_of_16_mb() {
    judge_with_segments_of(16, 1);
}

#[test]
fn postgresqls_tools_work_after_a_mixed_run_with_segments_of_64_mb() {
    judge_with_segments_of(64, 64);
}
